# SPDX-License-Identifier: Apache-2.0
"""Tests that need a tool: skipped by name with the reason, failed under CI=true.

    requirement.tool("qemu-system-x86_64", package="qemu-system-x86")   # in a test or setUp
    if __name__ == "__main__": requirement.main()                      # instead of unittest.main()

main() exits with 77 when every test was skipped, which ctest shows as "Skipped".
"""

import os
import shutil
import sys
import unittest


def need(condition, reason):
    if condition:
        return
    if os.environ.get("CI") == "true":
        raise AssertionError(f"missing under CI: {reason}")
    raise unittest.SkipTest(reason)


def tool(name, package):
    need(shutil.which(name), f"{name} is not installed (Debian package {package})")


def main():
    program = unittest.main(module="__main__", exit=False, verbosity=2)
    result = program.result
    if not result.wasSuccessful():
        sys.exit(1)
    sys.exit(77 if result.testsRun and len(result.skipped) == result.testsRun else 0)
