# SPDX-License-Identifier: Apache-2.0
"""Starts observe_demo for the end-to-end tests of what the observers serve and send."""
import concurrent.futures
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import unittest
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("HYPERHOST_BUILD_DIR", ROOT / "build/dev"))
BIN = pathlib.Path(os.environ.get("HYPERHOST_BIN", BUILD / "bin"))


def need(condition, reason):
    """Skips with the reason; in CI a missing peer is a failure."""
    if condition:
        return
    if os.environ.get("CI") == "true":
        raise AssertionError(f"CI must have: {reason}")
    raise unittest.SkipTest(reason)


class Demo:
    """One run of observe_demo; use as a context manager."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen([BIN / "observe_demo", *map(str, arguments)], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        line = self.process.stdout.readline()
        if not line:
            self.process.stdin.close()
            self.process.stdout.close()
            self.process.wait()
            raise AssertionError("observe_demo did not start")
        urls = json.loads(line)
        self.progress, self.metrics = urls["progress"], urls["metrics"]

    def begin(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def wait_finished(self):
        return json.loads(self.process.stdout.readline())

    def leave(self):
        self.process.stdin.close()
        last = self.process.stdout.readline()
        self.process.wait(30)
        return json.loads(last) if last else None

    def memory_kib(self, what="VmRSS"):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        for line in status.splitlines():
            if line.startswith(what + ":"):
                return int(line.split()[1])
        raise AssertionError(what)

    def __enter__(self):
        return self

    def __exit__(self, failure, *_):
        if not self.process.stdin.closed:
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        if failure is None and self.process.returncode not in (0, -signal.SIGKILL):  # a test may kill it
            raise AssertionError(f"observe_demo ended with {self.process.returncode}")


def connect(url, timeout=20):
    parts = urllib.parse.urlsplit(url)
    return http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)


def answered(url, requests, paths):
    """How many of `requests`, made by eight clients of `paths` in turn, got an answer that is in order."""
    def client(number):
        count, connection = 0, connect(url)
        for i in range(requests // 8):
            connection.request("GET" if i % 10 else "PUT", paths[i % len(paths)])
            answer = connection.getresponse()
            answer.read()
            count += answer.status in (200, 404, 405)
            if i % 50 == number:
                connection.close()
        connection.close()
        return count
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        return sum(pool.map(client, range(8)))


def get(url, path, headers=None, method="GET", body=None):
    """Returns status, headers and body."""
    connection = connect(url)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        connection.close()


def raw_socket(url):
    parts = urllib.parse.urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=20)


def exchange(url, data):
    """Sends bytes and returns all that comes back until the server closes."""
    with raw_socket(url) as connection:
        try:
            connection.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        received = b""
        try:
            while chunk := connection.recv(65536):
                received += chunk
        except ConnectionResetError:
            pass
        return received


def read_events(answer):
    """Yields (id, event, data) of a server-sent event stream until it ends."""
    event = {}
    for line in answer:
        line = line.decode().rstrip("\n")
        if line == "":
            if "data" in event:
                yield event.get("id"), event.get("event"), event["data"]
            event = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            event[name] = value
