#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A plugin in another language, from the C headers alone: built where a Rust toolchain is, checked, and a plan through it."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import requirement  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOST = pathlib.Path(os.environ["HYPERHOST_BUILD_DIR"]) / "bin/hyperhost"


def run(*command, cwd=None):
    done = subprocess.run([str(part) for part in command], cwd=cwd, env={**os.environ, "HYPERHOST_CONFIG": ""}, capture_output=True,
                          text=True)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class Rust(unittest.TestCase):
    def test_built_checked_and_run(self):
        # Not in Debian 12 in a version that has c"…": where a toolchain is, it is used; also under CI.
        if not shutil.which("cargo"):
            self.skipTest("there is no Rust toolchain (cargo)")
        with tempfile.TemporaryDirectory() as place:
            place = pathlib.Path(place).resolve()
            shutil.copytree(ROOT / "sdk/examples/rust", place / "rust", ignore=shutil.ignore_patterns("target"))
            run("cargo", "build", "--release", "--offline", cwd=place / "rust")
            library = place / "rust/target/release/libpattern.so"
            report = json.loads(run(HOST, "--output", "json", "plugins", "check", library))["plugins"][0]
            self.assertEqual((report["failed"], report["skipped"]), (0, 0), report)
            (place / "plan.yaml").write_text(json.dumps({
                "version": 1, "providers": {"rust": {"plugin": "pattern", "bytes": 1 << 20}}, "output_dir": "out",
                "defaults": {"target_format": "raw"}, "migrations": [{"vm": "demo", "provider": "rust"}]}))
            run(HOST, "--plugin-dir", library.parent, "run", "plan.yaml", cwd=place)
            expected = bytes(0 if at // 4096 % 3 == 2 else at % 251 + 1 for at in range(1 << 20))
            self.assertEqual((place / "out/demo/demo-disk-0.raw").read_bytes(), expected)


if __name__ == "__main__":
    requirement.main()
