# SPDX-License-Identifier: Apache-2.0
"""The vsphere provider against a vCenter that makes faults (fault_vcenter.py). ROWS names every fault and how it ends."""

import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]
from fault_vcenter import FaultVCenter, Model, sample  # noqa: E402
from hyperhost_cli import CliTest, FAILED, INTERRUPTED, MIB, OK, PREFLIGHT, RENDERED, content_digest, requirement  # noqa: E402
from vcenter_model import Dialect, Disk  # noqa: E402

ALWAYS = 99


class FaultTest(CliTest):
    dialect = Dialect()

    def setUp(self):
        super().setUp()
        requirement.tool("openssl", "openssl")
        self.server = self.new_server()

    def new_server(self):
        server = FaultVCenter(self.work, self.dialect)
        self.addCleanup(server.stop)
        return server

    def provider(self, **keys):
        return {"plugin": "vsphere", "endpoint": self.server.url, "username": FaultVCenter.USER,
                "password": {"file": str(self.server.password_file)}, "tls": {"ca_file": str(self.server.certificate[0])},
                "transport": "lease", **keys}

    batch = {}

    def plan(self, vm="web", options=None, migration=None, retries=0, **keys):  # pylint: disable=arguments-differ
        provider = {key: value for key, value in self.provider(**(options or {})).items() if value is not None}
        return super().plan("", vm=vm, providers={"lab": provider},
                            migrations=[{"vm": vm, "provider": "lab", **(migration or {})}],
                            batch={"max_retries": retries, "retry_delay": "1ms", **self.batch},
                            defaults={"durability": "none"}, **keys)

    def add_vm(self, name="web", disks=1, **keys):
        return self.server.model.add_vm(name, [sample(seed=7 + i) for i in range(disks)], **keys)

    def assert_migrated(self, vm, out="out"):
        manifest = json.loads((self.work / out / vm.name / "manifest.json").read_text())
        self.assertEqual(len(manifest["disks"]), len(vm.disks))
        for number, disk in enumerate(vm.disks):
            raw = self.work / "expected.raw"
            raw.write_bytes(disk.content.read(0, disk.capacity))
            self.assertEqual(manifest["hyperhost"]["disks"][number]["content_digest"], content_digest(raw))
        return manifest

    def assert_nothing_owed(self):
        self.assertEqual(self.server.left(), [])
        cleaned = self.host("--output", "json", "cleanup", self.work / "plan.yaml").json
        self.assertEqual(cleaned["entries"], [])


def row(faults, *words, vm=None, options=None, retries=0, ok=None, note=(), power=None):
    """words: what the error says; none of them = the migration succeeds. note: what is said on the way. power: afterwards, where
    it is another than before."""
    return {"faults": faults, "words": words, "vm": vm or {}, "options": options or {}, "retries": retries,
            "ok": not words if ok is None else ok, "note": note, "power": power}


RUNNING = {"power": "poweredOn"}
ROWS = {
    # name: what the server does (FAULTS in fault_vcenter.py), and how it ends
    "no fault, powered off: ExportVm": row({}),
    "no fault, running: snapshot and ExportSnapshot": row({}, vm=RUNNING, note=("is running",)),
    "suspended": row({}, vm={"power": "suspended"}, note=("is suspended",)),
    "cookie without quotes": row({"quoted_cookie": False}),
    "'*' in the lease's urls": row({"star_urls": True}),
    "no ExportVm: a snapshot is exported instead": row({"no_export_vm": True}),
    "one lease a VM: its disks share it": row({"one_lease_a_vm": True}, vm={"disks": 3}),
    "the host's certificate was changed": row({"wrong_thumbprint": True}, "another than was agreed"),
    "a lease that is not ready at once": row({"lease_initializing": 3}),
    "a lease of three seconds, kept alive": row({"lease_timeout": 3, "nfc_rate": 130_000}),
    "the lease is taken away": row({"refuse_progress": True, "nfc_rate": 400_000}, "was ended by the server"),
    "the session is lost in mid-lease": row({"session_loss": 300_000, "nfc_rate": 500_000, "lease_timeout": 3},
                                            "was ended by the server", vm=RUNNING),
    "… and the next try succeeds": row({"session_loss": 300_000, "nfc_rate": 500_000, "lease_timeout": 3}, vm=RUNNING,
                                       retries=1),
    "… also of several disks": row({"session_loss": 300_000, "nfc_rate": 500_000, "lease_timeout": 3},
                                   vm={**RUNNING, "disks": 3}, retries=1),
    "the session expired between operations": row({"expire_before": "CreateSnapshot_Task"}, vm=RUNNING),
    "the session ended before the VM is read": row({"expire_before": "RetrievePropertiesEx"}),
    "the session ended while the snapshot is made": row({"expire_after": "CreateSnapshot_Task"}, vm=RUNNING),
    "the session ended before the snapshot is removed": row({"expire_after": "HttpNfcLeaseComplete"}, vm=RUNNING),
    "… and the server says so by a fault": row({"expire_after": "HttpNfcLeaseComplete", "session_fault": True}, vm=RUNNING),
    "the session ended once the guest was asked to shut down": row(
        {"expire_after": "ShutdownGuest"}, vm=RUNNING, options={"power": "shutdown", "shutdown_timeout": "3s"}),
    "the power state cannot be read": row({"missing_after": ["ShutdownGuest", {"runtime.powerState": "NoPermission"}]},
                                          "cannot read the VM's power state", "NoPermission", vm=RUNNING, power="poweredOff",
                                          options={"power": "shutdown", "shutdown_timeout": "3s"}),
    "the VM's snapshots cannot be read": row({"missing": {"snapshot": "NoPermission"}}, "the property snapshot cannot be read"),
    "the stream ends early, in good order": row({"nfc_truncate": 200_000}, "truncated"),
    "the stream ends in its header": row({"nfc_truncate": 100}, "truncated"),
    "the stream is empty": row({"nfc_truncate": 0}, "truncated"),
    "the connection is reset": row({"nfc_drop": (200_000, ALWAYS)}, "broke off"),
    "the connection is reset once: the disk is read again": row({"nfc_drop": (200_000, 1)}, retries=1, note=("read again",)),
    "the connection is reset twice: the VM is tried again": row({"nfc_drop": (200_000, 2)}, vm=RUNNING, retries=1,
                                                                note=("read again",)),
    "the host is busy (503) twice": row({"nfc_status": [503, 503]}),
    "the host is busy (503) for good": row({"nfc_status": [503] * ALWAYS}, "HTTP 503"),
    "the disk is locked (500)": row({"nfc_status": [500] * ALWAYS}, "HTTP 500", "locked"),
    "the lease's address is not accepted (401)": row({"nfc_status": [401] * ALWAYS}, "HTTP 401"),
    "the host falls silent": row({"nfc_silent": 200_000}, "stands still", options={"stall_timeout": "500ms"}),
    "the host trickles": row({"nfc_piece": 20, "nfc_rate": 400}, "stands still", options={"stall_timeout": "500ms"}),
    "the host sends next to nothing": row({"nfc_piece": 1000, "nfc_rate": 40_000}, "stands still",
                                          options={"stall_timeout": "500ms"}),
    "bytes arrive changed": row({"nfc_flip": 10_000}, "damaged"),
    "the manifest has another checksum": row({"wrong_manifest": True}, "did not come as it was sent"),
    "the server has no manifest": row({"no_manifest": True}),
    "vCenter is busy (503)": row({"http_status": [503]}),
    "the export is not permitted": row({"faults": {"ExportVm": ["NoPermission"]}}, "NoPermission", "VApp.Export"),
    "the host's licence is read-only": row({"faults": {"ExportVm": ["RestrictedVersion"]}}, "licence"),
    "another task holds the VM for a moment": row({"faults": {"ExportVm": ["TaskInProgress", "FileLocked"]}}),
    "the snapshot fails": row({"task_faults": {"CreateSnapshot_Task": ["InsufficientStorageSpace"]}}, "datastore is full",
                              vm=RUNNING),
    "the guest cannot be quiesced": row({"task_faults": {"CreateSnapshot_Task": ["ApplicationQuiesceFault"]}}, vm=RUNNING,
                                        note=("could not settle",)),
    "… and must be": row({"task_faults": {"CreateSnapshot_Task": ["ApplicationQuiesceFault"]}}, "ApplicationQuiesceFault",
                         vm=RUNNING, options={"quiesce": "always"}),
    "the snapshot cannot be removed at once": row({"task_faults": {"RemoveSnapshot_Task": ["FileLocked", "TaskInProgress"]}},
                                                  vm=RUNNING),
    "the guest is shut down": row({}, vm=RUNNING, options={"power": "shutdown"}, note=("will be shut down",)),
    "the guest does not shut down": row({"guest_hangs": True}, "does not shut down", vm=RUNNING,
                                        options={"power": "shutdown", "shutdown_timeout": "300ms"}),
    "… and is powered off": row({"guest_hangs": True}, vm=RUNNING, note=("without its guest's consent",), options={
        "power": "shutdown", "shutdown_timeout": "300ms", "shutdown_fallback": "power-off"}),
    "no VMware Tools": row({}, "cannot be asked to shut down", vm={**RUNNING, "tools": "guestToolsNotRunning"},
                           options={"power": "shutdown"}),
    "a second lease is refused by another fault: the disks share the first": row({"one_lease_a_vm": "SystemError"}, vm={"disks": 3}),
    "a template that the server does not export": row({}, "the template 'vm", "Clone it", vm={"template": True}),
    "the stream does not end": row({"nfc_endless": True}, "without an end"),
    "an answer of two million elements": row({"tags": ["RetrievePropertiesEx", 1_000_001]}, "XML tags"),
    "a running VM where none may be": row({}, "not powered off", vm=RUNNING, options={"power": "require-off"}),
}


