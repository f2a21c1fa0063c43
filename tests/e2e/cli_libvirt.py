#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""VMs that are defined, started and removed in a real libvirt, which emulates them."""

import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

from hyperhost_cli import BUILD, FAILED, MIB, PATIENCE, PREFLIGHT, ROOT, CliTest, content_digest, requirement
from libvirtd import Libvirtd

SAMPLE = ROOT / "tests/sample"
BANNER = b"hyperhost sample: up"


class Libvirt(CliTest):
    def setUp(self):
        super().setUp()
        requirement.need((BUILD / "lib/hyperhost/plugins/libvirt.so").exists(), "libvirt-dev is not installed: no plugin libvirt")
        self.virt = Libvirtd()
        self.addCleanup(lambda: self.virt.stop())

    def disk(self, size=3 * MIB):
        path = self.work / "web.raw"
        path.write_bytes(os.urandom(size) + bytes(2 * MIB))
        return path

    def into(self, source, vm="web", target=None, options=None, **keys):
        target = {"plugin": "libvirt", "options": {"uri": self.virt.uri, **(options or {})}, **(target or {})}
        return self.plan(source, vm=vm, defaults={"target": target, **keys.pop("defaults", {})}, **keys)

    def domain(self, name):
        return ElementTree.fromstring(self.virt.virsh("dumpxml", name))

    def test_the_disks_are_in_the_pool_and_the_vm_is_defined(self):
        source = self.disk()
        plan = self.into(source, target={"name": "prod-{name}", "machine": {"cpus": 2, "memory": "256MiB"}})
        result = self.report(plan)
        self.assertEqual((result["target"]["plugin"], result["target"]["name"], result["target"]["started"]),
                         ("libvirt", "prod-web", False))
        (disk,) = result["target"]["disks"].values()
        self.assertEqual(disk["verified"], "readback")
        domain = self.domain("prod-web")
        self.assertEqual((domain.get("type"), domain.findtext("vcpu"), domain.findtext("memory")), ("qemu", "2", str(256 << 10)))
        volume = domain.find("devices/disk/source")
        self.assertEqual((volume.get("pool"), f"default/{volume.get('volume')}"), ("default", disk["ref"]))
        copy = self.work / "copy.qcow2"
        self.virt.virsh("vol-download", volume.get("volume"), copy, "--pool", "default")
        self.assertEqual(content_digest(self.raw_of(copy, "copy.raw")), content_digest(source))
        self.assertEqual(self.virt.names("--state-shutoff"), ["prod-web"])
        self.assertEqual(self.host("cleanup", plan).out, "nothing is left over\n")
        self.assertTrue(self.report(plan)["already_done"])
        # Another plan's VM of that name, and of one of its own.
        done = self.host("run", plan, "--set", "output_dir=elsewhere", status=PREFLIGHT)
        self.assertIn("there is another domain 'prod-web'", done.err)
        self.assertEqual(len(self.virt.volumes()), 1)

    def test_a_vm_that_stands_keeps_its_disks_though_its_record_is_lost(self):
        source = self.disk()
        plan = self.into(source)
        self.report(plan)
        before = self.files(self.virt.home / "pool")
        shutil.rmtree(self.work / ".state")
        shutil.rmtree(self.work / "out")
        done = self.host("run", plan, status=FAILED)
        self.assertIn("of an earlier run has its disk", done.err)
        self.assertEqual((self.files(self.virt.home / "pool"), self.virt.names()), (before, ["web"]))

    def test_disks_may_stay_where_they_are(self):
        result = self.report(self.into(self.disk(), options={"disks": "place"}))
        self.assertEqual(self.domain("web").find("devices/disk/source").get("file"), result["disks"][0]["path"])
        self.assertEqual(self.virt.volumes(), [])

    def test_what_libvirt_lacks_is_an_error_before_the_copy(self):
        package, _ = self.ova()
        done = self.host("run", self.into(package, vm="sample-vm", target={"networks": {"*": "nowhere"}},
                                          options={"pool": "fast"}), status=PREFLIGHT)
        self.assertIn("libvirt has no network 'nowhere'", done.err)
        self.assertIn("libvirt has no storage pool 'fast'", done.err)
        self.assertFalse((self.work / "out/sample-vm").exists())
        done = self.host("run", self.into(self.disk(), options={"uri": f"qemu+unix:///session?socket={self.work}/none"}),
                         status=PREFLIGHT)
        self.assertIn("cannot connect to qemu+unix", done.err)

    def test_a_libvirt_that_is_gone_in_the_middle_and_comes_back(self):
        plan = self.into(self.disk(64 * MIB), batch={"max_retries": 0})
        running = self.start("run", plan)
        running.wait_for(lambda: any((self.virt.home / "pool").iterdir()), "a volume")
        self.virt.kill()
        self.assertEqual(running.finish().status, FAILED)
        self.virt.start()
        self.virt.virsh("pool-start", "default", status=None)
        result = self.report(plan)
        self.assertEqual((len(self.virt.volumes()), self.virt.names()), (1, ["web"]))
        self.assertEqual([disk["verified"] for disk in result["target"]["disks"].values()], ["readback"])
        self.assertEqual(self.host("cleanup", plan).out, "nothing is left over\n")

    def test_the_host_is_killed_at_any_moment(self):
        plan = self.into(self.disk(16 * MIB))
        drawn = random.Random(16)
        for number in range(6):
            running = self.start("run", plan)
            running.wait_for(lambda: (self.work / "out/web").exists() or running.process.poll() is not None, "its directory")
            try:
                running.process.wait(drawn.uniform(0, 1.5) * PATIENCE)
            except subprocess.TimeoutExpired:
                running.process.send_signal(signal.SIGKILL)
                running.process.wait()
            if number % 2:  # every other time nothing is kept
                self.host("cleanup", plan)
                if not (self.work / "out/web/manifest.json").exists():
                    self.assertEqual((self.virt.volumes(), self.virt.names()), ([], []))
        self.report(plan)
        self.assertEqual((len(self.virt.volumes()), self.virt.names()), (1, ["web"]))
        self.assertEqual(self.host("cleanup", plan).out, "nothing is left over\n")

    def console(self, name, text, timeout):
        """Reads the guest's serial console until the text is there."""
        path = self.domain(name).find("devices/serial/source").get("path")
        end, seen = os.times().elapsed + timeout * PATIENCE, b""
        fd = os.open(path, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            while text not in seen and os.times().elapsed < end:
                if select.select([fd], [], [], 1)[0]:
                    try:
                        seen += os.read(fd, 65536)
                    except OSError:  # the guest is off
                        break
        finally:
            os.close(fd)
        return seen

    def test_the_sample_is_migrated_and_answers_at_its_console(self):
        requirement.tool("grub-mkimage", "grub-common")
        subprocess.run([sys.executable, SAMPLE / "build_ova.py"], check=True, timeout=300, stdout=subprocess.DEVNULL)
        result = self.report(self.into(ROOT / "out/sample", vm="hyperhost-sample", target={
            "networks": {"*": "user:"}, "start": True}), timeout=400)
        self.assertEqual((result["target"]["started"], len(result["target"]["disks"])), (True, 2))
        self.assertIn(BANNER, self.console("hyperhost-sample", BANNER, 300))

    def test_the_plugin_keeps_its_contract_with_a_libvirt(self):
        options = self.work / "options.json"
        options.write_text(json.dumps({"uri": self.virt.uri}))
        self.host("plugins", "check", BUILD / "lib/hyperhost/plugins/libvirt.so", "--options", options)
        self.assertEqual((self.virt.volumes(), self.virt.names()), ([], []))


if __name__ == "__main__":
    requirement.main()
