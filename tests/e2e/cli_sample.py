#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The sample: a real OVA of a bootable Linux, migrated by the plan we ship, booted to its banner."""

import json
import pathlib
import subprocess

from hyperhost_cli import CONVERTERS, ROOT, CliTest
import boot_check
import requirement

OVA = ROOT / "out/sample/hyperhost-sample.ova"
PLAN = ROOT / "configs/plans/sample.yaml"


class Sample(CliTest):
    @classmethod
    def setUpClass(cls):
        requirement.tool("qemu-img", "qemu-utils")
        requirement.tool("grub-mkimage", "grub-common")
        subprocess.run([ROOT / "tests/sample/build_ova.py"], check=True, timeout=300)

    def migrate(self, converter, **settings):
        result = self.report(PLAN, "--converter", converter, "--set", f"output_dir={self.work / converter}",
                             *(a for key, value in settings.items() for a in ("--set", f"defaults.{key}={value}")))
        self.assertTrue(result["success"])
        return result

    def test_it_is_what_it_was_by_every_account(self):
        digests = []
        for converter in CONVERTERS:
            result = self.migrate(converter)
            for number, path in enumerate(result["converted_files"], 1):
                source = OVA.parent / f"source/disk{number}.raw"
                self.assertEqual(self.qemu_img("check", path).returncode, 0)
                self.assertEqual(self.qemu_img("compare", "-F", "raw", path, source).returncode, 0)
            self.host("verify", result["manifest_path"])
            manifest = json.loads(pathlib.Path(result["manifest_path"]).read_text())
            self.assertEqual((manifest["vm"]["firmware"], manifest["vm"]["os_hint"]), ("bios", "linux"))
            self.assertEqual([d["disk_type"] for d in manifest["disks"]], ["boot", "data"])
            self.assertEqual({d["source"]["verified"] for d in manifest["hyperhost"]["disks"]},
                             {"sha256 as in hyperhost-sample.mf"})
            digests.append([d["content_digest"] for d in result["disks"]])
        self.assertEqual(digests[0], digests[1])

    def test_its_structures_are_read_in_a_few_hundred_kib(self):
        found = self.host("--output", "json", "inspect", "hyperhost-sample", "--path", OVA, "--depth", "structures").json
        disks = found["structures"]["disks"]
        self.assertEqual([(disk["id"], disk["table"], disk.get("boot_code"), [volume["kind"] for volume in disk["volumes"]]) for disk in disks],
                         [("disk-0", "mbr", "grub", ["ext4"]), ("disk-1", "gpt", None, ["ext4"])])
        self.assertEqual([one for one in found["findings"] if one["severity"] != "note" and one["depth"] == "structures"], [])
        self.assertEqual(found["source_bytes_read"], found["structures"]["source_bytes_read"])
        self.assertGreater(found["source_bytes_read"], 0)
        self.assertLess(found["source_bytes_read"], 1 << 20)
        print(f"{found['source_bytes_read']} bytes read in {found['structures']['seconds']:.3f} s")

    def test_the_result_boots_to_its_banner(self):
        requirement.tool(boot_check.QEMU, "qemu-system-x86")
        result = self.migrate("parallel-disk", compression="zstd")
        found, off, text, _, _ = boot_check.boot(result["converted_files"], timeout=90)
        self.assertTrue(found and off, text[-2000:])
        self.assertIn("data disk verified", text)


if __name__ == "__main__":
    requirement.main()
