#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""hyperhost audit verify and audit query on logs that real runs wrote."""

import json
import os
import subprocess

from hyperhost_cli import DIFFERS, FAILED, OK, PROGRAM, SANITIZED, USAGE, CliTest
import requirement


class Audit(CliTest):
    def setUp(self):
        super().setUp()
        self.package, _ = self.ova("two-disks")
        self.log = self.work / "audit/audit.log"
        self.host("run", self.plan(self.package, user="alice"))
        # The second fails: what it would write is there.
        self.host("run", self.plan(self.package, user="bob"), "--fresh", status=3)
        self.lines = self.log.read_bytes().splitlines()

    def verdict(self, status):
        done = self.host("--output", "json", "audit", "verify", self.log, status=status)
        self.assertEqual(done.json["intact"], status == OK)
        return done.json

    def test_intact(self):
        verdict = self.verdict(OK)
        self.assertEqual((verdict["lines"], verdict["first_seq"], verdict["last_seq"]),
                         (len(self.lines), 1, len(self.lines)))
        self.assertIn("intact", self.host("audit", "verify", self.log).out)

    def test_every_kind_of_tampering_is_found(self):
        lines = self.lines
        edited = lines[1].replace(b"alice", b"mally")
        self.assertNotEqual(edited, lines[1])
        for what, content in {
                "edited": [lines[0], edited, *lines[2:]], "removed": [lines[0], *lines[2:]],
                "swapped": [lines[1], lines[0], *lines[2:]], "repeated": [lines[0], *lines],
                "first removed": lines[1:], "last removed": lines[:-1],
                "last edited": [*lines[:-1], lines[-1].replace(b"bob", b"eve")],
                "added": [*lines, lines[-1]], "damaged": [lines[0], b"{", *lines[2:]]}.items():
            with self.subTest(what=what):
                self.log.write_bytes(b"\n".join(content) + b"\n")
                verdict = self.verdict(DIFFERS)
                self.assertGreater(verdict["fault_count"], 0)
                done = self.host("audit", "verify", self.log, status=DIFFERS)
                self.assertIn("NOT INTACT", done.out)
                self.assertIn(str(self.log), done.out.splitlines()[0])

    def query(self, *flags, **how):
        return [json.loads(line) for line in
                self.host("--output", "json", "audit", "query", self.log, *flags, **how).out.splitlines()]

    def test_each_filter(self):
        entries = [json.loads(line) for line in self.lines]
        self.assertEqual(self.query(), entries)
        task = next(e["task_id"] for e in entries if "task_id" in e)
        for flags, key, value in ((("--user", "alice"), "user", "alice"), (("--vm", "sample-vm"), "vm_name", "sample-vm"),
                                  (("--task", task), "task_id", task), (("--success", "false"), "success", False),
                                  (("--success", "true"), "success", True),
                                  (("--provider", "local-ovf"), "provider", "local-ovf"),
                                  (("--type", "export_start"), "event_type", "export_start")):
            with self.subTest(flags=flags):
                wanted = [e for e in entries if e.get(key) == value]
                self.assertTrue(wanted)
                self.assertLess(len(wanted), len(entries))
                self.assertEqual(self.query(*flags), wanted)
        self.assertEqual(len(self.query("--type", "migration_start", "--type", "migration_complete")), 2)
        self.assertEqual(self.query("--limit", "2"), entries[:2])
        middle = entries[len(entries) // 2]["timestamp"]
        self.assertEqual(self.query("--since", middle), [e for e in entries if e["timestamp"] >= middle])
        self.assertEqual(self.query("--until", middle), [e for e in entries if e["timestamp"] < middle])
        self.assertEqual(self.query("--since", "1h"), entries)
        self.assertEqual(self.query("--until", "1h"), [])
        self.assertEqual(self.query("--user", "nobody"), [])
        self.assertEqual(self.query("--user", "alice", "--success", "false"), [])

    def test_for_people(self):
        out = self.host("audit", "query", self.log, "--type", "migration_complete").out
        self.assertEqual(len(out.splitlines()), 1)
        for word in ("migration_complete", "completed", "alice", "sample-vm"):
            self.assertIn(word, out)

    def test_mistakes(self):
        self.assertIn("no time", self.host("audit", "query", self.log, "--since", "yesterday", status=USAGE).err)
        self.assertIn("there is no audit log", self.host("audit", "verify", "nowhere.log", status=FAILED).err)
        self.assertIn("there is no audit log", self.host("audit", "query", "nowhere.log", status=FAILED).err)
        self.host("audit", "query", self.log, "--success", "maybe", status=USAGE)
        self.host("audit", "query", self.log, "--limit", "-1", status=USAGE)
        self.host("audit", status=USAGE)
        self.host("audit", "verify", self.work, status=USAGE)

    def test_memory_does_not_depend_on_the_size(self):
        if SANITIZED:
            self.skipTest("a sanitizer's memory says nothing")
        peaks = []
        for copies in (1, 4_000):
            big = self.work / f"big{copies}.log"
            with open(big, "wb") as out:  # in pieces: what this process takes would count for its child
                for _ in range(copies):
                    out.writelines(line + b"\n" for line in self.lines)
            with open(self.work / "found", "wb") as out:
                process = subprocess.Popen([PROGRAM, "--output", "json", "audit", "query", big, "--user", "alice"],
                                           stdout=out)
                _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            self.assertEqual(process.returncode, OK)
            peaks.append(usage.ru_maxrss)
        self.assertGreater((self.work / "big4000.log").stat().st_size, 10 << 20)
        self.assertLess(peaks[1] - peaks[0], 4096, f"KiB at the peak: {peaks}")


if __name__ == "__main__":
    requirement.main()
