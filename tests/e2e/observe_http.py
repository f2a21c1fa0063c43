#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Progress API, event streams and metrics server over real sockets, with a simulated run."""
import os
import json
import pathlib
import shutil
import ssl
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.request

from observe_support import Demo, answered, connect, exchange, get, need, raw_socket, read_events


SANITIZED = os.path.basename(os.path.dirname(os.environ.get("HYPERHOST_BIN", "").rstrip("/"))) in ("asan", "tsan")

class Endpoints(unittest.TestCase):
    def test_each_endpoint_during_a_run(self):
        with Demo("--steps", 100, "--audit", tempfile.mkdtemp() + "/audit.log") as demo:
            demo.begin()
            _, _, first = self.wait_for_task(demo)
            self.assertEqual(first["total_stages"], 3)
            status, headers, body = get(demo.progress, "/api/v1/progress")
            self.assertEqual(status, 200)
            self.assertEqual(headers["Content-Type"], "application/json")
            listing = json.loads(body)
            self.assertEqual(listing["count"], 2)
            self.assertEqual([t["task_id"] for t in listing["tasks"]], ["demo-0", "demo-1"])
            self.assertEqual(listing["run"]["counts"]["running"], 2)
            run = json.loads(get(demo.progress, "/api/v1/run")[2])
            self.assertEqual((run["run_id"], run["plan"], run["host"]), ("demo-run", "demo", "demo-host"))
            status, _, body = get(demo.metrics, "/metrics")
            self.assertEqual(status, 200)
            self.assertIn("hypersdk_migrations_active 2\n", body)
            moving = float(body.split("\nhypersdk_bytes_converted_total ")[1].split("\n")[0])
            self.assertGreater(moving, 0)
            self.assertEqual(json.loads(get(demo.metrics, "/stats")[2])["migrations"]["active"], 2)
            for url in (demo.progress, demo.metrics):
                self.assertEqual(json.loads(get(url, "/healthz")[2]), {"status": "ok"})
            self.assertEqual(get(demo.progress, "/readyz")[0], 200)
            document = json.loads(get(demo.progress, "/api/v1/openapi.json")[2])
            self.assertEqual(document["openapi"], "3.1.0")
            demo.wait_finished()
            task = json.loads(get(demo.progress, "/api/v1/progress/demo-0")[2])
            self.assertEqual((task["status"], task["percentage"]), ("completed", 100))
            self.check_schema(document, task)
            failed = json.loads(get(demo.progress, "/api/v1/progress/demo-1")[2])
            self.assertEqual(failed["status"], "failed")
            self.assertIn("no space left", failed["error"])
            self.assertLess(failed["percentage"], 100)
            status, _, body = get(demo.progress, "/api/v1/manifest/demo-0")
            self.assertEqual(json.loads(body), {"manifest_version": "1.0"})
            self.assertEqual(get(demo.progress, "/api/v1/manifest/demo-1")[0], 404)

    def wait_for_task(self, demo):
        for _ in range(200):
            status, headers, body = get(demo.progress, "/api/v1/progress/demo-0")
            if status == 200 and json.loads(body)["percentage"] > 0:
                return status, headers, json.loads(body)
            time.sleep(0.02)
        self.fail("the run did not begin")

    def check_schema(self, document, task):
        schema = document["components"]["schemas"]["Task"]
        self.assertEqual(set(schema["required"]) - set(task), set())
        self.assertEqual(set(task) - set(schema["properties"]), set())
        step = document["components"]["schemas"]["Step"]
        for disk in task["disks"]:
            self.assertEqual(set(step["required"]) - set(disk), set())
            self.assertEqual(set(disk) - set(step["properties"]), set())

    def test_errors_are_problem_details(self):
        with Demo() as demo:
            for method, path, wanted in [
                    ("GET", "/nowhere", 404), ("GET", "/api/v1/progress/nobody", 404),
                    ("GET", "/api/v1/stream/nobody", 404), ("POST", "/api/v1/progress", 405),
                    ("DELETE", "/", 405), ("GET", "/../../etc/passwd", 404),
                    ("GET", "/%2e%2e/etc/passwd", 404), ("GET", "/%zz", 400),
                    ("GET", "/api/v1/manifest/../../etc/passwd", 404)]:
                status, headers, body = get(demo.progress, path, method=method)
                self.assertEqual(status, wanted, (method, path))
                self.assertEqual(headers["Content-Type"], "application/problem+json")
                self.assertEqual(json.loads(body)["status"], wanted)
            self.assertEqual(get(demo.progress, "/", method="POST")[1]["Allow"], "GET, HEAD")
            status, headers, body = get(demo.progress, "/api/v1/progress", method="HEAD")
            self.assertEqual((status, body), (200, ""))
            self.assertGreater(int(headers["Content-Length"]), 0)

    def test_page_has_a_strict_policy(self):
        with Demo() as demo:
            status, headers, body = get(demo.progress, "/")
            self.assertEqual(status, 200)
            self.assertIn("default-src 'none'", headers["Content-Security-Policy"])
            self.assertNotIn("unsafe", headers["Content-Security-Policy"])
            self.assertEqual(headers["X-Content-Type-Options"], "nosniff")

    def test_a_name_pointed_at_loopback_is_refused(self):
        with Demo() as demo:
            status, _, body = get(demo.progress, "/", {"Host": "evil.example"})
            self.assertEqual(status, 403)
            self.assertIn("behind a proxy, send that as Host, or give the server a token", json.loads(body)["detail"])
            self.assertIn("behind a reverse proxy", json.loads(get(demo.progress, "/api/v1/openapi.json")[2])["info"]["description"])
        with Demo("--token", "t") as demo:  # what a proxy sends that keeps the name it was asked by
            headers = {"Host": "moves.example", "Authorization": "Bearer t"}
            self.assertEqual(get(demo.progress, "/api/v1/progress", headers)[0], 200)


