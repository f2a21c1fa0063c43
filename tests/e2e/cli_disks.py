#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""hyperhost convert, compare, verify on single images: formats, compressions, odd names."""

import json
import os
import shutil

from hyperhost_cli import DIFFERS, FAILED, GIB, MIB, OK, USAGE, CliTest, content_digest, sparse_raw
import requirement
from vmdk_writer import Content, stream_optimized


class Disks(CliTest):
    def setUp(self):
        super().setUp()
        requirement.tool("qemu-img", "qemu-utils")
        self.content = Content.sample(24 * MIB, 42)
        self.raw = self.work / "truth.raw"
        self.content.write_raw(self.raw)
        self.vmdk = self.work / "disk.vmdk"
        self.vmdk.write_bytes(stream_optimized(self.content))
        self.digest = content_digest(self.raw)

    def same(self, image, image_format):
        done = self.qemu_img("compare", "-f", image_format, "-F", "raw", image, self.raw)
        self.assertEqual(done.returncode, 0, done.stdout)
        info = json.loads(self.qemu_img("info", "--output=json", "-f", image_format, image).stdout)
        self.assertEqual(info["virtual-size"], self.content.capacity)
        return info

    def test_every_format_there_is(self):
        for target, native in (("qcow2", "qcow2"), ("raw", "raw"), ("vmdk", "vmdk"), ("vhd", "vpc"), ("vhdx", "vhdx"),
                               ("vdi", "vdi")):
            with self.subTest(format=target):
                image = self.work / f"disk.out.{target}"
                made = self.host("--output", "json", "convert", self.vmdk, image, "--verify", "target").json
                self.assertEqual(made["content_digest"], self.digest)
                self.assertEqual((made["format"], made["source_format"]), (target, "vmdk"))
                self.assertEqual(made["bytes"], image.stat().st_size)
                self.assertTrue(made["verified_by"])
                if native == "vpc":  # whole cylinders: a VHD may say a little more
                    self.assertEqual(self.qemu_img("compare", "-f", "vpc", "-F", "raw", image, self.raw).returncode, 0)
                else:
                    self.same(image, native)

    def test_progress_as_events(self):
        done = self.host("convert", self.vmdk, "p.qcow2", "--verify", "target", "--progress", "json")
        events = [json.loads(line) for line in done.err.splitlines()]
        seen = [e for e in events if e["event"] == "disk_progress"]
        self.assertEqual({e["disk"] for e in seen}, {"p.qcow2"})
        stages = [e["stage"] for e in seen]
        self.assertEqual(list(dict.fromkeys(stages)), ["convert", "verify"])
        self.assertEqual(stages, sorted(stages))
        for stage in ("convert", "verify"):
            steps = [e["bytes_done"] for e in seen if e["stage"] == stage]
            self.assertEqual(steps, sorted(steps))
            self.assertEqual(steps[-1], self.content.capacity)
        self.assertEqual(self.host("convert", self.vmdk, "q.qcow2").err, "")  # a pipe gets none

    def test_compressions_of_qcow2_and_what_the_source_was(self):
        sources = {"vmdk": self.vmdk, "raw": self.raw}
        sizes = {}
        for compression in ("none", "zlib", "zstd", "keep"):
            for kind, source in sources.items():
                if compression == "keep" and kind == "raw":
                    continue
                with self.subTest(compression=compression, source=kind):
                    image = self.work / f"{kind}-{compression}.qcow2"
                    self.host("convert", source, image, "--compression", compression)
                    info = self.same(image, "qcow2")
                    sizes[kind, compression] = image.stat().st_size
                    wanted = "zstd" if compression == "zstd" else "zlib"
                    self.assertEqual(info["format-specific"]["data"]["compression-type"], wanted)
                    self.assertEqual(self.qemu_img("check", image).returncode, 0)
        for compression in ("zlib", "zstd", "keep"):
            self.assertLess(sizes["vmdk", compression], 0.8 * sizes["vmdk", "none"])

    def test_the_format_is_found_in_the_content_and_not_in_the_name(self):
        liar = self.work / "really-a-vmdk.qcow2"
        os.link(self.vmdk, liar)
        plain = self.work / "no extension at all"
        made = self.host("--output", "json", "convert", liar, plain, "--format", "qcow2").json
        self.assertEqual(made["source_format"], "vmdk")
        self.same(plain, "qcow2")
        again = self.host("--output", "json", "convert", plain, self.work / "again.raw").json
        self.assertEqual(again["source_format"], "qcow2")
        self.assertEqual(content_digest(self.work / "again.raw"), self.digest)

    def test_a_raw_disk_whose_guest_wrote_a_qcow2_header_stays_raw_when_told(self):
        # Probing such a disk would let a guest name files of the host (a backing file).
        trap = self.work / "trap.raw"
        with open(self.work / "secret", "w", encoding="ascii") as f:
            f.write("not for guests" * 1000)
        self.assertEqual(self.qemu_img("create", "-f", "qcow2", "-F", "raw", "-b", self.work / "secret", trap,
                                       "8M").returncode, 0)
        os.truncate(trap, 8 * MIB)
        done = self.host("convert", trap, self.work / "probed.raw", status=None)
        if done.status == OK:
            self.assertNotIn(b"not for guests", (self.work / "probed.raw").read_bytes())
        else:
            self.assert_one_clear_error(done, "backing")
        self.host("convert", trap, self.work / "told.raw", "--source-format", "raw")
        self.assertEqual((self.work / "told.raw").read_bytes(), trap.read_bytes())

    def test_an_overlay_is_read_through_its_backing_files_when_that_is_allowed(self):
        made = self.qemu_img("convert", "-c", "-f", "raw", "-O", "qcow2", self.raw, self.work / "base.qcow2")
        self.assertEqual(made.returncode, 0)
        self.assertEqual(self.qemu_img("create", "-f", "qcow2", "-F", "qcow2", "-b", "base.qcow2",
                                       self.work / "top.qcow2").returncode, 0)
        top, out = self.work / "top.qcow2", self.work / "flat.raw"
        refused = self.host("convert", top, out, status=FAILED)
        self.assertTrue(any("backing" in e for e in refused.errors()), refused)
        self.assertFalse(out.exists())
        self.host("convert", top, out, "--allow-backing", "--verify", "target")
        self.assertEqual(content_digest(out), self.digest)
        self.assertEqual(self.host("compare", "--allow-backing", top, self.raw).out, "identical\n")
        self.assertIn(self.digest, self.host("verify", "--allow-backing", top).out)
        self.assertEqual(self.host("verify", top, status=None).status, FAILED)

    def test_odd_names(self):
        for name in ("with space.qcow2", "größe-日本.qcow2", "100%.qcow2", "a,b=c.qcow2", "json:{}.qcow2", "-O.qcow2",
                     "nbd:localhost:1.qcow2", "'quote\"$(touch pwned).qcow2"):
            for converter in ("parallel-disk", "qemu-img"):
                with self.subTest(name=name, converter=converter):
                    source, image = self.work / f"{converter}-in-{name}.vmdk", self.work / f"{converter[:1]}{name}"
                    os.link(self.vmdk, source)
                    self.host("convert", f"./{source.name}", f"./{image.name}", "--converter", converter)
                    read = self.work / "copy.qcow2"
                    os.link(image, read)
                    self.same(read, "qcow2")
                    read.unlink()
        self.assertFalse((self.work / "pwned").exists())

    def test_compare_says_where_images_differ(self):
        image = self.work / "disk.qcow2"
        self.host("convert", self.vmdk, image, "--compression", "zstd")
        self.assertEqual(self.host("compare", self.vmdk, image).out, "identical\n")
        at = self.content.extents[-1][0] + 7
        other = self.work / "other.raw"
        data = bytearray(self.raw.read_bytes())
        data[at] ^= 0x80
        other.write_bytes(data)
        done = self.host("compare", image, other, status=DIFFERS)
        self.assertIn("different", done.out)
        found = self.host("--output", "json", "compare", image, other, status=DIFFERS).json
        self.assertFalse(found["identical"])
        self.assertLessEqual(found["offset"], at)
        self.assertGreater(found["offset"] + found["length"], at)
        longer = self.work / "longer.raw"
        longer.write_bytes(self.raw.read_bytes() + bytes(MIB))
        self.assertEqual(self.host("compare", self.raw, longer).status, OK)
        self.assertIn("size", self.host("compare", "--strict", self.raw, longer, status=DIFFERS).out)
        missing = self.host("compare", self.raw, self.work / "missing", status=FAILED)
        self.assert_one_clear_error(missing, "missing")

    def test_a_raw_file_that_ends_within_a_sector_is_kept_whole(self):
        source = self.work / "odd.raw"
        source.write_bytes(self.raw.read_bytes()[:3 * MIB] + b"the last bytes of the disk")
        for target in ("qcow2", "raw", "vmdk", "vhd", "vdi"):
            with self.subTest(format=target):
                image = self.work / f"whole.{target}"
                self.host("convert", source, image, "--verify", "independent")
                self.assertEqual(self.qemu_img("compare", image, source).returncode, 0)

    def test_an_image_without_its_signature_is_not_taken_for_a_raw_disk(self):
        self.assertEqual(self.qemu_img("convert", "-O", "vpc", "-o", "subformat=fixed,force_size=on", self.raw,
                                       self.work / "fixed.vhd").returncode, 0)
        cut = self.work / "cut.vhd"
        cut.write_bytes((self.work / "fixed.vhd").read_bytes()[:-100000])
        damaged = self.work / "damaged.vmdk"
        damaged.write_bytes(b"x" + self.vmdk.read_bytes()[1:])
        for image in (cut, damaged):
            for arguments in (("convert", image, "x.raw"), ("verify", image), ("compare", self.raw, image),
                              ("list", "--path", image)):
                with self.subTest(arguments=arguments):
                    self.assert_one_clear_error(self.host(*arguments, status=FAILED), "signature")
            self.host("convert", image, f"{image.stem}.raw", "--source-format", "raw")
        self.assertFalse((self.work / "x.raw").exists())

    def test_a_qcow2_cut_within_a_cluster_is_not_filled_with_zeros(self):
        image = self.work / "disk.qcow2"
        self.assertEqual(self.qemu_img("convert", "-O", "qcow2", self.raw, image).returncode, 0)
        os.truncate(image, image.stat().st_size - 10000)
        self.assert_one_clear_error(self.host("convert", image, "x.raw", status=FAILED), "file offset")

    def test_a_reader_that_is_asked_for_reads_or_nobody_does(self):
        self.assertIn("qemu-img", self.host("verify", self.vmdk, "--reader", "qemu", status=USAGE).err)
        self.assertIn("local-ovf", self.host("verify", self.vmdk, "--reader", "local-ovf", status=USAGE).err)

    def test_verify_goes_on_behind_an_image_that_cannot_be_read(self):
        found = self.host("--output", "json", "verify", "absent.qcow2", self.vmdk, status=FAILED).json
        self.assertEqual([i["ok"] for i in found["images"]], [False, True])
        self.assertIn("absent.qcow2", found["images"][0]["problem"])
        self.assertEqual(found["images"][1]["content_digest"], self.digest)

    def test_extensions_in_capitals(self):
        self.host("convert", self.vmdk, "CAPITALS.QCOW2")
        self.same(self.work / "CAPITALS.QCOW2", "qcow2")

    def test_a_package_is_not_taken_for_a_raw_disk(self):
        directory, _ = self.ova("directory-ovf")
        descriptor = directory if directory.suffix == ".ovf" else next(directory.glob("*.ovf"))
        archive, _ = self.ova("vmware")
        self.host("convert", descriptor, "from-ovf.qcow2")
        self.host("convert", archive, "from-ova.qcow2")
        for package in (descriptor, archive):
            self.assert_one_clear_error(self.host("compare", package, "from-ova.qcow2", status=FAILED), "package")
            self.assert_one_clear_error(self.host("verify", package, status=FAILED), "package")

    def test_a_copied_set_is_verified_where_it_is(self):
        package, _ = self.ova("vmware")
        self.host("run", self.plan(package))
        shutil.copytree(self.work / "out", self.work / "copy")
        disk = next((self.work / "copy").rglob("*.qcow2"))
        manifest = disk.parent / "manifest.json"
        self.assertIn(str(disk), self.host("verify", manifest).out)
        self.host("convert", self.vmdk, disk, "--overwrite")
        self.host("verify", manifest, status=DIFFERS)

    def test_a_disk_of_an_ova_is_read_in_place(self):
        package, _ = self.ova("two-disks")
        done = self.host("convert", package, "one.qcow2", status=USAGE)
        self.assertIn("--disk", done.err)
        self.assertFalse((self.work / "one.qcow2").exists())
        self.assertIn("disk-7", self.host("convert", package, "one.qcow2", "--disk", "disk-7", status=USAGE).err)
        self.host("convert", package, "one.qcow2", "--disk", "disk-1")
        self.host("run", self.plan(package, defaults={"target_format": "raw"}))
        self.host("compare", "--strict", "one.qcow2", "out/sample-vm/sample-vm-disk-1.raw")

    def test_an_image_s_digest_is_what_its_definition_says(self):
        self.assertIn(self.digest, self.host("verify", self.vmdk).out)
        self.assertIn(self.digest, self.host("verify", self.vmdk, "--reader", "qemu-img").out)

    def test_a_disk_that_ends_in_a_hole_keeps_its_size(self):
        source = sparse_raw(self.work / "hole.raw", 3 * GIB + 512, 2 * MIB)
        with open(source, "r+b") as f:
            f.seek(GIB)
            f.write(b"middle")
        for converter in ("parallel-disk", "qemu-img"):
            for target in ("qcow2", "raw"):
                with self.subTest(converter=converter, format=target):
                    image = self.work / f"{converter}.{target}"
                    self.host("convert", source, image, "--converter", converter)
                    info = json.loads(self.qemu_img("info", "--output=json", "-f", target, image).stdout)
                    self.assertEqual(info["virtual-size"], 3 * GIB + 512)
                    self.assertEqual(self.qemu_img("compare", "-f", target, "-F", "raw", image, source).returncode, 0)
                    self.assertLess(image.stat().st_blocks * 512, 16 * MIB, "the holes were filled")

    def test_what_cannot_be_is_refused_and_leaves_nothing(self):
        os.mkfifo(self.work / "fifo")
        (self.work / "nothing.raw").touch()
        for arguments, status, word in (
                ((self.vmdk, "x.qcow2", "--compression", "lzma"), USAGE, "lzma"),
                ((self.vmdk, "x.unknown"), USAGE, "--format"),
                ((self.vmdk, self.vmdk, "--overwrite"), USAGE, "same file"),
                ((self.work / "absent", "x.qcow2"), FAILED, "absent"),
                ((self.vmdk, "x.qcow2", "--cluster-size", "3KiB"), None, "cluster"),
                ((self.vmdk, "x.raw", "--compression", "zlib"), None, "compress"),
                ((self.vmdk, "x.qcow2", "--compression-level", "3"), USAGE, "needs --compression"),
                ((self.vmdk, "x.qcow2", "--disk", "disk-0"), USAGE, "package"),
                ((self.vmdk, "x.raw", "--compression", "keep"), FAILED, "a raw image has no compression"),
                ((self.vmdk, "bad\udcff.qcow2"), USAGE, "UTF-8"),
                ((self.vmdk, "x.qcow2", "--no-digest", "--verify", "target"), USAGE, "--no-digest"),
                ((self.vmdk, ""), USAGE, "OUT is empty"), (("", "x.qcow2"), USAGE, "IN is empty"),
                ((self.vmdk, ".", "--format", "raw", "--overwrite"), USAGE, "is a directory"),
                ((self.vmdk, "fifo", "--format", "raw", "--overwrite"), FAILED, "special file"),
                ((self.work / "nothing.raw", "x.qcow2"), FAILED, "nothing.raw is empty"),
                ((self.vmdk, "new\nline.qcow2"), USAGE, "control character"),
                ((self.vmdk, "no/such/dir/x.qcow2", "--converter", "absent"), None, "absent")):
            with self.subTest(arguments=arguments):
                before = self.files()
                done = self.host("convert", *arguments, status=status)
                self.assertIn(done.status, (FAILED, USAGE))
                self.assertIn(word, done.err)
                self.assertEqual(self.files(), before)

    def test_an_existing_target_is_refused_until_told(self):
        image = self.work / "disk.qcow2"
        image.write_bytes(b"precious")
        self.assert_one_clear_error(self.host("convert", self.vmdk, image, status=FAILED), "disk.qcow2")
        self.assertEqual(image.read_bytes(), b"precious")
        self.host("convert", self.vmdk, image, "--overwrite")
        self.same(image, "qcow2")

    def test_the_same_input_gives_the_same_bytes(self):
        for compression in ("none", "zstd"):
            first, second = (self.work / f"{n}-{compression}.qcow2" for n in "ab")
            for image in (first, second):
                self.host("convert", self.vmdk, image, "--deterministic", "--compression", compression)
            self.assertEqual(first.read_bytes(), second.read_bytes())


if __name__ == "__main__":
    requirement.main()
