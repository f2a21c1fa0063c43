#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rounds of the fuzz targets with libFuzzer:  run.py [--seconds N | --hour] [--differential] [--build-only] [TARGET …]

Builds the targets once in build/fuzz (clang-14 with AddressSanitizer and UndefinedBehaviorSanitizer), runs each for N seconds
(60) on its seeds and on what earlier rounds found, one at a time, and prints a table. --hour divides an hour among the targets.
--differential lets qemu-img read every image that our readers accept; other bytes are a finding. Exits 1 if anything was found;
build/fuzz/findings has the inputs. What a finding shows belongs into tests/fuzz/corpus once it is mended."""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support"))
import requirement  # noqa: E402

PLACE = ROOT / "build/fuzz"
SEEDS = ROOT / "tests/fuzz/corpus"
DIFFERENTIAL = ("qcow2", "vdi", "vhd", "vhdx", "vmdk")
NAMES = sorted(path.stem for path in (ROOT / "tests/fuzz/targets").glob("*.cpp"))
MOST_BYTES = {"plan": 16384, "soap": 16384, "ovf": 16384}
HEADER = f"{'target':<16} {'executions':>11} {'a second':>9} {'edges':>7} {'corpus':>7} {'KiB':>6} {'findings':>9}"


def build(names):
    environment = {**os.environ, "CC": "clang-14", "CXX": "clang++-14"}
    if not (PLACE / "build.ninja").exists():
        subprocess.run(["cmake", "-S", ROOT, "-B", PLACE, "-G", "Ninja", "-DHYPERHOST_FUZZ=ON", "-DHYPERHOST_TESTS=OFF",
                        "-DHYPERHOST_PRECOMPILE=OFF", "-DCMAKE_BUILD_TYPE=None", "-DCMAKE_CXX_FLAGS=-O1 -gline-tables-only"],
                       env=environment, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", PLACE, "--quiet", *(f"fuzz_{name}" for name in names)], env=environment, check=True)


def program(name):
    return next(path for path in PLACE.rglob(f"fuzz_{name}") if path.is_file())


def round_of(name, seconds, differential):
    """One target's row, and the inputs that it failed with."""
    kind = "differential" if differential else "corpus"
    corpus, findings = PLACE / kind / name, PLACE / "findings" / name
    for directory in (corpus, findings):
        directory.mkdir(parents=True, exist_ok=True)
    before = set(findings.iterdir())
    environment = {**os.environ, "ASAN_OPTIONS": "allocator_may_return_null=1:detect_leaks=1", "TMPDIR": str(PLACE)}
    if differential:
        environment["HYPERHOST_FUZZ_QEMU_IMG"] = "qemu-img"
    try:
        done = subprocess.run(
            [program(name), corpus, SEEDS / name, f"-max_total_time={seconds}", f"-max_len={MOST_BYTES.get(name, 8192)}",
             "-timeout=20", "-rss_limit_mb=1024", "-malloc_limit_mb=256", "-use_value_profile=1", "-print_final_stats=1",
             f"-artifact_prefix={findings}/{kind}-"],
            capture_output=True, text=True, errors="replace", env=environment, check=False, timeout=seconds + 300)
    except subprocess.TimeoutExpired as late:  # no input takes so long: a round that does not end is a finding
        log = findings / f"{kind}.log"
        log.write_bytes(late.stderr or b"")
        return f"{name:<16} did not end within {seconds + 300} s", [log]
    found = sorted(set(findings.iterdir()) - before)
    if done.returncode != 0:
        (findings / f"{kind}.log").write_text(done.stderr[-200000:])
        if not found:
            found = [findings / f"{kind}.log"]
    executed = re.findall(r"stat::number_of_executed_units: +(\d+)", done.stderr)
    edges = re.findall(r"cov: (\d+)", done.stderr)
    kept = list(corpus.iterdir())
    row = (f"{name:<16} {int(executed[-1]) if executed else 0:>11,} {int(executed[-1]) // seconds if executed else 0:>9,} "
           f"{int(edges[-1]) if edges else 0:>7,} {len(kept):>7,} {sum(path.stat().st_size for path in kept) // 1024:>6,} "
           f"{len(found):>9}")
    return row, found


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--seconds", type=int, default=60)
    options.add_argument("--hour", action="store_true")
    options.add_argument("--differential", action="store_true")
    options.add_argument("--build-only", action="store_true")
    options.add_argument("targets", nargs="*", metavar="TARGET")
    args = options.parse_args()
    unknown = set(args.targets) - set(NAMES)
    if unknown:
        options.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    names = args.targets or [name for name in NAMES if not args.differential or name in DIFFERENTIAL]
    try:
        requirement.tool("clang++-14", package="clang-14")
        requirement.tool("qemu-img", package="qemu-utils")
    except unittest.SkipTest as missing:
        print(missing)
        return 77
    build(names)
    if args.build_only:
        return 0
    seconds = max(1, 3600 // len(names)) if args.hour else args.seconds
    print(HEADER, flush=True)
    findings = []
    for name in names:
        row, found = round_of(name, seconds, args.differential and name in DIFFERENTIAL)
        print(row, flush=True)
        findings += found
    for path in findings:
        print(f"finding: {path.relative_to(ROOT)}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