class Streams(unittest.TestCase):
    def test_a_stream_from_start_to_end_and_resumption(self):
        with Demo("--steps", 60) as demo:
            demo.begin()
            time.sleep(0.2)
            connection = connect(demo.progress)
            connection.request("GET", "/api/v1/stream/demo-0?named")
            answer = connection.getresponse()
            self.assertEqual(answer.headers["Content-Type"], "text/event-stream")
            self.assertEqual(answer.readline(), b"retry: 2000\n")
            answer.readline()
            seen, last_id = [], None
            for event_id, event, data in read_events(answer):
                if event == "end":
                    break
                last_id = event_id
                seen.append(json.loads(data))
            self.assertEqual(answer.read(), b"")  # the server ends it
            percentages = [task["percentage"] for task in seen]
            self.assertEqual(percentages, sorted(percentages))
            self.assertEqual(percentages[-1], 100)
            self.assertTrue(all(p < 100 for p in percentages[:-1]))
            self.assertGreater(len(seen), 3)
            self.assertEqual(seen[-1]["status"], "completed")
            demo.wait_finished()
            status, _, _ = get(demo.progress, "/api/v1/stream/demo-0", {"Last-Event-ID": last_id})
            self.assertEqual(status, 204)
            # An id of another server's life means nothing: everything is sent again.
            answer = get(demo.progress, "/api/v1/stream/demo-0", {"Last-Event-ID": "7.3"})
            self.assertIn("event: end", answer[2])

    def test_resumption_sends_only_what_is_new(self):
        with Demo("--tasks", 3, "--steps", 20) as demo:
            demo.begin()
            demo.wait_finished()
            first = self.events(demo, 3, {})
            self.assertEqual(sorted(json.loads(d)["task_id"] for _, _, d in first),
                             ["demo-0", "demo-1", "demo-2"])
            again = self.events(demo, 1, {"Last-Event-ID": first[1][0]})
            self.assertEqual(again[0][0], first[2][0])

    def events(self, demo, count, headers):
        connection = connect(demo.progress)
        connection.request("GET", "/api/v1/stream?named", headers=headers)
        stream = read_events(connection.getresponse())
        result = []
        while len(result) < count:
            if (event := next(stream))[1] == "progress":  # not the run's own, which have no id
                result.append(event)
        connection.close()
        return result

    def test_clients_of_the_go_system_get_each_event_without_a_name(self):
        """EventSource.onmessage sees only events that have no type."""
        with Demo("--steps", 20) as demo:
            demo.begin()
            demo.wait_finished()
            for path in ("/api/v1/stream/demo-0", "/api/v1/stream/demo-0?named"):
                connection = connect(demo.progress)
                connection.request("GET", path)
                named, unnamed = [], []
                for _, event, data in read_events(connection.getresponse()):
                    if event == "progress":
                        named.append(data)
                    elif event is None:
                        unnamed.append(data)
                self.assertGreater(len(named), 0)
                self.assertEqual(unnamed, [] if path.endswith("?named") else named)

    def test_heartbeats(self):
        with Demo() as demo:
            connection = connect(demo.progress)
            connection.request("GET", "/api/v1/stream")
            answer = connection.getresponse()
            lines = [answer.readline() for _ in range(4)]
            self.assertIn(b": still here\n", lines)

    def test_the_last_state_is_sent_before_the_host_leaves(self):
        with Demo("--steps", 10) as demo:
            connection = connect(demo.progress)
            connection.request("GET", "/api/v1/stream")
            answer = connection.getresponse()
            demo.begin()
            demo.wait_finished()
            demo.leave()
            last = {}
            for _, event, data in read_events(answer):
                if event == "progress":
                    task = json.loads(data)
                    last[task["task_id"]] = task["status"]
            self.assertEqual(last, {"demo-0": "completed", "demo-1": "failed"})

    def test_200_clients_of_which_half_never_read(self):
        arguments = ("--tasks", 2, "--steps", 60, "--step-ms", 10, "--work-mib", 10)
        with Demo(*arguments) as demo:
            demo.begin()
            alone = demo.wait_finished()
        with Demo(*arguments) as demo:
            clients = []
            for _ in range(200):
                client = raw_socket(demo.progress)
                client.sendall(b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
                clients.append(client)
            stop = threading.Event()

            def read_half():
                import selectors
                selector = selectors.DefaultSelector()
                for client in clients[:100]:
                    client.setblocking(False)
                    selector.register(client, selectors.EVENT_READ)
                while not stop.is_set():
                    for key, _ in selector.select(0.1):
                        key.fileobj.recv(65536)

            reader = threading.Thread(target=read_half)
            reader.start()
            while True:
                time.sleep(0.05)
                with urllib.request.urlopen(demo.metrics + "/healthz", timeout=5):
                    break
            demo.begin()
            watched = demo.wait_finished()
            memory = demo.memory_kib()
            stop.set()
            reader.join()
            for client in clients:
                client.close()
        self.assertEqual(watched["streams"], 200)
        share = watched["publish"] / (2 * watched["wall"])  # two migrating threads
        print(f"wall alone {alone['wall']:.3f} s, with 200 clients {watched['wall']:.3f} s "
              f"({100 * (watched['wall'] / alone['wall'] - 1):+.1f} %); publishing "
              f"{100 * share:.2f} % of the data path's time; {memory // 1024} MiB resident")
        # The time of a run on a busy machine tells little; what a publisher waits for does.
        if not SANITIZED:  # which slows what publishes, and not OpenSSL's hashing beside it
            self.assertLess(share, 0.03)
            self.assertLess(memory, 128 * 1024)


class Abuse(unittest.TestCase):
    def test_slow_heads_are_cut_off_and_others_are_served(self):
        with Demo() as demo:
            slow = []
            for _ in range(600):  # more than the server's connections
                try:
                    client = raw_socket(demo.progress)
                    client.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
                    slow.append(client)
                except OSError:
                    break
            began = time.monotonic()
            self.assertEqual(get(demo.progress, "/api/v1/progress")[0], 200)
            self.assertLess(time.monotonic() - began, 2)
            # Dripping bytes does not extend the deadline of three seconds.
            client = slow[-1]
            client.settimeout(1)
            ended = False
            for _ in range(8):
                try:
                    client.sendall(b"x")
                    ended = client.recv(1) == b""
                except TimeoutError:
                    continue
                except OSError:
                    ended = True
                if ended:
                    break
            self.assertTrue(ended)
            for client in slow:
                client.close()

    def test_huge_and_malformed_heads(self):
        with Demo() as demo:
            for data, wanted in [
                    (b"GET / HTTP/1.1\r\nX-Big: " + b"x" * 1_000_000 + b"\r\n\r\n", b"431"),
                    (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", b"431"),
                    (b"nonsense\r\n\r\n", b"400"), (b"\x16\x03\x01\x02\x00" * 100 + b"\r\n\r\n", b"400"),
                    (b"GET / HTTP/9.9\r\n\r\n", b"400"),
                    (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
                    (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nabcd", b"405"),
                    (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n", b"200")]:
                answer = exchange(demo.progress, data)
                self.assertIn(wanted, answer.split(b"\r\n")[0], data[:60])
            self.assertEqual(get(demo.progress, "/healthz")[0], 200)

    def test_10000_requests_in_bounded_memory(self):
        # A sanitizer keeps freed memory: there only the answers count, and fewer tell as much.
        limit_kib, requests = (32 * 1024, 10_000) if not SANITIZED else (1024 * 1024, 2_000)
        with Demo("--tasks", 20, "--steps", 100) as demo:
            demo.begin()
            time.sleep(0.3)
            get(demo.progress, "/api/v1/progress")
            before = demo.memory_kib()
            paths = ("/api/v1/progress", "/nowhere/%41", "/", "/api/v1/progress/demo-1")
            self.assertEqual(answered(demo.progress, requests, paths), requests)
            self.assertLess(demo.memory_kib("VmHWM") - before, limit_kib)


class Protection(unittest.TestCase):
    def test_token(self):
        with Demo("--token", "s3cret", "--audit", tempfile.mkdtemp() + "/audit.log") as demo:
            for url, path in ((demo.progress, "/api/v1/progress"), (demo.progress, "/api/v1/stream"),
                              (demo.metrics, "/metrics")):
                for headers in ({}, {"Authorization": "Bearer wrong!"}, {"Authorization": "s3cret"},
                                {"Authorization": "Basic s3cret"}):
                    status, answer, body = get(url, path, headers)
                    self.assertEqual(status, 401)
                    self.assertIn("Bearer", answer["WWW-Authenticate"])
                    self.assertNotIn("s3cret", body)
            for path in ("/", "/dashboard.js", "/healthz", "/readyz", "/api/v1/openapi.json"):
                self.assertEqual(get(demo.progress, path)[0], 200, path)
            good = {"Authorization": "Bearer s3cret"}
            self.assertEqual(get(demo.progress, "/api/v1/progress", good)[0], 200)
            self.assertEqual(get(demo.metrics, "/metrics", good)[0], 200)

    def test_outside_loopback_is_refused_without_a_token(self):
        with self.assertRaises(AssertionError):
            Demo("--progress-api", "0.0.0.0:0")

    def test_access_is_audited_but_not_each_request(self):
        log = pathlib.Path(tempfile.mkdtemp()) / "audit.log"
        with Demo("--token", "t", "--audit", log) as demo:
            for _ in range(30):
                get(demo.progress, "/api/v1/progress", {"Authorization": "Bearer t"})
            get(demo.progress, "/api/v1/progress")
            entries = [json.loads(line) for line in log.read_text().splitlines()]
        self.assertEqual([(e["event_type"], e["status"]) for e in entries],
                         [("api_access", "200"), ("api_access", "401")])

    def test_tls(self):
        need(shutil.which("openssl"), "openssl to make a certificate")
        directory = pathlib.Path(tempfile.mkdtemp())
        key, certificate = directory / "key.pem", directory / "cert.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", certificate,
                        "-days", "2", "-subj", "/CN=localhost", "-addext",
                        "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
        with Demo("--tls", certificate, key, "--steps", 10) as demo:
            self.assertTrue(demo.progress.startswith("https://"))
            context = ssl.create_default_context(cafile=certificate)
            with urllib.request.urlopen(demo.progress + "/api/v1/progress", context=context) as answer:
                self.assertEqual(json.load(answer)["count"], 0)
            demo.begin()
            demo.wait_finished()
            with urllib.request.urlopen(demo.progress + "/api/v1/stream/demo-0",
                                        context=context) as answer:
                self.assertIn(b"event: end", answer.read())
            exchange(demo.progress, b"GET / HTTP/1.1\r\n\r\n")  # no TLS
            with urllib.request.urlopen(demo.progress + "/healthz", context=context) as answer:
                self.assertEqual(answer.status, 200)


if __name__ == "__main__":
    unittest.main()
