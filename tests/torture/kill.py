#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kills hyperhost at random instants until its plan is done, and looks whether anything was lost,
done wrong or left behind.

    kill.py [--kills N | --seconds S] [--seed N] [--s3] [--power-cut] [--repeat-pids]

A round is a plan of several VMs: an OVA of two disks (streamed with --set, seekable otherwise), raw
images, qcow2 and raw targets, compressed and not, plain and one with its upload to a directory, or with
--s3 to a server of that kind (tests/cloud/peers.py), in parts.
The host is killed with SIGKILL after a random time, started again with the same plan, and so on
until it ends by itself. With --power-cut each kill is followed by the loss of what was not synced
(faulty_files.cpp, power_cut.py), that of the state database included. Then:

    every disk has the guest-visible bytes of its source, by its digest and by qemu-img
    qemu-img check finds nothing; hyperhost verify agrees
    no file, object or part is there that does not belong, no journal entry is open, no lock is left
    what was copied again after a kill is at most the checkpoint interval and what was in flight

With --repeat-pids all of it runs in a PID namespace of its own, where the host has the same pid each time: what a killed
process left must not be taken for its own, nor for that of a process that lives. Needs root.

The seed is printed; the same seed makes the same inputs, plans and delays. The long round, before a release:

    nice kill.py --kills 500 && nice kill.py --kills 500 --repeat-pids
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/support"), str(ROOT / "tests/e2e"), str(ROOT / "tests/cloud")]
import ova_cases  # noqa: E402
import peers  # noqa: E402
import power_cut  # noqa: E402
import requirement  # noqa: E402
from hyperhost_cli import BUILD, MIB, PROGRAM, SANITIZED, content_digest  # noqa: E402
from ova_factory import Package  # noqa: E402
from vmdk_writer import Content  # noqa: E402

OWN_NAMESPACE = "HYPERHOST_TORTURE_NAMESPACE"
REPEATED_PID = 20000
SHIM = BUILD / "lib/hyperhost/test-files/libfaulty_files.so"


