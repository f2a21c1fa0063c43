#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How fast an upload goes and who may say so, how much memory it takes, what is left on this
machine, and URLs for others."""

import json
import pathlib
import re
import time
import urllib.error
import urllib.request

import cloud_case
from cloud_case import MIB, cli, peers, requirement

TOKEN = "progress-token"


class LimitsAndLinks(cloud_case.CloudTest):
    scheme, plugin = "s3", "s3"

    @classmethod
    def start_server(cls, work):
        return peers.S3Server(work)

    def raw_plan(self, raw, vm="disk", **keys):
        return self.plan(raw, vm=vm, defaults={"target_format": "raw", "verify": "none"}, **keys)

    def test_a_limit_for_each_vm_and_one_for_all(self):
        raw = self.disk(capacity=16 * MIB, data=16 * MIB)
        seconds = {}
        for name, keys in {"vm": {"upload": self.upload(bandwidth_limit="8MB", overwrite=True)},
                           "all": {"upload": self.upload(overwrite=True), "batch": {"bandwidth_limit": "8MB"}}}.items():
            result = self.report(self.raw_plan(raw, output_dir=name, **keys))
            seconds[name] = result["upload_seconds"]
        for name, taken in seconds.items():  # 16 MiB at 8 MB/s: 2.1 s
            with self.subTest(name):
                self.assertGreater(taken, 1.7)

    def request(self, url, method="GET", token=TOKEN):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method=method, headers=headers), timeout=10) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def test_the_limit_is_changed_over_the_progress_api_with_its_token(self):
        raw = self.disk(capacity=96 * MIB, data=96 * MIB)  # 400 s at the first limit, 20 s for a part
        (self.work / "token").write_text(TOKEN)
        port = peers.free_port()
        observability = {"audit_log": {"path": "audit/audit.log"},
                         "progress_api": {"listen": f"127.0.0.1:{port}", "token": {"file": "token"}}}
        running = self.start("run", self.raw_plan(raw, observability=observability,
                                                  upload=self.upload({"concurrency": 1}, bandwidth_limit="250KB")))
        api = f"http://127.0.0.1:{port}/api/v1"

        def uploading():
            try:
                tasks = self.request(f"{api}/progress")[1]["tasks"]
            except OSError:
                return None
            return next((t for t in tasks if t.get("upload_progress", {}).get("bytes_done", 0) > 0), None)
        task = running.wait_for(uploading, "acknowledged bytes in upload_progress", timeout=240)
        self.assertEqual(task["status"], "uploading")
        self.assertEqual(task["upload_progress"]["bytes_total"], 96 * MIB)
        self.assertLess(task["upload_progress"]["bytes_done"], 96 * MIB)
        own = f"{api}/bandwidth/{task['task_id']}"
        self.assertEqual(self.request(f"{api}/bandwidth")[1], {"limit": 0, "tasks": {task["task_id"]: 250_000}})
        self.assertEqual(self.request(own + "?limit=0", "PUT", token=None)[0], 401)
        self.assertEqual(self.request(own + "?limit=fast", "PUT")[0], 400)
        self.assertEqual(self.request(f"{api}/bandwidth/nobody?limit=0", "PUT")[0], 404)
        self.assertEqual(self.request(f"{api}/progress?limit=0", "PUT")[0], 405)
        self.assertEqual(self.request(own + "?limit=0", "PUT"), (200, {"task_id": task["task_id"], "limit": 0}))
        done = running.finish(240)
        self.assertEqual(done.status, cli.OK, done)
        change = next(e for e in self.audit() if e["event_type"] == "config_change" and "changes" in e)
        self.assertEqual(change["changes"], {"bandwidth_limit": "250000 -> 0"})
        self.assertEqual(self.read("disk/disk-disk-0.raw"), raw.read_bytes())

    def test_without_a_token_nothing_can_be_changed(self):
        raw = self.disk(capacity=8 * MIB, data=8 * MIB)
        port = peers.free_port()
        running = self.start("run", self.raw_plan(raw, upload=self.upload(bandwidth_limit="1MB"),
                                                  observability={"progress_api": f"127.0.0.1:{port}"}))

        def answered():
            try:
                return self.request(f"http://127.0.0.1:{port}/api/v1/bandwidth?limit=0", "PUT", token=None)
            except OSError:
                return None
        status, problem = running.wait_for(answered, "the progress API", timeout=240)
        self.assertEqual(status, 403)
        self.assertIn("token", problem["detail"])
        self.assertEqual(running.finish(240).status, cli.OK)

    def test_urls_for_others(self):
        raw = self.disk(capacity=8 * MIB, data=6 * MIB)
        done = self.host("--output", "json", "run", self.raw_plan(raw, upload=self.upload(presign="1h", keep_local=False)))
        result = done.json["results"][0]
        self.assertEqual(peers.http_get(result["disks"][0]["url"]), raw.read_bytes())
        manifest = peers.http_get(result["manifest_url"])
        self.assertNotIn(b"X-Amz-Signature", manifest)
        self.assertNotIn("X-Amz-Signature", done.err)
        self.assertNotIn("X-Amz-Signature", (self.work / "audit/audit.log").read_text())
        with self.assertRaises(urllib.error.HTTPError):
            peers.http_get(result["disks"][0]["url"].replace("Signature=", "Signature=0"))
        done = self.host("run", self.raw_plan(raw, upload=self.upload(presign="8d")), status=cli.USAGE)
        self.assert_one_clear_error(done, "7 days")

    def test_local_files_go_only_after_the_remote_ones_are_verified(self):
        """qemu-img cannot write into a store: its files are made here, uploaded, checked, removed."""
        raw = self.disk(capacity=32 * MIB, data=16 * MIB)
        result = self.report(self.plan(raw, vm="disk", converter={"plugin": "qemu-img"}, upload=self.upload(keep_local=False)))
        self.assertEqual(result["outcome"], "succeeded")
        self.assert_nothing_left()
        self.assert_same_disk(self.fetch("disk/disk-disk-0.qcow2"), raw)

    def test_memory_is_bounded_by_the_parts_on_their_way(self):
        if cli.SANITIZED:
            self.skipTest("a sanitizer's memory is not the program's: run with an unsanitized build")
        raw = self.disk(capacity=320 * MIB, data=256 * MIB)
        for parallel, part, ways in ((4, 16, (False, True)), (8, 8, (False,))):
            for keep_local in ways:
                with self.subTest(parallel=parallel, part=part, keep_local=keep_local):
                    storage = {"part_size": f"{part}MiB", "concurrency": parallel}
                    upload = self.upload(storage=storage, keep_local=keep_local, overwrite=True)
                    running = self.start("run", self.plan(raw, vm="disk", upload=upload, defaults={"overwrite": True}))
                    status, peak = pathlib.Path(f"/proc/{running.process.pid}/status"), 0
                    while running.process.poll() is None:
                        try:
                            found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
                        except OSError:
                            continue
                        peak = max(peak, int(found[1]) * 1024) if found else peak
                        time.sleep(0.01)
                    self.assertEqual(running.finish(240).status, cli.OK)
                    self.assertGreater(peak, part * MIB)
                    self.assertLess(peak, parallel * part * MIB + 64 * MIB)


if __name__ == "__main__":
    requirement.main()
