#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`hyperhost plugins check`: catches each plugin of the zoo, with the right words, and lets the good ones pass."""
import json
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import requirement  # noqa: E402

BUILD = pathlib.Path(os.environ["HYPERHOST_BUILD_DIR"])
HOST = BUILD / "bin/hyperhost"
SHIPPED = sorted((BUILD / "lib/hyperhost/plugins").glob("*.so"))
GUESTFS = BUILD / "lib/hyperhost/plugins/guestfs.so"
VIRT_V2V = GUESTFS.with_name("virt-v2v.so")
APPLIANCES = (GUESTFS, VIRT_V2V)  # where their programs are installed, most cases start an appliance
ZOO = BUILD / "lib/hyperhost/test-plugins"
SANITIZED = BUILD.name in ("asan", "tsan")
# Of each case, where its own limit is one of an unsanitized build with nothing beside it.
SLOW = SANITIZED or os.environ.get("CI") == "true"
PATIENCE = ["--time-limit", "120"] if SLOW else []

# HYPER_ZOO: (the case that catches it, what it says)
BAD = {
    "crash-in-entry": ("load", r"crashes with SIGABRT in hyper_plugin_entry_v1"),
    "entry-opens": ("load", r"its entry opens descriptors"),
    "entry-writes": ("load", r"its entry reads or writes"),
    "two-descriptors": ("load", r"gives another descriptor the second time"),
    "silent-refusal": ("greeting", r"refuses a host and says no reason"),
    "refusal-overflows": ("greeting", r"writes its refusal beyond refusal_cap"),
    "read-new-hello": ("greeting", r"reads beyond a greeting of ABI 1\.0"),
    "other-id": ("load", r"manifest says id 'zoo' and its descriptor 'lion'"),
    "small-descriptor": ("load", r"its descriptor says 24 bytes, ABI 1\.0 has \d+"),
    "too-new": ("interfaces", r"needs plugin ABI 1\.7 and this host offers 1\.\d"),
    "read-new-host": ("old-host", r"reads beyond the table of a host of ABI 1\.0"),
    "need-extension": ("old-host", r"fails without a report\(\)"),
    "any-interface": ("interfaces", r"get\(\"hyper\.nothing/9\"\) gives a table"),
    "no-interface": ("interfaces", r"manifest names hyper\.provider/1 and get\(\) has no table"),
    "small-table": ("interfaces", r"hyper\.provider/1 is too small: it says 16 bytes"),
    "empty-slot": ("interfaces", r"hyper\.provider/1 has no describe_vm\(\)"),
    "start-leaks": ("start-stop", r"start\(\) and stop\(\) leak[s]? memory|memory is leaked"),
    "start-opens": ("start-stop", r"leaks \d+ descriptors in 68 rounds"),
    "start-leaves-threads": ("start-stop", r"leaves \d+ threads behind"),
    "error-without-path": ("options", r"says 'the letter is empty' and not which option \(path\)"),
    "crash-on-long": ("options", r"crashes with SIGABRT in validate\(hyper\.\w+/1"),
    "log-secret": ("provider", r"a secret option appears in a log line"),
    "print": ("provider", r"it writes to standard output"),
    "exit": ("provider", r"it ends the process \(exit status 0\) in list_vms\(\)"),
    "throw": ("provider", r"an exception \(thrown inside the plugin\) came out of the plugin, in list_vms\(\)"),
    "hang": ("provider", r"it does not end within \d+ s in next\(\) of demo/disk-0"),
    "hang-in-read": ("provider", r"it does not end within \d+ s in read_at\(\) of demo/disk-0"),
    "ignore-pattern": ("provider", r"list_vms\(\) does not keep to its pattern"),
    "no-name": ("provider", r"list_vms\(\) gave a wrong document: the key 'name' is missing"),
    "no-json": ("provider", r"describe_vm\(\) did not answer with a JSON object"),
    "silent-error": ("provider", r"describe_vm\(\"hyperhost-check-no-such-vm\"\) fails without a report\(\)"),
    "wrong-code": ("provider", r"fails with 'fail' and should with 'not_found'"),
    "bad-disk-id": ("provider", r"describe_vm\(\) gave a wrong document: /disks/0/id"),
    "any-disk": ("provider", r"open_disk\(\"no-such-disk\"\) succeeds and must fail"),
    "crash-in-read": ("provider", r"crashes with SIGSEGV in read_at\(\) of demo/disk-0"),
    "write-past-end": ("provider", r"read_at\(\) writes beyond its buffer"),
    "write-before": ("provider", r"read_at\(\) writes in front of its buffer"),
    "short-read": ("provider", r"a read at a random offset .* does not equal what was read in order"),
    "wrong-when-small": ("provider", r"does not equal what was read in order"),
    "ignore-flags": ("provider", r"read_at\(\) with an unknown flag is not HYPER_UNSUPPORTED"),
    "lie-about-zeros": ("provider", r"an extent is marked as zero and byte \d+ reads otherwise"),
    "gap-in-extents": ("provider", r"an extent does not begin where the one before it ends"),
    "open-any-sibling": ("provider", r"sibling\(\"\.\./.*/etc/passwd\"\) succeeds and must fail"),
    "stream-differs": ("provider", r"the stream has other bytes than read_at\(\)"),
    "short-stream": ("provider", r"the stream ends at 2097151 of 2097152 bytes"),
    "finish-fails": ("provider", r"finish\(\) fails: the checksum differs"),
    "ignore-cancel": ("provider-cancel", r"continues for more than 2 s after the cancel"),
    "fail-when-cancelled": ("provider-cancel", r"a cancelled call fails with status -7 and not HYPER_CANCELLED"),
    "leak-descriptor": ("provider-again", r"leaks \d+ descriptors"),
    "leak-memory": ("provider-again", r"leaks memory: \d+ bytes more in 8 rounds"),
    "probe-crashes-on-empty": ("image-damaged", r"crashes with SIGSEGV in probe\(\) of 0 bytes of noise"),
    "plan-no-sink": ("converter-plan", r"plan\(\) gave a wrong document: the key 'sink' is missing"),
    "corrupt": ("converter", r"what was written is not what was read"),
    "wrong-digest": ("converter", r"its digest is not that of the disk"),
    "gap-in-append": ("converter", r"an append at \d+ after \d+ bytes"),
    "progress-back": ("converter", r"progress\(\) goes back"),
    "progress-beyond": ("converter", r"progress\(\) says more was done than there is"),
    "keep-spans": ("converter", r"calls next\(\) before it released the span it has"),
    "use-after-release": ("converter", r"releases a span twice|heap-use-after-free"),
    "close-sink": ("converter", r"closes a sink that it does not own"),
    "commit-sink": ("converter", r"commits a sink that it does not own"),
    "swallow-errors": ("converter-failures", r"of a disk that cannot be read (succeeds and must fail|fails with 'corrupt')"),
    "hang-on-cancel": ("converter-cancel", r"continues for more than 2 s after the cancel"),
    "visible-early": ("storage", r"visible under its name before commit\(\)"),
    "append-only": ("storage", r"reads other bytes than were put there|is \d+ bytes, should be"),
    "lose-a-byte": ("storage", r"stat\(\) gives another size"),
    "overwrite": ("storage", r"overwriting without being asked to succeeds"),
    "any-key": ("storage", r"put\(\"\.\./hyperhost-check-escape\"\) succeeds and must fail"),
    "remove-nothing": ("storage", r"remove\(\) leaves it there"),
    "abort-leaves-object": ("storage-abort", r"close\(\) without commit\(\) leaves something behind"),
}
# Memory that is read or written where the sanitizer looks is the sanitizer's to report, in its own words.
IN_SANITIZER = {"write-past-end", "read-new-hello", "read-new-host", "refusal-overflows", "use-after-release", "write-before",
                "crash-in-read", "probe-crashes-on-empty"}


