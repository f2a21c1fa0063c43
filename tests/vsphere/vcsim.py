# SPDX-License-Identifier: Apache-2.0
"""The govmomi simulator (tests/vsphere/vcsim) as a child process: built once into a cache, with the module versions and
checksums that go.sum pins; on a free loopback port; ended with the test. Needs Go and the Go module proxy.
"""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
import requirement  # noqa: E402


def program():
    """The path of the simulator's binary; skips the test where it cannot be had."""
    sources = HERE / "vcsim"
    key = hashlib.sha256(b"".join((sources / name).read_bytes() for name in ("main.go", "go.mod", "go.sum"))).hexdigest()
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "hyperhost"
    binary = cache / f"vcsim-{key[:16]}"
    if binary.exists():
        return binary
    requirement.need(shutil.which("go"), "Go is not installed: the vSphere simulator cannot be built")
    cache.mkdir(parents=True, exist_ok=True)
    made = cache / f"{binary.name}.{os.getpid()}"
    done = subprocess.run(["go", "build", "-trimpath", "-o", str(made), "."], cwd=sources, text=True, timeout=900,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    requirement.need(done.returncode == 0, "the vSphere simulator cannot be built (is the Go module proxy there?): "
                     + done.stdout[-500:])
    made.replace(binary)
    return binary


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