class Round:
    def __init__(self, top, seed, with_power_cut, server=None):
        self.rng = random.Random(seed)
        self.top, self.power, self.server = pathlib.Path(top), with_power_cut, server
        self.place = f"vms/{self.top.name}"  # in the server's bucket
        self.shelf, self.out, self.state = self.top / "shelf", self.top / "out", self.top / "state"
        self.bucket, self.shadow = self.top / "bucket", self.top / "shadow"
        for path in (self.shelf, self.top / "goal", self.state, self.shadow, self.out, self.bucket):
            path.mkdir()
        os.chmod(self.state, 0o700)
        self.expected = {}  # vm → [digest]
        self.make()
        self.kills, self.lost, self.again, self.resumed, self.repeated = 0, 0, [], 0, 0

    # --- inputs

    def raw(self, name, capacity, density):
        content = Content.sample(capacity, self.rng.randrange(1 << 30), density)
        with open(self.shelf / f"{name}.raw", "wb") as out:
            for offset, data in content.extents:
                out.seek(offset)
                out.write(data)
            out.truncate(capacity)
        return content

    def digest(self, content):
        path = self.top / "goal/raw"
        with open(path, "wb") as out:
            for offset, data in content.extents:
                out.seek(offset)
                out.write(data)
            out.truncate(content.capacity)
        return content_digest(path)

    def make(self):
        package = Package("pair")
        for capacity in (24 * MIB, 9 * MIB + 512 * 7):
            content = Content.sample(capacity, self.rng.randrange(1 << 30), 0.8)
            package.add_disk(content)
            self.expected.setdefault("pair", []).append(self.digest(content))
        ova_cases.ova(self.shelf, package)
        migrations = [{"vm": "pair.ova", "output_name": "pair", "target_format": self.rng.choice(("qcow2", "raw"))}]
        for number, (target, compression) in enumerate((("raw", "none"), ("qcow2", "none"), ("qcow2", "zlib"),
                                                         ("qcow2", "zstd"), ("raw", "none"))):
            name = f"vm{number}"
            content = self.raw(name, self.rng.randrange(8, 40) * MIB, self.rng.choice((0.2, 0.9)))
            self.expected[name] = [self.digest(content)]
            one = {"vm": name, "target_format": target, "compression": compression}
            if number == 4:
                to = {"destination": f"s3://{self.place}", "storage": self.server.storage(part_size="5MiB")} \
                    if self.server else {"destination": f"file://{self.bucket}", "storage": {"plugin": "local"}}
                one["upload"] = {**to, "keep_local": self.rng.random() < 0.5}
                self.uploaded = (name, one["upload"]["keep_local"])
            migrations.append(one)
        self.interval = 4 * MIB
        plan = {"version": 1, "name": "torture", "providers": {"shelf": {"plugin": "local-ovf", "path": str(self.shelf)}},
                "output_dir": str(self.out), "defaults": {"verify": "target"},
                "batch": {"max_parallel": 2, "max_retries": 0, "checkpoint_bytes": self.interval,
                          "checkpoint_interval": "200ms"},
                "migrations": [{"provider": "shelf", **m} for m in migrations]}
        self.plan = self.top / "plan.yaml"
        self.plan.write_text(json.dumps(plan, indent=1))

    # --- running

    def environment(self):
        env = {**os.environ, "HYPERHOST_STATE_DIR": str(self.state), **(self.server.env if self.server else {})}
        if self.power:
            env.update(power_cut.loaded(SHIM, HYPERHOST_FAULTY_SHADOW=str(self.shadow),
                                        HYPERHOST_FAULTY_UNDER=f"{self.out}:{self.state}:{self.bucket}"))
        return env

    def start(self):
        self.log = tempfile.TemporaryFile()
        if OWN_NAMESPACE in os.environ:
            pathlib.Path("/proc/sys/kernel/ns_last_pid").write_text(str(REPEATED_PID - 1))
        process = self.started()
        self.repeated += process.pid == REPEATED_PID
        return process

    def started(self):
        return subprocess.Popen([PROGRAM, "--output", "json", "run", self.plan], env=self.environment(), cwd=self.top,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log)

    def run(self, longest):
        """Until the plan ends by itself; kills after at most `longest` seconds each time."""
        patience = 0
        while True:
            process = self.start()
            delay = self.rng.uniform(0, longest)
            try:
                out, _ = process.communicate(timeout=delay if patience < 60 else 300)
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                process.communicate()
                self.kills += 1
                patience += 1
                if self.power:
                    self.cut()
                continue
            finally:
                self.log.seek(0)
                text = self.log.read().decode("utf-8", "replace")
                self.log.close()
            if process.returncode != 0:
                raise AssertionError(f"exit status {process.returncode} after {self.kills} kills\n{out.decode()}\n{text}")
            report = json.loads(out)["results"]
            for result in report:
                if not result["success"]:
                    raise AssertionError(json.dumps(result, indent=1))
                self.resumed += sum(d["resumed_bytes"] for d in result["disks"])
            return

    def cut(self):
        """The power goes: what was not made durable may be lost."""
        shm = [p for p in self.state.glob("*-shm")]
        for path in shm:  # it is memory
            path.unlink()
        for top in (self.out, self.bucket, self.state):
            self.lost += power_cut.cut(top, self.shadow, self.rng)

    # --- looking

    def check(self):
        if self.server:  # what is in the store, by another client
            self.server.rclone("copy", self.place, str(self.bucket))
            assert not self.server.unfinished(), f"parts are left: {self.server.unfinished()}"
            self.server.rclone("purge", self.place)
        files = {}
        for vm, digests in self.expected.items():
            local = vm != self.uploaded[0] or self.uploaded[1]
            for top in ([self.out] if local else []) + ([self.bucket] if vm == self.uploaded[0] else []):
                manifest = top / vm / "manifest.json"
                files[manifest] = True
                own = json.loads(manifest.read_text())["hyperhost"]
                for name in own["target"]["files"]:
                    assert (top / vm / name).stat().st_size > 100, (vm, name)
                    files[top / vm / name] = True
                disks = sorted(own["disks"], key=lambda d: d["id"])
                assert [d["content_digest"] for d in disks] == digests, (vm, disks, digests)
                for number, digest in enumerate(digests):
                    image = next((top / vm).glob(f"{vm}-disk-{number}.*"))
                    files[image] = True
                    self.same(image, digest)
        left = [str(p) for top in (self.out, self.bucket) for p in top.rglob("*") if p.is_file() and p not in files]
        assert not left, f"left behind: {left}"
        with sqlite3.connect(f"file:{self.state}/state.db?mode=ro", uri=True) as db:
            entries = db.execute("SELECT plugin, what, owner FROM journal").fetchall()
            open_records = db.execute("SELECT target, disk, phase FROM resume WHERE phase <> 'finished'").fetchall()
        db.close()
        assert not entries, f"owed: {entries}"
        assert not open_records, f"unfinished: {open_records}"

    def same(self, image, digest):
        raw = self.top / "goal/converted"
        kind = "qcow2" if image.suffix == ".qcow2" else "raw"
        if kind == "qcow2":
            done = subprocess.run(["qemu-img", "check", "-q", image], check=False, capture_output=True, text=True)
            assert done.returncode == 0, f"{image}: {done.stdout}{done.stderr}"
        subprocess.run(["qemu-img", "convert", "-f", kind, "-O", "raw", image, raw], check=True)
        found = content_digest(raw)
        assert found == digest, f"{image} differs from its source: {found} {digest}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=0, help="go on until so many kills were made")
    parser.add_argument("--seconds", type=float, default=20, help="or for so long")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--longest", type=float, default=4.0 if SANITIZED else 1.2, help="seconds before a kill")
    parser.add_argument("--s3", action="store_true", help="upload to an S3 server")
    parser.add_argument("--power-cut", action="store_true")
    parser.add_argument("--repeat-pids", action="store_true", help="in a PID namespace, the host's pid always the same")
    options = parser.parse_args()
    requirement.need(PROGRAM.exists(), f"{PROGRAM} is not built")
    requirement.tool("qemu-img", "qemu-utils")
    if options.power_cut:
        requirement.need(SHIM.exists(), f"{SHIM} is not built")
    if options.repeat_pids and OWN_NAMESPACE not in os.environ:
        command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
        requirement.tool("unshare", "util-linux")
        allowed = subprocess.run([*command, "sh", "-c", "echo 100 >/proc/sys/kernel/ns_last_pid"], check=False,
                                 capture_output=True).returncode == 0
        requirement.need(allowed, "no PID namespace can be made here, which needs root")
        os.environ[OWN_NAMESPACE] = "1"
        os.execvp(command[0], [*command, sys.executable, "-B", *sys.argv, "--seed", str(options.seed)])
    print(f"seed {options.seed} (replay: {pathlib.Path(__file__).name} --seed {options.seed}"
          f"{' --s3' if options.s3 else ''}{' --power-cut' if options.power_cut else ''}"
          f"{' --repeat-pids' if options.repeat_pids else ''} --kills {options.kills or 1})", flush=True)
    with contextlib.ExitStack() as stack:
        server = None
        if options.s3:
            server = peers.S3Server(stack.enter_context(tempfile.TemporaryDirectory(prefix="hyperhost-torture-s3-")))
            stack.callback(server.stop)
        rounds_of(options, server)


