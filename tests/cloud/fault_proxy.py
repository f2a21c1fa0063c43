# SPDX-License-Identifier: Apache-2.0
"""A proxy on loopback in front of an HTTP server: counts what passes, and spoils what it is told to.

    with FaultProxy(server.port, Faults(seed=1, reset=0.1, busy=0.1)) as proxy: … proxy.url …

Faults, each a share of the requests: `reset` breaks off in the middle of the request's body, `busy`
answers 503 with Retry-After, `slow` waits, `corrupt` flips a byte of the body on its way to the
server, `lost` lets the server do it and drops the answer, `cut` ends the answer half-way.
"""

import dataclasses
import random
import re
import socket
import struct
import threading
import time


@dataclasses.dataclass
class Faults:
    seed: int = 1
    reset: float = 0
    busy: float = 0
    slow: float = 0
    corrupt: float = 0
    lost: float = 0
    cut: float = 0
    most: int = 1000  # faults in all, so that a run ends

    KINDS = ("reset", "busy", "slow", "corrupt", "lost", "cut")


class FaultProxy:
    def __init__(self, port, faults=None, held=None):
        """The answer to a request that matches `held` (METHOD TARGET) is never passed on."""
        self.upstream, self.faults, self.held = port, faults or Faults(), held
        self.lost_once = None  # the answer to the first request that matches is lost
        self.held_one = threading.Event()
        self.random, self.lock = random.Random(self.faults.seed), threading.Lock()
        self.requests, self.injected = [], []  # [(method, target, status)], [(kind, method, target)]
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.close()

    def answered(self, pattern):
        """Targets of the requests that matched and were answered with success."""
        with self.lock:
            return [target for method, target, status in self.requests
                    if status is not None and status < 300 and re.search(pattern, f"{method} {target}")]

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def choose(self, method, target):
        with self.lock:
            if self.lost_once and re.search(self.lost_once, f"{method} {target}"):
                self.lost_once = None
                return "lost"
            if len(self.injected) >= self.faults.most:
                return None
            roll = self.random.random()
            for kind in Faults.KINDS:
                roll -= getattr(self.faults, kind)
                if roll < 0:
                    self.injected.append((kind, method, target))
                    return kind
            return None

    def serve(self, client):
        try:
            with socket.create_connection(("127.0.0.1", self.upstream), 60) as server, client:
                client.settimeout(60)
                source, answers = Stream(client), Stream(server)
                while self.exchange(client, server, source, answers):
                    pass
        except (OSError, Ended):
            pass

    def exchange(self, client, server, source, answers):
        head = source.head()
        method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        length = content_length(head)
        kind = self.choose(method, target)
        if kind == "busy":
            source.skip(length)
            client.sendall(b"HTTP/1.1 503 Slow Down\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n")
            return self.note(method, target, 503)
        if kind == "slow":
            time.sleep(0.3)
        server.sendall(head)
        spoil = length // 2 if kind in ("reset", "corrupt") else None
        sent = 0
        while sent < length:
            piece = source.some(length - sent)
            if spoil is not None and sent <= spoil < sent + len(piece):
                if kind == "reset":
                    server.sendall(piece[: spoil - sent])
                    break_off(client)
                    return self.note(method, target, None) and False
                at = spoil - sent
                piece = piece[:at] + bytes([piece[at] ^ 0x40]) + piece[at + 1:]
            server.sendall(piece)
            sent += len(piece)
        if kind == "reset":
            break_off(client)
            return self.note(method, target, None) and False
        answer = answers.head()
        status = int(answer.split(b" ", 2)[1])
        body = b"" if method == "HEAD" or status in (204, 304) else answers.body(answer)
        if self.held and re.search(self.held, f"{method} {target}"):
            self.held_one.set()
            while source.some(1):  # until the client is gone
                pass
        if kind == "lost":
            self.note(method, target, None)
            break_off(client)
            return False
        self.note(method, target, status)
        # A session of which the server tells the address goes through here as well.
        answer = answer.replace(f"127.0.0.1:{self.upstream}".encode(), f"127.0.0.1:{self.port}".encode())
        whole = answer + body
        if kind == "cut":
            client.sendall(whole[: len(whole) // 2])
            break_off(client)
            return False
        client.sendall(whole)
        return b"connection: close" not in answer.lower()

    def note(self, method, target, status):
        with self.lock:
            self.requests.append((method, target, status))
        return True


class Ended(Exception):
    pass


def break_off(one):
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.close()


def content_length(head):
    found = re.search(rb"\r\ncontent-length: *(\d+)", head, re.I)
    return int(found[1]) if found else 0


class Stream:
    def __init__(self, one):
        self.one, self.kept = one, b""

    def fill(self):
        more = self.one.recv(1 << 20)
        if not more:
            raise Ended
        self.kept += more

    def head(self):
        while b"\r\n\r\n" not in self.kept:
            self.fill()
        head, _, self.kept = self.kept.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    def some(self, most):
        if not self.kept:
            self.fill()
        piece, self.kept = self.kept[:most], self.kept[most:]
        return piece

    def skip(self, length):
        while length:
            length -= len(self.some(length))

    def exactly(self, length):
        pieces = []
        while length:
            pieces.append(self.some(length))
            length -= len(pieces[-1])
        return b"".join(pieces)

    def line(self):
        while b"\r\n" not in self.kept:
            self.fill()
        line, _, self.kept = self.kept.partition(b"\r\n")
        return line + b"\r\n"

    def body(self, head):
        if re.search(rb"\r\ntransfer-encoding: *chunked", head, re.I):
            whole = b""
            while True:
                size = self.line()
                whole += size + self.exactly(int(size.split(b";")[0], 16) + 2)
                if int(size.split(b";")[0], 16) == 0:
                    return whole
        return self.exactly(content_length(head))
