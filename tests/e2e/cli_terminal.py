#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What `hyperhost run` shows while it goes on: a live view on a terminal (a real one, tmux), dated
lines on a pipe, events for programs; and that nobody who does not read slows it.
"""

import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import subprocess
import time

from hyperhost_cli import BUILD, MIB, OK, PROGRAM, CliTest, sparse_raw
import requirement

DATED = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} (info|warning|error) +\S"
CLEAN = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM", "LANG", "LC_ALL", "LC_CTYPE")}


class Screen:
    """A tmux server of its own with one window, which is a terminal that reflows on resize."""

    def __init__(self, test, columns, rows, **env):
        requirement.tool("tmux", package="tmux")
        self.socket = test.work / "tmux"
        self.env = {**CLEAN, "LC_ALL": "C.UTF-8", "HYPERHOST_STATE_DIR": str(test.work / ".state"), **env}
        self.call("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(rows),
                  "env PS1='$ ' ENV= sh", cwd=test.work)
        test.addCleanup(lambda: subprocess.run(["tmux", "-S", self.socket, "kill-server"], check=False,
                                               stderr=subprocess.DEVNULL))

    def call(self, *arguments, **how):
        return subprocess.run(["tmux", "-S", self.socket, *arguments], env=self.env, check=True, capture_output=True,
                              text=True, timeout=20, **how).stdout

    def type(self, text):
        self.call("send-keys", text, "Enter")

    def lines(self, *flags):
        return [line.rstrip() for line in self.call("capture-pane", "-p", *flags).splitlines()]

    def wait(self, pattern, timeout=40):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            lines = self.lines()
            if any(re.search(pattern, line) for line in lines):
                return lines
            time.sleep(0.05)
        raise AssertionError(f"'{pattern}' did not come:\n" + "\n".join(self.lines()))


class Terminal(CliTest):
    def setUp(self):
        super().setUp()
        requirement.tool("qemu-img", package="qemu-utils")
        shelf = self.work / "shelf"
        shelf.mkdir()
        for seed, name in enumerate(("alpha", "beta", "gamma")):
            sparse_raw(shelf / f"{name}.raw", 64 * MIB, 32 * MIB, seed)
        self.made = self.plan(shelf, vm="*", name="nightly.yaml", converter={"plugin": "qemu-img"},
                              defaults={"overwrite": True}, observability={})

    def held_qemu_img(self):
        """A PATH whose qemu-img does not begin to convert while the returned file is there."""
        hold, tools = self.work / "hold", self.work / "tools"
        hold.touch()
        tools.mkdir()
        wrapper = tools / "qemu-img"
        wrapper.write_text(f"""#!/bin/sh
