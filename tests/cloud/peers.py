# SPDX-License-Identifier: Apache-2.0
"""Object stores that nobody here wrote, for the tests: installed by their own registries' clients
into a cache directory at a pinned version, started on loopback on a port of their own choosing,
stopped after.

versitygw: of the S3 servers that can be installed so, it checks signatures, payload hashes and
checksums of parts, and refuses conditional writes, as AWS does; s3rver checks no payload. moto and
gofakes3 are there for what they do in another way (s3_servers.py). `rclone serve s3` and MinIO
compile for many minutes.
"""

import base64
import fcntl
import hashlib
import hmac
import http.server
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.parse
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
GOFAKES3 = "github.com/johannesboyne/gofakes3/cmd/gofakes3@v1.2.0"
AZURITE = "azurite@3.35.0"
MOTO = "moto@5.2.5"
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


def moto():
    """The directory with the module."""
    def install(place):
        name, version = MOTO.split("@")
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--target", str(place), f"{name}[s3]=={version}",
                        "flask", "flask-cors"], check=True, timeout=600, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return installed("moto", MOTO, install)


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


def gofakes3():
    return go_program("gofakes3", GOFAKES3)


def fake_gcs():
    return go_program("fake-gcs-server", FAKE_GCS)


def azurite():
    return npm_program("azurite", AZURITE, "azurite/dist/src/blob/main.js")


class AnS3Server(Server):
    """What a server of this protocol is asked for, by its own keys and by another client."""

    env = {"TEST_S3_SECRET": SECRET}
    region = "us-east-1"

    def storage(self, **options):
        """The plan's storage options; the secrets come from `env`."""
        return {"plugin": "s3", "endpoint": self.url, "region": self.region,
                "access_key_id": ACCESS, "secret_access_key": {"env": "TEST_S3_SECRET"}, **options}

    def rclone(self, *arguments, **how):
        return rclone(f":s3,provider=Other,access_key_id={ACCESS},secret_access_key={SECRET},"
                      f"endpoint='{self.url}',region={self.region},force_path_style=true:", *arguments, **how)

    def metadata(self, path):
        return json.loads(self.rclone("lsjson", path, "--stat", "--metadata"))["Metadata"]

    def unfinished(self):
        """Multipart uploads that the server keeps: a collection that is empty where there are none."""
        listed = json.loads(self.rclone("backend list-multipart-uploads", "vms"))
        return [upload for uploads in listed.values() for upload in uploads or []]


class S3Server(AnS3Server):
    """versitygw over a directory; `bucket` exists."""

    def __init__(self, work, bucket="vms", region="us-east-1"):
        program = versitygw()
        self.root = pathlib.Path(work) / "s3-root"
        (self.root / bucket).mkdir(parents=True)
        side = pathlib.Path(work) / "s3-meta"
        side.mkdir()
        self.region = region
        super().__init__(lambda port: [program, "--port", f"127.0.0.1:{port}", "--access", ACCESS, "--secret", SECRET, "--region", region,
                                       "--keep-alive", "--quiet", "posix", "--sidecar", side, self.root])

    def unfinished(self):
        """By its own files: {directory: [part numbers]}."""
        found = {}
        for top in self.root.rglob(".sgwtmp"):
            for part in top.rglob("*"):
                if part.is_file() and part.name.isdigit():
                    found.setdefault(str(part.parent), []).append(int(part.name))
        return found


