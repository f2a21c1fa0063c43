#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""clang-tidy over the sources below a folder:  tidy.py FOLDER [FILTER]

Uses build/tidy, which is configured for it and never built: clang cannot read gcc's precompiled headers. Reads a folder's sources as
one (HYPERHOST_UNITY), since most of the time goes into headers. Checks those of .clang-tidy but the analyzer's. Any finding is a
failure."""
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support"))
import requirement  # noqa: E402

BUILD = ROOT / "build/tidy"


def sources(folder, wanted):
    known = {entry["file"] for entry in json.loads((BUILD / "compile_commands.json").read_text())}
    below = (f"{ROOT}/{folder}/", f"{BUILD}/{folder}/")
    return sorted(name for name in known if name.startswith(below) and re.search(wanted, name))


def main():
    folder, wanted = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
    requirement.tool("run-clang-tidy-14", package="clang-tidy-14")
    subprocess.run(["cmake", "--preset", "release", "-B", BUILD, "-DHYPERHOST_TESTS=OFF", "-DHYPERHOST_PRECOMPILE=OFF", "-DHYPERHOST_UNITY=ON"], cwd=ROOT,
                   check=True, stdout=subprocess.DEVNULL)
    files = sources(folder, wanted)
    if not files:
        sys.exit(f"no source below {folder} is compiled")
    done = subprocess.run(["run-clang-tidy-14", "-quiet", "-p", BUILD, "-j", str(os.cpu_count()), "-checks=-clang-analyzer-*,-bugprone-suspicious-include", *files],
                          cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    # A header's finding comes once for each source that includes it.
    findings = sorted(set(re.findall(r"^.*: (?:warning|error): .*$", done.stdout, re.M)))
    print("\n".join(findings[:100]))
    print(f"{folder}: {len(files)} files, {len(findings)} findings")
    if done.returncode != 0 and not findings:
        sys.exit(done.stdout[-4000:])
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    try:
        main()
    except requirement.unittest.SkipTest as reason:
        print(reason)
        sys.exit(77)
