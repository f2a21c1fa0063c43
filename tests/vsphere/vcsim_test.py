# SPDX-License-Identifier: Apache-2.0
"""The vsphere provider against the govmomi simulator, a peer that no one here wrote."""

import json
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]
from hyperhost_cli import CliTest, FAILED, GIB, MIB, OK, PREFLIGHT, requirement, sparse_raw  # noqa: E402
from vcsim import Vcsim  # noqa: E402
from vim_client import VimClient, text  # noqa: E402

VM = "DC0_H0_VM0"


class VcsimTest(CliTest):
    flags = ()

    def setUp(self):
        super().setUp()
        self.sim = Vcsim(self.work, *self.flags)
        self.addCleanup(self.sim.stop)

    def vim(self):
        return VimClient(self.sim.url, Vcsim.USER, Vcsim.PASSWORD)

    def provider(self, **keys):
        return {"plugin": "vsphere", "endpoint": self.sim.url, "username": Vcsim.USER,
                "password": {"file": str(self.sim.password_file)}, "tls": {"ca_file": str(self.sim.cert_file)}, **keys}

    def plan(self, vm=VM, options=None, migration=None, **keys):  # pylint: disable=arguments-differ
        return super().plan("", vm=vm, providers={"lab": self.provider(**(options or {}))},
                            migrations=[{"vm": vm, "provider": "lab", **(migration or {})}], **keys)

    def give_disk(self, name=VM, data=16 * MIB):
        """Puts a streamOptimized VMDK where the simulator serves the VM's first disk from; returns the raw original."""
        with self.vim() as vim:
            capacity = int(text(vim.disks(vim.vm(name))[0], "capacityInKB")) * 1024
        raw = sparse_raw(self.work / f"{name}.raw", capacity, data, compressible=True)
        vmdk = self.work / f"{name}.vmdk"
        done = self.qemu_img("convert", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, vmdk)
        self.assertEqual(done.returncode, 0, done.stdout)
        with self.vim() as vim:
            vm = vim.vm(name)
            disk = vim.disks(vm)[0]
            vim.put_file(text(disk, "backing/fileName"), "ha-datacenter" if "-esx" in self.flags else "DC0",
                         vmdk.read_bytes())
        return raw

    def assert_clean(self, *names):
        """No snapshot, no session but the one that looks."""
        with self.vim() as vim:
            for name in names or (VM,):
                self.assertEqual(vim.snapshots(vim.vm(name)), [])
            self.assertEqual(vim.sessions(), 0)