def check(*arguments, zoo=None, limit=PATIENCE, timeout=900 if SLOW else 170):
    env = {**os.environ, "HYPER_ZOO": zoo or ""}
    done = subprocess.run([str(HOST), "--output", "json", "plugins", "check", *limit, *map(str, arguments)], env=env,
                          capture_output=True, text=True, timeout=timeout)
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def findings(report):
    return "\n".join(text for plugin in report["plugins"] for case in plugin["cases"] if case["result"] == "failed"
                     for text in case["findings"] + case["log"])


class Zoo(unittest.TestCase):
    def test_every_way_of_being_bad_is_tried(self):
        sources = "".join(path.read_text() for path in (pathlib.Path(__file__).parent / "zoo").glob("*.?pp"))
        ways = set(re.findall(r'bad\("([^"]+)"\)', sources))
        self.assertEqual(ways, set(BAD) | {"no-connection", "slow", "hold"})

    def test_each_is_caught_with_the_right_words(self):
        def one(way):
            case, _ = BAD[way]
            limit = ["--time-limit", "4"] if way in ("hang", "hang-in-read") else PATIENCE  # they never end
            return way, check(ZOO / "zoo.so", "--case", case, zoo=way, limit=limit)
        with ThreadPoolExecutor(max(2, os.cpu_count() or 2)) as pool:
            for way, (status, report, err) in pool.map(one, BAD):
                with self.subTest(way=way):
                    self.assertEqual(status, 1, err)
                    self.assertEqual(report["plugins"][0]["failed"], 1)
                    words = BAD[way][1] + ("|AddressSanitizer|ThreadSanitizer|runtime error|it ends the process" if SANITIZED and way in IN_SANITIZER else "")
                    self.assertRegex(findings(report), words)

    def test_the_good_one_passes(self):
        with tempfile.TemporaryDirectory() as place:
            sample = pathlib.Path(place) / "disk.zoo"
            sample.write_bytes(b"ZOOI" + bytes(range(256)) * 4096)
            status, report, err = check(ZOO / "zoo.so", "--sample", sample)
        self.assertEqual(status, 0, findings(report) + err)
        self.assertEqual(report["plugins"][0]["skipped"], 0)

    def test_what_needs_a_connection_is_skipped_with_the_reason(self):
        status, report, _ = check(ZOO / "zoo.so", zoo="no-connection")
        self.assertEqual(status, 0, findings(report))
        skipped = {case["name"]: case["findings"] for case in report["plugins"][0]["cases"] if case["result"] == "skipped"}
        self.assertLessEqual({"provider", "provider-cancel", "provider-again"}, set(skipped))
        self.assertIn("nothing listens at acme.example:443", skipped["provider"][0])
        self.assertEqual(check(ZOO / "zoo.so", "--strict", "--case", "provider", zoo="no-connection")[0], 1)

    def test_options_that_were_given_must_lead_there(self):
        with tempfile.TemporaryDirectory() as place:
            options = pathlib.Path(place) / "options.yaml"
            (pathlib.Path(place) / "secret").write_text("tell-nobody-1234")
            (pathlib.Path(place) / "secret").chmod(0o600)
            options.write_text("letter: B\npassword: {file: secret}\n")
            status, report, _ = check(ZOO / "zoo.so", "--options", options, "--case", "provider", zoo="no-connection")
            self.assertEqual(status, 1)
            self.assertIn("connect() fails", findings(report))
            options.write_text("lettre: B\npassword: {file: secret}\n")
            status, report, _ = check(ZOO / "zoo.so", "--options", options, "--case", "provider")
            self.assertEqual(status, 1)
            self.assertIn("did you mean 'letter'", findings(report))

    def test_files_that_are_no_plugins(self):
        with tempfile.TemporaryDirectory() as place:
            bare = pathlib.Path(place) / "bare.so"
            subprocess.run(["objcopy", "-R", ".hyper_manifest", ZOO / "good.so", bare], check=True)
            for plugin, words in (
                    (ZOO / "undefined_symbol.so", "nobody_defines_this"),
                    (ZOO / "newer_minor.so", "needs plugin ABI 1.7 and this host offers 1."),
                    (ZOO / "newer_major.so", "built for plugin ABI 2 and this host runs ABI 1"),
                    (ZOO / "refuses.so", "the moon is not full"),
                    (ZOO / "two_symbols.so", " more: only hyper_plugin_entry_v1 may be visible"),
                    (bare, "it has no manifest")):
                with self.subTest(plugin=plugin.name):
                    status, report, err = check(plugin)
                    self.assertEqual(status, 1, err)
                    self.assertIn(words, findings(report))
            text = pathlib.Path(place) / "text.so"
            text.write_text("no plugin")
            self.assertEqual(check(text)[0], 1)
            self.assertEqual(check(pathlib.Path(place) / "absent.so")[0], 1)
        self.assertEqual(check(ZOO / "good.so", "--case", "no-such-case")[0], 2)

    def test_people_can_read_it(self):
        done = subprocess.run([HOST, "plugins", "check", ZOO / "zoo.so", "--case", "load"], capture_output=True, text=True,
                              env={**os.environ, "HYPER_ZOO": "entry-opens"})
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"zoo 1\.0\.0 \(.*zoo\.so\)\n  FAIL  load +loads")
        self.assertIn("0 passed, 1 failed, 0 skipped", done.stdout)


