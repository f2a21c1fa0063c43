#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Commands that only look: they change nothing, speak JSON when asked, and the help is true."""

import json
import os
import pathlib
import re
import shutil

from hyperhost_cli import FAILED, MIB, OK, PREFLIGHT, PROGRAM, RENDERED, ROOT, USAGE, CliTest, Running, sha256_of, sparse_raw
import requirement


class Inspect(CliTest):
    def test_dry_run_and_validate_change_nothing(self):
        package, _ = self.ova()
        for converter in ("parallel-disk", "qemu-img"):
            for observed in (False, True):
                with self.subTest(converter=converter, audit_log=observed):
                    plan = self.plan(package, converter={"plugin": converter})
                    if not observed:
                        plan = self.plan(package, converter={"plugin": converter}, observability={})
                    before = self.files()
                    for command in (("run", plan, "--dry-run"), ("validate", plan)):
                        for output in ("text", "json"):
                            done = self.host("--output", output, *command)
                            self.assertEqual(set(self.files()), set(before), command)
                            self.assertEqual(self.files(), before)
                            if output == "text":
                                self.assertIn("nothing was changed", done.out)

    def test_a_dry_run_says_how_each_disk_would_go_and_why(self):
        package, _ = self.ova()
        out = self.host("run", self.plan(package), "--dry-run").out
        self.assertIn(f"sample-vm -> {self.work}/out/sample-vm", out)
        self.assertEqual(out.count("one pass through parallel-disk"), 2)
        self.assertIn("no staging", out)
        self.assertIn("sample-vm-disk-1.qcow2", out)
        package, _ = self.ova("gzip-reference")
        out = self.host("run", self.plan(package, converter={"plugin": "qemu-img"}), "--dry-run").out
        self.assertRegex(out, r"disk-0: .*\n +staged: qemu-img needs a file")
        found = self.host("--output", "json", "run", self.plan(package), "--dry-run").json
        self.assertTrue(found["ok"])
        self.assertEqual(len(found["vms"]), 1)
        self.assertEqual(found["diagnostics"], [])

    def staged(self, **keys):
        package, expect = self.ova("gzip-reference")
        result = self.report(self.plan(package, converter={"plugin": "qemu-img"}, **keys))
        self.assertEqual([d["staged"] for d in result["disks"]], [True])
        self.assertEqual(sorted(os.listdir(self.work / "out/sample-vm")), sorted(["manifest.json", "sample-vm-disk-0.qcow2", *RENDERED]))
        raw = self.raw_of(result["converted_files"][0], "staged.raw")
        self.assertEqual(sha256_of(raw), "sha256:" + expect["vms"][0]["disks"][0]["sha256"])

    def test_a_staged_disk_is_said_in_the_result_and_its_staging_is_gone(self):
        self.staged()
        self.assertEqual(list(self.work.rglob("*stage*")), [self.work / "staged.raw"])

    def test_a_staging_directory_is_used_and_left_empty(self):
        (self.work / "staging").mkdir()
        self.staged(staging_dir="staging")
        self.assert_nothing_left("staging")

    def test_a_staging_directory_is_made_or_its_absence_found_before_the_run(self):
        package, _ = self.ova("gzip-reference")
        plan = self.plan(package, converter={"plugin": "qemu-img"}, staging_dir="staging")
        done = self.host("run", plan, status=None)
        self.assertIn(done.status, (OK, PREFLIGHT), done)

    def test_list_and_describe(self):
        package, expect = self.ova("collection")
        for source in (("--path", package), ("--plan", self.plan(package))):
            out = self.host("list", *source).out
            self.assertRegex(out, r"web +\w+ +\w* +1 ")
            self.assertIn("Data Base", out)
            found = self.host("--output", "json", "list", *source).json["vms"]
            self.assertEqual({v["name"] for v in found}, {"web", "Data Base"})
            self.assertEqual([v["name"] for v in self.host("--output", "json", "list", "w*", *source).json["vms"]],
                             ["web"])
            out = self.host("describe", "Data Base", *source).out
            for word in ("00:50:56:ab:cd:02", "00:50:56:ab:cd:03", "bios", "2.00 GiB"):
                self.assertIn(word, out)
            vm = self.host("--output", "json", "describe", "Data Base", *source).json
            self.assertEqual((vm["cpu"], vm["memory_bytes"], len(vm["nics"])), (4, 2048 * MIB, 2))
            done = self.host("describe", "nobody", *source, status=FAILED)
            self.assert_one_clear_error(done, "nobody")
        self.host("list", status=USAGE)
        self.assertIn("no VM matches 'zz*'", self.host("list", "zz*", "--path", package).err)
        self.assertIn("no VM is there", self.host("list", "--path", self.work / "packages").err)
        self.host("list", "--path", package, "--set", "nam=x", status=USAGE)
        self.host("list", "--path", package, "--provider", "shelf", status=USAGE)
        self.host("list", "--path", "", status=USAGE)
        self.assertIn("/absent", self.host("list", "--path", "/absent", status=FAILED).err)

    def test_firmware_and_nvram_are_told(self):
        package, _ = self.ova("efi-nvram")
        vm = self.host("--output", "json", "describe", "sample-vm", "--path", package).json
        self.assertEqual((vm["firmware"], vm["secure_boot"]), ("uefi", True))
        manifest = json.loads(pathlib.Path(self.report(self.plan(package))["manifest_path"]).read_text())
        self.assertEqual((manifest["vm"]["firmware"], manifest["vm"]["secureboot"]), ("uefi", True))

    def test_the_hardware_that_a_target_has_to_build_is_in_the_manifest(self):
        package, _ = self.ova()
        shelf = self.work / "members"
        for name in ("sample-vm.ovf", "sample-vm-disk1.vmdk", "sample-vm-disk2.vmdk"):
            self.member(package, name)
        descriptor = shelf / "sample-vm.ovf"
        machine = "2d2a1f2e-4a0b-4c7d-9a3c-6f1f0f8f5a11"
        text = descriptor.read_text()
        for old, new in (("<rasd:VirtualQuantity>2</rasd:VirtualQuantity>",
                          "<rasd:VirtualQuantity>2</rasd:VirtualQuantity>\n<vmw:CoresPerSocket>2</vmw:CoresPerSocket>"),
                         ("<rasd:VirtualQuantity>1024<", "<rasd:VirtualQuantity>512<"),
                         ("</VirtualHardwareSection>", "<Item><rasd:InstanceID>99</rasd:InstanceID><rasd:ResourceSubType>vmware.vtpm"
                          "</rasd:ResourceSubType><rasd:ResourceType>1</rasd:ResourceType></Item></VirtualHardwareSection>"
                          f'<vbox:Machine uuid="{{{machine}}}"/>')):
            self.assertEqual(text.count(old), 1, old)
            text = text.replace(old, new)
        descriptor.write_text(text)
        manifest = json.loads(pathlib.Path(self.report(self.plan(descriptor))["manifest_path"]).read_text())
        own = manifest["hyperhost"]["vm"]
        self.assertEqual((own["uuid"], own["cores_per_socket"], own["tpm"], own["hardware"]), (machine, 2, True, "vmx-13"))
        # Whole gigabytes are what its other readers expect: what is exact stands beside.
        self.assertEqual((manifest["vm"]["mem_gb"], manifest["vm"]["memory_bytes"], own["memory_bytes"]), (1, 512 * MIB, 512 * MIB))

    def test_plugins_and_version(self):
        out = self.host("plugins", "list").out
        found = self.host("--output", "json", "plugins", "list").json["plugins"]
        ids = {p["id"] for p in found if p["used"]}
        self.assertLessEqual({"local-ovf", "local", "parallel-disk", "qemu-img"}, ids)
        for plugin in sorted(ids):
            self.assertIn(plugin, out)
            text = self.host("plugins", "info", plugin).out
            info = self.host("--output", "json", "plugins", "info", plugin).json
            self.assertEqual(info["manifest"]["id"], plugin)
            for option in info["manifest"]["options"]["properties"]:
                self.assertIn(option, text)
        done = self.host("plugins", "info", "qemu-imgg", status=None)
        self.assertNotEqual(done.status, OK)
        self.assert_one_clear_error(done, "qemu-img")
        version = self.host("--output", "json", "version").json
        self.assertRegex(version["version"], r"^\d+\.\d+\.\d+")
        self.assertIn(version["version"], self.host("version").out)
        self.assertIn(version["version"], self.host("--version").out)

    def test_help_has_examples_and_the_exit_status(self):
        out = self.host("--help").out
        for status in "0123457":
            self.assertRegex(out, rf"\b{status}0?\s\w")
        self.assertIn("Examples:", out)
        for command in re.findall(r"^  (\w+)  ", out.split("Subcommands:")[1], re.M):
            with self.subTest(command=command):
                text = self.host(command, "--help").out
                self.assertTrue("Example" in text or "Subcommands:" in text, text)

    def test_a_wrong_command_line_is_status_two_and_says_why(self):
        for arguments, word in (((), "subcommand"), (("rum", "plan.yaml"), "rum"), (("run",), "PLAN"),
                                (("run", "x.yaml", "--dryrun"), "--dryrun"), (("--output", "xml", "version"), "xml"),
                                (("run", "absent.yaml"), "absent.yaml"), (("validate", "."), "."),
                                (("compare", "only-one"), "B")):
            with self.subTest(arguments=arguments):
                done = self.host(*arguments, status=USAGE)
                self.assertIn(word, done.err)
                self.assertEqual(done.out, "")

    def test_set_is_checked_like_the_plan(self):
        plan = self.plan(self.ova()[0])
        for override, word in (("defaults.verfy=none", "verify"), ("defaults.verify=nine", "nine"), ("x", "KEY=VALUE"),
                               ("migrations[0].target_format=raww", "raww")):
            done = self.host("run", plan, "--set", override, status=USAGE)
            self.assertIn(word, done.err)
        done = self.host("validate", plan, "--converter", "qemu-imgg", status=USAGE)
        self.assertIn("qemu-img", done.err)

    def test_json_is_all_there_is_on_standard_output_even_in_failure(self):
        package, _ = self.ova("wrong-checksum-disk")
        for arguments, status in ((("run", self.plan(package)), FAILED), (("run", "absent.yaml"), USAGE),
                                  (("validate", self.plan("/absent", name="b.yaml")), PREFLIGHT),
                                  (("verify", "absent.json"), FAILED), (("compare", "a", "b"), FAILED),
                                  (("convert", "a", "b.raw"), FAILED), (("plugins", "info", "absent"), None),
                                  (("describe", "x", "--path", "/absent"), FAILED), (("list", "--path", "/absent"), FAILED)):
            with self.subTest(arguments=arguments):
                done = self.host("--output", "json", *arguments, status=status)
                self.assertIsInstance(done.json, dict)

    def test_the_plans_we_ship_are_understood(self):
        configs = self.work / "configs"
        shutil.copytree(ROOT / "configs/plans", configs / "plans")
        shelf = self.work / "shelf.raw"
        sparse_raw(shelf, MIB, MIB)
        env = {"VC_PASSWORD": "x", "SLACK_URL": "http://127.0.0.1:9/", "HOOK_SECRET": "x", "AZURE_KEY": "eA=="}
        known = {p["id"] for p in self.host("--output", "json", "plugins", "list").json["plugins"]}
        plans = sorted((configs / "plans").glob("*.yaml"))
        self.assertGreaterEqual(len(plans), 4)
        for plan in plans:
            with self.subTest(plan=plan.name):
                done = self.host("--output", "json", "validate", plan, env=env, status=None)
                found = done.json
                if done.status == OK:
                    continue
                self.assertIn(done.status, (USAGE, PREFLIGHT), done)
                wanted = set(re.findall(r"plugin: ([a-z0-9-]+)", plan.read_text())) - known
                for one in found["diagnostics"]:
                    if one["severity"] != "error":
                        continue
                    # What only this machine lacks: the plugin, the shelf, the vCenter, secret files.
                    text = json.dumps(one)
                    about_here = any(f"no plugin '{w}'" in text for w in wanted) or re.search(
                        r"there is nothing at|vc\.example|cannot (open|read)|No such file|permission", text, re.I)
                    self.assertTrue(about_here, f"not a fault of this machine: {text}")

    def test_the_plan_the_readme_starts_with_runs_from_local_files(self):
        package, _ = self.ova("vmware")
        shutil.copy(ROOT / "configs/plans/minimal.yaml", self.work)
        shelf = self.work / "shelf"
        shelf.mkdir()
        shutil.copy(package, shelf)
        settings = ("--set", f"providers.shelf.path={shelf}", "--set", "migrations[0].vm=sample-vm")
        self.host("validate", "minimal.yaml", *settings)
        self.host("run", "minimal.yaml", *settings)
        self.assertTrue((self.work / "out/sample-vm/manifest.json").exists())

    def test_it_runs_from_anywhere_through_a_link(self):
        link = self.work / "hyperhost"
        link.symlink_to(PROGRAM)
        package, _ = self.ova("vmware")
        env = {"HYPERHOST_STATE_DIR": str(self.work / ".state")}
        done = Running("/", ["plugins", "list"], env, link).finish()
        self.assertIn("parallel-disk", done.out)
        plan = self.plan(package)
        self.assertEqual(Running("/", ["run", plan], env, link).finish().status, OK)
        self.assertTrue((self.work / "out/sample-vm/manifest.json").exists(), "output_dir counts from the plan")


if __name__ == "__main__":
    requirement.main()
