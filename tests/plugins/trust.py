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
from hyperhost_cli import FAILED, GIB, MIB, OK, PREFLIGHT, Running, SANITIZED, TEST_PLUGINS  # noqa: E402

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
            "converter": more.pop("converter", {"plugin": "parallel-disk", "options": {"threads": 4}}),
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

    def failure(self, way, isolation="none", **more):
        return self.run_plan(way, FAILED, isolation=isolation, **more).json["results"][0]["diagnostic"]

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
                self.assertIn(str(7 * MIB), failure["summary"] + failure.get("detail", ""))

    def test_a_source_that_changes_between_two_attempts_without_a_word(self):
        failure = self.failure("changes", batch={"max_retries": 1, "retry_delay": "10ms", "checkpoint_bytes": "1MiB"})
        self.assertEqual(failure["code"], "corrupt")
        self.assertIn("the source has changed since the attempt that this one continues", failure["summary"])

    def test_a_stream_can_be_read_a_second_time(self):
        requirement.tool("qemu-img", package="qemu-utils")
        self.run_plan("honest-stream", OK, defaults={"verify": "source"})
        self.assertEqual(self.disk()["proven"], ["delivered", "target", "independent", "source"])

    def test_access_that_the_disk_does_not_have_when_it_is_opened(self):
        requirement.tool("qemu-img", package="qemu-utils")
        done = self.run_plan("access", OK, converter="qemu-img")  # which reads files
        self.assertIn("opened the disk without the access that it had described", done.json["results"][0]["disks"][0]["notes"][0])


class Workers(Trust):
    def test_a_provider_that_does_not_answer_is_given_up(self):
        (self.work / "hold").touch()
        plan = self.plan("hang-in-describe", "process", {"hold": str(self.work / "hold")}, batch={"answer_timeout": "1s"})
        done = self.host("validate", plan)
        self.assertEqual(done.status, PREFLIGHT, done)
        self.assertIn("provider 'p' has not answered for 1 s", done.out)
        self.assertIn("batch.answer_timeout sets another time", done.out)

    def test_a_worker_s_memory_is_bounded(self):
        if SANITIZED:
            return  # a sanitizer's bookkeeping needs terabytes of addresses
        failure = self.failure("grow", {"memory": "256MiB"})
        self.assertEqual(failure["summary"], "out of memory")
        self.assertEqual(failure["hint"], "its process may use 256 MiB; isolation: {memory: SIZE} sets another limit")

    def test_a_worker_s_end_names_the_call(self):
        for way, said in (("exit", r"the plugin 'liar' ended its process: it called exit\(0\)"),
                          ("crash", r"the plugin 'liar' crashed in its process: SIGABRT \(Aborted\)")):
            with self.subTest(way=way):
                self.assertRegex(self.failure(way, "process")["summary"], rf"^{said}, in read_at\(\) of \d+ bytes at \d+$")

    def test_a_worker_sees_the_variables_that_its_manifest_names(self):
        plan = self.plan("environment", "process")
        env = {"HYPERHOST_CONFIG": "", "LIAR_HINT": "mine", "OTHER_PLUGINS_PASSWORD": "not-yours", "HOME": "/home/me", "LC_ALL": "C.UTF-8"}
        done = Running(self.work, ["--plugin-dir", TEST_PLUGINS, "validate", plan], env=env).finish()
        self.assertIn("it sees HOME=/home/me;LIAR_HINT=mine;LC_ALL=C;", done.out + done.err)
        self.assertNotIn("not-yours", done.out + done.err)


class Words(Trust):
    def test_what_may_be_left_at_the_source(self):
        done = self.run_plan("left-behind", OK)
        warning = done.json["results"][0]["warnings"][0]
        self.assertEqual((warning["summary"], warning["detail"]), ("the snapshot could not be removed", "something may be left at the source"))


if __name__ == "__main__":
    requirement.main()
