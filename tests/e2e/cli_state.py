#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What outlives a run: leftovers of killed ones and their cleanup."""

import json
import os
import signal
import sqlite3
import unittest

from hyperhost_cli import (FAILED, GIB, MIB, OK, USAGE, CliTest, sparse_raw)

SLOW = {"compression": "zlib", "compression_level": 9, "verify": "none"}


class Cleanup(CliTest):
    def killed_run(self):
        """A run killed while its disk is being written; the unfinished file it left."""
        sparse_raw(self.work / "big.raw", GIB, 160 * MIB)
        running = self.start("run", self.plan(self.work / "big.raw", vm="big", defaults=SLOW))

        def written():
            return next((p for p in (self.work / "out").rglob("*.part") if p.stat().st_blocks > 4096), None)
        part = running.wait_for(written, "written data in the output directory")
        busy = self.host("--output", "json", "cleanup").json  # of a run that is going on
        self.assertEqual({e["state"] for e in busy["entries"]}, {"in use"})  # the file, and the plan's lock
        self.assertTrue(part.exists())
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait(10)
        return part

    def entry(self, plugin, **what):
        """An open entry as a killed run of the plugin would have left it."""
        with sqlite3.connect(self.work / ".state/state.db") as db:
            db.execute("INSERT INTO journal(plugin, created, what) VALUES (?, 0, ?)",
                       (plugin, json.dumps({"plugin": plugin, **what})))
        db.close()

    def test_an_unfinished_file_of_a_killed_run_is_found_and_removed_without_a_plan(self):
        part = self.killed_run()
        dry = self.host("--output", "json", "cleanup", "--dry-run").json
        self.assertIn(("unfinished file", "pending"), [(e["kind"], e["state"]) for e in dry["entries"]])
        self.assertTrue(part.exists())
        done = self.host("cleanup")
        self.assertRegex(done.out, r"[123] undone, 0 open")
        self.assert_nothing_left()
        self.assertFalse(part.parent.exists(), "the directory made for it stays")
        self.assertEqual(self.host("cleanup").out, "nothing is left over\n")

    def test_a_file_that_is_gone_already_closes_its_entry(self):
        self.killed_run().unlink()
        self.assertGreaterEqual(self.host("--output", "json", "cleanup").json["undone"], 1)

    def test_entries_of_other_places_say_that_a_plan_is_needed(self):
        package, _ = self.ova("vmware")
        plan = self.plan(package)
        self.host("run", plan)
        self.entry("vsphere", kind="snapshot", where="https://vc.invalid/sdk", ref="snapshot-7")
        done = self.host("cleanup", status=FAILED)
        for word in ("vsphere", "snapshot-7", "https://vc.invalid/sdk", "hyperhost cleanup PLAN"):
            self.assertIn(word, done.out)
        done = self.host("--output", "json", "cleanup", plan, status=FAILED).json
        self.assertEqual([e["state"] for e in done["entries"]], ["no place"])
        self.host("cleanup", "--dry-run", status=OK)

    def test_an_entry_cannot_name_a_file_that_is_none_of_its_own(self):
        package, _ = self.ova("vmware")
        self.host("run", self.plan(package))
        victim = self.work / "out/victim"
        victim.touch()
        for ref in ("victim", "../victim", ".x.hyperhost-1-1.part/../victim"):
            self.entry("local", kind="unfinished file", where=str(self.work / "out"), key="vm/disk", ref=ref)
        done = self.host("--output", "json", "cleanup", status=FAILED).json
        self.assertEqual([e["state"] for e in done["entries"]], ["failed"] * 3)
        self.assertTrue(victim.exists())

    def test_a_plan_with_mistakes_is_refused(self):
        (self.work / "bad.yaml").write_text("version: 7\n")
        self.assertIn("nothing was touched", self.host("cleanup", "bad.yaml", status=USAGE).err)


if __name__ == "__main__":
    unittest.main()
