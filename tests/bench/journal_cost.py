#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What it costs to be able to go on after a crash: the same plan with and without checkpoints, in
turns, on a disk of random data.

    journal_cost.py [--size GIB] [--runs N] [--target raw|qcow2] [--directory DIR] [--hold-memory]
                    [--enforce PERCENT]

Both sides sync the finished file (durability: file). Prints the medians, their difference, how many
states were saved, and, with --enforce, fails where the difference is larger.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/bench"))
import memory  # noqa: E402

BUILD = pathlib.Path(os.environ.get("HYPERHOST_BUILD_DIR", ROOT / "build/release"))
MIB, GIB = 1 << 20, 1 << 30


def make(path, size):
    with open(path, "wb") as out:
        block = os.urandom(64 * MIB)
        for number in range(size // len(block)):
            out.write(number.to_bytes(8, "little") + block[8:])
        out.flush()
        os.fsync(out.fileno())


def run(top, target, checkpoint, held):
    shutil.rmtree(top / "out", ignore_errors=True)
    shutil.rmtree(top / "state", ignore_errors=True)
    plan = {"version": 1, "providers": {"shelf": {"plugin": "local-ovf", "path": str(top / "disk.raw")}},
            "output_dir": str(top / "out"), "defaults": {"target_format": target, "verify": "none"},
            "batch": {} if checkpoint else {"checkpoint_bytes": 0},
            "migrations": [{"vm": "disk", "provider": "shelf"}]}
    (top / "plan.yaml").write_text(json.dumps(plan))
    os.sync()
    with held.fed():
        began = time.monotonic()
        subprocess.run([BUILD / "bin/hyperhost", "--log-level", "warn", "run", top / "plan.yaml"], check=True,
                       stdout=subprocess.DEVNULL, env={**os.environ, "HYPERHOST_STATE_DIR": str(top / "state")})
        return time.monotonic() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=float, default=6, help="GiB (a run's fixed cost is 0.1 s)")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--target", default="qcow2", choices=("raw", "qcow2"))
    parser.add_argument("--directory", help="where to work: the file system that is measured")
    parser.add_argument("--hold-memory", action="store_true", help="as bench.py's")
    parser.add_argument("--enforce", type=float, help="percent")
    options = parser.parse_args()
    with (tempfile.TemporaryDirectory(dir=options.directory, prefix="hyperhost-journal-cost-") as name,
          memory.Held() if options.hold_memory else memory.Free() as held):
        top = pathlib.Path(name)
        size = int(options.size * GIB) // (64 * MIB) * (64 * MIB)
        make(top / "disk.raw", size)
        run(top, options.target, True, held)  # warms up
        times = {True: [], False: []}
        for number in range(options.runs):
            for checkpoint in ((True, False) if number % 2 else (False, True)):
                times[checkpoint].append(run(top, options.target, checkpoint, held))
    on, off = (statistics.median(times[key]) for key in (True, False))
    cost = (on / off - 1) * 100
    print(f"{size / GIB:.1f} GiB to {options.target}: {off:.2f} s without checkpoints, {on:.2f} s with them "
          f"({cost:+.1f} %); each of {options.runs}: {[round(t, 2) for t in times[False]]}, {[round(t, 2) for t in times[True]]}")
    if options.enforce is not None and cost > options.enforce:
        sys.exit(f"more than {options.enforce} %")


if __name__ == "__main__":
    main()
