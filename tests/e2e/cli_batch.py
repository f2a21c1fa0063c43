#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A plan of many VMs: order, limits, dependencies, failures, and what status tells meanwhile."""

import datetime
import http.server
import json
import os
import pathlib
import re
import signal
import sqlite3
import statistics
import subprocess
import threading
import time
import unittest

from hyperhost_cli import FAILED, INTERRUPTED, MIB, OK, PATIENCE, PROGRAM, SANITIZED, USAGE, CliTest, interrupt, sparse_raw


class Batch(CliTest):
    def shelf(self, names, size=MIB, data=MIB):
        shelf = self.work / "shelf"
        shelf.mkdir(exist_ok=True)
        first = sparse_raw(self.work / "first.raw", size, data)
        for name in names:
            os.link(first, shelf / f"{name}.raw")
        return shelf

    def batch_plan(self, migrations, shelf=None, batch=None, **keys):
        names = [m["vm"] for m in migrations]
        shelf = shelf or self.shelf([n for n in names if n != "missing"])
        defaults = {"target_format": "raw", **keys.pop("defaults", {})}
        return self.plan(shelf, migrations=[{"provider": "shelf", "id": m["vm"], **m} for m in migrations],
                         batch={"max_retries": 0, **(batch or {})}, defaults=defaults, **keys)

    def started(self):
        """The VMs in the order in which their migrations began."""
        return [e["vm_name"] for e in self.audit() if e["event_type"] == "migration_start"]

    def outcomes(self, done):
        return {r["vm_name"]: r["outcome"] for r in done.json["results"]}

    def test_dependencies_come_before_priorities(self):
        plan = self.batch_plan([
            {"vm": "app", "priority": 9, "depends_on": ["db"]}, {"vm": "db"}, {"vm": "web", "depends_on": ["app", "db"]},
            {"vm": "free", "priority": 5}])
        self.host("run", plan)
        self.assertEqual(self.started(), ["free", "db", "app", "web"])

    def test_a_cycle_is_refused_when_the_plan_is_read(self):
        plan = self.batch_plan([{"vm": "a", "depends_on": ["b"]}, {"vm": "b", "depends_on": ["a"]}])
        done = self.host("validate", plan, status=USAGE)
        self.assertIn("'a' needs 'b' needs 'a'", done.err)

    def test_a_vm_s_own_webhooks_get_its_news_only(self):
        news = []

        class Receiver(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                news.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        hook = {"type": "generic", "url": {"env": "HOOK_URL"}, "on_start": True}
        slack = {"type": "slack", "url": {"env": "HOOK_URL"}, "slack_channel": "#moves", "username": "Moves"}
        plan = self.batch_plan([{"vm": "web", "webhooks": [hook]}, {"vm": "db", "webhooks": [slack]}, {"vm": "app", "webhooks": [hook]},
                                {"vm": "late", "webhooks": [hook], "not_after": "2026-01-01T00:00:00Z"}])
        done = self.host("--output", "json", "run", plan, status=FAILED, env={"HOOK_URL": f"http://127.0.0.1:{server.server_port}/secret-path"})
        self.assertEqual(sorted((one["event"], one["vm_name"]) for one in news if "event" in one),
                         [("migration_complete", "app"), ("migration_complete", "web"), ("migration_skipped", "late"),
                          ("migration_start", "app"), ("migration_start", "web")])
        self.assertEqual([(one["channel"], one["username"], '"db"' in one["text"]) for one in news if "event" not in one],
                         [("#moves", "Moves", True)])
        self.assertEqual({hook["type"]: hook["delivered"] for hook in done.json["webhooks"]}, {"generic": 5, "slack": 1})
        self.assertNotIn("secret-path", done.out + done.err)
        done = self.host("validate", plan, status=USAGE)
        self.assertIn("/migrations/0/webhooks/0/url", done.err)

    def failing(self, name):
        """A package whose checksum is wrong: found while it is read, not before."""
        self.ova("wrong-checksum-disk")[0].rename(self.work / f"shelf/{name}.ova")

    def test_a_failure_skips_what_depends_on_it(self):
        shelf = self.shelf(["free", "web"])
        self.failing("db")
        plan = self.plan(shelf, batch={"max_retries": 0}, migrations=[
            {"vm": "db.ova", "provider": "shelf", "id": "db", "output_name": "db"},
            {"vm": "web", "provider": "shelf", "depends_on": ["db"]}, {"vm": "free", "provider": "shelf"}])
        done = self.host("--output", "json", "run", plan, status=FAILED)
        self.assertEqual(self.outcomes(done), {"db.ova": "failed", "web": "skipped", "free": "succeeded"})
        self.assertIn("'db', which it depends on, did not succeed", json.dumps(done.json))
        read = {r["vm_name"]: r["export_size"] for r in done.json["results"]}["db.ova"]
        self.assertGreater(read, 0)  # what came before it failed
        failed = [event for event in self.audit() if event["event_type"] == "migration_failed"]
        self.assertEqual([event["details"]["bytes_exported"] for event in failed], [str(read)])
        tasks = {task["vm_name"]: task for task in self.host("--output", "json", "status").json["runs"][0]["tasks"]}
        self.assertEqual({vm: (task["status"], task["attempts"], task["start_time"] is None) for vm, task in tasks.items()},
                         {"db.ova": ("failed", 1, False), "web": ("skipped", 0, True), "free": ("succeeded", 1, False)})

    def test_continue_on_error_false_begins_nothing_more(self):
        shelf = self.shelf(["one", "two"])
        self.failing("bad")
        plan = self.plan(shelf, batch={"max_retries": 0, "continue_on_error": False}, migrations=[
            {"vm": "one", "provider": "shelf", "priority": 2},
            {"vm": "bad.ova", "provider": "shelf", "output_name": "bad", "priority": 1}, {"vm": "two", "provider": "shelf"}])
        done = self.host("--output", "json", "run", plan, status=FAILED)
        self.assertEqual(self.outcomes(done), {"one": "succeeded", "bad.ova": "failed", "two": "skipped"})

    def test_what_is_limited_does_not_hold_up_the_rest(self):
        # Two providers, one VM at a time from each: with two at once they run side by side, although the first three
        # of the plan are of one provider.
        shelf = self.shelf(["a1", "a2", "a3", "b1", "b2"], 64 * MIB, 32 * MIB)
        plan = self.plan(shelf, providers={n: {"plugin": "local-ovf", "path": str(shelf)} for n in ("a", "b")},
                         batch={"max_parallel": 2, "limits": {"per_provider": 1}},
                         migrations=[{"vm": n, "provider": n[0]} for n in ("a1", "a2", "a3", "b1", "b2")])
        self.host("run", plan)
        self.assertEqual(set(self.started()[:2]), {"a1", "b1"})
        running = {"a": 0, "b": 0}
        for event in self.audit():
            step = {"migration_start": 1, "migration_complete": -1}.get(event["event_type"], 0)
            if step:
                running[event["vm_name"][0]] += step
                self.assertLessEqual(running[event["vm_name"][0]], 1)

    def test_start_windows(self):
        now = datetime.datetime.now(datetime.timezone.utc)
        past, soon = now - datetime.timedelta(hours=1), now + datetime.timedelta(seconds=2 * PATIENCE)
        plan = self.batch_plan([{"vm": "late", "not_after": past.isoformat()},
                                {"vm": "soon", "not_before": soon.isoformat(), "priority": 9}, {"vm": "now"}])
        done = self.host("--output", "json", "run", plan, status=FAILED)
        self.assertEqual(self.outcomes(done), {"late": "skipped", "soon": "succeeded", "now": "succeeded"})
        self.assertEqual(self.started(), ["now", "soon"])
        self.assertIn("start window is over", json.dumps(done.json))
        began = {r["vm_name"]: r["start_time"] for r in done.json["results"]}["soon"]
        self.assertGreaterEqual(datetime.datetime.fromisoformat(began.replace("Z", "+00:00")),
                                soon.replace(microsecond=0))

    # --- budgets

    def test_sources_are_read_no_faster_than_the_limit(self):
        shelf = self.shelf(["a", "b"], 8 * MIB, 8 * MIB)
        ways = {"converted": {}, "copied": {"defaults": {"convert": False}},
                "in processes of their own": {
                    "providers": {"shelf": {"plugin": "local-ovf", "path": str(shelf), "isolation": "process"}},
                    "converter": {"plugin": "parallel-disk", "isolation": "process"}}}
        for name, keys in ways.items():
            with self.subTest(name):
                plan = self.batch_plan([{"vm": "a"}, {"vm": "b"}], shelf, output_dir=name,
                                       batch={"max_parallel": 2, "source_bandwidth_limit": "8MB"}, **keys)
                done = self.host("run", plan)
                self.assertGreater(done.seconds, 1.8)  # 16 MiB at 8 MB/s: 2.1 s
                for vm in "ab":
                    self.assertEqual(next((self.work / name / vm).glob("*.raw")).read_bytes(),
                                     (shelf / f"{vm}.raw").read_bytes())

    def test_a_limit_that_slows_a_run_is_named_and_zeros_are_no_speed(self):
        limit = 4_000_000
        shelf = self.shelf(["sparse"], 1 << 30, 16 * MIB)  # 1 GiB as the guest sees it, 4 s of data
        plan = self.plan(shelf, vm="sparse", batch={"max_retries": 0, "source_bandwidth_limit": f"{limit // 1_000_000}MB"},
                         defaults={"verify": "none"})
        running = self.start("run", plan)
        runs, texts = [], []
        while running.process.poll() is None:
            runs += [run["progress"] for run in self.host("--output", "json", "status").json["runs"] if "progress" in run]
            texts.append(self.host("status").out)
        self.assertEqual(running.finish().status, OK)
        named = "source_bandwidth_limit of 3.81 MiB/s"
        self.assertTrue(any(named in run["limits"] for run in runs), runs)
        self.assertTrue(any(f"slowed down by {named}\n" in text for text in texts), texts)
        self.assertGreater(max(run["rate"] for run in runs), 0)
        self.assertLess(max(run["rate"] for run in runs), 1.5 * limit)

    def test_a_run_that_waits_for_its_sources_is_cancelled_and_gone_on_with(self):
        shelf = self.shelf(["slow"], 64 * MIB, 64 * MIB)  # 18 hours
        plan = self.plan(shelf, vm="slow", batch={"max_retries": 0, "source_bandwidth_limit": "1KB"})
        running = self.start("run", plan)
        running.wait_for(lambda: next((self.work / "out").rglob("*.part"), None), "a disk that is begun")
        done, _ = interrupt(running)
        self.assertEqual(done.status, INTERRUPTED, done)
        self.host("run", plan, "--set", "batch.source_bandwidth_limit=0")

    def test_a_stopped_run_of_many_says_little(self):
        names = [f"vm{i:02}" for i in range(60)]
        plan = self.batch_plan([{"vm": name} for name in names], batch={"source_bandwidth_limit": "1KB"})
        running = self.start("run", plan)
        running.wait_for(lambda: next((self.work / "out").rglob("*.part"), None), "a disk that is begun")
        done, _ = interrupt(running)
        self.assertEqual(done.status, INTERRUPTED, done)
        self.assertLess(len((done.out + done.err).splitlines()), 30, done)
        self.assertIn("59 VMs cancelled, not begun: the run was cancelled", done.out)

    def test_a_memory_limit_that_is_too_small_is_an_error_of_the_plan(self):
        strict = {"plugin": "parallel-disk", "options": {"strict_deflate": True}}
        rows = (("4MiB", {}, "leaves 4 MiB, and 'parallel-disk' needs at least 9 MiB", "set it to at least 9 MiB"),
                ("16MiB", {"converter": strict}, "leaves 8 MiB for each of 2", "set it to at least 18 MiB"),
                ("16MiB", {"converter": {"plugin": "parallel-disk", "options": {"memory": 32 * MIB}}},
                 "own options take more memory", "raise it"),
                ("much", {}, "memory_limit", "64KiB"), (-1, {}, "memory_limit", "0"))
        for limit, second, *words in rows:
            with self.subTest(limit=limit, second=second):
                plan = self.batch_plan([{"vm": "a"}, {"vm": "b", **second}], self.work, batch={"memory_limit": limit})
                done = self.host("validate", plan, status=USAGE)
                for word in ("plan.yaml:", "/batch/memory_limit", *words):
                    self.assertIn(word, done.err)
                self.assertEqual(done.err.count("error:"), 1, done)

    # --- what is known of runs

    def test_status_history_and_result_tell_what_became_of_a_run(self):
        self.assertIn("no run yet", self.host("status").out)
        shelf = self.shelf(["one"])
        self.failing("bad")
        plan = self.plan(shelf, name="night.yaml", batch={"max_retries": 0}, migrations=[
            {"vm": "one", "provider": "shelf"}, {"vm": "bad.ova", "provider": "shelf", "output_name": "bad"}])
        report = {r["vm_name"]: r for r in self.host("--output", "json", "run", plan, status=FAILED).json["results"]}
        status = self.host("--output", "json", "status").json["runs"]
        self.assertEqual([(r["state"], r["counts"]) for r in status], [("ended", {"succeeded": 1, "failed": 1})])
        self.assertIn("checksum", {t["vm_name"]: t for t in status[0]["tasks"]}["bad.ova"]["error"])
        task = report["one"]["task_id"]
        detail = self.host("--output", "json", "status", task).json
        self.assertEqual([s["stage"] for s in detail["stages"]], ["export", "convert", "verify"])
        self.assertTrue(all(s["success"] and s["end_time"] for s in detail["stages"]))
        self.assertEqual(detail["percentage"], 100)
        result = self.host("--output", "json", "result", task).json
        self.assertEqual({k: result[k] for k in report["one"]}, report["one"])
        text = self.host("result", "one").out  # by the VM's name
        for word in (report["one"]["disks"][0]["content_digest"], "succeeded", "convert"):
            self.assertIn(word, text)
        history = self.host("history").out
        self.assertIn("e2e", history)
        self.assertIn("ended", history)
        self.assertIn("there is no task 'nobody'", self.host("result", "nobody", status=FAILED).err)
        self.assertIn("nothing to cancel", self.host("cancel", task, status=FAILED).err)

    def test_a_damaged_store_is_found_before_anything_is_touched(self):
        plan = self.batch_plan([{"vm": "one"}])
        self.host("history")
        file = self.work / ".state/state.db"
        with sqlite3.connect(file) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()
        data = bytearray(file.read_bytes())
        data[4096:8192] = b"\xa5" * 4096
        file.write_bytes(data)
        done = self.host("run", plan, status=3)
        self.assertIn("damaged", done.err)
        self.assertFalse((self.work / "out").exists())

    def test_one_vm_is_cancelled_and_the_others_go_on(self):
        shelf = self.shelf([])
        sparse_raw(shelf / "slow.raw", 1 << 30, 160 * MIB)
        sparse_raw(shelf / "quick.raw", MIB, MIB)
        plan = self.plan(shelf, batch={"max_parallel": 1},
                         migrations=[{"vm": "slow", "provider": "shelf", "compression": "zlib", "compression_level": 9},
                                     {"vm": "quick", "provider": "shelf"}])
        running = self.start("--output", "json", "run", plan)

        def task():
            state = self.host("--output", "json", "status").json["runs"]
            tasks = {t["vm_name"]: t for r in state for t in r["tasks"]}
            return tasks.get("slow", {}).get("status") == "running" and tasks["slow"]["task_id"]
        self.host("cancel", running.wait_for(task, "a running task"))
        done = running.finish(30)
        self.assertEqual(done.status, INTERRUPTED, done)
        self.assertEqual(self.outcomes(done), {"slow": "cancelled", "quick": "succeeded"})

    def test_a_killed_run_is_shown_as_killed_with_the_time_of_its_death(self):
        shelf = self.shelf([])
        sparse_raw(shelf / "slow.raw", 1 << 30, 160 * MIB)
        plan = self.plan(shelf, vm="slow", migration={"compression": "zlib", "compression_level": 9})
        running = self.start("run", plan)
        running.wait_for(lambda: re.search(r"slow +\S+ +running +convert +\d+ %", self.host("status").out), "a running task")
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait(10)
        died = time.time()
        status = self.host("status").out
        self.assertRegex(status, r"killed at 20\d\d-\d\d-\d\dT")
        self.assertRegex(status, r"slow +\S+ +killed +convert +\d+ %")
        self.assertIn(f"hyperhost run {plan}", status)
        run = self.host("--output", "json", "status").json["runs"][0]
        self.assertEqual(run["state"], "killed")
        end = datetime.datetime.fromisoformat(run["end_time"].replace("Z", "+00:00")).timestamp()
        self.assertLess(end, died + 1)
        self.assertGreater(end, died - 10)
        of_vm = self.host("status", "slow").out
        self.assertNotIn("running", of_vm)
        self.assertNotRegex(of_vm, r"(?m)^convert .* 0 B +killed$")
        self.assertIn("run its plan again", self.host("result", "slow", status=FAILED).err)
        time.sleep(1.2)  # its time does not go on
        self.assertEqual(self.host("status").out, status)
        self.assertEqual(self.host("history").out.count("killed"), 1)

    # --- many

    def test_hundreds_of_vms(self):
        count = 1000 if os.environ.get("HYPERHOST_LONG") == "1" else 100 if SANITIZED else 250
        shelf = self.shelf([f"vm{i:04}" for i in range(count)], 65536, 0)
        plan = self.plan(shelf, batch={"max_parallel": 2}, observability={},
                         defaults={"target_format": "raw", "durability": "none"},
                         migrations=[{"vm": f"vm{i:04}", "provider": "shelf"} for i in range(count)])
        began = time.monotonic()
        running = self.start("--output", "json", "run", plan)
        first = running.wait_for(lambda: next(pathlib.Path(self.work / "out").glob("*/manifest.json"), None), "a first VM")
        self.assertTrue(first)
        until_first = time.monotonic() - began
        answers, largest, early = [], 0, 0
        while running.process.poll() is None:
            asked = time.monotonic()  # no time limit, since waiting with one looks every 50 ms only
            subprocess.run([PROGRAM, "--output", "json", "status"], check=True, stdout=subprocess.DEVNULL,
                           env={**os.environ, "HYPERHOST_STATE_DIR": str(self.work / ".state")})
            answers.append(time.monotonic() - asked)
            try:
                status = pathlib.Path(f"/proc/{running.process.pid}/status").read_text()
                memory = int(next(l for l in status.splitlines() if l.startswith("VmRSS")).split()[1])
                early = early or memory
                largest = max(largest, memory)
            except (OSError, StopIteration):
                pass
            time.sleep(0.2)
        done = running.finish(600)
        self.assertEqual(done.status, OK, done.err[-2000:])
        self.assertEqual({r["outcome"] for r in done.json["results"]}, {"succeeded"})
        self.assertEqual(len(done.json["results"]), count)
        print(f"\n{count} VMs: first after {until_first:.1f} s, all after {done.seconds:.1f} s, {len(answers)} times status: "
              f"median {statistics.median(answers) * 1000:.0f} ms, slowest {max(answers) * 1000:.0f} ms, memory {early} to {largest} KiB")
        if not SANITIZED:
            self.assertLess(largest - early, 48 * 1024, "memory grows with the plan")


if __name__ == "__main__":
    unittest.main()
