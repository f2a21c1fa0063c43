# SPDX-License-Identifier: Apache-2.0
"""What becomes of a guest: booted on virtio with fresh firmware, over a throw-away overlay, after a preparation or
without one. QEMU emulates the processor unless KVM really gets a guest going."""

import dataclasses
import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(ROOT, "tests/support")]
from guest_table import ADDRESS, MAC, PASSPHRASE  # noqa: E402
from ovf_descriptor import DiskRef, File, Machine, Nic, envelope  # noqa: E402

UP = re.compile(r"corpus: up (.*?) ?\[(.*)\]")
# The boot ended where nothing follows. Firmware without a boot device says so only on its screen.
DEAD = re.compile(r"\(initramfs\)|grub rescue>|Kernel panic|emergency mode|No bootable device|BdsDxe: No bootable|Shell> ")
LATE = "timer doesn't work"
OVMF = ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd")


@dataclasses.dataclass
class Boot:
    up: bool
    address: str = ""     # "ens192=192.0.2.10/24"
    failed: str = ""      # units that failed
    seconds: float = 0.0
    console: str = ""


def overlay(disk, place, name):
    path = os.path.join(place, name)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", disk, "-F", image_format(disk), path], check=True)
    return path


def image_format(path):
    info = subprocess.run(["qemu-img", "info", "--output=json", path], stdout=subprocess.PIPE, check=True)
    return json.loads(info.stdout)["format"]


def qemu_command(guest, disks, work):
    command = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-machine", "q35", "-m", "768", "-smp", "2",
               "-display", "none", "-nodefaults", "-no-reboot", "-serial", "stdio", "-monitor", "none", "-vga", "std",
               "-netdev", "user,id=net,restrict=on", "-device", f"virtio-net-pci,netdev=net,mac={MAC}"]
    if guest.firmware == "uefi":
        variables = os.path.join(work, "vars.fd")
        shutil.copyfile(OVMF[1], variables)
        command += ["-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={OVMF[0]}",
                    "-drive", f"if=pflash,unit=1,format=raw,file={variables}"]
    for number, disk in enumerate(disks):
        path = overlay(disk, work, f"boot-{number}.qcow2")
        command += ["-drive", f"if=none,id=d{number},format=qcow2,cache=unsafe,file={path.replace(',', ',,')}",
                    "-device", f"virtio-blk-pci,drive=d{number}" + (",bootindex=0" if number == 0 else "")]
    return command


def boot(guest, disks, timeout=900, silence=300):
    """Boots until the guest reports that it is up, its boot has visibly ended, it is silent for `silence` seconds or
    `timeout` seconds are over. On a busy machine a kernel may find that its timer does not work: then once more, with a clock
    that counts the guest's instructions."""
    found = boot_once(guest, disks, timeout, silence)
    return boot_once(guest, disks, timeout, silence, ["-icount", "shift=auto"]) if LATE in found.console else found


def boot_once(guest, disks, timeout, silence, more=()):
    begin, console = time.monotonic(), ""
    with tempfile.TemporaryDirectory(prefix="corpus-") as work, selectors.DefaultSelector() as selector, \
            subprocess.Popen([*qemu_command(guest, disks, work), *more], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, start_new_session=True) as process:
        selector.register(process.stdout, selectors.EVENT_READ)
        end = begin + timeout
        while (left := end - time.monotonic()) > 0 and selector.select(min(left, silence)):
            block = os.read(process.stdout.fileno(), 65536)
            console += block.decode("utf-8", "replace")
            if not block or UP.search(console) or DEAD.search(console):
                break
        os.killpg(process.pid, signal.SIGKILL)
    found = UP.search(console)
    return Boot(bool(found), found[1] if found else "", found[2].strip() if found else "", time.monotonic() - begin, console)


