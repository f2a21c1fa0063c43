#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A run takes no plugin at its word: what a provider says and does not keep ends the run, says what is wrong and leaves no result."""
import json
import pathlib
import sys
import tempfile
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / part) for part in ("support", "e2e")]
import requirement  # noqa: E402
from hyperhost_cli import FAILED, GIB, MIB, OK, Running, TEST_PLUGINS  # noqa: E402

LEVELS = ("none", "target", "independent", "source")


class Trust(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.work = pathlib.Path(place.name).resolve()

    def plan(self, way, isolation="none", provider=None, **more):
        plan = {
            "version": 1,
            "providers": {"p": {"plugin": "liar", "isolation": isolation, "way": way, **(provider or {})}},
            "converter": {"plugin": "parallel-disk", "options": {"threads": 4}},
            "output_dir": "out", "batch": {"max_retries": 0, **more.pop("batch", {})},
            "defaults": {"target_format": "qcow2", **more.pop("defaults", {})},
            "migrations": [{"vm": "demo", "provider": "p"}], **more}
        (self.work / "plan.yaml").write_text(json.dumps(plan))
        return "plan.yaml"

    def host(self, *arguments):
        return Running(self.work, ["--plugin-dir", TEST_PLUGINS, "--output", "json", *arguments], env={"HYPERHOST_CONFIG": ""}).finish()

    def run_plan(self, way, status, **more):
        done = self.host("run", self.plan(way, **more))
        self.assertEqual(done.status, status, done)
        if status == FAILED:
            self.assertEqual([path for path in (self.work / "out").rglob("*") if path.is_file()], [])
        return done

    def failure(self, way, **more):
        return self.run_plan(way, FAILED, **more).json["results"][0]["diagnostic"]

    def disk(self):
        return json.loads((self.work / "out/demo/manifest.json").read_text())["hyperhost"]["disks"][0]


class Proof(Trust):
    def test_the_manifest_says_what_was_proven(self):
        requirement.tool("qemu-img", package="qemu-utils")
        for level in LEVELS:
            with self.subTest(verify=level):
                self.run_plan("honest", OK, defaults={"verify": level, "overwrite": True})
                disk = self.disk()
                self.assertEqual(disk["proven"], ["delivered", *LEVELS[1:LEVELS.index(level) + 1]])
                self.assertRegex(disk["zeros"]["seed"], "^[0-9a-f]{16}$")
                self.assertGreaterEqual(disk["zeros"]["places"], 32)  # there are 42 zero blocks
                self.assertEqual(disk["zeros"]["bytes"], 42 * (64 << 10))

    def test_data_that_extents_call_zero(self):
        for level in ("none", "target"):
            with self.subTest(verify=level):
                failure = self.failure("zeros", defaults={"verify": level})
                self.assertEqual(failure["code"], "corrupt")
                self.assertRegex(failure["summary"], "provider 'liar' says that bytes .* are zero, and byte [0-9]+ is not")

    def test_extents_that_are_wrong_only_beyond_4_gib(self):
        failure = self.failure("beyond-4g")
        self.assertEqual(failure["code"], "corrupt")
        self.assertRegex(failure["summary"], rf"and byte {4 * GIB} is not")

    def test_one_wrong_claim_among_gigabytes_is_found_by_a_second_read(self):
        requirement.tool("qemu-img", package="qemu-utils")
        failure = self.failure("one-lie", defaults={"verify": "source"})
        self.assertEqual(failure["code"], "corrupt")
        self.assertRegex(failure["summary"], "another content when it is read a second time|says that bytes")

    def test_reads_that_are_not_thread_safe_are_found_by_a_second_read(self):
        requirement.tool("qemu-img", package="qemu-utils")
        failure = self.failure("racy", defaults={"verify": "source"})
        self.assertEqual(failure["code"], "corrupt")
        self.assertIn("provider 'liar' delivers another content when it is read a second time", failure["summary"])

    def test_a_stream_that_is_shorter_than_its_disk(self):
        for convert in (True, False):
            with self.subTest(convert=convert):
                failure = self.failure("short-stream", defaults={"convert": convert})
                self.assertEqual(failure["code"], "corrupt")
                self.assertIn(str(7 * MIB), failure["summary"] + failure["detail"])

    def test_a_stream_can_be_read_a_second_time(self):
        requirement.tool("qemu-img", package="qemu-utils")
        self.run_plan("honest-stream", OK, defaults={"verify": "source"})
        self.assertEqual(self.disk()["proven"], ["delivered", "target", "independent", "source"])


if __name__ == "__main__":
    requirement.main()
