#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Uploads through a line that fails, and uploads that are killed: what arrives is what was sent or
nothing, what is there is not sent again, and nothing is left over."""

import os
import re
import signal

import cloud_case
from cloud_case import MIB, cli, peers, requirement
from fault_proxy import FaultProxy, Faults

LONG = os.environ.get("HYPERHOST_LONG") == "1"
IMAGE = (1024 if LONG else 120) * MIB


class OnAStore:
    """For each store: the classes below say which, and how its part requests look."""
    part_request = None
    last_request = None  # the one that gives the object its name

    def assert_nothing_unfinished(self):
        raise NotImplementedError

    def through(self, proxy, **storage):
        """An upload whose requests pass the proxy."""
        upload = self.upload(storage=storage, keep_local=False)
        upload["storage"]["endpoint"] = upload["storage"]["endpoint"].replace(self.server.url, proxy.url)
        return upload

    def test_a_bad_line_ends_identical_or_in_a_clear_failure(self):
        outcomes, injected = [], 0
        for seed in range(8):
            if not LONG and injected and cli.OK in outcomes:
                break
            with self.subTest(seed=seed):
                self.prefix = f"bad-line-{seed}"
                faults = Faults(seed=seed, reset=0.05, busy=0.07, slow=0.05, corrupt=0.05, lost=0.05, cut=0.04)
                raw = self.disk(capacity=64 * MIB, data=40 * MIB, seed=seed)
                with FaultProxy(self.server.port, faults) as proxy:
                    plan = self.plan(raw, vm="disk", defaults={"verify": "none"}, upload=self.through(proxy))
                    done = self.host("run", plan, status=None)
                    injected += len(proxy.injected)
                if done.status == cli.OK:
                    self.assert_same_disk(self.fetch("disk/disk-disk-0.qcow2"), raw)
                    self.assert_nothing_unfinished()
                else:
                    self.assertTrue(done.errors(), done)
                    for name in self.names():
                        if name.endswith(".qcow2"):
                            self.assert_same_disk(self.fetch(name), raw)
                outcomes.append(done.status)
        self.assertGreater(injected, 0)
        self.assertIn(cli.OK, outcomes, "no run at all got through")

    def test_killed_in_the_middle_only_the_missing_parts_are_sent(self):
        raw = self.disk(capacity=IMAGE if LONG else 2 * IMAGE, data=IMAGE)
        half = IMAGE // (2 * 5 * MIB)  # parts
        with FaultProxy(self.server.port) as proxy:
            upload = self.through(proxy, concurrency=2)
            plan = self.plan(raw, vm="disk", defaults={"target_format": "raw" if LONG else "qcow2"},
                             upload={**upload, "bandwidth_limit": "30MB"})
            running = self.start("run", plan)
            running.wait_for(lambda: len(proxy.answered(self.part_request)) >= half, "half of it", timeout=240)
            os.kill(running.process.pid, signal.SIGKILL)
            running.process.wait()
            there = set(self.parts(proxy))
            self.assertEqual([n for n in self.names() if "hyperhost-part" not in n], [], "nothing is visible")
            proxy.requests.clear()
            plan = self.plan(raw, vm="disk", defaults={"target_format": "raw" if LONG else "qcow2"}, upload=upload)
            result = self.report(plan)
            self.assertEqual(result["outcome"], "succeeded")
            again = set(self.parts(proxy))
            if LONG:
                print(f"{self.scheme}: killed at {len(there)} parts; {len(again)} more were sent")
            self.assertEqual(there & again, set(), "parts that were there were sent again")
            self.assertGreaterEqual(len(there), half)
            self.assertGreater(len(again), 2)
        self.assert_same_disk(self.fetch(f"disk/disk-disk-0.{'raw' if LONG else 'qcow2'}"), raw)
        self.assert_nothing_unfinished()
        self.assertEqual(self.host("--output", "json", "cleanup", plan).json["entries"], [])

    def test_killed_between_its_last_disk_and_its_manifest_nothing_is_sent_again(self):
        raw = self.disk(capacity=24 * MIB, data=20 * MIB)
        with FaultProxy(self.server.port) as proxy:
            plan = self.plan(raw, vm="disk", upload=self.through(proxy))
            self.report(plan)
            before = self.read("disk/disk-disk-0.qcow2")
            self.server.rclone("deletefile", f"{self.place}/{self.prefix}/disk/manifest.json")
            proxy.requests.clear()
            self.report(plan)
            self.assertEqual(self.parts(proxy), [])
            self.assertEqual(self.names(), self.delivered("disk-disk-0.qcow2"))
            # Another disk under that name is nobody's to replace or to remove.
            self.server.rclone("deletefile", f"{self.place}/{self.prefix}/disk/manifest.json")
            cli.sparse_raw(raw, 24 * MIB, 20 * MIB, seed=9)
            proxy.requests.clear()
            done = self.host("run", plan, status=cli.PREFLIGHT)
            self.assert_one_clear_error(done, "target exists", "disk-disk-0.qcow2")
            self.assertEqual(self.parts(proxy), [])
        self.assertEqual(self.read("disk/disk-disk-0.qcow2"), before)
        self.assert_nothing_unfinished()

    def test_killed_before_it_knew_that_its_object_is_whole_its_entry_is_closed(self):
        """The server has completed the upload, and the kill comes before its answer."""
        raw = self.disk(capacity=24 * MIB, data=20 * MIB)
        with FaultProxy(self.server.port, held=self.last_request) as proxy:
            plan = self.plan(raw, vm="disk", defaults={"target_format": "raw"}, upload=self.through(proxy))
            running = self.start("run", plan)
            running.wait_for(proxy.held_one.is_set, "the upload's last request", timeout=240)
            os.kill(running.process.pid, signal.SIGKILL)
            running.process.wait()
            proxy.held = None
            self.assertEqual(self.report(plan)["outcome"], "succeeded")
        self.assert_nothing_unfinished()
        self.assertEqual(self.host("--output", "json", "cleanup", plan).json["entries"], [])

    def test_killed_and_cleaned_up(self):
        raw = self.disk()
        with FaultProxy(self.server.port) as proxy:
            plan = self.plan(raw, vm="disk", upload={**self.through(proxy, concurrency=2), "bandwidth_limit": "6MB"})
            running = self.start("run", plan)
            running.wait_for(lambda: len(proxy.answered(self.part_request)) >= 2, "2 parts", timeout=240)
            os.kill(running.process.pid, signal.SIGKILL)
            running.process.wait()
            cleaned = self.host("--output", "json", "cleanup", plan).json
            self.assertIn("upload", [e["kind"] for e in cleaned["entries"]])
            self.assertEqual(cleaned["open"], 0, cleaned)
        self.assert_nothing_unfinished()
        self.assertEqual(self.names(), [])

    def test_interrupted_it_leaves_nothing(self):
        raw = self.disk()
        with FaultProxy(self.server.port) as proxy:
            plan = self.plan(raw, vm="disk", upload={**self.through(proxy, concurrency=2), "bandwidth_limit": "6MB"})
            running = self.start("run", plan)
            running.wait_for(lambda: len(proxy.answered(self.part_request)) >= 1, "a part", timeout=240)
            running.process.send_signal(signal.SIGINT)
            done = running.finish(240)
            self.assertEqual(done.status, cli.INTERRUPTED, done)
        self.assert_nothing_unfinished()
        self.assertEqual(self.names(), [])
        self.assertEqual(self.host("--output", "json", "cleanup", plan).json["entries"], [])


class S3(cloud_case.CloudTest, OnAStore):
    scheme, plugin = "s3", "s3"
    part_request = r"^PUT .*partNumber="
    last_request = r"^POST .*uploadId="

    @classmethod
    def start_server(cls, work):
        return peers.S3Server(work)

    def parts(self, proxy):
        return [int(re.search(r"partNumber=(\d+)", target)[1]) for target in proxy.answered(self.part_request)]

    def assert_nothing_unfinished(self):
        self.assertEqual(self.server.unfinished(), {})


class Azure(cloud_case.CloudTest, OnAStore):
    scheme, plugin = "azure", "azure-blob"
    part_request = r"^PUT .*comp=block&"
    last_request = r"^PUT .*comp=blocklist"

    @classmethod
    def start_server(cls, work):
        return peers.AzureServer(work)

    def parts(self, proxy):
        return [re.search(r"blockid=([^&]+)", target)[1] for target in proxy.answered(self.part_request)]

    def assert_nothing_unfinished(self):
        listed = self.server.ask("GET", self.place, {"restype": "container", "comp": "list", "include": "uncommittedblobs"})
        self.assertEqual(listed.count(f"<Name>{self.prefix}/"), len(self.names()))


class Gcs(cloud_case.CloudTest, OnAStore):
    scheme, plugin = "gs", "gcs"
    part_request = r"^PUT .*hyperhost-part"
    last_request = r"^POST .*/compose"

    @classmethod
    def start_server(cls, work):
        return peers.GcsServer(work)

    def parts(self, proxy):
        return [re.search(r"hyperhost-part(?:%2F|/)(\d+)", target)[1] for target in proxy.answered(self.part_request)]

    def assert_nothing_unfinished(self):
        self.assertNotIn("hyperhost-part", self.server.ask(f"/storage/v1/b/{self.place}/o"))


if __name__ == "__main__":
    requirement.main()
