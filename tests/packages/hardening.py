#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The hardening that the build promises, looked for in the programs and plugins that users run: the optimised build's."""
import pathlib
import re
import struct
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import product  # noqa: E402
import requirement  # noqa: E402

EM_X86_64 = 62
ENDBR64 = b"\xf3\x0f\x1e\xfa"


def readelf(*arguments):
    return subprocess.run(["readelf", "-W", *map(str, arguments)], capture_output=True, text=True, check=True).stdout


def code_of(binary):
    """The bytes of .text."""
    section = re.search(r"\] \.text +PROGBITS +\S+ (\S+) (\S+)", readelf("-S", binary))
    offset, size = (int(number, 16) for number in section.groups())
    with open(binary, "rb") as file:
        file.seek(offset)
        return file.read(size)


class Hardening(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        requirement.tool("readelf", package="binutils")
        build = product.optimised()  # the sanitizers' have other protections
        if build is None:
            raise unittest.SkipTest("there is no optimised build")
        cls.programs = [build / "bin/hyperhost", build / "bin/hyperexport"]
        cls.libraries = sorted((build / "lib/hyperhost/plugins").glob("*.so")) + list((build / "lib").glob("libhyperhost.so.*.*.*"))
        cls.all = cls.programs + cls.libraries

    def test_programs_are_position_independent(self):
        for binary in self.programs:
            with self.subTest(binary=binary.name):
                self.assertRegex(readelf("-h", binary), r"Type: +DYN")
                self.assertRegex(readelf("-d", binary), r"FLAGS_1.*\bPIE\b")

    def test_nothing_is_writable_that_need_not_be(self):
        self.assertGreater(len(self.all), 9)
        for binary in self.all:
            with self.subTest(binary=binary.name):
                segments, dynamic = readelf("-l", binary), readelf("-d", binary)
                self.assertIn("GNU_RELRO", segments)
                self.assertRegex(dynamic, r"\bNOW\b")
                self.assertRegex(segments, r"GNU_STACK .* RW +0x")
                self.assertNotRegex(segments, r"LOAD .* RWE ")
                self.assertNotIn("TEXTREL", dynamic)

    def test_no_library_is_looked_for_where_others_may_write(self):
        for binary in self.all:
            for path in re.findall(r"\((?:RPATH|RUNPATH)\).*\[(.*)\]", readelf("-d", binary)):
                self.assertNotRegex(path, r"(^|:)(/tmp|/var/tmp|\.|$)", binary.name)

    def test_calls_are_checked(self):
        symbols = {binary.name: readelf("--dyn-syms", binary) for binary in self.all}
        for name, seen in symbols.items():
            with self.subTest(binary=name):
                self.assertIn("__stack_chk_fail", seen)
                if name.startswith(("hyperhost", "libhyperhost")):
                    self.assertRegex(seen, r"UND __(?!stack)\w+_chk\b")  # _FORTIFY_SOURCE
                    self.assertIn("glibcxx_assert_fail", seen)  # _GLIBCXX_ASSERTIONS

    def test_jumps_land_where_they_may(self):
        for binary in self.all:
            if struct.unpack_from("<H", binary.read_bytes()[:20], 18)[0] != EM_X86_64:
                self.skipTest("another processor")
            # Debian's crt1.o has no property, so that a program's own does not say it: its functions do.
            functions = len(re.findall(r" FUNC +(?:GLOBAL|LOCAL|WEAK) +\w+ +\d", readelf("-s", binary)))
            with self.subTest(binary=binary.name):
                self.assertGreater(code_of(binary).count(ENDBR64), max(20, functions // 10))


if __name__ == "__main__":
    requirement.main()
