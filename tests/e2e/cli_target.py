#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a delivered VM can be started from: the files of the default target, read by what reads them."""

import json
import os
import pathlib
import re
import subprocess

import yaml

from hyperhost_cli import MIB, PREFLIGHT, RENDERED, ROOT, CliTest, requirement
import go_program

SCHEMA = pathlib.Path("/usr/share/libvirt/schemas/domain.rng")
EVIL = "$(touch pwned) `touch pwned`;touch 'pwned' \"q\" <x> & ]]> \u2028--- #\u00e9"


class Target(CliTest):
    def disk(self, name="web"):
        path = self.work / f"{name}.raw"
        path.write_bytes(os.urandom(MIB) + bytes(MIB))
        return path

    def valid(self, domain):
        """libvirt's own schema takes the domain."""
        requirement.tool("xmllint", "libxml2-utils")
        requirement.need(SCHEMA.exists(), "libvirt's schemas are not installed (Debian package libvirt0)")
        done = subprocess.run(["xmllint", "--noout", "--relaxng", SCHEMA, domain], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)

    def stored(self, text, status=0):
        """The documents as KubeVirt and CDI would store them, which take no member that their API does not have."""
        path = self.work / "read.yaml"
        path.write_text(text)
        reader = go_program.built(ROOT / "tests/kubevirt", "the reader of KubeVirt's types")
        done = subprocess.run([reader, path], capture_output=True, text=True)
        self.assertEqual(done.returncode, status, done.stderr)
        return json.loads(done.stdout) if status == 0 else done.stderr

    def calls(self, script, program, *arguments):
        """How a script calls a program: each time its arguments."""
        bin_dir = self.work / "bin"
        bin_dir.mkdir(exist_ok=True)
        stub = bin_dir / program
        stub.write_text("#!/usr/bin/python3\nimport json, sys\n"
                        f"open({str(self.work / 'calls')!r}, 'a').write(json.dumps(sys.argv[1:]) + '\\n')\n"
                        "print('available' if 'show' in sys.argv else 'id-1')\n")
        stub.chmod(0o755)
        (self.work / "calls").unlink(missing_ok=True)
        done = subprocess.run(["sh", script, *arguments], cwd=self.work, capture_output=True, text=True,
                              env={**os.environ, "PATH": f"{bin_dir}:{os.environ['PATH']}"})
        self.assertEqual(done.returncode, 0, done.stderr)
        return [json.loads(line) for line in (self.work / "calls").read_text().splitlines()]

    def test_every_migration_ends_with_files_from_which_the_vm_is_made(self):
        result = self.report(self.plan(self.disk(), vm="web"))
        made = self.work / "out/web"
        self.assertEqual(sorted(os.listdir(made)), sorted(["manifest.json", "web-disk-0.qcow2", *RENDERED]))
        self.assertEqual((result["target"]["plugin"], sorted(result["target"]["files"])), ("file", RENDERED))
        own = json.loads((made / "manifest.json").read_text())["hyperhost"]
        self.assertEqual(own["machine"]["disks"][0]["boot"], True)
        self.assertEqual(own["target"]["ref"], "web")
        self.valid(made / "libvirt.xml")
        domain = (made / "libvirt.xml").read_text()
        self.assertIn(f'<source file="{made}/web-disk-0.qcow2"/>', domain)
        machine = list(yaml.safe_load_all((made / "kubevirt.yaml").read_text()))
        self.assertEqual([one["kind"] for one in machine], ["DataVolume", "VirtualMachine"])
        (create,) = self.calls(made / "proxmox.sh", "qm", "117", "fast")
        self.assertEqual(create[:2], ["create", "117"])
        self.assertIn(f"fast:0,import-from={made}/web-disk-0.qcow2", create)
        calls = self.calls(made / "openstack.sh", "openstack", "m1.small", "lab")
        self.assertEqual([call[:2] for call in calls if call[1] == "create"],
                         [["image", "create"], ["volume", "create"], ["server", "create"]])
        before = self.files(made)
        self.assertTrue(self.report(self.plan(self.work / "web.raw", vm="web"))["already_done"])
        self.assertEqual(before, self.files(made))

    def test_kubevirt_s_own_types_take_what_is_written(self):
        self.report(self.plan(self.disk(), vm="web"))
        written = (self.work / "out/web/kubevirt.yaml").read_text()
        volume, machine = self.stored(written)
        self.assertEqual((volume["spec"]["source"], volume["spec"]["storage"]["resources"]["requests"]["storage"]),
                         ({"upload": {}}, str(2 * MIB)))
        spec = machine["spec"]["template"]["spec"]
        self.assertEqual(spec["volumes"], [{"name": "disk-0", "dataVolume": {"name": volume["metadata"]["name"]}}])
        self.assertEqual(machine["spec"]["runStrategy"], "Halted")
        self.assertIn("secureboot", self.stored(written.replace("bios: {}", "efi: {secureboot: true}"), status=1))
        self.assertIn("is of nothing", self.stored(written.replace("  - name: disk-0\n          dataVolume", "  - name: disk-1\n          dataVolume"), status=1))
        # The files that the unit tests have byte for byte: with UEFI, secure boot, a TPM, Windows' clock, several networks.
        for directory in ("linux", "windows"):
            expected = (ROOT / "tests/unit/target" / directory / "expected").read_text()
            text = expected.split("==== kubevirt.yaml\n")[1].split("\n==== ")[0]
            *volumes, machine = self.stored(text)
            self.assertEqual(len(volumes), len(machine["spec"]["template"]["spec"]["domain"]["devices"]["disks"]))
        self.assertEqual(machine["spec"]["template"]["spec"]["domain"]["firmware"]["bootloader"], {"efi": {"secureBoot": True}})

    def test_the_names_of_a_vm_are_no_commands(self):
        plan = self.plan(self.disk(), vm="web", defaults={"target": {
            "name": EVIL, "networks": {"*": EVIL}, "storages": {"*": EVIL}, "machine": {"cpus": 3, "memory": "1GiB"}}})
        self.report(plan)
        made = self.work / "out/web"
        self.valid(made / "libvirt.xml")
        *volumes, machine = yaml.safe_load_all((made / "kubevirt.yaml").read_text())
        self.assertEqual((len(volumes), machine["metadata"]["annotations"]["hyperhost/name"]), (1, EVIL))
        self.assertRegex(machine["metadata"]["name"], r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
        self.assertEqual(machine["spec"]["template"]["spec"]["domain"]["cpu"]["cores"], 3)
        (create,) = self.calls(made / "proxmox.sh", "qm", "117")
        self.assertEqual(create[create.index("--memory") + 1], "1024")
        self.assertRegex(create[create.index("--name") + 1], r"^[a-z0-9-]+$")
        calls = self.calls(made / "openstack.sh", "openstack", "m1.small")
        self.assertEqual(calls[-1][-1], EVIL)
        self.assertEqual([p for p in self.work.rglob("*") if p.name == "pwned"], [])

    def test_without_a_target_there_are_the_disks_alone(self):
        result = self.report(self.plan(self.disk(), vm="web", defaults={"target": False}))
        self.assertEqual(sorted(os.listdir(self.work / "out/web")), ["manifest.json", "web-disk-0.qcow2"])
        self.assertNotIn("target", result)

    def test_with_an_upload_they_are_where_the_manifest_is(self):
        (self.work / "bucket").mkdir()
        self.report(self.plan(self.disk(), vm="web", defaults={"target": {"options": {"render": ["kubevirt"]}}},
                              upload={"destination": f"file://{self.work}/bucket", "keep_local": False}))
        self.assertEqual(sorted(os.listdir(self.work / "bucket/web")), ["kubevirt.yaml", "manifest.json", "web-disk-0.qcow2"])
        self.assertFalse((self.work / "out/web").exists())

    def mine(self):
        """A file of the user's with the name of one of the target's."""
        (self.work / "out/web").mkdir(parents=True)
        (self.work / "out/web/libvirt.xml").write_text("mine")

    def test_a_file_that_is_there_keeps_no_vm_from_being_migrated(self):
        self.mine()
        result = self.report(self.plan(self.disk(), vm="web"))
        self.assertEqual(sorted(result["target"]["files"]), [name for name in RENDERED if name != "libvirt.xml"])
        self.assertRegex("\n".join(one["summary"] for one in result["warnings"]), r"it exists and stays as it is: .*libvirt\.xml")
        self.assertEqual((self.work / "out/web/libvirt.xml").read_text(), "mine")
        self.assertTrue(self.report(self.plan(self.work / "web.raw", vm="web"))["already_done"])
        self.report(self.plan(self.work / "web.raw", vm="web", defaults={"overwrite": True}))
        self.assertIn("<domain", (self.work / "out/web/libvirt.xml").read_text())

    def test_where_the_plan_asks_for_the_target_such_a_file_is_an_error_before_the_copy(self):
        self.mine()
        done = self.host("run", self.plan(self.disk(), vm="web", defaults={"target": {"plugin": "file"}}), status=PREFLIGHT)
        self.assertRegex(done.err, r"target exists: .*libvirt\.xml")
        self.assertEqual(os.listdir(self.work / "out/web"), ["libvirt.xml"])

    def test_a_target_that_is_no_target_is_a_mistake_in_the_plan(self):
        done = self.host("validate", self.plan(self.disk(), vm="web", defaults={"target": {"plugin": "local"}}), status=None)
        self.assertRegex(done.err, r"'local' does not offer hyper.target/draft-1")
        self.assertTrue(re.search("plugins that do: .*file", done.err), done.err)


if __name__ == "__main__":
    requirement.main()
