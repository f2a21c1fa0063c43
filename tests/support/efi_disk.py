# SPDX-License-Identifier: Apache-2.0
"""A disk with a boot loader for UEFI, written without any tool: a FAT12 file system whose EFI/BOOT/BOOTX64.EFI writes a
text to the serial port and stops. Nothing has signed it."""

import struct

MIB = 1 << 20
_SECTOR, _SECTORS, _FAT, _ROOT = 512, 2048, 6, 32  # of one cluster; sectors of a FAT; entries of the root directory
_DATA = 1 + 2 * _FAT + _ROOT * 32 // _SECTOR  # the first sector of cluster 2


def program(text):
    """An EFI application (PE32+) of 1 KiB."""
    code = bytes.fromhex("488d3510000000 fc 66baf803 ac 84c0 7403 ee ebf8 f4 ebfd") + text + b"\0"
    header = struct.pack("<HHIIIHH", 0x8664, 1, 0, 0, 0, 240, 0x22e)
    optional = struct.pack("<HBBIIIII", 0x20b, 0, 0, 512, 0, 0, 0x1000, 0x1000)
    optional += struct.pack("<QIIHHHHHHIIIIHHQQQQII", 0, 0x1000, 512, 0, 0, 0, 0, 0, 0, 0, 0x2000, 512, 0, 10, 0,
                            0x1000, 0x1000, 0x1000, 0x1000, 0, 16) + bytes(128)
    section = struct.pack("<8sIIIIIIHHI", b".text", 512, 0x1000, 512, 512, 0, 0, 0, 0, 0x60000020)
    image = b"MZ".ljust(60, b"\0") + struct.pack("<I", 64) + b"PE\0\0" + header + optional + section
    return image.ljust(512, b"\0") + code.ljust(512, b"\0")


def _entry(name, attributes, cluster, size=0):
    return struct.pack("<11sB8xHHHHI", name.encode(), attributes, 0, 0, 0, cluster, size)


def disk(text=b"\r\nweb01 login: "):
    """The bytes of a disk of 1 MiB without partitions."""
    loader = program(text)
    out = bytearray(MIB)
    out[0:62] = struct.pack("<3s8sHBHBHHBHHHIIBBBI11s8s", b"\xeb\x3c\x90", b"EFIDISK ", _SECTOR, 1, 1, 2, _ROOT, _SECTORS,
                            0xf8, _FAT, 32, 2, 0, 0, 0x80, 0, 0x29, 1, b"EFI        ", b"FAT12   ")
    out[510:512] = b"\x55\xaa"
    chain = [0xff8, 0xfff, 0xfff, 0xfff, 5, 0xfff]  # two directories; a file of two clusters
    packed = b"".join((a | b << 12).to_bytes(3, "little") for a, b in zip(chain[::2], chain[1::2]))
    for copy in range(2):
        at = (1 + copy * _FAT) * _SECTOR
        out[at:at + len(packed)] = packed
    dots = _entry(".          ", 0x10, 2) + _entry("..         ", 0x10, 0)
    places = {(1 + 2 * _FAT): _entry("EFI        ", 0x10, 2),
              _DATA: dots + _entry("BOOT       ", 0x10, 3),
              _DATA + 1: _entry(".          ", 0x10, 3) + _entry("..         ", 0x10, 2)
              + _entry("BOOTX64 EFI", 0x20, 4, len(loader)),
              _DATA + 2: loader}
    for sector, data in places.items():
        out[sector * _SECTOR:sector * _SECTOR + len(data)] = data
    return bytes(out)