class Inventory(VcsimTest):
    flags = ("-vm", "4")

    def test_list_and_describe(self):
        listed = self.host("--output", "json", "list", "--plan", self.plan()).json
        vms = {vm["name"]: vm for vm in listed["vms"]}
        self.assertEqual(sorted(vms), [f"DC0_{where}_VM{i}" for where in ("C0_RP0", "H0") for i in range(4)])
        one = vms["DC0_C0_RP0_VM1"]
        self.assertEqual((one["path"], one["power_state"], one["disks"]), ("/DC0/vm/DC0_C0_RP0_VM1", "on", 1))
        described = self.host("--output", "json", "describe", VM, "--plan",
                              self.plan(options={"transport": "lease"})).json
        self.assertEqual(described["datacenter"], "DC0")
        self.assertEqual(described["disks"][0]["access"], ["stream"])
        self.assertTrue(described["nics"][0]["mac"])
        self.assert_clean()

    def test_finds_by_path_uuid_and_reference(self):
        first = self.host("--output", "json", "describe", VM, "--plan", self.plan()).json
        for name in ("/DC0/vm/" + VM, "DC0/vm/" + VM, first["uuid"], first["instance_uuid"], first["ref"]):
            found = self.host("--output", "json", "describe", name, "--plan", self.plan()).json
            self.assertEqual(found["ref"], first["ref"], name)
        missing = self.host("describe", "no-such-vm", "--plan", self.plan(), status=None)
        self.assertNotEqual(missing.status, OK)
        self.assertIn("there is no VM 'no-such-vm'", missing.err)

    def test_a_name_that_is_not_unique_lists_its_bearers(self):
        with self.vim() as vim:
            folder = next(ref for ref in vim.all("Folder") if vim.properties(ref, "name")["name"].text == "vm")
            inner = vim.call("CreateFolder", folder, "<name>other</name>")[0]
            vim.task("Rename_Task", vim.vm("DC0_H0_VM1"), "<newName>twin</newName>")
            moved = vim.vm("twin")
            vim.task("MoveIntoFolder_Task", ("Folder", inner.text), f'<list type="VirtualMachine">{moved[1]}</list>')
            vim.task("Rename_Task", vim.vm("DC0_H0_VM2"), "<newName>twin</newName>")
        done = self.host("describe", "twin", "--plan", self.plan(), status=None)
        self.assertNotEqual(done.status, OK)
        self.assertIn("/DC0/vm/other/twin", done.err)
        self.assertIn("/DC0/vm/twin", done.err)
        found = self.host("--output", "json", "describe", "/DC0/vm/other/twin", "--plan", self.plan()).json
        self.assertEqual(found["folder"], "/DC0/vm/other")

    def test_the_description_is_judged_by_rules(self):
        with self.vim() as vim:
            vm = vim.vm(VM)
            vim.task("ReconfigVM_Task", vm, """<spec><cpuHotAddEnabled>true</cpuHotAddEnabled>
                <memoryHotAddEnabled>true</memoryHotAddEnabled>
                <deviceChange><operation>add</operation><device xsi:type="VirtualUSBController"><key>-7</key></device></deviceChange>
                <deviceChange><operation>add</operation><device xsi:type="VirtualPCIPassthrough"><key>-8</key>
                <deviceInfo xsi:type="Description"><label>A card</label><summary/></deviceInfo></device></deviceChange>
                <extraConfig xsi:type="OptionValue"><key>disk.EnableUUID</key><value xsi:type="xsd:string">TRUE</value></extraConfig>
                <extraConfig xsi:type="OptionValue"><key>numa.nodeAffinity</key><value xsi:type="xsd:string">0</value></extraConfig>
                <firmware>efi</firmware><bootOptions><efiSecureBootEnabled>true</efiSecureBootEnabled></bootOptions></spec>""")
            vim.task("PowerOffVM_Task", vm)
            vim.task("CreateSnapshot_Task", vm, "<name>before</name><memory>false</memory><quiesce>false</quiesce>")
        found = self.host("--output", "json", "inspect", VM, "--plan", self.plan(), "--depth", "description", status=PREFLIGHT).json
        rules = {one["rule"]: one for one in found["findings"]}
        for rule, severity in (("vm.passthrough", "error"), ("vm.hot-add", "warning"), ("vm.usb-controller", "note"),
                               ("disk.serial", "note"), ("vm.numa-affinity", "warning"), ("vm.nvram", "warning"),
                               ("vm.secure-boot", "warning"), ("vm.snapshot", "warning"), ("vm.name", "note")):
            self.assertEqual(rules[rule]["severity"], severity, rule)
        self.assertEqual(rules["vm.hot-add"]["evidence"], "CPUs, memory")
        self.assertEqual(rules["vm.snapshot"]["evidence"], "1: before")
        self.assertEqual(found["source_bytes_read"], 0)
        quiet = self.host("--output", "json", "inspect", "DC0_H0_VM1", "--plan", self.plan(), "--depth", "description").json
        self.assertEqual({one["severity"] for one in quiet["findings"]} & {"error", "warning"}, set(), quiet["findings"])

    def findings(self, vm):
        found = self.host("--output", "json", "inspect", vm, "--plan", self.plan(), "--depth", "description").json["findings"]
        return {one["rule"]: one for one in found}

    def test_the_settings_and_rules_of_a_cluster(self):
        plain = self.findings("DC0_C0_RP0_VM0")
        self.assertEqual((plain["vm.drs"]["severity"], plain["vm.drs"]["evidence"]), ("note", "DC0_C0"))
        self.assertEqual({"vm.dpm", "vm.ha", "vm.host-affinity", "vm.vm-affinity"} & set(plain), set())
        with self.vim() as vim:
            cluster = vim.all("ClusterComputeResource")[0]
            hosts = [ref for ref in vim.all("HostSystem") if vim.properties(ref, "parent")["parent"].text == cluster[1]]
            first, second, third = (f'<vm type="VirtualMachine">{vim.vm(f"DC0_C0_RP0_VM{i}")[1]}</vm>' for i in range(3))
            vim.task("ReconfigureComputeResource_Task", cluster, f"""<spec xsi:type="ClusterConfigSpecEx">
                <dasConfig><enabled>true</enabled></dasConfig><drsConfig><enabled>false</enabled></drsConfig>
                <rulesSpec><operation>add</operation><info xsi:type="ClusterVmHostRuleInfo"><enabled>true</enabled>
                <name>licences</name><mandatory>true</mandatory><vmGroupName>paid</vmGroupName>
                <affineHostGroupName>rack 2</affineHostGroupName></info></rulesSpec>
                <rulesSpec><operation>add</operation><info xsi:type="ClusterAntiAffinityRuleSpec"><enabled>true</enabled>
                <name>pair</name>{first}{second}</info></rulesSpec>
                <rulesSpec><operation>add</operation><info xsi:type="ClusterAffinityRuleSpec"><enabled>false</enabled>
                <name>off</name>{first}{second}</info></rulesSpec>
                <groupSpec><operation>add</operation><info xsi:type="ClusterVmGroup"><name>paid</name>{first}{third}</info></groupSpec>
                <groupSpec><operation>add</operation><info xsi:type="ClusterHostGroup"><name>rack 2</name>
                <host type="HostSystem">{hosts[0][1]}</host></info></groupSpec></spec><modify>true</modify>""")
        licences, pair = "licences: must run on the hosts 'rack 2'", "pair: apart from other VMs"
        for number, affinities in enumerate(({"vm.host-affinity": licences, "vm.vm-affinity": pair}, {"vm.vm-affinity": pair},
                                             {"vm.host-affinity": licences}, {})):
            found = self.findings(f"DC0_C0_RP0_VM{number}")
            self.assertEqual({rule: one["evidence"] for rule, one in found.items() if rule.endswith("-affinity")}, affinities)
            self.assertEqual({one["severity"] for rule, one in found.items() if rule.endswith("-affinity")} - {"warning"}, set())
            self.assertEqual((found["vm.ha"]["severity"], found["vm.ha"]["evidence"]), ("warning", "DC0_C0"))
            self.assertNotIn("vm.drs", found)
        alone = self.findings(VM)  # its host is in no cluster
        self.assertEqual({"vm.drs", "vm.ha", "vm.host-affinity", "vm.vm-affinity"} & set(alone), set())

    def test_wrong_password_and_unknown_certificate(self):
        wrong = self.work / "wrong"
        wrong.touch(0o600)
        wrong.write_text("not-it")
        done = self.host("run", self.plan(options={"password": {"file": str(wrong)}}), status=None)
        self.assertIn("InvalidLogin", done.err)
        self.assertNotIn("not-it", done.err)
        done = self.host("run", self.plan(options={"tls": {}}), status=None)
        self.assertIn("is not trusted", done.err)
        self.assertIn("the thumbprint", done.err)
        thumbprint = subprocess.run(["openssl", "x509", "-in", self.sim.cert_file, "-noout", "-fingerprint", "-sha256"],
                                    check=True, stdout=subprocess.PIPE, text=True).stdout.split("=")[1].strip()
        self.assertIn(thumbprint.lower(), done.err.lower())
        self.host("list", "--plan", self.plan(options={"tls": {"thumbprint": thumbprint}}))
        done = self.host("list", "--plan", self.plan(options={"tls": {"insecure": True}}))
        self.assertIn("is not checked", done.err)


