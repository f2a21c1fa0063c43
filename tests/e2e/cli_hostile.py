#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Input that means harm: names and references that leave their place, plugins anybody may replace,
plans made of noise; and secrets, which no output may hold."""

import http.server
import json
import os
import pathlib
import random
import shutil
import threading

from hyperhost_cli import FAILED, MIB, OK, PREFLIGHT, TEST_PLUGINS, USAGE, CliTest
import requirement

CALM = {OK, FAILED, USAGE, PREFLIGHT}  # an answer; not a signal, not 70 (internal error)


class Hostile(CliTest):
    # --- packages

    def inside_out(self):
        """Everything written so far, but for what the test itself made."""
        return [p for p in self.work.rglob("*") if p.is_file() and not {"packages", "audit", ".state"} & set(
            p.relative_to(self.work).parts) and p.suffix not in (".yaml",)]

    def test_a_vm_named_like_a_path_stays_in_the_output_directory(self):
        package, _ = self.ova("name-path")
        vm = "../../etc/evil"
        for converter in ("parallel-disk", "qemu-img"):
            out = self.work / "deep/er" / converter
            done = self.host("--output", "json", "run", self.plan(package, vm=vm, converter={"plugin": converter},
                                                                  output_dir=str(out)), status=None)
            self.assertIn(done.status, CALM)
            if done.status == OK:
                result = done.json["results"][0]
                self.assertEqual(result["vm_name"], vm)
                for file in (*result["converted_files"], result["manifest_path"]):
                    self.assertEqual(os.path.realpath(file), file)
                    self.assertEqual(pathlib.Path(file).parent.parent, out)
        for file in self.inside_out():
            self.assertIn("deep", file.parts, f"{file} left the output directory")
        self.assertFalse(pathlib.Path("/etc/evil").exists())

    def test_names_of_xml_and_utf8_are_kept(self):
        for case, vm in (("name-xml", "R&D <test> \"one\""), ("name-utf8", "größe-日本")):
            with self.subTest(case=case):
                package, _ = self.ova(case)
                result = self.report(self.plan(package, vm=vm, output_dir=case))
                manifest = json.loads(pathlib.Path(result["manifest_path"]).read_text(encoding="utf-8"))
                self.assertEqual(manifest["source"]["vm_name"], vm)
                self.host("verify", result["manifest_path"])

    def test_references_that_leave_the_package_are_refused(self):
        for case in ("href-traversal", "href-traversal-encoded", "href-absolute", "href-file-url", "href-http",
                     "href-symlink-directory", "tar-symlink", "duplicate-member"):
            with self.subTest(case=case):
                package, expect = self.ova(case)
                done = self.host("run", self.plan(package), status=PREFLIGHT)
                self.assert_one_clear_error(done, *expect["mentions"])
                self.assert_nothing_left()
                done = self.host("describe", "sample-vm", "--path", package, status=FAILED)
                self.assertIn(expect["mentions"][0], done.err)

    def test_an_output_name_of_the_plan_cannot_leave_either(self):
        package, _ = self.ova("vmware")
        for name in ("../evil", "/tmp/evil", "a/../../evil", "..", ".", ""):
            with self.subTest(output_name=name):
                done = self.host("run", self.plan(package, migration={"output_name": name}), status=None)
                self.assertIn(done.status, (OK, USAGE, PREFLIGHT), done)
                if done.status != OK:
                    self.assertIn("output_name", done.err)
        for file in self.inside_out():
            self.assertEqual(file.parent.parent, self.work / "out")
        self.assertFalse(pathlib.Path("/tmp/evil").exists())

    def test_an_output_directory_full_of_links_is_not_followed_out(self):
        package, _ = self.ova("vmware")
        outside = self.work / "outside"
        outside.mkdir()
        victim = outside / "victim"
        victim.write_bytes(b"precious")
        directory = self.work / "out/sample-vm"
        directory.mkdir(parents=True)
        (directory / "sample-vm-disk-0.qcow2").symlink_to(victim)
        (directory / "manifest.json").symlink_to(victim)
        for converter in ("parallel-disk", "qemu-img"):
            plan = self.plan(package, converter={"plugin": converter}, defaults={"overwrite": True})
            done = self.host("run", plan, status=None)
            self.assertIn(done.status, CALM)
            self.assertEqual(victim.read_bytes(), b"precious")

    def test_garbage_packages_are_refused_calmly(self):
        rng = random.Random(3)
        good = self.ova("vmware")[0].read_bytes()
        for number in range(8):
            data = bytearray(good)
            for _ in range(20):
                data[rng.randrange(min(len(data), 16384) if number % 2 else len(data))] = rng.randrange(256)
            path = self.work / "packages" / f"noise{number}.ova"
            path.write_bytes(data)
            done = self.host("run", self.plan(path, defaults={"overwrite": True}), status=None)
            self.assertIn(done.status, CALM, done)
            if done.status != OK:
                self.assertTrue(done.errors(), done)

    # --- plugins

    def test_a_directory_or_file_that_anybody_may_write_is_no_place_for_plugins(self):
        for target in ("directory", "file"):
            with self.subTest(writable=target):
                directory = self.work / f"plugins-{target}"
                directory.mkdir(mode=0o755)
                plugin = directory / "good.so"
                shutil.copy(TEST_PLUGINS / "good.so", plugin)
                plugin.chmod(0o755)
                found = self.host("--output", "json", "--plugin-dir", directory, "plugins", "info", "good").json
                self.assertEqual(found["path"], str(plugin), "it is used while it is safe")
                (directory if target == "directory" else plugin).chmod(0o777)
                for arguments in (("--plugin-dir", directory, "plugins", "list"), ("plugins", "list")):
                    env = {"HYPERHOST_PLUGIN_PATH": str(directory)} if len(arguments) == 2 else {}
                    done = self.host(*arguments, env=env)
                    self.assertRegex(done.out, rf"not used: {directory}.*writ")
                    done = self.host(*arguments[:-2], "plugins", "info", "good", env=env, status=None)
                    self.assertNotEqual(done.status, OK, done)

    # --- plans

    def test_plans_of_noise(self):
        rng = random.Random(1)
        (self.work / "audit").mkdir()
        texts = {
            "empty": b"", "nul": b"\0" * 100, "binary": rng.randbytes(5000), "list": b"[1, 2, 3]", "word": b"hello",
            "tabs": b"version:\t1\n\tproviders: {}", "not utf-8": b"version: 1\nname: \xff\xfe\n", "bom": b"\xef\xbb\xbf",
            "open": b"providers: {a: {plugin: [", "deep": b"[" * 100000, "deep map": b"{a: " * 20000,
            "alias": b"a: &a [*a]\n", "laughs": b"a0: &a0 x\n" + b"".join(
                b"a%d: &a%d [%s]\n" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 10)) for i in range(1, 12)),
            "huge number": b"version: " + b"9" * 400, "two": b"version: 1\n---\nversion: 1\n",
            "tag": b"version: !!python/object/apply:os.system ['touch pwned']\n",
            "many keys": b"".join(b"key%d: 1\n" % i for i in range(20000)),
            "long line": b"name: " + b"x" * (8 * MIB), "many": b"version: 1\nmigrations:\n" + b"- {vm: a, provider: b}\n" * 100000}
        for name, text in texts.items():
            with self.subTest(plan=name):
                (self.work / "noise.yaml").write_bytes(text)
                done = self.host("validate", "noise.yaml", status=None, timeout=15)
                self.assertEqual(done.status, USAGE, str(done)[:2000])
                self.assertTrue(done.errors())
                self.assertLess(len(done.err), 2 * MIB, "nobody reads that")
        self.assertFalse((self.work / "pwned").exists())

    def test_a_good_plan_with_noise_in_it(self):
        package, _ = self.ova("vmware")
        good, rng = self.plan(package).read_bytes(), random.Random(2)
        for number in range(40):
            data = bytearray(good)
            for _ in range(rng.randint(1, 6)):
                at = rng.randrange(len(data))
                data[at:at + rng.randint(0, 3)] = bytes(rng.choice(b"{}[]:,\"'&*!|>%@`#\n\t -?0x\xc3\x80")
                                                         for _ in range(rng.randint(0, 3)))
            (self.work / "noise.yaml").write_bytes(data)
            done = self.host("validate", "noise.yaml", status=None)
            self.assertIn(done.status, CALM, f"{bytes(data)}\n{done}")
            if done.status == USAGE:
                self.assertTrue(done.errors(), done)

    def test_a_plan_that_is_a_device_does_not_hang(self):
        for plan in ("/dev/zero", "/dev/null", "/"):
            with self.subTest(plan=plan):
                self.host("validate", plan, status=USAGE, timeout=10)

    def test_a_hostile_manifest_is_refused(self):
        package, _ = self.ova("vmware")
        result = self.report(self.plan(package))
        good = pathlib.Path(result["manifest_path"]).read_text()
        for name, text in (("empty", ""), ("noise", "{" * 100000), ("list", "[]"), ("no disks", '{"manifest_version":"1.0"}'),
                           ("version", good.replace('"manifest_version": "1.0"', '"manifest_version": "9.0"')),
                           ("relative", good.replace('"local_path": "/', '"local_path": "')),
                           ("device", good.replace(result["converted_files"][0], "/dev/zero")),
                           ("negative", good.replace('"bytes": ', '"bytes": -')),
                           ("text", good.replace('"disks": [', '"disks": ["x", '))):
            with self.subTest(manifest=name):
                self.assertNotEqual(text, good)
                (self.work / "hostile.json").write_text(text)
                done = self.host("verify", "hostile.json", status=FAILED, timeout=20)
                self.assert_one_clear_error(done)

    # --- secrets

    def test_secrets_are_in_no_output_no_file_and_no_argument(self):
        seen = []

        class Hook(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                seen.append(self.path)
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(403)  # so that the failure is talked about
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        path, key, token = "T0Zq7-url-path-secret", "hmac-kY3-secret-value", "progress-tok-9xQ-secret"
        (self.work / "token").write_text(token + "\n")
        (self.work / "token").chmod(0o600)
        url = f"http://127.0.0.1:{server.server_port}/{path}"
        package, _ = self.ova("two-disks")
        bad, _ = self.ova("wrong-checksum-disk")
        observability = {
            "audit_log": {"path": "audit/audit.log"},
            "progress_api": {"listen": "127.0.0.1:0", "token": {"file": "token"}},
            "webhooks": [{"type": "generic", "url": {"env": "HOOK_URL"}, "secret": {"env": "HOOK_KEY"}, "on_start": True,
                          "max_retries": 0}]}
        env, text = {"HOOK_URL": url, "HOOK_KEY": key}, ""
        for number, (source, converter) in enumerate(((package, "parallel-disk"), (package, "qemu-img"),
                                                      (bad, "qemu-img"))):
            for output in ("text", "json"):
                plan = self.plan(source, converter={"plugin": converter}, observability=observability,
                                 output_dir=f"out{number}{output}")
                for command in (("validate", plan), ("run", plan, "--dry-run"), ("run", plan)):
                    running = self.start("--log-level", "trace", "--output", output, *command, env=env)
                    if command == ("run", plan) and converter == "qemu-img":
                        text += json.dumps(running.others())
                    done = running.finish()
                    self.assertEqual(done.status, FAILED if source == bad and command == ("run", plan) else OK, done)
                    text += done.out + done.err
        self.assertTrue(seen, "the hook was never called: the secret was not in use")
        self.assertEqual(set(seen), {"/" + path})
        for file in self.work.rglob("*"):
            if file.is_file() and file.name != "token" and file.suffix not in (".ova", ".vmdk", ".qcow2"):
                text += file.read_text(errors="replace")
        for secret in (path, key, token):
            self.assertNotIn(secret, text)

    def test_a_secret_written_into_the_plan_is_refused_without_repeating_it(self):
        package, _ = self.ova("vmware")
        hook = {"type": "generic", "url": "https://ops.example/x", "secret": "hunter2-in-the-plan"}
        done = self.host("--log-level", "trace", "validate", self.plan(package, observability={"webhooks": [hook]}),
                         status=USAGE)
        self.assertIn("env", done.err)
        self.assertNotIn("hunter2", done.out + done.err)

    def secret_missing(self, *command):
        package, _ = self.ova("vmware")
        for secret, word in (({"env": "HYPERHOST_E2E_NOT_SET"}, "HYPERHOST_E2E_NOT_SET"), ({"file": "absent"}, "absent")):
            hook = {"type": "slack", "url": secret}
            done = self.host(*command, self.plan(package, observability={"webhooks": [hook]}), status=None)
            self.assertIn(done.status, (USAGE, PREFLIGHT), done)
            self.assert_one_clear_error(done, word)
            self.assertRegex(done.errors()[0], r"plan\.yaml:\d+:\d+: /observability/webhooks/0/url")
            self.assertFalse((self.work / "out").exists())

    def test_a_secret_that_cannot_be_had_stops_the_run_by_name(self):
        self.secret_missing("run")

    def test_a_secret_that_cannot_be_had_is_found_by_validate_too(self):
        self.secret_missing("validate")


if __name__ == "__main__":
    requirement.main()