AUTO, DATASTORE = {"transport": "auto"}, {"transport": "datastore"}
BY_LEASE = ("is exported by lease",)
RANGE_ROWS = {
    "ranges of the flat file": row({}, options=DATASTORE),
    "ranges of the frozen base below our snapshot": row({}, vm=RUNNING, options=DATASTORE, note=("may be locked while it runs",)),
    "a template's disks, which no lease has": row({}, vm={"template": True, "change_tracking": False}, options=AUTO),
    "ranges are ignored": row({"range_ignored": True}, "ignores ranges", options=DATASTORE),
    "ranges are ignored: by lease": row({"range_ignored": True}, options=AUTO, note=BY_LEASE),
    "another range comes than was asked": row({"range_wrong": 2}, options=DATASTORE),
    "another range comes, for good": row({"range_wrong": ALWAYS}, "another range", options=DATASTORE),
    "the datastore is busy (503) for a while": row({"range_status": [503, 503, 503]}, options=DATASTORE),
    "one range fails, again and again": row({"range_status": [503] * ALWAYS, "range_status_from": 5 * MIB}, "HTTP 503",
                                            options=DATASTORE),
    "the file is locked (500)": row({"range_status": [500] * ALWAYS}, "HTTP 500", options=DATASTORE),
    "the file is locked (500): by lease": row({"range_status": [500] * ALWAYS}, options=AUTO, note=BY_LEASE),
    "ranges fail in the middle of the disk: by lease": row(
        {"range_status": [503] * 60, "range_status_from": 5 * MIB}, options=AUTO, note=BY_LEASE, retries=1),
    "the file is gone in the middle (404): it is looked for again": row(
        {"range_status": [404], "range_status_from": 5 * MIB}, options=DATASTORE, retries=1),
    "… and by lease where that may be": row({"range_status": [404] * ALWAYS, "range_status_from": 5 * MIB}, options=AUTO,
                                            note=BY_LEASE, retries=1),
    "change tracking lies, and is not asked": row({"cbt_lies": True}, options={**DATASTORE, "skip_unallocated": False}),
    "… nor for auto, which takes the lease": row({"cbt_lies": True}, options={**AUTO, "skip_unallocated": False}),
    "the session expires between ranges": row({"folder_loss": 5}, options=DATASTORE),
    "allocated areas come in many pages": row({"cbt_page": 3}, options=DATASTORE),
    "allocated areas are not told": row({"faults": {"QueryChangedDiskAreas": ["FileFault"]}}, options=DATASTORE),
}


class Rows(FaultTest):
    def every_row(self, rows):
        only = os.environ.get("HYPERHOST_FAULT_ROW", "")
        for number, (name, wanted) in enumerate(rows.items()):
            if only not in name:
                continue
            with self.subTest(name):
                self.one_row(f"vm{number}", wanted)

    def one_row(self, name, wanted):
        server = self.server
        server.faults.clear()
        server.faults.update({k: json.loads(json.dumps(v)) if isinstance(v, (list, dict)) else v
                              for k, v in wanted["faults"].items()})
        vm = self.add_vm(name, **wanted["vm"])
        power = vm.power
        done = self.host("run", self.plan(name, wanted["options"], retries=wanted["retries"]), status=None, timeout=120)
        for word in wanted["words"] + wanted["note"]:
            self.assertIn(word, done.err)
        self.assertNotIn(FaultVCenter.PASSWORD, done.err)
        if wanted["ok"]:
            self.assertEqual(done.status, OK, done)
            self.assert_migrated(vm)
        else:
            self.assertIn(done.status, (FAILED, PREFLIGHT), done)
            self.assert_nothing_left("out/" + name)
            self.assertTrue(done.errors())
        if wanted["options"].get("power", "as-is") == "as-is" or wanted["words"]:
            self.assertEqual(vm.power, wanted["power"] or power)
        server.faults.clear()
        self.assert_nothing_owed()


class Leases(Rows):
    def test_every_row(self):
        self.every_row(ROWS)


class Ranges(Rows):
    def test_every_row(self):
        self.every_row(RANGE_ROWS)


