#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What is refused before the first byte instead of after the last, and what killed runs leave behind."""

import contextlib
import json
import os
import signal

from cli_failures import SLOW, SmallDisk
from hyperhost_cli import FAILED, GIB, MIB, PREFLIGHT, RENDERED, CliTest, requirement, sparse_raw


class Leftovers(CliTest):
    def slow_plan(self, **keys):
        """A migration that takes long enough to be disturbed in its middle."""
        source = self.work / "big.raw"
        if not source.exists():
            sparse_raw(source, GIB, 160 * MIB)
        return self.plan(source, vm="big", defaults={**SLOW, "verify": "none"}, **keys)

    def converting(self, running):
        def written():
            return any(p.is_file() and p.stat().st_blocks * 512 > 2 * MIB for p in (self.work / "out").rglob("*"))
        running.wait_for(written, "written data in the output directory")

    def test_vms_that_fit_one_by_one_and_not_together_are_found_before_the_run(self):
        shelf = self.work / "shelf"
        shelf.mkdir()
        for number in range(3):
            sparse_raw(shelf / f"vm{number}.raw", 32 * MIB, 16 * MIB, seed=number)
        with SmallDisk(self.work / "small", 40 * MIB):
            plan = self.plan(shelf, output_dir="small/out", defaults={"target_format": "raw"}, migrations=[
                {"vm": f"vm{number}", "provider": "shelf"} for number in range(3)])
            done = self.host("run", plan, status=PREFLIGHT)
            self.assert_one_clear_error(done, "not enough space", "3 VMs take at least 48.0 MiB")
            self.assert_nothing_left("small")

    def test_a_state_directory_that_fills_up_costs_no_result(self):
        with SmallDisk(self.work / "state", 8 * MIB) as state:
            os.chmod(state, 0o700)
            env = {"HYPERHOST_STATE_DIR": str(state)}
            running = self.start("run", self.slow_plan(), env=env)
            self.converting(running)
            with contextlib.suppress(OSError), open(state / "somebody-else", "wb", buffering=0) as hog:
                while hog.write(bytes(4096)):
                    pass
            done = running.finish()
            self.assertEqual(done.status, 0, done)
            self.assertEqual(set(os.listdir(self.work / "out/big")), {"big-disk-0.qcow2", "manifest.json", *RENDERED})
            done = self.host("run", self.slow_plan(), env=env, status=PREFLIGHT)
            self.assert_one_clear_error(done, "state directory", "full")

    def test_a_second_plan_with_the_same_vm_and_directory_is_refused_before_it_converts(self):
        running = self.start("run", self.slow_plan())
        self.converting(running)
        other = self.slow_plan(name="other.yaml")
        document = json.loads(other.read_text())
        other.write_text(json.dumps({**document, "name": "other"}))
        done = self.host("run", other, status=FAILED)
        self.assert_one_clear_error(done, "a migration of the VM 'big'", "at work here already")
        self.assertEqual(running.finish().status, 0)
        self.assertEqual(sorted(os.listdir(self.work / "out")), ["big"])

    def test_what_a_kill_left_of_a_vm_that_the_plan_no_longer_names_is_reported_and_cleaned_up(self):
        shelf = self.work / "shelf"
        shelf.mkdir()
        sparse_raw(shelf / "big.raw", GIB, 160 * MIB)
        sparse_raw(shelf / "small.raw", 4 * MIB, 2 * MIB)
        batch = {"max_retries": 0, "checkpoint_bytes": MIB, "checkpoint_interval": "50ms"}
        running = self.start("run", self.plan(shelf, vm="big", defaults={**SLOW, "verify": "none"}, batch=batch))
        running.wait_for(lambda: self.records("writing"), "a checkpoint")
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait(10)
        done = self.host("run", self.plan(shelf, vm="small", batch=batch))
        self.assertRegex(done.err, r"killed runs belong to no VM of this run.*hyperhost cleanup")
        self.assertTrue(self.records("writing"))
        cleaned = self.host("--output", "json", "cleanup").json
        self.assertEqual(cleaned["open"], 0, cleaned)
        self.assertEqual(self.records("writing"), [])
        left = [str(p.relative_to(self.work / "out")) for p in (self.work / "out").rglob("*") if p.is_file()]
        self.assertEqual(sorted(left), sorted(f"small/{name}" for name in ["manifest.json", "small-disk-0.qcow2", *RENDERED]))
        self.assertNotIn("killed runs", self.host("run", self.plan(shelf, vm="small", batch=batch)).err)

    def test_a_kill_while_qemu_nbd_reads_leaves_nothing_among_the_temporary_files(self):
        requirement.tool("qemu-nbd", "qemu-utils")
        source = sparse_raw(self.work / "disk.raw", 256 * MIB, 128 * MIB)
        places = self.work / "tmp"
        places.mkdir()
        running = self.start("run", self.plan(source, vm="disk", defaults={"verify": "independent", "compression": "none"}),
                             env={"TMPDIR": str(places)})
        running.child(("qemu-nbd", "--read-only"))
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait(10)
        self.assertEqual(running.wait_none_left(), {})
        self.assertEqual(list(places.iterdir()), [])

    def test_temporary_files_that_cannot_be_made_are_found_before_anything_is_converted(self):
        requirement.tool("qemu-nbd", "qemu-utils")
        source = sparse_raw(self.work / "disk.raw", 8 * MIB, 4 * MIB)
        plan = self.plan(source, vm="disk", defaults={"verify": "independent"})
        done = self.host("run", plan, env={"TMPDIR": "/proc"}, status=PREFLIGHT)
        self.assert_one_clear_error(done, "TMPDIR")
        self.assert_nothing_left()


if __name__ == "__main__":
    requirement.main()