class Token(VcsimTest):
    def test_a_login_by_token(self):
        token = self.work / "token"
        token.touch(0o600)
        token.write_text('<saml2:Assertion xmlns:saml2="urn:oasis:names:tc:SAML:2.0:assertion" ID="_1"><saml2:Subject>'
                         "<saml2:NameID>ops@sso.test</saml2:NameID></saml2:Subject></saml2:Assertion>")
        plan = self.plan()
        text = json.loads(plan.read_text())
        provider = text["providers"]["lab"]
        del provider["username"], provider["password"]
        provider["token"] = {"file": str(token)}
        plan.write_text(json.dumps(text))
        listed = self.host("--output", "json", "list", "--plan", plan).json["vms"]
        self.assertIn(VM, [vm["name"] for vm in listed])
        self.assert_clean()


class Export(VcsimTest):
    def test_a_running_vm_by_snapshot_is_identical_and_leaves_nothing(self):
        raw = self.give_disk()
        plan = self.plan()
        self.host("validate", plan)
        result = self.report(plan)
        self.assertEqual(result["outcome"], "succeeded", result)
        made = self.work / "out" / VM / f"{VM}-disk-0.qcow2"
        done = self.qemu_img("compare", raw, made)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assert_clean()
        self.host("verify", self.work / "out" / VM / "manifest.json")

    def test_the_other_converter_stages_the_stream(self):
        raw = self.give_disk(data=4 * MIB)
        self.host("run", self.plan(converter={"plugin": "qemu-img"}))
        done = self.qemu_img("compare", raw, self.work / "out" / VM / f"{VM}-disk-0.qcow2")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assert_clean()

    def test_another_size_than_the_vms_disk_is_refused(self):
        self.give_disk()
        with self.vim() as vim:
            vm = vim.vm(VM)
            vim.set_capacity(vm, vim.disks(vm)[0], 20 * GIB)
        done = self.host("run", self.plan(), status=FAILED)
        self.assertIn("with another size", done.err)
        self.assert_nothing_left()
        self.assert_clean()

    def give_flat_disk(self, capacity, data):
        """A second disk, as a flat file; returns its content, and what puts another there."""
        raw = sparse_raw(self.work / "second.raw", capacity, data)
        with self.vim() as vim:
            vm = vim.vm(VM)
            vim.task("PowerOffVM_Task", vm)
            vim.add_disk(vm, vim.disks(vm)[0], capacity)
            self.put_flat(raw)
        return raw

    def put_flat(self, raw):
        with self.vim() as vim:
            flat = text(vim.disks(vim.vm(VM))[1], "backing/fileName").replace(".vmdk", "-flat.vmdk")
            vim.put_file(flat, "DC0", raw.read_bytes())

    def plan_of_flat_disk(self, **keys):
        return self.plan(migration={"disks": {"include": ["disk-1"]},
                                    "provider_options": {"transport": "datastore"}}, **keys)

    def assert_is_flat_disk(self, raw):
        done = self.qemu_img("compare", raw, self.work / "out" / VM / f"{VM}-disk-1.qcow2")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assert_clean()

    def test_ranges_of_a_flat_file(self):
        raw = self.give_flat_disk(16 * MIB, 4 * MIB)
        done = self.host("run", self.plan_of_flat_disk(batch={"source_bandwidth_limit": "8MB"}))
        self.assertGreater(done.seconds, 1.8)  # 16 MiB: 2.1 s
        self.assert_is_flat_disk(raw)

    def test_ranges_go_on_where_a_killed_run_ended_unless_the_file_is_another(self):
        raw = self.give_flat_disk(96 * MIB, 64 * MIB)
        other = sparse_raw(self.work / "other.raw", 96 * MIB, 32 * MIB, seed=2)
        plan = self.plan_of_flat_disk(
            defaults={"compression": "zlib", "compression_level": 9, "verify": "target"},
            batch={"max_retries": 0, "checkpoint_bytes": 4 * MIB, "checkpoint_interval": "1h"})
        for content, resumed in ((raw, True), (other, False)):
            shutil.rmtree(self.work / "out", ignore_errors=True)
            running = self.start("run", plan)
            running.wait_for(lambda: self.records("writing"), "a saved state", 240)
            running.process.kill()
            running.process.wait()
            if content != raw:
                self.put_flat(content)
            result = self.report(plan)
            self.assertEqual(result["disks"][0]["resumed_bytes"] > 0, resumed)
            self.host("cleanup", plan)
            self.assert_is_flat_disk(content)

    def test_power_policies(self):
        raw = self.give_disk(data=4 * MIB)
        done = self.host("run", self.plan(migration={"provider_options": {"power": "require-off"}}), status=None)
        self.assertIn("not powered off", done.err)
        self.assertIn(done.status, (FAILED, PREFLIGHT))
        with self.vim() as vim:
            self.assertEqual(vim.power(vim.vm(VM)), "poweredOn")
        self.host("run", self.plan(migration={"provider_options": {
            "power": "shutdown", "shutdown_fallback": "power-off"}}))
        done = self.qemu_img("compare", raw, self.work / "out" / VM / f"{VM}-disk-0.qcow2")
        self.assertEqual(done.returncode, 0, done.stdout)
        with self.vim() as vim:
            self.assertEqual(vim.power(vim.vm(VM)), "poweredOff")
        self.assert_clean()

    def test_options_of_the_connection_are_not_for_one_vm(self):
        done = self.host("validate", self.plan(migration={"provider_options": {"endpoint": "x", "powr": "off"}}), status=2)
        self.assertIn("'endpoint' is the same for all VMs", done.err)
        self.assertIn("powr", done.err)


class Host(VcsimTest):
    """A stand-alone ESXi: other manager references, '*' in lease urls."""
    flags = ("-esx", "-vm", "1")

    def test_a_host_of_its_own(self):
        with self.vim() as vim:
            name = vim.properties(vim.all("VirtualMachine")[0], "name")["name"].text
        raw = self.give_disk(name, data=4 * MIB)
        self.host("run", self.plan(vm=name))
        done = self.qemu_img("compare", raw, self.work / "out" / name / f"{name}-disk-0.qcow2")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assert_clean(name)


if __name__ == "__main__":
    requirement.main()