class Details(FaultTest):
    def test_the_lease_is_kept_alive_and_completed_after_the_manifest(self):
        vm = self.add_vm()
        self.server.faults.update({"lease_timeout": 3, "nfc_rate": 130_000})
        self.host("run", self.plan())
        manifest = self.assert_migrated(vm)
        self.assertGreater(len(self.server.called("HttpNfcLeaseProgress")), 4)
        calls = [method for method, _ in self.server.calls]
        self.assertLess(calls.index("HttpNfcLeaseGetManifest"), calls.index("HttpNfcLeaseComplete"))
        self.assertEqual([how for _, how in self.server.model.ended_leases], ["done"])
        self.assertEqual(calls[-1], "Logout")
        self.assertIn("sha1 as in the lease's manifest", json.dumps(manifest))
        own = manifest["hyperhost"]["vm"]
        self.assertEqual((own["uuid"], own["instance_uuid"], own["cores_per_socket"], own["hardware"]),
                         (vm.uuid, vm.instance_uuid, 1, "vmx-19"))

    def test_the_cookie_goes_to_nobody_else_and_no_range_is_asked(self):
        self.add_vm()
        self.host("run", self.plan())
        self.assertEqual(self.server.nfc_requests, [{"host": True, "cookie": None, "range": None}])
        self.server.nfc_requests.clear()
        self.server.faults["star_urls"] = True
        self.add_vm("star")
        self.host("run", self.plan("star"))
        self.assertEqual([(r["host"], r["cookie"] is not None) for r in self.server.nfc_requests], [(False, True)])

    def test_disks_are_read_at_once_up_to_the_hosts_limit(self):
        vm = self.add_vm(disks=4)
        self.server.faults["nfc_rate"] = 1_000_000
        self.host("run", self.plan(options={"max_streams_per_host": 2}))
        self.assert_migrated(vm)
        self.assertEqual(self.server.most_streams, 2)
        self.assertEqual(len(self.server.called("ExportVm")), 4)

    def test_one_disk_that_is_read_again_costs_the_others_nothing(self):
        vm = self.add_vm(disks=3)
        self.server.faults["nfc_drop"] = (200_000, 1)
        self.host("run", self.plan(retries=1))
        self.assert_migrated(vm)
        self.assertEqual(len(self.server.nfc_requests), 4)
        self.assertEqual(sorted(how for _, how in self.server.model.ended_leases), ["aborted", "done", "done", "done"])

    def test_power_is_restored_after_a_failure_if_asked(self):
        vm = self.add_vm(power="poweredOn")
        self.server.faults["nfc_status"] = [500] * ALWAYS
        options = {"power": "shutdown"}
        self.host("run", self.plan(options=options), status=FAILED)
        self.assertEqual(vm.power, "poweredOff")
        vm.power = "poweredOn"
        done = self.host("run", self.plan(options={**options, "restore_power": True}), status=FAILED)
        self.assertEqual(vm.power, "poweredOn")
        self.assertIn("powered on again", done.err)
        self.assert_nothing_owed()

    def test_ranges_go_over_several_connections_and_skip_what_is_not_allocated(self):
        vm = self.server.model.add_vm("web", [sample(32 * MIB, seed=5, density=0.2)])
        self.server.faults.update({"nfc_rate": 4_000_000, "cbt_page": 7})
        self.host("run", self.plan(options=AUTO))
        manifest = self.assert_migrated(vm)
        self.assertEqual(self.server.called("ExportVm"), [])
        self.assertGreater(self.server.most_streams, 2)
        self.assertLessEqual(self.server.most_streams, 4)
        self.assertGreater(len(self.server.called("QueryChangedDiskAreas")), 5)
        # About 7 MiB of data, and a sample of what is said to be zero.
        self.assertLess(manifest["hyperhost"]["disks"][0]["source"]["bytes"], 20 * MIB)

    def changed_while_its_ranges_are_read(self, change, words, options=None, **keys):
        """It is changed after the first ranges; what was read of it then, of 24 MiB."""
        self.server.model.vms.clear()
        self.server.folder_requests.clear()
        vm = self.server.model.add_vm("web", [sample(24 * MIB, density=0.9)], **keys)
        running = self.start("run", self.plan(options={**DATASTORE, "datastore_connections": 1, **(options or {})}))
        running.wait_for(lambda: len(self.server.folder_requests) > 4, "ranges", 60)
        change(vm)
        done = running.finish()
        self.assertEqual(done.status, FAILED, done)
        self.assertIn("'web' was changed while it was being migrated", done.err)
        self.assertIn(words, done.err)
        self.assert_nothing_left()
        self.server.faults.clear()
        vm.snapshots.clear()
        self.assert_nothing_owed()
        asked = [range_.split("=")[1].split("-") for _, range_, _ in self.server.folder_requests]
        return sum(int(last) + 1 - int(first) for first, last in asked)

    def test_a_vm_that_is_changed_while_its_ranges_are_read_fails_at_once(self):
        def power_on(vm):
            vm.power = "poweredOn"

        def enlarge(vm):  # the file's time stays, as on some datastores
            vm.disks[0].capacity += MIB

        def take_snapshot_away(vm):
            vm.snapshots.clear()

        for change, words, keys in ((power_on, "it is on now", {}), (enlarge, "bytes now, not", {}),
                                    (take_snapshot_away, "the snapshot that is read is gone", RUNNING)):
            with self.subTest(words):
                self.server.faults["nfc_rate"] = 3_000_000
                read = self.changed_while_its_ranges_are_read(change, words, {"check_interval": "200ms"}, **keys)
                self.assertLess(read, 16 * MIB)
        with self.subTest("at the end"):
            self.server.faults["nfc_rate"] = 8_000_000
            self.changed_while_its_ranges_are_read(enlarge, "bytes now, not")

        def power_on_and_lock(vm):
            vm.power = "poweredOn"
            self.server.faults["range_status"] = [500] * ALWAYS
        with self.subTest("after an error"):
            self.server.faults["nfc_rate"] = 3_000_000
            self.assertLess(self.changed_while_its_ranges_are_read(power_on_and_lock, "it is on now"), 16 * MIB)

    def test_auto_takes_the_way_that_moves_less(self):
        """Ranges where change tracking says what is allocated; else, and of a running VM, the lease, which leaves zeros out."""
        for name, keys, asks in (("tracked", {}, True), ("untracked", {"change_tracking": False}, False), ("running", RUNNING, False)):
            with self.subTest(name):
                self.server.folder_requests.clear()
                self.server.nfc_requests.clear()
                vm = self.add_vm(name, **keys)
                plan = self.plan(name, options=AUTO)
                described = self.host("--output", "json", "describe", name, "--plan", plan).json
                self.assertEqual("seek" in described["disks"][0]["access"], asks)
                self.host("run", plan)
                self.assert_migrated(vm)
                self.assertEqual((bool(self.server.folder_requests), bool(self.server.nfc_requests)), (asks, not asks))
        vm = self.server.model.add_vm("independent", [Disk(2000, sample(MIB), mode="independent_persistent")],
                                      change_tracking=False)
        self.host("run", self.plan("independent", options=AUTO))  # no export has it
        self.assert_migrated(vm)

    def test_what_has_no_flat_file_goes_by_lease(self):
        content = sample(MIB)
        for name, disk in (("vsan", Disk(2000, content, flat=False)),
                           ("sparse", Disk(2000, content, backing="VirtualDiskSeSparseBackingInfo"))):
            vm = self.server.model.add_vm(name, [disk])
            self.host("run", self.plan(name, options=AUTO))
            self.assert_migrated(vm)
        self.assertEqual(self.server.folder_requests, [])
        done = self.host("run", self.plan("vsan", options=DATASTORE, migration={"output_name": "again"}), status=PREFLIGHT)
        self.assertIn("keeps no flat file", done.err)

    def test_snapshots_of_others_stay(self):
        vm = self.add_vm(power="poweredOn")
        vm.snapshots.append((("VirtualMachineSnapshot", "snapshot-1"), "before the update"))
        done = self.host("run", self.plan())
        self.assertIn("It has snapshots; the current state is migrated, without them: 1: before the update", done.err)
        self.assert_migrated(vm)
        self.assertEqual([name for _, name in vm.snapshots], ["before the update"])

    def test_a_host_that_reads_zeros_sends_nothing_for_a_while(self):
        vm = self.server.model.add_vm("web", [sample(400 * MIB, density=0.02)])
        self.server.faults["nfc_pause"] = (300_000, 2.2)
        self.host("run", self.plan(options={"stall_timeout": "1s"}))
        self.assert_migrated(vm)

    def test_texts_of_the_server_are_one_line_without_session_keys(self):
        self.add_vm()
        self.server.faults.update({"faults": {"ExportVm": ["SystemError"]},
                                   "fault_text": "no\n2026-11-27 00:00:00 info    all is well\x1b[2J session[52ab-key]52cd is gone"})
        done = self.host("run", self.plan(), status=FAILED)
        self.assertIn("SystemError: no 2026-11-27 00:00:00 info    all is well", done.err)
        self.assertIn("session[…]52cd", done.err)
        self.assertNotIn("52ab-key", done.err)
        self.assertFalse([line for line in done.err.splitlines() if line.startswith("2026-11-27 00:00:00")])

    def test_addresses_of_leases_and_session_keys_are_written_nowhere(self):
        self.add_vm(power="poweredOn")
        self.server.faults.update({"nfc_drop": (300_000, 1), "nfc_rate": 400_000})
        running = self.start("--log-level", "trace", "run", self.plan(retries=1))
        running.wait_for(lambda: len(self.server.nfc_requests) > 1 and self.server.streams > 0, "the second stream", 60)
        (key,) = self.server.model.sessions
        state = b"".join(path.read_bytes() for path in (self.work / ".state").rglob("*") if path.is_file())
        self.server.faults.clear()
        done = running.finish()
        self.assertIn("broke off", done.err)
        self.assertIn(b'"kind":"lease"', state)
        for text in (state, done.err.encode(), done.out.encode()):
            self.assertNotIn(key.encode(), text)
            self.assertNotIn(b"/nfc/", text)

    def test_a_crash_leaves_no_memory_in_a_file(self):
        def dumped(pid):
            os.kill(pid, signal.SIGQUIT)
            return os.WCOREDUMP(os.waitpid(pid, 0)[1])
        resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
        other = subprocess.Popen(["sleep", "60"], cwd=self.work)
        if not dumped(other.pid):
            self.skipTest("this machine makes no core files")
        self.add_vm()
        self.server.faults["nfc_rate"] = 20_000
        running = self.start("run", self.plan())
        running.wait_for(lambda: self.server.streams > 0, "a stream", 60)
        self.assertFalse(dumped(running.process.pid))

    def test_a_login_by_token(self):
        vm = self.add_vm(power="poweredOn")
        token = self.work / "token.xml"
        token.touch(0o600)
        options = {"username": None, "password": None, "token": {"file": str(token)}}
        token.write_text('<?xml version="1.0" encoding="UTF-8"?>\n' + FaultVCenter.TOKEN + "\n")
        self.server.faults["expire_before"] = "CreateSnapshot_Task"  # the token logs in again
        self.host("run", self.plan(options=options))
        self.assert_migrated(vm)
        self.assertEqual((len(self.server.called("LoginByToken")), self.server.called("Login")), (2, []))
        self.server.faults["denied"] = ["VApp.Export"]
        done = self.host("validate", self.plan(options={**options}, output_dir="again"), status=PREFLIGHT)
        self.assertIn(f"'{FaultVCenter.USER}' may not export", done.err)
        self.server.faults.clear()
        token.write_text(FaultVCenter.TOKEN.replace("c2lnbmVk", "Zm9yZ2Vk"))
        self.server.calls.clear()
        done = self.host("run", self.plan(options=options, output_dir="again"), status=None)
        self.assertIn("by the token", done.err)
        self.assertIn("InvalidLogin", done.err)
        self.assertNotIn("Zm9yZ2Vk", done.err)
        self.assertEqual(len(self.server.called("LoginByToken")), 1)
        for written, words in (("not XML", "no SAML token"), ("<Response/>", "its root is no Assertion")):
            token.write_text(written)
            self.assertIn(words, self.host("validate", self.plan(options=options), status=2).err)
        self.assertIn("not by both", self.host("validate", self.plan(options={"token": {"file": str(token)}}), status=2).err)
        self.assertIn("'password' is missing", self.host("validate", self.plan(options={"password": None}), status=2).err)
        self.assertEqual(self.server.left(), [])

    def test_a_list_without_an_end(self):
        for number in range(5):
            self.add_vm(f"web-{number}")
        self.server.faults.update({"page": 2, "endless_pages": True})
        done = self.host("list", "--plan", self.plan(), status=FAILED)
        self.assertIn("the server's list does not end", done.err)
        self.assertLess(len(self.server.called("ContinueRetrievePropertiesEx")), 10)

    def test_a_wrong_password_is_tried_once_for_all_vms(self):
        for number in range(10):
            self.server.model.add_vm(f"web-{number}", [sample(MIB)])
        wrong = self.work / "wrong"
        wrong.touch(0o600)
        wrong.write_text("not-it")
        names = [f"web-{number}" for number in range(10)]
        for command, vms in (("run", names), ("validate", names), ("run", ["web-*"])):
            self.server.calls.clear()
            plan = self.plan("web-0", {"password": {"file": str(wrong)}})
            text = json.loads(plan.read_text())
            text["migrations"] = [{"vm": vm, "provider": "lab"} for vm in vms]
            plan.write_text(json.dumps(text))
            done = self.host(command, plan, status=None)
            self.assertNotEqual(done.status, OK)
            self.assertIn("InvalidLogin", done.err)
            self.assertIn("lock", done.err)
            self.assertEqual(len(self.server.called("Login")), 1)

    def test_unfit_disks_are_named_before_anything_is_touched(self):
        content = sample(MIB)
        vm = self.server.model.add_vm("odd", [
            Disk(2000, content), Disk(2001, content, unit=1, mode="independent_persistent"),
            Disk(2002, content, unit=2, sharing="sharingMultiWriter")], power="poweredOn", tpm=True)
        done = self.host("validate", self.plan("odd"), status=PREFLIGHT)
        for words in ("is independent", "shared by several VMs", "virtual TPM"):
            self.assertIn(words, done.err)
        self.assertEqual(self.server.called("CreateSnapshot_Task"), [])
        self.host("validate", self.plan("odd", migration={"disks": {"include": ["disk-0"]}}))
        self.server.model.add_vm("odder", [Disk(2000, content, datastore=False), Disk(2001, content, unit=1, capacity=0)])
        done = self.host("validate", self.plan("odder"), status=PREFLIGHT)
        for words in ("'Hard disk 1' of 'odder' lies on no datastore", "'Hard disk 2' of 'odder' has no size"):
            self.assertIn(words, done.err)
        vm.encrypted = True
        done = self.host("validate", self.plan("odd", migration={"disks": {"include": ["disk-0"]}}), status=PREFLIGHT)
        self.assertIn("is encrypted", done.err)

    def test_what_keeps_a_vm_from_being_exported_is_named_before_anything_is_touched(self):
        for name, status, words, keys, options in (
                ("lost", PREFLIGHT, "'lost' is inaccessible", {"connection": "inaccessible"}, {}),
                ("orphan", PREFLIGHT, "'orphan' is orphaned", {"connection": "orphaned"}, {}),
                ("cluster", PREFLIGHT, "share (bus sharing)", {**RUNNING, "bus_sharing": "physicalSharing"}, {}),
                ("cluster-off", OK, "", {"bus_sharing": "physicalSharing"}, {}),
                ("gpu", PREFLIGHT, "PCI device 0", {**RUNNING, "passthrough": True}, {}),
                ("gpu-off", PREFLIGHT, "A device of the source's host does not come along", {"passthrough": True}, {}),
                ("twin", OK, "Fault Tolerance", {**RUNNING, "fault_tolerance": "running"}, {}),
                ("backup", OK, "the server refuses CreateSnapshot_Task of 'backup'",
                 {**RUNNING, "disabled": ["RelocateVM_Task", "CreateSnapshot_Task"]}, {}),
                ("backup-off", OK, "the server refuses ExportVm of 'backup-off'", {"disabled": ["ExportVm"]}, {}),
                ("ranges", OK, "the datastore [store 1] may be refused: missing privileges: Datastore.FileManagement", {}, DATASTORE),
                ("no-tools", OK, "VMware Tools do not run in 'no-tools': its file systems are not settled",
                 {**RUNNING, "tools": "guestToolsNotRunning"}, {}),
                ("must-settle", PREFLIGHT, "quiesce: always needs them",
                 {**RUNNING, "tools": "guestToolsNotRunning"}, {"quiesce": "always"}),
                ("nvram", OK, "NVRAM", {}, {})):
            with self.subTest(name):
                self.add_vm(name, **keys)
                self.server.faults["denied"] = ["Datastore.FileManagement"]
                done = self.host("validate", self.plan(name, options), status=status)
                self.assertIn(words, done.err)
        self.assertEqual(self.server.called("CreateSnapshot_Task"), [])

    def test_an_error_of_the_description_is_accepted_by_the_plan_alone(self):
        vm = self.add_vm("gpu", passthrough=True)
        done = self.host("run", self.plan("gpu"), status=PREFLIGHT)
        self.assert_one_clear_error(done, "A device of the source's host does not come along: PCI device 0")
        self.assertIn("guest: {accept: [vm.passthrough]}", done.err)
        self.assert_nothing_left()
        self.host("run", self.plan("gpu", migration={"guest": {"when": "off", "accept": ["vm.passthrough"]}}))
        manifest = self.assert_migrated(vm)
        found = {one["rule"]: one for one in manifest["hyperhost"]["findings"]}
        self.assertTrue(found["vm.passthrough"]["accepted"])
        self.assertEqual(found["vm.passthrough"]["evidence"], "PCI device 0")
        self.assertEqual(found["vm.nvram"]["severity"], "warning")
        self.assert_nothing_owed()

    def test_boot_order_and_opaque_networks(self):
        self.add_vm("web", disks=3, boot_keys=[2002, 2001], opaque_network="3d7b0d25-nsx")
        self.add_vm("other", opaque_network="another")
        described = self.describe("web", self.plan()).json
        self.assertEqual([(disk["boot_order"], disk["type"]) for disk in described["disks"]], [(2, "data"), (1, "data"), (0, "boot")])
        self.assertEqual(described["nics"][0]["network"], "tier-web")
        self.assertEqual(self.describe("other", self.plan()).json["nics"][0]["network"], "another")

    def test_what_several_vms_of_a_plan_share_is_named(self):
        disks = [[Disk(2000 + 10 * n, sample(MIB, seed=3)), Disk(2500, sample(MIB, seed=4), unit=1, sharing="sharingMultiWriter")]
                 for n in range(3)]
        vms = [self.server.model.add_vm(f"web-{n}", disks[n]) for n in range(3)]
        for vm in vms[:2]:
            vm.mac, vm.disks[1].path = "00:50:56:0A:0b:0c", "[store 1] quorum/quorum.vmdk"
        vms[1].mac = vms[1].mac.lower()
        said = self.host("validate", self.plan("web-*")).err
        self.assertEqual(said.count("it has a network card with the address of another VM's"), 1)
        self.assertIn("00:50:56:0a:0b:0c, as 'web-0'", said)
        self.assertEqual(said.count("it shares a disk with another VM of the plan"), 1)
        self.assertIn("[store 1] quorum/quorum.vmdk, as 'web-0'", said)
        alone = self.host("validate", self.plan("web-*", migration={"disks": {"exclude": ["disk-1"]}})).err
        self.assertNotIn("it shares a disk", alone)

    def test_a_disk_that_is_not_tracked_is_named(self):
        vm = self.add_vm(disks=2)
        del vm.settings["scsi0:1.ctkEnabled"]
        for settings, tracked in ((vm.settings, [True, False]), ({"scsi0:1.CTKENABLED": "true"}, [False, True])):
            vm.settings = settings
            described = self.describe("web", self.plan()).json
            self.assertEqual([disk["change_tracking"] for disk in described["disks"]], tracked)
        vm.change_tracking = False
        self.assertNotIn("change_tracking", self.describe("web", self.plan()).json["disks"][0])

    def test_names_that_are_hard_to_write(self):
        for name, pattern in (("web[1]", "web\\[1\\]"), ("a*", "a\\*"), ("caf\udce9", "caf*")):
            vm = self.add_vm(name)
            other = self.add_vm("web1")
            self.host("run", self.plan(pattern))
            (made,) = (self.work / "out").iterdir()
            vm.name = made.name  # as a file may be called
            self.assert_migrated(vm)
            shutil.rmtree(self.work / "out")
            self.server.model.vms.pop(other.ref[1])

    def test_a_vm_whose_name_cannot_be_read_is_listed_by_its_reference(self):
        self.add_vm()
        hidden = self.add_vm("hidden")
        self.server.faults["missing"] = {f"{hidden.ref[1]} name": "NoPermission"}
        listed = self.host("--output", "json", "list", "--plan", self.plan()).json["vms"]
        self.assertEqual({vm["name"]: vm["path"] for vm in listed},
                         {"web": "/DC 1/vm/web", hidden.ref[1]: f"/DC 1/vm/{hidden.ref[1]}"})

    def test_an_unfit_vm_of_a_pattern_does_not_stop_the_others(self):
        good, _ = self.add_vm("web-1"), self.add_vm("web-2", encrypted=True)
        plan = self.plan("web-*")
        self.assertIn("is encrypted", self.host("validate", plan, status=PREFLIGHT).err)
        results = self.host("--output", "json", "run", plan, status=FAILED).json["results"]
        self.assertEqual([one["outcome"] for one in results], ["succeeded", "failed"])
        self.assertIn("is encrypted", results[1]["error"])
        self.assert_migrated(good)
        text = json.loads(plan.read_text())
        text["batch"]["continue_on_error"] = False
        plan.write_text(json.dumps({**text, "output_dir": "again"}))
        self.host("run", plan, status=PREFLIGHT)
        good.encrypted = True  # none is left
        text["batch"]["continue_on_error"] = True
        plan.write_text(json.dumps({**text, "output_dir": "again"}))
        self.host("run", plan, status=PREFLIGHT)
        self.assertFalse((self.work / "again").exists())

    def test_missing_privileges_are_named_before_anything_is_touched(self):
        self.add_vm("off")
        self.add_vm("on", power="poweredOn")
        everything = ["VApp.Export", "VirtualMachine.State.CreateSnapshot", "VirtualMachine.State.RemoveSnapshot",
                      "VirtualMachine.Interact.PowerOff", "VirtualMachine.Interact.PowerOn"]
        for vm, options, needed in (
                ("off", {}, everything[:1]), ("on", {}, everything[:3]), ("on", DATASTORE, everything[1:3]),
                ("on", {"power": "shutdown", "restore_power": True}, [everything[0], *everything[3:]])):
            self.server.faults["denied"] = everything
            done = self.host("validate", self.plan(vm, options), status=PREFLIGHT)
            self.assertIn(f"'{FaultVCenter.USER}' may not export '{vm}': "
                          f"missing privileges: {', '.join(needed)} (", done.err)
            self.assertIn("Give them on the VM or a folder above it", done.err)
            self.server.faults["denied"] = [one for one in everything if one not in needed]
            self.host("validate", self.plan(vm, options))
        self.assertEqual(self.server.called("CreateSnapshot_Task"), [])

    def test_the_esxi_host_is_tried_before_anything_is_touched(self):
        for name in ("web-1", "web-2"):
            self.add_vm(name)
        host, plan = self.server.model.host, self.plan("web-*")
        host["name"] = f"127.0.0.1:{self.server.host.server_port}"
        for thumbprint in ("", self.server.host_thumbprint):  # older servers tell none
            host["summary.config.sslThumbprint"] = thumbprint
            self.assertNotIn("cannot be reached", self.host("validate", plan).err)
        self.assertEqual(self.server.host.connections, 2)  # not one a VM
        warning = f"the ESXi host {host['name']} cannot be reached from here: "
        host["summary.config.sslThumbprint"] = self.server.other_thumbprint
        done = self.host("validate", plan)
        self.assertIn(warning, done.err)
        self.assertIn("its thumbprint is", done.err)
        self.assertNotIn("maintenance mode", done.err)
        host["runtime.inMaintenanceMode"] = "true"
        # Ranges do not come from the host.
        done = self.host("validate", self.plan("web-*", DATASTORE))
        self.assertNotIn(warning, done.err)
        self.assertIn(f"the host of 'web-1', {host['name']}, is in maintenance mode", done.err)
        plan = self.plan("web-*")
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            host["name"] = f"127.0.0.1:{closed.getsockname()[1]}"
            done = self.host("validate", plan)
        self.assertIn(f"{host['name']} cannot be reached from here: ", done.err)
        self.assertIn("on port 443", done.err)
        host["name"] = "no-such-host.test"
        self.assertIn("no-such-host.test cannot be reached from here: ", self.host("validate", plan).err)
        host["runtime.connectionState"] = "notResponding"
        done = self.host("validate", plan, status=PREFLIGHT)
        self.assertIn("the host of 'web-1', no-such-host.test, is notResponding", done.err)
        self.assertIn("vCenter must reach it", done.err)

    def test_five_thousand_vms_page_by_page(self):
        for number in range(5000):
            self.server.model.add_vm(f"web-{number:04}", [], folder=Model.PROD if number % 2 else Model.VM_FOLDER)
        listed = self.host("--output", "json", "list", "--plan", self.plan(), timeout=240).json["vms"]
        self.assertEqual(len({vm["ref"] for vm in listed}), 5000)
        self.assertEqual(listed[1]["path"], "/DC 1/vm/prod/web-0001")
        self.assertGreater(len(self.server.called("ContinueRetrievePropertiesEx")), 20)
        self.assertEqual(self.server.pages, {})

    def describe(self, vm, plan, **keys):
        return self.host("--output", "json", "describe", vm, "--plan", plan, **keys)

    def test_names_are_read_once_for_all_vms(self):
        for number in range(30):
            self.server.model.add_vm(f"web-{number}", [sample(MIB, seed=3)])
        plan = self.plan("web-0")
        text = json.loads(plan.read_text())
        text["migrations"] = [{"vm": f"web-{number}", "provider": "lab"} for number in range(20)]
        plan.write_text(json.dumps(text))
        self.host("run", plan)
        self.assertEqual(len(self.server.called("CreateContainerView")), 1)

    def cluster_findings(self, vm):
        done = self.host("--output", "json", "inspect", vm, "--plan", self.plan(vm), "--depth", "description").json
        return {one["rule"]: one for one in done["findings"]
                if one["rule"] in ("vm.drs", "vm.dpm", "vm.ha", "vm.host-affinity", "vm.vm-affinity")}

    def test_a_cluster_is_read_once_for_all_vms(self):
        vms = [self.add_vm(f"web-{number}") for number in range(3)]
        d, model = self.dialect, self.server.model
        member = f'<vm type="VirtualMachine">{vms[1].ref[1]}</vm>'
        on = "<enabled>true</enabled>"
        model.cluster = (
            f"<dasConfig>{on}</dasConfig><drsConfig>{on}</drsConfig><dpmConfigInfo>{on}</dpmConfigInfo>"
            + d.typed("rule", "ClusterVmHostRuleInfo", f"{on}<name>licences</name><vmGroupName>paid</vmGroupName>"
                      "<antiAffineHostGroupName>lab</antiAffineHostGroupName>")
            + d.typed("rule", "ClusterVmHostRuleInfo", f"{on}<name>gone</name><vmGroupName>no such group</vmGroupName>")
            + d.typed("rule", "ClusterAffinityRuleSpec", f"<enabled>false</enabled><name>off</name>{member}")
            + d.typed("rule", "ClusterDependencyRuleInfo", f"{on}<name>start order</name>")
            + d.typed("group", "ClusterHostGroup", '<name>lab</name><host type="HostSystem">host-9</host>')
            + d.typed("group", "ClusterVmGroup", f"<name>paid</name>{member}"))
        said = self.host("validate", self.plan("web-*")).err
        self.assertEqual(said.count("HA of its cluster restarts it"), 3)
        self.assertEqual(said.count("A rule of its cluster ties it to hosts"), 1)
        self.assertIn("licences: should not run on the hosts 'lab'", said)
        self.assertEqual(model.cluster_reads, 1)
        found = self.cluster_findings("web-0")
        self.assertEqual({rule: one["severity"] for rule, one in found.items()},
                         {"vm.drs": "note", "vm.dpm": "note", "vm.ha": "warning"})
        self.assertEqual({one["evidence"] for one in found.values()}, {"cluster"})

    def test_a_cluster_that_may_not_be_read_is_not_known(self):
        self.add_vm()
        self.server.model.cluster = "<dasConfig><enabled>true</enabled></dasConfig>"
        self.assertEqual(self.describe("web", self.plan()).json["cluster_settings"], {"ha": True, "rules": []})
        self.server.faults["missing"] = {"configurationEx": "NoPermission"}
        self.assertEqual(self.cluster_findings("web"), {})
        self.assertNotIn("cluster_settings", self.describe("web", self.plan()).json)
        self.host("run", self.plan())
        self.server.model.cluster = None
        del self.server.faults["missing"]
        self.assertEqual(self.cluster_findings("web"), {})

    def test_what_may_mean_two_vms_is_refused(self):
        first, second = self.add_vm("first"), self.add_vm("second")
        third = self.add_vm(first.ref[1])  # one VM's reference, the other's name
        plan = self.plan("first")
        refused = self.describe(first.ref[1], plan, status=None)
        self.assertEqual(refused.json["error"]["code"], "config", refused)
        for path in ("/DC 1/vm/first", f"/DC 1/vm/{third.name}"):
            self.assertIn(path, refused.json["error"]["detail"])
        self.assertEqual(self.describe("/DC 1/vm/first", plan).json["ref"], first.ref[1])
        self.host("run", self.plan("first"))  # the host goes by references
        self.assert_migrated(first)
        self.assertEqual(self.describe(second.ref[1], plan).json["name"], "second")
        second.uuid = first.uuid  # a copy
        refused = self.describe(first.uuid, plan, status=None)
        self.assertIn("there are 2 VMs called", refused.json["error"]["summary"])
        self.assertEqual(self.describe(second.instance_uuid, plan).json["ref"], second.ref[1])

    def test_patterns_of_a_plan(self):
        for name in ("web-1", "web-2", "db-1"):
            self.server.model.add_vm(name, [sample(MIB, seed=3)], folder=Model.PROD)
        self.server.model.add_vm("web-3", [sample(MIB, seed=3)])
        self.host("run", self.plan("/DC 1/vm/prod/web-*"))
        self.assertEqual(sorted(p.name for p in (self.work / "out").iterdir()), ["web-1", "web-2"])

    def test_cancel_leaves_nothing(self):
        self.add_vm(power="poweredOn")
        self.server.faults["nfc_rate"] = 20_000
        running = self.start("run", self.plan())
        running.wait_for(lambda: self.server.streams > 0, "a stream", 60)
        os.kill(running.process.pid, signal.SIGINT)
        done = running.finish()
        self.assertEqual(done.status, INTERRUPTED, done)
        self.assert_nothing_owed()
        self.assert_nothing_left()

    def test_killed_and_cleaned_up(self):
        vm = self.add_vm(power="poweredOn")
        vm.snapshots.append((("VirtualMachineSnapshot", "snapshot-1"), "before the update"))
        other = self.add_vm("other", power="poweredOn")
        self.server.faults["nfc_rate"] = 20_000
        running = self.start("run", self.plan())
        running.wait_for(lambda: self.server.streams > 0, "a stream", 60)
        running.process.kill()
        running.process.wait()
        other.snapshots.append((("VirtualMachineSnapshot", "snapshot-2"), "hyperhost of-another-machine"))
        self.assertEqual(len(self.server.left()), 5, self.server.left())  # session, lease, snapshot, and two of others
        self.server.faults.clear()
        cleaned = self.host("--output", "json", "cleanup", self.work / "plan.yaml").json
        self.assertEqual(cleaned["open"], 0, cleaned)
        self.assertEqual({entry["kind"] for entry in cleaned["entries"] if entry["plugin"] == "vsphere"},
                         {"session", "snapshot", "lease"})
        self.assertEqual([name for _, name in vm.snapshots], ["before the update"])
        self.assertEqual(len(other.snapshots), 1)
        vm.snapshots.clear()
        other.snapshots.clear()
        self.assert_nothing_owed()

    def test_a_snapshot_is_not_forgotten_where_the_tree_cannot_be_read(self):
        vm = self.add_vm(power="poweredOn")
        self.server.faults["missing_after"] = ("HttpNfcLeaseComplete", {"snapshot": "NoPermission"})
        self.host("run", self.plan(), status=None)
        self.assertEqual(len(vm.snapshots), 1)
        cleaned = self.host("--output", "json", "cleanup", self.work / "plan.yaml", status=None).json
        self.assertEqual([entry["kind"] for entry in cleaned["entries"]], ["snapshot"])
        self.assertEqual(cleaned["open"], 1, cleaned)
        self.server.faults.clear()
        self.host("cleanup", self.work / "plan.yaml")
        self.assertEqual(vm.snapshots, [])
        self.assert_nothing_owed()

    def killed_while_the_snapshot_is_made(self, seconds, **faults):
        vm = self.add_vm(power="poweredOn")
        self.server.faults.update({"task_seconds": {"CreateSnapshot_Task": seconds}, **faults})
        running = self.start("run", self.plan())

        def waits():  # the answer has come, or will not
            methods = [method for method, _ in self.server.calls]
            after = methods[methods.index("CreateSnapshot_Task") + 1:] if "CreateSnapshot_Task" in methods else []
            return len(after) > 1 or (methods[-1:] == ["CreateSnapshot_Task"] and faults)
        running.wait_for(waits, "the snapshot's task", 60)
        running.process.kill()
        running.process.wait()
        self.server.faults.clear()
        self.assertEqual(vm.snapshots, [])
        return vm

    def test_killed_while_the_snapshot_is_made_and_cleaned_up(self):
        for faults in ({}, {"hold_answer": "CreateSnapshot_Task"}):
            with self.subTest(faults):
                self.server.model.vms.clear()
                self.server.calls.clear()
                vm = self.killed_while_the_snapshot_is_made(3, **faults)
                cleaned = self.host("--output", "json", "cleanup", self.work / "plan.yaml").json
                self.assertEqual(cleaned["open"], 0, cleaned)
                self.assertEqual(self.server.model.tasks_at_work(), [])
                self.assertEqual(vm.snapshots, [])
                self.assert_nothing_owed()

    def test_cleanup_of_a_snapshot_whose_task_the_server_has_forgotten(self):
        vm = self.killed_while_the_snapshot_is_made(600)
        (task,) = self.server.model.tasks_at_work()
        self.server.finish_task(task)
        del self.server.model.tasks[task[1]]
        self.assertEqual(len(vm.snapshots), 1)
        cleaned = self.host("--output", "json", "cleanup", self.work / "plan.yaml").json
        self.assertEqual(cleaned["open"], 0, cleaned)
        self.assertEqual(vm.snapshots, [])
        self.assert_nothing_owed()

    def test_cleanup_that_does_not_see_the_snapshots_end_leaves_it_in_the_journal(self):
        vm = self.killed_while_the_snapshot_is_made(600)
        before = len(self.server.calls)
        running = self.start("--output", "json", "cleanup", self.work / "plan.yaml")
        running.wait_for(lambda: ("RetrievePropertiesEx", self.server.model.tasks_at_work()[0][1]) in self.server.calls[before:]
                         or len(self.server.calls) > before + 8, "the wait for the task", 60)
        os.kill(running.process.pid, signal.SIGINT)
        running.finish()
        self.server.finish_task(self.server.model.tasks_at_work()[0])
        self.assertEqual(len(vm.snapshots), 1)
        cleaned = self.host("--output", "json", "cleanup", self.work / "plan.yaml").json
        self.assertIn("snapshot", [entry["kind"] for entry in cleaned["entries"]])
        self.assertEqual(vm.snapshots, [])
        self.assert_nothing_owed()

    def test_a_session_that_ends_in_the_middle_of_a_list_costs_no_vm(self):
        for number in range(700):
            self.server.model.add_vm(f"web-{number:03}", [])
        self.server.faults.update({"page": 100, "expire_before": "ContinueRetrievePropertiesEx"})
        listed = self.host("--output", "json", "list", "--plan", self.plan()).json["vms"]
        self.assertEqual(sorted(vm["name"] for vm in listed), [f"web-{number:03}" for number in range(700)])
        self.assertEqual(len(self.server.called("Login")), 2)

    def test_killed_after_its_session_was_renewed_and_cleaned_up(self):
        self.add_vm(power="poweredOn")
        self.server.faults.update({"nfc_rate": 20_000, "expire_before": "CreateSnapshot_Task"})
        running = self.start("run", self.plan())
        running.wait_for(lambda: self.server.streams > 0, "a stream", 60)
        running.process.kill()
        running.process.wait()
        self.assertEqual(len(self.server.called("Login")), 2)
        self.assertEqual(len(self.server.left()), 3, self.server.left())  # session, lease, snapshot
        self.server.faults.clear()
        self.host("cleanup", self.work / "plan.yaml")
        self.assert_nothing_owed()

    def test_the_next_run_answers_for_the_power_that_a_killed_one_changed(self):
        options = {"power": "shutdown", "restore_power": True}
        for name, faults, status, power in (("web", {}, OK, "poweredOff"),
                                            ("db", {"nfc_status": [500] * ALWAYS}, FAILED, "poweredOn")):
            with self.subTest(name):
                vm = self.add_vm(name, power="poweredOn")
                plan = self.plan(name, options=options)
                self.server.faults["nfc_rate"] = 20_000
                running = self.start("run", plan)
                running.wait_for(lambda: vm.power == "poweredOff", "the guest's end", 60)
                running.process.kill()
                running.process.wait()
                self.server.faults.clear()
                self.server.faults.update(faults)
                self.host("run", plan, status=status)
                self.server.faults.clear()
                self.assertEqual(vm.power, power)
                self.host("cleanup", plan)
                self.assertEqual(vm.power, power)
                self.assert_nothing_owed()

    def test_a_server_that_falls_silent_does_not_keep_the_program(self):
        self.add_vm()
        self.server.faults["silent_before"] = "Logout"
        self.host("run", self.plan(), timeout=100)  # other calls may stand still for 120 s

    def test_the_password_is_nowhere(self):
        self.add_vm(power="poweredOn")
        self.server.faults["nfc_rate"] = 1_000_000
        running = self.start("--log-level", "trace", "run", self.plan())
        running.wait_for(lambda: self.server.streams > 0, "a stream", 60)
        command = pathlib.Path(f"/proc/{running.process.pid}/cmdline").read_bytes()
        sessions = list(self.server.model.sessions.items())
        done = running.finish()
        self.assertEqual(done.status, OK, done)
        written = [command, done.out.encode(), done.err.encode()]
        written += [p.read_bytes() for p in self.work.rglob("*") if p.is_file() and p.suffix not in (".qcow2", ".key", ".pem")
                    and p != self.server.password_file and p.name != "expected.raw"]
        secrets = [FaultVCenter.PASSWORD, FaultVCenter.PASSWORD.replace("<", "&lt;")]
        secrets += [part.strip('"') for pair in sessions for part in pair]
        for secret in secrets:
            for form in (secret, json.dumps(secret)[1:-1]):
                self.assertFalse(any(form.encode() in data for data in written), "a secret was written down")


