#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Faults that authors make, one at a time, and whether `hyperhost plugins check` finds each and names the call."""
import collections
import json
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
import requirement  # noqa: E402

BUILD = pathlib.Path(os.environ["HYPERHOST_BUILD_DIR"])
HOST = BUILD / "bin/hyperhost"
PLUGIN = BUILD / "lib/hyperhost/test-plugins/mutant.so"

# HYPER_MUTANT: (the case that finds it, the call that a finding names and what it says)
FOUND = {
    "provider-zero-claim": ("provider", r"extents\(\) of large/disk-0 marks .* as zero and byte \d+ reads otherwise"),
    "provider-zero-claim-end": ("provider", r"extents\(\) of large/disk-0 marks .* as zero and byte \d+ reads otherwise"),
    "provider-wrong-beyond-4-gib": ("provider", r"read_at\(4\d{9}, 65536\) of large/disk-0 gives other bytes than the disk has"),
    "provider-wrong-beyond-2-gib": ("provider", r"read_at\([234]\d{9}, 65536\) of large/disk-0 gives other bytes than the disk has"),
    "provider-zero-end": ("provider", r"read_at\(5\d{9}, \d+\) of large/disk-0 gives other bytes than the disk has"),
    "provider-racy-buffer": ("provider", r"read_at\(\d+, \d+\) of \S+ on one of several threads|a read on one of several threads"),
    "provider-racy-descriptor": ("provider", r"read_at\(\d+, \d+\) of \S+ on one of several threads gives other bytes"),
    "provider-stream-short": ("provider", r"next\(\) of \S+: the stream ends at \d+, and read_at\(\) reads \d+ bytes"),
    "provider-stream-differs-late": ("provider", r"next\(\) of large/disk-0 gives other bytes than the disk has"),
    "provider-locate-offset": ("provider", r"the file that locate\(\) names holds other bytes"),
    "provider-finish-bytes": ("provider", r"finish\(\) of \S+ says \d+ bytes, and it gave \d+"),
    "provider-finish-checksum": ("provider", r"finish\(\) of \S+: its checksum is not that of the bytes it gave"),
    "provider-power-state": ("provider", r"list_vms\(\) gave a wrong document: /power_state"),
    "provider-boot-order": ("provider", r"describe_vm\(\) gave a wrong document: /disks/0/boot_order"),
    "provider-temporary-file": ("provider", r"leaves temporary files behind after stop\(\): new: disk-cache"),
    "provider-touches-source": ("provider", r"open_vm\(\) to close_vm\(\) change the source: changed: \w+\.raw"),
    "provider-lock-stays": ("provider", r"open_vm\(\) to close_vm\(\) change the source: new: \w+\.lock"),
    "provider-entry-stays": ("provider", r"close_vm\(\) leaves a journal entry open"),
    "provider-access-stream": ("provider-description", r"has the access \"stream\", and open_disk\(\) gives a source without it"),
    "provider-access-file": ("provider-description", r"has the access \"file\", and open_disk\(\) gives a source without it"),
    "provider-bytes": ("provider-description", r"describe_vm\(\) says of \S+: bytes \d+, and open_disk\(\) gives \d+"),
    "provider-capacity-rounded": ("provider-description", r"describe_vm\(\) says of \S+: capacity_bytes \d+, and (open_disk|next)\(\) gives \d+"),
    "provider-disk-count": ("provider-description", r"list_vms\(\) says that '\w+' has 2 disks, and describe_vm\(\) lists 1"),
    "provider-other-name": ("provider-description", r"describe_vm\(\"\w+\"\) describes another VM"),
    "provider-content-id-unstable": ("provider-description", r"describe_vm\(\) gives another content_id the second time"),
    "provider-content-id-mtime": ("provider-description", r"describe_vm\(\) gives the same content_id for a disk that was changed in place"),
    "provider-content-ids-ignored": ("provider-description", r"open_vm\(\) with the content_ids of another content succeeds"),
    "provider-leak-list": ("provider-again", r"list_vms\(\) leaks \d+ descriptors"),
    "provider-leak-describe": ("provider-again", r"describe_vm\(\) leaks memory"),
    "provider-no-journal": ("provider-kill", r"open_vm\(\) in a process that was killed changes the source .* wrote no journal entry"),
    "provider-undo-refuses": ("provider-kill", r"undo\(\) does not take an entry that its own plugin wrote here"),
    "provider-undo-lies": ("provider-kill", r"undo\(\) leaves something of a killed process behind: new: \w+\.lock"),
    "provider-understands-all": ("refusals", r"open_vm\(\) of a request that must be understood is not HYPER_UNSUPPORTED"),
    "provider-ignores-flags": ("refusals", r"list_vms\(\) with an unknown flag is not HYPER_UNSUPPORTED"),

    "storage-remove-nothing": ("storage", r"remove\(\) of what is not there succeeds and must fail"),
    "storage-list-parts": ("storage", r"list\(\) gives what is not committed yet|list\(\".*\"\) gives a key that does not begin so"),
    "storage-list-all": ("storage-keys", r"list\(\"[^\"]*vm/?\"\) gives a key that does not begin so"),
    "storage-list-directories": ("storage-keys", r"list\(\"[^\"]*vm\"\) does not give all keys that begin so"),
    "storage-hidden-keys": ("storage-keys", r"put\(\"[^\"]*/\.hidden/\.disk\"\) of a good key fails"),
    "storage-stat-no-location": ("storage", r"(stat|list)\(\) gave a wrong document: the key 'location' is missing"),
    "storage-commit-bytes": ("storage", r"commit\(\d+\) says that the object has \d+ bytes"),
    "storage-commit-checksum": ("storage", r"commit\(\): its checksum is not that of the object's bytes"),
    "storage-overwrite-early": ("storage", r"put\(\) that may overwrite changes the old object before commit\(\)"),
    "storage-replace-at-commit": ("storage", r"commit\(\) of a key that another sink took since put\(\) succeeds"),
    "storage-temporary-file": ("storage", r"leaves temporary files behind after stop\(\): new: upload"),
    "storage-info-makes": ("storage-place", r"connect\(\) or info\(\) makes the directory"),
    "storage-info-anywhere": ("storage-place", r"info\(\) of a place that cannot be written to succeeds"),
    "storage-info-lies": ("storage-place", r"info\(\) says that sinks can \"path\", and put\(\) opens one that cannot"),
    "storage-zero-nothing": ("storage-sinks", r"zero_at\(\) does not zero: byte \d+|zero_at\(\) does not zero"),
    "storage-zero-rounds": ("storage-sinks", r"zero_at\(\) changes bytes beside its range: byte \d+"),
    "storage-commit-not-longer": ("storage-sinks", r"commit\(40960000\) after 8192 bytes were written makes an object of 8192 bytes"),
    "storage-commit-not-shorter": ("storage-sinks", r"commit\(4096\) after 8192 bytes were written makes an object of 8192 bytes"),
    "storage-reopen-as-written": ("storage-sinks", r"reopen\(20480\) is 12288 bytes"),
    "storage-racy-write": ("storage-sinks", r"write_at\(\) on several threads: byte \d+ is not what was written there"),
    "storage-keep-lost": ("storage-sinks", r"put\(\) with \"resume\" of what keep\(on\) left fails"),
    "storage-resume-uncut": ("storage-sinks", r"put\(\) with \"resume\" and resume_length \d+: byte \d+ of the object is another"),
    "storage-keep-off-stays": ("storage-sinks", r"keep\(off\) and close\(\) leave a file behind"),
    "storage-wrong-beyond-4-gib": ("storage-sinks", r"write_at\(4294963200, 12288\): get\(\) does not read there what was written"),
    "storage-part-stays": ("storage-abort", r"close\(\) without commit\(\) leaves a file in the storage's directory"),
    "storage-entry-stays": ("storage-abort", r"commit\(\) leaves a journal entry open"),
    "storage-leak-get": ("storage-again", r"get\(\) leaks \d+ descriptors"),
    "storage-leak-reopen": ("storage-again", r"reopen\(\) and commit\(\) leaks \d+ descriptors"),
    "storage-leak-list": ("storage-again", r"list\(\) leaks \d+ descriptors"),
    "storage-kill-no-journal": ("storage-kill", r"put\(\) in a process that was killed leaves a file .* wrote no journal entry"),
    "storage-kill-same-pid": ("storage-kill", r"put\(\) in a process with the id of a killed one fails: .*File exists"),
    "storage-undo-removes-object": ("storage-kill", r"undo\(\) of an unfinished object damages the object that was committed later"),
    "storage-understands-all": ("refusals", r"put\(\) of a request that must be understood is not HYPER_UNSUPPORTED"),
    "storage-ignores-flags": ("refusals", r"put\(\) with an unknown flag is not HYPER_UNSUPPORTED"),

    "converter-odd-end": ("converter", r"convert\(\) from raw \(\w+\) to raw \(\w+\): what was written is not what was read"),
    "converter-shared-buffer": ("converter", r"convert\(\) from raw \(\w+\) to raw \(\w+\): what was written is not what was read"),
    "converter-ignores-block-min": ("converter", r"read_at\(\d+, \d+\) of its source is no multiple of its block_min"),
    "converter-ignores-block-max": ("converter", r"read_at\(\d+, \d+\) of its source is longer than its block_max"),
    "converter-finishes-source": ("converter", r"calls finish\(\) of a source that it does not own"),
    "converter-no-size": ("converter", r"convert\(\) gave a wrong document: the key 'virtual_size' is missing"),
    "converter-temporary-file": ("converter", r"leaves temporary files behind after stop\(\): new: scratch"),
    "converter-any-size": ("converter-failures", r"convert\(\) .* of a disk that is shorter than its owner says succeeds"),
    "converter-swallows-nospace": ("converter-failures", r"convert\(\) .* into a full sink succeeds and must fail"),
    "converter-leak-convert": ("converter-again", r"convert\(\) leaks \d+ descriptors"),
    "converter-leak-open": ("converter-again", r"open\(\) and close\(\) leaks memory"),
    "converter-leak-failure": ("converter-again", r"convert\(\) that fails leaks \d+ descriptors"),
    "converter-saves-unsynced": ("converter-resume", r"convert\(\) .* saves a state that relies on \d+ bytes, and 0 were written and synced"),
    # To a RANDOM sink it is the disk made from the state that shows it.
    "converter-saves-too-much": ("converter-resume", r"convert\(\) .* (saves a state that relies on \d+ bytes, and \d+ were written and synced|what was written is not what was read)"),
    "converter-resumes-late": ("converter-resume", r"convert\(\) from raw .*: what was written is not what was read"),
    "converter-any-state": ("converter-resume", r"convert\(\) .* from a state that it never saved succeeds"),
    "converter-wrong-beyond-4-gib": ("converter-large", r"convert\(\) of a disk of more than 4 GiB to raw: byte \d+ is not what was read"),
    "converter-understands-all": ("refusals", r"plan\(\) of a request that must be understood is not HYPER_UNSUPPORTED"),

    "image-probe-size": ("image", r"probe\(\) of .* says virtual_size \d+, and open\(\) gives a disk of \d+"),
    "image-takes-anything": ("image", r"probe\(\) takes noise for the format 'mutant'"),
    "image-zero-claim": ("image", r"an extent is marked as zero and byte \d+ reads otherwise|extents\(\) of .* as zero"),
    "image-racy-buffer": ("image", r"on (one of )?several threads"),
    "image-wrong-beyond-4-gib": ("image", r"read_at\(4\d{9}, 65536\) of .* gives other bytes than the disk has"),
    "image-zeros-when-short": ("image-damaged", r"read_at\(\) of the first half of .* gives a whole disk with other bytes"),
    "image-leak-probe": ("image-again", r"probe\(\) leaks memory"),
    "image-leak-open": ("image-again", r"open\(\), read_at\(\), extents\(\) and close\(\) leaks memory"),

    "guest-inspect-writes": ("guest", r"inspect\(\) writes to a disk, and may only read"),
    "guest-inspect-shape": ("guest", r"inspect\(\) gave a wrong document: /roots"),
    "guest-swallows-errors": ("guest-prepare", r"prepare\(\) of a disk that cannot be read succeeds and must fail"),
    "guest-swallows-nospace": ("guest-prepare", r"prepare\(\) of a disk that takes no writes succeeds and must fail"),
    "guest-changes-unlisted": ("guest-prepare", r"prepare\(\) changes a disk and lists neither actions nor files"),
    "guest-ignores-cancel": ("guest-cancel", r"inspect\(\) continues for more than 2 s after the cancel"),
}
# What only a power cut shows.
NOT_FOUND = {"storage-ignores-durability": "storage-kill"}

