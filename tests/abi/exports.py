#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every plugin we ship exports one symbol, needs none of the host, and carries its manifest."""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import requirement  # noqa: E402

PLUGINS = sorted((pathlib.Path(os.environ["HYPERHOST_BUILD_DIR"]) / "lib/hyperhost/plugins").glob("*.so"))


class Exports(unittest.TestCase):
    def test_there_are_plugins(self):
        self.assertGreaterEqual(len(PLUGINS), 4)

    def test_one_symbol(self):
        for plugin in PLUGINS:
            with self.subTest(plugin=plugin.name):
                out = subprocess.run(["nm", "-D", "--defined-only", plugin], capture_output=True, text=True, check=True)
                symbols = {line.split()[-1].split("@")[0] for line in out.stdout.splitlines()}
                # A sanitizer's own symbols are not the plugin's.
                symbols = {name for name in symbols if not re.match(r"__(asan|ubsan|tsan|odr_asan|start_asan|stop_asan)", name)}
                self.assertEqual(symbols, {"hyper_plugin_entry_v1"})

    def test_nothing_of_the_host(self):
        for plugin in PLUGINS:
            with self.subTest(plugin=plugin.name):
                out = subprocess.run(["nm", "-DC", "--undefined-only", plugin], capture_output=True, text=True, check=True)
                self.assertNotIn("hyperhost::", out.stdout)

    def test_the_section_is_the_manifest(self):
        for plugin in PLUGINS:
            with self.subTest(plugin=plugin.name):
                with tempfile.TemporaryDirectory() as scratch:
                    section = pathlib.Path(scratch) / "section"
                    subprocess.run(["objcopy", "--dump-section", f".hyper_manifest={section}", plugin,
                                    pathlib.Path(scratch) / "copy.so"], capture_output=True, check=True)
                    text = section.read_bytes()
                # A sanitizer pads behind it.
                manifest = json.loads(text.split(b"\0", 1)[0])
                self.assertEqual(manifest["id"] + ".so", plugin.name)
                self.assertEqual(manifest["abi"]["major"], 1)
                self.assertEqual(manifest["options"]["type"], "object")


if __name__ == "__main__":
    requirement.main()
