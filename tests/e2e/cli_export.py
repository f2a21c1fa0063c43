#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""hyperexport: one VM from flags; the same plan, the same result as hyperhost run."""

import json
import os
import socket
import subprocess
import urllib.request

from hyperhost_cli import BUILD, FAILED, OK, PREFLIGHT, USAGE, CliTest, Running, sha256_of
import requirement

HYPEREXPORT = BUILD / "bin/hyperexport"


class Export(CliTest):
    def setUp(self):
        super().setUp()
        requirement.need(HYPEREXPORT.exists(), f"{HYPEREXPORT} is not built")
        self.package, self.expect = self.ova("two-disks")

    def export(self, *arguments, status=OK, env=None):
        running = Running(self.work, arguments, env, HYPEREXPORT)
        self.addCleanup(running.stop)
        done = running.finish()
        self.assertEqual(done.status, status, done)
        return done

    def test_one_dash_and_two_mean_the_same(self):
        for dash, out in (("-", "one"), ("--", "two")):
            done = self.export(f"{dash}path", self.package, f"{dash}vm", "sample-vm", f"{dash}convert", f"{dash}json",
                               f"{dash}format=raw", f"{dash}output", out, f"{dash}manifest")
            (result,) = done.json["results"]
            self.assertTrue(result["success"])
            self.assertTrue((self.work / out / "sample-vm/manifest.json").exists())
            for file, disk in zip(result["converted_files"], self.expect["vms"][0]["disks"], strict=True):
                self.assertEqual(sha256_of(file), "sha256:" + disk["sha256"])

    def test_the_printed_plan_does_the_same(self):
        flags = ("--path", self.package, "--vm", "sample-vm", "--format", "qcow2", "--compression", "zlib",
                 "--output", "out", "--overwrite", "--disk", "disk-1", "--user", "ops: \"x\"")
        printed = self.export(*flags, "--print-plan").out
        self.assertFalse((self.work / "out").exists())
        (self.work / "elsewhere").mkdir()
        plan = self.work / "elsewhere/printed.yaml"
        plan.write_text(printed)
        mine = self.export(*flags, "--json").json["results"][0]
        theirs = self.report(plan)
        self.assertEqual([d["content_digest"] for d in mine["disks"]], [d["content_digest"] for d in theirs["disks"]])
        self.assertEqual(mine["converted_files"], theirs["converted_files"])
        self.assertEqual(len(mine["disks"]), 1)

    def test_without_convert_the_disks_are_copied_as_delivered(self):
        done = self.export("-vm", "sample-vm", "-path", self.package, "-json", "-no-manifest")
        (result,) = done.json["results"]
        for file, n in zip(result["converted_files"], (1, 2), strict=True):
            self.assertEqual(sha256_of(file), sha256_of(self.member(self.package, f"sample-vm-disk{n}.vmdk")))
        self.assertFalse((self.work / "sample-vm/manifest.json").exists())

    def test_every_flag_is_in_the_plan(self):
        (self.work / "pass").write_text("geheim99\n")
        (self.work / "pass").chmod(0o600)
        done = self.export(
            "-vm", "/DC/vm/web", "-endpoint", "https://vc.example/sdk", "-username", "ops", "-password", "file:pass",
            "-provider-option", "plugin_note=env:NOTE", "-convert", "-format", "raw", "-converter", "qemu-img",
            "-verify", "independent", "-output", "/srv/out", "-name", "web2", "-upload", "s3://bucket/prefix",
            "-storage-option", "region=eu-west-1", "-progress-api-port", "8080", "-metrics-api", ":9090",
            "-audit-log", "audit.log", "-webhook-url", "env:SLACK_URL", "-webhook-type", "slack", "-webhook-on-start",
            "-webhook-on-complete=false", "-set", "batch.max_retries=7", "-print-plan",
            env={"NOTE": "geheim77", "SLACK_URL": "https://hooks.example/geheim88"})
        self.assertNotIn("geheim", done.out + done.err)
        requirement.need(subprocess.run(["python3", "-c", "import yaml"], check=False).returncode == 0,
                         "python3-yaml is not installed")
        import yaml
        plan = yaml.safe_load(done.out)
        self.assertEqual(plan["providers"]["source"], {
            "plugin": "vsphere", "endpoint": "https://vc.example/sdk", "username": "ops",
            "password": {"file": str(self.work / "pass")}, "plugin_note": {"env": "NOTE"}})
        self.assertEqual(plan["defaults"], {"convert": True, "target_format": "raw", "verify": "independent",
                                            "export_manifest": True})
        self.assertEqual(plan["converter"], "qemu-img")
        self.assertEqual(plan["upload"], {"destination": "s3://bucket/prefix",
                                          "storage": {"region": "eu-west-1"}})
        self.assertEqual(plan["observability"], {
            "progress_api": "127.0.0.1:8080", "metrics_api": ":9090", "audit_log": {"path": str(self.work / "audit.log"), "required": True},
            "webhooks": [{"type": "slack", "url": {"env": "SLACK_URL"}, "on_start": True, "on_complete": False,
                          "on_error": True, "on_warning": False}]})
        self.assertEqual(plan["migrations"], [{"vm": "/DC/vm/web", "provider": "source", "output_name": "web2"}])
        self.assertEqual((plan["output_dir"], plan["batch"]), ("/srv/out", {"max_retries": 7}))

    def test_govc_variables_are_the_defaults(self):
        done = self.export("-vm", "web", "-print-plan", env={
            "GOVC_URL": "https://vc.example/sdk", "GOVC_USERNAME": "ops", "GOVC_PASSWORD": "geheim99"})
        self.assertIn("endpoint: \"https://vc.example/sdk\"", done.out)
        self.assertIn("password: {env: GOVC_PASSWORD}", done.out)
        self.assertNotIn("geheim99", done.out)

    def test_a_password_in_the_servers_address_is_not_in_the_plan(self):
        done = self.export("-vm", "web", "-print-plan", env={"GOVC_URL": "https://ops%40lab:geheim%2f99@vc.example/sdk"})
        self.assertIn("endpoint: \"https://vc.example/sdk\"", done.out)
        self.assertIn("username: \"ops@lab\"", done.out)
        self.assertIn("password: {env: GOVC_PASSWORD}", done.out)
        self.assertNotIn("geheim", done.out + done.err)
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            url = f"https://ops:geheim99@127.0.0.1:{closed.getsockname()[1]}"
            done = self.export("-vm", "web", env={"GOVC_URL": url}, status=PREFLIGHT)
        self.assertIn("cannot connect", done.err)  # the plan had all it needs
        self.assertNotIn("geheim", done.out + done.err)

    def test_govc_insecure_is_heard(self):
        govc = {"GOVC_URL": "https://vc.example/sdk", "GOVC_USERNAME": "ops", "GOVC_PASSWORD": "geheim99"}
        for value, heard in (("1", True), ("true", True), ("0", False), ("", False)):
            printed = self.export("-vm", "web", "-print-plan", env={**govc, "GOVC_INSECURE": value}).out
            self.assertEqual("insecure: true" in printed, heard, value)

    def test_messages_are_in_the_words_of_the_flags(self):
        self.export("-path", self.package, "-vm", "sample-vm", "-convert", "-output", "out")
        done = self.export("-path", self.package, "-vm", "sample-vm", "-convert", "-output", "out", "-set", "name=other",
                           status=PREFLIGHT, env={"HYPERHOST_STATE_DIR": str(self.work / "elsewhere")})
        self.assertIn("add --overwrite", done.err)
        done = self.export("-path", self.package, "-vm", "sample-vm", "-output", "typo/in/out", status=PREFLIGHT)
        self.assertIn("there is no directory", done.err)
        done = self.export("-vm", "web", status=USAGE, env={"GOVC_URL": "", "GOVC_USERNAME": "", "GOVC_PASSWORD": ""})
        for flag in ("--endpoint is missing", "--username is missing", "--password is missing"):
            self.assertIn(flag, done.err)
        for word in ("overwrite: true", "output_dir", "/providers", "the key '"):
            self.assertNotIn(word, done.err)

    def test_a_slip_in_a_flag_gets_the_nearest(self):
        done = self.export("-path", self.package, "-vm", "sample-vm", "-convrt", status=USAGE)
        self.assertIn("'--convrt' (did you mean '--convert'?)", done.err)

    def test_mistakes_name_the_flag(self):
        common = ("--path", self.package, "--vm", "sample-vm")
        for flags, status, words in (
                (("--format", "qcow3"), USAGE, ("--format", "did you mean 'qcow2'")),
                (("--password", "geheim99"), USAGE, ("--password", "env:NAME")),
                (("--progress-api", "0.0.0.0:8080"), USAGE, ("--progress-api", "token")),
                (("--progress-api-port", "70000"), USAGE, ("progress-api-port",)),
                (("--upload", "ftp:/x"), USAGE, ("--upload", "s3://BUCKET")),
                (("--storage-option", "region=x"), USAGE, ("--upload",)),
                (("--verify", "target"), USAGE, ("--convert",)),
                (("--webhook-type", "slack"), USAGE, ("--webhook-type", "--webhook-url")),
                (("--converter", "nobody"), USAGE, ("--converter", "nobody")),
                (("--webhook-url", "nonsense"), USAGE, ("--webhook-url", "https://"))):
            with self.subTest(flags=flags):
                done = self.export(*common, *flags, status=status)
                for word in words:
                    self.assertIn(word, done.err)
                self.assertNotIn("geheim99", done.out + done.err)
        self.assertIn("--vm", self.export("--path", self.package, status=USAGE).err)
        self.assertIn("no VM", self.export("--path", self.package, "--vm", "nobody", status=PREFLIGHT).err)
        self.assert_nothing_left("sample-vm")

    def test_dry_run_and_help(self):
        done = self.export("-path", self.package, "-vm", "sample-vm", "-convert", "-dry-run")
        self.assertIn("nothing was changed", done.out)
        self.assert_nothing_left("sample-vm")
        text = self.export("--help").out
        for flag in ("--vm", "--convert", "--format", "--output", "--manifest", "--progress-api-port", "--progress-api",
                     "--metrics-api-port", "--metrics-api", "--audit-log", "--webhook-url", "--webhook-type",
                     "--webhook-on-start", "--webhook-on-complete", "--webhook-on-error", "--converter", "--upload",
                     "--print-plan"):
            self.assertIn(flag, text)


if __name__ == "__main__":
    requirement.main()
