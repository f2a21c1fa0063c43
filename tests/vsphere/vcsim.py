# SPDX-License-Identifier: Apache-2.0
"""The govmomi simulator (tests/vsphere/vcsim) as a child process: on a free loopback port; ended with the test."""

import json
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
import go_program  # noqa: E402


def program():
    """The path of the simulator's binary; skips the test where it cannot be had."""
    return go_program.built(HERE / "vcsim", "the vSphere simulator")


class Vcsim:
    USER, PASSWORD = "ops", "Sim-Pa55word-xyzzy"

    def __init__(self, directory, *flags):
        self.password_file = pathlib.Path(directory) / "vcsim-password"
        self.password_file.touch(0o600)
        self.password_file.write_text(self.PASSWORD)
        self.cert_file = pathlib.Path(directory) / "vcsim-cert.pem"
        self.process = subprocess.Popen(
            [str(program()), "-username", self.USER, "-password-file", str(self.password_file),
             "-cert-file", str(self.cert_file), *flags],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.url = json.loads(self.process.stdout.readline())["url"]

    def stop(self):
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