class MotoServer(AnS3Server):
    """moto's S3 in memory; `bucket` exists. It checks no signature."""

    def __init__(self, work, bucket="vms"):
        place = moto()
        super().__init__(lambda port: [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", port], cwd=work,
                         env={"PYTHONPATH": str(place)})
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/{bucket}", method="PUT"), timeout=30).close()


class Gofakes3(AnS3Server):
    """gofakes3 in memory; `bucket` exists. It checks no signature and no SHA-256, keeps no checksum, and
    gives an object made of parts the ETag of one that was written at once."""

    def __init__(self, work, bucket="vms"):
        program = gofakes3()
        super().__init__(lambda port: [program, "-backend", "memory", "-host", f"127.0.0.1:{port}", "-initialbucket", bucket,
                                       "-quiet"], cwd=work)


AZURE_ACCOUNT = "hyperhosttest"
AZURE_KEY = base64.b64encode(b"hyperhost test account key, 32 b").decode()


class AzureServer(Server):
    """Azurite's blob service in a directory; the container `vms` exists."""

    env = {"TEST_AZURE_KEY": AZURE_KEY}

    def __init__(self, work, container="vms"):
        requirement.tool("node", "nodejs")
        script = azurite()
        super().__init__(lambda port: ["node", script, "--blobHost", "127.0.0.1", "--blobPort", port, "--location", work,
                                       "--silent", "--disableTelemetry", "--disableProductStyleUrl"],
                         env={"AZURITE_ACCOUNTS": f"{AZURE_ACCOUNT}:{AZURE_KEY}"})
        self.ask("PUT", container, {"restype": "container"})

    @property
    def endpoint(self):
        return f"{self.url}/{AZURE_ACCOUNT}"

    def storage(self, **options):
        return {"plugin": "azure-blob", "account": AZURE_ACCOUNT, "endpoint": self.endpoint,
                "key": {"env": "TEST_AZURE_KEY"}, **options}

    def account_sas(self, permissions="rwdlacx"):
        """A signature for the whole account, as the portal makes one."""
        start, end = (time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + s)) for s in (-600, 3600))
        fields = [AZURE_ACCOUNT, permissions, "b", "sco", start, end, "", "https,http", "2020-12-06", "", ""]
        mark = hmac.new(base64.b64decode(AZURE_KEY), "\n".join(fields).encode(), hashlib.sha256).digest()
        return urllib.parse.urlencode({"sv": "2020-12-06", "ss": "b", "srt": "sco", "sp": permissions, "st": start,
                                       "se": end, "spr": "https,http", "sig": base64.b64encode(mark).decode()})

    def ask(self, method, path, query):
        url = f"{self.endpoint}/{path}?{urllib.parse.urlencode(query)}&{self.account_sas()}"
        request = urllib.request.Request(url, method=method, headers={"Content-Length": "0", "x-ms-version": "2021-08-06"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read().decode()

    def rclone(self, *arguments, **how):
        return rclone(f":azureblob,sas_url='{self.endpoint}?{self.account_sas()}':", *arguments, **how)

    def metadata(self, path):
        url = f"{self.endpoint}/{path}?{self.account_sas()}"
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=30) as answer:
            return {name[10:].lower(): value for name, value in answer.headers.items() if name.lower().startswith("x-ms-meta-")}


class GcsServer(Server):
    """fake-gcs-server over a directory; the bucket `vms` exists."""

    env = {}

    def __init__(self, work, bucket="vms"):
        program = fake_gcs()
        (pathlib.Path(work) / "gcs-root").mkdir()
        super().__init__(lambda port: [program, "-scheme", "http", "-host", "127.0.0.1", "-port", port, "-public-host",
                                       f"127.0.0.1:{port}", "-external-url", f"http://127.0.0.1:{port}", "-backend",
                                       "memory", "-log-level", "error"])
        request = urllib.request.Request(self.url + "/storage/v1/b?project=test", method="POST",
                                         data=json.dumps({"name": bucket}).encode(),
                                         headers={"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=30).close()

    def storage(self, **options):
        return {"plugin": "gcs", "endpoint": self.url, "anonymous": True, **options}

    def ask(self, path):
        return http_get(self.url + path).decode()

    def rclone(self, *arguments, **how):
        return rclone(f":gcs,endpoint='{self.url}/storage/v1/',anonymous=true,no_check_bucket=true:", *arguments, **how)

    def metadata(self, path):
        bucket, _, key = path.partition("/")
        return json.loads(self.ask(f"/storage/v1/b/{bucket}/o/{urllib.parse.quote(key, safe='')}"))["metadata"]


class Metadata:
    """What a machine in a cloud asks for its credentials, and Google's token service: answers on
    loopback, remembers what was asked."""

    def __init__(self, jwt_key=None):
        self.asked, self.claims, self.refuse, self.jwt_key = [], None, False, jwt_key

    def __enter__(self):
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def answer(self, status, body, kind="application/json"):
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def keys(self):
                soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
                return {"AccessKeyId": ACCESS, "SecretAccessKey": SECRET, "Expiration": soon}

            def do_PUT(self):
                outer.asked.append(self.path)
                if self.path == "/latest/api/token":
                    return self.answer(200, b"session-token", "text/plain")
                return self.answer(404, {})

            def do_GET(self):
                path = self.path.partition("?")[0]
                outer.asked.append(path)
                if path.startswith("/latest/") and self.headers.get("X-aws-ec2-metadata-token") != "session-token":
                    return self.answer(401, {})
                if path == "/latest/meta-data/iam/security-credentials/":
                    return self.answer(200, b"migrator", "text/plain")
                if path == "/latest/meta-data/iam/security-credentials/migrator":
                    return self.answer(200, self.keys())
                if path == "/container" and self.headers.get("Authorization") == "container-token":
                    return self.answer(200, self.keys())
                if path == "/metadata/identity/oauth2/token" and self.headers.get("Metadata") == "true":
                    return self.answer(200, {"access_token": "azure-token", "expires_in": "3600"})
                return self.answer(404, {})

            def do_POST(self):
                outer.asked.append(self.path)
                form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                if outer.refuse or not outer.check_jwt(form.get("assertion", [""])[0]):
                    return self.answer(400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."})
                return self.answer(200, {"access_token": "google-token", "expires_in": 3600, "token_type": "Bearer"})

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def check_jwt(self, token):
        """Signed by the key, by OpenSSL's own word; the claims are kept."""
        def raw(text):
            return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        if token.count(".") != 2:
            return False
        head, claims, mark = token.split(".")
        with tempfile.NamedTemporaryFile() as signature:
            signature.write(raw(mark))
            signature.flush()
            done = subprocess.run(["openssl", "dgst", "-sha256", "-verify", self.jwt_key, "-signature", signature.name],
                                  input=f"{head}.{claims}".encode(), stdout=subprocess.DEVNULL, check=False)
        self.claims = json.loads(raw(claims))
        return done.returncode == 0


def plain_environment():
    """Ours without what would send a client elsewhere."""
    return {name: value for name, value in os.environ.items()
            if not name.startswith(("AWS_", "AZURE_", "GOOGLE_", "RCLONE_")) and "proxy" not in name.lower()}


def rclone(remote, verb, path, *more, timeout=120):
    """rclone VERB REMOTE/PATH …; its standard output."""
    requirement.tool("rclone", "rclone")
    done = subprocess.run(["rclone", *verb.split(), "--config", "/dev/null", remote + path, *map(str, more)], timeout=timeout,
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

    def test_gofakes3(self):
        self.assertTrue(gofakes3().exists())

    def test_moto(self):
        self.assertTrue((moto() / "moto").exists())

    def test_azurite(self):
        self.assertTrue(azurite().exists())


if __name__ == "__main__":
    requirement.main()
