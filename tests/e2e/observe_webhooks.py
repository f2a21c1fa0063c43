#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Webhooks against receivers on loopback: HTTP with signature check, a mail server, dead ends."""
import email
import email.policy
import hashlib
import hmac
import http.server
import json
import re
import socket
import socketserver
import threading
import time
import unittest

from observe_support import Demo, get


class Receiver(http.server.ThreadingHTTPServer):
    """Keeps what it is sent; answers with the statuses it was given, then 200."""

    def __init__(self, answers=()):
        self.received, self.answers, self.lock = [], list(answers), threading.Lock()
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_port}/T000/secret-path"

    def __exit__(self, *arguments):
        self.shutdown()
        super().__exit__(*arguments)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.received.append((time.monotonic(), dict(self.headers), body))
            status, headers = self.server.answers.pop(0) if self.server.answers else (200, {})
        self.send_response_only(status)  # no fields of its own before these
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Mailbox(socketserver.ThreadingTCPServer):
    """As much of SMTP as a submission takes."""
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self):
        self.messages = []
        super().__init__(("127.0.0.1", 0), MailSession)
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"smtp://127.0.0.1:{self.server_address[1]}"

    def __exit__(self, *arguments):
        self.shutdown()
        super().__exit__(*arguments)


class MailSession(socketserver.StreamRequestHandler):
    def handle(self):
        say = lambda text: self.wfile.write(text.encode() + b"\r\n")
        say("220 test")
        envelope = []
        while line := self.rfile.readline().decode().strip():
            if line.startswith(("MAIL", "RCPT")):
                envelope.append(line)
            if line == "DATA":
                say("354 go on")
                message = b""
                while (part := self.rfile.readline()) != b".\r\n":
                    message += part[1:] if part.startswith(b"..") else part
                self.server.messages.append((envelope, message))
                envelope = []
            if line == "QUIT":
                say("221 bye")
                return
            say("250 ok")


class Webhooks(unittest.TestCase):
    def run_demo(self, *arguments):
        with Demo("--steps", 10, "--drain-ms", 4000, *arguments) as demo:
            demo.begin()
            finished = demo.wait_finished()
            for _ in range(100):
                metrics = get(demo.metrics, "/metrics")[2]
                if not re.search(r'queue_length\{queue="webhook.*\} [1-9]', metrics):
                    break
                time.sleep(0.05)
            return finished, demo.leave(), metrics

    def test_generic_is_signed(self):
        with Receiver() as receiver:
            _, summary, metrics = self.run_demo("--generic", receiver.url, "--secret", "k3y")
        events = []
        ids = set()
        for _, headers, body in receiver.received:
            stamp = headers["X-Hyperhost-Timestamp"]
            self.assertLess(abs(time.time() - int(stamp)), 60)
            wanted = hmac.new(b"k3y", stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
            self.assertEqual(headers["X-Hyperhost-Signature"], "sha256=" + wanted)
            payload = json.loads(body)
            self.assertEqual(payload["delivery_id"], headers["X-Hyperhost-Delivery"])
            self.assertEqual(payload["event"], headers["X-Hyperhost-Event"])
            ids.add(payload["delivery_id"])
            events.append(payload["event"])
        self.assertEqual(sorted(events), ["migration_complete", "migration_failed",
                                          "migration_start", "migration_start", "run_failed", "run_start",
                                          "warning", "warning"])
        self.assertEqual(len(ids), 8)
        self.assertEqual(summary["webhooks"][0]["delivered"], 8)
        self.assertIn('hypersdk_webhook_deliveries_total{hook="generic-0",result="delivered",'
                      'type="generic"} 8\n', metrics)

    def test_slack_and_discord(self):
        with Receiver() as slack, Receiver() as discord:
            self.run_demo("--slack", slack.url, "--discord", discord.url)
        for receiver, key in ((slack, "attachments"), (discord, "embeds")):
            self.assertEqual(len(receiver.received), 8)
            for _, headers, body in receiver.received:
                self.assertEqual(headers["Content-Type"], "application/json")
                self.assertIn(key, json.loads(body))

    def test_mail(self):
        with Mailbox() as mailbox:
            _, summary, _ = self.run_demo("--email", mailbox.url)
        self.assertEqual(summary["webhooks"][0]["delivered"], 8)
        subjects = set()
        for envelope, data in mailbox.messages:
            self.assertEqual(envelope[0].split(" ")[1], "FROM:<hyperhost@example.org>")
            self.assertEqual(envelope[1], "RCPT TO:<ops@example.org>")
            message = email.message_from_bytes(data, policy=email.policy.default)
            subjects.add(message["Subject"])
            self.assertIn("Plan: demo" if message["Subject"].startswith("Run of") else "web-server-0", message.get_content())
        self.assertIn('Migration of "web-server-01" completed', subjects)

    def test_retries_keep_the_delivery_id_and_honour_retry_after(self):
        with Receiver([(503, {}), (429, {"Retry-After": "1"})]) as receiver:
            _, summary, _ = self.run_demo("--tasks", 1, "--generic", receiver.url)
        times = [when for when, _, _ in receiver.received]
        ids = [headers["X-Hyperhost-Delivery"] for _, headers, _ in receiver.received]
        self.assertEqual(ids[0], ids[1])
        self.assertEqual(ids[1], ids[2])
        self.assertNotEqual(ids[2], ids[3])
        self.assertGreater(times[2] - times[1], 0.95)
        self.assertEqual(summary["webhooks"][0]["retries"], 2)
        self.assertEqual(summary["webhooks"][0]["failed"], 0)

    def test_an_answer_whose_first_field_begins_with_a_blank(self):
        """libcurl 7.88 appends it to a field of the answer before, whose memory it has freed; without one it refuses the answer."""
        with Receiver([(200, {"X-Last": "z"}), (200, {" X-Folded": "y" * 300})]) as receiver:
            _, summary, _ = self.run_demo("--generic", receiver.url)
        self.assertGreaterEqual(len(receiver.received), 8)
        self.assertEqual(summary["webhooks"][0]["delivered"], 8)

    def test_a_refusal_is_final_and_a_redirect_is_not_followed(self):
        with Receiver() as elsewhere, \
                Receiver([(400, {}), (302, {"Location": elsewhere.url})]) as receiver:
            _, summary, _ = self.run_demo("--generic", receiver.url)
        self.assertEqual(len(receiver.received), 8)
        self.assertEqual(elsewhere.received, [])
        self.assertEqual(summary["webhooks"][0]["failed"], 2)

    def test_a_silent_endpoint_delays_neither_run_nor_others_and_the_end_is_bounded(self):
        with socket.create_server(("127.0.0.1", 0)) as silent, Receiver() as receiver:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}/secret-path"
            finished, summary, metrics = self.run_demo("--slack", url, "--generic", receiver.url)
        self.assertLess(finished["wall"], 2)
        self.assertLess(finished["publish"], 0.1)
        self.assertEqual(len(receiver.received), 8)
        dead = summary["webhooks"][0]
        self.assertEqual(dead["delivered"], 0)
        self.assertEqual(dead["failed"] + dead["dropped"], 8)
        self.assertLess(summary["drained"], 6)
        self.assertNotIn("secret-path", json.dumps(summary) + metrics)


if __name__ == "__main__":
    unittest.main()
