# SPDX-License-Identifier: Apache-2.0
"""Programs of the tests that are written in Go: built once into a cache, with the module versions and checksums that go.sum
pins. Needs Go and the Go module proxy.
"""

import hashlib
import os
import pathlib
import shutil
import subprocess

import requirement


def built(sources, what):
    """The path of the program of a directory; skips the test where it cannot be had."""
    key = hashlib.sha256(b"".join((sources / name).read_bytes() for name in ("main.go", "go.mod", "go.sum"))).hexdigest()
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "hyperhost"
    binary = cache / f"{sources.name}-{key[:16]}"
    if binary.exists():
        return binary
    requirement.need(shutil.which("go"), f"Go is not installed: {what} cannot be built")
    cache.mkdir(parents=True, exist_ok=True)
    made = cache / f"{binary.name}.{os.getpid()}"
    done = subprocess.run(["go", "build", "-trimpath", "-o", str(made), "."], cwd=sources, text=True, timeout=900,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    requirement.need(done.returncode == 0, f"{what} cannot be built (is the Go module proxy there?): " + done.stdout[-500:])
    made.replace(binary)
    return binary
