#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""schemathesis holds what the progress API answers against the OpenAPI document that it serves: right requests, wrong ones, other
methods, no token. Its version and what it needs are pinned in schemathesis.txt."""
import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

from observe_support import ROOT, Demo

sys.path[:0] = [str(ROOT / "tests/support"), str(ROOT / "tests/cloud")]
import peers  # noqa: E402
import requirement  # noqa: E402

PINNED = pathlib.Path(__file__).with_name("schemathesis.txt")
TOKEN = "openapi-test-token"
# Task ids that exist, so that not every answer is a 404; two events of a stream without an end are enough.
CONFIG = """
max-stream-events = 2
[dictionaries.tasks]
values = ["demo-0", "demo-1"]
[parameters]
"path.task" = {dictionary = "tasks", probability = 0.6}
"""


def schemathesis():
    """The directory with its modules; the test is skipped, in CI failed, where it cannot be had."""
    def install(place):
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(place), "-r", str(PINNED)],
                       check=True, timeout=900, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return peers.installed("schemathesis", "schemathesis@" + hashlib.sha256(PINNED.read_bytes()).hexdigest()[:12], install)


class OpenApi(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        place = tempfile.TemporaryDirectory(prefix="hyperhost-openapi-")
        cls.addClassCleanup(place.cleanup)
        cls.work = pathlib.Path(place.name)
        (cls.work / "config.toml").write_text(CONFIG)
        cls.modules = schemathesis()

    def hold(self, demo, *arguments):
        demo.begin()
        demo.wait_finished()  # the servers stay
        done = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "--config-file", "config.toml", "run", demo.progress + "/api/v1/openapi.json",
             "--no-color", "--continue-on-failure", "--max-examples", "10", "--generation-deterministic", "--request-timeout", "30", "--suppress-health-check", "all", *arguments],
            cwd=self.work, env={**os.environ, "PYTHONPATH": str(self.modules)}, capture_output=True, text=True, timeout=600)
        self.assertEqual(done.returncode, 0, done.stdout[-12000:] + done.stderr[-2000:])
        self.assertRegex(done.stdout, r"Tested: 13\b")

    def test_without_a_token(self):
        with Demo("--steps", 5, "--audit", self.work / "open.log") as demo:
            self.hold(demo)

    def test_with_a_token(self):
        """Then there is PUT, and what needs the token is not served without it (the check ignored_auth)."""
        with Demo("--steps", 5, "--audit", self.work / "closed.log", "--token", TOKEN) as demo:
            self.hold(demo, "--header", f"Authorization: Bearer {TOKEN}")


if __name__ == "__main__":
    requirement.main()
