#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus with the shipped rules over runs of the real program: no alert over healthy runs and their ends, the right
ones over a run with failures and over one that is killed. Minutes of the rules are seconds here."""
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

SLOW = {"compression": "zlib", "compression_level": 9, "verify": "none"}


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
        # A minute is a second, and the windows are wide enough for a scrape every half second.
        rules = re.sub(r"\[(\d+)m\]", lambda m: f"[{max(3, int(m[1]))}s]", rules)
        rules = re.sub(r"\[(\d+)h\]", r"[\1m]", rules)
        rules = re.sub(r"for: (\d+)m", r"for: \1s", rules)
        (self.work / "rules.yaml").write_text(rules)
        (self.work / "prometheus.yml").write_text(json.dumps({
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [{"job_name": "hyperhost",
                                "static_configs": [{"targets": [f"127.0.0.1:{self.metrics}"]}]}]}))
        self.server = subprocess.Popen(
            ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=tsdb",
             f"--web.listen-address=127.0.0.1:{port}"], cwd=self.work, stdout=subprocess.DEVNULL,
            stderr=(self.work / "prometheus.log").open("w"))
        self.addCleanup(self.stop)
        self.until(self.ready, "Prometheus")

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

    def alerts(self):
        """Those that fired at any time."""
        return {one["metric"]["alertname"]
                for one in self.query('max_over_time(ALERTS{alertstate="firing"}[1h])')}

    def night(self, vms, **more):
        for name, size in vms.items():
            if not (self.shelf / f"{name}.raw").exists():
                sparse_raw(self.shelf / f"{name}.raw", size, size // 2, len(name))
        return self.plan(self.shelf, name="night.yaml",
                         observability={"metrics_api": f"127.0.0.1:{self.metrics}"}, **more)

    def test_healthy_runs_raise_no_alert(self):
        vms = {f"vm{i}": 24 * MIB for i in range(6)}
        plan = self.night(vms, defaults={"overwrite": True, **SLOW},
                          migrations=[{"vm": f"{name}.raw", "provider": "shelf"} for name in vms])
        for _ in range(2):
            done = self.host("run", plan, "--set", "batch.max_parallel=2")
            self.assertIn("6 of 6 VMs migrated", done.out)
            # The last figures were seen before the host went.
            self.until(lambda: self.query("up == 0"), "the end of the run")
            self.assertEqual([r["value"][1] for r in self.query("last_over_time(hypersdk_run_active[1m])")], ["0"])
            self.assertEqual([r["value"][1] for r in self.query("last_over_time(hypersdk_migrations_succeeded[1m])")], ["6"])
            time.sleep(3)  # longer than the rules wait
        self.assertEqual(self.alerts(), set())

    def test_a_failing_run_and_a_killed_one_raise_theirs(self):
        self.ova("wrong-checksum-disk")[0].rename(self.shelf / "bad.ova")
        plan = self.night({"good": 8 * MIB, "late": 8 * MIB}, migrations=[
            {"vm": "good.raw", "provider": "shelf"},
            {"vm": "bad.ova", "provider": "shelf", "id": "db"},
            {"vm": "late.raw", "provider": "shelf", "depends_on": ["db"]}])
        done = self.host("run", plan, status=FAILED)
        self.assertIn("1 of 3 VMs migrated, 1 failed, 1 skipped", done.out)
        self.until(lambda: {"MigrationFailed", "MigrationSkipped"} <= self.alerts(), "the alerts", 20)
        self.assertNotIn("HyperhostDown", self.alerts())
        sparse_raw(self.shelf / "big.raw", 1 << 30, 160 * MIB, 3)
        plan = self.night({}, defaults=SLOW, migrations=[{"vm": "big.raw", "provider": "shelf"}])
        running = self.start("run", plan)
        self.until(lambda: self.query("hypersdk_run_active == 1"), "a scrape of the run")
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait(10)
        self.until(lambda: "HyperhostDown" in self.alerts(), "the alert of a killed run", 20)


if __name__ == "__main__":
    requirement.main()
