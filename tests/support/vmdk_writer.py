# SPDX-License-Identifier: Apache-2.0
"""Disk contents with holes, and a small writer of streamOptimized VMDK files.

Pure Python, for images of some MiB: the tests know every byte that went in, so a reader or a
converter can be held against it without asking another tool. Layout after VMware's "Virtual Disk
Format 5.0", sections "Hosted sparse extent" and "Stream-optimized compressed sparse extent".
"""

import hashlib
import random
import struct
import zlib

SECTOR = 512
GRAIN = 64 * 1024
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


class Content:
    """The guest-visible bytes of a disk: `capacity` bytes, zero but for `extents` [(offset, bytes)]."""

    def __init__(self, capacity, extents=()):
        self.capacity = capacity
        self.extents = sorted(extents)
        end = 0
        for offset, data in self.extents:
            if offset < end or offset + len(data) > capacity:
                raise ValueError("extents overlap or leave the disk")
            end = offset + len(data)

    @classmethod
    def sample(cls, capacity, seed=1, density=0.3):
        """Deterministic: an MBR-like first sector, some text, some noise, and holes between."""
        rng = random.Random(seed)
        extents = []
        for start in range(0, capacity, GRAIN):
            size = min(GRAIN, capacity - start)
            if start == 0:
                data = b"hyperhost test disk %d\n" % seed
                extents.append((0, (data + b"\0" * 510)[:510] + b"\x55\xaa"))
            elif rng.random() < density:
                length = rng.choice([size, size, size // 2 // SECTOR * SECTOR or size])
                if rng.random() < 0.5:
                    extents.append((start, rng.randbytes(length)))
                else:
                    line = b"grain at %d of disk %d\n" % (start, seed)
                    extents.append((start, (line * (length // len(line) + 1))[:length]))
        return cls(capacity, extents)

    def read(self, offset, length):
        out = bytearray(length)
        for start, data in self.extents:
            low, high = max(start, offset), min(start + len(data), offset + length)
            if low < high:
                out[low - offset:high - offset] = data[low - start:high - start]
        return bytes(out)

    def grains(self):
        """(index, bytes) of every grain that is not all zero; the last one may be short."""
        wanted = set()
        for start, data in self.extents:
            if data:
                wanted.update(range(start // GRAIN, (start + len(data) - 1) // GRAIN + 1))
        for index in sorted(wanted):
            data = self.read(index * GRAIN, min(GRAIN, self.capacity - index * GRAIN))
            if data.strip(b"\0"):
                yield index, data

    def sha256(self):
        digest, done, zeros = hashlib.sha256(), 0, bytes(MIB)
        for start, data in self.extents + [(self.capacity, b"")]:
            while done < start:
                step = min(MIB, start - done)
                digest.update(zeros[:step])
                done += step
            digest.update(data)
            done += len(data)
        return digest.hexdigest()

    def write_raw(self, path):
        with open(path, "wb") as out:
            out.truncate(self.capacity)
            for start, data in self.extents:
                out.seek(start)
                out.write(data)

    def raw(self):
        return self.read(0, self.capacity)


def _pad(data, unit=SECTOR):
    return data + b"\0" * (-len(data) % unit)


def descriptor_text(capacity, name, adapter="lsilogic"):
    sectors = capacity // SECTOR
    return (
        "# Disk DescriptorFile\nversion=1\nCID=a1b2c3d4\nparentCID=ffffffff\n"
        'createType="streamOptimized"\n\n# Extent description\n'
        f'RDONLY {sectors} SPARSE "{name}"\n\n# The Disk Data Base\n#DDB\n\n'
        f'ddb.adapterType = "{adapter}"\n'
        f'ddb.geometry.cylinders = "{max(1, sectors // (255 * 63))}"\n'
        'ddb.geometry.heads = "255"\nddb.geometry.sectors = "63"\n'
        'ddb.longContentID = "0123456789abcdef01234567a1b2c3d4"\n'
        'ddb.toolsVersion = "2147483647"\nddb.virtualHWVersion = "13"\n'
    ).encode()


def stream_optimized(content, name="disk.vmdk", level=6, embedded_zero_grains=False):
    """The bytes of a streamOptimized VMDK. `embedded_zero_grains`: also store zero grains, as some
    exporters do; the guest-visible bytes stay the same."""
    entries_per_table = 512
    grain_sectors = GRAIN // SECTOR
    capacity_sectors = (content.capacity + SECTOR - 1) // SECTOR
    grain_count = (content.capacity + GRAIN - 1) // GRAIN
    table_count = (grain_count + entries_per_table - 1) // entries_per_table
    descriptor = _pad(descriptor_text(content.capacity, name), 20 * SECTOR)

    def header(directory_sector):
        return struct.pack(
            "<4sIIQQQQIQQQB4sH433x", b"KDMV", 3, 0x30001, capacity_sectors, grain_sectors, 1,
            len(descriptor) // SECTOR, entries_per_table, 0, directory_sector, 128, 0, b"\n \r\n", 1)

    def marker(sectors, kind):
        return struct.pack("<QII496x", sectors, 0, kind)

    out = bytearray(header(0xFFFFFFFFFFFFFFFF) + descriptor)
    out += b"\0" * (128 * SECTOR - len(out))
    filled = dict(content.grains())
    if embedded_zero_grains:
        for index in range(grain_count):
            filled.setdefault(index, bytes(min(GRAIN, content.capacity - index * GRAIN)))
    directory = []
    for table in range(table_count):
        entries = [0] * entries_per_table
        for slot in range(entries_per_table):
            index = table * entries_per_table + slot
            if index not in filled:
                continue
            entries[slot] = len(out) // SECTOR
            packed = zlib.compress(filled[index].ljust(GRAIN, b"\0"), level)
            out += _pad(struct.pack("<QI", index * grain_sectors, len(packed)) + packed)
        if not any(entries):
            directory.append(0)
            continue
        out += marker(entries_per_table * 4 // SECTOR, 1)
        directory.append(len(out) // SECTOR)
        out += struct.pack("<512I", *entries)
    packed = _pad(struct.pack(f"<{table_count}I", *directory))
    out += marker(len(packed) // SECTOR, 2)
    directory_sector = len(out) // SECTOR
    out += packed
    out += marker(1, 3) + header(directory_sector)
    out += marker(0, 0)
    return bytes(out)
