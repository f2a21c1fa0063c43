# SPDX-License-Identifier: Apache-2.0
"""A real libvirtd of a test's own: for one session, as an ordinary user, with a storage pool, and nothing outside its directory."""

import os
import pathlib
import signal
import subprocess
import tempfile
import time

import requirement

DAEMON = "/usr/sbin/libvirtd"


class Libvirtd:
    def __init__(self):
        requirement.need(os.path.exists(DAEMON), "libvirtd is not installed (Debian package libvirt-daemon)")
        requirement.tool("virsh", "libvirt-clients")
        requirement.tool("qemu-system-x86_64", "qemu-system-x86")
        # A socket's path holds 107 bytes, and the guest agent's has the machine's name in it: no place of a test's own.
        self.place = tempfile.TemporaryDirectory(prefix="lv-")
        self.home = pathlib.Path(self.place.name)
        self.user = []
        for name in ("run", "pool"):
            (self.home / name).mkdir(parents=True)
        if os.geteuid() == 0:  # libvirt has a session for an ordinary user only
            requirement.tool("setpriv", "util-linux")
            self.user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
            for path in (self.home, *self.home.iterdir()):
                os.chown(path, 65534, 65534)
        socket = self.home / "run/libvirt/libvirt-sock"
        self.uri = f"qemu+unix:///session?socket={socket}"
        self.start()
        self.virsh("pool-define-as", "default", "dir", "--target", self.home / "pool")
        self.virsh("pool-start", "default")
        (self.home / "network.xml").write_text("<network><name>default</name></network>")
        self.virsh("net-define", self.home / "network.xml")

    def start(self):
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.home / "run"),
                       "XDG_CONFIG_HOME": str(self.home / "config"), "XDG_CACHE_HOME": str(self.home / "cache")}
        self.process = subprocess.Popen([*self.user, DAEMON], cwd=self.home, env=environment, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 120
        while self.virsh("version", status=None) != 0:
            assert self.process.poll() is None and time.monotonic() < end, "libvirtd does not answer"
            time.sleep(0.05)

    def kill(self):
        """As if its machine had gone. Its guests stay."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        for name in self.names("--state-running"):
            self.virsh("destroy", name, status=None)
        self.process.terminate()
        self.process.wait(60)
        self.place.cleanup()

    def virsh(self, *arguments, status=0):
        """What it prints; with status=None, its status."""
        done = subprocess.run(["virsh", "-q", "-c", self.uri, *map(str, arguments)], capture_output=True, text=True, timeout=120)
        if status is None:
            return done.returncode
        assert done.returncode == status, done.stderr
        return done.stdout

    def names(self, *which):
        return self.virsh("list", "--name", *(which or ["--all"])).split()

    def volumes(self):
        self.virsh("pool-refresh", "default")
        return sorted(line.split()[0] for line in self.virsh("vol-list", "default").splitlines() if line.strip())
