#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The manual pages and completions that the programs write of themselves."""

import json
import os
import re
import subprocess
import unittest

from hyperhost_cli import BUILD, ROOT
import requirement

WRITTEN = BUILD / "hosts/documentation"
ENV = {**os.environ, "PATH": f"{BUILD}/bin:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}


def run(*command, **how):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60, env={**ENV, **how.pop("env", {})}, **how)
    if done.returncode != 0:
        raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class Manuals(unittest.TestCase):
    def setUp(self):
        requirement.need(WRITTEN.exists(), f"{WRITTEN} is not built")
        requirement.tool("mandoc", package="mandoc")

    def test_every_page_is_well_formed_and_has_the_sections_people_look_for(self):
        pages = sorted(WRITTEN.glob("man1/*.1"))
        self.assertGreater(len(pages), 20)
        for page in pages:
            with self.subTest(page=page.name):
                run("mandoc", "-T", "lint", "-W", "error", page)
                headings = re.findall(r"^\.SH (.*)$", page.read_text(), re.M)
                self.assertLessEqual({"NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "FILES", "SEE ALSO"}, set(headings))
                self.assertNotIn("NOTES", headings)
                if ".SH COMMANDS" not in page.read_text() or page.stem in ("hyperhost", "hyperexport"):
                    self.assertIn("EXAMPLES", headings)

    def test_the_plan_has_a_page_of_section_five(self):
        page = WRITTEN / "man5/hyperhost-plan.5"
        run("mandoc", "-T", "lint", "-W", "error", page)
        text = page.read_text().replace("\\", "")
        schema = json.loads((ROOT / "configs/plan.schema.json").read_text())
        names = set(schema["properties"]) | {"batch." + key for key in schema["properties"]["batch"]["properties"]}
        names |= {"migrations[]." + key for key in schema["$defs"]["migration"]["properties"]}
        self.assertGreater(len(names), 40)
        for name in names:
            self.assertIn(f"\n.B {name}\n", text)


class Completions(unittest.TestCase):
    """What each shell offers for the last word; the values come from the program itself."""

    CASES = ((["hyperhost", "plugins", ""], {"list", "info", "check", "new"}),
             (["hyperhost", "--output", "json", "plugins", "ch"], {"check"}),
             (["hyperhost", "--output", ""], {"text", "json"}),
             (["hyperhost", "convert", "--ver"], {"--verify"}),
             (["hyperhost", "run", "x.yaml", "--converter", ""], {"parallel-disk", "qemu-img"}),
             (["hyperhost", "convert", "a", "b", "--format", ""], {"qcow2", "raw", "vhdx"}),
             (["hyperhost", "plugins", "info", ""], {"vsphere", "s3", "local-ovf"}),
             (["hyperhost", "audit", "query", "x.log", "--type", ""], {"migration_start", "api_access"}))

    def setUp(self):
        requirement.need(WRITTEN.exists(), f"{WRITTEN} is not built")

    def check(self, words, expected, said):
        with self.subTest(words=words):
            typed = words[-1]
            self.assertLessEqual({word for word in expected if word.startswith(typed)}, set(said), said)
            self.assertNotIn("serve", said)
            self.assertNotIn("complete", said)

    def test_bash(self):
        for words, expected in self.CASES:
            said = run("bash", "--norc", "-c", 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _hyperhost; '
                       'printf "%s\\n" "${COMPREPLY[@]}"', "bash", WRITTEN / "bash/hyperhost", *words)
            self.check(words, expected, said.split())

    def test_zsh_with_descriptions(self):
        requirement.tool("zsh", package="zsh")
        # The completion system's own functions need a terminal: what they are called with is looked at.
        stubs = ('compdef() { print; }; _describe() { print -l -- "${(@P)argv[-1]}"; }; compadd() { print -l -- "${(@P)2}"; }; '
                 '_files() { print FILES; }; _call_program() { shift; eval "$*"; }; ')
        descriptions = 0
        for words, expected in self.CASES:
            said = run("zsh", "-f", "-c", stubs + 'source "$1"; shift; words=("$@"); CURRENT=$#; _hyperhost', "zsh", WRITTEN / "zsh/_hyperhost", *words)
            lines = said.split("\n")
            descriptions += sum(":" in line and not line.endswith(":") for line in lines)
            self.check(words, expected, [line.split(":")[0] for line in lines])
        self.assertGreater(descriptions, 20)

    def test_fish_with_descriptions(self):
        requirement.tool("fish", package="fish")
        for words, expected in self.CASES:
            said = run("fish", "--no-config", "-c", f"source '{WRITTEN}/fish/hyperhost.fish'; complete -C '{' '.join(words)}'")
            self.check(words, expected, [line.split("\t")[0] for line in said.splitlines()])
            if words[-2:] == ["info", ""]:
                self.assertTrue(all("\t" in line for line in said.splitlines() if line.startswith(("vsphere", "s3"))), said)


if __name__ == "__main__":
    requirement.main()