class Resume(FaultTest):
    """A run that was killed in the middle of a disk, and the next one."""
    batch = {"checkpoint_bytes": 4 * MIB, "checkpoint_interval": "1h"}
    SIZE, HELD = 48 * MIB, 24 * MIB

    def content(self, seed):
        return sample(self.SIZE, seed, density=0.9)

    def saved(self):
        """How much of a disk is durable: all before this offset of the guest's."""
        return max((json.loads(state)["guest"] for _, state in self.records("writing") if state), default=0)

    def killed(self, plan, **faults):
        self.server.faults.update(faults)
        running = self.start("run", plan)
        running.wait_for(lambda: self.saved() > 8 * MIB, "a saved state", 240)
        running.process.kill()
        running.process.wait()
        self.assertTrue(self.server.left())
        self.server.faults.clear()
        self.server.folder_requests.clear()
        self.server.nfc_requests.clear()
        return self.saved()

    def in_mid_disk(self, options=None, vm=None, **faults):
        vm = self.server.model.add_vm("web", [self.content(1)], **(vm or {}))
        plan = self.plan(options=options or DATASTORE)
        return vm, plan, self.killed(plan, range_hold=self.HELD, **faults)

    def begins(self):
        return [int(asked.split("=")[1].split("-")[0]) for _, asked, _ in self.server.folder_requests]

    def served(self):
        """Bytes of the ranges that were asked for."""
        ends = [asked.split("=")[1].split("-") for _, asked, _ in self.server.folder_requests]
        return sum(int(last) + 1 - int(first) for first, last in ends)

    def finish(self, plan, vm, resumed):
        result = self.report(plan, timeout=400)
        self.assertTrue(result["success"], result)
        self.assertEqual(result["disks"][0]["resumed_bytes"], resumed)
        self.assert_migrated(vm)
        made = sorted(p.name for p in (self.work / "out/web").iterdir())
        self.assertEqual(made, sorted(["manifest.json", "web-disk-0.qcow2", *RENDERED]))
        self.host("cleanup", plan)  # the killed run's session, and what it had
        self.assert_nothing_owed()
        return result

    def test_ranges_go_on_where_they_were(self):
        vm, plan, saved = self.in_mid_disk()
        self.finish(plan, vm, saved)
        # The first and the last sector are always looked at, and a sample of what an earlier attempt read: a place may lie in two
        # ranges.
        again = self.begins()
        self.assertIn(0, again)
        self.assertLessEqual(len([begin for begin in again if begin < saved]), 2 * 64 + 4)
        self.assertLessEqual(self.served(), self.SIZE - saved + 4 * 512 + 64 * (64 << 10))

    def test_a_lease_is_read_again_but_not_written_again(self):
        vm, plan, saved = self.in_mid_disk({"transport": "lease"}, nfc_silent=20 * MIB)
        self.finish(plan, vm, saved)
        self.assertEqual(len(self.server.nfc_requests), 1)

    def test_what_was_begun_in_ranges_goes_on_by_lease(self):
        vm, plan, saved = self.in_mid_disk(AUTO)
        self.server.faults["range_ignored"] = True
        self.finish(plan, vm, saved)
        self.assertEqual(len(self.server.nfc_requests), 1)

    def test_a_disk_that_was_written_to_begins_anew(self):
        vm, plan, _ = self.in_mid_disk()
        vm.disks[0].write(self.content(2))
        self.finish(plan, vm, 0)

    def test_a_vm_that_runs_now_begins_anew(self):
        vm, plan, _ = self.in_mid_disk()
        vm.power = "poweredOn"
        vm.disks[0].write(self.content(2))
        self.finish(plan, vm, 0)

    def test_a_running_vm_begins_anew(self):
        self.server.model.add_vm("web", [self.content(1)], power="poweredOn")
        plan = self.plan(options=DATASTORE)
        self.server.faults["range_hold"] = self.HELD
        running = self.start("run", plan)
        running.wait_for(lambda: any(begin >= self.HELD for begin in self.begins()), "a range that is held", 240)
        running.process.kill()
        running.process.wait()
        self.assertEqual(self.records("writing"), [])
        self.server.faults.clear()
        self.host("cleanup", plan)
        self.finish(plan, self.server.model.vms["vm-100"], 0)

    def test_the_next_run_removes_the_snapshot_that_hides_the_files(self):
        vm = self.server.model.add_vm("web", [self.content(1)], power="poweredOn")
        plan = self.plan(options=DATASTORE)
        self.server.faults["range_hold"] = self.HELD
        running = self.start("run", plan)
        running.wait_for(lambda: any(begin >= self.HELD for begin in self.begins()), "a range that is held", 240)
        running.process.kill()
        running.process.wait()
        self.server.faults.clear()
        self.assertEqual(len(vm.snapshots), 1)
        self.host("validate", plan)
        self.finish(plan, vm, 0)
        vm.snapshots.append((("VirtualMachineSnapshot", "snapshot-1"), "hyperhost of-another-machine"))
        self.assertIn("the VM has snapshots", self.host("validate", self.plan(options=DATASTORE, output_dir="again"), status=PREFLIGHT).err)

    def test_a_server_that_does_not_tell_begins_anew_and_that_is_said(self):
        for number, (faults, words) in enumerate((
                ({"denied": ["Datastore.Browse"]}, "privilegeId Datastore.Browse"),
                ({"task_faults": {"SearchDatastore_Task": ["FileFault"] * ALWAYS}}, "FileFault"),
                ({"no_times": True}, "does not tell when [store 1] told"))):
            with self.subTest(words):
                name = f"told{number}"
                vm = self.server.model.add_vm(name, [sample()])
                self.server.faults.clear()
                self.server.faults.update(faults)
                plan = self.plan(name, DATASTORE)
                described = self.host("--output", "json", "describe", name, "--plan", plan).json
                self.assertNotIn("content_id", described["disks"][0])
                done = self.host("run", plan)
                self.assertIn(f"if this export of '{name}' is interrupted, the next one starts from the beginning: ", done.err)
                self.assertIn(words, done.err)
                self.assert_migrated(vm)

    def test_what_is_written_to_between_description_and_reading_is_not_mixed(self):
        # Looks: before the run, for the description (2), when the VM is opened (3), when the disk is (4), at its end.
        for looks in (2, 3, 4):
            with self.subTest(looks=looks):
                shutil.rmtree(self.work / "out", ignore_errors=True)
                self.server.model.vms.clear()
                vm, plan, _ = self.in_mid_disk()
                self.server.faults["written_after_looks"] = (looks, vm.disks[0], self.content(2))
                done = self.host("run", plan, status=FAILED)
                self.assertIn("'web' was changed while it was being migrated", done.err)
                self.finish(plan, vm, 0)

    def test_what_is_written_to_before_it_is_read_is_read_in_the_next_try(self):
        vm, _, _ = self.in_mid_disk()
        self.server.faults["written_after_looks"] = (2, vm.disks[0], self.content(2))
        result = self.finish(self.plan(options=DATASTORE, retries=1), vm, 0)
        self.assertEqual(result["attempts"], 2)

    def test_one_look_a_folder_and_none_for_a_list(self):
        self.server.model.add_vm("web", [sample(MIB, seed) for seed in range(3)])
        self.server.model.add_vm("on", [sample(MIB)], power="poweredOn")
        plan = self.plan()
        self.host("list", "--plan", plan)
        self.host("describe", "on", "--plan", plan)
        self.assertEqual(self.server.called("SearchDatastore_Task"), [])
        described = self.host("--output", "json", "describe", "web", "--plan", plan).json
        self.assertEqual(len(self.server.called("SearchDatastore_Task")), 1)
        self.assertEqual(len({disk["content_id"] for disk in described["disks"]}), 3)

    def test_what_is_done_stays_done_until_it_is_known_to_be_another(self):
        vm = self.server.model.add_vm("web", [sample()], power="poweredOn")
        plan = self.plan(options={"power": "shutdown"})
        self.assertFalse(self.report(plan)["already_done"])  # it ran: its content was not told
        self.assertTrue(self.report(plan)["already_done"])
        again = self.plan(options={"power": "shutdown"}, output_dir="again")
        self.assertFalse(self.report(again)["already_done"])  # off: it was
        vm.power = "poweredOn"
        self.assertTrue(self.report(again)["already_done"])
        vm.power = "poweredOff"
        self.assertTrue(self.report(again)["already_done"])
        vm.disks[0].write(sample(seed=2))
        self.assertIn("target exists", self.host("run", again, status=PREFLIGHT).err)


class OtherDialect(FaultTest):
    """The other way to spell xsi:type, with a prefix for vim25's own types."""
    dialect = Dialect("XMLSchema-instance", "vim25:")

    def test_both_ways_to_export(self):
        off, on = self.add_vm("off"), self.add_vm("on", power="poweredOn")
        for vm in (off, on):
            self.host("run", self.plan(vm.name))
            self.assert_migrated(vm)
        self.server.faults["faults"] = {"ExportVm": ["NoPermission"]}
        self.add_vm("third")
        self.assertIn("VApp.Export", self.host("run", self.plan("third"), status=FAILED).err)
        self.server.faults.clear()
        self.assert_nothing_owed()


if __name__ == "__main__":
    requirement.main()
