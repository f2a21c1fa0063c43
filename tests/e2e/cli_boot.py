#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The boot check: delivered VMs in a real QEMU, those that boot and those that do not."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess

import hyperhost_cli
from hyperhost_cli import BUILD, FAILED, MIB, OK, PREFLIGHT, RENDERED, ROOT, TEST_PLUGINS, USAGE, CliTest, Running, content_digest
import boot_check
import efi_disk
import ova_factory
import requirement
from vmdk_writer import Content

OUT = ROOT / "out/sample"
LIMIT, PATIENCE = "12m", 900  # a busy machine without KVM takes minutes
TIMES = hyperhost_cli.PATIENCE


def looping_disk(path):
    """A disk whose boot sector restarts the machine at once."""
    code = bytes.fromhex("fa b0 fe e6 64 f4 eb fd")  # cli; 0xfe to port 0x64: reset; hlt for ever
    path.write_bytes(code.ljust(510, b"\0") + b"\x55\xaa" + bytes(MIB - 512))
    return path


def recording_disk(path, counts=True):
    """A disk whose boot sector adds one to the first byte of the next sector, writes a login prompt to the serial port and
    powers off when the power button is pressed."""
    code = bytes.fromhex(
        "31c0 8ed8 8ec0 bb007e"                         # es:bx = 0:7e00
        "b80102 b90200 b600 cd13"                       # reads sector 1
        + ("fe07" if counts else "9090") +              # incb (%bx)
        "b80103 b90200 b600 cd13"                       # writes it
        "be497c fc baf803 ac 84c0 7403 ee ebf8"         # the prompt, byte by byte to port 3f8
        "ba0206 ed 80cc01 ef ba0006 ed f6c401 74fa"     # enables the button, waits for it
        "ba0406 b80020 ef f4 ebfd") + b"\r\nweb01 login: \0"
    path.write_bytes(code.ljust(510, b"\0") + b"\x55\xaa" + bytes(MIB - 512))
    return path


def panicking_disk(path, reason):
    """A disk whose boot sector writes a kernel's panic to the serial port."""
    code = bytes.fromhex("31c0 8ed8 be167c fc baf803 ac 84c0 7403 ee ebf8 f4 ebfd")
    code += f"\r\nKernel panic - not syncing: {reason}\r\n\0".encode()
    path.write_bytes(code.ljust(510, b"\0") + b"\x55\xaa" + bytes(MIB - 512))
    return path


def asking_disk():
    """A disk whose boot sector asks the BIOS for a TPM (int 1a, bb00) and, where there is one, writes a login prompt."""
    code = bytes.fromhex("31c0 8ed8 66b800bb0000 cd1a 6685c0 750f be237c fc baf803 ac 84c0 7403 ee ebf8 f4 ebfd")
    return (code + b"\r\nweb01 login: \0").ljust(510, b"\0") + b"\x55\xaa" + bytes(MIB - 512)


class BootTest(CliTest):
    def setUp(self):
        super().setUp()
        requirement.tool(boot_check.QEMU, "qemu-system-x86")

    def boot_plan(self, source, vm, boot=None, **keys):
        return self.plan(source, vm=vm, defaults={"boot": {"timeout": LIMIT, **(boot or {})}}, **keys)

    def sample(self):
        requirement.tool("grub-mkimage", "grub-common")
        subprocess.run([ROOT / "tests/sample/build_ova.py"], check=True, timeout=300)
        return OUT / "hyperhost-sample.ova"

    def changed_sample(self, *changes):
        """The sample's first disk with other texts of the same length in its GRUB's configuration."""
        self.sample()
        disk = self.work / "disk.raw"
        subprocess.run(["cp", "--sparse=always", OUT / "source/disk1.raw", disk], check=True)
        with open(disk, "r+b") as image:
            data = image.read()
            for old, new in changes:
                self.assertEqual(len(old), len(new))
                at = data.find(old, data.find(b"menuentry '"))
                self.assertGreater(at, 0)
                image.seek(at)
                image.write(new)
        return disk

    @staticmethod
    def wait_for_guest(running):
        """Until a guest runs: what it writes goes to a file without a name."""
        def look():
            for pid, command in running.others().items():
                if boot_check.QEMU not in command:
                    continue
                with contextlib.suppress(OSError):
                    for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
                        if os.readlink(fd).endswith("(deleted)"):
                            return pid
            return None
        return running.wait_for(look, "guest")

    def failing(self, source, vm, boot=None, failed=None, plan=None):
        """Runs a plan whose VM does not boot; returns its result."""
        before = pathlib.Path(source).read_bytes() if pathlib.Path(source).stat().st_size <= MIB else b""
        result = self.report(plan or self.boot_plan(source, vm, boot), status=FAILED, timeout=PATIENCE)
        self.assertFalse(result["success"])
        self.assertIn("does not boot", result["diagnostic"]["summary"])
        self.assertEqual(result["boot"].get("failed"), failed, result["boot"])
        self.assertFalse((self.work / f"out/{vm}/manifest.json").exists())
        if before:
            self.assertEqual(pathlib.Path(source).read_bytes(), before)
        self.assertGreater(os.stat(result["boot"]["screen"]).st_size, 100)
        self.assert_audited_failure("does not boot")
        return result


