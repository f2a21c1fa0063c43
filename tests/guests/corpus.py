#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Builds real Debian guests that are hard to move, and shows what becomes of them.

    tests/guests/corpus.py list
    tests/guests/corpus.py build NAME…|--all        disks under DIR/NAME/disk-N.raw
    tests/guests/corpus.py boot NAME [--timeout S]  as delivered, on virtio; the disks are not changed
    tests/guests/corpus.py table [NAME…]            as delivered, after virt-v2v-in-place (if installed), after ours; what the
                                                    prediction said of it, and what the boot check of `hyperhost run` says.
                                                    --only v2v: that column alone; --only known: what was measured before

DIR is --dir or HYPERHOST_GUESTS, else build/guests. The packages come from Debian's archive as apt knows it. The first
guest of a suite takes minutes, each further one seconds: they share an unpacked system. Root is needed for chroot; no
loop device and no mount is. Layouts that only a kernel can write (LVM, LUKS, RAID, XFS) go through guestfish.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE]
import guest_disk  # noqa: E402
import guest_root  # noqa: E402
from guest_table import GUESTS  # noqa: E402


def directory_of(args):
    return os.path.abspath(args.dir or os.environ.get("HYPERHOST_GUESTS") or os.path.join(ROOT, "build/guests"))


def missing_tools():
    """What building needs and this machine lacks; empty where it can build."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    tools = {"mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs", "sfdisk": "fdisk", "grub-mkimage": "grub-common",
             "qemu-img": "qemu-utils", "mkfs.vfat": "dosfstools", "mcopy": "mtools"}
    missing = [f"{tool} (Debian package {package})" for tool, package in tools.items()
               if not shutil.which(tool, path=path)]
    return missing + ([] if os.geteuid() == 0 else ["root, for chroot"])


def build(name, directory):
    """Builds the guest unless it is there; returns the paths of its disks."""
    guest, place = GUESTS[name], os.path.join(directory, name)
    stamp = os.path.join(place, "stamp.json")
    wanted = {"guest": guest_root.fingerprint(guest)}
    try:
        with open(stamp, encoding="utf-8") as f:
            known = json.load(f)
        if known["guest"] == wanted["guest"] and all(os.path.exists(disk) for disk in known["disks"]):
            return known["disks"]
    except (OSError, ValueError, KeyError):
        pass
    shutil.rmtree(place, ignore_errors=True)
    os.makedirs(place)
    tree = guest_root.make(guest, directory, os.path.join(place, "root"))
    try:
        disks = guest_disk.make(guest, tree, place)
    finally:
        shutil.rmtree(tree, ignore_errors=True)
    with open(stamp, "w", encoding="utf-8") as f:
        json.dump({**wanted, "disks": disks}, f)
    return disks


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--dir", help="where the guests are kept")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the names of the guests")
    one = commands.add_parser("build", help="build guests")
    one.add_argument("names", nargs="*", choices=[*GUESTS, []], metavar="NAME")
    one.add_argument("--all", action="store_true")
    one = commands.add_parser("boot", help="boot a guest as delivered")
    one.add_argument("name", choices=GUESTS, metavar="NAME")
    one.add_argument("--timeout", type=int, default=300)
    one = commands.add_parser("table", help="boot guests as delivered and prepared")
    one.add_argument("names", nargs="*", choices=[*GUESTS, []], metavar="NAME")
    one.add_argument("--only", action="append", choices=["delivered", "v2v", "ours", "known"], default=[],
                     help="measure this alone (repeatable); the rest of the table is what was measured before")
    args = parser.parse_args()

    if args.command == "list":
        for guest in GUESTS.values():
            print(f"{guest.name:18} {guest.about}")
        return 0
    if missing := missing_tools():
        sys.exit("corpus: needed and not here: " + ", ".join(missing))
    directory = directory_of(args)
    os.makedirs(directory, exist_ok=True)
    if args.command == "build":
        for name in GUESTS if args.all else args.names:
            print(f"{name}: {' '.join(build(name, directory))}", flush=True)
        return 0
    import trial  # pylint: disable=import-outside-toplevel
    if args.command == "boot":
        result = trial.boot(GUESTS[args.name], build(args.name, directory), args.timeout)
        print(result.console[-4000:])
        print(f"{args.name}: {'boots' if result.up else 'does not boot'} after {result.seconds:.0f} s")
        return 0 if result.up else 1
    columns = [column for column in args.only or trial.COLUMNS if column != "known"]
    return trial.table([GUESTS[name] for name in args.names or GUESTS], directory, build, guest_root.fingerprint, columns)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"corpus: {' '.join(error.cmd[:8])} failed with status {error.returncode}:\n{(error.stdout or '')[-4000:]}")
