#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A real guest of the corpus: what becomes of it as delivered, what the prediction says of that, its preparation by the plugin,
and its boot after it.

    guests_test.py [NAME]      a guest of guest_table.py; by-path-ens192 where none is named
    guests_test.py --short NAME    its preparation and its boot after it alone
    guests_test.py --build NAME…
"""

import json
import os
import shutil
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(ROOT, "tests/support")]
import corpus  # noqa: E402
import requirement  # noqa: E402
import trial  # noqa: E402
from guest_table import GUESTS  # noqa: E402

DIRECTORY = os.environ.get("HYPERHOST_GUESTS") or os.path.join(ROOT, "build/guests")


class Prepared(unittest.TestCase):
    name = "by-path-ens192"
    short = False

    @classmethod
    def setUpClass(cls):
        requirement.tool("qemu-system-x86_64", package="qemu-system-x86")
        cls.guest = GUESTS[cls.name]
        cls.disks = build([cls.name])[0]
        cls.driver = trial.Driver()
        cls.work = tempfile.mkdtemp(prefix="guests-")
        cls.addClassCleanup(shutil.rmtree, cls.work)

    def test_as_delivered(self):
        boot = trial.boot(self.guest, self.disks)
        self.assertEqual(boot.up, self.guest.boots_before, boot.console[-3000:])

    def test_prediction_preparation_boot(self):
        if not self.short:
            self.check_prediction()
        overlays, answer, said = trial.prepared(self.guest, self.disks, self.work, self.driver)
        self.check_preparation(answer, said)
        boot = trial.boot(self.guest, overlays)
        self.assertTrue(boot.up, boot.console[-3000:])
        self.assertEqual(boot.address, trial.address_of(self.guest), json.dumps(answer["actions"]))
        self.assertEqual(boot.failed, "")

    def check_prediction(self):
        request = trial.request_of(self.guest)
        status, found, said = self.driver.call("inspect", request, self.disks, trial.options_of(self.guest))
        self.assertEqual(status, 0, said)
        errors = {one["rule"] for one in found["findings"] if one["severity"] == "error"}
        self.assertEqual(bool(errors), not self.guest.boots_before, errors)
        self.assertTrue(all(one.get("fixable_by") for one in found["findings"] if one["severity"] == "error"))
        root = found["roots"][0]
        self.assertEqual((root["os"], root["distro"], root["firmware"]), ("linux", "debian", self.guest.firmware))

    def check_preparation(self, answer, said):
        self.assertIsNotNone(answer, said)
        self.assertEqual(answer["caps"], {"block": "virtio"})
        for one in answer["files"]:
            self.assertNotEqual(one.get("before"), one.get("after"), one["path"])
        paths = {one["path"] for one in answer["files"]}
        if self.guest.names in ("device", "by-path"):
            self.assertIn("/etc/fstab", paths)
        if self.guest.initramfs != "most":
            self.assertTrue(any(path.startswith("/boot/initrd.img-") for path in paths), paths)


def build(names):
    missing = corpus.missing_tools()
    requirement.need(not missing, ", ".join(missing))
    os.makedirs(DIRECTORY, exist_ok=True)
    return [corpus.build(name, DIRECTORY) for name in names]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--build"]:
        build(sys.argv[2:])
        sys.exit(0)
    if sys.argv[1:2] == ["--short"]:
        Prepared.short = True
        del Prepared.test_as_delivered
        sys.argv.pop(1)
    if sys.argv[1:2] and sys.argv[1] in GUESTS:
        Prepared.name = sys.argv.pop(1)
    requirement.main()