class Guests(unittest.TestCase):
    def test_a_good_guest_plugin_passes(self):
        for arguments in ((), ("--isolated",)):
            status, report, err = check(ZOO / "scribe.so", "--strict", *arguments)
            self.assertEqual(status, 0, findings(report) + err)
            self.assertLessEqual({"guest", "guest-prepare", "guest-cancel"},
                                 {case["name"] for case in report["plugins"][0]["cases"] if case["result"] == "passed"})


class Appliance(unittest.TestCase):
    """An emulated appliance takes minutes: with HYPERHOST_SLOW=1 only."""
    def test_guestfs_passes(self):
        status, report, err = check(GUESTFS, limit=["--time-limit", "2400"], timeout=9000)
        self.assertEqual(status, 0, findings(report) + err)


class Shipped(unittest.TestCase):
    def test_what_needs_an_appliance_passes_without_it(self):
        self.assertTrue(VIRT_V2V.exists())
        requirement.need(GUESTFS.exists(), "libguestfs-dev is not installed")
        for plugin in APPLIANCES:
            for case in ("symbols", "manifest", "load", "greeting", "old-host", "future-host", "interfaces", "start-stop", "options",
                         "refusals"):
                with self.subTest(plugin=plugin.name, case=case):
                    status, report, err = check(plugin, "--case", case)
                    self.assertEqual(status, 0, findings(report) + err)

    def test_ours_pass(self):
        self.assertGreaterEqual(len(SHIPPED), 4)
        for plugin in SHIPPED:
            if plugin in APPLIANCES:
                continue
            with self.subTest(plugin=plugin.name):
                before = cpu_seconds()
                status, report, err = check(plugin)
                spent = cpu_seconds() - before
                self.assertEqual(status, 0, findings(report) + err)
                self.assertGreaterEqual(report["plugins"][0]["passed"], 9)
                status, report, err = check(plugin, "--isolated")
                self.assertEqual(status, 0, findings(report) + err)
                if not SANITIZED:  # of processor time: a busy machine makes all of it wait
                    self.assertLess(spent, 10)


if __name__ == "__main__":
    requirement.main()
