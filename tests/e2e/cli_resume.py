#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A run that was ended goes on where it was: killed, stopped, drained, out of space. The random
kind of this is tests/torture/kill.py; here each promise of core/migrate/resume.md is looked at by itself."""

import errno
import os
import pathlib
import shutil
import signal
import time

from hyperhost_cli import (BUILD, FAILED, INTERRUPTED, MIB, OK, PATIENCE, PREFLIGHT, RENDERED, SANITIZED, CliTest,
                           content_digest, interrupt, requirement, sparse_raw)
from cli_failures import SmallDisk
import power_cut

# A sanitizer's program is slow enough with less to do.
STEP, (SIZE, DATA) = 4 * MIB, (80 * MIB, 40 * MIB) if SANITIZED else (128 * MIB, 64 * MIB)
SLOW = {"compression": "zlib", "compression_level": 9, "verify": "target"}


class Resume(CliTest):
    """One VM whose disk takes some seconds, with a state saved every few MiB."""

    def setUp(self):
        super().setUp()
        self.source = self.work / "shelf/big.raw"
        self.source.parent.mkdir()
        sparse_raw(self.source, SIZE, DATA)

    def slow(self, **keys):
        defaults = {**SLOW, **keys.pop("defaults", {})}
        batch = {"max_retries": 0, "checkpoint_bytes": STEP, "checkpoint_interval": "1h", **keys.pop("batch", {})}
        return self.plan(self.source.parent, vm="big", defaults=defaults, batch=batch, **keys)

    def part(self):
        return next((self.work / "out").rglob("*.part"), None)

    def wait_written(self, running, size=20 * MIB):
        def far_enough():
            part = self.part()
            return self.records("writing") and part is not None and part.stat().st_size > size
        running.wait_for(far_enough, "a saved state")

    def killed(self, plan, **how):
        running = self.start("run", plan, **how)
        self.wait_written(running)
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait(10)
        return running

    def assert_done_and_clean(self, result, resumed=True):
        self.assertTrue(result["success"], result)
        disk = result["disks"][0]
        if resumed is not None:
            (self.assertGreater if resumed else self.assertEqual)(disk["resumed_bytes"], 0)
        self.assertEqual(disk["content_digest"], content_digest(self.source))
        self.assertEqual(disk["content_digest"], content_digest(self.raw_of(disk["path"], "again.raw")))
        checked = self.qemu_img("check", disk["path"])
        self.assertEqual(checked.returncode, 0, checked.stdout)
        self.assertEqual(sorted(os.listdir(self.work / "out/big")),
                         sorted([pathlib.Path(disk["path"]).name, "manifest.json", *RENDERED]))
        self.assertEqual([p for p in os.listdir(self.work / "out") if p != "big"], [])
        self.assertEqual(self.host("cleanup").out, "nothing is left over\n")

    def test_a_killed_run_goes_on_in_the_middle_of_the_disk(self):
        plan = self.slow()
        self.killed(plan)
        size = self.part().stat().st_size
        result = self.report(plan)
        self.assert_done_and_clean(result)
        # What was in the file and not spared: at most the interval, and what the workers held.
        stored = DATA / SIZE  # incompressible data, evenly spread
        again = size - result["disks"][0]["resumed_bytes"] * stored
        in_flight = (os.cpu_count() + 2) * MIB
        self.assertLess(again, STEP + in_flight, "more was copied again than a checkpoint interval")

    def test_raw_targets_and_other_packings_go_on_too(self):
        for name, defaults in (("zstd", {"compression": "zstd", "compression_level": 19}),
                               ("large clusters", {"cluster_size": "2MiB"})):
            with self.subTest(name):
                plan = self.slow(defaults=defaults)
                self.killed(plan)
                self.assert_done_and_clean(self.report(plan))
                shutil.rmtree(self.work / "out")

    def test_a_stream_is_read_again_but_not_written_again(self):
        # A gzip member of a package can only be read from front to back.
        packed = self.work / "shelf/packed"
        packed.mkdir()
        self.gzip_package(packed)
        plan = self.plan(packed / "packed.ovf", vm="packed", defaults=SLOW, batch={
            "max_retries": 0, "checkpoint_bytes": STEP, "checkpoint_interval": "1h"})
        self.killed(plan)
        result = self.report(plan)
        self.assertGreater(result["disks"][0]["resumed_bytes"], 0)
        self.host("verify", self.work / "out/packed/manifest.json")
        self.assertEqual(result["disks"][0]["content_digest"], self.digest)

    def test_a_source_that_was_changed_begins_anew(self):
        plan = self.slow()
        self.killed(plan)
        with open(self.source, "r+b") as disk:
            disk.write(b"another boot sector")
        self.assert_done_and_clean(self.report(plan), resumed=False)

    def test_a_source_changed_in_place_with_its_time_restored_begins_again(self):
        plan = self.slow()
        self.killed(plan)
        before = os.stat(self.source)
        with open(self.source, "r+b") as disk:
            disk.write(b"another boot sector")
        os.utime(self.source, ns=(before.st_atime_ns, before.st_mtime_ns))
        self.assert_done_and_clean(self.report(plan), resumed=False)

    def test_fresh_begins_anew_and_leaves_nothing_of_the_old(self):
        plan = self.slow()
        self.killed(plan)
        self.assert_done_and_clean(self.report(plan, "--fresh"), resumed=False)

    def test_other_wishes_begin_anew(self):
        self.killed(self.slow())
        self.assert_done_and_clean(self.report(self.slow(defaults={"compression_level": 1})), resumed=False)

    def test_another_memory_limit_begins_nothing_anew(self):
        self.killed(self.slow(batch={"memory_limit": "32MiB"}))
        converter = {"plugin": "parallel-disk", "options": {"memory": 48 * MIB}}
        self.assert_done_and_clean(self.report(self.slow(converter=converter)))

    def test_what_is_finished_is_not_done_again_once_it_was_looked_at(self):
        plan = self.slow(defaults={"compression_level": 1})
        first = self.report(plan)
        files = self.files("out/big")
        again = self.report(plan)
        self.assertTrue(again["success"] and again["already_done"])
        self.assertEqual(again["disks"][0]["content_digest"], first["disks"][0]["content_digest"])
        self.assertEqual(self.files("out/big"), files)
        self.assertIn("done before", self.host("run", plan).out)
        # Touched, but the same: read and believed. Changed: refused. Gone: done again.
        image = pathlib.Path(first["disks"][0]["path"])
        os.utime(image)
        self.assertTrue(self.report(plan)["already_done"])
        with open(image, "r+b") as out:
            out.seek(image.stat().st_size // 2)
            out.write(b"\xff" * 4096)
        done = self.host("run", plan, status=PREFLIGHT)
        self.assert_one_clear_error(done, "an earlier run finished this VM", str(image))
        shutil.rmtree(self.work / "out/big")
        self.assertFalse(self.report(plan)["already_done"])
        # Told to replace what is there, it does.
        result = self.report(self.slow(defaults={"compression_level": 1, "overwrite": True}))
        self.assertFalse(result["already_done"])

    def killed_between_two_disks(self):
        from ova_factory import Package
        from vmdk_writer import Content
        import ova_cases
        package = Package("pair")
        package.add_disk(Content.sample(2 * MIB, 1))
        package.add_disk(Content.sample(64 * MIB, 2, 0.9))
        ova_cases.ova(self.work / "shelf", package)
        plan = self.plan(self.work / "shelf/pair.ova", vm="pair", defaults={**SLOW, "parallel_disks": False})
        running = self.start("run", plan)
        running.wait_for(lambda: self.records("written"), "a written disk", 60)
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait(10)
        return plan

    def goes_on_with_the_second(self, plan):
        result = self.report(plan)
        self.assertEqual([d["adopted"] for d in result["disks"]], [True, False])
        self.host("verify", self.work / "out/pair/manifest.json")
        self.assertEqual(self.host("cleanup").out, "nothing is left over\n")

    def test_finished_disks_of_a_killed_vm_are_kept(self):
        self.goes_on_with_the_second(self.killed_between_two_disks())

    def test_a_disk_that_has_its_name_already_while_the_journal_does_not_know(self):
        plan = self.killed_between_two_disks()  # and the power went: the rename was durable, no more
        part = next((self.work / "out/pair").glob(".pair-disk-0.qcow2.*.part"))
        part.rename(part.parent / "pair-disk-0.qcow2")
        self.goes_on_with_the_second(plan)

    def test_killed_once_its_manifest_is_uploaded_it_is_its_own_there(self):
        plan = self.plan(self.source.parent, vm="big", upload={
            "destination": f"file://{self.work}/bucket", "storage": {"plugin": "local"}})
        (self.work / "bucket").mkdir()
        running = self.start("run", plan)
        while running.process.poll() is None and not (self.work / "bucket/big/manifest.json").exists():
            pass
        running.process.kill()
        running.process.wait(10)
        self.assert_done_and_clean(self.report(plan), resumed=None)
        self.assertEqual(sorted(os.listdir(self.work / "bucket/big")), sorted(os.listdir(self.work / "out/big")))

    def test_a_second_host_on_the_same_plan_is_refused_and_the_first_goes_on(self):
        plan = self.slow()
        running = self.start("--output", "json", "run", plan)
        running.wait_for(self.part, "an unfinished file")
        done = self.host("run", plan, status=PREFLIGHT)
        self.assert_one_clear_error(done, "at work here already", f"process {running.process.pid}")
        self.assertEqual(running.finish().status, OK)

    def gzip_package(self, directory):
        """An OVF whose only disk, a raw image or VMDK, is compressed with gzip."""
        import gzip
        from ova_factory import Package
        from vmdk_writer import Content, stream_optimized
        content = Content.sample(64 * MIB, 7, 0.9)
        raw = self.work / "content.raw"
        with open(raw, "wb") as out:
            for offset, data in content.extents:
                out.seek(offset)
                out.write(data)
            out.truncate(content.capacity)
        self.digest = content_digest(raw)
        raw.unlink()
        package = Package("packed")
        data = gzip.compress(stream_optimized(content), 1)
        package.add_disk(content, name="packed.vmdk.gz", data=data, reference={"compression": "gzip"})
        for name, member in package.members(manifest=None):
            (directory / name).write_bytes(member)

    # --- stopped

    def test_a_first_sigterm_lets_the_disk_end_and_begins_nothing(self):
        sparse_raw(self.work / "shelf/next.raw", MIB, MIB)
        plan = self.plan(self.source.parent, defaults=SLOW, batch={"max_retries": 0}, migrations=[
            {"vm": "big", "provider": "shelf", "priority": 1}, {"vm": "next", "provider": "shelf"}])
        running = self.start("--output", "json", "run", plan)
        running.wait_for(self.part, "an unfinished file")
        done, _ = interrupt(running, signal.SIGTERM)
        self.assertEqual(done.status, INTERRUPTED, done)
        self.assertEqual([r["outcome"] for r in done.json["results"]], ["succeeded", "cancelled"])
        done = self.host("--output", "json", "run", plan).json["results"]
        self.assertEqual([r["already_done"] for r in done], [True, False])

    def test_a_second_sigterm_stops_within_two_seconds_and_a_rerun_goes_on(self):
        sparse_raw(self.source, 4 * SIZE, 4 * DATA)  # still at work when the second one comes
        plan = self.slow()
        running = self.start("run", plan)
        self.wait_written(running)
        os.kill(running.process.pid, signal.SIGTERM)
        running.wait_for(lambda: "once more to stop now" in running.text(running.err), "the first message")
        time.sleep(0.4)  # two at once are one wish
        done, seconds = interrupt(running, signal.SIGTERM)
        self.assertEqual(done.status, INTERRUPTED, done)
        self.assertLess(seconds, 2.0 * PATIENCE)
        self.assertIn("run the plan again to go on", done.err)
        self.assert_done_and_clean(self.report(plan))

    def test_cleanup_removes_what_a_stopped_run_keeps(self):
        plan = self.slow()
        running = self.start("run", plan)
        self.wait_written(running)
        interrupt(running)
        self.assertIsNotNone(self.part())
        self.host("cleanup")
        self.assert_nothing_left()
        self.assert_done_and_clean(self.report(plan), resumed=False)

    # --- failures in the middle

    def shim(self, error, after):
        library = BUILD / "lib/hyperhost/test-files/libfaulty_files.so"
        requirement.need(library.exists(), f"{library} is not built")
        return power_cut.loaded(library, HYPERHOST_FAULTY_UNDER=str(self.work / "out"), HYPERHOST_FAULTY_ERRNO=str(error),
                                HYPERHOST_FAULTY_AFTER=str(after))

    def test_errors_of_the_disk_are_told_and_a_rerun_goes_on(self):
        for error in (errno.EIO, errno.EROFS, errno.ENOSPC):
            with self.subTest(errno.errorcode[error]):
                plan = self.slow()
                done = self.host("run", plan, status=FAILED, env=self.shim(error, 32 * MIB))
                self.assert_one_clear_error(done, "big-disk-0.qcow2")
                self.assertIn("run the plan again to go on", done.err)
                self.assert_done_and_clean(self.report(plan))
                shutil.rmtree(self.work / "out")

    def test_a_full_disk_is_told_and_a_rerun_goes_on_once_there_is_room(self):
        with SmallDisk(self.work / "out", 32 * MIB):
            plan = self.slow()
            done = self.host("run", plan, status=FAILED)
            self.assert_one_clear_error(done, "no space left")
            part = self.part()
            self.assertIsNotNone(part)
            self.assertTrue(self.records("writing"))
        # The room: what was there, on a larger disk.

    def test_the_state_database_may_be_lost_and_nothing_but_the_resumption_with_it(self):
        plan = self.slow()
        self.killed(plan)
        shutil.rmtree(self.work / ".state")
        result = self.report(plan)
        self.assertTrue(result["success"])
        self.assertEqual(result["disks"][0]["resumed_bytes"], 0)
        self.assertEqual(result["disks"][0]["content_digest"], content_digest(self.source))


if __name__ == "__main__":
    requirement.main()
