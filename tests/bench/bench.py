#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Holds `hyperhost convert` against its peers, in turns, on the disks of make_disk.sh.

    tests/bench/bench.py [--quick] [-n 5] [--only TEXT] [--enforce] [--fsync] [--work DIR]
                         [--hold-memory] [--out DIR] [--peers-only] [--before PROGRAM]

Every row runs ours and each peer N times, interleaved, so that a noisy moment hits all alike; medians
are compared, with the best peer. "writing alone" is what one thread takes to write as many bytes to the same
place and nothing else: where ours is near it, the kernel is what is measured. Both sides start after a sync, with a warm page cache, and neither
fsyncs; with --fsync both pay for it inside the measured time. Once a row, qemu-img compare holds our
result against the source. Writes DIR/bench.json and DIR/bench.svg (default out/bench-result).
With --before the peer is another build of hyperhost, with the same flags and its own plugins: what a change
made faster or slower.
--enforce: status 1 when a bar is missed. 77: no row could run.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)
import chart  # noqa: E402
import memory  # noqa: E402

HYPERHOST = os.path.join(ROOT, "build/release/bin/hyperhost")
QEMU = ["qemu-img", "convert"]
W16 = ["-W", "-m", "16"]
NBD = ["nbdcopy", "--destination-is-zero", "--"]


def row(name, source, target, ours, peers, bar, no_larger=None, config=None):
    """`ours`: flags of hyperhost convert, `config` its hyperhost.yaml. `peers`: {label: command}. `bar`: best
    peer's median over ours must reach it. `no_larger`: our file over the best peer's at most. IN and OUT are
    put in; OURS stands for our own command, for rows that compare us with ourselves."""
    return {"name": name, "source": source, "target": target, "ours": ours, "peers": peers, "bar": bar,
            "no_larger": no_larger, "config": config}


def qemu(source, target, *options):
    """qemu-img's default and its parallel, out-of-order writes."""
    base = ["-f", source, "-O", target, *options, "IN", "OUT"]
    return {"qemu-img": [*QEMU, *base], "qemu-img -W -m 16": [*QEMU, *W16, *base]}


def nbd(source):
    return {"nbdcopy": [*NBD, "[", "qemu-nbd", "-r", "-f", source, "IN", "]", "OUT"]}


APART = '{"version": 1, "isolation": {"plugins": {"parallel-disk": "process"}}}'
ZLIB = ["-c", "-o", "compression_type=zlib"]
ZSTD = ["-c", "-o", "compression_type=zstd"]
ROWS = [
    row("streamOptimized → qcow2", "files.stream.vmdk", "qcow2", ["--no-digest"], qemu("vmdk", "qcow2"), 6),
    row("streamOptimized → qcow2, digest", "files.stream.vmdk", "qcow2", [], qemu("vmdk", "qcow2"), 4),
    row("streamOptimized → raw", "files.stream.vmdk", "raw", ["--no-digest"], qemu("vmdk", "raw"), 6),
    row("streamOptimized → compressed qcow2, keep", "files.stream.vmdk", "qcow2",
        ["--compression", "keep", "--no-digest"], qemu("vmdk", "qcow2", *ZLIB), 60),
    row("streamOptimized → compressed qcow2, keep, digest", "files.stream.vmdk", "qcow2",
        ["--compression", "keep"], qemu("vmdk", "qcow2", *ZLIB), 15),
    row("monolithicSparse → qcow2", "files.sparse.vmdk", "qcow2", ["--no-digest"], qemu("vmdk", "qcow2"), 3.5),
    row("qcow2 → raw", "files.qcow2", "raw", ["--no-digest"], {**qemu("qcow2", "raw"), **nbd("qcow2")}, 1.3),
    row("raw → qcow2", "files.raw", "qcow2", ["--no-digest"], qemu("raw", "qcow2"), 1.2),
    row("raw → raw", "files.raw", "raw", ["--no-digest"], {
        **qemu("raw", "raw"), **nbd("raw"), "cp --sparse": ["cp", "--sparse=always", "IN", "OUT"]}, 1.2),
    row("raw → compressed qcow2, zlib", "files.raw", "qcow2", ["--compression", "zlib", "--no-digest"],
        qemu("raw", "qcow2", *ZLIB), 5, 1.02),
    row("raw → compressed qcow2, zstd", "files.raw", "qcow2", ["--compression", "zstd", "--no-digest"],
        qemu("raw", "qcow2", *ZSTD), 2.5, 1.02),
    row("noise: streamOptimized → qcow2", "noise.stream.vmdk", "qcow2", ["--no-digest"], qemu("vmdk", "qcow2"), 1),
    row("noise: raw → compressed qcow2, zlib", "noise.raw", "qcow2", ["--compression", "zlib", "--no-digest"],
        qemu("raw", "qcow2", *ZLIB), 5, 1.02),
    row("host over bare qemu-img, raw → qcow2", "files.raw", "qcow2",
        ["--converter", "qemu-img", "--no-digest"], {"qemu-img": [*QEMU, "-f", "raw", "-O", "qcow2", "IN", "OUT"]}, 0.95),
    row("host over bare qemu-img, streamOptimized → qcow2", "files.stream.vmdk", "qcow2",
        ["--converter", "qemu-img", "--no-digest"], qemu("vmdk", "qcow2"), 0.95),
    row("OVA member in place, against the bare file", "files.ova", "qcow2", ["--no-digest"],
        {"bare file": ["OURS", "files.stream.vmdk", "OUT", "--no-digest"]}, 0.97),
    row("converter in a process of its own, streamOptimized → qcow2, digest", "files.stream.vmdk", "qcow2", [],
        {"in this process": ["OURS", "IN", "OUT"]}, 0.9, config=APART),
    row("converter in a process of its own, raw → qcow2", "files.raw", "qcow2", ["--no-digest"],
        {"in this process": ["OURS", "IN", "OUT", "--no-digest"]}, 0.9, config=APART),
    row("each plugin in a process of its own, raw → qcow2", "files.raw", "qcow2",
        ["--isolation", "process", "--no-digest"],
        {"in this process": ["OURS", "IN", "OUT", "--no-digest"]}, 0.9),
    row("two cores against one, raw → zlib", "files.raw", "qcow2", ["--compression", "zlib", "--no-digest"],
        {"one core": ["taskset", "-c", "0", "OURS", "IN", "OUT", "--compression", "zlib", "--no-digest"]}, 1.8),
]


