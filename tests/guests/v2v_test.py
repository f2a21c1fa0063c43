#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The plugin virt-v2v with the real virt-v2v-in-place: a Windows of registry hives and NTFS, through a whole migration, and a
disk that holds no system. Emulated, each call takes minutes."""

import json
import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]
from hyperhost_cli import FAILED, MIB, CliTest, content_digest, requirement  # noqa: E402
import phony_windows  # noqa: E402


class VirtV2v(CliTest):
    def setUp(self):
        super().setUp()
        for tool, package in (("virt-v2v-in-place", "virt-v2v"), ("nbdkit", "nbdkit"), ("qemu-nbd", "qemu-utils"),
                              ("guestfish", "guestfish"), ("hivexregedit", "libwin-hivex-perl"), ("mkntfs", "ntfs-3g")):
            os.environ["PATH"] += ":/usr/sbin" if tool == "mkntfs" else ""
            requirement.tool(tool, package)

    def v2v_plan(self, disk, **options):
        guest = {"plugin": "virt-v2v", "options": {"accel": "tcg", **options}}
        return self.plan(disk, vm=disk.stem, defaults={"guest": guest, "target_format": "raw"}, batch={"max_retries": 0})

    def test_windows_gets_its_drivers(self):
        disk = pathlib.Path(phony_windows.make(str(self.work)))
        virtio_win, virt_tools = phony_windows.drivers(str(self.work))
        before = content_digest(disk)
        plan = self.v2v_plan(disk, virtio_win=virtio_win, virt_tools=virt_tools)
        results = self.host("--output", "json", "run", plan, timeout=1500).json["results"]
        self.assertEqual(results[0]["outcome"], "succeeded", results)
        self.assertEqual(results[0]["guest"]["caps"], {"block": "virtio"})
        manifest = json.loads((self.work / "out/windows/manifest.json").read_text())
        entry = manifest["hyperhost"]["disks"][0]
        self.assertEqual(entry["source_digest"], before)
        self.assertGreater(entry["changed"]["blocks"], 0)
        self.assertEqual(content_digest(disk), before, "the source was changed")
        delivered = str(self.work / "out/windows/windows-disk-0.raw")
        self.assertIn("viostor.sys", phony_windows.listing(delivered, "/Windows/System32/drivers"))
        self.assertNotIn("viostor.sys", phony_windows.listing(str(disk), "/Windows/System32/drivers"))
        self.host("verify", self.work / "out/windows/manifest.json")

    def test_a_disk_without_a_system_is_named(self):
        disk = self.work / "empty.raw"
        with open(disk, "wb") as out:
            out.truncate(16 * MIB)
        done = self.host("run", self.v2v_plan(disk), status=FAILED, timeout=1500)
        self.assert_one_clear_error(done, "No operating system was found on the disks")
        self.assert_nothing_left()


if __name__ == "__main__":
    requirement.main()