class Driver:
    """The plugin, through the program guest_driver: it loads it as hyperhost does."""

    def __init__(self, program=None):
        build = os.environ.get("HYPERHOST_BUILD_DIR", os.path.join(ROOT, "build/dev"))
        self.program = program or os.path.join(build, "bin/guest_driver")

    def call(self, verb, request, disks, options=None, timeout=1800):
        """Returns (exit status, the answer as a document or None, what was reported)."""
        with tempfile.TemporaryDirectory(prefix="corpus-") as work:
            paths = {}
            for name, value in (("request", request), ("options", options or {})):
                paths[name] = os.path.join(work, name + ".json")
                with open(paths[name], "w", encoding="utf-8") as out:
                    json.dump(value, out)
            done = subprocess.run([self.program, verb, paths["options"], paths["request"], *disks], timeout=timeout,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        # The core's log may have written lines before the answer, which is the last one.
        answer = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None
        return done.returncode, answer, done.stderr


def request_of(guest):
    request = {"vm": {"name": guest.name, "os_hint": "linux", "firmware": guest.firmware, "nics": [{"mac": MAC}]},
               "machine": {"firmware": guest.firmware, "disks": [{"id": "disk-0", "bus": "virtio"}],
                           "nics": [{"mac": MAC, "model": "virtio"}]}}
    return request


def options_of(guest):
    return {"keys": {"all": PASSPHRASE}} if guest.layout == "luks" else {}


def v2v(guest, disks, work):
    """virt-v2v-in-place over the disks as the host would call it; its last lines where it failed."""
    devices = "".join(f"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{disk}'/>"
                      f"<target dev='sd{'ab'[number]}' bus='scsi'/></disk>" for number, disk in enumerate(disks))
    loader = " firmware='efi'" if guest.firmware == "uefi" else ""
    xml = os.path.join(work, "guest.xml")
    with open(xml, "w", encoding="utf-8") as out:
        out.write(f"<domain type='kvm'><name>{guest.name}</name><memory>1048576</memory><vcpu>1</vcpu>"
                  f"<os{loader}><type>hvm</type></os><devices><controller type='scsi' model='vmpvscsi'/>{devices}"
                  f"<interface type='bridge'><mac address='{MAC}'/><source bridge='x'/></interface></devices></domain>")
    environment = {**os.environ, "LIBGUESTFS_BACKEND": "direct", "LIBGUESTFS_BACKEND_SETTINGS": "force_tcg"}
    keys = ["--key", f"/dev/sda{2}:key:corpus"] if guest.layout == "luks" else []
    done = subprocess.run(["virt-v2v-in-place", "--root", "first", *keys, "-i", "libvirtxml", xml], env=environment,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout[-500:]


def prepared(guest, disks, work, driver):
    """(overlays, answer, what was reported) after our preparation."""
    overlays = [overlay(disk, work, f"ours-{number}.qcow2") for number, disk in enumerate(disks)]
    status, answer, said = driver.call("prepare", request_of(guest), overlays, options_of(guest))
    return overlays, answer if status == 0 else None, said


def package(guest, disks, work):
    """The guest as an OVF package beside its disks, raw copies of `disks`."""
    names = [f"disk-{number}.raw" for number in range(len(disks))]
    for disk, name in zip(disks, names):
        subprocess.run(["qemu-img", "convert", "-O", "raw", disk, os.path.join(work, name)], check=True)
    sizes = [os.path.getsize(os.path.join(work, name)) for name in names]
    machine = Machine(guest.name, memory_mib=768, firmware="efi" if guest.firmware == "uefi" else "bios", controller="VirtualSCSI",
                      disks=[DiskRef(size, file_id=f"file{i}", disk_id=f"vmdisk{i}") for i, size in enumerate(sizes)],
                      nics=[Nic(mac=MAC)])
    files = [File(f"file{i}", name, size) for i, (name, size) in enumerate(zip(names, sizes))]
    path = os.path.join(work, guest.name + ".ovf")
    with open(path, "w", encoding="utf-8") as out:
        out.write(envelope([machine], files))
    return path


class Product:
    """`hyperhost` over a guest's disks as an OVF package, which `with` makes and removes."""

    def __init__(self, guest, disks):
        build = os.environ.get("HYPERHOST_BUILD_DIR", os.path.join(ROOT, "build/dev"))
        self.program, self.guest, self.disks = os.path.join(build, "bin/hyperhost"), guest, disks

    def __enter__(self):
        self.work = tempfile.mkdtemp(prefix="corpus-")
        self.source = package(self.guest, self.disks, self.work)
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.work)

    def call(self, verb, defaults, *arguments):
        """(the answer as a document or None, what was reported)"""
        if keys := options_of(self.guest).get("keys"):
            with open(os.path.join(self.work, "key"), "w", encoding="utf-8") as out:
                out.write(keys["all"])
            defaults["guest"]["options"] = {"keys": {"all": {"file": os.path.join(self.work, "key")}}}
        plan = {"version": 1, "name": "proof", "output_dir": "out", "batch": {"max_retries": 0},
                "providers": {"shelf": {"plugin": "local-ovf", "path": self.source}},
                "defaults": {"target_format": "raw", "verify": "none", **defaults},
                "migrations": [{"vm": self.guest.name, "provider": "shelf"}]}
        path = os.path.join(self.work, "plan.yaml")
        with open(path, "w", encoding="utf-8") as out:
            json.dump(plan, out)
        done = subprocess.run([self.program, "--output", "json", verb, path, *arguments], cwd=self.work, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, env={**os.environ, "HYPERHOST_STATE_DIR": os.path.join(self.work, "state")},
                              text=True, check=False)
        try:
            return json.loads(done.stdout), done.stderr
        except ValueError:
            return None, done.stderr

    def predicted(self):
        """What the prediction says at all its depths, as members of a row."""
        begin = time.monotonic()
        answer, said = self.call("inspect", {"guest": {"machine": {"bus": "virtio"}}}, self.guest.name)
        if answer is None or "findings" not in answer:
            return {"errors": [], "accept": [], "bytes_read": None, "not_inspected": (said or str(answer)).strip()[-300:]}
        errors = [one for one in answer["findings"] if one["severity"] == "error"]
        # A run without a preparation knows the rules of the host alone, not those that the plugin alone has.
        return {"errors": sorted({one["rule"] for one in errors}), "bytes_read": answer["source_bytes_read"], "not_inspected": "",
                "accept": sorted({one["rule"] for one in errors if not one["rule"].startswith("linux.")}),
                "inspect_seconds": time.monotonic() - begin}

    def proof(self, accept=()):
        """What `hyperhost run` with a boot check says: "boots (login)", "no (initramfs)", or why there was no check."""
        answer, said = self.call("run", {"guest": {"machine": {"bus": "virtio"}, "when": "off", "accept": list(accept)},
                                         "boot": {"require": "login", "timeout": "15m"}})
        try:
            boot = answer["results"][0]["boot"]
        except (TypeError, LookupError):
            return f"not checked: {(said or str(answer)).strip()[-300:]}"
        return f"boots ({boot['grade']})" if boot["booted"] else f"no ({boot.get('failed') or boot.get('grade')})"


def as_delivered(guest, disks, row):
    with Product(guest, disks) as product:
        row.update(product.predicted())
        row["before"] = dataclasses.asdict(boot(guest, disks))
        row["proof_before"] = product.proof(row["accept"])


def after_v2v(guest, disks, row):
    if not shutil.which("virt-v2v-in-place"):
        return
    with tempfile.TemporaryDirectory(prefix="corpus-") as work:
        overlays = [overlay(disk, work, f"v2v-{number}.qcow2") for number, disk in enumerate(disks)]
        problem = v2v(guest, overlays, work)
        row["v2v"] = {"failed": problem} if problem else dataclasses.asdict(boot(guest, overlays))


def after_ours(guest, disks, row):
    with tempfile.TemporaryDirectory(prefix="corpus-") as work:
        begin = time.monotonic()
        overlays, answer, said = prepared(guest, disks, work, Driver())
        row["prepare_seconds"] = time.monotonic() - begin
        row["ours"] = dataclasses.asdict(boot(guest, overlays)) if answer else {"up": False, "refused": said[-500:]}
        row["actions"] = len(answer["actions"]) if answer else 0
        row["proof_ours"] = "-"
        if answer:
            with Product(guest, overlays) as product:
                row["proof_ours"] = product.proof(row.get("accept", ()))


COLUMNS = {"delivered": as_delivered, "v2v": after_v2v, "ours": after_ours}


def cell(result):
    if result is None:
        return "-"
    if "up" not in result:
        return "fails"
    if "refused" in result:
        return "refused"
    return (f"boots ({result['address'] or 'no address'})" if result["up"] else "no")


def line(row):
    if "errors" not in row:
        predicted = "-"
    else:
        predicted = ", ".join(row["errors"]) or row["not_inspected"] or "will boot"
    return (f"| {row['guest']} | {cell(row.get('before'))} | {row.get('proof_before', '-')} | {cell(row.get('v2v'))} | "
            f"{cell(row.get('ours'))} | {row.get('proof_ours', '-')} | {predicted} |")


def faults(guest, row):
    """How often the measured part of a row differs from what is known of the guest, or from another part."""
    wrong = 0
    if "before" in row:
        wrong += row["before"]["up"] != guest.boots_before
        wrong += bool(row["errors"]) == guest.boots_before or bool(row["not_inspected"])
        wrong += row["proof_before"].startswith("boots") != row["before"]["up"]
    if "ours" in row:
        wrong += row["ours"]["up"] != guest.boots_after
        wrong += row["ours"]["up"] and not row["proof_ours"].startswith("boots")
    return wrong


def known_result(guest, directory, fingerprint):
    """What was measured of the guest before, as it is built now."""
    try:
        with open(os.path.join(directory, f"{guest.name}.result.json"), encoding="utf-8") as kept:
            row = json.load(kept)
        return row if row.get("fingerprint") == fingerprint else {}
    except (OSError, ValueError):
        return {}


def table(guests, directory, build, fingerprint, columns):
    """Measures the columns of the guests' rows; the other columns stay as they were measured before."""
    rows, wrong = [], 0
    print("| guest | as delivered | boot check | virt-v2v-in-place | ours | boot check | predicted |\n|---|---|---|---|---|---|---|", flush=True)
    for guest in guests:
        row = {"guest": guest.name, "fingerprint": fingerprint(guest), **known_result(guest, directory, fingerprint(guest))}
        for column in columns:
            COLUMNS[column](guest, build(guest.name, directory), row)
            with open(os.path.join(directory, f"{guest.name}.result.json"), "w", encoding="utf-8") as out:
                json.dump(row, out, indent=1)
        rows.append(row)
        wrong += faults(guest, row)
        print(line(row), flush=True)
    up = {part: sum(row.get(part, {}).get("up", False) for row in rows) for part in ("before", "v2v", "ours")}
    print(f"{len(rows)} guests, {up['before']} boot as delivered, {up['v2v']} after virt-v2v-in-place, {up['ours']} after ours; "
          f"{wrong} differ from what is known of them", file=sys.stderr)
    return 1 if wrong else 0


def address_of(guest):
    return f"ens192={ADDRESS}/24" if guest.network != "none" else ""