class Boot(BootTest):
    def test_the_sample_boots_to_its_banner(self):
        plan = self.boot_plan(self.sample(), "hyperhost-sample", {
            "options": {"expect": [boot_check.BANNER]}, "network": "isolated"})
        result = self.report(plan, timeout=PATIENCE)
        boot = result["boot"]
        self.assertTrue(result["success"] and boot["booted"], boot)
        self.assertEqual(boot["grade"], "login")
        self.assertEqual(boot["stopped"], "guest")
        self.assertIn("data disk verified", boot["console_tail"])
        grades = [one["grade"] for one in boot["reached"]]
        self.assertEqual(list(dict.fromkeys(grades)), ["firmware", "loader", "kernel", "login"])
        times = [one["ms"] for one in boot["reached"]]
        self.assertEqual(times, sorted(times))
        manifest = json.loads(pathlib.Path(result["manifest_path"]).read_text())
        self.assertEqual(manifest["hyperhost"]["boot"]["grade"], "login")
        self.assertGreater(manifest["hyperhost"]["boot"]["seconds"], 0)
        self.assertIn(boot["accel"], ("kvm", "tcg"))
        self.assertTrue(manifest["pipeline"]["validate"]["boot_test"])
        self.assertIn("boot", [e["action"] for e in self.audit()])
        self.host("verify", result["manifest_path"])  # the guest wrote, and not to these

    def test_a_disk_of_zeros_has_nothing_to_boot(self):
        disk = self.work / "zeros.raw"
        disk.write_bytes(bytes(MIB))
        result = self.failing(disk, "zeros", failed="no-boot-device")
        self.assertEqual(result["boot"]["grade"], "firmware")
        self.assertLess(result["boot_seconds"], 600)  # not by the time limit
        done = self.host("run", self.boot_plan(disk, "zeros", {"on_failure": "warn"}))
        self.assertIn("finds nothing to boot", done.out + done.err)
        self.assertTrue((self.work / "out/zeros/manifest.json").exists())

    def test_a_boot_sector_that_restarts_is_a_loop(self):
        self.failing(looping_disk(self.work / "loop.raw"), "loop", failed="reboot-loop")

    def test_a_guest_that_failed_for_want_of_time_gets_a_second_boot(self):
        for vm, reason, again in (("late", "IO-APIC + timer doesn't work!", True), ("root", "VFS: Unable to mount root fs", False)):
            disk = panicking_disk(self.work / f"{vm}.raw", reason)
            boot = self.failing(disk, vm, {"options": {"accel": "tcg"}}, failed="panic")["boot"]
            self.assertEqual(any("counts its instructions" in note for note in boot.get("notes", [])), again, boot)

    def test_a_guest_that_does_nothing_runs_out_of_time(self):
        disk = self.work / "idle.raw"
        disk.write_bytes(bytes.fromhex("f4 eb fd").ljust(510, b"\0") + b"\x55\xaa" + bytes(MIB - 512))
        result = self.failing(disk, "idle", {"timeout": "3s", "options": {"accel": "tcg"}})
        self.assertIn("not 'login' within 3 s", result["diagnostic"]["summary"])

    def test_a_missing_qemu_is_one_message_before_anything_begins(self):
        disk = self.work / "zeros.raw"
        disk.write_bytes(bytes(MIB))
        plan = self.boot_plan(disk, "zeros", {"options": {"qemu": "qemu-nowhere"}})
        for command in ("validate", "run"):
            done = self.host(command, plan, status=PREFLIGHT)
            self.assert_one_clear_error(done, "qemu-nowhere", "apt-get install qemu-system-x86")
        self.assert_nothing_left()

    def test_an_error_repeats_what_qemu_says(self):
        disk = looping_disk(self.work / "loop.raw")
        script = self.work / "qemu"  # an older one, which lacks a device
        script.write_text("#!/bin/sh\n[ \"$3\" = -version ] && exec " + boot_check.QEMU + " \"$@\"\n"
                          "echo \"'isa-vga' is not a valid device model name\" >&2\nexit 1\n")
        script.chmod(0o755)
        result = self.report(self.boot_plan(disk, "loop", {"options": {"qemu": str(script), "accel": "tcg"}}),
                             status=FAILED)
        self.assertIn("QEMU did not start", result["diagnostic"]["summary"])
        self.assertIn("not a valid device model name", result["diagnostic"]["detail"])

    def test_the_plan_says_which_vms_are_booted_and_how(self):
        disk = looping_disk(self.work / "loop.raw")
        for wrong, word in (({"requires": "login"}, "require"), ({"require": "everything"}, "everything"),
                            ({"machine": {"bus": "nvme"}}, "nvme"), ({"options": {"acel": "tcg"}}, "accel"),
                            ({"plugin": "parallel-disk"}, "qemu-boot")):
            done = self.host("validate", self.boot_plan(disk, "loop", wrong), status=USAGE)
            self.assertTrue(any(word in line for line in done.errors()), done)
        done = self.host("validate", self.boot_plan(disk, "loop", {"machine": {"type": "q35", "bus": "ide"}}),
                         status=PREFLIGHT)
        self.assert_one_clear_error(done, "a q35 machine has no ide disks")
        plan = self.boot_plan(disk, "loop", migration={"boot": False})
        self.assertNotIn("boot", self.report(plan))

    def traces_plan(self, disk, vm, boot=None, traces=512):
        requirement.need((TEST_PLUGINS / "scribe.so").exists(), "the test plugin scribe is not built")
        return self.boot_plan(disk, vm, {"require": "traces", "options": {"accel": "tcg"},
                                         "traces": {"plugin": "scribe", "options": {"traces": traces}}, **(boot or {})},
                              plugin_dirs=[str(TEST_PLUGINS)])

    def test_what_the_guest_recorded_proves_its_boot(self):
        disk = recording_disk(self.work / "web.raw")
        result = self.report(self.traces_plan(disk, "web"), timeout=PATIENCE)
        boot = result["boot"]
        self.assertEqual((boot["grade"], boot["stopped"]), ("traces", "guest"), boot)
        self.assertEqual([one["evidence"] for one in boot["reached"] if one["grade"] == "traces"], ["boot 1 of disk-0"])
        manifest = json.loads(pathlib.Path(result["manifest_path"]).read_text())
        self.assertEqual(manifest["hyperhost"]["boot"]["evidence"][-1]["grade"], "traces")
        # What it wrote is gone.
        self.assertEqual(result["disks"][0]["content_digest"], content_digest(recording_disk(self.work / "fresh.raw")))
        self.host("verify", result["manifest_path"])
        self.assertEqual(sorted(p.name for p in (self.work / "out/web").iterdir()),
                         sorted(["boot-screen.png", "manifest.json", "web-disk-0.qcow2", *RENDERED]))
        self.assertIn("traces: boot 1 of disk-0", self.host("result", "web").out)

    def test_a_boot_that_left_no_record_is_none(self):
        disk = recording_disk(self.work / "mute.raw", counts=False)
        result = self.failing(disk, "mute", failed="no-traces", plan=self.traces_plan(disk, "mute"))
        self.assertEqual(result["boot"]["grade"], "login")
        self.assertEqual(result["diagnostic"]["rule"], "boot.no-traces")
        self.assertIn("its own records do not show the boot", result["diagnostic"]["summary"])

    def test_a_guest_that_ignores_its_button_leaves_no_proof(self):
        disk = recording_disk(self.work / "deaf.raw")
        data = bytearray(disk.read_bytes())
        at = data.index(bytes.fromhex("ba0206"))
        data[at:at + 3] = bytes.fromhex("f4ebfd")  # it halts for ever
        disk.write_bytes(data)
        plan = self.traces_plan(disk, "deaf", {"options": {"accel": "tcg", "stop_timeout": "2s"}})
        self.failing(disk, "deaf", failed="no-clean-stop", plan=plan)

    def test_a_plan_needs_a_plugin_that_reads_traces(self):
        disk = looping_disk(self.work / "loop.raw")
        done = self.host("validate", self.traces_plan(disk, "loop", traces=0), status=PREFLIGHT)
        self.assert_one_clear_error(done, "plugin 'scribe' does not read what a boot leaves", "boot: {traces: {plugin: …}}")
        done = self.host("validate", self.traces_plan(disk, "loop", {"options": {"stop_timeout": "0s"}}), status=PREFLIGHT)
        self.assert_one_clear_error(done, "require: traces needs a stop_timeout")

    def package(self, data, **machine):
        """A VM that is described by an OVF, beside its one disk."""
        made = ova_factory.Package("web", **machine)
        made.add_disk(Content(len(data), [(0, data)]))
        ova_factory.write_directory(self.work / "package", made.members())
        return self.work / "package"

    def test_secure_boot_refuses_a_loader_that_is_not_signed(self):
        requirement.need(pathlib.Path("/usr/share/OVMF/OVMF_VARS_4M.ms.fd").exists(), "ovmf is not installed")
        options = {"accel": "tcg", "stop_timeout": "0s"}
        plan = self.boot_plan(self.package(efi_disk.disk(), firmware="efi", secure_boot=True), "web", {"options": options})
        result = self.report(plan, status=FAILED, timeout=PATIENCE)
        self.assertEqual(result["boot"]["failed"], "secure-boot", result["boot"])
        self.assertIn("its firmware refuses its loader", result["diagnostic"]["summary"])
        self.assertIn("Access Denied", result["diagnostic"]["detail"])
        self.assertIn("secure boot needs a q35 machine, so that of the check is one", result["boot"]["notes"])
        # The same loader starts where nothing has to sign it.
        plan = self.boot_plan(self.package(efi_disk.disk(), firmware="efi"), "web", {"options": options}, output_dir="plain")
        self.assertEqual(self.report(plan, timeout=PATIENCE)["boot"]["grade"], "login")

    def test_a_guest_finds_its_tpm(self):
        requirement.tool("swtpm", "swtpm")
        options = {"accel": "tcg", "stop_timeout": "0s"}
        temporary = self.work / "tmp"
        temporary.mkdir()
        plan = self.boot_plan(self.package(asking_disk(), tpm=True), "web", {"options": options})
        running = self.start("--output", "json", "run", plan, env={"TMPDIR": str(temporary)})
        done = running.finish(PATIENCE)
        self.assertEqual(done.status, OK, done)
        self.assertEqual(running.wait_none_left(10 * TIMES), {})
        self.assertEqual(list(temporary.iterdir()), [])  # its state went with it
        result = done.json["results"][0]
        self.assertEqual(result["boot"]["grade"], "login", result)
        self.assertNotIn("has no TPM", done.out)

    def test_without_swtpm_the_check_says_that_there_is_no_tpm(self):
        plan = self.boot_plan(self.package(asking_disk(), tpm=True), "web", {
            "timeout": "5s", "on_failure": "warn", "options": {"accel": "tcg", "swtpm": "swtpm-nowhere"}})
        done = self.host("validate", plan)
        self.assertIn("the machine of the check has no TPM", done.out + done.err)
        result = self.report(plan, timeout=PATIENCE)
        self.assertFalse(result["boot"]["booted"])
        found = [one for one in result["warnings"] if "has no TPM" in one["summary"]]
        self.assertEqual(len(found), 1, result["warnings"])
        self.assertIn("apt-get install swtpm", found[0]["hint"])

    def test_a_killed_host_leaves_no_guest_and_the_next_run_boots_what_is_there(self):
        disk = self.work / "idle.raw"
        disk.write_bytes(bytes.fromhex("f4 eb fd").ljust(510, b"\0") + b"\x55\xaa" + bytes(MIB - 512))
        scratch = self.work / "scratch"
        scratch.mkdir()
        keys = {"staging_dir": str(scratch)}
        running = self.start("run", self.boot_plan(disk, "idle", {"options": {"accel": "tcg"}}, **keys))
        self.wait_for_guest(running)
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait()
        self.assertEqual(running.wait_none_left(30 * TIMES), {})
        self.assertEqual([p for p in scratch.rglob("*") if not p.is_dir()], [])  # what the guest wrote had no name
        self.assertTrue((self.work / "out/idle/idle-disk-0.qcow2").exists())
        result = self.report(self.boot_plan(disk, "idle", {"timeout": "2s", "on_failure": "warn",
                                                           "options": {"accel": "tcg"}}, **keys))
        self.assertTrue(result["disks"][0]["adopted"])
        self.assertTrue((self.work / "out/idle/manifest.json").exists())
        self.assertEqual(list(scratch.iterdir()), [])  # nor is the directory there that the guest's process wrote to

    def test_a_prepared_guest_whose_host_was_killed_is_booted_again_and_not_prepared_again(self):
        requirement.need((TEST_PLUGINS / "scribe.so").exists(), "the test plugin scribe is not built")
        disk = self.work / "idle.raw"
        source = bytes.fromhex("f4 eb fd").ljust(510, b"\0") + b"\x55\xaa" + bytes(MIB - 512)
        disk.write_bytes(source)
        scratch = self.work / "scratch"
        scratch.mkdir()
        calls = self.meeting() / "calls"
        keys = {"staging_dir": str(scratch), "plugin_dirs": [str(TEST_PLUGINS)],
                "migration": {"guest": {"plugin": "scribe", "options": {"offset": 4096, "calls": str(calls)}}}}
        running = self.start("run", self.boot_plan(disk, "idle", {"options": {"accel": "tcg"}}, **keys))
        self.wait_for_guest(running)
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait()
        self.assertEqual(running.wait_none_left(30 * TIMES), {})
        self.assertEqual([path.name.split("hyperhost-")[1].split("-")[0] for path in scratch.rglob("*") if not path.is_dir()], ["overlay"])
        result = self.report(self.boot_plan(disk, "idle", {"timeout": "2s", "on_failure": "warn",
                                                           "options": {"accel": "tcg"}}, **keys))
        self.assertTrue(result["disks"][0]["adopted"])
        self.assertEqual(calls.read_text(), "prepare\n")
        prepared = self.work / "prepared.raw"
        prepared.write_bytes(source[:4096] + b"prepared" + source[4104:])
        self.assertEqual(result["disks"][0]["content_digest"], content_digest(prepared))
        self.assertEqual(result["disks"][0]["source_digest"], content_digest(disk))
        self.assertEqual(sorted(p.name for p in (self.work / "out/idle").iterdir()),
                         sorted(["boot-screen.png", "idle-disk-0.changes", "idle-disk-0.qcow2", "manifest.json", *RENDERED]))
        self.assertEqual(list(scratch.iterdir()), [])
        self.assertEqual(self.host("cleanup").out, "nothing is left over\n")

    def test_a_cancel_ends_the_guest(self):
        disk = self.work / "idle.raw"
        disk.write_bytes(bytes.fromhex("f4 eb fd").ljust(510, b"\0") + b"\x55\xaa" + bytes(MIB - 512))
        running = self.start("run", self.boot_plan(disk, "idle", {"options": {"accel": "tcg"}}))
        self.wait_for_guest(running)
        os.kill(running.process.pid, signal.SIGINT)
        done = running.finish(60)
        self.assertNotEqual(done.status, OK)
        self.assertEqual(running.wait_none_left(10 * TIMES), {})


