#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The engine against qemu-img, for development: medians of wall and processor time.

usage: disk_bench.py DISK_CONVERT DISK.raw DIRECTORY [ROUNDS]
"""
import json
import os
import resource
import statistics
import subprocess
import sys
import time


def timed(argv):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    wall = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu


def main():
    engine, raw, work = sys.argv[1:4]
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 3
    path = lambda name: os.path.join(work, name)
    sources = {"raw": raw}
    for name, options in (("stream.vmdk", ["-O", "vmdk", "-o", "subformat=streamOptimized"]),
                          ("sparse.vmdk", ["-O", "vmdk"]), ("plain.qcow2", ["-O", "qcow2"])):
        sources[name] = path(name)
        if not os.path.exists(path(name)):
            subprocess.run(["qemu-img", "convert", *options, raw, path(name)], check=True)
    own, peer = path("own.out"), path("peer.out")
    qemu = ["qemu-img", "convert", "-W", "-m", "16"]
    rows = [
        ("streamOptimized to qcow2", "stream.vmdk", {"format": "qcow2"}, [], qemu + ["-O", "qcow2"]),
        ("the same with digest", "stream.vmdk", {"format": "qcow2"}, ["digest"],
         qemu + ["-O", "qcow2"]),
        ("streamOptimized keep", "stream.vmdk", {"format": "qcow2", "compression": "keep"}, [],
         qemu + ["-c", "-O", "qcow2"]),
        ("keep with digest", "stream.vmdk", {"format": "qcow2", "compression": "keep"}, ["digest"],
         qemu + ["-c", "-O", "qcow2"]),
        ("monolithicSparse to qcow2", "sparse.vmdk", {"format": "qcow2"}, [], qemu + ["-O", "qcow2"]),
        ("qcow2 to raw", "plain.qcow2", {"format": "raw"}, [], qemu + ["-O", "raw"]),
        ("raw to qcow2", "raw", {"format": "qcow2"}, [], qemu + ["-O", "qcow2"]),
        ("raw to raw", "raw", {"format": "raw"}, [], qemu + ["-O", "raw"]),
        ("raw to qcow2 zlib", "raw", {"format": "qcow2", "compression": "zlib"}, [],
         qemu + ["-c", "-O", "qcow2"]),
        ("raw to qcow2 zstd", "raw", {"format": "qcow2", "compression": "zstd"}, [],
         qemu + ["-c", "-O", "qcow2", "-o", "compression_type=zstd"]),
    ]
    formats = {"stream.vmdk": "vmdk", "sparse.vmdk": "vmdk", "plain.qcow2": "qcow2", "raw": "raw"}
    only = os.environ.get("ONLY", "")
    for name, source, target, extra, other in rows:
        if only not in name:
            continue
        ours, theirs = [], []
        for _ in range(rounds):
            for times, out, argv in (
                    (ours, own, [engine, sources[source], formats[source], own, json.dumps(target),
                                 "threads=2", *extra]),
                    (theirs, peer, other + ["-f", formats[source], sources[source], peer])):
                if os.path.exists(out):
                    os.remove(out)
                times.append(timed(argv))
        median = lambda times, i: statistics.median(t[i] for t in times)
        size = lambda p: os.stat(p).st_size
        print(f"{name:28} own {median(ours, 0):6.2f} s wall {median(ours, 1):6.2f} s cpu | qemu-img "
              f"{median(theirs, 0):6.2f} s wall {median(theirs, 1):6.2f} s cpu | "
              f"{median(theirs, 0) / median(ours, 0):5.1f}x wall {median(theirs, 1) / median(ours, 1):5.1f}x cpu"
              f" | size {size(own) / size(peer):.3f}", flush=True)


if __name__ == "__main__":
    main()