def rounds_of(options, server):
    rng = random.Random(options.seed)
    began, kills, rounds, lost, resumed, repeated = time.monotonic(), 0, 0, 0, 0, 0
    while (kills < options.kills) if options.kills else (time.monotonic() - began < options.seconds):
        seed = rng.randrange(1 << 30)
        top = tempfile.mkdtemp(prefix="hyperhost-torture-")
        try:
            one = Round(top, seed, options.power_cut, server)
            one.run(options.longest)
            one.check()
        except BaseException:
            print(f"round {rounds} (seed {seed}) failed after {one.kills} kills; its files are in {top}", flush=True)
            raise
        shutil.rmtree(top)
        rounds, kills, lost, resumed = rounds + 1, kills + one.kills, lost + one.lost, resumed + one.resumed
        repeated += one.repeated
    print(f"{kills} kills in {rounds} rounds, {time.monotonic() - began:.0f} s: all disks identical, nothing left"
          f"; {resumed / MIB:.0f} MiB were not done again by the last run of each round"
          + (f"; {lost} names lost by power cuts" if options.power_cut else "")
          + (f"; {repeated} of {kills + rounds} hosts had the same pid" if options.repeat_pids else ""))
    assert not options.repeat_pids or repeated > 1, "no pid came twice"


if __name__ == "__main__":
    main()
