# SPDX-License-Identifier: Apache-2.0
"""Object stores that nobody here wrote, for the tests: installed by their own registries' clients
into a cache directory at a pinned version, started on loopback on a port of their own choosing,
stopped after.

versitygw: of the S3 servers that can be installed so, it checks signatures, payload hashes and
checksums of parts, and refuses conditional writes, as AWS does; s3rver checks no payload, MinIO's
module cannot be installed by `go install`.
"""

import fcntl
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support"))
sys.path.insert(0, str(ROOT / "tests/e2e"))
import requirement  # noqa: E402

CACHE = pathlib.Path(os.environ.get("HYPERHOST_PEER_CACHE",
                                    pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
                                    / "hyperhost-peers"))
VERSITYGW = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
FAKE_GCS = "github.com/fsouza/fake-gcs-server@v1.56.1"
AZURITE = "azurite@3.35.0"
ACCESS, SECRET = "hyperhost-test", "hyperhost-test-secret"


def installed(name, package, install):
    """The path that `install(directory)` returns, made once for each version."""
    CACHE.mkdir(parents=True, exist_ok=True)
    place = CACHE / (name + "-" + package.rpartition("@")[2])
    with open(CACHE / f".{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / ".complete").exists():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            try:
                install(place)
            except (subprocess.SubprocessError, OSError) as error:
                shutil.rmtree(place, ignore_errors=True)
                requirement.need(False, f"{package} cannot be installed: {error}")
            (place / ".complete").touch()
    return place


def go_program(name, package):
    requirement.tool("go", "golang, or the toolchain of go.dev")

    def install(place):
        subprocess.run(["go", "install", package], check=True, timeout=900, stdout=subprocess.DEVNULL,
                       stderr=subprocess.PIPE, env={**os.environ, "GOBIN": str(place), "GOFLAGS": "-p=2"})
    return installed(name, package, install) / name


def npm_program(name, package, script):
    requirement.tool("npm", "npm")

    def install(place):
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--prefix", str(place), package], check=True,
                       timeout=600, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return installed(name, package, install) / "node_modules" / script


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Server:
    """A child on loopback; `ready` is asked until it answers."""

    def __init__(self, make_command, env=None, cwd=None):
        self.log = tempfile.TemporaryFile()
        for attempt in range(5):  # the port may be taken between choosing and binding
            self.port = free_port()
            self.process = subprocess.Popen([str(word) for word in make_command(self.port)], stdin=subprocess.DEVNULL,
                                            stdout=self.log, stderr=self.log, cwd=cwd, start_new_session=True,
                                            env={**os.environ, **(env or {})})
            if self.wait_ready():
                return
            self.stop()
        self.log.seek(0)
        raise AssertionError("the peer does not start:\n" + self.log.read()[-4000:].decode("utf-8", "replace"))

    def wait_ready(self, timeout=30):
        end = time.monotonic() + timeout
        while time.monotonic() < end and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return True
            except OSError:
                time.sleep(0.02)
        return False

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def stop(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


def versitygw():
    return go_program("versitygw", VERSITYGW)


def fake_gcs():
    return go_program("fake-gcs-server", FAKE_GCS)


def azurite():
    return npm_program("azurite", AZURITE, "azurite/dist/src/blob/main.js")


class S3Server(Server):
    """versitygw over a directory; `bucket` exists."""

    def __init__(self, work, bucket="vms"):
        program = versitygw()
        self.root = pathlib.Path(work) / "s3-root"
        (self.root / bucket).mkdir(parents=True)
        side = pathlib.Path(work) / "s3-meta"
        side.mkdir()
        self.bucket = bucket
        super().__init__(lambda port: [program, "--port", f"127.0.0.1:{port}", "--access", ACCESS, "--secret", SECRET,
                                       "--keep-alive", "--quiet", "posix", "--sidecar", side, self.root])

    def storage(self, **options):
        """The plan's storage options; the secrets come from `env`."""
        return {"plugin": "s3", "endpoint": self.url, "region": "us-east-1",
                "access_key_id": {"env": "TEST_S3_ACCESS"}, "secret_access_key": {"env": "TEST_S3_SECRET"}, **options}

    env = {"TEST_S3_ACCESS": ACCESS, "TEST_S3_SECRET": SECRET}

    def unfinished(self):
        """Multipart uploads that the server keeps, by its own files: {directory: [part numbers]}."""
        found = {}
        for top in self.root.rglob(".sgwtmp"):
            for part in top.rglob("*"):
                if part.is_file() and part.name.isdigit():
                    found.setdefault(str(part.parent), []).append(int(part.name))
        return found

    def rclone(self, *arguments, **how):
        return rclone(f":s3,provider=Other,access_key_id={ACCESS},secret_access_key={SECRET},"
                      f"endpoint='{self.url}',region=us-east-1,force_path_style=true:", *arguments, **how)


def plain_environment():
    """Ours without what would send a client elsewhere."""
    return {name: value for name, value in os.environ.items()
            if not name.startswith(("AWS_", "AZURE_", "GOOGLE_", "RCLONE_")) and "proxy" not in name.lower()}


def rclone(remote, verb, path, *more, timeout=120):
    """rclone VERB REMOTE/PATH …; its standard output."""
    requirement.tool("rclone", "rclone")
    done = subprocess.run(["rclone", verb, "--config", "/dev/null", remote + path, *map(str, more)], timeout=timeout,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, env=plain_environment())
    if done.returncode != 0:
        raise AssertionError(f"rclone {verb} {path}: {done.stderr.decode('utf-8', 'replace')[-2000:]}")
    return done.stdout


def http_get(url, timeout=30):
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        return answer.read()


class Installed(unittest.TestCase):
    """Run by itself this file installs them all, so that no other test has to wait for it."""

    def test_versitygw(self):
        self.assertTrue(versitygw().exists())

    def test_fake_gcs_server(self):
        self.assertTrue(fake_gcs().exists())

    def test_azurite(self):
        self.assertTrue(azurite().exists())


if __name__ == "__main__":
    requirement.main()
