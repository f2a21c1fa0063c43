#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The host of a prepared guest is killed at any moment: a rerun ends with the same disks, and nothing is left."""

import json
import pathlib
import random
import signal
import subprocess

from hyperhost_cli import MIB, OK, PATIENCE, RENDERED, SANITIZED, TEST_PLUGINS, CliTest, content_digest
import requirement

TEXT, OFFSET = b"prepared", MIB - 6
MARK = ".hyperhost-overlay-"


class GuestKill(CliTest):
    def setUp(self):
        super().setUp()
        requirement.need((TEST_PLUGINS / "scribe.so").exists(), "the test plugin scribe is not built")
        self.package, _ = self.ova()
        self.calls, self.scratch = self.meeting() / "calls", self.work / "scratch"
        self.scratch.mkdir()
        self.goal = []
        for disk in range(2):
            raw = self.work / f"goal-{disk}.raw"
            self.host("convert", self.package, raw, "--disk", f"disk-{disk}")
            data = bytearray(raw.read_bytes())
            data[OFFSET:OFFSET + len(TEXT)] = TEXT
            raw.write_bytes(data)
            self.goal.append(content_digest(raw))

    def guest_plan(self, name="plan.yaml", options=None, batch=None, **keys):
        plugins = [{"plugin": "scribe", "options": {"calls": str(self.calls), **(options or {})}}, "scribe"]
        batch = {"max_retries": 0, "checkpoint_bytes": "1MiB", "checkpoint_interval": "50ms", **(batch or {})}
        return self.plan(self.package, name=name, plugin_dirs=[str(TEST_PLUGINS)], staging_dir=str(self.scratch), batch=batch,
                         defaults={"guest": plugins, "max_parallel_disks": 1}, **keys)

    def slow_plan(self):
        """The same, and its copy takes some ten seconds: what it is killed in is the copy."""
        return self.guest_plan("slow.yaml", batch={"source_bandwidth_limit": "4MB"})

    def kill(self, running):
        running.process.send_signal(signal.SIGKILL)
        running.process.wait()
        self.assertEqual(running.wait_none_left(10 * PATIENCE), {})

    def kill_at(self, phase, known=0, plan=None):
        running = self.start("run", plan or self.slow_plan())
        running.wait_for(lambda: len(self.records(phase)) > known, f"record '{phase}'")
        self.kill(running)

    def overlays(self):
        return sorted(path for path in self.scratch.iterdir() if MARK in path.name)

    def assert_done(self, result, calls):
        self.assertEqual(self.calls.read_text().count("prepare"), calls)
        self.assertTrue(result["success"], result)
        self.assertEqual([disk["content_digest"] for disk in result["disks"]], self.goal)
        for disk, goal in zip(result["disks"], self.goal):
            raw = self.work / "found.raw"
            subprocess.run(["qemu-img", "convert", "-O", "raw", disk["path"], raw], check=True, timeout=120)
            self.assertEqual(content_digest(raw), goal)
        manifest = json.loads((self.work / "out/sample-vm/manifest.json").read_text())
        self.assertEqual([one["actions"][0]["after"] for one in manifest["hyperhost"]["guest"]["plugins"]], ["prepared"] * 2)
        self.host("verify", "out/sample-vm/manifest.json")
        self.assertEqual(sorted(path.name for path in (self.work / "out/sample-vm").iterdir()),
                         sorted(["manifest.json", *(f"sample-vm-disk-{disk}.{end}" for disk in range(2) for end in ("changes", "qcow2")), *RENDERED]))
        # What removes a killed run's files removes the directory, too, if it is empty then.
        self.assertEqual(list(self.scratch.iterdir()) if self.scratch.exists() else [], [])
        self.assertEqual(self.host("cleanup").out, "nothing is left over\n")
        self.assertEqual(self.records("prepared"), [])

    def test_a_rerun_takes_the_preparation_over_and_the_disks_that_were_made_of_it(self):
        for phase in ("prepared", "writing", "written"):
            self.kill_at(phase)
            self.assertEqual(len(self.overlays()), 2)
            self.assertFalse((self.work / "out/sample-vm/manifest.json").exists())
        result = self.report(self.guest_plan())
        self.assertEqual([disk["adopted"] for disk in result["disks"]], [True, False])
        self.assert_done(result, calls=1)

    def test_a_cancelled_run_is_continued_too(self):
        running = self.start("run", self.slow_plan())
        running.wait_for(lambda: self.records("writing"), "record 'writing'")
        running.process.send_signal(signal.SIGINT)
        self.assertNotEqual(running.finish().status, OK)
        self.assertEqual(len(self.overlays()), 2)
        self.assert_done(self.report(self.guest_plan()), calls=1)

    def test_what_does_not_fit_is_prepared_again(self):
        def remove():
            self.overlays()[1].unlink()

        def damage():
            path = self.overlays()[0]
            data = bytearray(path.read_bytes())
            at = data.rindex(TEXT[:6])
            data[at:at + 6] = b"forged"
            path.write_bytes(data)

        def truncate():
            with open(self.overlays()[0], "r+b") as file:
                file.truncate(100)
        for number, spoil in enumerate((remove, damage, truncate)):
            with self.subTest(spoil=spoil.__name__):
                self.calls.unlink(missing_ok=True)
                # One of the disks is written already, of the preparation that is lost.
                self.kill_at("written")
                spoil()
                self.assert_done(self.report(self.guest_plan()), calls=2)
                subprocess.run(["rm", "-r", self.work / "out"], check=True)

    def test_other_options_make_another_preparation(self):
        self.kill_at("written")
        result = self.report(self.guest_plan(options={"text": "prepare!"}))
        self.assertEqual([one["actions"][0]["after"] for one in result["guest"]["plugins"]], ["prepare!", "prepared"])
        self.assert_done_otherwise()

    def assert_done_otherwise(self):
        self.assertEqual(self.calls.read_text().count("prepare"), 2)
        self.assertEqual(list(self.scratch.iterdir()), [])
        self.assertEqual(self.host("cleanup").out, "nothing is left over\n")

    def test_without_a_preparation_the_views_go(self):
        self.kill_at("written")
        plain = self.plan(self.package, staging_dir=str(self.scratch), migration={"guest": False})
        self.assertNotIn("guest", self.report(plain))
        self.assertEqual(list(self.scratch.iterdir()), [])
        self.assertEqual(self.host("cleanup").out, "nothing is left over\n")

    def test_fresh_begins_with_the_preparation(self):
        self.kill_at("written")
        result = self.host("--output", "json", "run", self.guest_plan(), "--fresh").json["results"][0]
        self.assert_done(result, calls=2)

    def test_cleanup_removes_the_views(self):
        self.kill_at("writing")
        self.assertEqual(len(self.overlays()), 2)
        self.host("cleanup")
        self.assertEqual([str(path) for path in self.work.rglob("*") if MARK in path.name], [])
        self.assertEqual(self.records("prepared"), [])
        self.scratch.mkdir(exist_ok=True)
        self.assert_done(self.report(self.guest_plan()), calls=2)

    def test_a_rerun_that_is_refused_keeps_the_preparation(self):
        self.kill_at("written")
        foreign = self.work / "out/sample-vm/manifest.json"
        foreign.write_text("of somebody else")
        self.assertIn("target exists", self.host("run", self.guest_plan(), status=None).err)
        self.assertEqual(len(self.overlays()), 2)
        foreign.unlink()
        self.assert_done(self.report(self.guest_plan()), calls=1)

    def test_a_kill_at_any_moment(self):
        seed = random.randrange(1 << 30)
        print(f"seed {seed}", flush=True)
        moments = random.Random(seed)
        longest, kills = 4.0 if SANITIZED else 1.5, 0
        plan = self.guest_plan(batch={"source_bandwidth_limit": "60MB"})
        while kills < 12:
            running = self.start("run", plan)
            try:
                running.process.wait(moments.uniform(0, longest))
                self.assertEqual(running.finish().status, OK)
                break
            except subprocess.TimeoutExpired:
                self.kill(running)
                kills += 1
        result = self.report(plan)
        if result["already_done"]:
            result["guest"] = json.loads((self.work / "out/sample-vm/manifest.json").read_text())["hyperhost"]["guest"]
        self.assert_done(result, calls=len(self.calls.read_text().split()))


if __name__ == "__main__":
    requirement.main()
