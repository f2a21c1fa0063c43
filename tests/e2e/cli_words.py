#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the command line says and takes: slips, help, the sums of `validate`, patterns, names, places that are missing."""

import json
import os
import re
import shutil
import subprocess

import jsonschema

from hyperhost_cli import FAILED, GIB, MIB, PREFLIGHT, PROGRAM, USAGE, CliTest, sparse_raw
import requirement


class CommandLine(CliTest):
    def test_a_slip_gets_the_nearest_word(self):
        for arguments, said in ((("run", "x.yaml", "--dryrun"), "there is no flag '--dryrun' (did you mean '--dry-run'?)"),
                                (("run", "--dryrun"), "'--dry-run'"),
                                (("convert", "a", "b", "--compresion=zlib"), "there is no flag '--compresion' (did you mean '--compression'?)"),
                                (("run", "x.yaml", "--log-levl", "debug"), "'--log-level'"),
                                (("plugins", "lst"), "there is no command 'lst' (did you mean 'list'?)"),
                                (("audit", "query", "log", "--typ", "x"), "'--type'")):
            with self.subTest(arguments=arguments):
                done = self.host(*arguments, status=USAGE)
                self.assertIn(said, done.err)
                self.assertEqual(done.out, "")

    def commands(self):
        """Every command that help shows, as words."""
        found = []
        for name in re.findall(r"^  ([a-z]+)  ", self.host("--help").out.split("Subcommands:")[1], re.M):
            help_text = self.host(name, "--help").out
            inner = help_text.split("Subcommands:")[1] if "Subcommands:" in help_text else ""
            found += [(name, one) for one in re.findall(r"^  ([a-z]+)  ", inner, re.M)] or [(name,)]
        return found

    def test_each_commands_help_has_its_own_examples(self):
        whole = self.host("--help").out
        examples = set(re.findall(r"^  (hyperhost .*)", whole, re.M))
        found = self.commands()
        self.assertGreater(len(found), 15)
        for words in found:
            with self.subTest(command=words):
                text = self.host(*words, "--help").out
                own = re.findall(r"^  (hyperhost .*)", text.split("Usage:")[1].partition("\n")[2], re.M)
                self.assertTrue(own, text)
                self.assertTrue(all(" ".join(words) in line or "hyperhost --output json" in line for line in own), own)
                self.assertNotIn("/etc/hyperhost/hyperhost.yaml", text)
        self.assertGreater(len(examples), 2)

    def test_help_fits_a_terminal(self):
        texts = [self.host(*words, "--help").out for words in [(), ("audit",), ("plugins",), *self.commands()]]
        texts.append(subprocess.run([PROGRAM.with_name("hyperexport"), "--help"], check=True, capture_output=True, text=True, timeout=60).stdout)
        for text in texts:
            with self.subTest(help=text.splitlines()[0]):
                self.assertEqual([line for line in text.splitlines() if len(line) > 80], [])
                self.assertNotRegex(text, r"\dx\)")

    def test_a_number_that_is_none_is_an_error_in_one_line(self):
        for arguments, said in ((("history", "--limit", "0"), "--limit: Value 0 not in range 1 to 1000000"),
                                (("history", "--limit", "-3"), "Value -3 not in range"),
                                (("audit", "query", "log", "--limit", "0"), "Value 0 not in range 1 to 1000000000"),
                                (("run", "x.yaml", "--progress-api-port", "99999"), "Value 99999 not in range 0 to 65535"),
                                (("serve-disk", "x.raw", "--tcp", "port"), "Value port not in range 0 to 65535")):
            with self.subTest(arguments=arguments):
                done = self.host(*arguments, status=USAGE)
                self.assertIn(said, done.err)
                self.assertLess(max(map(len, done.err.splitlines())), 80)

    def test_a_format_without_compression_names_no_converter_that_has_it(self):
        sparse_raw(self.work / "disk.raw", 1 * MIB, 1 * MIB)
        done = self.host("convert", "disk.raw", "out.vhd", "--compression", "zlib", status=FAILED)
        self.assertIn("leave the compression out, or write qcow2", done.err)
        self.assertNotIn("converter qemu-img", done.err)

    def test_a_reader_that_leaves_is_no_error(self):
        shell = f'"{PROGRAM}" --output json plugins list | head -c 1; echo "${{PIPESTATUS[0]}}"'
        done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=60, cwd=self.work)
        self.assertEqual((done.stdout.splitlines()[-1][-1], done.stderr), ("0", ""))
        requirement.need(os.path.exists("/dev/full"), "there is no /dev/full")
        with open("/dev/full", "w") as full:
            done = subprocess.run([PROGRAM, "plugins", "list"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual(done.returncode, FAILED)
        self.assertIn("standard output could not be written", done.stderr)

    def test_an_event_type_that_is_none(self):
        package, _ = self.ova()
        self.host("run", self.plan(package))
        log = self.work / "audit/audit.log"
        done = self.host("audit", "query", log, "--type", "migration_complet", status=USAGE)
        self.assertIn("did you mean 'migration_complete'", done.err)
        found = {json.loads(line)["event_type"] for line in log.read_text().splitlines()}
        for kind in found:  # every type that is written is one that can be asked for
            self.assertNotEqual(self.host("--output", "json", "audit", "query", log, "--type", kind).out, "")

    def test_levels_and_directories_of_convert(self):
        package, _ = self.ova()
        disk = self.member(package, "sample-vm-disk1.vmdk")
        done = self.host("convert", disk, "x.qcow2", "--compression", "zlib", "--compression-level", "12", status=USAGE)
        self.assertIn("zlib has levels 1 to 9", done.err)
        done = self.host("convert", disk, "typo/in/x.qcow2", status=USAGE)
        self.assertIn(f"there is no directory {self.work}/typo/in", done.err)
        self.assertFalse((self.work / "typo").exists())
        self.host("convert", disk, "x.qcow2")
        done = self.host("convert", disk, "x.qcow2", status=FAILED)
        self.assertIn("--overwrite", done.err)
        self.assertNotIn("allow overwriting", done.err)


class Inventory(CliTest):
    def test_the_plan_is_a_word_of_list_and_describe(self):
        package, _ = self.ova("collection")
        plan = self.plan(package)
        self.assertIn("Data Base", self.host("list", plan).out)
        self.assertNotIn("Data Base", self.host("list", plan, "w*").out)
        self.assertIn("Data Base", self.host("describe", plan, "Data Base").out)
        self.assertIn("one word too many", self.host("list", "a", "b", "--path", package, status=USAGE).err)
        self.assertIn("which VM", self.host("describe", plan, status=USAGE).err)
        self.assertIn("--endpoint", self.host("list", status=USAGE, env={"GOVC_URL": ""}).err)

    def test_a_plan_needs_no_migrations_to_be_looked_at(self):
        package, _ = self.ova("collection")
        plan = self.work / "sources.yaml"
        plan.write_text(f"version: 1\nproviders:\n  shelf: {{plugin: local-ovf, path: {package}}}\n")
        self.assertIn("web", self.host("list", plan).out)
        self.assertIn("migrations", self.host("validate", plan, status=USAGE).err)

    def test_a_source_without_a_plan(self):
        package, _ = self.ova("collection")
        done = self.host("list", "--provider", "local-ovf", "--provider-option", f"path={package}")
        self.assertIn("Data Base", done.out)
        # The server is not there; that it is asked shows that the flags arrived.
        done = self.host("list", "--endpoint", "https://127.0.0.1:9/sdk", "--username", "ops", "--password", "env:PW",
                         env={"PW": "geheim99"}, status=FAILED)
        self.assertIn("127.0.0.1", done.err)
        self.assertNotIn("geheim99", done.out + done.err)
        nothing = {"GOVC_URL": "", "GOVC_USERNAME": "", "GOVC_PASSWORD": "", "PW": "geheim99"}
        for command in (("list",), ("describe", "web")):
            done = self.host(*command, "--username", "ops", "--password", "env:PW", env=nothing, status=USAGE)
            self.assertIn("error: --endpoint is missing (e.g. --endpoint https://", done.err)
            done = self.host(*command, "--endpoint", "vc.example", env=nothing, status=USAGE)
            for flag in ("error: --username is missing", "error: --password is missing"):
                self.assertIn(flag, done.err)
            self.assertNotIn("/providers", done.err)

    def test_the_schema_has_the_plugins_options(self):
        schema = json.loads(self.host("schema").out)
        check = jsonschema.Draft202012Validator(schema)
        plan = {"version": 1, "providers": {"shelf": {"plugin": "local-ovf", "path": "/srv"}}, "output_dir": "/out",
                "converter": {"plugin": "parallel-disk", "options": {}}, "migrations": [{"vm": "web", "provider": "shelf"}]}
        self.assertEqual(list(check.iter_errors(plan)), [])
        plan["providers"]["shelf"]["path"] = {"env": "SHELF"}  # any text may be a reference
        self.assertEqual(list(check.iter_errors(plan)), [])
        plan["providers"]["shelf"]["recursiv"] = True
        self.assertTrue(list(check.iter_errors(plan)))
        del plan["providers"]["shelf"]["recursiv"]
        plan["providers"]["shelf"]["recursive"] = "perhaps"
        self.assertTrue(list(check.iter_errors(plan)))
        plan["providers"]["shelf"] = {"plugin": "acme", "anything": 1}  # not here: nothing is known of it
        self.assertEqual(list(check.iter_errors(plan)), [])


class Plans(CliTest):
    def shelf(self, **sizes):
        """A directory of qcow2 images, NAME → virtual size."""
        shelf = self.work / "shelf"
        shelf.mkdir()
        for name, size in sizes.items():
            done = self.qemu_img("create", "-f", "qcow2", shelf / f"{name}.qcow2", size)
            self.assertEqual(done.returncode, 0, done.stdout)
        return shelf

    def both(self, shelf, *names, **keys):
        plan = self.plan(shelf, **keys)
        text = json.loads(plan.read_text())
        text["migrations"] = [{"vm": name, "provider": "shelf"} for name in names]
        plan.write_text(json.dumps(text))
        return plan

    def test_space_is_summed_over_the_vms(self):
        """Each alone fits, whatever its data are; the two together may not."""
        most = shutil.disk_usage(self.work).free * 7 // 10 // GIB * GIB
        requirement.need(most > GIB, "hardly any space is free")
        plan = self.both(self.shelf(one=most, two=most), "one", "two", defaults={"compression": "zstd"})
        done = self.host("validate", plan)
        self.assertIn("may run full: 2 VMs take up to", done.err)
        self.assertRegex(done.out, r"VMs +2; 2 disks to migrate, ")
        table = done.out.split("\n\n")[0].splitlines()  # one line a VM
        self.assertEqual([line.split()[0] for line in table], ["VM", "one", "two"])
        self.assertRegex(done.out, r"space +up to .* in .*/out \(.* free\)")
        self.assertRegex(done.out, r"warnings +[1-9]\d*, above")
        found = self.host("--output", "json", "validate", plan).json
        self.assertGreaterEqual(found["estimate"]["space"][0]["worst_bytes"], 2 * most)
        self.assertEqual(found["estimate"]["vms"], 2)
        done = self.host("validate", self.both(self.work / "shelf", "one"))
        self.assertNotIn("may run full", done.err)

    def test_validate_says_how_long_it_may_take(self):
        package, _ = self.ova()
        plan = self.plan(package)
        self.assertRegex(self.host("validate", plan).out, r"time +not known")
        self.host("run", plan)
        again = self.plan(package, name="again.yaml", output_dir="again")
        self.assertRegex(self.host("validate", again).out, r"time +about .*, by 1 earlier run on this host")
        self.assertIn("done before", self.host("validate", plan).out)
        rerun = self.host("run", plan)
        self.assertIn("already done by an earlier run", rerun.err)
        self.assertNotIn("migrated in", rerun.err)

    def test_a_pattern_its_exceptions_and_names_with_its_signs(self):
        shelf = self.shelf(web1="1M", web2="1M", webtest="1M")
        os.rename(shelf / "web2.qcow2", shelf / "web[2].qcow2")
        plan = self.plan(shelf, vm="web*", migration={"exclude": ["*test"]})
        names = [vm["vm"] for vm in self.host("--output", "json", "validate", plan).json["vms"]]
        self.assertEqual(sorted(names), ["web1", "web[2]"])
        results = self.host("--output", "json", "run", plan).json["results"]
        self.assertEqual(sorted(r["vm_name"] for r in results), ["web1", "web[2]"])
        done = self.host("validate", self.plan(shelf, vm="web[2]"), status=PREFLIGHT)
        self.assertIn("[[]", done.err)
        plan = self.plan(shelf, vm="web[[]2]", migration={"output_name": "second"}, output_dir="exact")
        (result,) = self.host("--output", "json", "run", plan).json["results"]
        self.assertEqual((result["vm_name"], result["success"]), ("web[2]", True))
        self.assertTrue((self.work / "exact/second/manifest.json").exists())

    def test_an_audit_log_has_its_directory_or_nothing_runs(self):
        package, _ = self.ova()
        plan = self.plan(package, observability={})
        self.host("run", plan, "--audit-log", self.work / "logs/audit.log")
        self.assertIn("migration_complete", (self.work / "logs/audit.log").read_text())
        plan = self.plan(package, observability={}, output_dir="two")
        for command in ("run", "validate"):
            flags = ["--audit-log", self.work / "no/such/audit.log"] if command == "run" else \
                ["--set", f"observability.audit_log={{path: {self.work}/no/such/audit.log, required: true}}"]
            done = self.host(command, plan, *flags, status=PREFLIGHT)
            self.assertIn("no/such", done.err)
        self.assertFalse((self.work / "two").exists())
        self.assertFalse((self.work / "no").exists())

    def test_a_missing_tree_is_not_made(self):
        package, _ = self.ova()
        done = self.host("run", self.plan(package, output_dir="typo/in/out"), status=PREFLIGHT)
        self.assertIn(f"there is no directory {self.work}/typo/in", done.err)
        self.assertFalse((self.work / "typo").exists())


if __name__ == "__main__":
    requirement.main()
