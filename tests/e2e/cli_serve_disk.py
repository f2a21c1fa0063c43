#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""hyperhost serve-disk: an image or a VM's disk over NBD, with nbdinfo, nbdcopy, qemu-img and qemu-io as clients."""

import errno
import json
import os
import pathlib
import signal
import socket
import stat
import subprocess

from hyperhost_cli import BUILD, FAILED, MIB, OK, USAGE, CliTest, interrupt, sha256_of
import power_cut
import requirement
from vmdk_writer import Content, stream_optimized


class Worst:
    """Of what a power cut could leave, that in which the least is left."""

    @staticmethod
    def random():
        return 0.6  # names go, pages are the old ones

    @staticmethod
    def choice(lengths):
        return lengths[0]


class ServeDisk(CliTest):
    def setUp(self):
        super().setUp()
        for tool, package in (("nbdinfo", "libnbd-bin"), ("nbdcopy", "libnbd-bin"), ("qemu-io", "qemu-utils")):
            requirement.tool(tool, package)
        self.content = Content.sample(24 * MIB, 42)
        self.raw = self.work / "truth.raw"
        self.content.write_raw(self.raw)
        self.vmdk = self.work / "disk.vmdk"
        self.vmdk.write_bytes(stream_optimized(self.content))

    def serve(self, *arguments, env=None):
        """The program and the URI that it prints."""
        running = self.start("serve-disk", *arguments, env=env)
        uri = running.wait_for(lambda: running.text(running.out).partition("\n")[0] if "\n" in running.text(running.out) else "",
                               "its URI")
        return running, uri

    def run_tool(self, *command, status=0):
        done = subprocess.run([*map(str, command)], check=False, text=True, timeout=120, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        self.assertEqual(done.returncode, status, f"{command}\n{done.stdout}")
        return done.stdout

    def qemu_io(self, uri, *commands, read_only=False, status=0):
        words = [word for one in commands for word in ("-c", one)]
        return self.run_tool("qemu-io", *(["-r"] if read_only else []), "-f", "raw", *words, uri, status=status)

    def ended(self, running, which=signal.SIGTERM):
        """It ends well by the signal and leaves nothing."""
        done, seconds = interrupt(running, which)
        self.assertEqual(done.status, OK, done)
        self.assertEqual(running.wait_none_left(), {})
        return done

    def copy(self, uri, name):
        copied = self.work / name
        self.run_tool("nbdcopy", uri, copied)
        return sha256_of(copied)

    def test_an_image_reads_as_its_guest_sees_it(self):
        before = self.files()
        running, uri = self.serve(self.vmdk)
        self.assertRegex(uri, r"^nbd\+unix:///\?socket=/")
        path = pathlib.Path(uri.partition("socket=")[2])
        self.assertTrue(stat.S_ISSOCK(path.stat().st_mode))
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        info = json.loads(self.run_tool("nbdinfo", "--json", uri))["exports"][0]
        self.assertEqual(info["export-size"], self.content.capacity)
        self.assertEqual((info["is_read_only"], info["can_trim"], info["contexts"]), (True, False, ["base:allocation"]))
        self.assertEqual(info["description"], "disk.vmdk")
        self.assertIn("protocol: newstyle-fixed without TLS, using structured packets", self.run_tool("nbdinfo", uri))
        self.assertEqual(self.copy(uri, "copy.raw"), sha256_of(self.raw))
        self.run_tool("qemu-img", "compare", "-f", "raw", "-F", "raw", self.raw, uri)
        zeros = [e for e in json.loads(self.run_tool("nbdinfo", "--map", "--json", uri)) if e["type"] == 3]
        self.assertGreater(sum(e["length"] for e in zeros), 8 * MIB)
        self.assertRegex(self.qemu_io(uri, "write 0 512", status=1), "(?i)read.only|permission denied")
        done = self.ended(running)
        self.assertIn("read-only", done.err)
        self.assertFalse(path.parent.exists())
        (self.work / "copy.raw").unlink()
        self.assertEqual(self.files(), before)

    def test_a_disk_of_a_vm_in_its_package(self):
        package, expect = self.ova()
        truths = ["sha256:" + disk["sha256"] for disk in expect["vms"][0]["disks"]]
        running, uri = self.serve(self.plan(package), "sample-vm", "disk-1")
        self.assertEqual(self.copy(uri, "one.raw"), truths[1])
        self.ended(running, signal.SIGINT)
        running, uri = self.serve("--path", package, "sample-vm", "disk-0")
        self.assertEqual(self.copy(uri, "zero.raw"), truths[0])
        self.ended(running)
        self.assertIn("it has disk-0, disk-1", self.host("serve-disk", "--path", package, "sample-vm", status=USAGE).err)
        self.assertIn("no disk 'disk-7'", self.host("serve-disk", "--path", package, "sample-vm", "disk-7", status=FAILED).err)

    def test_what_clients_write_is_dropped(self):
        scratch = self.work / "scratch"
        running, uri = self.serve(self.vmdk, "--writable", "--scratch", scratch, "--socket", self.work / "disk.sock")
        self.assertEqual(uri, f"nbd+unix:///?socket={self.work}/disk.sock")
        self.qemu_io(uri, "write -P 0x5a 1000k 300k", "write -z 2M 1M", "write -z -u 4M 64k", "flush", "write -f -P 7 77 99")
        self.qemu_io(uri, "read -P 0x5a 1000k 300k", "read -P 0 2M 1M", "read -P 7 77 99")
        self.assertEqual(list(scratch.iterdir()), [])
        self.copy(uri, "written.raw")
        truth = bytearray(self.raw.read_bytes())
        truth[1000 * 1024:1300 * 1024] = b"\x5a" * (300 * 1024)
        truth[2 * MIB:3 * MIB], truth[4 * MIB:4 * MIB + 65536], truth[77:176] = bytes(MIB), bytes(65536), b"\7" * 99
        self.assertEqual((self.work / "written.raw").read_bytes(), bytes(truth))
        self.assertIn("writes are dropped", self.ended(running).err)
        self.assertFalse((self.work / "disk.sock").exists())
        self.assertEqual(sha256_of(self.raw_of(self.vmdk, "after.raw")), sha256_of(self.raw))

    def test_an_overlay_is_kept_and_taken_up_again(self):
        overlay = self.work / "kept.overlay"
        running, uri = self.serve(self.vmdk, "--overlay", overlay)
        self.qemu_io(uri, "write -P 9 3M 100k")
        self.assertIn("another process uses the overlay",
                      self.host("serve-disk", self.vmdk, "--overlay", overlay, status=FAILED).err)
        self.ended(running)
        running, uri = self.serve(self.vmdk, "--overlay", overlay)
        self.qemu_io(uri, "read -P 9 3M 100k", "write -P 8 5M 1k", "flush")
        running.process.kill()  # what was flushed stays
        running.process.wait()
        running, uri = self.serve(self.vmdk, "--overlay", overlay)
        self.qemu_io(uri, "read -P 9 3M 100k", "read -P 8 5M 1k")
        self.ended(running)
        other = self.work / "other.raw"
        other.write_bytes(os.urandom(MIB))
        before = overlay.read_bytes()
        self.assertIn("belongs to another disk", self.host("serve-disk", other, "--overlay", overlay, status=USAGE).err)
        self.assertIn("is not an overlay", self.host("serve-disk", other, "--overlay", self.vmdk, status=FAILED).err)
        self.assertEqual(overlay.read_bytes(), before)
        self.assertEqual(sha256_of(self.raw_of(self.vmdk, "after.raw")), sha256_of(self.raw))

    def faulty(self, directory, **how):
        library = BUILD / "lib/hyperhost/test-files/libfaulty_files.so"
        requirement.need(library.exists(), f"{library} is not built")
        return power_cut.loaded(library, HYPERHOST_FAULTY_UNDER=str(directory), **how)

    def test_a_flushed_overlay_outlives_a_power_cut(self):
        place, shadow = self.work / "overlays", self.work / "shadow"
        place.mkdir()
        shadow.mkdir()
        running, uri = self.serve(self.vmdk, "--overlay", place / "kept", env=self.faulty(place, HYPERHOST_FAULTY_SHADOW=str(shadow)))
        self.qemu_io(uri, "write -P 9 3M 100k", "write -z 5M 1M", "flush")
        running.process.kill()
        running.process.wait()
        power_cut.cut(place, shadow, Worst())
        running, uri = self.serve(self.vmdk, "--overlay", place / "kept")
        self.qemu_io(uri, "read -P 9 3M 100k", "read -P 0 5M 1M")
        self.ended(running)

    def test_a_flush_that_failed_is_not_forgotten(self):
        place = self.work / "overlays"
        place.mkdir()
        running, uri = self.serve(self.vmdk, "--overlay", place / "kept", env=self.faulty(place, HYPERHOST_FAULTY_SYNC=str(errno.EIO)))
        self.assertIn("Input/output error", self.qemu_io(uri, "write -f -P 9 3M 100k", status=1))
        # The system has dropped what it could not write: a later success would be a lie.
        self.assertIn("Input/output error", self.qemu_io(uri, "write -f -P 8 5M 1k", status=1))
        done, _ = interrupt(running, signal.SIGTERM)
        self.assertEqual(done.status, FAILED, done)
        self.assertIn("may have lost what was written", done.err)

    def test_a_vm_needs_a_journal_and_an_image_does_not(self):
        package, _ = self.ova()
        nowhere = {"HYPERHOST_STATE_DIR": "/proc/nowhere"}
        self.assertIn("/proc/nowhere", self.host("serve-disk", "--path", package, "sample-vm", "disk-0", env=nowhere, status=FAILED).err)
        running, uri = self.serve(self.raw, env=nowhere)
        self.assertEqual(self.copy(uri, "copy.raw"), sha256_of(self.raw))
        self.ended(running)

    def test_once_ends_with_the_last_client(self):
        running, uri = self.serve(self.raw, "--once")
        self.assertEqual(self.copy(uri, "copy.raw"), sha256_of(self.raw))
        self.assertEqual(running.finish().status, OK)

    def test_a_port_is_opened_only_where_it_is_asked_for(self):
        running, uri = self.serve(self.raw, "--tcp", "0")
        self.assertRegex(uri, r"^nbd://127\.0\.0\.1:\d+/$")
        self.assertEqual(self.copy(uri, "copy.raw"), sha256_of(self.raw))
        port = int(uri.rpartition(":")[2].strip("/"))
        with open("/proc/net/tcp", encoding="ascii") as table:
            listening = [line.split()[1] for line in table if line.split()[3] == "0A"]
        self.assertIn(f"0100007F:{port:04X}", listening)
        self.assertNotIn(f"00000000:{port:04X}", listening)
        self.ended(running)

    def test_json_and_a_kill(self):
        running, _ = self.serve("--output", "json", self.raw)
        text = running.wait_for(lambda: running.text(running.out) if running.text(running.out).endswith("}\n") else "", "JSON")
        said = json.loads(text)
        self.assertEqual((said["length"], said["writable"], said["disk"]), (self.content.capacity, False, "truth.raw"))
        path = pathlib.Path(said["uri"].partition("socket=")[2])
        running.process.kill()
        running.process.wait()
        self.assertTrue(path.exists())
        self.host("cleanup")
        self.assertFalse(path.parent.exists())

    def test_what_cannot_be_served_is_said(self):
        package, _ = self.ova()
        plan = self.plan(package)
        empty = self.work / "empty.raw"
        empty.touch()
        taken = self.work / "taken.sock"
        with socket.socket(socket.AF_UNIX) as holder:
            holder.bind(str(taken))
            for words, status, text in (
                    ([], USAGE, "IMAGE"),
                    ([plan], USAGE, "which VM?"),
                    ([plan, "sample-vm", "disk-0", "more"], USAGE, ""),
                    ([plan, "no-such-vm", "disk-0"], FAILED, "no-such-vm"),
                    ([package], FAILED, "is a package"),
                    ([self.work / "absent.raw"], FAILED, "absent.raw"),
                    ([empty], FAILED, "is empty"),
                    ([self.work], FAILED, ""),
                    ([self.raw, "--writable", "--overlay", "x"], USAGE, "--overlay"),
                    ([self.raw, "--scratch", "x"], USAGE, "--writable"),
                    ([self.raw, "--tcp", "70000"], USAGE, "--tcp"),
                    ([self.raw, "--tcp", "0", "--socket", "x"], USAGE, "--socket"),
                    ([self.raw, "--socket", "s" * 200], USAGE, "shorter"),
                    ([self.raw, "--socket", taken], FAILED, "exists"),
                    ([self.raw, "--socket", "no/such/place"], FAILED, "no/such/place"),
                    ([self.raw, "--overlay", "no/such/place"], FAILED, "no/such/place")):
                with self.subTest(words=words):
                    done = self.host("serve-disk", *words, status=status)
                    self.assertIn(text, done.err + done.out)
        self.assertTrue(taken.exists())


if __name__ == "__main__":
    requirement.main()