case " $* " in *" convert "*) while [ -e '{hold}' ]; do sleep 0.05; done ;; esac
exec '{shutil.which("qemu-img")}' "$@"
""")
        wrapper.chmod(0o755)
        return hold, f"{tools}:{os.environ['PATH']}"

    def view_of(self, lines):
        """The rows from the totals on."""
        at = [i for i, line in enumerate(lines) if line.startswith("e2e: ")]
        self.assertEqual(len(at), 1, "the totals are there once:\n" + "\n".join(lines))
        return [line for line in lines[at[0]:] if line]

    def test_a_live_view_on_a_terminal_that_is_resized(self):
        hold, path = self.held_qemu_img()
        screen = Screen(self, 80, 24, PATH=path)
        screen.type(f"{PROGRAM} run {self.made}")
        view = self.view_of(screen.wait(r"^  disk-0 +convert"))
        self.assertRegex(view[0], r"^e2e: 0 of 3 VMs done  \d+% of 9\d\.\d MiB ")
        self.assertRegex(view[1], r"^VM +stage +done/total +now +average +left$")
        self.assertRegex(view[2], r"^alpha +convert [━─]{8} +\d+% ")
        self.assertRegex(view[3], r"^  disk-0 +convert [━─]{8} +\d+% ")
        self.assertRegex(view[4], r"^beta +waiting: max_parallel: 1 at once")
        self.assertEqual(len(view), 6)
        for columns, rows in ((132, 30), (60, 20), (80, 24)):
            screen.call("resize-window", "-x", str(columns), "-y", str(rows))
            with self.subTest(columns=columns, rows=rows):
                end = time.monotonic() + 30
                while True:  # until the frame for the new size is drawn
                    time.sleep(0.15)
                    try:
                        view = self.view_of(screen.lines())
                        self.assertLessEqual(len(view), min(6, rows - 1))
                        self.assertTrue(view[1].startswith("VM "))
                        self.assertTrue(view[2].startswith("alpha "))
                        self.assertTrue(all(len(line) < columns for line in view))
                        self.assertEqual("average" in view[1], columns >= 80)
                        break
                    except AssertionError:
                        if time.monotonic() > end:
                            raise
        hold.unlink()
        lines = screen.wait(r"^3 of 3 VMs migrated", 60)
        screen.wait(r"^\$ ?$")
        self.assertFalse([line for line in lines if line.startswith(("e2e: ", "VM             stage"))])
        # What scrolled by is there, each line once and whole.
        said = "\n".join(screen.lines("-S", "-1000", "-J"))
        for name in ("alpha", "beta", "gamma"):
            self.assertEqual(len(re.findall(rf"info +{name}: migrated in", said)), 1, said)

    def test_a_live_view_on_a_small_terminal(self):
        hold, path = self.held_qemu_img()
        screen = Screen(self, 41, 12, PATH=path)
        screen.type(f"{PROGRAM} run {self.made}")
        view = self.view_of(screen.wait(r"^  disk-0 +convert"))
        self.assertLessEqual(len(view), 6)
        self.assertRegex(view[1], r"^VM +stage +now +left$")
        self.assertTrue(view[2].startswith("alpha "))
        self.assertTrue(all(len(line) < 41 for line in view))
        hold.unlink()
        screen.wait(r"^3 of 3 VMs migrated", 60)

    def on_pty(self, *arguments, **env):
        """Everything written to a terminal of 80x24 until the program ends, by read(), and its status."""
        pid, master = pty.fork()
        if pid == 0:
            os.chdir(self.work)
            os.execve(PROGRAM, [str(PROGRAM), *map(str, arguments)],
                      {**CLEAN, "TERM": "xterm", "HYPERHOST_STATE_DIR": str(self.work / ".state"), **env})
        chunks = []
        while True:
            try:
                if not (chunk := os.read(master, 65536)):
                    break
                chunks.append(chunk)
            except OSError:  # how Linux ends it
                break
        os.close(master)
        return chunks, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def test_nothing_is_blanked_and_no_mode_is_changed(self):
        chunks, status = self.on_pty("run", self.made)
        self.assertEqual(status, OK)
        text = b"".join(chunks).decode()
        self.assertIn("\x1b[36m", text)
        escapes = set(re.findall(r"\x1b(?:\[[0-9;?]*[A-Za-z]|.)", text))
        allowed = re.compile(r"\x1b\[(\d*m|\d+A|K|J)$")
        self.assertEqual([e for e in escapes if not allowed.match(e)], [])
        # No character beyond ASCII where the locale has none.
        self.assertNotIn("━", text)

    def test_no_color(self):
        chunks, _ = self.on_pty("run", self.made, NO_COLOR="1")
        text = b"".join(chunks).decode()
        self.assertIn("\x1b[K", text)  # live all the same
        self.assertNotRegex(text, r"\x1b\[\d*m")
        chunks, _ = self.on_pty("run", self.made, NO_COLOR="", TERM="xterm")
        self.assertRegex(b"".join(chunks).decode(), r"\x1b\[\d+m")

    def test_a_dumb_terminal_and_a_pipe_get_plain_dated_lines(self):
        chunks, status = self.on_pty("run", self.made, TERM="dumb")
        self.assertEqual(status, OK)
        self.assertNotIn(b"\x1b", b"".join(chunks))
        done = self.host("run", self.made, "--fresh")
        self.assertTrue(done.err)
        self.assertNotIn("\x1b", done.err + done.out)
        for line in done.err.splitlines():
            self.assertRegex(line, DATED)
        self.assertIn("alpha: convert (qemu-img)", done.err)

    def test_events_for_programs(self):
        done = self.host("run", self.made, "--progress", "json")
        events = [json.loads(line) for line in done.err.splitlines()]
        names = [e["event"] for e in events]
        self.assertEqual((names[0], names[-1]), ("run_started", "run_finished"))
        self.assertEqual([t["vm_name"] for t in events[0]["tasks"]], ["alpha", "beta", "gamma"])
        for e in events:
            self.assertRegex(e["time"], r"^\d{4}-\d\d-\d\dT[\d:.]+Z$")
        for task in events[0]["tasks"]:
            mine = [e for e in events if e.get("task_id") == task["task_id"]]
            kinds = [e["event"] for e in mine]
            for kind in ("task_started", "stage_started", "disk_started", "progress", "disk_finished",
                         "stage_finished", "task_finished"):
                self.assertIn(kind, kinds)
            shares = [e["task"]["percentage"] for e in mine if e["event"] == "progress"]
            self.assertEqual(shares, sorted(shares))
            self.assertEqual(shares[-1], 100)
            self.assertEqual(mine[-1]["outcome"], "succeeded")
        self.assertEqual(events[-1]["succeeded"], 3)
        # What keeps a plan from running is said in the same way.
        self.made.write_text("version: 1\nmigrations: []\n")
        done = self.host("run", self.made, "--progress", "json", status=2)
        events = [json.loads(line) for line in done.err.splitlines()]
        self.assertEqual({e["event"] for e in events}, {"diagnostic", "stopped"})

    def test_a_reader_that_stops_does_not_stop_the_run(self):
        # A terminal whose output is never taken, as after Ctrl-S: the run goes on to its end.
        pid, master = pty.fork()
        if pid == 0:
            os.chdir(self.work)
            os.execve(PROGRAM, [str(PROGRAM), "run", str(self.made), "--progress", "live"],
                      {**CLEAN, "TERM": "xterm", "HYPERHOST_STATE_DIR": str(self.work / ".state")})
        seen = b""
        while b"alpha" not in seen:
            seen += os.read(master, 65536)
        os.write(master, b"\x13")
        manifests = self.work / "out"
        end = time.monotonic() + 60
        while len(list(manifests.glob("*/manifest.json"))) < 3 and time.monotonic() < end:
            time.sleep(0.05)
        self.assertEqual(len(list(manifests.glob("*/manifest.json"))), 3)
        os.write(master, b"\x11")
        while select.select([master], [], [], 30)[0]:
            try:
                if not os.read(master, 65536):
                    break
            except OSError:
                break
        os.close(master)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), OK)


if __name__ == "__main__":
    requirement.main()
