#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A run of many VMs, held at some moments: the terminal, the API, `hyperhost status` and the metrics show the same figures then. In
a run of a hundred VMs or more, from the tenth on the time left is within a quarter of what the run still took.

    many_vms.py [--vms N] [--moments N] [--rate BYTES] [--seed N]

The VMs have mixed sizes. Some fail, some are skipped (a dependency failed, a start window is over), some wait for a window, a
dependency or a limit. The run is one of the real program, on a terminal of tmux. To hold it, the worker process that reads the
sources is stopped (SIGSTOP): nothing moves until it may go on. The long round, before a release, takes six minutes:

    tests/torture/many_vms.py --vms 200 --moments 10
"""

import argparse
import datetime
import json
import os
import pathlib
import random
import re
import signal
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/support"), str(ROOT / "tests/e2e"), str(ROOT / "tests/cloud")]
import requirement  # noqa: E402
from cli_terminal import Screen  # noqa: E402
from hyperhost_cli import FAILED, MIB, PROGRAM, CliTest, sparse_raw  # noqa: E402
from observe_support import get  # noqa: E402
from peers import free_port  # noqa: E402

OPTIONS = argparse.Namespace(vms=20, moments=4, rate=4_000_000, seed=7)
STATES = ("waiting", "running", "completed", "failed", "cancelled", "skipped")
ENDED = ("completed", "failed", "cancelled", "skipped")
# What the terminal and `status` call the states of the API.
WORDS = {"done": "completed", "succeeded": "completed", "stopped": "cancelled"}
SHARE = 0.25
FLOOR = 15  # seconds: less is a matter of when the last disk ends, and of how long the run is held


def seconds_of(text):
    """What the live view writes as "1m02s"."""
    return sum(int(number) * {"d": 86400, "h": 3600, "m": 60, "s": 1}[unit] for number, unit in re.findall(r"(\d+)([dhms])", text))


def instant(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


class Shown:
    """What one display shows. `still` stands still while the run is held; `moving` changes with the time."""

    def __init__(self, vms, counts, share, moving):
        self.still = {"vms": vms, "counts": counts, "share": share}
        self.moving = moving


def of_run(run, vms):
    """From the object that the API serves, and that the state database keeps for `status`."""
    share = "at least" if run["percentage"] is None else f"{int(run['percentage'])}%"
    return Shown(vms, {state: run["counts"][state] for state in STATES}, share,
                 {"left": run["eta"], "low": run["eta_low"], "high": run["eta_high"], "rate": run["rate"], "limits": run["limits"]})


def vm_text(status, task, stage):
    if status in ENDED:
        return status
    if status == "pending":
        return "waiting: " + task["waiting"]["text"] if task.get("waiting") else "waiting"
    return f"{stage} {int(task['percentage'])}%" if stage else "begins"


class ManyVms(CliTest):
    def setUp(self):
        super().setUp()
        requirement.tool("tmux", package="tmux")
        self.rng = random.Random(OPTIONS.seed)
        self.api_port, self.metrics_port = free_port(), free_port()
        self.samples = []  # (time, Shown) of the API while the run is not held
        self.apart = {}    # figure → the largest difference between two displays that was seen

    def make(self):
        """The plan. Counts the VMs that will fail and that will be skipped."""
        shelf = self.work / "shelf"
        shelf.mkdir()
        bad, now = self.ova("wrong-checksum-disk")[0], datetime.datetime.now(datetime.timezone.utc)
        migrations, self.fails, self.skips = [], 0, 0
        for i in range(OPTIONS.vms):
            name = f"vm-{i:03}"
            one = {"vm": name, "id": name, "provider": "left" if i % 3 else "right"}
            if i % 20 == 4:
                os.link(bad, shelf / f"{name}.ova")
                one.update(vm=f"{name}.ova", output_name=name)
                self.fails += 1
            else:
                data = self.rng.randint(1, 8) * (6 if i % 10 == 7 else 1) * MIB
                sparse_raw(shelf / f"{name}.raw", data + data // 2, data, i)
            if i % 20 == 9:
                one["depends_on"] = [f"vm-{i - 5:03}"]
                self.skips += 1
            elif i % 20 == 14:
                one["depends_on"] = [f"vm-{i - 1:03}"]
            elif i == 6:
                one["not_after"] = (now - datetime.timedelta(hours=1)).isoformat()
                self.skips += 1
            elif i == 11:
                one["not_before"] = (now + datetime.timedelta(seconds=15)).isoformat()
            migrations.append(one)
        source = {"plugin": "local-ovf", "path": str(shelf), "isolation": "process"}
        return self.plan(shelf, migrations=migrations, providers={"left": source, "right": source},
                         batch={"max_retries": 0, "max_parallel": 3, "limits": {"per_provider": 2},
                                "source_bandwidth_limit": OPTIONS.rate},
                         observability={"progress_api": f"127.0.0.1:{self.api_port}",
                                        "metrics_api": f"127.0.0.1:{self.metrics_port}"})

    # --- what each display shows

    def of_api(self):
        answer = json.loads(get(f"http://127.0.0.1:{self.api_port}", "/api/v1/progress")[2])
        return of_run(answer["run"], {task["vm_name"]: vm_text(task["status"], task, task["current_stage"]) for task in answer["tasks"]})

    def of_status(self):
        run = self.host("--output", "json", "status").json["runs"][0]
        self.assertEqual(run["state"], "running")
        vms = {task["vm_name"]: vm_text(WORDS.get(task["status"], task["status"]), task, task.get("stage")) for task in run["tasks"]}
        return of_run(run["progress"], vms) if "progress" in run else None

    def of_metrics(self):
        text = get(f"http://127.0.0.1:{self.metrics_port}", "/metrics")[2]
        figures = {name: float(value) for name, value in re.findall(r"^(hypersdk_\S+) (\S+)$", text, re.M)}
        number = lambda name: None if figures[name] != figures[name] else figures[name]
        counts = {state: int(figures[f'hypersdk_run_vms{{state="{state}"}}']) for state in STATES}
        since = {"completed": "succeeded", "failed": "failed", "cancelled": "cancelled", "skipped": "skipped", "running": "active"}
        counted = {state: int(figures["hypersdk_migrations_" + name]) for state, name in since.items()}
        if any(counts[state] != counted[state] for state in since):
            return Shown(None, {"per run": counts, "per VM": counted}, None, {})  # while a VM changes its state; else a difference
        share = number("hypersdk_run_progress_percent")
        return Shown(None, counts, "at least" if share is None else f"{int(share + 1e-9)}%",
                     {"left": number("hypersdk_run_left_seconds"), "rate": number("hypersdk_run_bytes_per_second")})

    def of_terminal(self):
        """Nothing while a frame is being drawn."""
        lines = self.screen.lines()
        at = [i for i, line in enumerate(lines) if line.startswith("e2e: ")]
        if len(at) != 1:
            return None
        vms, limits = {}, []
        for line in lines[at[0] + 1:]:
            if row := re.match(r"(vm-\S+) +waiting: (.*)", line):
                vms[row[1]] = "waiting: " + row[2]
            elif row := re.match(r"(vm-\S+) +([a-z]+) +[━─]+(?: +(\d+)%)?", line):
                word = WORDS.get(row[2], row[2])
                vms[row[1]] = word if word in ENDED or row[3] is None else f"{word} {row[3]}%"
            elif line.startswith("slowed down by "):
                limits.append(line[len("slowed down by "):])
        head = lines[at[0]]
        share = re.search(r"  (\d+%) of ", head)
        left = re.search(r"  (\S+)(?: to (\S+))? left", head)
        of = [int(number) for number in re.match(r"e2e: (\d+) of (\d+) VMs done", head).groups()]
        lost = {word: int(number) for number, word in re.findall(r", (\d+) (failed|stopped|skipped)", head)}
        self.assertEqual(of[1], OPTIONS.vms)
        counts = {"completed": of[0], "failed": lost.get("failed", 0), "cancelled": lost.get("stopped", 0), "skipped": lost.get("skipped", 0)}
        counts["waiting"] = sum(text.startswith("waiting") for text in vms.values())
        counts["running"] = len(vms) - sum(counts.values())
        moving = {"limits": limits}
        if left and left[2]:
            moving.update(low=seconds_of(left[1]), high=seconds_of(left[2]))
        elif left:
            moving["left"] = seconds_of(left[1])
        return Shown(vms, counts, share[1] if share else "at least", moving)

    # --- holding and comparing

    def host_pid(self):
        """Of the program on the terminal: the child of its shell."""
        shell = self.screen.call("list-panes", "-F", "#{pane_pid}").strip()
        return next((pid for pid in self.children(shell)), None)

    @staticmethod
    def children(parent):
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and (entry / "stat").read_text().rsplit(")", 1)[1].split()[1] == str(parent):
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def signal_workers(self, which):
        for pid in self.workers:
            try:
                os.kill(pid, which)
            except ProcessLookupError:
                continue

    def hold(self):
        """Stops the sources and compares what the displays show, once nothing moves any more."""
        self.workers = self.children(self.pid)
        self.assertTrue(self.workers, "the host has no worker process")
        self.signal_workers(signal.SIGSTOP)
        try:
            seen, end = [self.of_api()], time.monotonic() + 60
            while True:
                status, terminal, metrics = self.of_status(), self.of_terminal(), self.of_metrics()
                seen.append(self.of_api())
                others = {"status": status, "terminal": terminal, "metrics": metrics}
                differ = self.differences(seen, others)
                if not differ:
                    break
                self.assertLess(time.monotonic(), end, differ)
                time.sleep(0.2)
            self.note(seen, others)
        finally:
            self.signal_workers(signal.SIGCONT)

    def differences(self, seen, others):
        """Against the API, whose last two answers must be alike, too. In figures that move with the time a display may show any
        value that the API showed meanwhile, and one second more or less for rounding."""
        now, found = seen[-1], []
        if seen[-2].still != now.still:
            return ["the run moves still"]
        for name, shown in others.items():
            if shown is None:
                found.append(f"{name}: nothing")
                continue
            for figure, value in shown.still.items():
                if value is not None and value != now.still[figure]:
                    found.append((name, figure, value, now.still[figure]))
            for figure, value in shown.moving.items():
                if not self.meanwhile(value, [one.moving[figure] for one in seen]):
                    found.append((name, figure, value, [one.moving[figure] for one in seen]))
        return found

    @staticmethod
    def meanwhile(value, of_api):
        if value is None or isinstance(value, list):
            return value in of_api
        numbers = [one for one in of_api if one is not None]  # none while nothing can be said
        slack = max(1.0, 0.01 * abs(value))  # rounded to seconds, or in the live view to minutes
        return bool(numbers) and min(numbers) - slack <= value <= max(numbers) + slack

    def note(self, seen, others):
        counts = seen[-1].still["counts"]
        print(f"  held with {sum(counts[state] for state in ENDED)} of {OPTIONS.vms} VMs ended, {counts['waiting']} waiting: "
              f"{seen[-1].still['share']} in terminal, API, status and metrics, left {seen[-1].moving['left']} s, "
              f"{len(seen)} answers of the API", flush=True)

    # --- the test

    def test_one_truth_and_the_time_left(self):
        plan = self.make()
        print(f"\nseed {OPTIONS.seed}, {OPTIONS.vms} VMs: {self.fails} will fail, {self.skips} will be skipped", flush=True)
        self.screen = Screen(self, 180, OPTIONS.vms + 40)
        self.screen.type(f"{PROGRAM} run {plan}; echo ended with $?")
        self.pid = self.wait(self.host_pid, "the program")
        self.wait(self.sample, "the run in the API")
        held = 0
        while shown := self.sample():
            ended = sum(shown.still["counts"][state] for state in ENDED)
            if held < OPTIONS.moments and ended >= OPTIONS.vms * (held + 0.5) / OPTIONS.moments and shown.still["counts"]["running"]:
                self.hold()
                held += 1
            time.sleep(0.5)
        self.assertEqual(held, OPTIONS.moments)
        self.screen.wait(rf"^ended with {FAILED}$", 60)
        self.check_end()
        self.check_time_left()

    def wait(self, what, name, seconds=120):
        end = time.monotonic() + seconds
        while not (value := what()):
            if time.monotonic() > end:
                self.fail(f"{name} did not come; the screen: {self.screen.lines()}")
            time.sleep(0.05)
        return value

    def sample(self):
        """Nothing before the run has begun, once every VM has ended, or when the host is gone."""
        for _ in range(20):  # one answer that does not come is no end
            try:
                shown = self.of_api()
                break
            except OSError:
                if not self.host_pid():
                    return None
                time.sleep(0.25)
        else:
            return None
        if shown.still["counts"]["waiting"] + shown.still["counts"]["running"] == 0:
            return None
        self.samples.append((time.time(), shown))
        return shown

    def check_end(self):
        done = OPTIONS.vms - self.fails - self.skips
        words = f"{done} of {OPTIONS.vms} VMs migrated, {self.fails} failed, {self.skips} skipped"
        self.assertTrue(any(words in line for line in self.screen.lines()), "\n".join(self.screen.lines()))
        run = self.host("--output", "json", "status").json["runs"][0]
        self.assertEqual((run["state"], run["counts"]), ("ended", {"succeeded": done, "failed": self.fails, "skipped": self.skips}))
        self.end = max(instant(task["end_time"]) for task in run["tasks"] if task["end_time"])

    def check_time_left(self):
        wrong, worst, checked = [], 0.0, 0
        for at, shown in self.samples:
            if sum(shown.still["counts"][state] for state in ENDED) < 10 or at >= self.end:
                continue
            truth, left = self.end - at, shown.moving["left"]
            checked += 1
            if left is None or abs(left - truth) > max(SHARE * truth, FLOOR):
                wrong.append((round(truth), left))
            if left is not None and truth >= FLOOR / SHARE:
                worst = max(worst, abs(left - truth) / truth)
        print(f"  {checked} estimates from the tenth VM on; the worst with more than a minute left was {100 * worst:.0f} % off; "
              f"the run took {self.end - self.samples[0][0]:.0f} s", flush=True)
        self.assertGreater(checked, 5)
        if OPTIONS.vms >= 100:  # the end of a short run says more about the machine than about the estimate
            self.assertEqual(wrong, [], "(seconds that were left, estimate)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vms", type=int, default=OPTIONS.vms, help="20 at least")
    parser.add_argument("--moments", type=int, default=OPTIONS.moments, help="at which the run is held")
    parser.add_argument("--rate", type=int, default=OPTIONS.rate, help="bytes a second that the sources may deliver")
    parser.add_argument("--seed", type=int, default=OPTIONS.seed)
    parser.parse_args(namespace=OPTIONS)
    del sys.argv[1:]
    requirement.main()


if __name__ == "__main__":
    main()
