# SPDX-License-Identifier: Apache-2.0
"""What every object store must show, driven through `hyperhost run`: mixed into each store's own
tests, which say how its server is started and how another client reads an object."""

import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import hyperhost_cli as cli  # noqa: E402
import peers  # noqa: E402
import requirement  # noqa: E402, F401
from ova_factory import Package, write_tar  # noqa: E402
from vmdk_writer import Content  # noqa: E402

MIB = 1 << 20


class CloudTest(cli.CliTest):
    scheme, plugin, place = None, None, "vms"
    longest_file = None  # that the program may write

    @classmethod
    def start_server(cls, work):
        raise NotImplementedError

    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory(prefix="hyperhost-cloud-")
        cls.addClassCleanup(directory.cleanup)
        cls.server = cls.start_server(directory.name)
        cls.addClassCleanup(cls.server.stop)

    def setUp(self):
        super().setUp()
        self.prefix = self.id().rpartition(".")[2].replace("_", "-")[:40]

    def start(self, *arguments, env=None):
        clean = {name: "" for name in os.environ if name.startswith(("AWS_", "AZURE_", "GOOGLE_"))}
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.longest_file or soft, hard))
        try:
            return super().start(*arguments, env={**clean, "HOME": str(self.work), **self.server.env, **(env or {})})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    def host(self, *arguments, timeout=240, **how):
        return super().host(*arguments, timeout=timeout, **how)

    def disk(self, name="disk.raw", capacity=96 * MIB, data=48 * MIB, seed=1):
        (self.work / "in").mkdir(exist_ok=True)
        return cli.sparse_raw(self.work / "in" / name, capacity, data, seed=seed)

    def upload(self, storage=None, **keys):
        return {"destination": f"{self.scheme}://{self.place}/{self.prefix}",
                "storage": self.server.storage(**{"part_size": "5MiB", **(storage or {})}), **keys}

    def location(self, key):
        return f"{self.scheme}://{self.place}/{self.prefix}/{key}"

    def read(self, key):
        """The object's bytes, by another client."""
        return self.server.rclone("cat", f"{self.place}/{self.prefix}/{key}")

    def names(self):
        """All objects below this test's prefix, by another client."""
        try:
            return sorted(self.server.rclone("lsf", f"{self.place}/{self.prefix}", "-R", "--files-only").decode().split())
        except AssertionError:  # no such directory
            return []

    @staticmethod
    def delivered(*disks):
        """The names of a VM that is there."""
        return sorted(f"disk/{name}" for name in [*disks, "manifest.json", *cli.RENDERED])

    def fetch(self, key, to="fetched"):
        path = self.work / to
        path.write_bytes(self.read(key))
        return path

    def assert_same_disk(self, image, raw):
        done = self.qemu_img("compare", image, raw)
        self.assertEqual(done.returncode, 0, done.stdout)

    def small_output(self, name="out"):
        """A directory for output_dir on a file system of 8 MiB; where none can be mounted, no file that
        the program writes may be longer."""
        small = self.work / name
        small.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", small], check=False,
                              stderr=subprocess.DEVNULL)
        if done.returncode == 0:
            self.addCleanup(subprocess.run, ["umount", small], check=True)
        else:
            self.longest_file = 8 * MIB
        return small


