#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds an upload to S3 against `rclone copyto` and `aws s3 cp` of the same file with the same
concurrency and part size, in turns, against a versitygw on loopback.

    tests/bench/cloud_bench.py [--size MIB] [-n 5] [--quick] [--enforce] [--out FILE]

Ours is the upload stage of `hyperhost run` (upload_seconds of its result); the peers are timed whole.
Each object is compared with the file afterwards. --enforce: status 1 when the best peer is faster.
77: no peer is installed.
"""

import argparse
import filecmp
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests/cloud"))
os.environ.setdefault("HYPERHOST_BUILD_DIR", str(ROOT / "build/release"))
import peers  # noqa: E402

PROGRAM = pathlib.Path(os.environ["HYPERHOST_BUILD_DIR"]) / "bin/hyperhost"
MIB = 1 << 20
PART, PARALLEL = 16, 4


def ours(server, work, source, number):
    plan = {"version": 1, "providers": {"shelf": {"plugin": "local-ovf", "path": str(source)}},
            "output_dir": str(work / f"out{number}"),
            "defaults": {"target_format": "raw", "verify": "none", "durability": "none"},
            "upload": {"destination": f"s3://vms/ours{number}",
                       "storage": server.storage(part_size=f"{PART}MiB", concurrency=PARALLEL)},
            "migrations": [{"vm": source.stem, "provider": "shelf"}]}
    path = work / "plan.json"
    path.write_text(json.dumps(plan))
    done = subprocess.run([PROGRAM, "--output", "json", "run", path], stdout=subprocess.PIPE, check=True,
                          stderr=subprocess.DEVNULL, timeout=600,
                          env={**os.environ, **server.env, "HYPERHOST_STATE_DIR": str(work / "state")})
    result = json.loads(done.stdout)["results"][0]
    shutil.rmtree(work / f"out{number}")
    return result["upload_seconds"], f"ours{number}/{source.stem}/{source.stem}-disk-0.raw"


def rclone(server, work, source, number):
    began = time.monotonic()
    remote = (f":s3,provider=Other,access_key_id={peers.ACCESS},secret_access_key={peers.SECRET},endpoint='{server.url}',"
              f"region={server.region},force_path_style=true,disable_checksum=true,chunk_size={PART}M,"
              f"upload_concurrency={PARALLEL},upload_cutoff={PART}M,no_check_bucket=true:vms/rclone{number}")
    subprocess.run(["rclone", "copyto", "--config", "/dev/null", "--retries", "1", source, remote], check=True, timeout=600,
                   env=peers.plain_environment())
    return time.monotonic() - began, f"rclone{number}"


def aws(server, work, source, number):
    config = work / "aws-config"
    config.write_text(f"[default]\nregion = {server.region}\ns3 =\n  max_concurrent_requests = {PARALLEL}\n"
                      f"  multipart_chunksize = {PART}MB\n  multipart_threshold = {PART}MB\n")
    began = time.monotonic()
    subprocess.run(["aws", "--endpoint-url", server.url, "s3", "cp", "--quiet", source, f"s3://vms/aws{number}"],
                   check=True, timeout=600,
                   env={**peers.plain_environment(), "AWS_CONFIG_FILE": str(config), "AWS_ACCESS_KEY_ID": peers.ACCESS,
                        "AWS_SECRET_ACCESS_KEY": peers.SECRET})
    return time.monotonic() - began, f"aws{number}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024, help="MiB (default 1024)")
    parser.add_argument("-n", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="256 MiB, three times")
    parser.add_argument("--enforce", action="store_true")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "out/bench-result/cloud.json")
    args = parser.parse_args()
    size, rounds = (256, 3) if args.quick else (args.size, args.n)
    contestants = {"hyperhost": ours}
    contestants.update({name: run for name, run in (("rclone copyto", rclone), ("aws s3 cp", aws))
                        if shutil.which(name.split()[0])})
    if len(contestants) == 1 or not PROGRAM.exists():
        print("neither rclone nor aws is installed, or hyperhost is not built")
        return 77
    times = {name: [] for name in contestants}
    with tempfile.TemporaryDirectory(prefix="hyperhost-bench-") as directory:
        work = pathlib.Path(directory)
        source = work / "disk.raw"
        with open(source, "wb") as out:
            for _ in range(size):
                out.write(os.urandom(MIB))
        server = peers.S3Server(work)
        try:
            for number in range(rounds):
                for name, run in contestants.items():
                    os.sync()
                    seconds, key = run(server, work, source, number)
                    if not filecmp.cmp(source, server.root / "vms" / key, shallow=False):
                        raise SystemExit(f"{name}: the object is not the file")
                    (server.root / "vms" / key).unlink()
                    times[name].append(seconds)
        finally:
            server.stop()
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    best = min(value for name, value in medians.items() if name != "hyperhost")
    ratio = best / medians["hyperhost"]
    for name, value in medians.items():
        print(f"{name:16} {value:7.2f} s  {size / value:7.0f} MiB/s")
    print(f"upload of {size} MiB, {PARALLEL} parts of {PART} MiB at once: {ratio:.2f}× the best peer")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({"size_mib": size, "part_mib": PART, "parallel": PARALLEL, "seconds": times,
                                    "median": medians, "ratio": ratio, "bar": 1.0}, indent=1) + "\n")
    return 1 if args.enforce and ratio < 1 else 0


if __name__ == "__main__":
    sys.exit(main())
