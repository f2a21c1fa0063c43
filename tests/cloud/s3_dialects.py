#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Servers that speak S3 in their own way: what other clients accept is accepted, and what proves nothing is not."""

from cloud_case import MIB, cli, requirement
from odd_s3 import OddS3


class Dialects(cli.CliTest):
    def disk(self, capacity=24 * MIB, data=20 * MIB):
        return cli.sparse_raw(self.work / "disk.raw", capacity, data, seed=3)

    def to(self, server, raw, storage=None, **keys):
        upload = {"destination": f"s3://{server.bucket}/here", "storage": server.storage(**(storage or {})),
                  "keep_local": False, **keys}
        return self.plan(raw, vm="disk", defaults={"target_format": "raw", "verify": "none"}, upload=upload)

    def assert_uploaded(self, server, raw):
        self.assertEqual(server.newest("here/disk/disk-disk-0.raw"), raw.read_bytes())
        self.assertEqual(server.uploads, {})
        self.assertEqual(self.host("--output", "json", "cleanup").json["entries"], [])

    def test_a_begun_upload_counts_by_its_id_whatever_the_answer_is_called(self):
        raw = self.disk()
        with OddS3(begin_root="InitiateMultipartUpload") as server:
            self.report(self.to(server, raw))
            self.assert_uploaded(server, raw)
            self.assertEqual(len([r for r in server.requests if r.endswith("?uploads=")]), 1)

    def test_a_composite_checksum_counts_without_the_number_of_its_parts(self):
        raw = self.disk()
        with OddS3(counted=False) as server:
            plan = self.to(server, raw)
            self.report(plan)
            self.assert_uploaded(server, raw)
            del server.objects["here/disk/manifest.json"]  # a rerun takes the object over
            before = server.received
            self.report(plan)
            self.assert_uploaded(server, raw)
            self.assertLess(server.received - before, MIB)

    def test_an_answer_that_is_not_s3_is_asked_for_once(self):
        raw = self.disk()
        with OddS3(not_s3="POST /vms/here/disk/disk-disk-0.raw?uploads") as server:
            done = self.host("run", self.to(server, raw), status=cli.FAILED)
            self.assert_one_clear_error(done, "not what S3 says", "endpoint")
            self.assertEqual(len([r for r in server.requests if r.endswith("?uploads=")]), 1)
        with OddS3(not_s3="GET /vms?list-type=2") as server:
            done = self.host("run", self.to(server, raw), status=cli.PREFLIGHT)
            self.assert_one_clear_error(done, "not what S3 says")
            self.assertEqual(len([r for r in server.requests if "list-type" in r]), 1)

    def test_an_object_that_is_wrong_goes_as_the_version_it_is(self):
        raw = self.disk()
        with OddS3(versions=True, wrong_whole=True) as server:
            key = "here/disk/disk-disk-0.raw"
            server.make(key, b"what was there before", '"x"', "", [])
            done = self.host("run", self.to(server, raw, overwrite=True), status=cli.FAILED)
            self.assert_one_clear_error(done, "not at the server what was sent")
            self.assertEqual([data and data[:30] for _, data, *_ in server.objects[key]], [b"what was there before"])

    def test_bytes_that_are_no_http_are_no_mistake_of_the_plan(self):
        raw = self.disk()
        with OddS3(no_http=1) as server:
            self.report(self.to(server, raw))
            self.assert_uploaded(server, raw)
        with OddS3(no_http=1 << 30) as server:
            done = self.host("run", self.to(server, raw, {"max_attempts": 2}), status=cli.PREFLIGHT)
            self.assert_one_clear_error(done, "is not HTTP")

    def test_zeros_are_sent_once(self):
        raw = cli.sparse_raw(self.work / "disk.raw", 300 * MIB, 8 * MIB, seed=4)
        with OddS3(versions=True) as server:
            plan = self.to(server, raw)
            self.assertIn("its raw image takes", self.host("validate", plan).err)
            self.report(plan)
            self.assert_uploaded(server, raw)
            self.assertLess(server.received, 80 * MIB)
            self.assertEqual([key for key, kept in server.objects.items() if "zeros" in key and kept], [])

    def test_zeros_are_sent_where_the_store_does_not_copy_them(self):
        raw = cli.sparse_raw(self.work / "disk.raw", 32 * MIB, 4 * MIB, seed=4)
        for copies in ("", "CopyObjectResult"):
            with self.subTest(copies), OddS3(copies=copies) as server:
                self.report(self.to(server, raw, overwrite=True))
                self.assert_uploaded(server, raw)

    def test_an_object_of_somebody_else_is_found_before_anything_is_converted(self):
        raw = self.disk()
        with OddS3() as server:
            server.make("here/disk/disk-disk-0.raw", b"theirs", '"x"', "", [])
            done = self.host("run", self.to(server, raw), status=cli.PREFLIGHT)
            self.assert_one_clear_error(done, "target exists", "disk-disk-0.raw")
            self.assertEqual([r for r in server.requests if r.startswith(("PUT", "POST", "DELETE"))], [])


if __name__ == "__main__":
    requirement.main()
