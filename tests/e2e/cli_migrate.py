#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A plan in, migrated VMs out: two disks, both converters, by every account the same bytes."""

import json
import pathlib
import re
import sys

import jsonschema

from hyperhost_cli import CONVERTERS, DIFFERS, FAILED, GIB, MIB, OK, ROOT, CliTest, content_digest, sha256_of, sparse_raw
import requirement

sys.path.insert(0, str(ROOT / "sdk/schema"))
import tables  # noqa: E402

TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$"


def closed(schema):
    """The schema without room for members that it does not describe."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(part) for key, part in schema.items()}
    if isinstance(schema.get("properties"), dict) and "type" in schema:
        made.setdefault("additionalProperties", False)
    return made


class Migrate(CliTest):
    def setUp(self):
        super().setUp()
        self.package, self.expect = self.ova("two-disks")
        self.disks = self.expect["vms"][0]["disks"]
        self.sources = [self.member(self.package, f"sample-vm-disk{n}.vmdk") for n in (1, 2)]

    def test_both_converters_and_formats_give_the_same_bytes(self):
        digests = {}
        raws = [self.raw_of(source, f"truth{i}.raw") for i, source in enumerate(self.sources)]
        for raw, disk in zip(raws, self.disks, strict=True):
            self.assertEqual(sha256_of(raw), "sha256:" + disk["sha256"])
        for converter in CONVERTERS:
            for target in ("qcow2", "raw"):
                with self.subTest(converter=converter, format=target):
                    out = self.work / f"{converter}-{target}"
                    plan = self.plan(self.package, converter={"plugin": converter}, output_dir=str(out),
                                     defaults={"target_format": target})
                    result = self.report(plan)
                    self.assertTrue(result["success"])
                    digests[converter, target] = [d["content_digest"] for d in result["disks"]]
                    self.check_images(result, target, raws)
                    self.check_manifest(result, target, converter)
                    self.assertEqual(self.host("verify", result["manifest_path"]).status, OK)
        self.assertEqual(len(digests), 4)
        wanted = [content_digest(raw) for raw in raws]
        for key, value in digests.items():
            self.assertEqual(value, wanted, key)

    def check_images(self, result, target, raws):
        for disk, path, raw, source in zip(result["disks"], result["converted_files"], raws, self.sources, strict=True):
            self.assertEqual(disk["path"], path)
            compared = self.qemu_img("compare", "-f", target, "-F", "raw", path, raw)
            self.assertEqual(compared.returncode, 0, compared.stdout)
            info = json.loads(self.qemu_img("info", "--output=json", "-f", target, path).stdout)
            self.assertEqual(info["virtual-size"], raw.stat().st_size)
            if target == "qcow2":
                checked = self.qemu_img("check", path)
                self.assertEqual(checked.returncode, 0, checked.stdout)
            self.assertIn("identical", self.host("compare", path, source).out)

    def check_manifest(self, result, target, converter):
        path = pathlib.Path(result["manifest_path"])
        manifest = json.loads(path.read_text())
        jsonschema.Draft202012Validator(closed(tables.schema("artifact.manifest"))).validate(manifest)
        self.assertEqual(manifest["manifest_version"], "1.0")
        source = manifest["source"]
        self.assertEqual((source["provider"], source["vm_name"]), ("local-ovf", "sample-vm"))
        for key in ("vm_id", "datacenter", "export_method"):
            self.assertIn(key, source)
        self.assertRegex(source["export_timestamp"], TIME)
        vm = manifest["vm"]
        self.assertEqual((vm["cpu"], vm["mem_gb"], vm["firmware"], vm["secureboot"], vm["os_hint"]),
                         (2, 1, "bios", False, "linux"))
        self.assertEqual([d["source_format"] for d in manifest["disks"]], [target] * 2)
        self.assertEqual(len({d["id"] for d in manifest["disks"]}), 2)
        for disk, file in zip(manifest["disks"], result["converted_files"], strict=True):
            self.assertRegex(disk["id"], r"^[a-zA-Z0-9_-]+$")
            self.assertEqual(disk["local_path"], file)
            self.assertTrue(file.startswith("/"))
            self.assertEqual(disk["bytes"], pathlib.Path(file).stat().st_size)
            self.assertIn(disk["disk_type"], ("boot", "data", "unknown"))
            self.assertIsInstance(disk["boot_order_hint"], int)
            if "checksum" in disk:
                self.assertEqual(disk["checksum"], sha256_of(file))
        self.assertEqual(manifest["disks"][0]["disk_type"], "boot")
        self.assertEqual(manifest["nics"], [{"id": manifest["nics"][0]["id"], "mac": "00:50:56:ab:cd:01",
                                             "network": "VM Network", "model": "VmxNet3"}])
        self.assertEqual((manifest["notes"], manifest["warnings"]), ([], []))
        self.assertEqual(manifest["metadata"]["job_id"], result["task_id"])
        self.assertRegex(manifest["metadata"]["created_at"], TIME)
        self.assertEqual(set(manifest["pipeline"]), {"inspect", "fix", "convert", "validate"})
        self.assertTrue(manifest["pipeline"]["convert"]["enabled"])
        self.assertEqual((manifest["output"]["directory"], manifest["output"]["format"]), (str(path.parent), target))
        own = manifest["hyperhost"]
        self.assertEqual(own["converter"], converter)
        # What the target has to build.
        self.assertEqual((vm["memory_bytes"], own["vm"]["memory_bytes"], own["vm"]["tpm"]), (1 << 30, 1 << 30, False))
        self.assertEqual(own["vm"]["controllers"], [{"id": "scsi0", "type": "lsilogic"}])
        self.assertEqual([disk["controller"] for disk in own["disks"]], ["scsi0:0", "scsi0:1"])
        for disk, expected, member in zip(own["disks"], self.disks, self.sources, strict=True):
            self.assertEqual(disk["virtual_size"], expected["capacity"])
            self.assertRegex(disk["content_digest"], r"^hyper-tree-sha256:[0-9a-f]{64}$")
            self.assertEqual(disk["source"]["checksum"], sha256_of(member))
            self.assertEqual(disk["source"]["bytes"], member.stat().st_size)

    def test_the_report_has_every_field_of_the_result_with_measured_values(self):
        for converter in CONVERTERS:
            with self.subTest(converter=converter):
                result = self.report(self.plan(self.package, converter={"plugin": converter}, output_dir=converter))
                self.assertEqual((result["vm_name"], result["provider"], result["outcome"], result["error"]),
                                 ("sample-vm", "local-ovf", "succeeded", ""))
                self.assertTrue(result["task_id"])
                self.assertEqual(len(result["exported_files"]), 2)
                self.assertEqual(len(result["converted_files"]), 2)
                self.assertEqual(result["conversion_size"],
                                 sum(pathlib.Path(f).stat().st_size for f in result["converted_files"]))
                self.assertEqual(result["total_size"], sum(d["capacity"] for d in self.disks))
                for key in ("export_seconds", "conversion_seconds", "verify_seconds", "total_seconds"):
                    self.assertGreater(result[key], 0, key)
                    self.assertLess(result[key], 60, key)
                self.assertGreaterEqual(result["total_seconds"], result["conversion_seconds"])
                self.assertEqual((result["upload_seconds"], result["uploaded_files"], result["cloud_destination"]),
                                 (0, [], ""))
                self.assertRegex(result["start_time"], TIME)
                self.assertLess(result["start_time"], result["end_time"])
                self.assertEqual((result["attempts"], result["warnings"]), (1, []))
                self.assertEqual([d["staged"] for d in result["disks"]], [False, False])

    def test_what_was_read_of_a_compressed_disk_is_its_file(self):
        size = sum(source.stat().st_size for source in self.sources)
        for converter in CONVERTERS:
            for limit in ("0", "1GB"):  # with a limit the converter reads through the host
                with self.subTest(converter=converter, limit=limit):
                    plan = self.plan(self.package, converter={"plugin": converter}, output_dir=f"{converter}-{limit}")
                    result = self.report(plan, "--set", f"batch.source_bandwidth_limit={limit}")
                    # Tables, and the head of each grain, are looked at before: much of so small a disk. Twice would be all.
                    self.assertAlmostEqual(result["export_size"], size, delta=size / 3)

    def test_what_was_read_of_a_sparse_disk_is_what_is_on_it(self):
        shelf = self.work / "shelf"
        shelf.mkdir()
        sparse_raw(shelf / "sparse.raw", 50 * GIB, 12 * MIB)
        for converter in CONVERTERS:
            with self.subTest(converter=converter):
                result = self.report(self.plan(shelf, vm="sparse", converter={"plugin": converter}, output_dir=converter))
                self.assertGreaterEqual(result["export_size"], 12 * MIB)
                self.assertLess(result["export_size"], 100 * MIB)

    def test_the_audit_log_tells_the_whole_story_in_a_chain(self):
        plan = self.plan(self.package, user="auditor", ip_address="192.0.2.7")
        self.host("run", plan)
        entries = self.audit()
        types = [e["event_type"] for e in entries]
        for one in ("migration_start", "export_start", "conversion_start", "export_complete", "conversion_complete",
                    "migration_complete"):
            self.assertEqual(types.count(one), 1, types)
        self.assertLess(types.index("migration_start"), types.index("export_start"))
        self.assertEqual(types[-2], "migration_complete")
        self.assertEqual((entries[0]["action"], entries[-1]["action"]), ("run_start", "run_end"))
        self.assertEqual({e["user"] for e in entries}, {"auditor"})
        self.assertEqual({e["ip_address"] for e in entries[:-1]}, {"192.0.2.7"})
        self.assertEqual(len({e["event_id"] for e in entries}), len(entries))
        self.assertTrue(all(e["success"] for e in entries))
        self.assertTrue(all(re.match(TIME, e["timestamp"]) for e in entries))
        # A second run goes on in the same chain.
        self.host("run", plan, "--set", "defaults.overwrite=true")
        self.assertEqual(len(self.audit()), 2 * len(entries))

    def test_the_summary_is_short_and_a_long_one_has_the_digests(self):
        plan = self.plan(self.package)
        out = self.host("run", plan).out
        head, row = out.splitlines()[:2]
        self.assertEqual(head.split(), ["VM", "Guest", "Read", "Written", "Took", "Rate"])
        self.assertRegex(row, r"^sample-vm +44\.0 MiB .* [KMG]iB/s$")
        self.assertRegex(out.splitlines()[-1], r"^1 of 1 VM migrated; 44\.0 MiB guest, ")
        self.assertTrue(all(len(line) <= 80 for line in out.splitlines() if "manifest.json" not in line), out)
        self.assertNotIn("hyper-tree-sha256", out)
        out = self.host("run", plan, "-v", "--set", "defaults.overwrite=true").out
        manifest = self.work / "out/sample-vm/manifest.json"
        self.assertIn(str(manifest), out)
        for disk in json.loads(manifest.read_text())["hyperhost"]["disks"]:
            self.assertIn(f"\n    {disk['id']}: {disk['content_digest']}\n", out)

    def test_verify_finds_a_flipped_byte_and_a_moved_set(self):
        for target in ("qcow2", "raw"):
            with self.subTest(format=target):
                result = self.report(self.plan(self.package, output_dir=target, defaults={"target_format": target}))
                disk = pathlib.Path(result["converted_files"][0])
                moved = self.work / f"moved-{target}"
                disk.parent.rename(moved)
                self.assertEqual(self.host("verify", moved / "manifest.json").out.count("verified"), 2)
                self.assertEqual(self.host("verify", moved / "manifest.json", "--reader", "qemu-img").status, OK)
                data = bytearray((moved / disk.name).read_bytes())
                at = data.index(b"hyperhost test disk")
                data[at] ^= 1
                (moved / disk.name).write_bytes(data)
                done = self.host("verify", moved / "manifest.json", status=DIFFERS)
                self.assertIn("DIFFERENT", done.out)
                self.assertIn(disk.name, done.out)
                self.assertEqual(done.out.count("DIFFERENT"), 1)
                found = self.host("--output", "json", "verify", moved / "manifest.json", status=DIFFERS).json
                self.assertEqual([i["ok"] for i in found["images"]], [False, True])

    def test_verification_by_another_plugin_and_options_of_the_command_line(self):
        plan = self.plan(self.package, defaults={"verify": "independent"})
        result = self.report(plan)
        self.assertEqual({d["verified_by"] for d in result["disks"]}, {"qemu-img"})
        result = self.report(plan, "--converter", "qemu-img", "--set", "output_dir=other")
        self.assertEqual({d["verified_by"] for d in result["disks"]}, {"parallel-disk"})
        self.assertTrue(result["manifest_path"].startswith(str(self.work / "other")))

    def test_a_pattern_takes_several_vms_and_one_failure_does_not_stop_the_others(self):
        shelf = self.work / "shelf"
        shelf.mkdir()
        for case in ("vmware", "wrong-checksum-disk", "collection"):
            self.ova(case)[0].rename(shelf / f"{case}.ova")
        plan = self.plan(shelf, migrations=[
            {"vm": "wrong-checksum-disk.ova", "provider": "shelf", "output_name": "bad", "priority": 5},
            {"vm": "vmware.ova", "provider": "shelf", "output_name": "good"},
            {"vm": "[wD]*[be]", "provider": "shelf", "target_format": "raw"}])
        done = self.host("--output", "json", "run", plan, status=FAILED)
        results = done.json["results"]
        self.assertEqual(len(results), 4, [r["vm_name"] for r in results])
        self.assertEqual(sum(r["success"] for r in results), 3)
        self.assertEqual(sorted(p.parent.name for p in self.work.glob("out/*/manifest.json")), ["Data Base", "good", "web"])
        self.assertEqual(list(self.work.glob("out/bad/*")), [])
        self.assert_audited_failure("sample-vm-disk1.vmdk")


if __name__ == "__main__":
    requirement.main()
