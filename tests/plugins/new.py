#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`hyperhost plugins new`: in a folder outside the tree, with the installed SDK: made, built, checked, and a plan that runs
through it."""
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import requirement  # noqa: E402

BUILD = pathlib.Path(os.environ["HYPERHOST_BUILD_DIR"])
HOST = BUILD / "bin/hyperhost"
DISK = random.Random(8).randbytes(3 << 20) + bytes(1 << 20)


def run(*command, status=0, cwd=None):
    env = {key: value for key, value in os.environ.items() if not key.endswith("FLAGS")}
    env["PATH"] = f"{HOST.parent}:{env['PATH']}"
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True)
    if done.returncode != status:
        raise AssertionError(f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


class New(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        for tool, package in (("cmake", "cmake"), ("ninja", "ninja-build"), ("g++", "g++")):
            requirement.tool(tool, package=package)
        place = tempfile.TemporaryDirectory(prefix="hyperhost new ")
        cls.addClassCleanup(place.cleanup)
        cls.place = pathlib.Path(place.name).resolve()
        cls.sdk = cls.place / "sdk"
        run("cmake", "--install", BUILD, "--component", "sdk", "--prefix", cls.sdk)

    def made(self, kind, name):
        run(HOST, "plugins", "new", kind, name, cwd=self.place)
        project = self.place / name
        run("cmake", "-S", ".", "-B", "build", "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={self.sdk}",
            "-DCMAKE_CXX_FLAGS=-Werror -Wpedantic", cwd=project)
        run("cmake", "--build", "build", cwd=project)
        # The project's own test is the suite.
        self.assertIn("100% tests passed", run("ctest", "--test-dir", "build", "--output-on-failure", cwd=project))
        report = json.loads(run(HOST, "--output", "json", "plugins", "check", f"build/{name}.so", cwd=project))
        self.assertEqual((report["plugins"][0]["failed"], report["plugins"][0]["skipped"]), (0, 0), report)
        (project / "disks").mkdir()
        (project / "disks/demo.raw").write_bytes(DISK)
        return project

    def test_provider(self):
        project = self.made("provider", "acme")
        run(HOST, "--plugin-dir", "build", "run", "plan.yaml", "--set", "defaults.target_format=raw", cwd=project)
        self.assertEqual((project / "out/demo/demo-disk-0.raw").read_bytes(), DISK)

    def test_converter_with_a_hyphen(self):
        project = self.made("converter", "acme-fast")
        run(HOST, "--plugin-dir", "build", "run", "plan.yaml", cwd=project)
        self.assertEqual((project / "out/demo/demo-disk-0.raw").read_bytes(), DISK)
        manifest = json.loads((project / "out/demo/manifest.json").read_text())
        self.assertIn("acme-fast", json.dumps(manifest))

    def test_storage(self):
        project = self.made("storage", "shelf")
        run(HOST, "--plugin-dir", "build", "run", "plan.yaml", "--set", "defaults.target_format=raw", cwd=project)
        stored = [path for path in (project / "store").rglob("*") if path.is_file()]
        self.assertIn(DISK, [path.read_bytes() for path in stored])
        self.assertEqual(list((project / "store/.parts").iterdir()), [])

    def test_target(self):
        project = self.made("target", "depot")
        command = [HOST, "--plugin-dir", "build", "run", "plan.yaml", "--set", "defaults.target_format=raw"]
        # Runs that are killed, from before the plugin's process runs to after the disk is there; then one that is not.
        for delay in (0.05, 0.3, 0.6, 0.9):
            process = subprocess.Popen(command, cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                process.wait(delay)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        run(*command, cwd=project)
        machine = json.loads((project / "platform/demo.json").read_text())
        self.assertEqual(machine["machine"]["disks"][0]["boot"], True)
        self.assertEqual([path.name for path in (project / "platform/disks").iterdir()], [machine["disks"][0]["ref"]])
        self.assertEqual((project / "platform/disks" / machine["disks"][0]["ref"]).read_bytes(), DISK)
        manifest = json.loads((project / "out/demo/manifest.json").read_text())["hyperhost"]
        self.assertEqual(manifest["target"]["disks"]["disk-0"]["verified"], "readback")
        self.assertIn("nothing is left over", run(HOST, "--plugin-dir", "build", "cleanup", "plan.yaml", cwd=project))
        # Another plan's machine of that name stays, and nothing of this one does.
        before = sorted(path.name for path in (project / "platform").rglob("*"))
        self.assertIn("another machine has the name", run(*command, "--set", "output_dir=elsewhere", status=3, cwd=project))
        self.assertEqual(sorted(path.name for path in (project / "platform").rglob("*")), before)

    def test_nothing_is_overwritten_and_nothing_half_made(self):
        (self.place / "taken").mkdir()
        self.assertIn("exists", run(HOST, "plugins", "new", "provider", "taken", status=1, cwd=self.place))
        self.assertIn("cannot be a plugin's id", run(HOST, "plugins", "new", "provider", "Acme!", status=2, cwd=self.place))
        run(HOST, "plugins", "new", "gadget", "acme2", status=2, cwd=self.place)
        run(HOST, "plugins", "new", "provider", "lost", "--directory", "/proc/nowhere/lost", status=1, cwd=self.place)
        self.assertEqual(list((self.place / "taken").iterdir()), [])
        self.assertFalse((self.place / "acme2").exists())


if __name__ == "__main__":
    requirement.main()
