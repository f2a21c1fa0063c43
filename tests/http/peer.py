#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""An HTTP(S) server for the tests of plugins/http: one connection a thread, each path a behaviour.

Prints one JSON line {"port", "tls_port", "cert", "sha1", "sha256"} and serves until its standard input ends.
"""

import hashlib
import http.server
import json
import os
import socket
import socketserver
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

DATA = bytes((i * 7 + i // 251) & 255 for i in range(3 << 20))
STOP = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    uploads = 0
    requests = 0  # of a connection

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def read_body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            out = b""
            while True:
                size = int(self.rfile.readline().strip(), 16)
                out += self.rfile.read(size)
                self.rfile.readline()
                if size == 0:
                    return out
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_any(self):
        url = urllib.parse.urlsplit(self.path)
        self.requests += 1
        if url.path in ("/reset", "/drop-kept"):
            return self.reset() if url.path == "/reset" else self.drop_kept()
        body = self.read_body()
        getattr(self, "serve_" + url.path.strip("/").replace("-", "_"), self.serve_nothing)(body, url.query)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_any

    def reset(self):
        """Ends the connection in the middle of the body, with RST."""
        Handler.uploads += 1
        self.rfile.read(64 << 10)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.rfile.close()
        self.connection.close()

    def drop_kept(self):
        """A kept connection ends without an answer, as an idle one does; on a new one there is an answer."""
        self.read_body()
        return self.drop() if self.requests > 1 else self.answer(200, b"at last")

    def serve_uploads(self, _body, _query):
        self.answer(200, b"%d" % Handler.uploads)

    def serve_nothing(self, _body, _query):
        self.answer(404)

    def serve_echo(self, body, query):
        told = {"method": self.command, "query": query, "port": self.client_address[1],
                "sha256": hashlib.sha256(body).hexdigest(), "length": len(body),
                "chunked": self.headers.get("Transfer-Encoding") == "chunked",
                "headers": {name.lower(): value for name, value in self.headers.items()}}
        self.answer(200, json.dumps(told).encode(), [("X-Twice", "one"), ("x-twice", "two")])

    def serve_folded(self, _body, _query):
        """The first header field begins with a blank, as if it went on with the one before."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\n X-Folded: " + b"y" * 300 + b"\r\nContent-Length: 2\r\nX-Last: z\r\n\r\nok")

    def serve_data(self, _body, _query):
        wanted = self.headers.get("Range")
        if wanted is None:
            return self.answer(200, DATA)
        first, last = (int(n) for n in wanted.removeprefix("bytes=").split("-"))
        self.answer(206, DATA[first:last + 1], [("Content-Range", f"bytes {first}-{last}/{len(DATA)}")])

    def serve_no_ranges(self, _body, _query):
        self.answer(200, DATA)

    def serve_wrong_range(self, _body, _query):
        self.answer(206, DATA[:100], [("Content-Range", f"bytes 0-99/{len(DATA)}")])

    def serve_short_range(self, _body, _query):
        first, last = (int(n) for n in self.headers["Range"].removeprefix("bytes=").split("-"))
        self.answer(206, DATA[first:last], [("Content-Range", f"bytes {first}-{last}/{len(DATA)}")])

    def serve_status(self, _body, query):
        status, _, retry = query.partition(",")
        self.answer(int(status), b"no", [("Retry-After", retry)] if retry else [])

    def serve_redirect(self, _body, _query):
        self.answer(302, b"", [("Location", "/echo")])

    def begin_chunked(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def serve_chunked(self, _body, _query):
        self.begin_chunked()
        for at in range(0, len(DATA), 100_000):
            self.chunk(DATA[at:at + 100_000])
        self.wfile.write(b"0\r\n\r\n")

    def drop(self):
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def serve_truncated_chunked(self, _body, _query):
        self.begin_chunked()
        self.chunk(DATA[:200_000])
        self.drop()

    def serve_truncated(self, _body, _query):
        self.send_response(200)
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        self.wfile.write(DATA[:200_000])
        self.drop()

    def serve_silent(self, _body, _query):
        STOP.wait(30)

    def serve_stalls(self, _body, _query):
        self.send_response(200)
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        self.wfile.write(DATA[:100_000])
        self.wfile.flush()
        STOP.wait(30)

    def serve_trickle(self, _body, _query):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        try:
            for at in range(1000):
                self.wfile.write(DATA[at:at + 1])
                if STOP.wait(0.02):
                    return
        except OSError:
            pass

    def serve_long_header(self, _body, _query):
        try:
            self.answer(200, b"", [(f"X-{i}", "y" * 8000) for i in range(60)])
        except OSError:
            pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    tls = None

    def get_request(self):
        connection, address = super().get_request()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection, address

    def finish_request(self, request, client_address):
        if self.tls:
            request = self.tls.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)

    def handle_error(self, *_):
        pass


def main():
    with tempfile.TemporaryDirectory() as place:
        cert, key = os.path.join(place, "cert.pem"), os.path.join(place, "key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                        "-keyout", key, "-out", cert], check=True, stderr=subprocess.DEVNULL, timeout=30)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(cert, key)
        plain, secure = Server(("127.0.0.1", 0), Handler), Server(("127.0.0.1", 0), Handler)
        secure.tls = tls
        for server in (plain, secure):
            threading.Thread(target=server.serve_forever, daemon=True).start()
        with open(cert, encoding="ascii") as f:
            der = ssl.PEM_cert_to_DER_cert(f.read())
        print(json.dumps({"port": plain.server_port, "tls_port": secure.server_port, "cert": cert,
                          "sha1": hashlib.sha1(der).hexdigest(), "sha256": hashlib.sha256(der).hexdigest()}), flush=True)
        sys.stdin.read()
        STOP.set()
        time.sleep(0.05)


if __name__ == "__main__":
    main()
