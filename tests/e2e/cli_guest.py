#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""guest: in a plan, with a plugin that writes known bytes: what is delivered, what proves it, and what a failure leaves."""

import functools
import hashlib
import json
import os
import pathlib
import signal
import subprocess

from hyperhost_cli import (BUILD, DIFFERS, FAILED, MIB, OK, PATIENCE, PREFLIGHT, RENDERED, TEST_PLUGINS, USAGE, CliTest, Running, content_digest,
                           digest_leaf, sha256_of, tree_digest)
import requirement

TEXT, OFFSET = "prepared", MIB - 6  # over the end of a block


def source_digest(delivered, changes):
    """core/block/changes.md, written down a second time: the source's digest from a raw copy of the delivered disk."""
    lines = pathlib.Path(changes).read_text(encoding="ascii").splitlines(keepends=True)
    assert lines[0] == "hyperhost-changes/1\n"
    count, checksum = lines[-1].removeprefix("end ").split()
    assert int(count) == len(lines) - 5 and hashlib.sha256("".join(lines[:-1]).encode()).hexdigest() == checksum
    before = {int(line.split()[0]): bytes.fromhex(line.split()[1]) for line in lines[4:-1]}
    data = pathlib.Path(delivered).read_bytes()
    assert lines[1] == f"size {len(data)}\n"
    leaves = [before.get(i, digest_leaf(data[i * MIB:(i + 1) * MIB])) for i in range(-(-len(data) // MIB))]
    return tree_digest(leaves, len(data))


class Guest(CliTest):
    def setUp(self):
        super().setUp()
        requirement.need((TEST_PLUGINS / "scribe.so").exists(), "the test plugin scribe is not built")
        self.package, _ = self.ova()
        self.served = self.meeting() / "served"

    @functools.cached_property
    def truths(self):
        made = []
        for disk in range(2):
            raw = self.work / f"truth-{disk}.raw"
            self.host("convert", self.package, raw, "--disk", f"disk-{disk}")
            made.append(raw)
        return made

    def guest_plan(self, options=None, name="plan.yaml", isolation="process", **keys):
        guest = {"plugin": "scribe", "isolation": isolation, "options": options or {}}
        return self.plan(keys.pop("package", self.package), name=name, plugin_dirs=[str(TEST_PLUGINS)],
                         defaults={"guest": guest, **keys.pop("defaults", {})}, **keys)

    def prepared(self, disk, writes=((OFFSET, TEXT.encode()),)):
        data = bytearray(self.truths[disk].read_bytes())
        for offset, text in writes:
            data[offset:offset + len(text)] = text
        path = self.work / f"prepared-{disk}.raw"
        path.write_bytes(data)
        return content_digest(path)

    def manifest(self):
        return json.loads((self.work / "out/sample-vm/manifest.json").read_text())

    def test_the_delivered_disks_are_prepared_and_proven(self):
        for converter, isolation in (("parallel-disk", "process"), ("qemu-img", "none")):
            with self.subTest(converter=converter, isolation=isolation):
                result = self.report(self.guest_plan(converter={"plugin": converter}, isolation=isolation,
                                                     defaults={"overwrite": True}))
                self.assertEqual((result["guest"]["plugin"], result["guest"]["root"]), ("scribe", "/dev/known"))
                self.assertEqual([a["what"] for a in result["guest"]["actions"]], ["wrote to disk-0", "wrote to disk-1"])
                manifest = self.manifest()
                self.assertTrue(manifest["pipeline"]["fix"]["enabled"])
                self.assertEqual(manifest["hyperhost"]["guest"]["plugin"], "scribe")
                for disk, entry in enumerate(manifest["hyperhost"]["disks"]):
                    self.assertEqual(entry["content_digest"], self.prepared(disk))
                    self.assertEqual(entry["source_digest"], content_digest(self.truths[disk]))
                    self.assertEqual((entry["changed"]["blocks"], entry["changed"]["bytes"]), (2, 2 * MIB))
                    changes = self.work / "out/sample-vm" / entry["changed"]["list"]
                    raw = self.raw_of(manifest["disks"][disk]["local_path"], f"delivered-{disk}.raw")
                    self.assertEqual(source_digest(raw, changes), entry["source_digest"])
                done = self.host("verify", "out/sample-vm/manifest.json")
                self.assertIn(manifest["hyperhost"]["disks"][1]["source_digest"], done.out)

    def test_a_list_that_does_not_fit_is_refused(self):
        self.host("run", self.guest_plan())
        place = self.work / "out/sample-vm"
        changes = place / "sample-vm-disk-0.changes"
        good = changes.read_text()
        lines = good.splitlines(keepends=True)

        def signed(middle):
            text = "".join(lines[:4] + middle)
            return text + f"end {len(middle)} {hashlib.sha256(text.encode()).hexdigest()}\n"
        self.assertEqual(signed(lines[4:-1]), good)
        leaf = lines[4][:-2] + ("0" if lines[4][-2] != "0" else "1") + "\n"
        for text, status, message in ((signed([leaf] + lines[5:-1]), DIFFERS, "it is not the source"),
                                      (signed(lines[5:-1]), DIFFERS, "it is not the source"),
                                      (good[:-1], FAILED, "is damaged"),
                                      (good.replace("size ", "size 1"), FAILED, "is damaged"),
                                      ((place / "sample-vm-disk-1.changes").read_text(), FAILED, "is not of this disk"),
                                      ("", FAILED, "is damaged")):
            with self.subTest(message=message):
                changes.write_text(text)
                done = self.host("verify", place / "manifest.json", status=status)
                self.assertIn(message, done.err + done.out)
        changes.unlink()
        self.assertIn("sample-vm-disk-0.changes", self.host("verify", place / "manifest.json", status=FAILED).err)
        manifest = self.manifest()
        manifest["hyperhost"]["disks"][0]["changed"]["list"] = "../sample-vm-disk-0.changes"
        (place / "manifest.json").write_text(json.dumps(manifest))
        self.assertIn("is not the name of a file", self.host("verify", place / "manifest.json", status=FAILED).err)

    def test_a_preparation_that_fails_leaves_nothing(self):
        done = self.host("run", self.guest_plan({"fail": "prepare"}), status=FAILED)
        self.assert_one_clear_error(done, "out of ink")
        self.assert_nothing_left()
        done = self.host("run", self.guest_plan({"fail": "plan"}), status=PREFLIGHT)
        self.assertIn("the scribe takes no such VM", done.err + done.out)
        self.assert_nothing_left()

    def list_plan(self, *options, **keys):
        """A plan whose guest is a list: the plugin scribe once with each of the options."""
        plugins = [{"plugin": "scribe", "isolation": "process", "options": one} for one in options]
        return self.plan(self.package, plugin_dirs=[str(TEST_PLUGINS)], **{"defaults": {"guest": plugins}, **keys})

    def test_plugins_of_a_list_prepare_one_after_the_other_on_the_same_views(self):
        plan = self.list_plan({"text": "first one..."}, {"text": "second", "offset": OFFSET + 6})
        self.host("validate", plan, "--inspect")
        result = self.report(plan)
        for told in (result["guest"], self.manifest()["hyperhost"]["guest"]):
            self.assertEqual([one["plugin"] for one in told["plugins"]], ["scribe", "scribe"])
            first, second = ([one["actions"][1] for one in told["plugins"]])
            self.assertEqual((first["after"], second["before"], second["after"]), ("first one...", "one...", "second"))
        writes = ((OFFSET, b"first second"),)
        for disk, entry in enumerate(self.manifest()["hyperhost"]["disks"]):
            self.assertEqual(entry["content_digest"], self.prepared(disk, writes))
            self.assertEqual(entry["source_digest"], content_digest(self.truths[disk]))
            self.assertEqual(entry["changed"]["blocks"], 2)
        shown = self.host("result", result["task_id"]).out
        self.assertEqual(shown.count("Guest: prepared by scribe 1.0.0\n  scribe.text: wrote to disk-0\n"), 2)
        self.assertTrue(self.host("--output", "json", "run", plan).json["results"][0]["already_done"])

    def test_a_list_is_prepared_whole_or_not_at_all(self):
        done = self.host("run", self.list_plan({}, {"fail": "prepare"}), status=FAILED)
        self.assert_one_clear_error(done, "out of ink")
        self.assert_nothing_left()
        done = self.host("run", self.list_plan({}, {"fail": "plan"}), status=PREFLIGHT)
        self.assertIn("the scribe takes no such VM", done.err + done.out)
        done = self.host("run", self.list_plan({}, {"finding": "scribe.ink"}), status=FAILED)
        self.assert_one_clear_error(done, "will not boot: the ink will fade", "accept: [scribe.ink]")
        self.assert_nothing_left()

    def test_hyperexport_names_the_bus_and_then_the_plugins(self):
        for prepare, status, message in (("sata,scribe", OK, "the guest is prepared by scribe"), ("sata,scribe,scribe", USAGE, "twice"),
                                         ("floppy,scribe", USAGE, "--prepare"), ("sata,nowhere", USAGE, "nowhere")):
            with self.subTest(prepare=prepare):
                running = Running(self.work, ["--plugin-dir", TEST_PLUGINS, "--vm", "sample-vm", "--path", self.package, "--output", "out",
                                              "--convert", "--prepare", prepare], program=BUILD / "bin/hyperexport")
                self.addCleanup(running.stop)
                done = running.finish()
                self.assertEqual(done.status, status, done)
                self.assertIn(message, done.err)
        self.assertEqual(self.manifest()["hyperhost"]["guest"]["plugin"], "scribe")

    def test_an_error_of_one_plugin_that_a_later_one_changes_does_not_stand(self):
        result = self.report(self.list_plan({"finding": "scribe.text"}, {}))
        self.assertEqual(result["guest"]["plugins"][0]["findings"][0]["rule"], "scribe.text")
        done = self.host("run", self.list_plan({}, {"finding": "scribe.text"}, output_dir="other"), status=FAILED)
        self.assert_one_clear_error(done, "will not boot: the ink will fade")

    def test_a_list_may_stand_in_a_migration_and_beside_the_machine(self):
        self.host("run", self.guest_plan({"fail": "prepare"}, migration={"guest": ["scribe"]}))
        self.assertEqual(self.manifest()["hyperhost"]["guest"]["plugin"], "scribe")
        whole = {"plugin": ["scribe", {"plugin": "scribe", "options": {"text": "again"}}], "machine": {"bus": "sata"},
                 "accept": ["scribe.ink"]}
        result = self.report(self.plan(self.package, plugin_dirs=[str(TEST_PLUGINS)],
                                       defaults={"guest": whole, "overwrite": True}))
        self.assertEqual(len(result["guest"]["plugins"]), 2)
        self.report(self.plan(self.package, plugin_dirs=[str(TEST_PLUGINS)], migration={"guest": False},
                              defaults={"guest": whole, "overwrite": True}))
        self.assertNotIn("guest", self.manifest()["hyperhost"])

    def test_a_list_that_says_nothing_or_too_much_is_refused(self):
        for guest, status, message in (([], USAGE, "must not be empty"), (["scribe", "scribe"], USAGE, "twice"),
                                       (["scribe", {"options": {}}], USAGE, "plugin"),
                                       (["scribe", {"plugin": "scribe", "options": {"ink": 1}}], USAGE, "ink"),
                                       ({"plugin": ["scribe"], "options": {"text": "a"}}, USAGE, "beside a list of plugins"),
                                       ({"plugin": ["scribe"], "isolation": "none"}, USAGE, "beside a list of plugins"),
                                       (["scribe", "parallel-disk"], USAGE, "does not offer"),
                                       (["scribe", "nowhere"], USAGE, "nowhere")):
            with self.subTest(guest=guest):
                plan = self.plan(self.package, plugin_dirs=[str(TEST_PLUGINS)], defaults={"guest": guest})
                done = self.host("validate", plan, status=status)
                self.assertIn(message, done.err)

    def test_an_error_that_a_preparation_leaves_fails_unless_the_plan_accepts_it(self):
        done = self.host("run", self.guest_plan({"finding": "scribe.ink"}), status=FAILED)
        self.assert_one_clear_error(done, "will not boot: the ink will fade", "accept: [scribe.ink]")
        self.assert_nothing_left()
        plan = self.guest_plan({"finding": "scribe.ink"})
        result = self.report(plan, "--set", "defaults.guest.accept=[scribe.ink]")
        self.assertEqual([w["rule"] for w in result["warnings"]], ["scribe.ink"])
        self.assertEqual(self.manifest()["hyperhost"]["guest"]["findings"][0]["severity"], "error")
        self.host("run", plan, "--set", "defaults.guest.accept=[Ink]", status=USAGE)

    def test_what_cannot_be_prepared_is_said_before(self):
        done = self.host("run", self.guest_plan(defaults={"convert": False}, name="b.yaml"), status=PREFLIGHT)
        self.assertIn("while its disks are converted", done.err + done.out)
        done = self.host("run", self.guest_plan(migration={"guest": False}, name="d.yaml"))
        self.assertNotIn("guest", self.manifest()["hyperhost"])
        self.assertEqual([d["content_digest"] for d in self.manifest()["hyperhost"]["disks"]],
                         [content_digest(raw) for raw in self.truths])

    def test_a_disk_that_streams_is_staged_and_prepared(self):
        streamed, _ = self.ova("gzip-reference")
        plan = self.guest_plan(package=streamed, defaults={"target_format": "raw"})
        self.assertIn("staged, since a preparation needs to seek", self.host("--output", "json", "validate", plan).out)
        result = self.report(plan)
        self.assertTrue(any(disk["staged"] for disk in result["disks"]))
        plain = self.report(self.plan(streamed, name="plain.yaml", output_dir="plain", defaults={"target_format": "raw"}))
        for prepared, delivered in zip(result["disks"], plain["disks"]):
            self.assertEqual(prepared["source_digest"], delivered["content_digest"])
            raw = bytearray(pathlib.Path(delivered["path"]).read_bytes())
            raw[OFFSET:OFFSET + len(TEXT)] = TEXT.encode()
            self.assertEqual(pathlib.Path(prepared["path"]).read_bytes(), bytes(raw))
        self.assertEqual([f for f in (self.work / "out").rglob("*") if "stag" in f.name], [])

    def test_an_inspection_only_reads_and_says_what_keeps_it_from_booting(self):
        before = sha256_of(self.package)
        arguments = ("--plugin-dir", TEST_PLUGINS, "inspect", "sample-vm", "--path", self.package,
                     "--guest-plugin", "scribe")
        done = self.host(*arguments, status=PREFLIGHT)
        self.assertIn("sample-vm: linux, scribal", done.out)
        self.assertRegex(done.out, r"error +scribe\.text +a disk has not the text +disk-1 +scribe")
        self.assertIn("It will not boot as it is on virtio", done.out)
        found = self.host("--output", "json", *arguments, status=PREFLIGHT).json
        self.assertEqual([(one["rule"], one["evidence"], one["depth"]) for one in found["findings"] if one["severity"] == "error"],
                         [("scribe.text", "disk-0", "appliance"), ("scribe.text", "disk-1", "appliance")])
        self.assertGreater(found["source_bytes_read"], 0)
        self.assertEqual(sha256_of(self.package), before)
        self.host("run", self.guest_plan({"text": "prepared"}, defaults={"target_format": "raw"}, migration={"disks": {"include": ["disk-0"]}}))
        delivered = self.work / "out/sample-vm/sample-vm-disk-0.raw"
        done = self.host(*arguments[:2], "inspect", "sample-vm-disk-0", "--path", delivered, *arguments[-2:])
        self.assertIn("Nothing was found that keeps it from booting", done.out)
        wanted = {"target_format": "raw", "guest": {"plugin": "scribe", "options": {"text": "other"}, "machine": {"bus": "sata"}}}
        plan = self.plan(delivered, name="wanted.yaml", vm="*", plugin_dirs=[str(TEST_PLUGINS)], defaults=wanted)
        done = self.host("inspect", plan, "sample-vm-disk-0", status=PREFLIGHT)  # as the plan would prepare it
        self.assertIn("It will not boot as it is on sata", done.out)
        streamed, _ = self.ova("gzip-reference")
        done = self.host(*arguments[:2], "inspect", "sample-vm", "--path", streamed, *arguments[-2:], status=FAILED)
        self.assert_one_clear_error(done, "from its front to its end")

    def test_a_description_is_judged_without_a_plugin_and_without_a_byte(self):
        package, _ = self.ova("efi-nvram")
        arguments = ("--isolation", "none", "inspect", "sample-vm", "--path", package, "--depth", "description")
        done = self.host(*arguments)
        self.assertRegex(done.out, r"warning +vm\.nvram +It boots by EFI, and its NVRAM")
        self.assertRegex(done.out, r"note +vm\.attachment +A file of the VM is not migrated +nvram: sample-vm-file1\.nvram")
        self.assertIn("0 B were read from its source", done.out)
        found = self.host("--output", "json", *arguments).json
        self.assertEqual({one["depth"] for one in found["findings"]}, {"description"})
        self.assertEqual(found["source_bytes_read"], 0)

    def test_findings_are_shown_before_and_kept_in_the_manifest(self):
        package, _ = self.ova("efi-nvram")
        plan = self.plan(package)
        done = self.host("validate", plan)
        self.assertRegex(done.out, r"warning +vm\.nvram +1 +It boots by EFI")
        self.assertIn("NVRAM", done.err)
        found = self.host("--output", "json", "validate", plan).json
        rules = {one["rule"]: one for one in found["vms"][0]["findings"]}
        self.assertEqual((rules["vm.nvram"]["severity"], rules["vm.attachment"]["severity"]), ("warning", "note"))
        self.assertIn("vm.nvram", [one.get("rule") for one in found["diagnostics"]])
        result = self.report(plan)
        # A run that only copies does not look at what its disks hold.
        self.assertEqual({one["rule"] for one in self.manifest()["hyperhost"]["findings"]}, {rule for rule in rules if rule.split(".")[0] in ("vm", "disk", "nic")})
        self.assertEqual(result["findings"], self.manifest()["hyperhost"]["findings"])

    def test_a_rule_that_does_not_exist_cannot_be_accepted(self):
        for number, (accept, hint, guest) in enumerate((
                ("vm.pasthrough", "did you mean 'vm.passthrough'?", {"plugin": "scribe", "isolation": "none"}),
                ("scribe.inc", "did you mean 'scribe.ink'?", {"plugin": "scribe", "isolation": "none"}),
                ("scribe.ink", "", {"when": "off"}))):
            with self.subTest(accept=accept):
                plan = self.work / f"{number}.yaml"
                keys = "".join(f"      {key}: {value}\n" for key, value in guest.items())
                plan.write_text(f"version: 1\nproviders:\n  p: {{plugin: local-ovf, path: {self.package}}}\noutput_dir: out\n"
                                f"plugin_dirs: [{TEST_PLUGINS}]\nmigrations:\n  - vm: sample-vm\n    provider: p\n    guest:\n"
                                f"{keys}      accept:\n        - vm.tpm\n        - {accept}\n")
                done = self.host("validate", plan, status=USAGE)
                self.assert_one_clear_error(done, f"there is no rule '{accept}' to accept")
                line = plan.read_text().splitlines().index(f"        - {accept}") + 1
                self.assertIn(f"{plan.name}:{line}:11", done.err)
                self.assertIn(hint, done.err)

    def test_when_off_leaves_the_guest_as_it_is(self):
        self.host("run", self.guest_plan(migration={"guest": {"when": "off", "accept": ["vm.passthrough"]}}))
        self.assertNotIn("guest", self.manifest()["hyperhost"])
        self.assertEqual([d["content_digest"] for d in self.manifest()["hyperhost"]["disks"]],
                         [content_digest(raw) for raw in self.truths])

    def test_validate_looks_into_the_guests_that_are_prepared(self):
        before = sha256_of(self.package)
        done = self.host("validate", self.guest_plan(), "--inspect")
        self.assertRegex(done.out, r"error +scribe\.text +1 +a disk has not the text +sample-vm: disk-0 +scribe")
        found = self.host("--output", "json", "validate", self.guest_plan(), "--inspect").json
        self.assertIn("scribe.text", [one["rule"] for one in found["vms"][0]["findings"]])
        self.assertEqual(sha256_of(self.package), before)
        self.assertFalse((self.work / "out/sample-vm").exists())
        done = self.host("validate", self.guest_plan({"finding": "scribe.ink"}), "--inspect", status=PREFLIGHT)
        self.assertIn("the ink will fade", done.err)
        self.assertIn("some guests will not boot", done.out)

    def attached(self, running):
        """What the plugin got for each disk, once both are attached."""
        served = self.served
        running.wait_for(served.exists, "attached disks")
        return served, [json.loads(line) for line in served.read_text().splitlines()]

    def test_programs_use_attached_disks(self):
        requirement.tool("qemu-io", "qemu-utils")
        running = self.start("run", self.guest_plan({"served": str(self.served)}))
        served, disks = self.attached(running)
        for number, disk in enumerate(disks):
            self.assertEqual(disk["uri"], f"nbd+unix:///?socket={disk['socket']}")
            subprocess.run(["qemu-io", "-f", "raw", "-c", f"read -P {ord('p')} {OFFSET} 1", "-c",
                            f"write -P {0x30 + number} 3000 77", "-c", "flush", disk["uri"]], check=True, timeout=60,
                           stdout=subprocess.DEVNULL)
        served.unlink()
        self.assertEqual(running.finish().status, OK)
        for number, entry in enumerate(self.manifest()["hyperhost"]["disks"]):
            self.assertEqual(entry["content_digest"], self.prepared(number, ((OFFSET, TEXT.encode()),
                                                                             (3000, bytes([0x30 + number]) * 77))))
            self.assertFalse(pathlib.Path(disks[number]["socket"]).exists())

    def test_a_kill_during_the_preparation_leaves_no_view(self):
        running = self.start("run", self.guest_plan({"served": str(self.served)}))
        served, disks = self.attached(running)
        running.process.send_signal(signal.SIGKILL)
        running.process.wait()
        self.assertEqual(running.wait_none_left(10 * PATIENCE), {})
        served.unlink()
        self.assert_nothing_left_but_locks()
        self.host("cleanup")
        self.assertEqual([d["socket"] for d in disks if pathlib.Path(d["socket"]).parent.exists()], [])
        self.host("run", self.guest_plan())
        self.assertEqual([e["content_digest"] for e in self.manifest()["hyperhost"]["disks"]],
                         [self.prepared(0), self.prepared(1)])
        self.assertTrue(self.host("--output", "json", "run", self.guest_plan()).json["results"][0]["already_done"])
        again = self.report(self.guest_plan({"text": "otherwise"}, defaults={"overwrite": True}))
        self.assertFalse(again["already_done"])

    def test_a_kill_between_the_preparation_and_the_end_leaves_nothing_and_a_rerun_is_whole(self):
        hold = self.work / "hold"  # no read of the source ends while it is there
        (self.work / "secret").write_text("tell-nobody-1234")
        (self.work / "secret").chmod(0o600)
        zoo = {"zoo": {"plugin": "zoo", "isolation": "process", "password": {"file": "secret"}}}
        env = {"HYPER_ZOO": "hold", "HYPER_ZOO_HOLD": str(hold)}
        scratch = self.work / "scratch"
        scratch.mkdir()
        keys = {"vm": "demo", "migration": {"provider": "zoo"}, "providers": zoo, "staging_dir": str(scratch)}
        raw = {"defaults": {"target_format": "raw"}}
        running = self.start("run", self.guest_plan({"served": str(self.served)}, **keys, **raw), env=env)
        served, disks = self.attached(running)
        hold.touch()
        served.unlink()
        # The plugin has returned: the host looks for what it changed, and then copies.
        running.wait_for(lambda: not pathlib.Path(disks[0]["socket"]).exists(), "end of the preparation")
        running.process.send_signal(signal.SIGKILL)
        running.process.wait()
        self.assertEqual(running.wait_none_left(10 * PATIENCE), {})
        self.assertEqual(list(scratch.iterdir()), [])
        hold.unlink()
        result = self.report(self.guest_plan(**keys, **raw), env=env)
        disk = bytearray(0 if (at // 65536) % 3 == 1 else 1 + (at * 31 + at // 65536) % 251 for at in range(2 * MIB))
        disk[OFFSET:OFFSET + len(TEXT)] = TEXT.encode()
        self.assertEqual(pathlib.Path(result["disks"][0]["path"]).read_bytes(), bytes(disk))
        self.assertEqual(sorted(p.name for p in (self.work / "out/demo").iterdir()),
                         sorted(["demo-disk-0.changes", "demo-disk-0.raw", "manifest.json", *RENDERED]))
        self.assertEqual(list(scratch.iterdir()), [])
        self.assertEqual(self.host("cleanup").out, "nothing is left over\n")

    def worker(self, running):
        workers = [pid for pid, command in running.others().items() if "plugins serve" in command]
        self.assertEqual(len(workers), 1, running.others())
        return workers[0]

    def test_the_plugin_runs_apart_without_the_secrets_of_the_run(self):
        plan = self.plan(self.package, plugin_dirs=[str(TEST_PLUGINS)], defaults={
            "guest": {"plugin": "scribe", "options": {"served": str(self.served)}}})
        running = self.start("run", plan, env={"VC_PASSWORD": "hunter2-hunter2"})
        served, _ = self.attached(running)
        worker = pathlib.Path(f"/proc/{self.worker(running)}")
        if os.geteuid() == 0:  # another user does not see it, the test plugin burglar does
            self.assertNotIn(b"hunter2", (worker / "environ").read_bytes())
        self.assertRegex((worker / "status").read_text(), r"NoNewPrivs:\s+1\n(?s:.*)Seccomp:\s+2\n")
        served.unlink()
        self.assertEqual(running.finish().status, OK)

    def test_the_end_of_the_plugins_process_fails_the_vm_and_leaves_nothing(self):
        plan = self.guest_plan({"served": str(self.served)}, batch={"max_retries": 0})
        running = self.start("run", plan)
        served, disks = self.attached(running)
        os.kill(self.worker(running), signal.SIGKILL)
        done = running.finish()
        self.assertEqual(done.status, FAILED, done)
        self.assertIn("the plugin 'scribe' crashed in its process: SIGKILL", done.err)
        self.assertEqual([d["socket"] for d in disks if pathlib.Path(d["socket"]).exists()], [])
        served.unlink()
        self.assert_nothing_left()

    def assert_nothing_left_but_locks(self):
        left = [p.name for p in (self.work / "out").rglob("*") if not p.is_dir()]
        self.assertEqual([name for name in left if not name.endswith("lock")], [])


if __name__ == "__main__":
    requirement.main()
