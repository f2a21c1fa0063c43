#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The sample is what it says: sound disks, a true .mf, and a machine that boots to its banner."""

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests/support"))
sys.path.insert(0, HERE)
import boot_check  # noqa: E402
import build_ova  # noqa: E402
import requirement  # noqa: E402

OUT = os.path.join(ROOT, "out/sample")
OVA = os.path.join(OUT, "hyperhost-sample.ova")
BUILD = os.path.join(HERE, "build_ova.py")


def disks():
    return [os.path.join(OUT, "source", name) for name in ("disk1.raw", "disk2.raw")]


class Sample(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        requirement.tool("qemu-img", "qemu-utils")
        requirement.tool("grub-mkimage", "grub-common")
        subprocess.run([BUILD], check=True, timeout=300)

    def test_a_second_build_does_nothing(self):
        before = os.stat(OVA)
        done = subprocess.run([BUILD], check=True, timeout=60, stdout=subprocess.PIPE, text=True)
        self.assertIn("up to date", done.stdout)
        self.assertEqual(before.st_mtime_ns, os.stat(OVA).st_mtime_ns)

    def test_members_come_in_order_and_match_the_manifest(self):
        with tarfile.open(OVA) as tar:
            names = tar.getnames()
            self.assertEqual([os.path.splitext(n)[1] for n in names], [".ovf", ".mf", ".vmdk", ".vmdk"])
            listed = re.findall(r"^SHA256\((.+)\)= ([0-9a-f]{64})$", tar.extractfile(names[1]).read().decode(), re.M)
            self.assertEqual([n for n, _ in listed], [names[0], *names[2:]])
            for name, value in listed:
                self.assertEqual(hashlib.sha256(tar.extractfile(name).read()).hexdigest(), value)

    def test_a_content_id_of_fewer_digits_leaves_the_descriptor_whole(self):
        for drawn in (b"12345678", b"1234567", b"123456", b"1", b""):
            tail = b"\nparentCID=ffffffff\n"
            head = b"KDMV\0# Disk DescriptorFile\nCID=" + drawn + tail + bytes(16) + b"end"
            changed = build_ova.with_content_id(head, b"68797065")
            self.assertEqual(len(changed), len(head))
            self.assertEqual(changed.rstrip(b"end").rstrip(b"\0"),
                             b"KDMV\0# Disk DescriptorFile\nCID=68797065" + tail)
            self.assertTrue(changed.endswith(b"\0end"))

    def test_packed_disks_are_identical_to_their_source(self):
        with tarfile.open(OVA) as tar:
            members = [m for m in tar.getmembers() if m.name.endswith(".vmdk")]
        for member, raw in zip(members, disks(), strict=True):
            inside = {"driver": "vmdk", "file": {"driver": "raw", "offset": member.offset_data, "size": member.size,
                                                 "file": {"driver": "file", "filename": OVA}}}
            subprocess.run(["qemu-img", "compare", "-q", "json:" + json.dumps(inside), "json:" + json.dumps(
                {"driver": "raw", "file": {"driver": "file", "filename": raw}})], check=True, timeout=120)

    def test_it_boots_to_its_banner(self):
        requirement.tool(boot_check.QEMU, "qemu-system-x86")
        found, off, text, _, _ = boot_check.boot(disks(), timeout=180)
        self.assertTrue(found and off, text[-2000:])
        self.assertIn("data disk verified", text)

    def test_a_damaged_disk_does_not_reach_the_banner(self):
        requirement.tool(boot_check.QEMU, "qemu-system-x86")
        with tempfile.TemporaryDirectory() as work:
            bad = os.path.join(work, "disk1.raw")
            subprocess.run(["cp", "--sparse=always", disks()[0], bad], check=True)
            # srv/noise.bin lies at blocks debugfs can name; one byte of it is turned over.
            where = subprocess.run(["debugfs", "-R", "blocks /srv/noise.bin", f"{bad}?offset={1 << 20}"],
                                   env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"},
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
            at = (1 << 20) + int(where.stdout.split()[100]) * 4096
            with open(bad, "r+b") as f:
                f.seek(at)
                byte = f.read(1)
                f.seek(at)
                f.write(bytes([byte[0] ^ 1]))
            found, off, text, _, _ = boot_check.boot([bad, disks()[1]], timeout=180)
        self.assertFalse(found)
        self.assertTrue(off, text[-2000:])
        self.assertIn("damaged: srv/noise.bin", text)


if __name__ == "__main__":
    requirement.main()
