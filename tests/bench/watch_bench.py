#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What being watched costs: the same migration alone, and with every observer on and 200 clients of the
event stream, of which half never read. Bar: less than 3 % more wall time.

Alone and watched take turns. The clients that read run on this machine too, in this program: what they
take of its cores is in the figure, so it is the worst case.
"""

import argparse
import http.server
import json
import os
import re
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
HYPERHOST = os.path.join(ROOT, "build/release/bin/hyperhost")
CLIENTS, BAR = 200, 0.03


class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received += 1
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Audience(threading.Thread):
    """Opens the streams, reads half of them to their end, and scrapes the metrics once a second."""

    def __init__(self, progress, metrics):
        super().__init__(daemon=True)
        self.progress, self.metrics = progress, metrics
        self.ended = self.bytes = self.scrapes = 0

    def run(self):
        address = urllib.parse.urlsplit(self.progress)
        request = b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n"
        clients, selector = [], selectors.DefaultSelector()
        for number in range(CLIENTS):
            client = socket.create_connection((address.hostname, address.port))
            client.sendall(request)
            clients.append(client)
            if number % 2 == 0:
                selector.register(client, selectors.EVENT_READ)
        scraped = time.monotonic()
        while selector.get_map():
            for key, _ in selector.select(0.2):
                try:
                    got = key.fileobj.recv(1 << 16)
                except ConnectionError:
                    got = b""
                self.bytes += len(got)
                if not got:
                    selector.unregister(key.fileobj)
                    self.ended += 1
            if time.monotonic() - scraped >= 1:
                scraped = time.monotonic()
                try:
                    with urllib.request.urlopen(self.metrics + "/metrics", timeout=5) as answer:
                        answer.read()
                    self.scrapes += 1
                except OSError:
                    pass
        for client in clients:
            client.close()


def migrate(work, disk, hook):
    """One run; wall and CPU seconds, and who watched. hook: the receiver's URL, or None for alone."""
    out = os.path.join(work, "out")
    shutil.rmtree(out, ignore_errors=True)
    plan = {"version": 1, "providers": {"shelf": {"plugin": "local-ovf", "path": disk}}, "output_dir": out,
            "defaults": {"compression": "zlib", "durability": "none", "verify": "target"},
            "migrations": [{"vm": "*", "provider": "shelf"}]}
    if hook:
        plan["observability"] = {
            "progress_api": "127.0.0.1:0", "metrics_api": "127.0.0.1:0",
            "audit_log": {"path": os.path.join(work, "audit.log"), "required": True},
            "webhooks": [{"type": "generic", "url": hook, "on_start": True, "on_warning": True}]}
    path = os.path.join(work, "plan.yaml")
    with open(path, "w", encoding="utf-8") as f:
        json.dump(plan, f)
    os.sync()
    began = time.monotonic()
    process = subprocess.Popen([HYPERHOST, "run", path], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "HYPERHOST_STATE_DIR": os.path.join(work, "state")})
    audience, said = None, []
    for line in process.stderr:
        said.append(line)
        urls = re.findall(r"http://127\.0\.0\.1:\d+", "".join(said))
        if hook and audience is None and len(urls) == 2:
            audience = Audience(*urls)
            audience.start()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"hyperhost ended with {process.returncode}\n" + "".join(said))
    if audience:
        audience.join(10)
        if audience.ended < CLIENTS // 2:
            sys.exit(f"only {audience.ended} of {CLIENTS // 2} streams came to their end")
    return {"wall_s": wall, "cpu_s": usage.ru_utime + usage.ru_stime, "peak_kib": usage.ru_maxrss,
            "streamed": audience.bytes if audience else 0, "scrapes": audience.scrapes if audience else 0}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the 256 MiB disk, one run of each; the bar is only shown")
    parser.add_argument("-n", type=int, help="runs of each (default 5)")
    parser.add_argument("--enforce", action="store_true", help="status 1 when the bar is missed")
    parser.add_argument("--out", default=os.path.join(ROOT, "out/bench-result"))
    args = parser.parse_args()
    if not os.path.exists(HYPERHOST):
        print(f"{os.path.relpath(HYPERHOST, ROOT)} is not built")
        return 1 if os.environ.get("CI") == "true" else 77
    subprocess.run([os.path.join(HERE, "make_disk.sh"), *(["--quick"] if args.quick else [])], check=True)
    disk = os.path.join(ROOT, "out/bench-quick" if args.quick else "out/bench", "files.raw")
    work = os.path.join(args.out, "watch")
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    server.received = 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hook = f"http://127.0.0.1:{server.server_port}/"
    runs = {"alone": [], "watched": []}
    migrate(work, disk, None)  # the disk is in the page cache from here on
    for _ in range(args.n or (1 if args.quick else 5)):
        for name, url in (("alone", None), ("watched", hook)):
            runs[name].append(migrate(work, disk, url))
    server.shutdown()
    middle = {name: {key: statistics.median(run[key] for run in some) for key in some[0]} for name, some in runs.items()}
    for name, one in middle.items():
        print(f"{name:8} {one['wall_s']:8.3f} s  {one['cpu_s']:8.3f} CPU s  {one['peak_kib'] / 1024:6.0f} MiB peak")
    growth = middle["watched"]["wall_s"] / middle["alone"]["wall_s"] - 1
    print(f"{CLIENTS} clients, half of them silent; {middle['watched']['streamed'] / 1e6:.1f} MB streamed, "
          f"{server.received} webhooks: {100 * growth:+.1f} % wall time, bar +{100 * BAR:.0f} %: "
          + ("ok" if growth < BAR else "MISSED"))
    with open(os.path.join(args.out, "watch.json"), "w", encoding="utf-8") as f:
        json.dump({"clients": CLIENTS, "bar": BAR, "growth": growth, "median": middle, "runs": runs}, f, indent=1)
    shutil.rmtree(work)
    if server.received == 0:
        sys.exit("no webhook came")
    return 1 if args.enforce and growth >= BAR else 0


if __name__ == "__main__":
    sys.exit(main())
