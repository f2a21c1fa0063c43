#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a command whose programs have ThreadSanitizer:  run.py COMMAND…

gcc 12's runtime does not know how much newer kernels randomise addresses ("unexpected memory mapping"), so that is switched off for
the command where the system allows it."""
import os
import subprocess
import sys

command = sys.argv[1:]
if subprocess.run(["setarch", "-R", "true"], stderr=subprocess.DEVNULL).returncode == 0:
    command = ["setarch", "-R", *command]
os.environ["TSAN_OPTIONS"] = "halt_on_error=1:second_deadlock_stack=1"
os.execvp(command[0], command)
