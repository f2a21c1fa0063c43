#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The plugin guestfs in its appliance, over a guest of a few files: busybox, and scripts in place of Debian's tools. It
cannot boot, but everything of it can be read, changed and run. Real guests take minutes each (corpus.py)."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(ROOT, "tests/support"), os.path.join(ROOT, "tests/sample")]
import build_ova  # noqa: E402
import requirement  # noqa: E402
import trial  # noqa: E402

MIB = 1 << 20
UUID = "5a6d1f0e-0b5e-4c57-9a3a-000000000001"
MAC = "00:50:56:ab:10:01"
# As mkinitramfs: an image is the list of the modules in it.
UPDATE = """#!/bin/sh
[ "$1 $2 $3" = "-u -k 6.1" ] || exit 1
: >/boot/initrd.img-6.1
for module in $(grep -v '^#' /etc/initramfs-tools/modules); do
  echo "usr/lib/modules/6.1/$module.ko" >>/boot/initrd.img-6.1
done
"""
FILES = {
    "etc/fstab": "/dev/sda1 / ext4 defaults 0 1\n/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:0:0-part1 /again ext4 noauto 0 0\n",
    "etc/os-release": 'ID=debian\nNAME="Debian GNU/Linux"\nPRETTY_NAME="Debian GNU/Linux 12"\nVERSION_ID="12"\n',
    "etc/debian_version": "12.0\n",
    "etc/hostname": "phony\n",
    "etc/network/interfaces": "auto ens192\niface ens192 inet static\n  address 192.0.2.10/24\n",
    "etc/default/grub": 'GRUB_CMDLINE_LINUX=""\nGRUB_DISABLE_LINUX_UUID=true\n',
    "etc/initramfs-tools/initramfs.conf": "MODULES=list\n",
    "etc/initramfs-tools/modules": "vmw_pvscsi\n",
    "boot/grub/grub.cfg": "menuentry 'Debian' {\n\tlinux /boot/vmlinuz-6.1 root=/dev/sda1 ro\n}\n",
    "boot/vmlinuz-6.1": "kernel\n",
    "boot/initrd.img-6.1": "usr/lib/modules/6.1/vmw_pvscsi.ko\n",
    "usr/lib/modules/6.1/modules.dep": "kernel/virtio_pci.ko:\nkernel/virtio_blk.ko:\nkernel/vmw_pvscsi.ko:\n",
    "usr/lib/modules/6.1/modules.builtin": "kernel/ext4.ko\n",
    "usr/lib/systemd/network/99-default.link": "[Link]\n",
    "usr/sbin/update-initramfs": UPDATE,
    "usr/sbin/mkinitramfs": "#!/bin/sh\nexit 1\n",
    "usr/bin/lsinitramfs": "#!/bin/sh\ncat \"$1\"\n",
}
REQUEST = {"vm": {"name": "phony", "os_hint": "linux"},
           "machine": {"disks": [{"id": "disk-0", "bus": "virtio"}], "nics": [{"mac": MAC}]}}


def run(*command, **kwargs):
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={**os.environ, "PATH": path}, **kwargs).stdout


