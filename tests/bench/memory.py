# SPDX-License-Identifier: Apache-2.0
"""Memory that costs the same in every run.

A virtual machine's host may take back pages that have been free for a second (free page reporting), and
the first touch of such a page then takes many times as long as the work that is measured: writing 2.8 GB
took 0.9 s or 12 s. So whoever measures here holds nearly all free memory itself, touched, and lets go of it
as fast as the one who is measured takes it. Both sides are given the same.
"""

import contextlib
import ctypes
import mmap
import select
import subprocess
import sys
import time

MIB = 1 << 20
SLAB = 64 * MIB
LOW, HIGH = 320 * MIB, 480 * MIB  # of free memory, between which nothing is done


def free_bytes():
    with open("/proc/meminfo", encoding="ascii") as f:
        for line in f:
            if line.startswith("MemFree:"):
                return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/meminfo has no MemFree")


class Free:
    """Leaves memory as it is."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    @contextlib.contextmanager
    def fed(self):
        yield


class Held(Free):
    """with Held() as held: with held.fed(): run what is measured. A process of its own holds the memory, so
    that a child's peak does not begin with ours."""

    def __enter__(self):
        self.holder = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self

    def __exit__(self, *_):
        self.holder.communicate()

    @contextlib.contextmanager
    def fed(self):
        """Waits until what is free has been taken; inside, memory is only given."""
        self.say(b"feed\n")
        try:
            yield
        finally:
            self.say(b"take\n")

    def say(self, word):
        if self.holder.poll() is None:
            self.holder.stdin.write(word)
            self.holder.stdin.flush()
        if self.holder.poll() is not None or not self.holder.stdout.readline():
            sys.exit("the process that holds the memory was ended: there is too little for results in memory, so "
                     "measure smaller disks or write to a disk")


def slab():
    taken = mmap.mmap(-1, SLAB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    taken.madvise(mmap.MADV_HUGEPAGE)
    ctypes.memset(ctypes.addressof(ctypes.c_char.from_buffer(taken)), 1, SLAB)
    return taken


def hold():
    """Takes and gives until standard input ends; answers each line when it is so."""
    slabs, feeding, asked = [], False, False
    while True:
        free = free_bytes()
        if free < LOW and slabs:
            slabs.pop().close()
            continue
        full = free <= HIGH + SLAB
        if not full and not feeding:
            slabs.append(slab())
        if asked and (full or asked != b"feed\n"):
            feeding, asked = asked == b"feed\n", False
            sys.stdout.buffer.write(b"so\n")
            sys.stdout.buffer.flush()
        if select.select([sys.stdin], [], [], 0.002 if full or feeding else 0)[0]:
            asked = sys.stdin.buffer.readline()
            if not asked:
                return
            if asked != b"feed\n":
                feeding = False


if __name__ == "__main__":
    hold()
