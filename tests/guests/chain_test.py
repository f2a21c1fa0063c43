#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Guests through the whole program: prepared by guestfs before the copy, the change proven, and a real one booted by
qemu-boot. HYPERHOST_GUEST names another guest of the corpus."""

import json
import os
import pathlib
import random
import shutil
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e"), str(HERE.parent / "support"), str(HERE.parent / "sample")]
import build_ova  # noqa: E402
import corpus  # noqa: E402
import phony_test  # noqa: E402
import requirement  # noqa: E402
import trial  # noqa: E402
from guest_table import GUESTS  # noqa: E402
from hyperhost_cli import FAILED, ROOT, CliTest, content_digest  # noqa: E402

PATIENCE = 3600  # the appliance and the guest are emulated where KVM does not work


class Chain(CliTest):
    def setUp(self):
        super().setUp()
        requirement.tool("qemu-system-x86_64", package="qemu-system-x86")

    def guest_plan(self, disk, vm, options=None, **defaults):
        return self.plan(disk, vm=vm, defaults={"guest": {"options": options or {}, "machine": {"bus": "virtio"}},
                                                "target_format": "raw", **defaults})

    def assert_proven(self, disk, vm):
        """The delivered disk without its changes is the source."""
        manifest = self.work / f"out/{vm}/manifest.json"
        entry = json.loads(manifest.read_text())["hyperhost"]["disks"][0]
        self.assertEqual(entry["source_digest"], content_digest(disk))
        self.assertEqual(entry["content_digest"], content_digest(self.work / f"out/{vm}/{vm}-disk-0.raw"))
        self.assertNotEqual(entry["source_digest"], entry["content_digest"])
        self.assertIn(entry["source_digest"], self.host("verify", manifest).out)
        return entry

    def phony(self):
        cache = ROOT / "out/cache"
        cache.mkdir(parents=True, exist_ok=True)
        busybox = pathlib.Path(build_ova.fetch_packages(str(cache))[0]) / "bin/busybox"
        return pathlib.Path(phony_test.make_disk(str(self.work), str(busybox)))

    def test_a_small_guest_is_prepared_and_the_rest_is_the_source(self):
        disk = self.phony()
        before = content_digest(disk)
        result = self.report(self.guest_plan(disk, "disk"), timeout=PATIENCE)
        self.assertEqual(content_digest(disk), before)  # the source is only read
        self.assertEqual((result["guest"]["plugin"], result["guest"]["caps"]), ("guestfs", {"block": "virtio"}))
        self.assertIn("/etc/fstab", {one.get("path") for one in result["guest"]["actions"]})
        self.assertLess(self.assert_proven(disk, "disk")["changed"]["bytes"], disk.stat().st_size // 2)
        delivered = self.work / "out/disk/disk-disk-0.raw"
        self.assertIn(f"root=UUID={phony_test.UUID} ro", phony_test.content(delivered, "/boot/grub/grub.cfg"))
        self.assertIn("Guest: prepared by guestfs", self.host("result", "disk").out)

    def test_a_disk_without_a_system_fails_and_leaves_nothing(self):
        disk = self.work / "empty.raw"
        disk.write_bytes(bytes(1 << 20))
        done = self.host("run", self.guest_plan(disk, "empty"), status=FAILED, timeout=PATIENCE)
        self.assert_one_clear_error(done, "no operating system was found on the disks")
        self.assert_nothing_left()

    def real_guest(self):
        requirement.need(not corpus.missing_tools(), ", ".join(corpus.missing_tools()))
        guest = GUESTS[os.environ.get("HYPERHOST_GUEST", "device-list")]
        directory = os.environ.get("HYPERHOST_GUESTS") or str(ROOT / "build/guests")
        os.makedirs(directory, exist_ok=True)
        return guest, pathlib.Path(corpus.build(guest.name, directory)[0])

    def test_a_run_that_is_killed_at_any_moment_ends_as_if_it_had_not_been(self):
        """While the appliance prepares the guest, while its disk is copied, while the guest boots, and at random moments; then a
        run to its end. HYPERHOST_KILLS is how many of them are at random."""
        guest, disk = self.real_guest()
        options = {**trial.options_of(guest), "serial_console": True}
        plan = self.guest_plan(disk, "disk-0", options, boot={"require": "login", "timeout": "40m"})
        qemu = lambda running: [c for c in running.others().values() if c.split(" ")[0].endswith("qemu-system-x86_64")]
        moments = {"the appliance": lambda running: qemu(running) and not self.records("prepared"),
                   "the copy": lambda running: self.records("writing"),
                   "the guest's boot": lambda running: self.records("written") and qemu(running)}
        chance = random.Random(os.environ.get("HYPERHOST_SEED", "1"))
        for number in range(int(os.environ.get("HYPERHOST_KILLS", "2"))):
            seconds = chance.uniform(0, 150)
            end = lambda running, seconds=seconds: time.monotonic() > running.began + seconds
            moments[f"{seconds:.1f} seconds"] = end
        for what, come in moments.items():
            with self.subTest(killed=what):
                running = self.start("run", plan)
                try:
                    running.wait_for(lambda: running.process.poll() is None and come(running), what, timeout=PATIENCE)
                except AssertionError:
                    if "seconds" not in what or running.process.poll() != 0:
                        raise  # else it had ended by then
                running.process.kill()
                running.process.wait()
                self.assertEqual(running.wait_none_left(60), {})
                print(f"killed: {what}", flush=True)
        result = self.report(plan, timeout=PATIENCE)
        self.assertTrue(result["boot"]["booted"], result["boot"])
        self.assert_proven(disk, "disk-0")
        names = sorted(path.name for path in (self.work / "out/disk-0").iterdir())
        self.assertEqual([name for name in names if "overlay" in name or name.endswith((".part", ".tmp"))], [], names)
        self.assertEqual(self.host("cleanup").out, "nothing is left over\n")

    def test_a_real_guest_boots_because_it_was_prepared(self):
        guest, disk = self.real_guest()
        boot = {"boot": {"require": "login", "timeout": "40m"}}
        shutil.rmtree(self.work / "out", ignore_errors=True)
        plain = self.plan(disk, name="plain.yaml", vm="disk-0", defaults={"target_format": "raw", **boot})
        failed = self.report(plain, status=FAILED, timeout=PATIENCE)
        self.assertEqual(failed["boot"]["failed"], "initramfs", failed["boot"])
        self.host("cleanup")
        options = {**trial.options_of(guest), "serial_console": True}
        result = self.report(self.guest_plan(disk, "disk-0", options, **boot, overwrite=True), timeout=PATIENCE)
        self.assertTrue(result["boot"]["booted"], result["boot"])
        self.assert_proven(disk, "disk-0")


if __name__ == "__main__":
    requirement.main()
