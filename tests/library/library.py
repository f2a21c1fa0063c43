#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The core as a library: the example is built outside the tree, from an installed prefix and with add_subdirectory, and runs."""
import http.server
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support"))
import product  # noqa: E402
import requirement  # noqa: E402

BUILD = product.UNDER_TEST
EXAMPLE = ROOT / "core/examples"
VMS = ("web-01", "db-01")


def run(*command, cwd=None, **environment):
    env = {key: value for key, value in os.environ.items() if not key.endswith("FLAGS")}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env={**env, **environment}, capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def sanitizers(build):
    """A library or plugin of this build may need the same in the program that loads it."""
    found = re.search(r"^HYPERHOST_SANITIZE:STRING=(.+)$", (build / "CMakeCache.txt").read_text(), re.M)
    return [f"-fsanitize={found[1]}"] if found else []


class Receiver(http.server.BaseHTTPRequestHandler):
    """A webhook's other side: keeps what is posted."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.headers["X-Hyperhost-Event"], json.loads(body)))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args):
        pass


class Library(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        for tool, package in (("cmake", "cmake"), ("ninja", "ninja-build"), ("g++", "g++")):
            requirement.tool(tool, package=package)
        place = tempfile.TemporaryDirectory(prefix="hyperhost library ")  # a space: paths are quoted
        cls.addClassCleanup(place.cleanup)
        cls.place = pathlib.Path(place.name).resolve()
        cls.vms = cls.place / "vms"
        cls.vms.mkdir()
        for number, name in enumerate(VMS):
            (cls.vms / f"{name}.raw").write_bytes(bytes((i * 7 + number) % 256 for i in range(4096)) * 256)

    def built(self, project, *options, beside=BUILD):
        """beside: the build whose library or plugins it loads."""
        flags = " ".join(["-Wall", "-Wextra", "-Werror", *sanitizers(beside)])
        run("cmake", "-S", project, "-B", project / "build", "-G", "Ninja", f"-DCMAKE_CXX_FLAGS={flags}", *options)
        run("cmake", "--build", project / "build", "--target", "migrate")
        return project / "build/migrate"

    def check(self, program):
        """Runs it over both VMs and looks at what it wrote, said and posted."""
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        server.got = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        home = pathlib.Path(tempfile.mkdtemp(dir=self.place))
        said = run(program, "local-ovf", "out", f"http://127.0.0.1:{server.server_port}/hook", *VMS, cwd=home,
                   HYPERHOST_LOCAL_OVF_PATH=str(self.vms), HYPERHOST_STATE_DIR=str(home / "state"))
        self.assertIn("web-01 is migrated: ", said)
        self.assertIn("\n100 %\n", said)
        for name in VMS:
            self.assertIn(f"{name} succeeded\n", said)
        for directory in ("out/web-01", "out/batch/web-01", "out/batch/db-01"):
            self.assertTrue(list((home / directory).glob("*.qcow2")), directory)
            self.assertTrue((home / directory / "manifest.json").is_file(), directory)
        for name in VMS:
            disk = next((home / "out/batch" / name).glob("*.qcow2"))
            run(BUILD / "bin/hyperhost", "compare", self.vms / f"{name}.raw", disk)
        events = [event for event, _ in server.got]
        self.assertEqual((events.count("migration_start"), events.count("migration_complete")), (3, 3), events)
        kinds = [json.loads(line)["event_type"] for line in (home / "audit.log").read_text().splitlines()]
        self.assertEqual(kinds.count("migration_start"), 3, kinds)
        self.assertEqual(json.loads(said.splitlines()[-1])["total"], 3)


class Installed(Library):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.prefix = cls.place / "prefix"
        for component in ("library", "dev", "sdk", "plugins"):
            run("cmake", "--install", BUILD, "--component", component, "--prefix", cls.prefix)
        cls.headers = sorted(path.relative_to(cls.prefix / "include/hyperhost").as_posix()
                             for path in (cls.prefix / "include/hyperhost").rglob("*.hpp"))

    def project(self, name):
        project = self.place / name
        shutil.copytree(EXAMPLE, project)
        return project

    def test_found_by_cmake(self):
        self.check(self.built(self.project("found"), f"-DCMAKE_PREFIX_PATH={self.prefix}"))

    def test_found_by_pkg_config(self):
        requirement.tool("pkg-config", package="pkg-config")
        path = {"PKG_CONFIG_PATH": f"{self.prefix}/lib/pkgconfig"}
        flags = run("sh", "-c", 'eval "printf \'%s\\n\' $(pkg-config --cflags --libs hyperhost)"', **path).splitlines()
        program = self.place / "by-pkg-config"
        run("g++", "-std=c++20", *sanitizers(BUILD), EXAMPLE / "migrate.cpp", "-o", program, *flags, "-pthread",
            f"-Wl,-rpath,{self.prefix}/lib")
        self.check(program)
        self.assertRegex(run("pkg-config", "--modversion", "hyperhost", **path), r"^\d+\.\d+\.\d+\n$")

    def test_another_major_is_not_found(self):
        project = self.project("newer")
        text = (project / "CMakeLists.txt").read_text()
        (project / "CMakeLists.txt").write_text(text.replace("hyperhost 1.0", "hyperhost 2.0"))
        with self.assertRaisesRegex(AssertionError, "hyperhost"):
            self.built(project, f"-DCMAKE_PREFIX_PATH={self.prefix}")

    def test_the_installed_headers_are_the_public_ones_and_enough(self):
        self.assertIn("core/run/orchestrator.hpp", self.headers)
        every = set(self.headers)
        reached = set()
        wanted = re.findall(r"#include <(core/[^>]+)>", (EXAMPLE / "migrate.cpp").read_text())
        while wanted:
            header = wanted.pop()
            if header in reached:
                continue
            self.assertIn(header, every, "a public header includes it")
            reached.add(header)
            wanted += re.findall(r'#include "(core/[^"]+)"', (self.prefix / "include/hyperhost" / header).read_text())
        self.assertEqual(every - reached, set(), "no program needs these")


class Subdirectory(Library):
    def test_added_to_another_project(self):
        project = self.place / "outer"
        project.mkdir()
        shutil.copy(EXAMPLE / "migrate.cpp", project)
        (project / "CMakeLists.txt").write_text(
            (EXAMPLE / "CMakeLists.txt").read_text()
            .replace("find_package(hyperhost 1.0 REQUIRED)", f'add_subdirectory("{ROOT}" hyperhost)'))
        # The plugins are those of a build that is there: built from the same tree, they would only cost time.
        others = product.shipped()
        plugins = project / "build/hyperhost/lib/hyperhost"
        plugins.mkdir(parents=True)
        (plugins / "plugins").symlink_to(others / "lib/hyperhost/plugins")
        program = self.built(project, "-DCMAKE_BUILD_TYPE=None", "-DHYPERHOST_UNITY=ON", beside=others)
        self.check(program)
        # The outer project's own things are left alone.
        listed = run("cmake", "--build", project / "build", "--target", "help")
        self.assertNotIn("orchestrator_test", listed)
        self.assertTrue((project / "build/hyperhost/lib/libhyperhost.so").exists())
        self.assertFalse((project / "build/CPackConfig.cmake").exists())


if __name__ == "__main__":
    requirement.main()
