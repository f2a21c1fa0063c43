#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The host's memory stays under 128 MiB, however large the disk and whoever converts it."""

import os
import pathlib
import re
import time

from hyperhost_cli import CONVERTERS, GIB, INTERRUPTED, MIB, PROGRAM, SANITIZED, CliTest, interrupt, sparse_raw
from observe_support import answered
import requirement

LIMIT = 128 * MIB


class Memory(CliTest):
    def peak(self, running):
        """(exit status, VmHWM of the host alone, largest of host and its children) in bytes.

        wait4's ru_maxrss also counts children that were waited for, so the host's own peak is read
        from /proc while it runs; it only grows, so little is missed between the last look and the end.
        """
        status, own = pathlib.Path(f"/proc/{running.process.pid}/status"), 0
        while True:
            pid, code, usage = os.wait4(running.process.pid, os.WNOHANG)
            if pid:
                running.process.returncode = os.waitstatus_to_exitcode(code)
                return running.process.returncode, own, usage.ru_maxrss * 1024
            found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
            own = max(own, int(found[1]) * 1024) if found else own
            time.sleep(0.005)

    def setUp(self):
        if SANITIZED:
            self.skipTest("a sanitizer's memory is not the program's: run with an unsanitized build")
        if not PROGRAM.exists():  # also under CI=true, where a missing program fails
            self.skipTest(f"{PROGRAM} is not built (HYPERHOST_BENCH=0)")
        super().setUp()

    def test_a_disk_of_4_gib(self):
        requirement.tool("qemu-img", "qemu-utils")
        raw = sparse_raw(self.work / "big.raw", 4 * GIB, 200 * MIB, compressible=True)
        vmdk = self.work / "big.vmdk"
        self.assertEqual(self.qemu_img("convert", "-O", "vmdk", "-o", "subformat=streamOptimized", raw,
                                       vmdk).returncode, 0)
        for converter in CONVERTERS:
            for source in (raw, vmdk):
                with self.subTest(converter=converter, source=source.suffix):
                    plan = self.plan(source, vm="big", converter={"plugin": converter},
                                     output_dir=f"{converter}{source.suffix}")
                    running = self.start("run", plan)
                    status, own, with_children = self.peak(running)
                    self.assertEqual(status, 0, running.text(running.err))
                    print(f"\n  {converter}, {source.suffix}: host {own / MIB:.0f} MiB, largest process "
                          f"{with_children / MIB:.0f} MiB", end=" ", flush=True)
                    self.assertGreater(own, MIB, "the host was not seen at work")
                    self.assertLess(own, LIMIT)
                    if converter == "parallel-disk":  # has no children
                        self.assertLess(with_children, LIMIT)

    def test_many_disks_at_once_share_the_budget(self):
        shelf = self.work / "shelf"
        shelf.mkdir()
        for number in range(4):
            sparse_raw(shelf / f"vm{number}.raw", GIB, 48 * MIB, seed=number)
        plan = self.plan(shelf, vm="vm*", batch={"max_parallel": 4}, defaults={"compression": "zstd"})
        status, own, everyone = self.peak(self.start("run", plan))
        self.assertEqual(status, 0)
        self.assertLess(max(own, everyone), LIMIT)
        self.assertEqual(len(list(self.work.glob("out/*/manifest.json"))), 4)

    def test_10000_requests_to_a_run_that_is_watched(self):
        shelf = self.work / "shelf"
        shelf.mkdir()
        for number in range(20):
            sparse_raw(shelf / f"vm{number:02}.raw", 64 * MIB, 32 * MIB, seed=number)
        running = self.start("run", self.plan(shelf, vm="vm*", batch={"max_parallel": 20, "source_bandwidth_limit": "1MiB"},
                                              observability={"progress_api": "127.0.0.1:0"}))
        url = running.wait_for(lambda: re.search(r"dashboard: (http://\S+)", running.text(running.err)), "the address", 150)[1]
        self.assertEqual(answered(url, 10_000, ("/api/v1/progress", "/nowhere/%41", "/", "/api/v1/run")), 10_000)
        self.assertIsNone(running.process.poll(), "the run ended before the requests did")
        own = int(re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path(f"/proc/{running.process.pid}/status").read_text())[1]) * 1024
        done, _ = interrupt(running)
        self.assertEqual(done.status, INTERRUPTED, done)
        print(f"\n  10,000 requests: {own / MIB:.0f} MiB", end=" ", flush=True)
        self.assertLess(own, LIMIT)

    def test_a_limit_for_all_converters_of_a_batch(self):
        shelf = self.work / "shelf"
        shelf.mkdir()
        for number in range(4):
            sparse_raw(shelf / f"vm{number}.raw", GIB, 48 * MIB, seed=number)
        converters = ({}, {"strict_deflate": True})
        peaks = {}
        for limit in ("0", "20MiB"):
            plan = self.plan(
                shelf, output_dir=limit, defaults={"compression": "zstd", "verify": "none"},
                batch={"max_parallel": 4, "memory_limit": limit},
                migrations=[{"vm": f"vm{n}", "provider": "shelf",
                             "converter": {"plugin": "parallel-disk", "options": converters[n % 2]}} for n in range(4)])
            status, peaks[limit], _ = self.peak(self.start("run", plan))
            self.assertEqual(status, 0)
        print(f"\n  four disks at once: {peaks['0'] / MIB:.0f} MiB, with memory_limit: 20MiB "
              f"{peaks['20MiB'] / MIB:.0f} MiB", end=" ", flush=True)
        self.assertLess(peaks["20MiB"], (20 + 20) * MIB)  # README: the host itself takes 20 MiB
        self.assertGreater(peaks["0"], peaks["20MiB"])


if __name__ == "__main__":
    requirement.main()
