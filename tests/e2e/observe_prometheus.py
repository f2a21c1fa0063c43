#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""promtool on what /metrics serves and on the shipped alert rules; the Grafana dashboards ask for
metrics that exist."""
import json
import re
import shutil
import subprocess
import unittest

from observe_support import ROOT, Demo, get, need

CONFIGS = ROOT / "configs"


class Prometheus(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with Demo("--steps", 10, "--generic", "http://127.0.0.1:1/") as demo:
            demo.begin()
            demo.wait_finished()
            cls.text = get(demo.metrics, "/metrics")[2]

    def promtool(self, *arguments, **options):
        need(shutil.which("promtool"), "promtool (Debian's package prometheus)")
        done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True,
                              **options)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(done.stderr, "")

    def test_metrics_are_clean(self):
        self.promtool("check", "metrics", input=self.text)

    def test_rules_are_valid_and_do_what_they_say(self):
        self.promtool("check", "rules", CONFIGS / "prometheus/alerts.yaml")
        self.promtool("test", "rules", CONFIGS / "prometheus/alerts_test.yaml")

    def test_dashboards_and_rules_ask_for_metrics_that_exist(self):
        served = set(re.findall(r"^([a-z_]+)", self.text, re.M))
        families = served | {re.sub(r"_(bucket|sum|count)$", "", name) for name in served}
        files = list((CONFIGS / "grafana").glob("*.json")) + [CONFIGS / "prometheus/alerts.yaml"]
        self.assertGreater(len(files), 1)
        for file in files:
            text = file.read_text()
            if file.suffix == ".json":
                board = json.loads(text)
                text = "\n".join(t["expr"] for p in board["panels"] for t in p.get("targets", []))
            for name in re.findall(r"\b(?:hypersdk|process)_[a-z_]+", text):
                self.assertIn(name, families, file.name)

    def test_every_outcome_has_a_tile_on_the_board(self):
        board = json.loads((CONFIGS / "grafana/hyperhost.json").read_text())
        tiles = "\n".join(t["expr"] for panel in board["panels"] if panel["type"] == "stat" for t in panel["targets"])
        for outcome in ("succeeded", "failed", "skipped"):
            self.assertIn(f"hypersdk_migrations_{outcome}{{", tiles)


if __name__ == "__main__":
    unittest.main()
