#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The process of a plugin that works on guests reaches no network and, in a run by root, no file of root's. The test plugin burglar
tries; the same attempts of a process that is not confined succeed, so that the tests can fail."""
import json
import os
import pathlib
import pwd
import shutil
import socket
import sys
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / part) for part in ("support", "e2e")]
import requirement  # noqa: E402
from hyperhost_cli import BUILD, CliTest, FAILED, OK, PREFLIGHT, PROGRAM, Running, TEST_PLUGINS, USAGE  # noqa: E402

ROOT_RUN = os.geteuid() == 0
SECRET = "tell-nobody-1234"
# Runs a program where no network namespace can be made: in a user namespace in which every user is itself. Only root makes one.
FORBID = """import ctypes, os, sys
begin, go = os.pipe()
helper = os.fork()
if helper == 0:
    os.read(begin, 1)
    for ids in ("uid", "gid"):
        with open(f"/proc/{os.getppid()}/{ids}_map", "w") as out:
            out.write("0 0 4294967295")
    os._exit(0)
if ctypes.CDLL(None, use_errno=True).unshare(0x10000000) != 0:
    sys.exit("no user namespace")
os.write(go, b"x")
if os.waitpid(helper, 0)[1] != 0:
    sys.exit("no map")
with open("/proc/sys/user/max_net_namespaces", "w") as out:
    out.write("0")
