#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What goes wrong: each time one clear message, the right exit status, an audit entry, and nothing
half-done under any name."""

import contextlib
import ctypes
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

from hyperhost_cli import (CONVERTERS, FAILED, GIB, INTERRUPTED, MIB, PREFLIGHT, PROGRAM, RENDERED, SANITIZED, TEST_PLUGINS, USAGE,
                           CliTest, Running, content_digest, interrupt, sparse_raw)
import requirement
from vmdk_writer import Content, stream_optimized

SLOW = {"compression": "zlib", "compression_level": 9}  # keeps a converter busy for many seconds


class SmallDisk:
    """A tmpfs of some MiB, mounted for one test."""

    def __init__(self, path, size):
        self.path, self.size = pathlib.Path(path), size
        self.libc = ctypes.CDLL(None, use_errno=True)

    def __enter__(self):
        self.path.mkdir()
        if self.libc.mount(b"tmpfs", os.fsencode(self.path), b"tmpfs", 0, f"size={self.size}".encode()):
            requirement.need(False, f"a tmpfs cannot be mounted here: {os.strerror(ctypes.get_errno())}")
        return self.path

    def __exit__(self, *_):
        self.libc.umount2(os.fsencode(self.path), 2)


class Failures(CliTest):
    def slow_plan(self, converter, **keys):
        """A migration that takes long enough to be disturbed in its middle."""
        source = self.work / "big.raw"
        if not source.exists():
            sparse_raw(source, GIB, 160 * MIB)
        defaults = {**SLOW, "verify": "none"}
        return self.plan(source, vm="big", converter={"plugin": converter}, defaults=defaults, **keys)

    def converting(self, running, converter):
        """Waits until the disk's bytes are being written."""
        if converter == "qemu-img":
            running.child()

        def written():
            return any(p.is_file() and p.stat().st_blocks * 512 > 2 * MIB for p in (self.work / "out").rglob("*"))
        running.wait_for(written, "written data in the output directory")

    # --- a converter that dies

    def test_qemu_img_killed_in_the_middle(self):
        requirement.tool("qemu-img", "qemu-utils")
        running = self.start("run", self.slow_plan("qemu-img"))
        self.converting(running, "qemu-img")
        os.kill(running.child(), signal.SIGKILL)
        done = running.finish()
        self.assertEqual(done.status, FAILED, done)
        self.assert_one_clear_error(done, "qemu-img", "signal")
        self.assertIn("0 of 1 VM migrated, 1 failed", done.out)
        self.assert_nothing_left()
        self.assertEqual(running.wait_none_left(), {})
        self.assert_audited_failure("qemu-img")

    def test_qemu_img_missing_or_too_old_is_said_before_anything_starts(self):
        package, _ = self.ova()
        old = self.work / "old-qemu-img"
        old.write_text("#!/bin/sh\necho 'qemu-img version 2.5.0 (Debian 1:2.5)'\n")
        old.chmod(0o755)
        for program, words in ((str(old), ("version 2.5", "5.1")), ("/absent/qemu-img", ("/absent/qemu-img",))):
            with self.subTest(program=program):
                plan = self.plan(package, converter={"plugin": "qemu-img", "options": {"qemu_img": program}})
                done = self.host("run", plan, status=PREFLIGHT)
                self.assert_one_clear_error(done, *words)
                self.assertFalse((self.work / "out").exists())
                self.assert_audited_failure(words[0])

    # --- space

    def test_no_space_is_found_before_the_run(self):
        source = sparse_raw(self.work / "big.raw", 64 * MIB, 32 * MIB)
        with SmallDisk(self.work / "small", 4 * MIB):
            plan = self.plan(source, vm="big", output_dir="small/out")
            done = self.host("run", plan, status=PREFLIGHT)
            self.assert_one_clear_error(done, "space")
            self.assert_nothing_left("small")
            self.assert_audited_failure("space")

    def test_the_disk_fills_up_in_the_middle(self):
        # The free-space check cannot know what zlib makes of it, nor who else fills the disk.
        source = sparse_raw(self.work / "big.raw", 64 * MIB, 32 * MIB)
        for converter in CONVERTERS:
            with self.subTest(converter=converter), SmallDisk(self.work / f"small-{converter}", 40 * MIB) as small:
                plan = self.plan(source, vm="big", output_dir=str(small / "out"), defaults=SLOW,
                                 converter={"plugin": converter})
                running = self.start("run", plan)
                running.wait_for(lambda: any(p.is_file() for p in (small / "out").rglob("*")), "an output file")
                with contextlib.suppress(OSError), open(small / "somebody-else", "wb", buffering=0) as hog:
                    while hog.write(bytes(MIB)) == MIB:
                        pass
                done = running.finish()
                self.assertEqual(done.status, FAILED, done)
                self.assert_one_clear_error(done, "o space left on ")
                self.assertEqual([p.name for p in small.rglob("*") if p.is_file()], ["somebody-else"])
                self.assertEqual(running.wait_none_left(), {})
                self.assert_audited_failure("o space left on ")

    def test_a_limit_of_file_sizes_is_reported_and_does_not_kill(self):
        plan = self.slow_plan("parallel-disk")
        for isolation in ("none", "process"):
            with self.subTest(isolation):
                limited = Running(self.work, [f"--fsize={8 * MIB}", PROGRAM, "--isolation", isolation, "run", plan],
                                  program="/usr/bin/prlimit")
                done = limited.finish()
                self.assertEqual(done.status, FAILED, done)
                self.assertIn("ulimit -f", done.err)
                self.assert_audited_failure("ulimit -f")

    # --- damaged sources

    def test_truncated_vmdk(self):
        data = stream_optimized(Content.sample(16 * MIB, 5))
        for converter in CONVERTERS:
            for how, length in (("half", len(data) // 2), ("without its end", len(data) - 1024)):
                with self.subTest(converter=converter, how=how):
                    source = self.work / "cut.vmdk"
                    source.write_bytes(data[:length])
                    done = self.host("run", self.plan(source, vm="cut", converter={"plugin": converter}), status=None)
                    self.assertIn(done.status, (FAILED, PREFLIGHT), done)
                    self.assert_one_clear_error(done, "truncated")
                    self.assert_nothing_left()
                    self.assert_audited_failure("truncated")
                    done = self.host("convert", source, "cut.qcow2", "--converter", converter, status=FAILED)
                    self.assert_one_clear_error(done, "truncated")
                    self.assertEqual(list(self.work.glob("*cut.qcow2*")), [])

    def test_truncated_ova(self):
        package, _ = self.ova("tar-truncated")
        done = self.host("run", self.plan(package), status=PREFLIGHT)
        self.assert_one_clear_error(done, "sample-vm-disk1.vmdk")
        self.assert_nothing_left()
        self.assert_audited_failure("sample-vm-disk1.vmdk")

    def test_wrong_checksum(self):
        package, _ = self.ova("wrong-checksum-disk")
        for converter in CONVERTERS:
            with self.subTest(converter=converter):
                done = self.host("run", self.plan(package, converter={"plugin": converter}), status=FAILED)
                self.assert_one_clear_error(done, "sample-vm-disk1.vmdk")
                self.assertTrue(any("sha256" in e.lower() for e in done.errors()), done)
                self.assert_nothing_left()
                self.assert_audited_failure("sample-vm-disk1.vmdk")

    # --- plans

    def test_a_plan_with_five_mistakes(self):
        plan = self.work / "five.yaml"
        plan.write_text("version: 1\n"
                        "providers:\n"
                        "  shelf: {plugin: local-ovf, path: .}\n"
                        "output_dir: out\n"
                        "observability: {audit_log: {path: audit/audit.log}}\n"
                        "defaults: {target_formt: raw}\n"
                        "migrations:\n"
                        "  - {vm: a, provider: shelv}\n"
                        "  - {vm: b, provider: shelf, overwrite: perhaps}\n"
                        "  - {id: x, vm: c, provider: shelf, target_format: raw, compression: zstd}\n"
                        "  - {id: x, vm: d, provider: shelf}\n")
        (self.work / "audit").mkdir()
        wanted = {(6, "target_format"), (8, "shelf"), (9, "overwrite"), (10, "zstd"), (11, "x")}
        for command in ("validate", "run"):
            done = self.host(command, plan.name, status=USAGE)
            self.assertEqual(len(done.errors()), 5, done)
            for line, word in wanted:
                self.assertTrue(any(f"five.yaml:{line}:" in e and word in e for e in done.errors()), (line, word, done))
            self.assertIn("5 errors, nothing was touched", done.err)
        found = self.host("--output", "json", "validate", plan.name, status=USAGE).json["diagnostics"]
        self.assertEqual(len(found), 5)
        for one in found:
            self.assertRegex(one["where"], r"^five\.yaml:\d+:\d+$")
            self.assertTrue(one["path"].startswith("/"))
        self.assertFalse((self.work / "out").exists())

    def test_a_run_of_a_plan_with_five_mistakes_is_audited(self):
        self.test_a_plan_with_five_mistakes()
        self.assert_audited_failure("five.yaml")

    def test_mistakes_in_plugin_options_come_together_with_the_others(self):
        package, _ = self.ova()
        plan = self.plan(package, providers={"shelf": {"plugin": "local-ovf", "path": str(package), "recusive": True},
                                             "other": {"plugin": "local-off", "path": "x"}},
                         converter={"plugin": "qemu-img", "options": {"coroutines": 99}},
                         defaults={"verfy": "none"})
        done = self.host("validate", plan, status=USAGE)
        for word in ("recusive", "local-off", "coroutines", "verfy"):
            self.assertTrue(any(word in e for e in done.errors()), f"{word} is not reported\n{done}")

    def test_every_preflight_error_names_its_place_in_the_plan(self):
        plan = self.plan("/absent/shelf")
        done = self.host("validate", plan, status=PREFLIGHT)
        self.assert_one_clear_error(done, "/absent/shelf", "shelf")
        self.assertRegex(done.errors()[0], r"plan\.yaml:\d+:\d+")
        done = self.host("validate", self.plan(self.ova()[0], vm="no-such-vm"), status=PREFLIGHT)
        self.assert_one_clear_error(done, "no-such-vm")
        self.assertRegex(done.errors()[0], r"plan\.yaml:\d+:\d+")

    # --- plugins

    def with_storage(self, plugin, package, *command):
        plan = self.plan(package, plugin_dirs=[str(TEST_PLUGINS)],
                         upload={"destination": f"{plugin}://up", "storage": {"plugin": plugin}})
        return self.host(*command, plan, status=None)

    def test_a_plugin_of_a_newer_major_is_refused_with_the_reason(self):
        requirement.need((TEST_PLUGINS / "newer_major.so").exists(), f"{TEST_PLUGINS} has no newer_major.so")
        package, _ = self.ova()
        out = self.host("--plugin-dir", TEST_PLUGINS, "plugins", "list").out
        self.assertRegex(out, r"not used: \S*newer_major\.so.*(major|ABI)")
        done = self.with_storage("newer-major", package, "run")
        self.assertIn(done.status, (USAGE, PREFLIGHT), done)
        self.assertTrue(any(re.search("major|ABI", e) for e in done.errors()), done)
        self.assert_nothing_left()
        self.assert_audited_failure("newer-major")

    def test_a_plugin_that_throws_fails_its_vm_and_not_the_host(self):
        requirement.need((TEST_PLUGINS / "throws.so").exists(), f"{TEST_PLUGINS} has no throws.so")
        package, _ = self.ova()
        done = self.with_storage("throws", package, "run")
        self.assertIn(done.status, (FAILED, PREFLIGHT), done)
        self.assert_one_clear_error(done, "thrown inside the plugin")
        self.assert_nothing_left()
        self.assert_audited_failure("thrown inside the plugin")

    def test_a_file_that_is_no_plugin_is_refused_by_name_and_harms_nobody(self):
        directory = self.work / "plugins"
        directory.mkdir()
        (directory / "junk.so").write_bytes(b"\x7fELF" + os.urandom(4096))
        (directory / "empty.so").touch()
        shutil.copy("/lib/x86_64-linux-gnu/libz.so.1", directory / "foreign.so")
        done = self.host("plugins", "list", env={"HYPERHOST_PLUGIN_PATH": str(directory)})
        for name in ("junk.so", "empty.so", "foreign.so"):
            self.assertRegex(done.out, rf"not used: \S*{name}.*: \S+")
        self.assertIn("parallel-disk", done.out)
        package, _ = self.ova()
        self.host("--plugin-dir", directory, "run", self.plan(package))

    def test_a_second_reader_that_is_missing_is_found_before_anything_is_converted(self):
        (self.work / "no-programs").mkdir()
        env = {"PATH": str(self.work / "no-programs")}
        package, _ = self.ova("vmware")
        plan = self.plan(package, defaults={"verify": "independent"})
        before = self.files("out")
        done = self.host("run", plan, env=env, status=PREFLIGHT)
        self.assert_one_clear_error(done, "qemu-img", "not installed", "verify: independent")
        done = self.host("convert", package, "x.qcow2", "--verify", "independent", env=env, status=FAILED)
        self.assert_one_clear_error(done, "qemu-img", "not installed")
        self.assertEqual(self.files("out"), before)
        self.assertFalse((self.work / "x.qcow2").exists())
        self.host("run", plan, "--set", "defaults.verify=target", env=env)

    def test_two_vms_of_one_name_do_not_overwrite_each_other(self):
        package, _ = self.ova("vmware")
        shelf = self.work / "shelf"
        shelf.mkdir()
        for name in ("a.ova", "b.ova"):
            shutil.copy(package, shelf / name)
        plan = self.plan(shelf, defaults={"overwrite": True}, migrations=[
            {"vm": "a.ova", "provider": "shelf"}, {"vm": "b.ova", "provider": "shelf"}])
        self.assert_one_clear_error(self.host("run", plan, status=PREFLIGHT), "a.ova", "b.ova", "share the directory")
        self.assert_nothing_left()
        self.host("run", plan, "--set", "migrations[1].output_name=other")

    # --- existing targets

    def test_an_existing_target_is_refused_then_replaced_when_told(self):
        package, expect = self.ova()
        plan = self.plan(package)
        target = self.work / "out/sample-vm/sample-vm-disk-1.qcow2"
        target.parent.mkdir(parents=True)
        target.write_bytes(b"precious")
        done = self.host("run", plan, status=PREFLIGHT)
        self.assert_one_clear_error(done, str(target), "overwrite: true")
        self.assertEqual(target.read_bytes(), b"precious")
        self.assertEqual([p.name for p in target.parent.iterdir()], [target.name])
        self.assert_audited_failure(target.name)
        result = self.report(plan, "--set", "defaults.overwrite=true")
        self.assertEqual(result["disks"][1]["content_digest"],
                         content_digest(self.raw_of(target, "now.raw")))
        before = self.files("out")
        self.assertTrue(self.report(plan)["already_done"])
        self.host("run", plan, "--fresh", status=PREFLIGHT)
        self.assertEqual(self.files("out"), before)

    def test_a_failed_overwrite_leaves_the_old_files(self):
        package, _ = self.ova("wrong-checksum-disk")
        target = self.work / "out/sample-vm/sample-vm-disk-0.qcow2"
        target.parent.mkdir(parents=True)
        target.write_bytes(b"precious")
        for converter in CONVERTERS:
            with self.subTest(converter=converter):
                self.host("run", self.plan(package, converter={"plugin": converter}, defaults={"overwrite": True}),
                          status=FAILED)
                self.assertEqual(target.read_bytes(), b"precious")
                self.assertEqual([p.name for p in target.parent.iterdir()], [target.name])

    # --- being stopped

    def test_a_signal_that_arrives_twice_at_once_is_one(self):
        disk = sparse_raw(self.work / "disk.raw", 64 * MIB, 64 * MIB, compressible=True)
        running = self.start("convert", disk, "x.qcow2", "--compression", "zlib", "--compression-level", "9",
                             "--converter", "qemu-img")
        running.wait_for(lambda: list(self.work.glob(".x.qcow2.*")), "an unfinished file")
        running.process.send_signal(signal.SIGTERM)
        time.sleep(0.005)
        running.process.send_signal(signal.SIGTERM)
        self.assertEqual(running.finish().status, INTERRUPTED)
        self.assertEqual(list(self.work.glob("*x.qcow2*")), [])

    def test_signals_stop_it_within_two_seconds_with_nothing_left(self):
        for converter in CONVERTERS:
            for which in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                with self.subTest(converter=converter, signal=which.name):
                    running = self.start("run", self.slow_plan(converter))
                    self.converting(running, converter)
                    if which == signal.SIGTERM:  # the first one only keeps new disks from beginning
                        os.kill(running.process.pid, which)
                        running.wait_for(lambda r=running: "once more to stop now" in r.text(r.err), "the first message")
                        time.sleep(0.4)  # two at once are one wish
                    done, seconds = interrupt(running, which)
                    self.assertEqual(done.status, INTERRUPTED, done)
                    if not SANITIZED:
                        self.assertLess(seconds, 2.0)
                    self.assertEqual(running.wait_none_left(0.2), {})
                    self.assert_nothing_left()
                    self.assert_audited_failure("cancelled")
                    self.assertIn("1 cancelled", done.out)

    def test_a_signal_stops_a_single_conversion_too(self):
        source = sparse_raw(self.work / "big.raw", GIB, 160 * MIB)
        (self.work / "out").mkdir()  # of a single conversion the user makes it
        for converter in CONVERTERS:
            with self.subTest(converter=converter):
                running = self.start("convert", source, "out/big.qcow2", "--compression", "zlib",
                                     "--compression-level", "9", "--converter", converter)
                self.converting(running, converter)
                done, seconds = interrupt(running)
                self.assertEqual(done.status, INTERRUPTED, done)
                if not SANITIZED:
                    self.assertLess(seconds, 2.0)
                self.assertEqual(running.wait_none_left(0.2), {})
                self.assert_nothing_left()

    def test_stopped_at_any_moment_it_is_done_or_a_rerun_does_it(self):
        package, _ = self.ova()
        plans = [self.plan(package, name=f"{c}.yaml", converter={"plugin": c}) for c in CONVERTERS]
        for number in range(16):
            delay = 0.02 * number
            with self.subTest(after=f"{delay:.2f} s"):
                shutil.rmtree(self.work / "out", ignore_errors=True)
                shutil.rmtree(self.work / ".state", ignore_errors=True)
                running = self.start("run", plans[number % 2])
                time.sleep(delay)  # the moment is what varies; nothing is waited for
                done, _ = interrupt(running, (signal.SIGINT, signal.SIGTERM)[number // 2 % 2])
                if done.status == 0:
                    self.host("verify", self.work / "out/sample-vm/manifest.json")
                else:  # a signal before its handler stands ends the program as any other
                    self.assertIn(done.status, (INTERRUPTED, -signal.SIGINT, -signal.SIGTERM), done)
                    self.assertFalse((self.work / "out/sample-vm/manifest.json").exists())
                    self.host("run", plans[number % 2])
                self.assertEqual(self.host("cleanup").out, "nothing is left over\n")
                self.assertEqual([p for p in (self.work / "out").rglob("*") if p.name.startswith(".")], [])
                self.assertEqual(running.wait_none_left(0.2), {})
        self.audit()

    def test_readers_that_leave_and_closed_descriptors_do_not_harm_the_migration(self):
        package, _ = self.ova()
        for how, redirect in (("stderr into a closed pipe", "2>&1 >/dev/null | true"), ("all closed", "<&- >&- 2>&-"),
                              ("stdout closed", ">&-"), ("stderr closed", "2>&-")):
            with self.subTest(how):
                shutil.rmtree(self.work / "out", ignore_errors=True)
                plan = self.plan(package)
                subprocess.run(["sh", "-c", f'"$0" run "$1" {redirect}', PROGRAM, plan], check=False, timeout=60,
                               cwd=self.work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                self.host("verify", self.work / "out/sample-vm/manifest.json")
                self.audit()  # a log line in a descriptor that was free would break its chain

    def test_a_report_that_cannot_be_written_is_no_success(self):
        requirement.need(os.path.exists("/dev/full"), "there is no /dev/full")
        package, _ = self.ova("vmware")
        with open("/dev/full", "wb") as full:
            done = subprocess.run([PROGRAM, "--output", "json", "run", self.plan(package)], check=False, timeout=60,
                                  stdout=full, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, FAILED)

    def test_no_child_outlives_a_killed_host(self):
        requirement.tool("qemu-img", "qemu-utils")
        for which in (signal.SIGKILL, signal.SIGHUP):
            with self.subTest(signal=which.name):
                running = self.start("run", self.slow_plan("qemu-img"))
                self.converting(running, "qemu-img")
                self.assertTrue(running.others())
                os.kill(running.process.pid, which)
                running.process.wait(10)
                self.assertEqual(running.wait_none_left(), {})
                self.assertFalse((self.work / "out/big/manifest.json").exists())
                self.assertFalse((self.work / "out/big/big-disk-0.qcow2").exists())
        # What killed runs left under temporary names goes with the next one.
        result = self.report(self.plan(self.work / "big.raw", vm="big"))
        self.assertEqual(set(os.listdir(self.work / "out/big")), {"big-disk-0.qcow2", "manifest.json", *RENDERED})
        self.assertTrue(result["success"])

    def test_an_unwritable_audit_log_that_is_required_stops_everything(self):
        package, _ = self.ova()
        (self.work / "file").touch()
        log = {"path": "file/audit.log", "required": True}
        plan = self.plan(package, observability={"audit_log": log})
        self.assert_one_clear_error(self.host("run", plan, status=PREFLIGHT), "audit")
        self.assertFalse((self.work / "out").exists())
        plan = self.plan(package, observability={"audit_log": {**log, "required": False}})
        self.assertIn("audit", self.host("run", plan).err)


if __name__ == "__main__":
    requirement.main()
