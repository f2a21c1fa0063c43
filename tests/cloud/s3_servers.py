#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Plans that end in a bucket of other S3 servers than s3_upload.py's: what every one of them must show."""

import os
import re
import signal

import cloud_case
from cloud_case import MIB, cli, peers, requirement
from fault_proxy import FaultProxy

PART = r"^PUT .*partNumber="


class EveryServer:
    """The tests themselves."""

    def to_store(self, raw, target="raw", proxy=None, **keys):
        upload = self.upload(keep_local=False, **keys)
        if proxy:
            upload["storage"]["endpoint"] = proxy.url
        return self.plan(raw, vm="disk", defaults={"target_format": target}, upload=upload)

    def assert_uploaded(self, plan, raw, target="raw"):
        image = self.fetch(f"disk/disk-disk-0.{target}")
        if target == "raw":
            self.assertEqual(image.read_bytes(), raw.read_bytes())
        self.assert_same_disk(image, raw)
        self.assertEqual(self.names(), self.delivered(f"disk-disk-0.{target}"))
        self.assert_nothing_left_behind(plan)

    def assert_nothing_left_behind(self, plan):
        self.assertEqual(list(self.server.unfinished()), [])
        self.assertEqual(self.host("--output", "json", "cleanup", plan).json["entries"], [])

    def test_a_full_disk_and_its_rerun(self):
        raw = self.disk(capacity=23 * MIB, data=23 * MIB)
        with FaultProxy(self.server.port) as proxy:
            plan = self.to_store(raw, proxy=proxy)
            self.assertEqual(self.report(plan)["outcome"], "succeeded")
            self.assertEqual(len(proxy.answered(PART)), 5)
            self.assert_uploaded(plan, raw)
            # Killed before its manifest: the object is this very one, and nothing of it is sent again.
            self.server.rclone("deletefile", f"{self.place}/{self.prefix}/disk/manifest.json")
            proxy.requests.clear()
            self.report(plan)
            self.assertEqual(proxy.answered(PART), [])
            self.assert_uploaded(plan, raw)
            # Another disk under its name stays.
            self.server.rclone("deletefile", f"{self.place}/{self.prefix}/disk/manifest.json")
            before = raw.read_bytes()
            cli.sparse_raw(raw, 23 * MIB, 23 * MIB, seed=9)
            done = self.host("run", plan, status=cli.PREFLIGHT)
            self.assert_one_clear_error(done, "target exists", "disk-disk-0.raw")
            self.assertEqual(self.read("disk/disk-disk-0.raw"), before)
            self.assert_nothing_left_behind(plan)

    def test_a_sparse_disk(self):
        raw = self.disk(capacity=64 * MIB, data=6 * MIB)
        for target in ("raw", "qcow2"):
            with self.subTest(target):
                plan = self.to_store(raw, target)
                self.assertEqual(self.report(plan)["outcome"], "succeeded")
                self.assert_uploaded(plan, raw, target)
                self.server.rclone("purge", f"{self.place}/{self.prefix}")

    def test_a_lost_answer_to_the_completion(self):
        raw = self.disk(capacity=16 * MIB, data=16 * MIB)
        with FaultProxy(self.server.port) as proxy:
            proxy.lost_once = r"^POST .*uploadId="
            plan = self.to_store(raw, proxy=proxy)
            self.assertEqual(self.report(plan)["outcome"], "succeeded")
            self.assertIsNone(proxy.lost_once)
        self.assert_uploaded(plan, raw)

    def test_killed_and_resumed(self):
        raw = self.disk(capacity=40 * MIB, data=40 * MIB)
        with FaultProxy(self.server.port) as proxy:
            plan = self.to_store(raw, proxy=proxy, storage={"concurrency": 2}, bandwidth_limit="12MB")
            running = self.start("run", plan)
            running.wait_for(lambda: len(proxy.answered(PART)) >= 3, "3 parts", timeout=240)
            os.kill(running.process.pid, signal.SIGKILL)
            running.process.wait()
            there = set(self.parts(proxy))
            self.assertEqual(self.names(), [], "nothing is visible")
            proxy.requests.clear()
            plan = self.to_store(raw, proxy=proxy)
            self.assertEqual(self.report(plan)["outcome"], "succeeded")
            again = set(self.parts(proxy))
            self.assertEqual(there & again, set(), "parts that were there were sent again")
            self.assertGreater(len(again), 2)
        self.assert_uploaded(plan, raw)

    def test_killed_and_cleaned_up(self):
        raw = self.disk(capacity=40 * MIB, data=40 * MIB)
        with FaultProxy(self.server.port) as proxy:
            plan = self.to_store(raw, proxy=proxy, storage={"concurrency": 2}, bandwidth_limit="8MB")
            running = self.start("run", plan)
            running.wait_for(lambda: len(proxy.answered(PART)) >= 2, "2 parts", timeout=240)
            os.kill(running.process.pid, signal.SIGKILL)
            running.process.wait()
            self.assertNotEqual(list(self.server.unfinished()), [], "what the next assertion looks for")
            self.assertEqual(self.host("--output", "json", "cleanup", plan).json["open"], 0)
        self.assert_nothing_left_behind(plan)
        self.assertEqual(self.names(), [])

    def parts(self, proxy):
        return [int(re.search(r"partNumber=(\d+)", target)[1]) for target in proxy.answered(PART)]


class OnGofakes3(cloud_case.CloudTest, EveryServer):
    scheme, plugin = "s3", "s3"

    @classmethod
    def start_server(cls, work):
        return peers.Gofakes3(work)


class OnMoto(cloud_case.CloudTest, EveryServer):
    scheme, plugin = "s3", "s3"

    @classmethod
    def start_server(cls, work):
        return peers.MotoServer(work)


if __name__ == "__main__":
    requirement.main()