class EveryStore:
    """The tests themselves."""

    def test_files_go_up_and_stay(self):
        raw = self.disk()
        result = self.report(self.plan(raw, vm="disk", upload=self.upload()))
        self.assertEqual(result["outcome"], "succeeded", result)
        local = self.work / "out/disk/disk-disk-0.qcow2"
        self.assertEqual(self.read("disk/disk-disk-0.qcow2"), local.read_bytes())
        self.assertEqual(self.read("disk/manifest.json"), (self.work / "out/disk/manifest.json").read_bytes())
        own = json.loads((self.work / "out/disk/manifest.json").read_text())["hyperhost"]["disks"][0]
        self.assertEqual(own["uploaded_to"], self.location("disk/disk-disk-0.qcow2"))
        self.assertTrue(own["stored_checksum"], own)
        events = [e["event_type"] for e in self.audit()]
        self.assertIn("upload_start", events)
        self.assertIn("upload_complete", events)
        self.assertEqual(self.names(), self.delivered("disk-disk-0.qcow2"))
        self.assert_nothing_unfinished()

    def test_straight_into_the_store_with_less_disk_than_the_image(self):
        """The file system that output_dir is on holds 8 MiB; the verified image is in the store alone."""
        self.small_output()
        raw = self.disk(capacity=64 * MIB, data=48 * MIB)
        for target in ("qcow2", "raw"):
            with self.subTest(target):
                plan = self.plan(raw, vm="disk", defaults={"target_format": target},
                                 upload=self.upload(keep_local=False))
                dry = self.host("run", "--dry-run", plan)
                self.assertIn(f"written straight into {self.plugin}", dry.out)
                result = self.report(plan)
                self.assertEqual(result["outcome"], "succeeded", result)
                self.assert_nothing_left()
                image = self.fetch(f"disk/disk-disk-0.{target}")
                if target == "raw":
                    self.assertEqual(image.read_bytes(), raw.read_bytes())
                self.qemu_img("check", image)
                self.assert_same_disk(image, raw)
                manifest = json.loads(self.read("disk/manifest.json"))
                self.assertEqual(manifest["hyperhost"]["disks"][0]["content_digest"], cli.content_digest(raw))
                self.server.rclone("purge", f"{self.place}/{self.prefix}")
        self.assert_nothing_unfinished()

    def test_a_package_into_the_store_where_nothing_local_holds_its_disk(self):
        """OVA to qcow2: results, temporary files, state and home share 8 MiB."""
        content = Content.sample(64 * MIB, 5, 0.9)
        raw = self.work / "content.raw"
        with open(raw, "wb") as out:
            out.truncate(content.capacity)
            for offset, data in content.extents:
                out.seek(offset)
                out.write(data)
        package = Package("packed")
        package.add_disk(content)
        write_tar(self.work / "packed.ova", package.members())
        small = self.small_output(name="local")
        (small / "tmp").mkdir()
        plan = self.plan(self.work / "packed.ova", vm="packed", output_dir="local/out",
                         upload=self.upload(keep_local=False))
        result = self.report(plan, env={"HOME": str(small), "TMPDIR": str(small / "tmp"),
                                        "HYPERHOST_STATE_DIR": str(small / "state")})
        self.assertEqual(result["outcome"], "succeeded", result)
        self.assert_nothing_left("local/out")
        self.assertEqual(list((small / "tmp").iterdir()), [])
        key = next(name for name in self.names() if name.endswith(".qcow2"))
        image = self.fetch(key)
        self.assertGreater(image.stat().st_size, 24 * MIB)
        self.assert_same_disk(image, raw)
        self.assert_nothing_unfinished()

    def test_what_is_there_is_not_overwritten(self):
        raw = self.disk()
        plan = self.plan(raw, vm="disk", upload=self.upload(keep_local=False))
        self.report(plan)
        before = self.read("disk/disk-disk-0.qcow2")
        cli.sparse_raw(raw, 96 * MIB, 24 * MIB, seed=2)
        done = self.host("run", plan, status=None)
        self.assertNotEqual(done.status, cli.OK)
        self.assert_one_clear_error(done, "exists")
        self.assertEqual(self.read("disk/disk-disk-0.qcow2"), before)
        document = json.loads(plan.read_text())
        document["upload"]["overwrite"] = True
        plan.write_text(json.dumps(document))
        self.report(plan)
        self.assert_same_disk(self.fetch("disk/disk-disk-0.qcow2"), raw)

    def test_small_objects_and_metadata(self):
        raw = self.disk(capacity=2 * MIB, data=MIB)
        result = self.report(self.plan(raw, vm="disk", defaults={"target_format": "raw"},
                                       upload=self.upload(storage={"metadata": {"owner": "finance team"}})))
        self.assertEqual(result["outcome"], "succeeded")
        self.assertEqual(self.read("disk/disk-disk-0.raw"), raw.read_bytes())
        self.assertEqual(self.server.metadata(f"{self.place}/{self.prefix}/disk/disk-disk-0.raw")["owner"], "finance team")

    def test_a_place_that_is_not_there_is_found_before_anything_is_touched(self):
        raw = self.disk(capacity=2 * MIB, data=MIB)
        upload = self.upload()
        upload["destination"] = f"{self.scheme}://not-there/x"
        done = self.host("run", self.plan(raw, vm="disk", upload=upload), status=cli.PREFLIGHT)
        self.assert_one_clear_error(done, "not-there")
        self.assert_nothing_left()
