#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus with the shipped rules over runs of the real program: no alert over healthy runs and their ends, the right
ones over a run with failures and over one that is killed. A minute of the rules is two seconds here."""
import datetime
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time
import urllib.parse

from hyperhost_cli import FAILED, MIB, CliTest, sparse_raw
from observe_support import ROOT, get
import requirement

MINUTE = 2  # seconds
LONGEST = 2 * MINUTE + 1  # after the end of a host: what HyperhostDown waits for


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Night(CliTest):
    def setUp(self):
        super().setUp()
        requirement.tool("prometheus", package="prometheus")
        self.shelf = self.work / "shelf"
        self.shelf.mkdir()
        self.metrics = free_port()
        port = free_port()
        self.api = f"http://127.0.0.1:{port}"
        rules = (ROOT / "configs/prometheus/alerts.yaml").read_text()
        # The windows are wide enough for a scrape every second.
        rules = re.sub(r"\[(\d+)m\]", lambda m: f"[{max(5, MINUTE * int(m[1]))}s]", rules)
        rules = re.sub(r"\[(\d+)h\]", lambda m: f"[{MINUTE * int(m[1])}m]", rules)
        rules = re.sub(r"for: (\d+)m", lambda m: f"for: {MINUTE * int(m[1])}s", rules)
        (self.work / "rules.yaml").write_text(rules)
        (self.work / "prometheus.yml").write_text(json.dumps({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "500ms"},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [{"job_name": "hyperhost",
                                "static_configs": [{"targets": [f"127.0.0.1:{self.metrics}"]}]}]}))
        log = (self.work / "prometheus.log").open("w")
        self.addCleanup(log.close)
        self.server = subprocess.Popen(
            ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=tsdb",
             f"--web.listen-address=127.0.0.1:{port}"], cwd=self.work, stdout=subprocess.DEVNULL,
            stderr=log)
        self.addCleanup(self.stop)
        self.until(self.ready, "Prometheus")
        self.until(lambda: self.query("up == 0"), "a first look at the host, which is not there yet")

    def stop(self):
        self.server.terminate()
        self.server.wait(20)

    def ready(self):
        try:
            return get(self.api, "/-/ready")[0] == 200
        except OSError:
            return False

    def until(self, what, name, seconds=60):
        end = time.monotonic() + seconds
        while not what():
            self.assertLess(time.monotonic(), end, name)
            time.sleep(0.1)

    def query(self, expression):
        answer = get(self.api, "/api/v1/query?query=" + urllib.parse.quote(expression))[2]
        return json.loads(answer)["data"]["result"]

    def evaluated_until(self, instant):
        """The rules have been evaluated over what was so at that time."""
        groups = json.loads(get(self.api, "/api/v1/rules")[2])["data"]["groups"]
        return all(datetime.datetime.fromisoformat(re.sub(r"(\.\d{6})\d*Z", r"\1+00:00", group["lastEvaluation"])).timestamp() > instant
                   for group in groups)

    def alerts(self):
        """Those that fired at any time."""
        return {one["metric"]["alertname"]
                for one in self.query('max_over_time(ALERTS{alertstate="firing"}[1h])')}

    def night(self, vms, rate, **more):
        """A plan whose sources deliver so many bytes a second: its run is long enough to be seen."""
        for name, size in vms.items():
            if not (self.shelf / f"{name}.raw").exists():
                sparse_raw(self.shelf / f"{name}.raw", size, size // 2, len(name))
        return self.plan(self.shelf, name="night.yaml", batch={"max_retries": 0, "source_bandwidth_limit": rate},
                         observability={"metrics_api": f"127.0.0.1:{self.metrics}"}, **more)

    def test_healthy_runs_raise_no_alert(self):
        vms = {f"vm{i}": 8 * MIB for i in range(6)}
        plan = self.night(vms, 5_000_000, defaults={"overwrite": True},
                          migrations=[{"vm": f"{name}.raw", "provider": "shelf"} for name in vms])
        for _ in range(2):
            done = self.host("run", plan, "--fresh", "--set", "batch.max_parallel=2")
            self.assertIn("6 of 6 VMs migrated", done.out)
            # The last figures were seen before the host went.
            self.until(lambda: self.query("up == 0"), "the end of the run")
            gone = time.time()
            self.assertEqual([r["value"][1] for r in self.query("last_over_time(hypersdk_run_active[1m])")], ["0"])
            self.assertEqual([r["value"][1] for r in self.query("last_over_time(hypersdk_migrations_succeeded[1m])")], ["6"])
            self.until(lambda: self.evaluated_until(gone + LONGEST), "an evaluation of the rules after the end")
        self.assertEqual(self.alerts(), set())

    def test_a_failing_run_and_a_killed_one_raise_theirs(self):
        self.ova("wrong-checksum-disk")[0].rename(self.shelf / "bad.ova")
        plan = self.night({"good": 8 * MIB, "late": 8 * MIB}, 1_000_000, migrations=[
            {"vm": "good.raw", "provider": "shelf"},
            {"vm": "bad.ova", "provider": "shelf", "id": "db"},
            {"vm": "late.raw", "provider": "shelf", "depends_on": ["db"]}])
        done = self.host("run", plan, status=FAILED)
        self.assertIn("1 of 3 VMs migrated, 1 failed, 1 skipped", done.out)
        self.until(lambda: self.query("up == 0"), "the end of the run")
        gone = time.time()
        self.until(lambda: self.evaluated_until(gone + LONGEST), "an evaluation of the rules after the end")
        self.assertEqual(self.alerts(), {"MigrationFailed", "MigrationSkipped"})
        sparse_raw(self.shelf / "big.raw", 64 * MIB, 64 * MIB, 3)
        plan = self.night({}, 1_000_000, migrations=[{"vm": "big.raw", "provider": "shelf"}])
        running = self.start("run", plan)
        self.until(lambda: self.query("hypersdk_run_active == 1"), "a scrape of the run")
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait(10)
        self.until(lambda: "HyperhostDown" in self.alerts(), "the alert of a killed run")
        self.assertEqual(self.alerts(), {"MigrationFailed", "MigrationSkipped", "HyperhostDown"})


if __name__ == "__main__":
    requirement.main()
