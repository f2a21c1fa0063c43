#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a host decides: hyperhost.yaml, several versions of a plugin, pinning, and what `plugins list` says about it."""
import json
import os
import pathlib
import sys
import tempfile
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / part) for part in ("support", "e2e")]
import requirement  # noqa: E402
from hyperhost_cli import OK, PREFLIGHT, Running, TEST_PLUGINS, USAGE  # noqa: E402


class HostConfig(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.work = pathlib.Path(place.name).resolve()
        (self.work / "disks").mkdir()
        (self.work / "disks/demo.raw").write_bytes(bytes(range(256)) * 4096)

    def run_(self, *arguments, config=None):
        if config is not None:
            (self.work / "hyperhost.yaml").write_text(config if isinstance(config, str) else json.dumps(config))
        name = str(self.work / "hyperhost.yaml") if config is not None else ""
        return Running(self.work, arguments, env={"HYPERHOST_CONFIG": name}).finish()

    def plan(self, **more):
        (self.work / "plan.yaml").write_text(json.dumps({
            "version": 1, "providers": {"shelf": {"plugin": "local-ovf", "path": "disks"}}, "output_dir": "out",
            "defaults": {"target_format": "raw", "overwrite": True}, "migrations": [{"vm": "demo", "provider": "shelf"}], **more}))

    def version(self, directory, version, need_minor=0, id="good"):
        """good.so as another version of itself, or under another name."""
        data = (TEST_PLUGINS / "good.so").read_bytes()
        old = b'"version": "1.0.0",\n  "summary": "A plugin of the tests"'
        self.assertIn(old, data)
        new = f'"version": "{version}",\n  "summary": "A plugin"'.encode()
        data = data.replace(old, new.ljust(len(old)))  # nothing behind it moves
        data = data.replace(b'"need_minor": 0', b'"need_minor": ' + str(need_minor).encode())
        data = data.replace(b'"id": "good",', f'"id": "{id}",'.encode().ljust(len(b'"id": "good",')))
        (self.work / directory).mkdir(exist_ok=True)
        (self.work / directory / f"{id}-{version}.so").write_bytes(data)

    def manifest(self):
        return json.loads((self.work / "out/demo/manifest.json").read_text())["hyperhost"]

    def test_the_host_s_converter_counts_where_the_plan_names_none(self):
        requirement.tool("qemu-img", package="qemu-utils")
        config = {"version": 1, "converter": {"plugin": "qemu-img", "options": {"coroutines": 2}}}
        self.plan()
        done = self.run_("run", "plan.yaml", config=config)
        self.assertEqual(done.status, OK, done)
        self.assertIn("qemu-img", json.dumps(self.manifest()))
        self.plan(converter="parallel-disk")
        self.assertEqual(self.run_("run", "plan.yaml", config=config).status, OK)
        self.assertNotIn('"qemu-img"', json.dumps(self.manifest()))
        self.plan()
        self.assertEqual(self.run_("run", "plan.yaml", "--converter", "parallel-disk", config=config).status, OK)
        self.assertNotIn('"qemu-img"', json.dumps(self.manifest()))

    def test_the_host_s_storage_counts_by_scheme(self):
        self.plan(plugin_dirs=[str(TEST_PLUGINS)], upload={"destination": "acmefs://shelf/results"})
        self.assertEqual(self.run_("run", "plan.yaml", config={"version": 1}).status, PREFLIGHT)  # no root
        done = self.run_("run", "plan.yaml", config={"version": 1, "storage": {
            "acmefs": {"plugin": "acme", "root": str(self.work / "store")}}})
        self.assertEqual(done.status, OK, done)
        self.assertTrue((self.work / "store/shelf/results/demo/demo-disk-0.raw").exists())

    def test_a_storage_that_does_not_take_the_scheme_is_refused(self):
        self.plan(upload={"destination": "shelf://results"})
        done = self.run_("run", "plan.yaml", config={"version": 1, "storage": {"shelf": {"plugin": "local"}}})
        self.assertEqual(done.status, USAGE, done)
        self.assertIn("the plugin 'local' does not store to shelf:// (it takes file:///DIRECTORY)", done.err)

    def test_the_host_s_plugin_directories_and_isolation(self):
        self.version("mine", "1.0.0")
        config = {"version": 1, "plugin_dirs": ["mine"], "isolation": {"default": "process", "plugins": {"good": "none"}}}
        plugins = {one["id"]: one for one in self.run_("--output", "json", "plugins", "list", config=config).json["plugins"]}
        self.assertEqual(plugins["good"]["origin"], str(self.work / "hyperhost.yaml"))
        self.assertEqual((plugins["good"]["isolation"], plugins["local"]["isolation"]), ("none", "process"))

    def test_drop_in_files_add_to_it(self):
        self.version("mine", "1.0.0")
        self.version("theirs", "1.5.0")
        drop_ins = self.work / "hyperhost.d"
        drop_ins.mkdir()
        (drop_ins / "20-later.yaml").write_text("version: 1\nisolation: {plugins: {good: {memory: 1GiB}}}\n")
        (drop_ins / "10-acme.yaml").write_text(f"version: 1\nplugin_dirs: [{self.work}/theirs]\nisolation: {{plugins: {{good: none, local: process}}}}\n")
        (drop_ins / "ignored.txt").write_text("not: yaml: at all")
        config = {"version": 1, "plugin_dirs": ["mine"], "isolation": {"default": "none"}}
        plugins = self.run_("--output", "json", "plugins", "list", config=config).json["plugins"]
        self.assertEqual({one["version"]: one["used"] for one in plugins if one["id"] == "good"}, {"1.0.0": False, "1.5.0": True})
        modes = {one["id"]: one["isolation"] for one in plugins if one["used"]}
        self.assertEqual((modes["good"], modes["local"], modes["s3"]), ("process", "process", "none"))
        (drop_ins / "10-acme.yaml").write_text("version: 1\nplugin_dir: [x]\n")
        done = self.run_("plugins", "list", config=config)
        self.assertEqual(done.status, USAGE)
        self.assertIn("10-acme.yaml:2:1", done.err)

    def test_a_plugin_of_hyperhost_s_own_is_not_replaced_unless_asked_for_by_version(self):
        self.version("mine", "9.0.0", id="s3")
        done = self.run_("--plugin-dir", "mine", "--output", "json", "plugins", "list")
        self.assertIn("'s3' is a plugin of hyperhost's own; write s3@9.0.0 to use this one", done.err)
        used = {one["version"]: one["used"] for one in done.json["plugins"] if one["id"] == "s3"}
        self.assertEqual((len(used), used["9.0.0"]), (2, False))
        done = self.run_("--plugin-dir", "mine", "--output", "json", "plugins", "info", "s3@9")
        self.assertEqual(done.json["manifest"]["version"], "9.0.0")
        self.plan(upload={"destination": "good://host", "storage": {"plugin": "s3@9"}})
        self.assertIn("s3-9.0.0.so is used instead of the one that came with hyperhost", self.run_("--plugin-dir", "mine", "validate", "plan.yaml").err)

    def test_a_plugin_that_a_group_can_change_is_not_used(self):
        self.version("mine", "1.0.0")
        name, file = "mine/good-1.0.0.so", self.work / "mine/good-1.0.0.so"
        if os.geteuid() != 0:
            return  # only root gives files to another group
        os.chown(file, 0, 65534)
        file.chmod(0o775)
        text = self.run_("--plugin-dir", "mine", "plugins", "list").out
        self.assertIn(f"{name} is writable by its group (chmod g-w {name})", text)

    def test_mistakes_are_told_with_their_place(self):
        done = self.run_("plugins", "list", config="version: 1\nconvertor: qemu-img\nisolation: {default: maybe}\n")
        self.assertEqual(done.status, USAGE)
        self.assertIn("hyperhost.yaml:2:1", done.err)
        self.assertIn("did you mean 'converter'", done.err)
        self.assertIn("'maybe'", done.err)
        done = self.run_("plugins", "list", config="")
        self.assertEqual(done.status, USAGE)
        (self.work / "hyperhost.yaml").write_text("version: 1\n")
        (self.work / "hyperhost.yaml").chmod(0o666)
        done = Running(self.work, ["plugins", "list"], env={"HYPERHOST_CONFIG": str(self.work / "hyperhost.yaml")}).finish()
        self.assertEqual(done.status, USAGE)
        self.assertIn("writable by everybody", done.err)
        done = Running(self.work, ["plugins", "list"], env={"HYPERHOST_CONFIG": str(self.work / "absent.yaml")}).finish()
        self.assertNotEqual(done.status, OK)

    def test_the_newest_that_fits_is_used_and_the_others_are_told(self):
        for version, minor in (("1.0.0", 0), ("1.2.0", 0), ("1.2.9", 0), ("1.20.1", 0), ("2.0.0", 9)):
            self.version("many", version, minor)
        done = self.run_("--output", "json", "--plugin-dir", "many", "plugins", "list")
        good = {one["version"]: one for one in done.json["plugins"] if one["id"] == "good"}
        self.assertEqual([v for v, one in good.items() if one["used"]], ["1.20.1"])
        self.assertIn("needs plugin ABI 1.9", good["2.0.0"]["refusal"])
        self.assertFalse(good["2.0.0"]["superseded"])
        self.assertIn("version 1.20.1", good["1.2.9"]["refusal"])
        self.assertTrue(good["1.2.9"]["superseded"])
        text = self.run_("--plugin-dir", "many", "plugins", "list").out
        self.assertRegex(text, r"good +1\.20\.1 +storage +--plugin-dir")
        self.assertIn("needs plugin ABI 1.9", text)

    def test_pinning(self):
        for version in ("1.0.0", "1.2.0", "1.2.9", "1.20.1"):
            self.version("many", version)
        for pin, expected in (("1.2", "1.2.9"), ("1.2.0", "1.2.0"), ("1", "1.20.1")):
            done = self.run_("--output", "json", "--plugin-dir", "many", "plugins", "info", f"good@{pin}")
            self.assertEqual(done.json["manifest"]["version"], expected)
        self.plan(upload={"destination": "good://y", "storage": {"plugin": "good@1.2"}})
        done = self.run_("--plugin-dir", "many", "--log-level", "debug", "run", "plan.yaml")
        self.assertIn("good-1.2.9.so", done.err)
        self.assertNotIn("good-1.20.1.so in a process", done.err)
        self.plan(upload={"destination": "good://y", "storage": {"plugin": "good@3"}})
        done = self.run_("--plugin-dir", "many", "run", "plan.yaml")
        self.assertEqual(done.status, USAGE)
        self.assertIn("versions of good that there are: 1.0.0, 1.2.0, 1.2.9, 1.20.1", done.err)
        self.plan(upload={"destination": "good://y", "storage": {"plugin": "good@new"}})
        self.assertIn("NAME@VERSION", self.run_("--plugin-dir", "many", "run", "plan.yaml").err)


if __name__ == "__main__":
    requirement.main()
