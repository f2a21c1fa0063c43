#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""One run with every observer on, watched from outside while it goes on: three VMs, of which one is
done, one is held in the middle of its conversion and one will fail.
"""

import concurrent.futures
import hashlib
import hmac
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

from hyperhost_cli import DIFFERS, FAILED, MIB, OK, PROGRAM, CliTest, interrupt, sparse_raw
from observe_dashboard import Browser
from observe_support import connect, exchange, get, raw_socket, read_events
from observe_webhooks import Receiver
import requirement

TOKEN, HOOK_SECRET = "metrics-geheim-1", "hook-geheim-2"


class Follower(threading.Thread):
    """Reads one event stream to its end."""

    def __init__(self, url, path):
        super().__init__(daemon=True)
        self.events, self.ended = [], False
        self.connection = connect(url, timeout=120)
        self.connection.request("GET", path)
        self.answer = self.connection.getresponse()
        self.start()

    def run(self):
        for _, kind, data in read_events(self.answer):
            self.events.append((kind, json.loads(data)))
        self.ended = True

    def of(self, vm):
        return [task for kind, task in self.events if kind == "progress" and task["vm_name"] == vm]


class Everything(CliTest):
    def setUp(self):
        super().setUp()
        requirement.tool("qemu-img", package="qemu-utils")
        shelf = self.work / "shelf"
        shelf.mkdir()
        sparse_raw(shelf / "first.raw", 32 * MIB, 16 * MIB, 1)
        sparse_raw(shelf / "second.raw", 256 * MIB, 192 * MIB, 2)
        self.ova("wrong-checksum-disk")[0].rename(shelf / "third.ova")
        self.hook = Receiver()
        self.addCleanup(self.hook.__exit__)
        with socket.create_server(("127.0.0.1", 0)) as closed:
            dead = f"http://127.0.0.1:{closed.getsockname()[1]}/T0/dead-geheim-3"
        self.env = {"METRICS_TOKEN": TOKEN, "HOOK_SECRET": HOOK_SECRET, "DEAD_URL": dead}
        self.made = self.plan(
            shelf, migrations=[
                {"vm": "first.raw", "provider": "shelf"},
                {"vm": "second.raw", "provider": "shelf", "converter": "qemu-img", "compression": "zlib"},
                {"vm": "third.ova", "provider": "shelf", "output_name": "third"}],
            observability={
                "progress_api": "127.0.0.1:0",
                "metrics_api": {"listen": "127.0.0.1:0", "token": {"env": "METRICS_TOKEN"}},
                "audit_log": {"path": "audit/audit.log", "required": True},
                "webhooks": [
                    {"type": "generic", "url": self.hook.url, "secret": {"env": "HOOK_SECRET"}, "on_start": True,
                     "on_warning": True},
                    {"type": "slack", "url": {"env": "DEAD_URL"}, "max_retries": 0, "timeout": "2s"}]})

    def begin(self):
        running = self.start("--output", "json", "run", self.made, env=self.env)

        def urls():
            said = running.text(running.err)
            return re.search(r"dashboard: (http://\S+)", said), re.search(r"metrics: (http://\S+?)/metrics", said)
        found = running.wait_for(lambda: all(urls()) and urls(), "the addresses")
        self.progress, self.metrics = (match[1] for match in found)
        return running

    def tasks(self):
        return {t["vm_name"]: t for t in json.loads(get(self.progress, "/api/v1/progress")[2])["tasks"]}

    def hold_second(self, running):
        """Stops the qemu-img of the second VM once it has got somewhere and is not done."""
        pid = running.child(("qemu-img", "convert"))
        for _ in range(200):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.15)
            share = self.tasks()["second.raw"].get("conversion_progress", {}).get("percentage", 0)
            if share > 0:
                self.assertLess(share, 100)
                self.addCleanup(self.release, pid)
                return pid
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.05)
        raise AssertionError("the second VM does not move")

    @staticmethod
    def release(pid):
        try:
            os.kill(pid, signal.SIGCONT)
        except OSError:
            pass

    def scrape(self):
        status, headers, text = get(self.metrics, "/metrics", {"Authorization": "Bearer " + TOKEN})
        self.assertEqual(status, 200)
        self.assertTrue(headers["Content-Type"].startswith("text/plain; version=0.0.4"))
        return text

    def test_everything(self):
        running = self.begin()
        all_of_it = Follower(self.progress, "/api/v1/stream")
        pid = self.hold_second(running)
        one = Follower(self.progress, "/api/v1/stream/" + self.tasks()["second.raw"]["task_id"])
        self.check_endpoints()
        self.check_metrics()
        with self.subTest("the dashboard"):
            self.check_dashboard()
        self.check_abuse(running)
        os.kill(pid, signal.SIGCONT)
        done = running.finish(90)
        self.assertEqual(done.status, FAILED, done)
        self.check_streams(all_of_it, one)
        self.check_webhooks(done)
        self.check_audit()
        for place in (done.out, done.err, (self.work / "audit/audit.log").read_text()):
            self.assertNotIn("geheim", place)

    def check_endpoints(self):
        tasks = self.tasks()
        self.assertEqual({vm: t["status"] for vm, t in tasks.items()},
                         {"first.raw": "completed", "second.raw": "converting", "third.ova": "pending"})
        second = tasks["second.raw"]
        self.assertTrue(0 < second["percentage"] < 100)
        self.assertEqual(second["conversion_progress"]["bytes_total"], 256 * MIB)
        self.assertTrue(0 < second["conversion_progress"]["bytes_done"] < 256 * MIB)
        status, _, body = get(self.progress, "/api/v1/progress/" + second["task_id"])
        self.assertEqual((status, json.loads(body)["vm_name"]), (200, "second.raw"))
        manifest = json.loads(get(self.progress, "/api/v1/manifest/" + tasks["first.raw"]["task_id"])[2])
        self.assertEqual(manifest["manifest_version"], "1.0")
        self.assertEqual(get(self.progress, "/api/v1/manifest/" + second["task_id"])[0], 404)
        document = json.loads(get(self.progress, "/api/v1/openapi.json")[2])
        self.assertEqual(document["openapi"][:3], "3.1")
        self.assertIn("PUT changes", document["info"]["description"])
        schema = document["components"]["schemas"]["Task"]
        for task in tasks.values():
            self.assertEqual(set(task) - set(schema["properties"]), set())
            self.assertEqual(set(schema["required"]) - set(task), set())
        for url, path in ((self.progress, "/healthz"), (self.progress, "/readyz"), (self.metrics, "/healthz"),
                          (self.progress, "/health"), (self.metrics, "/health")):
            self.assertEqual(get(url, path)[0], 200)
        for path, allowed in (("/api/v1/bandwidth", "GET, HEAD, PUT"), ("/api/v1/progress", "GET, HEAD")):
            status, headers, _ = get(self.progress, path, method="POST")
            self.assertEqual((status, headers["Allow"]), (405, allowed))
            operations = document["paths"][path]
            self.assertEqual({method.upper() for method in operations} | {"HEAD"}, set(allowed.split(", ")))
            self.assertTrue(all({"403", "405"} <= set(one["responses"]) for one in operations.values()))
        for path in ("/metrics", "/stats"):
            status, headers, body = get(self.metrics, path)
            self.assertEqual((status, headers["Content-Type"]), (401, "application/problem+json"))

    def check_metrics(self):
        text = self.scrape()
        self.assertIn("hypersdk_migrations_active 1\n", text)
        # Counted while the disk is under way, and of the first VM all of it.
        moved = float(re.search(r"^hypersdk_bytes_converted_total (\S+)$", text, re.M)[1])
        self.assertTrue(32 * MIB < moved < 288 * MIB, moved)
        self.assertRegex(text, r'hypersdk_webhook_deliveries_total\{hook="generic-0",[^}]*result="delivered"')
        stats = json.loads(get(self.metrics, "/stats", {"Authorization": "Bearer " + TOKEN})[2])
        self.assertEqual((stats["migrations"]["succeeded"], stats["migrations"]["active"]), (1, 1))
        requirement.need(shutil.which("promtool"), "promtool is not installed (Debian package prometheus)")
        checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
        self.assertEqual((checked.returncode, checked.stderr), (0, ""), checked.stdout)

    def check_dashboard(self):
        with Browser() as browser:
            browser.open(self.progress)
            browser.wait("return document.querySelectorAll('.task').length === 3", "three VMs")
            states = browser.run("return [...document.querySelectorAll('.task')].map(e => e.dataset.status)")
            self.assertEqual(states, ["completed", "converting", "pending"])
            browser.run("document.querySelector('[data-status=converting] summary').click()")
            browser.wait("return document.querySelectorAll('[data-status=converting] .disks li').length > 0", "its disks")
            browser.screenshot("run-everything")
            self.assertEqual(browser.log(), [])

    def check_abuse(self, running):
        slow = []
        for _ in range(100):
            client = raw_socket(self.progress)
            client.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
            slow.append(client)
        huge = exchange(self.progress, b"GET / HTTP/1.1\r\nX-Big: " + b"x" * 1_000_000 + b"\r\n\r\n")
        self.assertIn(b"431", huge.split(b"\r\n")[0])

        def hammer(worker):
            connection = connect(self.progress)
            wrong = 0
            for i in range(250):
                method, path, wanted = (("GET", "/api/v1/progress", 200), ("PUT", "/", 405), ("GET", "/%2e%2e/x", 404),
                                        ("DELETE", "/api/v1/progress", 405), ("GET", "/nowhere", 404))[i % 5]
                connection.request(method, path)
                answer = connection.getresponse()
                answer.read()
                wrong += answer.status != wanted
            connection.close()
            return wrong

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            self.assertEqual(sum(pool.map(hammer, range(4))), 0)
        self.assertEqual(get(self.progress, "/healthz")[0], 200)
        self.assertIsNone(running.process.poll())
        for client in slow:
            client.close()

    def check_streams(self, all_of_it, one):
        for follower in (all_of_it, one):
            follower.join(20)
            self.assertTrue(follower.ended, "the stream did not end with the run")
        self.assertEqual(one.events[-1][0], "end")
        self.assertEqual({t["vm_name"] for kind, t in one.events if kind == "progress"}, {"second.raw"})
        for vm, last in (("first.raw", "completed"), ("second.raw", "completed"), ("third.ova", "failed")):
            states = all_of_it.of(vm)
            shares = [task["percentage"] for task in states]
            self.assertEqual(shares, sorted(shares), vm)
            self.assertEqual(states[-1]["status"], last)
            self.assertEqual(shares[-1] == 100, last == "completed")
            self.assertTrue(all(share < 100 for task, share in zip(states, shares) if task["status"] != "completed"))
        self.assertIn("sample-vm-disk1.vmdk", all_of_it.of("third.ova")[-1]["error"])

    def check_webhooks(self, done):
        events = []
        for _, headers, body in self.hook.received:
            stamp = headers["X-Hyperhost-Timestamp"]
            self.assertLess(abs(time.time() - int(stamp)), 120)
            wanted = hmac.new(HOOK_SECRET.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
            self.assertEqual(headers["X-Hyperhost-Signature"], "sha256=" + wanted)
            events.append(json.loads(body)["event"])
        self.assertEqual((events.count("migration_start"), events.count("migration_complete"),
                          events.count("migration_failed")), (3, 2, 1), events)
        self.assertEqual((events[0], events[-1]), ("run_start", "run_failed"))
        counts = json.loads(self.hook.received[-1][2])["counts"]
        self.assertEqual(counts, {"total": 3, "succeeded": 2, "failed": 1, "cancelled": 0, "skipped": 0})
        told = {hook["name"]: hook for hook in done.json["webhooks"]}
        self.assertEqual(told["generic-0"]["failed"], 0)
        self.assertEqual(told["generic-0"]["delivered"], len(events))
        # The dead one changed nothing but is not passed over.
        self.assertEqual((told["slack-1"]["failed"], told["slack-1"]["delivered"]), (4, 0))
        self.assertIn("webhook", done.err)

    def check_audit(self):
        log = self.work / "audit/audit.log"
        entries = self.audit()
        self.assertEqual([e["success"] for e in entries if e["event_type"] == "migration_complete"], [True, True])
        self.assert_audited_failure("sample-vm-disk1.vmdk")
        end = next(e for e in entries if e["action"] == "run_end")
        self.assertEqual((end["status"], end["success"], end["details"]["succeeded"], end["details"]["failed"]),
                         ("failed", False, "2", "1"))
        denied = [e for e in entries if e["event_type"] == "api_access" and not e["success"]]
        self.assertTrue(denied)
        self.assertEqual(self.host("audit", "verify", log).status, OK)
        text = log.read_bytes()
        log.write_bytes(text.replace(b"second.raw", b"sEcond.raw", 1))
        self.assertIn("NOT INTACT", self.host("audit", "verify", log, status=DIFFERS).out)

    def test_a_webhook_that_stays_silent_is_in_the_summary(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}/geheim"
            plan = self.plan(self.work / "shelf", vm="first.raw", name="silent.yaml", observability={
                "webhooks": [{"type": "discord", "url": {"env": "URL"}, "timeout": "1s", "max_retries": 0}]})
            done = self.host("run", plan, env={"URL": url})
        self.assertRegex(done.out, r"webhook discord-0: 2 of 2 not delivered: .")
        self.assertNotIn("geheim", done.out + done.err)


class NextRun(CliTest):
    def test_the_page_shows_the_next_run_alone_and_a_skipped_vm_as_skipped(self):
        shelf = self.work / "shelf"
        shelf.mkdir()
        for name in ("first", "second", "late"):
            sparse_raw(shelf / f"{name}.raw", MIB, MIB)
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]

        def run(name, *migrations):
            """The VM "first" or "second" moves until the run is stopped."""
            return self.start("run", self.plan(
                shelf, name=f"{name}.yaml", migrations=[{"provider": "shelf", **one} for one in migrations],
                batch={"max_retries": 0, "source_bandwidth_limit": "1KB"},
                observability={"progress_api": f"127.0.0.1:{port}"}))
        shown = "return [...document.querySelectorAll('.task .name')].map(e => e.textContent).join()"
        running = run("one", {"vm": "first"})
        running.wait_for(lambda: "dashboard:" in running.text(running.err), "the page")
        with Browser() as browser:
            browser.open(f"http://127.0.0.1:{port}")
            browser.wait(shown + " === 'first'", "the first run's VM")
            interrupt(running)
            browser.wait("return document.getElementById('connection').dataset.state === 'ended'", "the end")
            running = run("two", {"vm": "second"}, {"vm": "late", "not_after": "2026-01-01T00:00:00Z"})
            browser.wait("return document.querySelector('[data-status=skipped] .name')?.textContent === 'late'", "the skipped VM", 40)
            self.assertEqual(browser.run(shown), "late,second")
            self.assertEqual(browser.run("return document.querySelector('[data-status=skipped] .percent').textContent"), "0.0 %")
            browser.wait("return ['completed', 'skipped', 'running'].map(e => "
                         "document.getElementById('total-' + e).textContent).join() === '0,1,1'", "the totals")
            interrupt(running)


RECEIVE = r"""
import json, os, socket, subprocess, sys
root, *command = sys.argv[1:]
mount = lambda *a: subprocess.run(["mount", *a], check=True)
os.makedirs(root + "/dev")
for node in ("null", "zero", "urandom", "random", "tty"):
    open(root + "/dev/" + node, "w").close()
    mount("--bind", "/dev/" + node, root + "/dev/" + node)
