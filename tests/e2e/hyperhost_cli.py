# SPDX-License-Identifier: Apache-2.0
"""Drives the `hyperhost` program for the end-to-end tests: each test gets a directory, plans are
written as JSON (which is YAML), and what a run leaves behind is looked at from outside.
"""

import hashlib
import json
import os
import pathlib
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support"))
import ova_factory  # noqa: E402
import requirement  # noqa: E402

BUILD = pathlib.Path(os.environ.get("HYPERHOST_BUILD_DIR", ROOT / "build/release"))
PROGRAM = BUILD / "bin/hyperhost"
PLUGINS = BUILD / "lib/hyperhost/plugins"
TEST_PLUGINS = BUILD / "lib/hyperhost/test-plugins"
MIB, GIB = 1 << 20, 1 << 30
OK, FAILED, USAGE, PREFLIGHT, INTERRUPTED, DIFFERS = 0, 1, 2, 3, 4, 5
CONVERTERS = ("parallel-disk", "qemu-img")
RENDERED = ["kubevirt.yaml", "libvirt.xml", "openstack.sh", "proxmox.sh"]  # by the target that a plan has by default
SANITIZED = BUILD.name in ("asan", "tsan")  # memory and time limits mean nothing there
# A limit of time here ends what hangs; it says nothing about speed.
PATIENCE = 4 if SANITIZED or os.environ.get("CI") == "true" else 1


def digest_leaf(block):
    return hashlib.sha256(b"\x00" + block).digest()


def tree_digest(leaves, size):
    """core/disk/digest.md, from the leaves: written down a second time, against the product."""
    def h(*parts):
        return hashlib.sha256(b"".join(parts)).digest()

    def tree(leaves):
        if len(leaves) == 1:
            return leaves[0]
        k = 1
        while k * 2 < len(leaves):
            k *= 2
        return h(b"\x01", tree(leaves[:k]), tree(leaves[k:]))
    root = tree(leaves) if leaves else h()
    return "hyper-tree-sha256:" + h(b"hyper-tree-sha256/1\n", size.to_bytes(8, "little"), root).hex()


def content_digest(path):
    """Of a raw image."""
    leaves, size = [], 0
    with open(path, "rb") as raw:
        while block := raw.read(MIB):
            size += len(block)
            leaves.append(digest_leaf(block))
    return tree_digest(leaves, size)


