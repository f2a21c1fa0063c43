# SPDX-License-Identifier: Apache-2.0
"""A disk on which inspection finds Windows: NTFS, two registry hives, and an empty cmd.exe. It cannot boot. The hives begin as
the smallest ones that the format allows; hivexregedit fills them."""

import os
import struct
import subprocess

SOFTWARE = r"""[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft]

[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows NT]

[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows NT\CurrentVersion]
"ProductName"=str(1):"Windows Server 2019 of a test"
"CurrentVersion"=str(1):"6.3"
"CurrentMajorVersionNumber"=dword:0000000a
"CurrentMinorVersionNumber"=dword:00000000
"CurrentBuildNumber"=str(1):"17763"
"InstallationType"=str(1):"Server"

[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows]

[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion]
"DevicePath"=str(2):"%SystemRoot%\inf"

[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall]
"""
KEYS = ("ControlSet001", r"ControlSet001\Control", r"ControlSet001\Control\CriticalDeviceDatabase",
        r"ControlSet001\Control\Class", r"ControlSet001\Control\TimeZoneInformation", r"ControlSet001\Services",
        r"ControlSet001\Services\Tcpip", r"ControlSet001\Services\Tcpip\Parameters", "MountedDevices", "Setup",
        "DriverDatabase", r"DriverDatabase\DriverInfFiles", r"DriverDatabase\DeviceIds", r"DriverDatabase\DriverPackages")
SYSTEM = "".join(f"[HKEY_LOCAL_MACHINE\\SYSTEM\\{key}]\n\n" for key in KEYS) + """[HKEY_LOCAL_MACHINE\\SYSTEM\\Select]
"Current"=dword:00000001
"Default"=dword:00000001
"Failed"=dword:00000000
"LastKnownGood"=dword:00000001
"""


def empty_hive(path):
    """A header, and one bin with the root key and its security descriptor."""
    when, none, name = 0x01d00000 << 32, 0xffffffff, b"ROOT"

    def cell(data):
        length = (len(data) + 4 + 7) // 8 * 8
        return struct.pack("<i", -length) + data + bytes(length - 4 - len(data))

    def root(security):
        return cell(struct.pack("<2sHQ10I5I2H", b"nk", 0x2c, when, 0, none, 0, 0, none, none, 0, none, security, none, 0, 0, 0, 0, 0,
                                len(name), 0) + name)
    at = 0x20 + len(root(0))
    descriptor = struct.pack("<BBHIIII", 1, 0, 0x8000, 0, 0, 0, 0)
    cells = root(at) + cell(struct.pack("<2sHIIII", b"sk", 0, at, at, 1, len(descriptor)) + descriptor)
    free = 4096 - 0x20 - len(cells)
    hbin = struct.pack("<4sIIQQI", b"hbin", 0, 4096, 0, when, 0) + cells + struct.pack("<i", free) + bytes(free - 4)
    head = bytearray(4096)
    struct.pack_into("<4sIIQ7I", head, 0, b"regf", 1, 1, when, 1, 3, 0, 1, 0x20, 4096, 1)
    checksum = 0
    for word in struct.unpack_from("<127I", head):
        checksum ^= word
    struct.pack_into("<I", head, 508, checksum)
    with open(path, "wb") as out:
        out.write(bytes(head) + hbin)


def program(path):
    """A program of 64 bits, as file(1) sees it."""
    image = bytearray(1024)
    image[0:2], image[0x80:0x84] = b"MZ", b"PE\0\0"
    struct.pack_into("<I", image, 0x3c, 0x80)
    struct.pack_into("<HHIIIHH", image, 0x84, 0x8664, 1, 0, 0, 0, 240, 0x22)
    struct.pack_into("<H", image, 0x98, 0x20b)
    struct.pack_into("<H", image, 0x98 + 68, 3)
    with open(path, "wb") as out:
        out.write(image)


def drivers(place):
    """A directory as virtio-win's, and one with rhsrvany.exe; returns both."""
    windows, tools = os.path.join(place, "virtio-win"), os.path.join(place, "virt-tools")
    os.makedirs(os.path.join(windows, "amd64/2k19"))
    os.makedirs(tools)
    for name in ("viostor", "vioscsi", "netkvm", "balloon"):
        for kind in ("sys", "inf", "cat"):
            with open(os.path.join(windows, "amd64/2k19", f"{name}.{kind}"), "w", encoding="ascii") as out:
                out.write(f"{name}.{kind} of a test\n")
    program(os.path.join(tools, "rhsrvany.exe"))
    return windows, tools


def make(place):
    """The path of the disk, 128 MiB raw."""
    for hive, text in (("SOFTWARE", SOFTWARE), ("SYSTEM", SYSTEM)):
        path = os.path.join(place, hive)
        empty_hive(path)
        with open(path + ".reg", "w", encoding="ascii") as out:
            out.write(text)
        subprocess.run(["hivexregedit", "--merge", "--prefix", f"HKEY_LOCAL_MACHINE\\{hive}", path, path + ".reg"], check=True)
    program(os.path.join(place, "cmd.exe"))
    commands = """sparse windows.raw 128M
run
part-init /dev/sda mbr
part-add /dev/sda p 64 -64
part-set-mbr-id /dev/sda 1 7
mkfs ntfs /dev/sda1
mount /dev/sda1 /
mkdir-p /Windows/System32/config
mkdir-p /Windows/System32/drivers
mkdir-p /Windows/inf
upload SOFTWARE /Windows/System32/config/SOFTWARE
upload SYSTEM /Windows/System32/config/SYSTEM
upload cmd.exe /Windows/System32/cmd.exe
mkdir "/Program Files"
"""
    subprocess.run(["guestfish"], input=commands, text=True, check=True, cwd=place, env=emulated())
    return os.path.join(place, "windows.raw")


def emulated():
    return {**os.environ, "LIBGUESTFS_BACKEND": "direct", "LIBGUESTFS_BACKEND_SETTINGS": "force_tcg"}


def listing(disk, folder):
    """Names in a folder of its file system, in small letters."""
    done = subprocess.run(["guestfish", "--ro", "-a", disk, "-m", "/dev/sda1", "ls", folder], text=True, check=True,
                          stdout=subprocess.PIPE, env=emulated())
    return done.stdout.lower().split()
