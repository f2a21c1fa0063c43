#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every public header compiles alone, as every language version it promises, with gcc and clang,
with the strictest warnings; and a slot filled with a function that may throw does not compile."""
import pathlib
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
SDK = HERE.parents[1] / "sdk" / "include"
sys.path.insert(0, str(HERE.parent / "support"))
import requirement  # noqa: E402

STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Wno-sign-conversion", "-Werror"]


def compile_text(compiler, standard, language, text, extra=()):
    command = [compiler, f"-std={standard}", "-x", language, "-fsyntax-only", "-I", str(SDK), *STRICT, *extra, "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True)


class Headers(unittest.TestCase):
    def each(self, suffix, compilers, standards, language, extra=()):
        headers = sorted((SDK / "hyper").rglob(f"*{suffix}"))
        self.assertGreater(len(headers), 3)
        for compiler in compilers:
            requirement.tool(compiler, package=compiler)
            for standard in standards:
                for header in headers:
                    with self.subTest(header=header.name, compiler=compiler, standard=standard):
                        done = compile_text(compiler, standard, language,
                                            f"#include <{header.relative_to(SDK)}>\nint used(void);\n", extra)
                        self.assertEqual(done.returncode, 0, done.stderr)

    def test_c_headers_as_c(self):
        self.each(".h", ["gcc", "clang-14"], ["c99", "c11", "c17"], "c", ["-Wpadded"])

    def test_c_headers_as_cpp(self):
        self.each(".h", ["g++", "clang++-14"], ["c++17", "c++20"], "c++", ["-Wpadded"])

    def test_cpp_face(self):
        self.each(".hpp", ["g++", "clang++-14"], ["c++17", "c++20"], "c++")

    def test_a_callback_that_may_throw_does_not_compile(self):
        text = """#include <hyper/hyper.h>
        static hyper_st bad(void *, const char *, uint64_t) { throw 1; }
        hyper_emit slot = bad;
        """
        requirement.tool("g++", package="g++")
        self.assertNotEqual(compile_text("g++", "c++17", "c++", text).returncode, 0)
        self.assertEqual(compile_text("g++", "c++17", "c++", text.replace("{ throw 1; }", "noexcept { return 0; }")).returncode, 0)


if __name__ == "__main__":
    requirement.main()