class BootLong(BootTest):
    """Too long for CI."""

    def test_a_text_screen_is_read_where_the_serial_console_is_silent(self):
        disk = self.changed_sample((b"console=ttyS0", b"cons0le=ttyS0"))
        plan = self.boot_plan(disk, "disk", {"options": {"expect": [boot_check.BANNER]}})
        result = self.report(plan, timeout=PATIENCE)
        login = [one["evidence"] for one in result["boot"]["reached"] if one["grade"] == "login"]
        self.assertEqual(len(login), 1)
        self.assertIn("screen: " + boot_check.BANNER, login[0])

    def test_a_kernel_without_its_root_panics(self):
        disk = self.changed_sample((b"  initrd /boot", b"# initrd /boot"))
        result = self.failing(disk, "disk", failed="panic")
        self.assertIn("VFS", result["boot"]["console_tail"])
        # The disks stay for the next run, which may ask for less.
        plan = self.boot_plan(disk, "disk", {"require": "loader"})
        again = self.report(plan, timeout=PATIENCE)
        self.assertTrue(again["success"])
        self.assertTrue(again["disks"][0]["adopted"])

    def test_hyperexport_boots_what_it_copied(self):
        disk = looping_disk(self.work / "loop.raw")
        running = Running(self.work, ["--vm", "loop", "--path", disk, "--output", "out", "--boot-check", "loader",
                                      "--set", f"defaults.boot.timeout={LIMIT}"], program=BUILD / "bin/hyperexport")
        self.addCleanup(running.stop)
        done = running.finish()
        self.assertEqual(done.status, FAILED, done)
        self.assertTrue(any("it restarts again and again" in line for line in done.errors()), done)


if __name__ == "__main__":
    requirement.main()