def sha256_of(path):
    return "sha256:" + hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def sparse_raw(path, capacity, data_bytes, seed=1, compressible=False):
    """A raw image of `capacity` with `data_bytes` spread over it in pieces of 1 MiB."""
    rng, pieces = random.Random(seed), data_bytes // MIB
    with open(path, "wb") as out:
        out.truncate(capacity)
        for piece in range(pieces):
            out.seek(capacity // pieces * piece // MIB * MIB)
            out.write(rng.randbytes(1024) * 1024 if compressible else rng.randbytes(MIB))
    return path


class Done:
    """A finished run of the program."""

    def __init__(self, status, out, err, seconds):
        self.status, self.out, self.err, self.seconds = status, out, err, seconds

    @property
    def json(self):
        return json.loads(self.out)

    def errors(self):
        """What a user reads as errors: diagnostics and error lines of the log."""
        return [l for l in self.err.splitlines() if l.startswith("error:") or re.match(r"\S+ \S+ error ", l)]

    def __str__(self):
        return f"exit status {self.status}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


class Running:
    """The program while it runs; it and all it started carry a mark in their environment."""

    def __init__(self, work, arguments, env=None, program=PROGRAM):
        self.mark = "HYPERHOST_E2E_MARK=" + uuid.uuid4().hex
        name, value = self.mark.split("=")
        self.work, self.began = work, time.monotonic()
        self.out, self.err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [str(program), *map(str, arguments)], cwd=work, stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.err,
            env={**os.environ, "HYPERHOST_STATE_DIR": os.path.join(work, ".state"), **(env or {}), name: value}, start_new_session=True)

    def finish(self, timeout=150):
        timeout *= PATIENCE
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"hyperhost did not end within {timeout} s\n{self.text(self.err)}") from None
        finally:
            seconds = time.monotonic() - self.began
        done = Done(self.process.returncode, self.text(self.out), self.text(self.err), seconds)
        self.out.close()
        self.err.close()
        return done

    @staticmethod
    def text(stream):
        # The program writes at the position of the same open file: it must stay where it is.
        return os.pread(stream.fileno(), os.fstat(stream.fileno()).st_size, 0).decode("utf-8", "replace")

    def others(self):
        """{pid: command line} of what it started and is still there, itself left out."""
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == self.process.pid:
                continue
            try:
                stat = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                try:
                    environ = (entry / "environ").read_bytes().decode("utf-8", "replace")
                except PermissionError:  # hyperhost's own processes show it to root alone
                    environ = ""
            except OSError:
                continue
            if stat[0] in "ZX":
                continue
            if self.mark in environ or int(stat[3]) == self.process.pid or str(self.work) in command:
                found[int(entry.name)] = command
        return found

    def wait_for(self, condition, what, timeout=60):
        """Until `condition()` is true; the value it returned."""
        timeout *= PATIENCE
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if value := condition():
                return value
            if self.process.poll() is not None:
                raise AssertionError(f"hyperhost ended before {what}: status {self.process.returncode}\n"
                                     + self.text(self.err))
            time.sleep(0.01)
        self.process.kill()
        raise AssertionError(f"no {what} within {timeout} s\n{self.text(self.err)}")

    def child(self, words=("qemu-img", "convert")):
        """The pid of the child whose command line holds all of `words`."""
        def look():
            return next((p for p, c in self.others().items() if all(w in c for w in words)), None)
        return self.wait_for(look, " ".join(words) + " among its children")

    def wait_none_left(self, timeout=2):
        """What is still there after at most `timeout`: a killed process needs a moment to go."""
        end = time.monotonic() + timeout
        while (left := self.others()) and time.monotonic() < end:
            time.sleep(0.02)
        return left

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.out.close()
        self.err.close()


