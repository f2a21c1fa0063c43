#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds a target of tests/tsan/CMakeLists.txt with preset tsan:  build.py TARGET"""
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
for command in (["cmake", "--preset", "tsan", "-DHYPERHOST_TESTS=ON"],
                ["cmake", "--build", "--preset", "tsan", "-j", str(os.cpu_count()), "--target", sys.argv[1]]):
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit(done.stdout[-8000:])
