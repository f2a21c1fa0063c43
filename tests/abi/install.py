#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a stranger does: installs the SDK, builds the guide's plugins in a folder of their own, and runs one in the host."""
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
sys.path[:0] = [str(HERE.parent / "support"), str(HERE)]
import requirement  # noqa: E402
import snippets  # noqa: E402

BUILD = pathlib.Path(os.environ["HYPERHOST_BUILD_DIR"])
HOST = BUILD / "bin/hyperhost"


def run(*command, cwd=None, **environment):
    env = {key: value for key, value in os.environ.items() if not key.endswith("FLAGS")}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env={**env, **environment}, capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def exported(library):
    return {line.split()[-1].split("@")[0] for line in run("nm", "-D", "--defined-only", library).splitlines()}


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        for tool, package in (("cmake", "cmake"), ("ninja", "ninja-build"), ("g++", "g++"), ("nm", "binutils")):
            requirement.tool(tool, package=package)
        place = tempfile.TemporaryDirectory(prefix="hyperhost sdk ")  # a space: paths are quoted
        cls.addClassCleanup(place.cleanup)
        cls.place = pathlib.Path(place.name).resolve()
        cls.sdk = cls.place / "sdk"
        run("cmake", "--install", BUILD, "--component", "sdk", "--prefix", cls.sdk)
        cls.project = cls.place / "acme"
        for name, text in snippets.files().items():
            path = cls.project / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        cls.library = cls.build(cls.project) / "acme.so"

    @classmethod
    def build(cls, project, *options):
        run("cmake", "-S", project, "-B", project / "build", "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={cls.sdk}",
            "-DCMAKE_C_FLAGS=-Wall -Wextra -Werror", "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror", *options)
        run("cmake", "--build", project / "build")
        return project / "build"

    def test_all_headers_and_nothing_else(self):
        wanted = {path.name for path in (snippets.ROOT / "sdk/include/hyper").iterdir()}
        self.assertEqual({path.name for path in (self.sdk / "include/hyper").iterdir()}, wanted)
        self.assertEqual({path.name for path in self.sdk.iterdir()}, {"include", "share"})

    def test_the_schemas_of_all_documents(self):
        wanted = {path.name: path.read_text(encoding="utf-8") for path in (snippets.ROOT / "sdk/schema").glob("*.json")}
        place = self.sdk / "share/hyperhost/schema"
        self.assertIn("vm.description.json", wanted)
        self.assertEqual({path.name: path.read_text(encoding="utf-8") for path in place.iterdir()}, wanted)

    def test_one_symbol(self):
        self.assertEqual(exported(self.library), {"hyper_plugin_entry_v1"})

    def test_another_major_is_not_found(self):
        project = self.place / "newer"
        project.mkdir()
        (project / "CMakeLists.txt").write_text(
            "cmake_minimum_required(VERSION 3.25)\nproject(newer LANGUAGES C)\nfind_package(hyperhost-sdk 2.0 REQUIRED)\n")
        with self.assertRaisesRegex(AssertionError, "hyperhost-sdk"):
            self.build(project)

    def test_a_plugin_in_c_with_text_beyond_ascii(self):
        project = self.place / "head"
        project.mkdir()
        (project / "head.c").write_text(snippets.files()["c/head.c"])
        manifest = {**json.loads(snippets.files()["manifest.json"]), "id": "head", "summary": "Größe, 大きさ",
                    "interfaces": ["hyper.image/1"]}
        (project / "manifest.json").write_text(json.dumps(manifest, ensure_ascii=False), encoding="utf-8")
        (project / "CMakeLists.txt").write_text(
            "cmake_minimum_required(VERSION 3.25)\nproject(head LANGUAGES C)\nset(CMAKE_C_STANDARD 99)\n"
            "find_package(hyperhost-sdk 1.0 REQUIRED)\nhyperhost_add_plugin(head SOURCES head.c)\n")
        library = self.build(project) / "head.so"
        self.assertEqual(exported(library), {"hyper_plugin_entry_v1"})
        section = project / "section"
        run("objcopy", "--dump-section", f".hyper_manifest={section}", library, project / "copy")
        self.assertEqual(json.loads(section.read_bytes().rstrip(b"\0")), manifest)

    def test_a_provider_a_storage_in_c_and_one_plan_through_both(self):
        """Each built from the installed SDK alone; the storage has no JSON parser or printer of its own."""
        provider, storage = self.place / "letters", self.place / "shelf"
        shutil.copytree(snippets.ROOT / "sdk/templates/provider", provider)
        shutil.copytree(snippets.ROOT / "sdk/examples/c-storage", storage)
        for source in storage.glob("src/*"):
            self.assertNotRegex(source.read_text(), r'\\"[a-z_]+\\":', f"{source.name} writes JSON by itself")
        built = [self.build(provider, f"-DHYPERHOST={HOST}"), self.build(storage)]
        self.assertEqual(exported(built[1] / "shelf.so"), {"hyper_plugin_entry_v1"})
        for library in (built[0] / "acme.so", built[1] / "shelf.so"):
            report = json.loads(run(HOST, "--output", "json", "plugins", "check", library))["plugins"][0]
            self.assertEqual((report["failed"], report["skipped"]), (0, 0), report)
        disk = bytes(range(256)) * 4096
        (provider / "disks").mkdir()
        (provider / "disks/demo.raw").write_bytes(disk)
        for isolation in ("none", "process"):
            with self.subTest(isolation=isolation):
                plan = provider / f"{isolation}.yaml"
                plan.write_text(json.dumps({
                    "version": 1, "providers": {"files": {"plugin": "acme", "path": "disks"}},
                    "output_dir": f"out-{isolation}", "defaults": {"target_format": "raw"},
                    "upload": {"destination": f"shelf://store-{isolation}"},
                    "migrations": [{"vm": "demo", "provider": "files"}]}))
                run(HOST, "--plugin-dir", built[0], "--plugin-dir", built[1], "--isolation", isolation, "run", plan, cwd=provider)
                stored = [path for path in (provider / f"store-{isolation}").rglob("*") if path.is_file()]
                self.assertIn(disk, [path.read_bytes() for path in stored])
                self.assertEqual(list((provider / f"store-{isolation}/.parts").iterdir()), [])

    def test_a_third_party_s_format(self):
        """Image reader and converter built from the installed SDK alone: in convert, compare, verify and a plan."""
        project = self.place / "format"
        shutil.copytree(snippets.ROOT / "tests/plugins/acme", project)
        (project / "CMakeLists.txt").write_text(
            "cmake_minimum_required(VERSION 3.25)\nproject(acme LANGUAGES C CXX)\nfind_package(hyperhost-sdk 1.0 REQUIRED)\n"
            "hyperhost_add_plugin(acme SOURCES plugin.cpp)\n")
        built = self.build(project)

        def host(*arguments):
            return run(HOST, "--plugin-dir", built, *arguments, cwd=project)

        disk = bytes(range(256)) * 4096 + bytes(1 << 20)
        image = b"ACMEIMG\0" + len(disk).to_bytes(8, "little") + disk
        (project / "truth.raw").write_bytes(disk)
        host("convert", "truth.raw", "made.acme", "--verify", "target")
        self.assertEqual((project / "made.acme").read_bytes(), image)
        host("convert", "made.acme", "back.raw")
        self.assertEqual((project / "back.raw").read_bytes(), disk)
        self.assertEqual(host("compare", "made.acme", "truth.raw"), "identical\n")
        digests = [re.search("hyper-tree-sha256:[0-9a-f]{64}", host("verify", name))[0] for name in ("made.acme", "truth.raw")]
        self.assertEqual(digests[0], digests[1])
        for source, target, wanted in (("truth.raw", "acme", image), ("made.acme", "raw", disk)):
            vm = source.split(".")[0]
            (project / "plan.yaml").write_text(json.dumps({
                "version": 1, "providers": {"shelf": {"plugin": "local-ovf", "path": source}}, "output_dir": "out",
                "defaults": {"target_format": target}, "migrations": [{"vm": vm, "provider": "shelf"}]}))
            host("run", "plan.yaml")
            self.assertEqual((project / f"out/{vm}/{vm}-disk-0.{target}").read_bytes(), wanted)

    def test_an_undefined_symbol_does_not_link(self):
        project = self.place / "undefined"
        project.mkdir()
        (project / "undefined.c").write_text(
            "#include <hyper/hyper.h>\nextern const hyper_plugin* nowhere(void);\n"
            "const hyper_plugin* hyper_plugin_entry_v1(const hyper_hello* hello) { (void)hello; return nowhere(); }\n")
        (project / "manifest.json").write_text(snippets.files()["manifest.json"])
        (project / "CMakeLists.txt").write_text(snippets.files()["CMakeLists.txt"].replace("acme.cpp", "undefined.c"))
        with self.assertRaisesRegex(AssertionError, "nowhere"):
            self.build(project)

    def test_without_cmake(self):
        requirement.tool("pkg-config", package="pkg-config")
        flags = run("pkg-config", "--cflags", "--libs", "hyperhost-sdk", PKG_CONFIG_PATH=str(self.sdk / "share/pkgconfig"))
        place = str(self.place).replace(" ", "\\ ")
        self.assertIn(f"-I{place}", flags)
        self.assertIn("plugin.map", flags)
        version = run("pkg-config", "--modversion", "hyperhost-sdk", PKG_CONFIG_PATH=str(self.sdk / "share/pkgconfig"))
        self.assertEqual(version.strip(), "1.0.0")

    def test_the_guide_s_plugin_keeps_its_contract(self):
        run(HOST, "plugins", "check", self.library)

    def test_the_guide_s_plan_runs(self):
        self.assertTrue(HOST.exists(), f"{HOST} is not built")
        plugins = json.loads(run(HOST, "--output", "json", "--plugin-dir", self.library.parent, "plugins", "list"))["plugins"]
        mine = [one for one in plugins if one["id"] == "acme"]
        self.assertEqual([(one["used"], one["origin"]) for one in mine], [(True, "--plugin-dir")])
        for converter, package in (("parallel-disk", None), ("qemu-img", "qemu-utils")):  # the second stages it: it is no file
            if package:
                requirement.tool(converter, package=package)
            run(HOST, "--plugin-dir", self.library.parent, "run", "plan.yaml", "--converter", converter,
                "--set", "defaults.target_format=raw", "--set", f"output_dir={converter}", cwd=self.project)
            place = self.project / converter / "demo"
            self.assertEqual((place / "demo-disk-0.raw").read_bytes(), b"B" * (4 << 20))
            self.assertEqual({path.name for path in place.iterdir() if path.suffix in (".raw", ".json")}, {"demo-disk-0.raw", "manifest.json"})


if __name__ == "__main__":
    requirement.main()
