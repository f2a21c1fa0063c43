#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Plugins of other times on today's host: built from the headers of each released minor (frozen/), and from headers of a minor
that does not exist yet. Each passes the suite and carries a migration; what must be refused is."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
import requirement  # noqa: E402

ROOT = HERE.parents[1]
BUILD = pathlib.Path(os.environ["HYPERHOST_BUILD_DIR"])
HOST = BUILD / "bin/hyperhost"
ZOO = BUILD / "lib/hyperhost/test-plugins"
RELEASED = sorted((HERE / "frozen").iterdir())
KINDS = ("provider", "converter", "storage")
DISK = bytes(range(256)) * 8192


def run(*command, status=0, cwd=None, **environment):
    done = subprocess.run([str(part) for part in command], cwd=cwd, env={**os.environ, "HYPERHOST_CONFIG": "", **environment},
                          capture_output=True, text=True)
    if done.returncode != status:
        raise AssertionError(f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def future(include):
    """The headers as a later minor might have them: every struct that may grow has grown."""
    grown = 0
    for path in include.rglob("*.h"):
        text = path.read_text()
        text = re.sub(r"#define HYPER_ABI_MINOR \d+", "#define HYPER_ABI_MINOR 9", text)
        for body, name in re.findall(r"typedef struct \w+ \{\n  uint32_t size;(.*?)\n\} (hyper_\w+);", text, re.S):
            text = text.replace(f"{body}\n}} {name};", f"{body}\n  void* of_the_future;\n}} {name};")
            grown += 1
        path.write_text(text)
    return grown


class Compat(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        requirement.tool("g++", package="g++")
        place = tempfile.TemporaryDirectory()
        cls.addClassCleanup(place.cleanup)
        cls.place = pathlib.Path(place.name).resolve()

    def project(self, kind, include, name):
        """The template of that kind, built from these headers without CMake."""
        project = self.place / name / kind
        shutil.copytree(ROOT / "sdk/templates" / kind, project)
        manifest = (project / "manifest.json").read_bytes()
        facts = json.loads(manifest)
        (project / "manifest.c").write_text(
            '__attribute__((section(".hyper_manifest"), used))\nconst char hyper_manifest_json[] = {'
            + ",".join(map(str, manifest)) + ',0};\nconst char hyper_manifest_id[] = "' + facts["id"]
            + '";\nconst char hyper_manifest_version[] = "' + facts["version"] + '";\n')
        (project / "build").mkdir()
        run("gcc", "-fPIC", "-c", project / "manifest.c", "-o", project / "build/manifest.o")
        run("g++", "-std=c++17", "-fPIC", "-shared", "-fvisibility=hidden", "-I", include, project / "src/plugin.cpp",
            project / "build/manifest.o", f"-Wl,--version-script={ROOT}/sdk/cmake/plugin.map", "-Wl,-z,defs",
            "-o", project / "build/acme.so")
        return project

    def lives(self, project, kind):
        report = json.loads(run(HOST, "--output", "json", "plugins", "check", project / "build/acme.so"))["plugins"][0]
        self.assertEqual((report["failed"], report["skipped"]), (0, 0))
        (project / "disks").mkdir()
        (project / "disks/demo.raw").write_bytes(DISK)
        for isolation in ("none", "process"):
            run(HOST, "--plugin-dir", "build", "--isolation", isolation, "run", "plan.yaml", "--set",
                "defaults.target_format=raw", "--set", f"output_dir=out-{isolation}",
                *(["--set", f"upload.destination=acme://store-{isolation}"]
                  if kind == "storage" else []), cwd=project)
            self.assertEqual((project / f"out-{isolation}/demo/demo-disk-0.raw").read_bytes(), DISK)

    def test_every_released_minor(self):
        self.assertTrue(RELEASED)
        for headers in RELEASED:
            for kind in KINDS:
                with self.subTest(abi=headers.name, kind=kind):
                    self.lives(self.project(kind, headers, headers.name), kind)

    def test_a_later_minor(self):
        include = self.place / "future/include"
        shutil.copytree(ROOT / "sdk/include", include)
        self.assertGreater(future(include), 12)
        for kind in KINDS:
            with self.subTest(kind=kind):
                self.lives(self.project(kind, include, "future"), kind)

    def test_refusals_refuse(self):
        zoo = self.place / "zoo"
        zoo.mkdir()
        shutil.copy(ZOO / "zoo.so", zoo)
        (zoo / "secret").write_text("tell-nobody-1234")
        (zoo / "secret").chmod(0o600)
        (zoo / "plan.yaml").write_text(json.dumps({
            "version": 1, "providers": {"zoo": {"plugin": "zoo", "password": {"file": "secret"}}}, "output_dir": "out",
            "migrations": [{"vm": "demo", "provider": "zoo"}]}))
        for way, words in (("too-new", "needs plugin ABI 1.7 and this host offers 1."),
                           ("small-descriptor", "it says 24 bytes"),
                           ("small-table", "hyper.provider/1 is too small"),
                           ("empty-slot", "has no describe_vm()"),
                           ("other-id", "its manifest says 'zoo' and its descriptor 'lion'"),
                           ("silent-refusal", "it gave no reason")):
            for isolation in ("none", "process"):
                with self.subTest(way=way, isolation=isolation):
                    said = run(HOST, "--plugin-dir", ".", "--isolation", isolation, "run", "plan.yaml", status=2, cwd=zoo,
                               HYPER_ZOO=way)
                    self.assertIn(words, said)
                    self.assertFalse((zoo / "out").exists())


if __name__ == "__main__":
    requirement.main()
