#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""sdk/README.md is true: its C and C++ compiles, its JSON parses, and what it says of the documents, the options and the
status codes is what headers and host say."""
import json
import pathlib
import re
import subprocess
import sys
import unittest

import jsonschema

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE), str(HERE.parents[1] / "sdk/schema")]
import requirement  # noqa: E402
import snippets  # noqa: E402
import tables  # noqa: E402

ROOT = snippets.ROOT
INCLUDE = ROOT / "sdk/include"
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror"]


def compile_text(compiler, language, standard, text):
    command = [compiler, "-x", language, f"-std={standard}", "-fsyntax-only", "-I", str(INCLUDE), *STRICT, "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True)


class Guide(unittest.TestCase):
    def test_every_snippet_is_marked(self):
        for kind, name, language, text in snippets.snippets():
            if language in ("c", "cpp", "json", "cmake", "yaml"):
                with self.subTest(snippet=text[:60]):
                    self.assertIn(kind, ("file", "compile", "json", "schema"))
                    self.assertTrue(name)

    def test_c_and_cpp_compile(self):
        compiled = 0
        for kind, name, language, text in snippets.snippets():
            if language not in ("c", "cpp"):
                continue
            standard = name if kind == "compile" else {"c": "c99", "cpp": "c++17"}[language]
            for compiler in (["gcc", "clang-14"] if language == "c" else ["g++", "clang++-14"]):
                requirement.tool(compiler, package=compiler.replace("++", "").replace("clang-14", "clang-14"))
                with self.subTest(snippet=text[:60], compiler=compiler):
                    done = compile_text(compiler, "c" if language == "c" else "c++", standard, text)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    compiled += 1
        self.assertGreaterEqual(compiled, 8)

    def test_json_parses(self):
        parsed = 0
        for kind, name, language, text in snippets.snippets():
            if language == "json":
                with self.subTest(snippet=f"{kind}: {name}"):
                    self.assertIsInstance(json.loads(text), dict)
                    parsed += 1
        self.assertGreaterEqual(parsed, 14)

    def test_tables_are_those_of_the_schemas(self):
        guide = snippets.GUIDE.read_text(encoding="utf-8")
        self.assertEqual(set(tables.names(guide)) | {"plugin.manifest"}, {path.stem for path in (ROOT / "sdk/schema").glob("*.json")})
        self.assertEqual(guide, tables.written(guide), "sdk/README.md is stale: run sdk/schema/tables.py")

    def test_a_stale_table_is_noticed(self):
        guide = snippets.GUIDE.read_text(encoding="utf-8")
        self.assertNotEqual(tables.written(guide.replace("| `disks[].capacity_bytes` | integer", "| `disks[].capacity_bytes` | text")),
                            guide.replace("| `disks[].capacity_bytes` | integer", "| `disks[].capacity_bytes` | text"))

    def test_every_document_that_is_emitted_or_requested_has_an_example(self):
        without = {"plugin.manifest", "artifact.manifest", "diagnostic", "sink.token"}
        self.assertEqual(set(snippets.documents()) - {"must_understand"} | without, {path.stem for path in (ROOT / "sdk/schema").glob("*.json")})

    def test_examples_and_schemas_agree_with_another_validator(self):
        for name, text in snippets.documents().items():
            if name == "must_understand":  # a request with a member of tomorrow
                name = "vm.request"
            with self.subTest(document=name):
                schema = tables.schema(name)
                jsonschema.Draft202012Validator.check_schema(schema)
                jsonschema.Draft202012Validator(schema).validate(json.loads(text))

    def test_the_host_reads_what_the_schema_has(self):
        source = (ROOT / "core/vm/vm_description.cpp").read_text()
        schema = tables.schema("vm.description")
        where = {"vm": schema, "disk": schema["$defs"]["disk"], "nic": schema["$defs"]["nic"]}
        reads = re.findall(r'\b(vm|disk|nic)\.(?:text|number|flag|list)\("(\w+)"', source)
        self.assertGreater(len(reads), 25)
        for table, key in reads:
            with self.subTest(key=f"{table}.{key}"):
                self.assertIn(key, where[table]["properties"])

    def test_option_keywords(self):
        guide = snippets.GUIDE.read_text(encoding="utf-8")
        listed = guide[guide.index("## Options"):guide.index("## Life of a plugin")]
        source = (ROOT / "core/config/schema_check.cpp").read_text()
        keywords = re.findall(r'Keyword\{"([^"]+)"', source)
        self.assertGreater(len(keywords), 30)
        for keyword in keywords:
            with self.subTest(keyword=keyword):
                self.assertRegex(listed, r"(?<![\w-])" + re.escape(keyword) + r"(?![\w-])")

    def test_status_codes(self):
        guide = snippets.GUIDE.read_text(encoding="utf-8")
        for code in re.findall(r"#define (HYPER_\w+) \(-\d+\)", (INCLUDE / "hyper/types.h").read_text()):
            self.assertIn(code, guide)

    def test_named_files_are_there(self):
        for page in [snippets.GUIDE, ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("plugins/*/*/README.md")]:
            text = page.read_text(encoding="utf-8")
            for target in re.findall(r"\]\(([^)#:]+)\)", text):
                with self.subTest(page=page.name, link=target):
                    self.assertTrue((page.parent / target).exists())
            for path in re.findall(r"`((?:core|plugins|sdk|hosts|configs|tests)/[\w./-]+)`", text):
                with self.subTest(page=page.name, path=path):
                    self.assertTrue((ROOT / path).exists() or (page.parent / path).exists())


if __name__ == "__main__":
    requirement.main()