def write_tree(tree, busybox, files):
    for name in ("bin", "usr/bin", "usr/sbin", "proc", "sys", "dev", "tmp", "run", "again"):
        os.makedirs(os.path.join(tree, name), exist_ok=True)
    shutil.copy2(busybox, os.path.join(tree, "bin/busybox"))
    for name in ("bin/sh", "bin/ls", "bin/cat", "bin/grep", "usr/bin/env"):
        os.link(os.path.join(tree, "bin/busybox"), os.path.join(tree, name))
    for name, text in files.items():
        path = os.path.join(tree, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        os.chmod(path, 0o755 if text.startswith("#!") else 0o644)
    # It leads out of the guest for anyone who follows it on the host.
    os.makedirs(os.path.join(tree, "etc/default/grub.d"))
    os.symlink("/etc/hostname", os.path.join(tree, "etc/default/grub.d/host.cfg"))


def make_disk(place, busybox):
    tree, part, disk = (os.path.join(place, name) for name in ("tree", "part", "disk.raw"))
    write_tree(tree, busybox, FILES)
    run("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-U", UUID, "-E", "root_owner=0:0", "-d", tree, part, f"{62 * MIB // 1024}k")
    with open(disk, "wb") as out:
        out.truncate(64 * MIB)
    run("sfdisk", "-q", disk, input="label: dos\nlabel-id: 0x12345678\nstart=2048, size=126976, type=83, bootable\n")
    run("dd", f"if={part}", f"of={disk}", "bs=1M", "seek=1", "conv=notrunc,sparse", "status=none")
    with open(disk, "r+b") as out:
        out.write(b"\xeb\x63")  # code in the MBR: BIOS
    shutil.rmtree(tree)
    os.unlink(part)
    return disk


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def content(disk, path):
    """A file of the guest, read without the appliance."""
    return run("debugfs", "-R", f"cat {path}", f"{disk}?offset={MIB}").split("\n", 1)[1]


class Phony(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        for tool, package in (("mke2fs", "e2fsprogs"), ("sfdisk", "fdisk"), ("qemu-nbd", "qemu-utils"),
                              ("qemu-system-x86_64", "qemu-system-x86")):
            requirement.need(shutil.which(tool, path=os.environ["PATH"] + ":/usr/sbin:/sbin"), f"{tool} of {package} is not installed")
        cache = os.path.join(ROOT, "out/cache")
        os.makedirs(cache, exist_ok=True)
        cls.busybox = os.path.join(build_ova.fetch_packages(cache)[0], "bin/busybox")
        cls.driver = trial.Driver()

    def setUp(self):
        place = tempfile.TemporaryDirectory(prefix="phony-")
        self.addCleanup(place.cleanup)
        self.place = place.name

    def test_prepared_once(self):
        disk = make_disk(self.place, self.busybox)
        before = digest(disk)
        status, found, said = self.driver.call("inspect", REQUEST, [disk])
        self.assertEqual(status, 0, said)
        self.assertEqual(before, digest(disk), "an inspection wrote to the disk")
        rules = {one["rule"] for one in found["findings"]}
        self.assertLessEqual({"linux.fstab-device", "linux.fstab-by-path", "linux.root-device", "linux.initramfs",
                              "linux.nic-name"}, rules)
        root = found["roots"][0]
        self.assertEqual((root["distro"], root["firmware"], root["boot_disk"], root["caps"]), ("debian", "bios", "disk-0", {}))
        self.assertGreater(found["bytes_read"], 0)

        status, answer, said = self.driver.call("prepare", REQUEST, [disk])
        self.assertEqual(status, 0, said)
        self.assertEqual(answer["caps"], {"block": "virtio"})
        files = {one["path"]: one for one in answer["files"]}
        self.assertEqual(set(files), {"/etc/fstab", "/etc/default/grub", "/boot/grub/grub.cfg", "/boot/initrd.img-6.1",
                                      "/etc/initramfs-tools/modules", "/etc/systemd/network/10-hyperhost-ens192.link"})
        self.assertNotIn("before", files["/etc/systemd/network/10-hyperhost-ens192.link"])
        self.assertRegex(files["/etc/fstab"]["after"], "^sha256:[0-9a-f]{64}$")
        self.assertEqual(content(disk, "/etc/fstab"),
                         f"UUID={UUID} / ext4 defaults 0 1\nUUID={UUID} /again ext4 noauto 0 0\n")
        self.assertIn(f"root=UUID={UUID} ro", content(disk, "/boot/grub/grub.cfg"))
        self.assertIn("virtio_blk.ko", content(disk, "/boot/initrd.img-6.1"))
        self.assertIn(f"MACAddress={MAC}", content(disk, "/etc/systemd/network/10-hyperhost-ens192.link"))
        self.assertNotIn("problem", json.dumps(answer["findings"]))
        run("e2fsck", "-fn", f"{disk}?offset={MIB}")


if __name__ == "__main__":
    requirement.main()
