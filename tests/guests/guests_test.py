#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A real guest of the corpus: it does not boot as delivered, is prepared by the plugin, and boots."""

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
    """HYPERHOST_GUEST names another guest of the corpus."""

    @classmethod
    def setUpClass(cls):
        missing = corpus.missing_tools()
        requirement.need(not missing, ", ".join(missing))
        requirement.tool("qemu-system-x86_64", package="qemu-system-x86")
        cls.guest = GUESTS[os.environ.get("HYPERHOST_GUEST", "by-path-ens192")]
        os.makedirs(DIRECTORY, exist_ok=True)
        cls.disks = corpus.build(cls.guest.name, DIRECTORY)
        cls.driver = trial.Driver()
        cls.work = tempfile.mkdtemp(prefix="guests-")
        cls.addClassCleanup(shutil.rmtree, cls.work)

    def test_prediction_preparation_boot(self):
        request = trial.request_of(self.guest)
        status, found, said = self.driver.call("inspect", request, self.disks, trial.options_of(self.guest))
        self.assertEqual(status, 0, said)
        errors = {one["rule"] for one in found["findings"] if one["severity"] == "error"}
        self.assertEqual(bool(errors), not self.guest.boots_before, errors)
        self.assertTrue(all(one.get("fixable_by") for one in found["findings"] if one["severity"] == "error"))
        root = found["roots"][0]
        self.assertEqual((root["os"], root["distro"], root["firmware"]), ("linux", "debian", self.guest.firmware))

        overlays, answer, said = trial.prepared(self.guest, self.disks, self.work, self.driver)
        self.assertIsNotNone(answer, said)
        self.assertEqual(answer["caps"], {"block": "virtio"})
        for one in answer["files"]:
            self.assertNotEqual(one.get("before"), one.get("after"), one["path"])
        paths = {one["path"] for one in answer["files"]}
        self.assertIn("/etc/fstab", paths)
        self.assertTrue(any(path.startswith("/boot/initrd.img-") for path in paths), paths)

        boot = trial.boot(self.guest, overlays)
        self.assertTrue(boot.up, boot.console[-3000:])
        self.assertEqual(boot.address, trial.address_of(self.guest), json.dumps(answer["actions"]))
        self.assertEqual(boot.failed, "")


if __name__ == "__main__":
    requirement.main()