def run_once(command, log, env=None):
    """Runs to the end: wall and CPU seconds, peak memory, of the process and what it waited for."""
    with open(log, "wb") as out:
        began = time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                   env=env)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, {"wall_s": wall, "cpu_s": usage.ru_utime + usage.ru_stime,
                                "peak_kib": usage.ru_maxrss}


def last_lines(path, count=3):
    with open(path, encoding="utf-8", errors="replace") as f:
        return " / ".join(line.strip() for line in f.read().splitlines()[-count:]) or "no message"


def convert_command(program):
    """(command, why not)."""
    if not os.path.exists(program):
        return None, f"{os.path.relpath(program, ROOT)} is not built"
    asked = subprocess.run([program, "convert", "--help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                           check=False)
    if asked.returncode:
        return None, "this hyperhost has no 'convert'"
    # Nobody fsyncs, see above; an option of ours, so only where it exists.
    return [program, "convert"] + (["--durability", "none"] if "--durability" in asked.stdout else []), None


def against(program, rows):
    """The rows that have other programs as peers, with `program`, a hyperhost, as the only one."""
    return [{**r, "peers": {"before": [*convert_command(program)[0], "IN", "OUT", *r["ours"]]}, "bar": 0.95, "no_larger": 1}
            for r in rows if not any("OURS" in command for command in r["peers"].values())]


class Bench:
    def __init__(self, args, disks, work, held):
        self.args, self.disks, self.work, self.held = args, disks, work, held
        self.ours, self.why_not = convert_command(HYPERHOST)
        self.room = bytearray(1 << 20)

    def fill(self, command, source, out):
        filled = []
        for word in command:
            if word == "OURS":
                filled += self.ours or ["OURS"]
            elif word in ("IN", "OUT"):
                filled.append(source if word == "IN" else out)
            else:
                at = os.path.join(self.disks, word)
                filled.append(at if word.startswith(("files.", "noise.")) and os.path.exists(at) else word)
        return filled

    def contestants(self, spec):
        """{label: command}, or the reason why the row cannot run."""
        source = os.path.join(self.disks, spec["source"])
        commands = {}
        if not self.args.peers_only:
            if not self.ours:
                return self.why_not
            commands["hyperhost"] = [*self.ours, "IN", "OUT", *spec["ours"]]
        for label, command in spec["peers"].items():
            if "OURS" in command and not self.ours:
                return self.why_not
            for tool in {command[0], *(w for w in command if w == "qemu-nbd")} - {"OURS"}:
                if not shutil.which(tool):
                    return f"{tool} is not installed"
            commands[label] = command
        out = os.path.join(self.work, f"out.{spec['target']}")
        return {label: self.fill(c, source, out) for label, c in commands.items()}

    def compare(self, spec, out):
        source = os.path.join(self.disks, spec["source"].replace(".ova", ".stream.vmdk"))
        return subprocess.run(["qemu-img", "compare", "-q", source, out], check=False).returncode == 0

    def run(self, spec):
        result = {"name": spec["name"], "bar": spec["bar"], "status": "ok", "contestants": {}}
        commands = self.contestants(spec)
        if isinstance(commands, str):
            return {**result, "status": "skipped", "reason": commands}
        out = os.path.join(self.work, f"out.{spec['target']}")
        log = os.path.join(self.work, "log")
        config = os.path.join(self.work, "hyperhost.yaml")
        if spec["config"]:
            with open(config, "w", encoding="utf-8") as f:
                f.write(spec["config"])
        for turn in range(self.args.n):
            # Whoever comes second finds the first one's pages warm.
            for label, command in list(commands.items())[:: -1 if turn % 2 else 1]:
                os.sync()
                self.warm(spec)
                env = {**os.environ, "HYPERHOST_CONFIG": config} if spec["config"] and label == "hyperhost" else None
                with self.held.fed():
                    code, usage = run_once(command, log, env)
                if code:
                    return {**result, "status": "failed", "reason": f"{label}: status {code}: {last_lines(log)}"}
                if self.args.fsync:
                    usage["wall_s"] += self.fsync(out)
                entry = result["contestants"].setdefault(label, {"command": command, "runs": []})
                entry["runs"].append(usage)
                entry["file_bytes"] = os.stat(out).st_blocks * 512
                if turn == 0 and not self.compare(spec, out):
                    return {**result, "status": "failed", "reason": f"{label}: the result differs from the source"}
                os.unlink(out)
            if "hyperhost" in result["contestants"]:
                os.sync()
                with self.held.fed():
                    seconds = self.floor(result["contestants"]["hyperhost"]["file_bytes"])
                result.setdefault("floors", []).append(seconds)
        if "floors" in result:
            result["floor_s"] = statistics.median(result.pop("floors"))
        for entry in result["contestants"].values():
            for key in ("wall_s", "cpu_s", "peak_kib"):
                entry[key] = statistics.median(r[key] for r in entry["runs"])
        return self.judge(spec, result)

    def warm(self, spec):
        """Reads the source, so that it is in the page cache whatever the kernel took away meanwhile."""
        with open(os.path.join(self.disks, spec["source"]), "rb", buffering=0) as f:
            while f.readinto(self.room):
                pass

    def floor(self, length):
        """Seconds that one thread takes to write as many bytes where the results go: less is not to be had by
        whoever writes through the page cache, since the kernel lets one writer at a time into a file."""
        path, began = os.path.join(self.work, "floor"), time.monotonic()
        with open(path, "wb", buffering=0) as f:
            for _ in range(length // len(self.room)):
                f.write(self.room)
        seconds = time.monotonic() - began
        os.unlink(path)
        return seconds

    @staticmethod
    def fsync(path):
        began, fd = time.monotonic(), os.open(path, os.O_RDWR)
        os.fdatasync(fd)
        os.close(fd)
        return time.monotonic() - began

    @staticmethod
    def judge(spec, result):
        peers = {k: v for k, v in result["contestants"].items() if k != "hyperhost"}
        best = min(peers, key=lambda k: peers[k]["wall_s"])
        result["best_peer"] = best
        ours = result["contestants"].get("hyperhost")
        if not ours:
            return result
        result["ratio"] = peers[best]["wall_s"] / ours["wall_s"]
        result["cpu_ratio"] = peers[best]["cpu_s"] / max(ours["cpu_s"], 1e-3)
        missed = [] if result["ratio"] >= spec["bar"] else [f"{result['ratio']:.2f}× < {spec['bar']}×"]
        if spec["no_larger"]:
            result["size_ratio"] = ours["file_bytes"] / peers[best]["file_bytes"]
            if result["size_ratio"] > spec["no_larger"]:
                missed.append(f"file {result['size_ratio']:.3f} of the peer's > {spec['no_larger']}")
        memory = (64 + 8 * os.cpu_count()) * 1024
        if ours["peak_kib"] > memory and "--converter" not in spec["ours"]:
            missed.append(f"peak {ours['peak_kib'] // 1024} MiB > {memory // 1024} MiB")
        result["missed"] = missed
        return result


def versions():
    out = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "kernel": platform.release()}
    for tool in (HYPERHOST, "qemu-img", "nbdcopy", "cp"):
        if shutil.which(tool):
            done = subprocess.run([tool, "version" if tool == HYPERHOST else "--version"], stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, check=False)
            out[os.path.basename(tool)] = (done.stdout.splitlines() or ["?"])[0]
    return out


def show(result):
    print(f"\n{result['name']}")
    if result["status"] != "ok":
        print(f"  {result['status']}: {result['reason']}")
        return
    for label, entry in result["contestants"].items():
        print(f"  {label:20} {entry['wall_s']:8.3f} s  {entry['cpu_s']:8.3f} CPU s  {entry['peak_kib'] / 1024:6.0f} MiB peak"
              f"  {entry['file_bytes'] / 1e6:8.1f} MB file")
    if "floor_s" in result:
        print(f"  {'writing alone':20} {result['floor_s']:8.3f} s")
    if "ratio" in result:
        verdict = "ok" if not result["missed"] else "MISSED: " + ", ".join(result["missed"])
        print(f"  {result['ratio']:.2f}× the best peer ({result['best_peer']}), bar {result['bar']}×: {verdict}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the 256 MiB disk; bars are shown, one run unless -n")
    parser.add_argument("-n", type=int, help="runs of each contestant (default 5)")
    parser.add_argument("--only", help="rows whose name holds this text")
    parser.add_argument("--enforce", action="store_true", help="status 1 when a bar is missed")
    parser.add_argument("--fsync", action="store_true", help="count an fdatasync of the result, on both sides")
    parser.add_argument("--peers-only", action="store_true", help="measure the peers alone")
    parser.add_argument("--work", help="where the results are written while they are compared, e.g. a tmpfs: "
                        "then the disk's write-back is in neither side's time")
    parser.add_argument("--hold-memory", action="store_true", help="hold all free memory, touched, and give it to "
                        "whoever is measured: for a virtual machine whose host takes back what is free")
    parser.add_argument("--before", metavar="PROGRAM", help="compare with this build of hyperhost and with nothing else")
    parser.add_argument("--out", default=os.path.join(ROOT, "out/bench-result"))
    args = parser.parse_args()
    args.n = args.n or (1 if args.quick else 5)
    rows = [r for r in ROWS if not args.only or args.only in r["name"]]
    if args.before:
        if not convert_command(args.before)[0]:
            parser.error(convert_command(args.before)[1])
        rows = against(os.path.abspath(args.before), rows)
    if not rows:
        parser.error(f"no row's name holds '{args.only}'")
    disks = os.path.join(ROOT, "out/bench-quick" if args.quick else "out/bench")
    work = os.path.join(args.work or args.out, "work")
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    os.makedirs(args.out, exist_ok=True)
    bench = Bench(args, disks, work, memory.Held() if args.hold_memory else memory.Free())
    if bench.ours or args.peers_only:
        subprocess.run([os.path.join(HERE, "make_disk.sh"), *(["--quick"] if args.quick else [])], check=True)
    report = {"versions": versions(), "quick": args.quick, "fsync": args.fsync, "runs": args.n, "rows": []}
    print("\n".join(f"{k}: {v}" for k, v in report["versions"].items()))
    with bench.held:
        for spec in rows:
            report["rows"].append(bench.run(spec))
            show(report["rows"][-1])
    shutil.rmtree(work)
    with open(os.path.join(args.out, "bench.json"), "w", encoding="utf-8") as f:
        json.dump(report, f, indent=1, ensure_ascii=False)
    chart.write(os.path.join(args.out, "bench.svg"), report)
    print(f"\n{args.out}/bench.json, {args.out}/bench.svg")
    states = [r["status"] for r in report["rows"]]
    wanting = [r for r in report["rows"] if r["status"] == "skipped" and "not installed" in r["reason"]]
    if "failed" in states or (wanting and os.environ.get("CI") == "true"):
        return 1
    if args.enforce and any(r.get("missed") for r in report["rows"]):
        return 1
    return 0 if "ok" in states else 77


if __name__ == "__main__":
    sys.exit(main())
