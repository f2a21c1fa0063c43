#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The lints find what they are for: each rule is broken once in a small tree."""

import os
import sys
import tempfile
import unittest

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__)),
                os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support")]
import lint  # noqa: E402
import requirement  # noqa: E402

LICENCE = "// SPDX-License-Identifier: Apache-2.0\n"


class Lints(unittest.TestCase):
    def setUp(self):
        self.tree = tempfile.TemporaryDirectory()
        self.addCleanup(self.tree.cleanup)
        self.addCleanup(setattr, lint, "ROOT", lint.ROOT)
        lint.ROOT = self.tree.name

    def put(self, name, text):
        path = os.path.join(self.tree.name, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        return name

    def test_a_plugin_that_includes_core_is_found(self):
        name = self.put("plugins/x/x.cpp", LICENCE + '#include "core/base/diagnostic.hpp"\n#include <zlib.h>\n')
        self.assertEqual(lint.check_layering([name]), [f"{name}:2: plugins must not include core/base/diagnostic.hpp"])

    def test_temporary_files_that_others_can_foresee_are_found(self):
        bad = self.put("core/x/x.cpp", LICENCE + 'f(tmpnam(n));\nint a = mkstemp(p);\nauto d = "/tmp/hyper";\n'
                       "int b = open(p, O_CREAT |\n  O_WRONLY);\n")
        self.assertEqual([line.split(": ")[0] for line in lint.check_temporary([bad])], [f"{bad}:{n}" for n in (2, 3, 4, 5)])
        good = self.put("plugins/x/y.cpp", LICENCE + 'auto d = "/tmp/x-XXXXXX";\nmkdtemp(d);\nopen(p, O_CREAT | O_EXCL);\n'
                        "open(q,\n     O_CREAT | O_NOFOLLOW);\n")
        self.assertEqual(lint.check_temporary([good, self.put("tests/t.cpp", "tmpnam(n)")]), [])

    def test_a_long_function_is_found_and_what_stands_around_it_is_not(self):
        body = "  f();\n" * 67
        name = self.put("core/x/x.cpp", LICENCE + "namespace a {\nclass X {\n  int y = 0;\n" + "  int z;\n" * 80 + "};\n"
                        "void short_one(int a) {\n" + body.replace("f();", 'f("}", \'{\');  // }', 1) + "}\n"
                        "int X::long_one() const {\n  if (y) {\n" + body + "  }\n}\n}\n")
        self.assertEqual(lint.check_functions([name]),
                         [f"{name}:155: a function of 71 lines: divide it (at most 69)"])
        self.assertEqual(lint.check_functions([self.put("hosts/x/x.cpp", "void f() {\n" + body * 2 + "}\n")]), [])

    def test_a_relative_way_round_is_found(self):
        name = self.put("plugins/x/x.cpp", '#include "../../core/base/diagnostic.hpp"\n')
        self.assertEqual(len(lint.check_layering([name])), 1)

    def test_a_third_party_header_in_the_sdk_is_found(self):
        name = self.put("sdk/include/hyper/x.h", "#include <stdint.h>\n#include <hyper/y.h>\n#include <curl/curl.h>\n")
        self.assertEqual(len(lint.check_layering([name])), 1)

    def test_a_plugin_that_links_core_is_found(self):
        name = self.put("plugins/x/CMakeLists.txt", "target_link_libraries(x hyperhost_core)\n")
        self.assertEqual(len(lint.check_layering([name])), 1)

    def test_a_plugin_that_core_names_is_found(self):
        manifest = self.put("plugins/storage/shelf/manifest.json", '{\n  "id": "shelf",\n  "version": "1.0.0"\n}\n')
        name = self.put("core/a/a.cpp", LICENCE + 'int a(const char* = "shelf");\nint b(const char* = "shelf@1.2");\n'
                        '/// e.g. "shelf"\nint c(const char* = "shelves");  // "shelf"\n')
        host = self.put("hosts/a/a.cpp", LICENCE + 'int a(const char* = "shelf");\n')
        self.assertEqual(lint.check_layering([manifest, name, host]),
                         [f"{name}:2: core must not name the plugin 'shelf'", f"{name}:3: core must not name the plugin 'shelf'"])
        self.assertEqual(lint.check_layering([name]), [])

    def test_core_may_include_core_and_sdk(self):
        name = self.put("core/a/a.cpp", '#include "core/a/a.hpp"\n#include <hyper/hyper.h>\n#include <spdlog/spdlog.h>\n')
        self.assertEqual(lint.check_layering([name]), [])

    def test_a_missing_licence_is_found(self):
        name = self.put("core/a.cpp", "int a();\nint b();\nint c();\n")
        self.assertEqual(len(lint.check_licence([name])), 1)
        self.assertEqual(lint.check_licence([self.put("core/b.cpp", LICENCE + "int a();\nint b();\n")]), [])

    def test_vague_names_are_found(self):
        self.assertEqual(len(lint.check_names(["core/string_util.hpp", "core/helpers/a.cpp", "sdk/common/x.h"])), 3)
        self.assertEqual(lint.check_names(["core/plan/plan.hpp", "core/commonality.cpp",
                                           "core/migrate/conversion_manager.hpp"]), [])

    def test_broken_scripts_are_found(self):
        python = self.put("tests/x.py", "def f(:\n  pass\n")
        shell = self.put("tests/x.sh", "if true; then\n")
        self.assertEqual(len({line.split(":")[0] for line in lint.check_scripts([python, shell])}), 2)

    def test_a_program_that_is_not_executable_is_found(self):
        names = [self.put("tests/x.py", "#!/usr/bin/python3\n"), self.put("configs/x", "#!/bin/sh\n"),
                 self.put("tests/y.py", "# no program\n"), self.put("docs/x", "# #!\n")]
        self.assertEqual([line.split(":")[0] for line in lint.check_scripts(names)], names[:2])
        for name in names[:2]:
            os.chmod(os.path.join(self.tree.name, name), 0o755)
        self.assertEqual(lint.check_scripts(names), [])

    def test_unformatted_code_is_found(self):
        requirement.tool("clang-format-14", "clang-format-14")
        name = self.put("core/a.cpp", "int   a( ) ;\n")
        self.assertTrue(lint.check_format([name]))

    def test_unclear_words_are_found(self):
        page = self.put("docs/x.md", "The host is told.\nNobody waits.\nA run is gone on with.\nThe old untold toldest.\n")
        self.assertEqual([line.split(":")[1] for line in lint.check_english([page])], ["1", "2", "3"])
        self.assertEqual(lint.check_english([self.put("docs/x.py", "# told\n"), self.put("core/a/a.cpp", "int told_;\n")]), [])
        self.assertEqual(len(lint.check_english([self.put("core/a/b.cpp", "// begins anew\n")])), 1)


if __name__ == "__main__":
    requirement.main()
