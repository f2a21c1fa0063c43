#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What `inspect --depth structures`, `validate` and `run` say of disks that Debian's own tools have made."""

import json
import os
import shutil
import subprocess

from hyperhost_cli import FAILED, MIB, OK, PREFLIGHT, TEST_PLUGINS, CliTest, sha256_of
import requirement

os.environ["PATH"] += ":/usr/sbin:/sbin"
ESP, BIOS_BOOT, LINUX = "U", "21686148-6449-6E6F-744E-656564454649", "L"


class Structures(CliTest):
    def setUp(self):
        super().setUp()
        for name, package in (("sfdisk", "fdisk"), ("mke2fs", "e2fsprogs"), ("mkswap", "util-linux"), ("mkfs.vfat", "dosfstools"),
                              ("mcopy", "mtools"), ("mkntfs", "ntfs-3g")):
            requirement.tool(name, package)

    def tool(self, *command, text=None):
        done = subprocess.run([str(c) for c in command], input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=120, check=False)
        self.assertEqual(done.returncode, 0, done.stdout)

    def part(self, name, size, *make):
        path = self.work / f"part-{name}"
        with open(path, "wb") as out:
            out.truncate(size)
        self.tool(*make, path)
        return path

    def disk(self, parts, label="dos", name="web.raw", size=128 * MIB):
        """A disk of (type, file) partitions, 1 MiB from its beginning on."""
        path, at, lines = self.work / name, MIB, [f"label: {label}"]
        with open(path, "wb") as out:
            out.truncate(size)
        for kind, part in parts:
            lines.append(f"start={at // 512}, size={part.stat().st_size // 512}, type={kind}")
            at += part.stat().st_size
        self.tool("sfdisk", "-q", path, text="\n".join(lines) + "\n")
        at = MIB
        for _, part in parts:
            self.tool("dd", f"if={part}", f"of={path}", "bs=1M", f"seek={at // MIB}", "conv=notrunc,sparse", "status=none")
            at += part.stat().st_size
        return path

    def boots(self, path):
        """A first sector as GRUB's, and one that follows it."""
        with open(path, "r+b") as out:
            out.write(b"\xeb\x63")
            out.seek(0x5c)
            out.write((1).to_bytes(8, "little"))
            out.seek(0x180)
            out.write(b"GRUB ")
            out.seek(512)
            out.write(b"core" * 128)
        return path

    def ext4(self, name="root"):
        return self.part(name, 16 * MIB, "mke2fs", "-q", "-F", "-t", "ext4")

    def esp(self, loader, fat=16):
        path = self.part("esp", 40 * MIB, "mkfs.vfat", "-F", fat, *(["-s", "1"] if fat == 32 else []))
        program = self.work / "program"
        image = bytearray(1024)
        image[0:2], image[0x3c], image[0x80:0x86] = b"MZ", 0x80, b"PE\0\0\x64\x86"
        program.write_bytes(image)
        tree = self.work / "tree"
        shutil.rmtree(tree, ignore_errors=True)
        (tree / "EFI" / loader).parent.mkdir(parents=True)
        shutil.copyfile(program, tree / "EFI" / loader)
        self.tool("mcopy", "-s", "-i", path, tree / "EFI", "::/")
        return path

    def inspected(self, path, status=OK):
        before = sha256_of(path)
        found = self.host("--output", "json", "--isolation", "none", "inspect", path.stem, "--path", path, "--depth", "structures",
                          status=status).json
        self.assertEqual(sha256_of(path), before)
        self.assertLess(found["structures"]["source_bytes_read"], 4 * MIB)
        return found

    def rules(self, path, status=OK):
        return [(one["rule"], one["severity"]) for one in self.inspected(path, status)["findings"] if one["depth"] == "structures"]

    def kinds(self, path, status=OK):
        [disk] = self.inspected(path, status)["structures"]["disks"]
        return disk.get("table"), [(volume["number"], volume.get("kind")) for volume in disk["volumes"]]

    def test_a_bios_guest_of_real_tools(self):
        swap = self.part("swap", 8 * MIB, "mkswap", "-q")
        ntfs = self.part("ntfs", 16 * MIB, "mkntfs", "-q", "-F")
        disk = self.boots(self.disk([("83", self.ext4()), ("82", swap), ("7", ntfs)]))
        self.assertEqual(self.kinds(disk), ("mbr", [(1, "ext4"), (2, "swap"), (3, "ntfs")]))
        self.assertEqual(self.rules(disk), [])
        done = self.host("inspect", "web", "--path", disk, "--depth", "structures")
        self.assertRegex(done.out, r"web/\S+: mbr, boot code: grub\n  1 ext4, 16")
        self.assertIn("Nothing was found that keeps it from booting", done.out)
        # What reads a file at its path is counted as the guest sees it; any image will do.
        requirement.tool("qemu-img", "qemu-utils")
        image = self.work / "web.qcow2"
        self.tool("qemu-img", "convert", "-f", "raw", "-O", "qcow2", disk, image)
        self.assertEqual(self.kinds(image), self.kinds(disk))

    def test_a_disk_without_a_loader(self):
        disk = self.disk([("83", self.ext4())])
        found = self.inspected(disk, PREFLIGHT)
        self.assertEqual([one["rule"] for one in found["findings"] if one["severity"] == "error"], ["boot.no-loader"])
        done = self.host("inspect", "web", "--path", disk, "--depth", "structures", status=PREFLIGHT)
        self.assertRegex(done.out, r"error +boot\.no-loader +The disks hold no boot loader")

    def test_an_efi_guest_needs_the_loader_where_firmware_looks(self):
        for fat in (16, 32):
            with self.subTest(fat=fat):
                disk = self.disk([(ESP, self.esp("debian/grubx64.efi", fat)), (LINUX, self.ext4())], "gpt")
                self.assertEqual(self.kinds(disk, PREFLIGHT), ("gpt", [(1, "vfat"), (2, "ext4")]))
                [one] = [one for one in self.inspected(disk, PREFLIGHT)["findings"] if one["severity"] == "error"]
                self.assertEqual((one["rule"], one["fixable_by"]), ("boot.efi-fallback", "guest"))
                self.assertEqual(one["evidence"], "partition 1, vfat: EFI/DEBIAN/GRUBX64.EFI")
                disk = self.disk([(ESP, self.esp("BOOT/BOOTX64.EFI", fat)), (LINUX, self.ext4())], "gpt")
                self.assertEqual(self.rules(disk), [])

    def test_a_damaged_gpt_is_read_from_its_second_copy(self):
        disk = self.disk([(ESP, self.esp("BOOT/BOOTX64.EFI"))], "gpt")
        whole = disk.read_bytes()

        def spoil(*places):
            data = bytearray(whole)
            for at in places:
                data[at] ^= 1
            disk.write_bytes(data)
        for at in (512 + 16, 512 + 40, 1024 + 33):  # the checksum, a field, an entry
            spoil(at)
            self.assertEqual(self.kinds(disk), ("gpt", [(1, "vfat")]))
            self.assertEqual(self.rules(disk), [("boot.partition-table", "warning")])
        spoil(len(whole) - 512 + 16)
        self.assertEqual(self.rules(disk), [("boot.partition-table", "warning")])
        spoil(512 + 16, len(whole) - 512 + 16)
        self.assertEqual(self.rules(disk, PREFLIGHT), [("boot.no-loader", "error"), ("boot.partition-table", "warning")])

    def test_a_dirty_and_a_hibernated_guest(self):
        root, swap = self.ext4(), self.part("swap", 8 * MIB, "mkswap", "-q")
        self.tool("debugfs", "-w", "-R", "feature needs_recovery", root)
        with open(swap, "r+b") as out:
            out.seek(4086)
            out.write(b"S1SUSPEND\0")
        disk = self.boots(self.disk([("83", root), ("82", swap)]))
        self.assertEqual(self.rules(disk, PREFLIGHT), [("linux.hibernated", "error"), ("fs.dirty", "warning")])
        evidence = {one["rule"]: one["evidence"] for one in self.inspected(disk, PREFLIGHT)["findings"] if "evidence" in one}
        self.assertEqual(evidence["fs.dirty"], f"partition 1, ext4: needs_recovery, at byte {MIB + 1024 + 96}")
        self.assertEqual(evidence["linux.hibernated"], f"partition 2, swap: S1SUSPEND, at byte {17 * MIB + 4086}")

    def test_a_windows_that_hibernates_or_was_cut_off(self):
        requirement.tool("ntfscp", "ntfs-3g")
        ntfs = self.part("ntfs", 16 * MIB, "mkntfs", "-q", "-F")
        saved = self.work / "saved"
        saved.write_bytes(b"hibr" + bytes(65532))
        for number in range(40):  # so that the directory does not fit into its record
            self.tool("ntfscp", ntfs, saved, f"a-file-of-a-long-name-{number}.sys")
        self.tool("ntfscp", ntfs, saved, "hiberfil.sys")
        disk = self.boots(self.disk([("7", ntfs)]))
        self.assertEqual(self.rules(disk, PREFLIGHT), [("win.hibernated", "error")])
        data = ntfs.read_bytes()
        ntfs.write_bytes(data.replace(b"hibr" + bytes(60), b"wake" + bytes(60)))  # what a Windows leaves that has come back
        self.assertEqual(self.rules(self.boots(self.disk([("7", ntfs)]))), [])
        self.tool("ntfsfix", ntfs)  # leaves it marked for a check
        self.assertEqual(self.rules(self.boots(self.disk([("7", ntfs)]))), [("fs.dirty", "warning")])

    def test_validate_and_run_refuse_what_will_not_boot_where_it_is_to_be_booted(self):
        requirement.need((TEST_PLUGINS / "scribe.so").exists(), "the test plugin scribe is not built")
        disk = self.disk([("83", self.ext4())])
        plan = self.plan(disk, vm="web", plugin_dirs=[str(TEST_PLUGINS)])
        done = self.host("validate", plan)  # the plan wants its disks alone
        self.assertRegex(done.out, r"warning +boot\.no-loader +1 +The disks hold no boot loader")
        self.host("run", plan)
        guest = {"guest": {"plugin": "scribe", "isolation": "none"}}
        prepared = self.plan(disk, name="guest.yaml", vm="web", plugin_dirs=[str(TEST_PLUGINS)], output_dir="second", defaults=guest)
        done = self.host("validate", prepared, status=PREFLIGHT)
        self.assertIn("The disks hold no boot loader", done.err)
        done = self.host("run", prepared, status=FAILED)
        self.assert_one_clear_error(done, "The disks hold no boot loader", "accept: [boot.no-loader]")
        self.assertEqual([path.name for path in (self.work / "second").rglob("*") if path.is_file() and path.suffix != ".lock"], [])
        accepted = ("--set", "defaults.guest.accept=[boot.no-loader]")
        self.assertIn("boot.no-loader", self.host("validate", prepared, *accepted).out)
        result = self.report(prepared, *accepted)
        [one] = [one for one in result["findings"] if one["rule"] == "boot.no-loader"]
        self.assertEqual((one["severity"], one["accepted"]), ("error", True))
        manifest = json.loads((self.work / "second/web/manifest.json").read_text())
        self.assertIn(one, manifest["hyperhost"]["findings"])

    def test_a_stream_is_not_looked_at(self):
        streamed, _ = self.ova("gzip-reference")
        done = self.host("inspect", "sample-vm", "--path", streamed, "--depth", "structures", status=FAILED)
        self.assert_one_clear_error(done, "from its front to its end")
        self.host("validate", self.plan(streamed))


if __name__ == "__main__":
    requirement.main()
