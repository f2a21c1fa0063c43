#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The commands of README's tour run as they stand there, with the exit statuses it gives."""
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support"))
import requirement  # noqa: E402

SAMPLE = ROOT / "out/sample"
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands():
    """(command, exit status, the output shown) of each line with a prompt."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```$", README, re.M | re.S):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            line, _, shown = part.partition("\n")
            status = re.search(r"# exit status (\d+)$", line)
            found.append((line, int(status[1]) if status else 0, shown))
    return found


class Tour(unittest.TestCase):
    def test_every_command(self):
        requirement.need((SAMPLE / "hyperhost-sample.ova").exists(), "the sample OVA is not built (tests/sample/build_ova.py)")
        requirement.tool("qemu-img", package="qemu-utils")
        with tempfile.TemporaryDirectory() as place:
            place = pathlib.Path(place)
            (place / "out").mkdir()
            (place / "out/sample").symlink_to(SAMPLE)
            for name, text in re.findall(r"<!-- file: (\S+) -->\n```yaml\n(.*?)^```$", README, re.M | re.S):
                (place / name).write_text(text, encoding="utf-8")
            env = {**os.environ, "PATH": os.environ["HYPERHOST_BUILD_DIR"] + "/bin:" + os.environ["PATH"]}
            self.assertGreater(len(commands()), 12)
            for line, status, shown in commands():
                if line.startswith("export PATH="):
                    continue
                with self.subTest(command=line):
                    done = subprocess.run(["bash", "-c", line], cwd=place, env=env, capture_output=True, text=True, timeout=100)
                    self.assertEqual(done.returncode, status, done.stdout + done.stderr)
                    said = done.stdout + done.stderr
                    # What has no number, size, time or path in it must be there as it is shown.
                    for text in shown.splitlines():
                        if text.strip() and not re.search(r"\d|/|…", text):
                            self.assertIn(" ".join(text.split()), " ".join(said.split()))


if __name__ == "__main__":
    requirement.main()
