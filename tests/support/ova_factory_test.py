#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The factory tells the truth about its packages: QEMU and tar read back what it says is in them."""

import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import unittest
import xml.dom.minidom

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import ova_factory  # noqa: E402
import requirement  # noqa: E402
from ova_cases import CASES  # noqa: E402
from vmdk_writer import MIB, Content, stream_optimized  # noqa: E402


class Factory(unittest.TestCase):
    def setUp(self):
        work = tempfile.TemporaryDirectory()
        self.addCleanup(work.cleanup)
        self.work = work.name

    def members(self, name):
        with tarfile.open(ova_factory.make(name, self.work).path) as tar:
            return [(m.name, tar.extractfile(m).read()) for m in tar.getmembers()]

    def test_qemu_reads_the_written_vmdk_as_the_content(self):
        requirement.tool("qemu-img", "qemu-utils")
        for number, capacity in enumerate((512, 5 * MIB, 33 * MIB + 512, 70 * MIB)):
            content = Content.sample(capacity, number)
            vmdk, raw = os.path.join(self.work, "d.vmdk"), os.path.join(self.work, "d.raw")
            with open(vmdk, "wb") as out:
                out.write(stream_optimized(content, embedded_zero_grains=number == 1))
            content.write_raw(raw)
            self.assertEqual(os.path.getsize(raw), capacity)
            subprocess.run(["qemu-img", "compare", "-q", "-f", "vmdk", "-F", "raw", vmdk, raw], check=True)

    def test_every_case_is_the_same_twice_and_well_formed_if_accepted(self):
        for name in CASES:
            if name.startswith("huge"):
                continue
            case = ova_factory.make(name, self.work)
            with open(case.path, "rb") as f:
                first = f.read()
            with open(ova_factory.make(name, self.work).path, "rb") as f:
                self.assertEqual(first, f.read(), name)
            with open(os.path.join(self.work, name, "expected.json"), encoding="utf-8") as f:
                self.assertEqual(json.load(f)["ok"], case.expect["ok"])
            if case.expect["ok"] and case.path.endswith(".ova"):
                with tarfile.open(case.path) as tar:
                    member = next(m for m in tar if m.name.endswith(".ovf"))
                    xml.dom.minidom.parse(io.BytesIO(tar.extractfile(member).read()))

    def test_gzip_and_chunks_hold_the_disk(self):
        packed = [d for n, d in self.members("gzip-reference") if n.endswith(".gz")]
        self.assertTrue(gzip.decompress(packed[0]).startswith(b"KDMV"))
        parts = [d for n, d in self.members("chunked-reference") if ".vmdk." in n]
        self.assertGreater(len(parts), 2)
        self.assertEqual(b"".join(parts)[:4], b"KDMV")

    def test_damage_is_real(self):
        requirement.tool("qemu-img", "qemu-utils")
        for name in ("vmdk-bad-grain", "vmdk-truncated"):
            data = [d for n, d in self.members(name) if n.endswith(".vmdk")][0]
            path = os.path.join(self.work, "bad.vmdk")
            with open(path, "wb") as out:
                out.write(data)
            done = subprocess.run(["qemu-img", "convert", "-f", "vmdk", "-O", "raw", path, path + ".raw"],
                                  stderr=subprocess.DEVNULL, check=False)
            self.assertNotEqual(done.returncode, 0, name)

    def test_huge_members_are_huge(self):
        for name in ("huge-member-gnu", "huge-member-pax"):
            with tarfile.open(ova_factory.make(name, self.work).path) as tar:
                self.assertGreater(max(m.size for m in tar.getmembers()), 8 << 30)
                self.assertGreater(tar.getmembers()[-1].offset_data, 8 << 30)


if __name__ == "__main__":
    requirement.main()
