#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Plans that end in a bucket, against a real S3 server: what arrives, what another client reads,
what stays on this machine, what is refused."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import hyperhost_cli as cli  # noqa: E402
import peers  # noqa: E402
import requirement  # noqa: E402

MIB = 1 << 20


class S3Upload(cli.CliTest):
    @classmethod
    def setUpClass(cls):
        import tempfile
        cls.directory = tempfile.TemporaryDirectory(prefix="hyperhost-s3-")
        cls.addClassCleanup(cls.directory.cleanup)
        cls.server = peers.S3Server(cls.directory.name)
        cls.addClassCleanup(cls.server.stop)

    def disk(self, name="disk.raw", capacity=96 * MIB, data=48 * MIB, seed=1):
        (self.work / "in").mkdir(exist_ok=True)
        return cli.sparse_raw(self.work / "in" / name, capacity, data, seed=seed)

    def upload(self, prefix=None, storage=None, **keys):
        self.prefix = prefix or self.id().rpartition(".")[2]
        return {"destination": f"s3://vms/{self.prefix}", "storage": self.server.storage(**(storage or {})), **keys}

    def run_plan(self, plan, **how):
        return self.report(plan, env=self.server.env, **how)

    def fetch(self, key, to="fetched"):
        """The object, by another client."""
        path = self.work / to
        path.write_bytes(self.server.rclone("cat", f"vms/{self.prefix}/{key}"))
        return path

    def assert_same_disk(self, image, raw):
        done = self.qemu_img("compare", image, raw)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_files_go_up_and_stay(self):
        raw = self.disk()
        result = self.run_plan(self.plan(raw, vm="disk", upload=self.upload(storage={"part_size": "5MiB"})))
        self.assertEqual(result["outcome"], "succeeded", result)
        local = self.work / "out/disk/disk-disk-0.qcow2"
        self.assertEqual(self.fetch("disk/disk-disk-0.qcow2").read_bytes(), local.read_bytes())
        self.assertEqual(self.fetch("disk/manifest.json").read_bytes(), (self.work / "out/disk/manifest.json").read_bytes())
        manifest = json.loads((self.work / "out/disk/manifest.json").read_text())
        own = manifest["hyperhost"]["disks"][0]
        self.assertEqual(own["uploaded_to"], f"s3://vms/{self.prefix}/disk/disk-disk-0.qcow2")
        self.assertTrue(own["stored_checksum"].startswith("sha256-parts:"), own)
        events = [e["event_type"] for e in self.audit()]
        self.assertIn("upload_start", events)
        self.assertIn("upload_complete", events)
        self.assertEqual(self.server.unfinished(), {})

    def test_straight_into_the_bucket_with_less_disk_than_the_image(self):
        """OVA to qcow2 in the bucket; the file system that output_dir is on holds 8 MiB."""
        requirement.need(os.geteuid() == 0, "mounting a small file system needs root")
        ova, expect = self.ova()
        small = self.work / "out"
        small.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", small], check=False)
        requirement.need(done.returncode == 0, "no file system can be mounted here")
        self.addCleanup(subprocess.run, ["umount", small], check=True)
        raw = self.disk(capacity=64 * MIB, data=48 * MIB)
        plan = self.plan(raw, vm="disk", upload=self.upload(storage={"part_size": "5MiB"}, keep_local=False))
        dry = self.host("run", "--dry-run", plan, env=self.server.env)
        self.assertIn("written straight into s3", dry.out)
        result = self.run_plan(plan)
        self.assertEqual(result["outcome"], "succeeded", result)
        self.assert_nothing_left()
        self.assert_same_disk(self.fetch("disk/disk-disk-0.qcow2"), raw)
        self.assertIn("manifest.json", self.server.rclone("lsf", f"vms/{self.prefix}/disk/").decode())

    def test_what_is_there_is_not_overwritten(self):
        raw = self.disk()
        plan = self.plan(raw, vm="disk", upload=self.upload(keep_local=False))
        self.run_plan(plan)
        before = self.fetch("disk/disk-disk-0.qcow2").read_bytes()
        cli.sparse_raw(raw, 96 * MIB, 24 * MIB, seed=2)
        done = self.host("run", plan, env=self.server.env, status=None)
        self.assertNotEqual(done.status, cli.OK)
        self.assert_one_clear_error(done, "exists")
        self.assertEqual(self.fetch("disk/disk-disk-0.qcow2").read_bytes(), before)
        document = json.loads(plan.read_text())
        document["upload"]["overwrite"] = True
        plan.write_text(json.dumps(document))
        self.run_plan(plan)
        self.assert_same_disk(self.fetch("disk/disk-disk-0.qcow2"), raw)

    def test_wrong_secret_and_missing_bucket_are_found_before_anything_is_touched(self):
        raw = self.disk()
        plan = self.plan(raw, vm="disk", upload=self.upload())
        done = self.host("run", plan, env={**self.server.env, "TEST_S3_SECRET": "wrong-secret"},
                         status=cli.PREFLIGHT)
        self.assert_one_clear_error(done, "SignatureDoesNotMatch")
        self.assertNotIn("wrong-secret", done.err + done.out)
        self.assert_nothing_left()
        upload = self.upload()
        upload["destination"] = "s3://not-there/x"
        done = self.host("run", self.plan(raw, vm="disk", upload=upload), env=self.server.env, status=cli.PREFLIGHT)
        self.assert_one_clear_error(done, "NoSuchBucket")

    def test_metadata_and_small_objects(self):
        raw = self.disk(capacity=2 * MIB, data=MIB)
        result = self.run_plan(self.plan(raw, vm="disk", upload=self.upload(
            storage={"metadata": {"owner": "finance team"}}), defaults={"target_format": "raw"}))
        self.assertEqual(result["outcome"], "succeeded")
        self.assertEqual(self.fetch("disk/disk-disk-0.raw").read_bytes(), raw.read_bytes())
        listed = json.loads(self.server.rclone("lsjson", f"vms/{self.prefix}/disk/disk-disk-0.raw", "--stat", "--metadata"))
        self.assertEqual(listed["Metadata"]["owner"], "finance team")


if __name__ == "__main__":
    requirement.main()
