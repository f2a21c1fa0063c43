#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Boots a disk image under QEMU and waits for a line on its serial console.

    tests/support/boot_check.py IMAGE [IMAGE …] [--banner TEXT] [--timeout 120] [--controller virtio]

The images are not changed (snapshot=on). Status 0: the banner came and the machine powered off;
1: it did not, the console's last lines say what did; 77: there is no QEMU here.
"""

import argparse
import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time

BANNER = "hyperhost sample: up"
QEMU = "qemu-system-x86_64"
SKIPPED = 77
KVM_STALL = 8.0  # seconds of silence; a working KVM boots the sample in two


def _verdict_file():
    """Where it is noted, until the machine restarts, that KVM does not get a guest going here."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as f:
            boot_id = f.read().strip()
    except OSError:
        boot_id = "unknown"
    return os.path.join(tempfile.gettempdir(), f"hyperhost-kvm-{os.geteuid()}-{boot_id}")


def kvm_offered():
    return os.access("/dev/kvm", os.R_OK | os.W_OK) and not os.path.exists(_verdict_file())


def image_format(path):
    info = subprocess.run(["qemu-img", "info", "--output=json", path], stdout=subprocess.PIPE, check=True)
    return json.loads(info.stdout)["format"]


def _drives(images, controller):
    out = ["-device", "virtio-scsi-pci"] if controller == "scsi" else []
    out += ["-device", "pvscsi"] if controller == "pvscsi" else []
    device = {"virtio": "virtio-blk-pci", "scsi": "scsi-hd", "pvscsi": "scsi-hd", "ide": "ide-hd"}[controller]
    for index, image in enumerate(images):
        node = {"driver": image_format(image), "node-name": f"disk{index}", "read-only": False,
                "file": {"driver": "file", "filename": os.path.abspath(image)}}
        # snapshot=on lives in -drive only; json: keeps commas and colons of a path out of its syntax.
        source = "json:" + json.dumps(node)
        out += ["-drive", f"if=none,id=d{index},snapshot=on,file={source.replace(',', ',,')}",
                "-device", f"{device},drive=d{index}" + (",bootindex=0" if index == 0 else "")]
    return out


def _run(images, timeout, controller, accel, stall):
    """One start of QEMU: (powered off by itself, console text). Ends early after `stall` seconds in
    which the console is silent."""
    command = [QEMU, "-accel", accel, "-machine", "pc", "-m", "512", "-smp", "1", "-display", "none", "-nodefaults",
               "-no-reboot", "-serial", "stdio", "-monitor", "none", "-nic", "none", *_drives(images, controller)]
    if accel == "tcg":
        command += ["-cpu", "max"]
    end, console, finished = time.monotonic() + timeout, bytearray(), False
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          start_new_session=True) as process, selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not finished and (left := end - time.monotonic()) > 0 and selector.select(min(left, stall)):
            block = os.read(process.stdout.fileno(), 65536)
            console += block
            finished = not block
        if not finished:
            os.killpg(process.pid, signal.SIGKILL)
    return finished and process.returncode == 0, console.decode("utf-8", "replace")


def boot(images, banner=BANNER, timeout=120.0, controller="virtio", accel=None):
    """Returns (found, powered off, console text, accelerator, seconds).

    On some virtual machines /dev/kvm opens and answers, yet a guest crawls before it reaches long
    mode. So KVM gets a short time of silence; then TCG takes over, now and until the next restart.
    """
    began = time.monotonic()
    if accel != "tcg" and (accel == "kvm" or kvm_offered()):
        off, text = _run(images, timeout, controller, "kvm", timeout if accel else KVM_STALL)
        if accel or off:
            return banner in text, off, text, "kvm", time.monotonic() - began
        with contextlib.suppress(FileExistsError), open(_verdict_file(), "x", encoding="ascii"):
            pass
    off, text = _run(images, timeout, controller, "tcg", timeout)
    return banner in text, off, text, "tcg", time.monotonic() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="disk images, the one to boot from first")
    parser.add_argument("--banner", default=BANNER, help="text to wait for (default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=120, help="seconds for the whole boot")
    parser.add_argument("--controller", choices=["virtio", "scsi", "pvscsi", "ide"], default="virtio")
    parser.add_argument("--accel", choices=["kvm", "tcg"], help="instead of probing")
    args = parser.parse_args()
    if not shutil.which(QEMU):
        print(f"boot: skipped: no {QEMU} here (Debian package qemu-system-x86)")
        return SKIPPED
    found, off, text, accel, seconds = boot(args.images, args.banner, args.timeout, args.controller, args.accel)
    if found and off:
        print(f"boot: '{args.banner}' after {seconds:.1f} s ({accel}, {args.controller})")
        return 0
    why = "the machine did not power off" if found else f"no '{args.banner}' on the serial console"
    print(f"boot: {why} within {args.timeout:.0f} s ({accel}, {args.controller}); its last lines:")
    print("\n".join("  " + line for line in text.splitlines()[-25:]) or "  (nothing)")
    return 1


if __name__ == "__main__":
    sys.exit(main())
