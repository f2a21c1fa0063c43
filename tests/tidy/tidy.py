#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""clang-tidy over the sources, a folder's at a time:

    tidy.py core plugins hosts   every folder in and below these
    tidy.py --seconds 60         as many as CI has the time for: it begins folders until so many seconds have passed. First come those
                                 that differ from the main branch, then the others in an order that each day begins elsewhere.

Uses build/tidy, which is configured for it and never built: clang cannot read gcc's precompiled headers. Reads a folder's sources as
one (HYPERHOST_UNITY), since most of the time goes into headers. Checks those of .clang-tidy but the analyzer's, which take three times
as long and are for the preset `tidy`. Any finding is a failure."""
import argparse
import concurrent.futures
import datetime
import json
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support"))
import requirement  # noqa: E402

BUILD = ROOT / "build/tidy"
CHECKS = "-checks=-clang-analyzer-*,-bugprone-suspicious-include"


def configure():
    subprocess.run(["cmake", "--preset", "release", "-B", BUILD, "-DHYPERHOST_TESTS=OFF", "-DHYPERHOST_PRECOMPILE=OFF", "-DHYPERHOST_UNITY=ON"],
                   cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def folders():
    """{folder, from the top: what clang-tidy is given for it}, without what scripts generate."""
    found = {}
    for entry in json.loads((BUILD / "compile_commands.json").read_text()):
        file = pathlib.Path(entry["file"])
        of = re.findall(r'^#include "(.+)"', file.read_text(), re.M) if file.name.startswith("unity_") else [str(file)]
        written = [pathlib.Path(name) for name in of if not pathlib.Path(name).is_relative_to(BUILD)]
        if written:
            found.setdefault(written[0].parent.relative_to(ROOT).as_posix(), []).append(str(file))
    return found


def git(*words):
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.split() if done.returncode == 0 else []


def changed():
    """The folders with files that differ from the main branch; on the main branch, from the commit before."""
    for main in ("origin/main", "main"):
        base = git("merge-base", "HEAD", main)
        if base:
            if base == git("rev-parse", "HEAD"):
                base = git("rev-parse", "-q", "--verify", "HEAD^") or base
            return {str(pathlib.PurePosixPath(name).parent) for name in git("diff", "--name-only", base[0])}
    return set()


def in_turn(names):
    names = sorted(names)
    first = datetime.date.today().toordinal() * 7 % len(names)
    others = names[first:] + names[:first]
    differ = changed()
    return [name for name in others if name in differ] + [name for name in others if name not in differ]


def read(file):
    """What it finds in a file."""
    done = subprocess.run(["clang-tidy-14", "-quiet", "-p", BUILD, CHECKS, file], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    findings = re.findall(r"^.*: (?:warning|error): .*$", done.stdout, re.M)
    return findings or ([f"{file}: {done.stderr[-2000:]}"] if done.returncode != 0 else [])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--seconds", type=float)
    parser.add_argument("folder", nargs="*")
    arguments = parser.parse_args()
    requirement.tool("clang-tidy-14", package="clang-tidy-14")
    began = time.monotonic()
    configure()
    files = folders()
    names = (in_turn(files) if arguments.seconds else
             [name for name in files if any(f"{name}/".startswith(f"{wanted.strip('/')}/") for wanted in arguments.folder)])
    if not names:
        sys.exit("no source there is compiled")

    def one(name):
        if arguments.seconds and time.monotonic() - began > arguments.seconds and name != names[0]:
            return None
        start = time.monotonic()
        return [finding for file in files[name] for finding in read(file)], time.monotonic() - start
    # A header's finding comes once for each folder that includes it.
    findings, left = set(), []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, done in zip(names, pool.map(one, names)):
            if done is None:
                left.append(name)
            else:
                print(f"{name}: {done[1]:.0f} s", *sorted(set(done[0]) - findings), sep="\n", flush=True)
                findings.update(done[0])
    print(f"{len(names) - len(left)} of {len(files)} folders read, {len(findings)} findings")
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    try:
        main()
    except requirement.unittest.SkipTest as reason:
        print(reason)
        sys.exit(77)
