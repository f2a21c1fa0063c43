#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The guest plugin virt-v2v with a program in the place of virt-v2v-in-place, which writes known bytes or fails: what it is run
with, what reaches the delivered disks, and what stays. tests/guests/v2v_test.py runs the real one."""

import json
import os
import shutil
import signal

from hyperhost_cli import FAILED, MIB, OK, PREFLIGHT, CliTest, content_digest
import requirement

KEYS, SECRET = {"/dev/sda2": {"env": "DISK_KEY"}}, "hunter2-hunter2"
OFFSET, TEXT = 2 * MIB - 4, b"vvvvvvvv"
# In the place of virt-v2v-in-place: it leaves in PLACE what it was run with. PLACE/how says how it ends.
PROGRAM = """#!/bin/sh
place={place}
[ $# = 1 ] && case "$1" in
--machine-readable) printf 'virt-v2v-in-place\\nin-place\\ninput:libvirtxml\\nconvert:linux\\nconvert:windows\\n'; exit ;;
--version) echo 'virt-v2v-in-place 2.2.0'; exit ;;
--help) cat "$place/help"; exit ;;
esac
printf '%s\\n' "$@" >"$place/arguments"
env >"$place/environment"
for last; do :; done
cp "$last" "$place/domain.xml"
directory=${{last%/*}}
ls -l "$directory" >"$place/files"
cat "$directory"/key-* >"$place/keys" 2>/dev/null
echo '[   0.0] Setting up the source'
echo '[   1.5] Converting the guest'
for overlay in "$directory"/*.qcow2; do
  {qemu_io} -f qcow2 -c 'write -P 118 {offset} 8' "$overlay" >/dev/null || exit 9
done
case "$(cat "$place/how")" in
fail) echo 'virt-v2v-in-place: error: inspection could not detect the source guest (or ' >&2
  echo 'physical machine).' >&2; exit 1 ;;
die) kill -9 $$ ;;
hang) touch "$place/hangs"; exec sleep 600 ;;
warn) echo 'virt-v2v-in-place: warning: could not determine a way to update the configuration of Grub2'
  echo 'virt-v2v-in-place: This guest has virtio drivers installed.' ;;
bare) echo 'virt-v2v-in-place: This guest does not have virtio drivers installed.' ;;
esac
exit 0
"""


class VirtV2v(CliTest):
    def setUp(self):
        super().setUp()
        for tool in ("qemu-img", "qemu-nbd", "qemu-io"):
            requirement.tool(tool, "qemu-utils")
        self.place = self.work / "place"
        self.place.mkdir()
        self.scratch = self.work / "scratch"
        self.scratch.mkdir()
        self.program = self.place / "virt-v2v-in-place"
        self.program.write_text(PROGRAM.format(place=self.place, qemu_io=shutil.which("qemu-io"), offset=OFFSET))
        self.program.chmod(0o755)
        (self.place / "nbdkit").symlink_to(shutil.which("true"))  # the plugin looks whether it is there
        self.addCleanup(os.environ.__setitem__, "PATH", os.environ["PATH"])
        os.environ["PATH"] = f"{self.place}:{os.environ['PATH']}"
        (self.place / "help").write_text("--root <ask|... >\n")
        self.how("well")
        self.package, _ = self.ova()

    def how(self, text):
        (self.place / "how").write_text(text)

    def v2v_plan(self, options=None, **keys):
        guest = {"plugin": "virt-v2v", "options": {"program": str(self.program), "scratch_dir": str(self.scratch), **(options or {})}}
        return self.plan(self.package, defaults={"guest": guest}, **keys)

    def assert_scratch_is_empty(self):
        self.assertEqual(os.listdir(self.scratch), [])

    def said(self, name):
        return (self.place / name).read_text()

    def test_what_it_changes_is_delivered_and_all_of_it(self):
        truths = []
        for disk in range(2):
            raw = self.work / f"truth-{disk}.raw"
            self.host("convert", self.package, raw, "--disk", f"disk-{disk}")
            data = bytearray(raw.read_bytes())
            data[OFFSET:OFFSET + 8] = TEXT
            truths.append((content_digest(raw), raw))
            raw.with_suffix(".prepared").write_bytes(data)
        self.how("warn")
        result = self.report(self.v2v_plan({"keys": KEYS}), env={"DISK_KEY": SECRET})
        manifest = json.loads((self.work / "out/sample-vm/manifest.json").read_text())
        for entry, (source, raw) in zip(manifest["hyperhost"]["disks"], truths):
            self.assertEqual(entry["content_digest"], content_digest(raw.with_suffix(".prepared")))
            self.assertEqual((entry["source_digest"], entry["changed"]["blocks"]), (source, 2))
        self.assertEqual(result["guest"]["actions"][0]["what"], "virt-v2v-in-place 2.2.0 converted the guest")
        found = {one["rule"]: one for one in result["guest"]["findings"]}
        self.assertIn("configuration of Grub2", found["v2v.warning"]["evidence"])
        self.assertEqual(found["v2v.not-proven"]["severity"], "note")
        self.assertEqual(result["guest"]["caps"], {"block": "virtio"})
        self.assert_scratch_is_empty()
        arguments = self.said("arguments").splitlines()
        self.assertEqual(arguments[:3], ["--machine-readable", "--root", "first"])
        self.assertNotIn("--no-fstrim", arguments)
        self.assertEqual(arguments[3], "--key")
        self.assertRegex(arguments[4], f"^/dev/sda2:file:{self.scratch}/hyperhost-v2v-[^/]+/key-0$")
        self.assertEqual(self.said("keys"), SECRET)
        self.assertRegex(self.said("files"), r"(?m)^-rw------- .* key-0$")
        xml = self.said("domain.xml")
        self.assertIn("bus='scsi'", xml)
        self.assertEqual(xml.count("type='qcow2'"), 2)

    def test_its_environment_has_nothing_of_the_run(self):
        (self.place / "help").write_text("  --no-fstrim   Do not trim\n")
        running = self.start("run", self.v2v_plan(), env={"VC_PASSWORD": "hunter2", "LIBGUESTFS_PATH": "/fixed"})
        self.assertEqual(running.finish().status, OK)
        environment = dict(line.split("=", 1) for line in self.said("environment").splitlines() if "=" in line)
        self.assertNotIn("VC_PASSWORD", environment)
        self.assertNotIn("HYPERHOST_STATE_DIR", environment)
        self.assertEqual((environment["LIBGUESTFS_PATH"], environment["LIBGUESTFS_BACKEND"]), ("/fixed", "direct"))
        self.assertEqual(environment["VIRTIO_WIN"], "/usr/share/virtio-win")
        self.assertTrue(environment["TMPDIR"].startswith(str(self.scratch)))
        self.assertIn("--no-fstrim", self.said("arguments").splitlines())

    def test_a_failure_reaches_no_disk(self):
        for how, words in (("fail", ("No operating system was found on the disks", "could not detect the source guest")),
                           ("bare", ("will not boot: The guest has got no drivers for virtio", "accept: [v2v.no-drivers]")),
                           ("die", ("virt-v2v ended without a word",))):
            with self.subTest(how=how):
                self.how(how)
                done = self.host("run", self.v2v_plan(batch={"max_retries": 0}), status=FAILED)
                self.assert_one_clear_error(done, *words)
                self.assert_nothing_left()
                self.assert_scratch_is_empty()

    def test_an_inspection_converts_a_copy_that_is_thrown_away(self):
        options = ("inspect", "sample-vm", "--plan", self.v2v_plan(), "--guest-plugin", "virt-v2v")
        self.how("fail")
        done = self.host(*options, status=PREFLIGHT)
        self.assertRegex(done.out, r"error +guest\.no-system +No operating system was found")
        self.how("well")
        self.assertIn("v2v.not-proven", self.host(*options).out)

    def test_what_is_missing_is_one_message(self):
        done = self.host("validate", self.v2v_plan({"program": str(self.place / "absent")}), status=PREFLIGHT)
        self.assert_one_clear_error(done, "is not a program", "apt-get install virt-v2v nbdkit")
        tools = self.work / "tools"
        tools.mkdir()
        for name in ("qemu-img", "qemu-nbd", "timeout", "setpriv", "env", "sh"):
            (tools / name).symlink_to(shutil.which(name))
        running = self.start("validate", self.v2v_plan(), env={"PATH": str(tools)})
        self.assertIn('"nbdkit", which virt-v2v needs, is not installed', running.finish().err)
        self.program.write_text("#!/bin/sh\nexit 2\n")
        done = self.host("validate", self.v2v_plan(), status=PREFLIGHT)
        self.assert_one_clear_error(done, "does not know --machine-readable")

    def test_a_dry_run_names_the_command_and_no_key(self):
        done = self.host("--output", "json", "run", self.v2v_plan({"keys": KEYS}), "--dry-run", env={"DISK_KEY": SECRET})
        text = json.dumps(done.json)
        self.assertIn("--machine-readable --root first --key /dev/sda2:file:DIRECTORY/key-0 -i libvirtxml DIRECTORY/domain.xml", text)
        self.assertIn("free blocks count as changed", text)
        self.assertNotIn(SECRET, text)

    def test_a_cancel_ends_it(self):
        self.how("hang")
        running = self.start("run", self.v2v_plan())
        running.wait_for((self.place / "hangs").exists, "the program")
        running.process.send_signal(signal.SIGINT)
        running.finish()
        self.assertEqual(running.wait_none_left(), {})
        self.assert_scratch_is_empty()

    def test_the_next_run_removes_what_a_killed_one_left(self):
        self.how("hang")
        running = self.start("run", self.v2v_plan())
        running.wait_for((self.place / "hangs").exists, "the program")
        running.process.kill()
        running.process.wait()
        self.assertEqual(running.wait_none_left(), {})
        self.how("well")
        self.host("run", self.v2v_plan())
        self.assert_scratch_is_empty()


if __name__ == "__main__":
    requirement.main()