mount("--rbind", root + "/dev", "/dev")
mount("-t", "tmpfs", "none", "/run")
os.makedirs("/run/systemd/journal")
sockets = {}
for name, path in (("syslog", "/dev/log"), ("journald", "/run/systemd/journal/socket")):
    sockets[name] = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sockets[name].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    sockets[name].bind(path)
    sockets[name].setblocking(False)
status = subprocess.run(command, stdout=2).returncode
received = {name: [] for name in sockets}
for name, s in sockets.items():
    try:
        while True:
            received[name].append(s.recv(1 << 20).decode())
    except BlockingIOError:
        pass
print(json.dumps({"status": status, **received}))
"""


class Copies(CliTest):
    def test_each_line_goes_to_syslog_and_journald(self):
        # In a mount namespace of its own, where both sockets can be put in their places.
        able = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/run"], check=False,
                              stderr=subprocess.DEVNULL)
        requirement.need(able.returncode == 0, "this system gives no mount namespace to its users")
        package, _ = self.ova("two-disks")
        plan = self.plan(package, observability={
            "audit_log": {"path": "audit/audit.log", "copy_to": ["syslog", "journald"]}})
        done = subprocess.run(
            ["unshare", "-rm", sys.executable, "-c", RECEIVE, self.work / "root", PROGRAM, "run", plan],
            env={**os.environ, "HYPERHOST_STATE_DIR": str(self.work / ".state")}, capture_output=True, text=True,
            timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        received = json.loads(done.stdout)
        self.assertEqual(received["status"], OK, done.stderr)
        lines = (self.work / "audit/audit.log").read_text().splitlines()
        self.assertEqual([re.sub(r"^<85>hyperhost\[\d+\]: ", "", one) for one in received["syslog"]], lines)
        self.assertEqual([one.split("MESSAGE=", 1)[1].rstrip("\n") for one in received["journald"]], lines)


if __name__ == "__main__":
    requirement.main()
