#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Formats and destinations that a third party's plugin brings: in convert, compare, verify and plans."""

import json
import random
import struct

from hyperhost_cli import FAILED, MIB, OK, PREFLIGHT, TEST_PLUGINS, USAGE, CliTest, content_digest
import requirement

MAGIC = b"ACMEIMG\0"


class ThirdParty(CliTest):
    def setUp(self):
        super().setUp()
        requirement.need((TEST_PLUGINS / "acme.so").exists(), f"{TEST_PLUGINS} has no acme.so")
        self.disk = random.Random(3).randbytes(2 * MIB) + bytes(3 * MIB) + random.Random(4).randbytes(MIB)
        self.raw = self.work / "truth.raw"
        self.raw.write_bytes(self.disk)
        self.digest = content_digest(self.raw)
        self.acme = self.write("web.acme")

    def write(self, name, disk=None):
        disk = self.disk if disk is None else disk
        path = self.work / name
        path.write_bytes(MAGIC + struct.pack("<Q", len(disk)) + disk)
        return path

    def with_acme(self, *arguments, **how):
        return self.host("--plugin-dir", TEST_PLUGINS, *arguments, **how)

    def copy_of(self, name, *changes):
        """acme.so with other bytes of the same length in its manifest, in a directory of its own."""
        data = (TEST_PLUGINS / "acme.so").read_bytes()
        for old, new in changes:
            self.assertEqual(len(old), len(new))
            self.assertIn(old, data)
            data = data.replace(old, new)
        directory = self.work / name
        directory.mkdir()
        (directory / f"{name}.so").write_bytes(data)
        return directory

    # --- an image reader

    def test_convert_reads_the_guest_s_bytes_and_not_the_container_s(self):
        for source in (self.acme, self.write("no extension"), self.write("lies.raw"), self.write("more lies.img")):
            with self.subTest(source=source.name):
                for converter in ("parallel-disk", "qemu-img"):
                    if converter == "qemu-img":
                        requirement.tool("qemu-img", "qemu-utils")
                    out = self.work / f"{converter}-{source.stem}.out.raw"
                    made = self.with_acme("--output", "json", "convert", source, out, "--converter", converter,
                                          "--verify", "target").json
                    self.assertEqual(out.read_bytes(), self.disk)
                    self.assertEqual((made["source_format"], made["content_digest"]), ("acme", self.digest))

    def test_convert_writes_it_where_the_name_says_so(self):
        out = self.work / "new.acme"
        made = self.with_acme("--output", "json", "convert", self.raw, out, "--verify", "target").json
        self.assertEqual(out.read_bytes(), self.acme.read_bytes())
        self.assertEqual((made["format"], made["verified_by"]), ("acme", "acme"))
        self.with_acme("convert", self.raw, "other.name", "--format", "acme-1")
        self.assertEqual((self.work / "other.name").read_bytes(), self.acme.read_bytes())
        done = self.with_acme("convert", self.raw, "x.raw", "--format", "acne", status=USAGE)
        self.assert_one_clear_error(done, "no plugin here writes the format 'acne'", "did you mean 'acme'")
        done = self.host("convert", self.raw, "x.acme", status=USAGE)
        self.assert_one_clear_error(done, "not clear from its name", "qcow2, raw, vdi")

    def test_convert_from_qcow2_to_it_is_one_command(self):
        self.with_acme("convert", self.raw, "truth.qcow2", "--compression", "zlib")
        self.with_acme("convert", "truth.qcow2", "again.acme", "--verify", "target")
        self.assertEqual((self.work / "again.acme").read_bytes(), self.acme.read_bytes())

    def test_compare_reads_it(self):
        self.assertEqual(self.with_acme("compare", self.acme, self.raw).out, "identical\n")
        other = bytearray(self.disk)
        other[MIB + 7] ^= 1
        done = self.with_acme("compare", self.write("other.acme", bytes(other)), self.raw, status=None)
        self.assertIn(f"guest byte {MIB + 7}", done.out)

    def test_verify_reads_it(self):
        self.assertIn(self.digest, self.with_acme("verify", self.acme).out)
        done = self.with_acme("verify", self.acme, "--reader", "parallel-disk", status=None)
        self.assertEqual(done.status, FAILED, done)

    def test_a_damaged_one_is_an_error_and_no_raw_disk(self):
        (self.work / "cut.acme").write_bytes(self.acme.read_bytes()[:MIB])
        done = self.with_acme("convert", "cut.acme", "cut.raw", status=FAILED)
        self.assert_one_clear_error(done, "ends before its disk does")
        self.assertFalse((self.work / "cut.raw").exists())

    def test_a_reader_that_does_not_start_is_an_error_and_no_raw_disk(self):
        broken = self.copy_of("broken", (b"hyper_plugin_entry_v1", b"hyper_plugin_entry_v0"))
        done = self.host("--plugin-dir", broken, "convert", self.acme, "x.raw", status=FAILED)
        self.assert_one_clear_error(done, "the reader of this image does not start")
        self.assertFalse((self.work / "x.raw").exists())

    # --- in plans

    def test_a_plan_from_it_and_to_it(self):
        for vm, source, target in (("web", self.acme, "raw"), ("truth", self.raw, "acme")):
            with self.subTest(target=target):
                plan = self.plan(source, vm=vm, plugin_dirs=[str(TEST_PLUGINS)], converter=None, defaults={"target_format": target})
                document = json.loads(plan.read_text())
                del document["converter"]
                plan.write_text(json.dumps(document))
                self.host("validate", plan)
                result = self.report(plan)
                self.assertTrue(result["success"], result)
                out = self.work / f"out/{vm}/{vm}-disk-0.{target}"
                self.assertEqual(out.read_bytes(), self.disk if target == "raw" else self.acme.read_bytes())
                manifest = out.parent / "manifest.json"
                self.assertEqual(json.loads(manifest.read_text())["disks"][0]["source_format"], target)
                self.assertIn("verified", self.with_acme("verify", manifest).out)
                if target == "acme":
                    done = self.host("verify", manifest, status=FAILED)
                    self.assert_one_clear_error(done, "'acme' is a format of no plugin here")

    def test_an_unknown_format_in_a_plan_is_one_error_that_lists_the_known(self):
        plan = self.plan(self.raw, vm="truth", plugin_dirs=[str(TEST_PLUGINS)], defaults={"target_format": "acne"},
                         migrations=[{"vm": "truth", "provider": "shelf"},
                                     {"vm": "truth", "provider": "shelf", "output_name": "b", "id": "b"}])
        done = self.host("validate", plan, status=USAGE)
        self.assertEqual(len(done.errors()), 1, done)
        self.assert_one_clear_error(done, "/defaults/target_format", "acme, qcow2, raw", "did you mean 'acme'")
        self.assertRegex(done.errors()[0], r"plan\.yaml:\d+:\d+")
        plan = self.plan(self.raw, vm="truth", plugin_dirs=[str(TEST_PLUGINS)], defaults={"target_format": "acme"})
        self.assert_one_clear_error(self.host("validate", plan, status=USAGE), "converter 'parallel-disk' does not write acme",
                                    "converters that do: acme")

    # --- destinations

    def upload(self, destination, storage=None, dirs=(TEST_PLUGINS,), **more):
        spec = {"destination": destination, **({"storage": storage} if storage else {})}
        return self.plan(self.raw, vm="truth", plugin_dirs=[str(d) for d in dirs], upload=spec,
                         defaults={"target_format": "raw", "overwrite": True}, **more)

    def test_the_path_of_a_foreign_scheme_is_where_it_goes(self):
        for folder in ("one", "two/deep"):
            self.assertTrue(self.report(self.upload(f"acmefs://vms/{folder}", {"root": str(self.work)}))["success"])
            self.assertEqual((self.work / f"vms/{folder}/truth/truth-disk-0.raw").read_bytes(), self.disk)

    def test_parts_that_the_storage_does_not_take(self):
        for destination, word in (("acmed://vms/folder", "has a path, 'folder'"), ("acmefs://vms:80/x", "has a port"),
                                  ("acmefs://vms/x?versions=1", "query"), ("acmefs://vms/x#y", "fragment"),
                                  ("acmefs://me:hunter2@vms/x", "user or password"), ("acme://vms", "no plugin stores to acme://"),
                                  ("file://host/x", "absolute path")):
            with self.subTest(destination=destination):
                done = self.host("validate", self.upload(destination), status=USAGE)
                self.assert_one_clear_error(done, word, "/upload/destination")
                self.assertRegex(done.errors()[0], r"plan\.yaml:\d+:\d+")
                self.assertNotIn("hunter2", done.err)

    def test_two_plugins_that_claim_one_scheme(self):
        other = self.copy_of("acne", (b'"id": "acme"', b'"id": "acne"'))
        done = self.host("validate", self.upload("acmefs://vms/x", {"root": str(self.work)}, (TEST_PLUGINS, other)), status=USAGE)
        self.assert_one_clear_error(done, "acmefs:// is claimed by the plugins 'acme' and 'acne'", "storage: {plugin: acme}")
        pinned = self.upload("acmefs://vms/x", {"plugin": "acme", "root": str(self.work)}, (TEST_PLUGINS, other))
        self.assertTrue(self.report(pinned)["success"])

    def test_a_foreign_plugin_that_claims_directories_takes_none_over(self):
        thief = self.copy_of("thief", (b'"id": "acme"', b'"id": "acne"'), (b'"scheme": "acmefs"', b'"scheme":   "file"'),
                             (b'"form": "acmefs://SHARE/FOLDER"', b'"form": "file:///SHARE/FOLDERS"'.ljust(31)[:31]))
        plan = self.plan(self.raw, vm="truth", plugin_dirs=[str(thief)], defaults={"target_format": "raw"})
        done = self.host("run", plan, status=None)
        self.assertIn(done.status, (FAILED, PREFLIGHT), done)
        self.assert_one_clear_error(done, "file:// is claimed by the plugins 'acne' and 'local'")
        (self.work / "hyperhost.yaml").write_text('{"version": 1, "storage": {"file": {"plugin": "local"}}}')
        done = self.host("run", plan, env={"HYPERHOST_CONFIG": str(self.work / "hyperhost.yaml")})
        self.assertEqual((self.work / "out/truth/truth-disk-0.raw").read_bytes(), self.disk)

    # --- what is shown

    def test_plugins_list_and_info_show_them(self):
        text = self.with_acme("plugins", "list").out
        self.assertRegex(text, r"acme +\.acme +acme +acme")
        self.assertRegex(text, r"vdi +\.vdi +parallel-disk, qemu-img +qemu-img")
        self.assertRegex(text, r"acmefs://SHARE/FOLDER +acme")
        self.assertRegex(text, r"file:///DIRECTORY +local")
        info = self.with_acme("plugins", "info", "acme").out
        self.assertIn("reads: acme\nwrites: acme\nstores to: acmefs://SHARE/FOLDER, acmed://HOST:PORT\n", info)


if __name__ == "__main__":
    requirement.main()