user, group = int(sys.argv[1]), int(sys.argv[2])
if user:
    os.setgroups([])
    os.setgid(group)
    os.setuid(user)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Confined(CliTest):
    """As the user of the test: in CI root."""
    user = None  # or the user of the run
    wrapper = ()

    def setUp(self):
        super().setUp()
        self.package, _ = self.ova()
        (self.work / "own").write_text(SECRET)
        (self.work / "own").chmod(0o600)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.abstract = f"hyperhost-test-{os.getpid()}-{self.port}"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind("\0" + self.abstract)
        self.listener.listen()
        self.addCleanup(self.listener.close)

    def start(self, *arguments, env=None):
        program = PROGRAM
        if self.wrapper:
            program = self.work / "as-user"
            program.write_text(f"#!/bin/sh\nexec {' '.join(map(str, self.wrapper))} {PROGRAM} \"$@\"\n")
            program.chmod(0o755)
        if self.user:
            for path in [self.work, *self.work.rglob("*")]:
                os.chown(path, self.user.pw_uid, self.user.pw_gid)
        running = Running(self.work, ["--plugin-dir", TEST_PLUGINS, *arguments], {"HYPERHOST_CONFIG": "", **(env or {})}, program)
        self.addCleanup(running.stop)
        return running

    def burglary_plan(self, isolation=None, guest=None, **options):
        guest = {"plugin": "burglar", "options": {
            "connect": f"127.0.0.1:{self.port}", "abstract": self.abstract, "read": [str(self.work / "own"), "/etc/shadow"], **options}, **(guest or {})}
        if isolation:
            guest["isolation"] = isolation
        return self.plan(self.package, defaults={"guest": guest, "overwrite": True},
                         observability={"progress_api": {"listen": f"127.0.0.1:{self.port}", "token": {"env": "API_TOKEN"}}})

    def tried(self, isolation=None, env=None, guest=None, **options):
        done = self.host("--output", "json", "run", self.burglary_plan(isolation, guest, **options),
                         env={"API_TOKEN": SECRET, "HYPERHOST_E2E_COPY": SECRET, "DATABASE_PASSWORD": "another", **(env or {})})
        result = done.json["results"][0]
        self.assertTrue(result["success"], result)
        return {one["what"]: one["after"] for one in result["guest"]["actions"]}, done

    def assert_confined(self, tried, done):
        self.assertEqual(tried["connect"], "ECONNREFUSED")  # nothing listens there: not the host's progress API
        self.assertEqual(tried["abstract"], "ECONNREFUSED")
        self.assertEqual(tried["route"], "ENETUNREACH")
        self.assertEqual(tried["interfaces"], "lo")
        self.assertEqual(tried["read /etc/shadow"], "EACCES")
        self.assertEqual(tried["environment of the host"], "EACCES")
        self.assertNotEqual(tried["become root"], "done")
        self.assertEqual(int(tried["capabilities"], 16), 0)
        self.assertFalse([name for name in tried if "PASSWORD" in name or "TOKEN" in name], tried)
        self.assertFalse([name for name, value in tried.items() if SECRET in value], tried)
        self.assertNotIn("does not give its process", done.err)

    def as_root(self):
        return ROOT_RUN and self.user is None

    def test_a_confined_process_reaches_nothing(self):
        tried, done = self.tried()
        self.assert_confined(tried, done)
        if self.as_root():
            self.assertEqual(int(tried["user"]), pwd.getpwnam("nobody").pw_uid)
            self.assertEqual(tried[f"read {self.work / 'own'}"], "EACCES")
            self.assertEqual(tried["variable HOME"], "/")
        else:
            self.assertEqual(int(tried["user"]), self.user.pw_uid if self.user else os.geteuid())
        tried, done = self.tried({"confine": "required", "memory": "2GiB"})
        self.assert_confined(tried, done)

    def test_the_same_process_unconfined_reaches_them(self):
        tried, done = self.tried({"confine": "off"})
        self.assertEqual((tried["connect"], tried["abstract"], tried[f"read {self.work / 'own'}"]), ("done", "done", "done"))
        self.assertEqual(int(tried["user"]), self.user.pw_uid if self.user else os.geteuid())

    def test_its_socket_can_be_used_and_goes(self):
        requirement.tool("nbdinfo", "libnbd-bin")
        tried, _ = self.tried(attach=1)
        answer = json.loads(tried["attach"])
        self.assert_served(tried)
        self.assertFalse(os.path.exists(answer["socket"]))
        self.assertFalse(os.path.exists(os.path.dirname(answer["socket"])))

    def assert_served(self, tried):
        self.assertTrue(tried["size"].isdigit() and int(tried["size"]) >= 1 << 20, tried)
        self.assertNotEqual(tried["detached"], tried["size"])
        self.assertTrue(tried["detached"])

    def test_a_port_of_the_loopback_device_where_the_plan_allows_it(self):
        requirement.tool("nbdinfo", "libnbd-bin")
        for confine in ("required", "off"):
            with self.subTest(confine):
                tried, _ = self.tried({"confine": confine}, guest={"allow_loopback_nbd": True}, attach=2)
                answer = json.loads(tried["attach"])
                self.assertEqual((answer["host"], answer["uri"]), ("127.0.0.1", f"nbd://127.0.0.1:{answer['port']}/"))
                self.assert_served(tried)
                shutil.rmtree(self.work / "out")
        done = self.host("run", self.burglary_plan(attach=2), env={"API_TOKEN": SECRET}, status=FAILED)
        self.assertEqual(done.err.count("the plan does not allow disks on a port of 127.0.0.1"), 1, done)
        self.assertIn("guest: {allow_loopback_nbd: true} allows it", done.err)

    def forbid_namespaces(self):
        """A user namespace around hyperhost in which no network namespace can be made."""
        script = self.work / "forbid.py"
        script.write_text(FORBID)
        user = self.user or pwd.getpwuid(0)
        self.wrapper = (sys.executable, script, str(user.pw_uid), str(user.pw_gid))

    def test_where_the_system_forbids_it_the_run_warns_once_or_refuses(self):
        if not ROOT_RUN:
            return  # only root makes such a system
        self.forbid_namespaces()
        tried, done = self.tried()
        self.assertEqual(done.err.count("does not give its process a network of its own"), 1, done)
        self.assertEqual(tried["connect"], "done")
        if self.as_root():  # it gave up what it could
            self.assertEqual(tried[f"read {self.work / 'own'}"], "EACCES")
        done = self.host("validate", self.burglary_plan({"confine": "required"}), env={"API_TOKEN": SECRET}, status=None)
        self.assertIn(done.status, (USAGE, PREFLIGHT), done)
        self.assertIn("does not let the process of plugin 'burglar' be confined", done.err)
        tried, done = self.tried({"confine": "off"})
        self.assertNotIn("does not give its process", done.err)

    def test_a_plugin_that_needs_the_network_is_not_confined(self):
        plan = self.plan(self.package, providers={"shelf": {"plugin": "local-ovf", "path": str(self.package), "isolation": {"confine": "required"}}})
        done = self.host("validate", plan, status=None)
        self.assertIn(done.status, (USAGE, PREFLIGHT), done)
        self.assertIn("the process of plugin 'local-ovf' cannot be confined", done.err)

    def test_the_host_chooses_the_user(self):
        if not self.as_root():
            return  # it stays its user
        config = self.work / "hyperhost.yaml"
        for name, user in (("daemon", pwd.getpwnam("daemon").pw_uid), ("root", 0)):
            config.write_text(json.dumps({"version": 1, "isolation": {"user": name}}))
            tried, done = self.tried(env={"HYPERHOST_CONFIG": str(config)})
            self.assertEqual((int(tried["user"]), tried["connect"]), (user, "ECONNREFUSED"))
        config.write_text(json.dumps({"version": 1, "isolation": {"user": "no-such-user"}}))
        done = self.host("validate", self.burglary_plan(), env={"API_TOKEN": SECRET, "HYPERHOST_CONFIG": str(config)}, status=None)
        self.assertIn("there is no user 'no-such-user'", done.err)

    def test_the_host_s_word_holds_against_the_plan_s(self):
        config = self.work / "hyperhost.yaml"
        config.write_text(json.dumps({"version": 1, "isolation": {"plugins": {"burglar": {"confine": "required"}}}}))
        tried, done = self.tried({"confine": "off"}, env={"HYPERHOST_CONFIG": str(config)})
        self.assert_confined(tried, done)

    def test_a_plugin_whose_directory_only_root_enters(self):
        if not self.as_root():
            return
        place = self.work / "plugins"
        place.mkdir(mode=0o700)
        shutil.copy(TEST_PLUGINS / "burglar.so", place / "burglar.so")
        plan = self.burglary_plan()
        running = Running(self.work, ["--plugin-dir", place, "--output", "json", "run", plan], {"HYPERHOST_CONFIG": "", "API_TOKEN": SECRET})
        done = running.finish()
        self.assertEqual(done.status, OK, done)


class OfAnOrdinaryUser(Confined):
    """The same of a run by another user than root."""

    def setUp(self):
        if not ROOT_RUN:
            self.skipTest("this user's is the run above")
        requirement.tool("setpriv", "util-linux")
        self.user = pwd.getpwnam("daemon")
        owner = os.stat(BUILD).st_uid
        requirement.need(owner in (0, self.user.pw_uid), f"the build belongs to another user ({owner})")
        self.wrapper = ("setpriv", f"--reuid={self.user.pw_uid}", f"--regid={self.user.pw_gid}", "--clear-groups", "--inh-caps=-all")
        super().setUp()


if __name__ == "__main__":
    requirement.main()
