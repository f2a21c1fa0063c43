#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`isolation: process`: a plugin in a process of its own does what it does in the host's; when it crashes, hangs or is killed,
one VM fails and says why, and the next attempt gets a fresh process."""
import json
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / part) for part in ("support", "e2e")]
import requirement  # noqa: E402
from hyperhost_cli import FAILED, INTERRUPTED, OK, PLUGINS, PREFLIGHT, Running, TEST_PLUGINS  # noqa: E402

DISK = random.Random(3).randbytes(2 << 20) + bytes(1 << 20) + random.Random(4).randbytes(1 << 20)
ZOO_DISK = 2 << 20


def zoo_bytes():
    return bytes(0 if (at // 65536) % 3 == 1 else 1 + (at * 31 + at // 65536) % 251 for at in range(ZOO_DISK))


class Isolation(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.work = pathlib.Path(place.name).resolve()
        (self.work / "disks").mkdir()
        (self.work / "disks/calm.raw").write_bytes(DISK)
        (self.work / "secret").write_text("tell-nobody-1234")
        (self.work / "secret").chmod(0o600)

    def plan(self, **more):
        plan = {
            "version": 1,
            "providers": {"shelf": {"plugin": "local-ovf", "path": "disks"},
                          "zoo": {"plugin": "zoo", "isolation": "process", "password": {"file": "secret"}}},
            "output_dir": "out", "defaults": {"target_format": "raw"}, "batch": {"max_retries": 0, "max_parallel": 2},
            "migrations": [{"vm": "demo", "provider": "zoo"}, {"vm": "calm", "provider": "shelf"}], **more}
        (self.work / "plan.yaml").write_text(json.dumps(plan))
        return "plan.yaml"

    def start(self, *arguments, zoo="", **env):
        return Running(self.work, ["--plugin-dir", TEST_PLUGINS, *arguments], env={"HYPER_ZOO": zoo, "HYPERHOST_CONFIG": "", **env})

    def result(self, name):
        return (self.work / f"out/{name}/{name}-disk-0.raw").read_bytes()

    def workers(self, running):
        return [pid for pid, command in running.others().items() if "plugins serve" in command]

    def test_the_same_bytes_in_any_process(self):
        for place, isolation in (("here", "none"), ("apart", "process")):
            done = self.start("--isolation", isolation, "convert", "disks/calm.raw", f"{place}.qcow2", "--verify", "independent",
                              "--deterministic").finish()
            self.assertEqual(done.status, OK, done)
        self.assertEqual((self.work / "here.qcow2").read_bytes(), (self.work / "apart.qcow2").read_bytes())

    def test_every_kind_of_plugin(self):
        isolated = {"isolation": "process"}
        plan = self.plan(
            providers={"shelf": {"plugin": "local-ovf", "path": "disks", **isolated}},
            converter={"plugin": "parallel-disk", **isolated},
            upload={"destination": f"file://{self.work}/store", "storage": {"plugin": "local", "path": str(self.work / "store"), **isolated}},
            migrations=[{"vm": "*", "provider": "shelf"}])
        running = self.start("run", plan)
        done = running.finish()
        self.assertEqual(done.status, OK, done)
        self.assertEqual(self.result("calm"), DISK)
        self.assertIn(DISK, [path.read_bytes() for path in (self.work / "store").rglob("*.raw")])
        self.assertEqual(running.others(), {})

    def test_what_is_not_ours_runs_apart_unless_told_otherwise(self):
        for arguments, expected in (([], "process"), (["--isolation", "none"], "none")):
            done = self.start("--output", "json", *arguments, "plugins", "list").finish()
            modes = {one["id"]: one["isolation"] for one in done.json["plugins"]}
            self.assertEqual((modes["zoo"], modes["local"]), (expected, "none"))

    def test_a_crash_fails_one_vm_and_says_what_of(self):
        done = self.start("run", self.plan(), zoo="crash-in-read").finish()
        self.assertEqual(done.status, FAILED, done)
        self.assertRegex(done.err, r"the plugin 'zoo' crashed in its process: "
                         r"(SIGSEGV \(Segmentation fault\)|exit status 1), in read_at\(\) of \d+ bytes at \d+")  # the latter from a sanitizer
        self.assertEqual(self.result("calm"), DISK)
        self.assertFalse((self.work / "out/demo/demo-disk-0.raw").exists())

    def test_an_answer_that_is_not_as_its_schema_says_is_one_error(self):
        for isolation in ("none", "process"):
            with self.subTest(isolation):
                provider = {"plugin": "zoo", "isolation": isolation, "password": {"file": "secret"}}
                plan = self.plan(providers={"zoo": provider}, migrations=[{"vm": "demo", "provider": "zoo"}])
                done = self.start("validate", plan, zoo="bad-disk-id").finish()
                self.assertEqual(done.status, PREFLIGHT, done)
                said = "plugin 'zoo': describe_vm() gave a wrong document: /disks/0/id: "
                self.assertEqual((done.out + done.err).count(said), 1, done)

    def test_exit_and_exceptions_are_crashes_too(self):
        plan = self.plan(migrations=[{"vm": "dem*", "provider": "zoo"}])  # a pattern: VMs are listed
        done = self.start("run", plan, zoo="exit").finish()
        self.assertNotEqual(done.status, OK)
        # exit status 1: LeakSanitizer may not trace there
        self.assertRegex(done.err, r"(ended its process: it called exit\(0\)|crashed in its process: exit status 1), in list_vms\(\)")
        done = self.start("run", plan, zoo="throw").finish()
        self.assertNotEqual(done.status, OK)
        self.assertIn("crashed in its process: SIGABRT", done.err)
        self.assertIn("thrown inside the plugin", done.err)  # its last lines

    def killed(self, number, retries):
        plan = self.plan(batch={"max_retries": retries, "retry_delay": "10ms", "max_parallel": 2})
        hold = self.work / "hold"  # no read ends while it is there
        hold.touch()
        running = self.start("run", plan, zoo="hold", HYPER_ZOO_HOLD=str(hold))
        # In mid-copy: the target's temporary file is there.
        running.wait_for(lambda: list((self.work / "out/demo").glob("*")), "the copy", timeout=60)
        worker = self.workers(running)[0]
        os.kill(worker, number)
        # A sanitizer writes a long report before the process dies, while its other threads go on.
        running.wait_for(lambda: worker not in running.others(), "the worker's end", timeout=60)
        hold.unlink()
        return running.finish()

    def test_killed_in_mid_copy_the_vm_is_tried_again(self):
        for number in (signal.SIGKILL, signal.SIGSEGV):
            with self.subTest(signal=number.name):
                done = self.killed(number, retries=1)
                self.assertEqual(done.status, OK, done)
                self.assertIn(number.name.removeprefix("SIG"), done.err)  # a sanitizer says SEGV
                self.assertEqual(self.result("demo"), zoo_bytes())
                self.assertEqual(self.result("calm"), DISK)
                for path in (self.work / "out").rglob("*"):
                    self.assertFalse(path.name.endswith(".part"), path)
            shutil.rmtree(self.work / "out", ignore_errors=True)

    def test_killed_without_retries_it_fails(self):
        done = self.killed(signal.SIGKILL, retries=0)
        self.assertEqual(done.status, FAILED, done)
        self.assertIn("SIGKILL", done.err)
        self.assertEqual(self.result("calm"), DISK)

    def test_who_ignores_a_cancel_is_killed(self):
        running = self.start("run", self.plan(), zoo="hang-in-read")
        running.wait_for(lambda: (self.work / "out/calm/manifest.json").exists(), "the other VM", timeout=60)
        running.process.send_signal(signal.SIGINT)
        done = running.finish()
        self.assertEqual(done.status, INTERRUPTED, done)
        self.assertIn("did not stop within 3 s of a cancel; its process is killed", done.err)
        self.assertEqual(running.others(), {})

    def test_who_gives_no_sign_of_life_is_killed(self):
        done = self.start("run", self.plan(), zoo="hang-in-read", HYPERHOST_WORKER_STALL_SECONDS="1").finish()
        self.assertEqual(done.status, FAILED, done)
        self.assertIn("was killed in its process: it gave no sign of life for 1 s", done.err)
        self.assertEqual(self.result("calm"), DISK)

    def test_the_host_s_death_ends_the_workers(self):
        running = self.start("run", self.plan(), zoo="slow")
        workers = running.wait_for(lambda: self.workers(running), "a worker", timeout=60)
        running.process.kill()
        running.process.wait()
        running.out.close()
        running.err.close()
        end = time.monotonic() + 60
        while any(pathlib.Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < end:
            time.sleep(0.02)
        self.assertEqual([pid for pid in workers if pathlib.Path(f"/proc/{pid}").exists()], [])

    def test_secrets_stay_out_of_the_log(self):
        done = self.start("--log-level", "debug", "run", self.plan(), zoo="log-secret").finish()
        self.assertIn("the password is [redacted]", done.err)
        self.assertNotIn("tell-nobody-1234", done.err)


if __name__ == "__main__":
    assert PLUGINS.exists()
    requirement.main()
