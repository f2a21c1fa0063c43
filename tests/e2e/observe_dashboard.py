#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The dashboard in a real Chromium, by the WebDriver protocol, while a run goes on. Screenshots go
to $HYPERHOST_SCREENSHOTS when that is set."""
import base64
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
import unittest
import urllib.request

from observe_support import Demo, need


class Browser:
    """A headless Chromium; use as a context manager."""

    def __init__(self, width=1280, height=900, dark=False):
        need(shutil.which("chromedriver") and shutil.which("chromium"),
             "chromium and chromedriver (Debian's chromium, chromium-driver)")
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], text=True,
                                       stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for line in self.driver.stdout:
            if found := re.search(r"started successfully on port (\d+)", line):
                break
        self.base = f"http://127.0.0.1:{found[1]}"
        self.profile = tempfile.mkdtemp()
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                     f"--user-data-dir={self.profile}", f"--window-size={width},{height}"]
        if dark:
            arguments.append("--force-dark-mode")
        options = {"args": arguments, "binary": shutil.which("chromium")}
        if width < 500:
            options["mobileEmulation"] = {"deviceMetrics": {"width": width, "height": height,
                                                            "pixelRatio": 2}}
        answer = self.call("POST", "/session", {"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"}}}})
        self.base += "/session/" + answer["sessionId"]

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, method=method,
                                         headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def open(self, url):
        self.call("POST", "/url", {"url": url})

    def run(self, script):
        return self.call("POST", "/execute/sync", {"script": script, "args": []})

    def wait(self, script, what, seconds=15):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if value := self.run(script):
                return value
            time.sleep(0.05)
        raise AssertionError(f"did not come: {what}\n{self.run('return document.body.innerText')}")

    def keys(self, text):
        actions = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        self.call("POST", "/actions", {"actions": [{"type": "key", "id": "k", "actions": actions}]})

    def log(self):
        return [entry["message"] for entry in self.call("POST", "/se/log", {"type": "browser"})]

    def screenshot(self, name):
        directory = os.environ.get("HYPERHOST_SCREENSHOTS")
        if directory:
            path = pathlib.Path(directory) / (name + ".png")
            path.write_bytes(base64.b64decode(self.call("GET", "/screenshot")))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.call("DELETE", "")
        finally:
            self.driver.terminate()
            self.driver.wait(10)
            self.driver.stdout.close()
            shutil.rmtree(self.profile, ignore_errors=True)


TEXT = "return document.querySelector('{}')?.textContent"


class Dashboard(unittest.TestCase):
    def test_a_run_from_start_to_end(self):
        log = tempfile.mkdtemp() + "/audit.log"
        with Demo("--tasks", 3, "--steps", 300, "--audit", log) as demo, Browser() as browser:
            browser.open(demo.progress)
            browser.wait("return document.getElementById('connection').dataset.state === 'live'",
                         "the stream")
            self.assertTrue(browser.run("return !document.getElementById('empty').hidden"))
            demo.begin()
            browser.wait("return document.querySelectorAll('.task').length === 3", "three tasks")
            first = browser.wait("return document.querySelector('.task progress').value", "progress")
            browser.wait(f"return document.querySelector('.task progress').value > {first}", "more")
            browser.wait("return /[0-9.]+ .iB\\/s/.test(document.querySelector('.rate').textContent)",
                         "a rate")
            # By keyboard: tab to the first machine, open it with Enter.
            browser.run("document.querySelector('.task summary').focus()")
            browser.keys("\ue007")
            browser.wait("return document.querySelector('.task details').open", "the details")
            browser.wait("return document.querySelectorAll('.task[data-task=demo-0] .disks li')"
                         ".length === 2", "a row for each disk")
            self.assertIn("running", browser.run(
                "return [...document.querySelectorAll('.stages li')].map(e => e.dataset.state)"))
            warning = browser.run(TEXT.format(".warnings li"))
            self.assertIn("<script>", warning)  # shown, not run
            time.sleep(2.5)  # two points more for the lines
            self.assertTrue(browser.run(
                "return document.querySelector('#throughput polyline').points.length > 1"))
            browser.screenshot("dashboard-running")
            demo.wait_finished()
            browser.wait("return document.querySelector('[data-task=demo-0]').dataset.status"
                         " === 'completed'", "the end")
            browser.wait("return document.querySelector('[data-task=demo-2]').dataset.status"
                         " === 'failed'", "the failure")
            browser.wait("return document.querySelector('[data-task=demo-0] .percent').textContent"
                         " === '100.0 %'", "all of it")
            browser.run("document.querySelector('[data-task=demo-2] summary').click()")
            browser.wait("return /no space left/.test("
                         "document.querySelector('[data-task=demo-2] .error').textContent)", "error")
            href = browser.wait("return document.querySelector('a.manifest')?.href", "manifest link")
            with urllib.request.urlopen(href) as answer:
                self.assertEqual(json.load(answer)["manifest_version"], "1.0")
            browser.screenshot("dashboard-finished")
            browser.wait("return document.getElementById('total-completed')"
                         ".textContent === '2'", "the total")
            self.assertEqual(browser.run(TEXT.format("#total-failed")), "1")
            self.assertEqual(browser.run("return [...document.querySelectorAll('[data-task=demo-2] .disks li')]"
                                         ".map(e => e.querySelector('strong').textContent.split(' ')[0])"),
                             ["disk-0", "disk-1"])
            self.assertEqual(browser.log(), [])  # no error, nothing the policy refused
            self.check_accessible_names(browser)

    def check_accessible_names(self, browser):
        nameless = browser.run(
            "return [...document.querySelectorAll('progress, [role=img], input, button, a')]"
            ".filter(e => !(e.getAttribute('aria-label') || e.labels?.length ||"
            " e.textContent.trim())).map(e => e.outerHTML)")
        self.assertEqual(nameless, [])
        self.assertTrue(browser.run("return document.documentElement.lang === 'en'"))

    def test_the_end_of_a_run_is_no_lost_connection(self):
        with Demo("--steps", 20) as demo, Browser() as browser:
            browser.open(demo.progress)
            demo.begin()
            whose = browser.wait(TEXT.format("#run"), "whose run it is")
            for word in ("demo", "demo-run", "demo-host", "ops", "started 20"):
                self.assertIn(word, whose)
            demo.wait_finished()
            state = "return document.getElementById('connection').dataset.state"
            browser.wait(state + " === 'ended'", "the end")
            demo.leave()
            time.sleep(2)  # longer than it waits before it asks again
            self.assertEqual(browser.run(state), "ended")
            self.assertEqual(browser.run(TEXT.format("#connection")), "The run has ended: 1 of 2 VMs not migrated")
            self.assertEqual(browser.run(TEXT.format("#total-rate")), "–")

    def test_a_host_that_dies_shows_no_speed(self):
        with Demo("--steps", 500) as demo, Browser() as browser:
            browser.open(demo.progress)
            demo.begin()
            browser.wait("return /iB/.test(document.getElementById('total-rate').textContent)", "a speed")
            demo.process.kill()
            browser.wait("return document.getElementById('connection').dataset.state === 'lost'", "the loss")
            browser.wait("return document.getElementById('total-rate').textContent === '–'", "no speed")
            self.assertEqual(browser.run(TEXT.format("#total-eta")), "–")
            self.assertIn("Connection lost at", browser.run(TEXT.format("#connection")))

    def test_reconnects_to_a_server_that_comes_back(self):
        with Browser() as browser:
            with Demo("--steps", 5) as demo:
                browser.open(demo.progress)
                browser.wait("return document.getElementById('connection').dataset.state === 'live'",
                             "the stream")
                address = demo.progress.removeprefix("http://")
            browser.wait("return document.getElementById('connection').dataset.state === 'lost'",
                         "the loss")
            with Demo("--steps", 5, "--progress-api", address) as demo:
                demo.begin()
                browser.wait("return document.querySelectorAll('.task').length === 2", "the new run",
                             30)

    def test_asks_for_the_token(self):
        with Demo("--token", "s3cret") as demo, Browser() as browser:
            browser.open(demo.progress)
            browser.wait("return !document.getElementById('token-form').hidden", "the form")
            browser.keys("wrong\ue007")
            browser.wait("return document.getElementById('token-error').textContent", "the refusal")
            browser.run("document.getElementById('token').value = ''")
            browser.keys("s3cret\ue007")
            browser.wait("return document.getElementById('connection').dataset.state === 'live'",
                         "the stream")
            self.assertTrue(browser.run("return document.getElementById('token-form').hidden"))

    def test_on_a_phone_and_in_the_dark(self):
        with Demo("--steps", 200) as demo, Browser(390, 844, dark=True) as browser:
            browser.call("POST", "/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": {
                "features": [{"name": "prefers-color-scheme", "value": "dark"}]}})
            browser.open(demo.progress)
            demo.begin()
            browser.wait("return document.querySelectorAll('.task').length === 2", "the tasks")
            browser.run("document.querySelector('.task summary').click()")
            browser.wait("return document.querySelectorAll('.disks li').length > 0", "the disks")
            self.assertLessEqual(browser.run("return document.documentElement.scrollWidth"),
                                 browser.run("return document.documentElement.clientWidth"))
            self.assertEqual(browser.run("return getComputedStyle(document.body).backgroundColor"),
                             "rgb(13, 17, 23)")
            browser.screenshot("dashboard-phone-dark")
            # Three digits of a size, as the programs print it.
            self.assertEqual(browser.run("return [999, 1000, 104857600, 1342177280].map(bytes)"),
                             ["999 B", "0.98 KiB", "100 MiB", "1.25 GiB"])
            # The time left is the run's own, and not that of one of its VMs.
            self.assertEqual(browser.run("run = {...run, eta: 3000, eta_low: 3000, eta_high: 3000, end_time: null}; live = true; "
                                         "drawTotals(); return document.getElementById('total-eta').textContent"), "50 min 0 s")


if __name__ == "__main__":
    unittest.main()