LARGE = (5 << 30) + 7 * 512  # core/check/large_disk.hpp
MASK = (1 << 64) - 1


def large_bytes(begin, end):
    out = bytearray()
    for offset in range(begin, end, 8):
        x = (offset + 0x9E3779B97F4A7C15) & MASK
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
        out += struct.pack("<Q", (x ^ (x >> 31)) | 1)
    return out


def samples(place):
    """An image of 1 MiB, and one of the large disk: a hole but for its beginning and a place beyond 4 GiB."""
    small, large = place / "small.mutant", place / "large.mutant"
    guest = bytes(i * 7 % 251 + 1 for i in range(1 << 16)) * 16
    small.write_bytes(b"MUTIMG01" + struct.pack("<Q", len(guest)) + guest)
    with large.open("wb") as file:
        file.write(b"MUTIMG01" + struct.pack("<Q", LARGE))
        middle, piece = 1 << 32, 65536
        windows = [0, (60 << 20) + 12288 - piece // 2, (1 << 30) + 36864 - piece // 2, (1 << 31) - piece // 2,
                   (1 << 31) + (777 << 20) + 4096 - piece // 2, middle - piece // 2, middle + (333 << 20) + 20480 - piece // 2]
        for begin in windows:
            file.seek(16 + begin)
            file.write(large_bytes(begin, begin + piece))
        file.seek(16 + LARGE - piece - 512)
        file.write(large_bytes(LARGE - piece - 512, LARGE))
    return ["--sample", small, "--sample", large]


def check(mutant, case, *arguments):
    command = [HOST, "--output", "json", "plugins", "check", "--time-limit", "300", *arguments, *(["--case", case] if case else []), PLUGIN]
    done = subprocess.run([str(part) for part in command], env={**os.environ, "HYPER_MUTANT": mutant}, capture_output=True,
                          text=True, timeout=560)
    return done.returncode, json.loads(done.stdout)["plugins"][0] if done.stdout else {}, done.stderr


def findings(report):
    return "\n".join(text for case in report.get("cases", []) if case["result"] == "failed" for text in case["findings"])


class Mutants(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        place = tempfile.TemporaryDirectory()
        cls.addClassCleanup(place.cleanup)
        cls.samples = samples(pathlib.Path(place.name))

    def test_every_fault_is_tried(self):
        sources = "".join(path.read_text() for path in HERE.glob("*.?pp"))
        self.assertEqual(set(re.findall(r'mutant\("([^"]+)"\)', sources)), set(FOUND) | set(NOT_FOUND))
        self.assertGreaterEqual(len(FOUND), 40)

    def arguments(self, mutant):
        return self.samples if mutant.startswith("image") else []

    def test_each_is_found_and_the_call_named(self):
        table = collections.Counter()
        with ThreadPoolExecutor(max(2, os.cpu_count() or 2)) as pool:
            for mutant, (status, report, err) in pool.map(lambda m: (m, check(m, FOUND[m][0], *self.arguments(m))), FOUND):
                with self.subTest(mutant=mutant):
                    if mutant == "storage-kill-same-pid":
                        requirement.need("do not repeat" not in json.dumps(report), "PID namespaces are not allowed here")
                    self.assertEqual(status, 1, err)
                    self.assertRegex(findings(report), FOUND[mutant][1])
                    table[mutant.split("-")[0]] += 1
        for kind in ("provider", "storage", "converter", "image", "guest"):
            tried = sum(mutant.startswith(kind) for mutant in [*FOUND, *NOT_FOUND])
            print(f"{kind}: {table[kind]} of {tried} mutants found")

    def test_what_it_cannot_find(self):
        for mutant, case in NOT_FOUND.items():
            with self.subTest(mutant=mutant):
                status, report, err = check(mutant, case)
                self.assertEqual(status, 0, findings(report) + err)

    def test_the_one_without_a_fault_passes(self):
        status, report, err = check("", "", "--strict", *self.samples)
        self.assertEqual(status, 0, findings(report) + err)
        self.assertEqual((report["failed"], report["skipped"]), (0, 0))
        status, report, err = check("", "converter-large", "--deep")
        self.assertEqual(status, 0, findings(report) + err)


if __name__ == "__main__":
    requirement.main()
