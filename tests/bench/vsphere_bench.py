#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Disks of a VM through export leases, from a server that gives each stream a fixed rate (an ESXi host's NFC does).

vsphere_bench.py [--rate 25] [--size 100] [--enforce] [--build DIR]

Rows: twelve disks one after the other, twelve with four streams, ten at once (peak memory). Twelve, because ten equal
disks over four streams take three rounds and cannot be more than 3.3 times as fast. Results go to
out/bench-result/vsphere.json; --enforce fails below 3.5x or above 64 MiB + 8 MiB a thread + 4 MiB a stream.
"""

import argparse
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/vsphere"), str(ROOT / "tests/support")]
from fault_vcenter import FaultVCenter  # noqa: E402
from vcenter_model import Disk  # noqa: E402
from vmdk_writer import GRAIN, MIB, Content, stream_optimized  # noqa: E402

LEAST_SPEEDUP = 3.5


def content_of(megabytes):
    """Noise, which deflate does not make smaller: a stream's bytes are the disk's bytes."""
    rng = random.Random(1)
    return Content(2 * megabytes * MIB, [(at, rng.randbytes(GRAIN)) for at in range(0, megabytes * MIB, GRAIN)])


def run(program, work, server, name, streams, parallel):
    plan = work / f"{name}.json"
    plan.write_text(json.dumps({
        "version": 1, "output_dir": str(work / f"out-{name}"),
        "providers": {"lab": {"plugin": "vsphere", "endpoint": server.url, "username": server.USER, "transport": "lease",
                              "password": {"file": str(server.password_file)}, "max_streams_per_host": streams,
                              "tls": {"ca_file": str(server.certificate[0])}}},
        "defaults": {"target_format": "raw", "verify": "none", "durability": "none", "max_parallel_disks": parallel},
        "migrations": [{"vm": name, "provider": "lab"}]}))
    environment = {**os.environ, "HYPERHOST_STATE_DIR": str(work / "state")}
    began = time.monotonic()
    process = subprocess.Popen([str(program), "--log-level", "error", "run", str(plan)], env=environment,
                               stdout=subprocess.DEVNULL)
    peak, pid = 0, 0
    while pid == 0:  # wait4's ru_maxrss would be at least this program's own: it is inherited
        text = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        if str(program.name) in text.split("\n", 1)[0] and (found := re.search(r"VmHWM:\s+(\d+) kB", text)):
            peak = int(found[1])
        time.sleep(0.02)
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    if process.returncode != 0:
        sys.exit(f"{name}: exit status {process.returncode}")
    if server.left():
        sys.exit(f"{name}: left at the server: {server.left()}")
    return {"name": name, "seconds": round(seconds, 3), "peak_kib": peak,
            "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2), "most_streams": server.most_streams}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rate", type=int, default=25, help="MB/s of each stream")
    parser.add_argument("--size", type=int, default=100, help="MiB of each disk's stream")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--enforce", action="store_true")
    wanted = parser.parse_args()
    program = wanted.build / "bin/hyperhost"
    if not program.exists():
        print(f"{program} is not built: skipped")
        return 77
    content = content_of(wanted.size)
    stream = stream_optimized(content, level=1)
    rows = []
    with tempfile.TemporaryDirectory(prefix="hyperhost-vsphere-bench-") as directory:
        work = pathlib.Path(directory)
        server = FaultVCenter(work)
        server.faults["nfc_rate"] = wanted.rate * 1_000_000
        for name, disks, streams in (("serial", 12, 1), ("four-streams", 12, 4), ("ten-at-once", 10, 10)):
            server.model.add_vm(name, [Disk(2000 + i, content, unit=i, stream=stream) for i in range(disks)])
            server.most_streams = 0
            rows.append({**run(program, work, server, name, streams, disks), "disks": disks})
            print("{name:14} {disks:3} disks {most_streams:3} streams {seconds:8.2f} s  cpu {cpu_seconds:6.2f} s  "
                  "peak {peak_kib} KiB".format(**rows[-1]), flush=True)
        server.stop()
    speedup = rows[0]["seconds"] / rows[1]["seconds"]
    limit = (64 + 8 * (os.cpu_count() or 1) + 4 * 10) * 1024
    print(f"speed-up with four streams: {speedup:.2f}x (at least {LEAST_SPEEDUP}); "
          f"peak with ten at once: {rows[2]['peak_kib']} KiB (at most {limit})")
    result = ROOT / "out/bench-result/vsphere.json"
    result.parent.mkdir(parents=True, exist_ok=True)
    result.write_text(json.dumps({"rate_mb": wanted.rate, "stream_bytes": len(stream), "rows": rows, "speedup": speedup}, indent=1))
    missed = speedup < LEAST_SPEEDUP or rows[2]["peak_kib"] > limit
    return 1 if wanted.enforce and missed else 0


if __name__ == "__main__":
    sys.exit(main())