class CliTest(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        requirement.need(PROGRAM.exists(), f"{PROGRAM} is not built")
        directory = tempfile.TemporaryDirectory(prefix="hyperhost-e2e-")
        self.addCleanup(directory.cleanup)
        self.work = pathlib.Path(directory.name)
        self.work.chmod(0o711)  # a plugin that works on guests may be another user

    # --- making inputs

    def meeting(self):
        """A directory that a plugin which works on guests may write to, whoever its process is."""
        place = self.work / "meeting"
        place.mkdir(exist_ok=True)
        place.chmod(0o777)
        return place

    def ova(self, case="two-disks"):
        made = ova_factory.make(case, self.work / "packages")
        return pathlib.Path(made.path), made.expect

    def plan(self, source, name="plan.yaml", vm="sample-vm", migration=None, **keys):
        """Writes a plan of one VM and returns its path; `keys` replace or add top-level ones."""
        plan = {"version": 1, "name": "e2e", "providers": {"shelf": {"plugin": "local-ovf", "path": str(source)}},
                "converter": {"plugin": "parallel-disk"}, "output_dir": "out",
                "batch": {"max_retries": 0},
                "observability": {"audit_log": {"path": "audit/audit.log"}},
                "migrations": [{"vm": vm, "provider": "shelf", **(migration or {})}], **keys}
        (self.work / "audit").mkdir(exist_ok=True)
        path = self.work / name
        path.write_text(json.dumps(plan, indent=1))
        return path

    # --- running

    def start(self, *arguments, env=None):
        running = Running(self.work, arguments, env)
        self.addCleanup(running.stop)
        return running

    def host(self, *arguments, env=None, status=OK, timeout=150):
        done = self.start(*arguments, env=env).finish(timeout)
        if status is not None:
            self.assertEqual(done.status, status, done)
        return done

    def report(self, *arguments, **how):
        """The one result of a run with --output json."""
        results = self.host("--output", "json", "run", *arguments, **how).json["results"]
        self.assertEqual(len(results), 1)
        return results[0]

    def records(self, phase):
        """[(disk, state)] of what would be gone on with; phase: "writing", "written" …"""
        try:
            with sqlite3.connect(f"file:{self.work}/.state/state.db?mode=ro", uri=True) as db:
                return db.execute("SELECT disk, state FROM resume WHERE phase = ?", (phase,)).fetchall()
        except sqlite3.OperationalError:
            return []
        finally:
            if "db" in locals():
                db.close()

    def qemu_img(self, *arguments):
        requirement.tool("qemu-img", "qemu-utils")
        return subprocess.run(["qemu-img", *map(str, arguments)], check=False, text=True, timeout=60,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def raw_of(self, image, name):
        raw = self.work / name
        done = self.qemu_img("convert", "-O", "raw", image, raw)
        self.assertEqual(done.returncode, 0, done.stdout)
        return raw

    def member(self, ova, name):
        """A file of the package, for tools that want one."""
        path = self.work / "members" / name
        path.parent.mkdir(exist_ok=True)
        subprocess.run(["tar", "-C", path.parent, "-xf", ova, name], check=True)
        return path

    # --- looking at what is left

    def files(self, top=None):
        """{relative path: (size, mtime)} of everything under the directory but the program's own state."""
        top = pathlib.Path(top or self.work)
        return {str(p.relative_to(top)): (p.stat().st_size if p.is_file() else None,
                                          p.stat().st_mtime_ns if p.is_file() else None)
                for p in sorted(top.rglob("*")) if p.relative_to(top).parts[0] != ".state"}

    def assert_nothing_left(self, top="out"):
        """No file in the output tree: no final name, no temporary one, no staging."""
        path = self.work / top
        left = [str(p) for p in path.rglob("*") if not p.is_dir()] if path.exists() else []
        self.assertEqual(left, [])

    def audit(self, path="audit/audit.log"):
        """The entries, the chain checked by its definition (core/watch/audit/audit_chain.hpp)."""
        log = self.work / path
        self.assertTrue(log.exists(), "no audit log was written")
        previous, entries = "0" * 64, []
        for number, line in enumerate(log.read_bytes().splitlines(), 1):
            entry = json.loads(line)
            self.assertEqual(entry["seq"], number)
            self.assertEqual(entry["prev_hash"], previous, f"line {number} does not follow the one before it")
            previous = hashlib.sha256(line).hexdigest()
            entries.append(entry)
        head = json.loads(log.with_name(log.name + ".head").read_text())
        self.assertEqual((head["seq"], head["hash"]), (len(entries), previous))
        return entries

    def assert_audited_failure(self, *words, event=("migration_failed", "error")):
        failures = [e for e in self.audit() if e["event_type"] in event and not e["success"]]
        self.assertTrue(failures, "the audit log holds no failure")
        text = json.dumps(failures)
        for word in words:
            self.assertIn(word, text)
        return failures

    def assert_one_clear_error(self, done, *words):
        """The message is there, holds the words, and does not come many times over."""
        self.assertTrue(done.errors(), done)
        for word in words:
            self.assertTrue(any(word in line for line in done.errors()), f"no error says '{word}'\n{done}")
        said = [re.sub(r"^\S+ \S+ error ", "", line) for line in done.errors()]
        self.assertEqual(len(said), len(set(said)), f"the same error comes twice\n{done}")
        self.assertLessEqual(len(said), 2, done)
        for line in done.errors():
            self.assertNotIn("terminate called", line)
            self.assertLess(len(line), 1200, "an error nobody reads")


def interrupt(running, which=signal.SIGINT):
    """Sends the signal to the host alone; returns (Done, seconds it took to end)."""
    began = time.monotonic()
    os.kill(running.process.pid, which)
    done = running.finish(60)
    return done, time.monotonic() - began
