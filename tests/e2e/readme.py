#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""README.md and docs/: their commands run as they stand there, with the exit statuses they give; their plans are plans; their links
lead somewhere."""
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import textwrap
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support"))
import dead_links  # noqa: E402
import requirement  # noqa: E402

SAMPLE = ROOT / "out/sample"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page, language):
    """The texts of a page's fenced blocks, each with what stands on the line before it."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(rf"(?:^|\n)([^\n]*)\n( *)```{language}\n(.*?)\n\2```", text, re.S)
    return [(before, textwrap.dedent(block) + "\n") for before, _, block in found]


def commands(page):
    """(command, exit status, the output shown) of each line with a prompt."""
    found = []
    for _, block in blocks(page, "console"):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            line, _, shown = part.partition("\n")
            status = re.search(r"# exit status (\d+)$", line)
            found.append((line, int(status[1]) if status else 0, shown))
    return found


class Commands(unittest.TestCase):
    def test_every_console_block(self):
        requirement.need((SAMPLE / "hyperhost-sample.ova").exists(), "the sample OVA is not built (tests/sample/build_ova.py)")
        requirement.tool("qemu-img", package="qemu-utils")
        self.assertGreater(len(commands(ROOT / "README.md")), 8)
        self.assertGreater(len(commands(ROOT / "docs/tour.md")), 15)
        for page in PAGES:
            if commands(page):
                self.run_page(page)

    def run_page(self, page):
        with tempfile.TemporaryDirectory() as place:
            place = pathlib.Path(place)
            (place / "out").mkdir()
            (place / "out/sample").symlink_to(SAMPLE)
            for before, text in blocks(page, "yaml"):
                if name := re.fullmatch(r"<!-- file: (\S+) -->", before):
                    (place / name[1]).write_text(text, encoding="utf-8")
            env = {**os.environ, "PATH": os.environ["HYPERHOST_BUILD_DIR"] + "/bin:" + os.environ["PATH"]}
            for line, status, shown in commands(page):
                if line.startswith("export PATH="):
                    continue
                with self.subTest(page=page.name, command=line):
                    done = subprocess.run(["bash", "-c", line], cwd=place, env=env, capture_output=True, text=True, timeout=100)
                    self.assertEqual(done.returncode, status, done.stdout + done.stderr)
                    said = " ".join((done.stdout + done.stderr).split())
                    # What has no number, size, time or path in it must be there as it is shown.
                    for text in shown.splitlines():
                        if text.strip() and not re.search(r"\d|/|…", text):
                            self.assertIn(" ".join(text.split()), said)


class Plans(unittest.TestCase):
    def test_every_plan_that_is_shown_is_one(self):
        """What a plan names need not be there: 3 is a plan that is right and cannot run here, 2 one that is wrong."""
        shown = 0
        for page in PAGES:
            for _, text in blocks(page, "yaml"):
                if not text.startswith("version: 1\n"):
                    continue
                shown += 1
                with self.subTest(page=page.name, plan=text), tempfile.TemporaryDirectory() as place:
                    plan = pathlib.Path(place) / "plan.yaml"
                    plan.write_text(text, encoding="utf-8")
                    done = subprocess.run([os.environ["HYPERHOST_BUILD_DIR"] + "/bin/hyperhost", "validate", plan], timeout=60,
                                          env={**os.environ, "VC_PASSWORD": "nothing-secret"}, capture_output=True, text=True)
                    self.assertIn(done.returncode, (0, 3), done.stdout + done.stderr)
        self.assertGreater(shown, 1)


class Links(unittest.TestCase):
    def test_every_relative_link_leads_somewhere(self):
        pages = [*PAGES, *(ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "sdk/README.md")),
                 *ROOT.glob("core/*/*.md"), *ROOT.glob("plugins/*/*/README.md")]
        self.assertGreater(len(pages), 15)
        self.assertEqual([dead for page in pages for dead in dead_links.of(page)], [])

    def test_a_dead_link_is_found(self):
        with tempfile.TemporaryDirectory() as place:
            page = pathlib.Path(place) / "page.md"
            page.write_text("# One heading, `code`\n[a](page.md#one-heading-code) [b](page.md#two) [c](gone.md) ![d](gone.png)\n"
                            "[e](https://example.org/gone.md) `[f](code.md)` [g](#one-heading-code)\n```\n[h](fenced.md)\n```\n")
            self.assertEqual([dead.split(": ")[1] for dead in dead_links.of(page)], ["page.md#two", "gone.md", "gone.png"])


if __name__ == "__main__":
    requirement.main()
