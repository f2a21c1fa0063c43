#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes small OVF/OVA packages, well-formed and odd, and says what a reader must find in them.

As a library:   case = make("two-disks", directory); case.path, case.expect
As a program:   ova_factory.py OUT [--case NAME …] [--list]
                writes OUT/<case>/… and OUT/<case>/expected.json

`expect`:  {"ok": true, "vms": [{id, name, cpus, memory_mib, firmware, secure_boot, nics[], disks[]}],
            "notes": [words a note or warning must hold]}           for a package to be accepted, or
           {"ok": false, "stage": "open" | "read", "mentions": [words the message must hold]}.
A disk is {id, capacity, sha256 of the guest-visible bytes, blank}. "open": refused when the package
is opened; "read": only once the bytes have been read (a wrong checksum, a truncated disk).
"""

import argparse
import hashlib
import io
import json
import os
import sys
import tarfile
from dataclasses import dataclass

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ovf_descriptor import DiskRef, File, Machine, Nic, envelope, href_of  # noqa: E402
from vmdk_writer import GIB, MIB, Content, stream_optimized  # noqa: E402

MTIME = 1700000000


@dataclass
class Case:
    name: str
    path: str     # the .ova, .ovf, directory or disk image to hand to the provider
    expect: dict


def manifest_text(members, algorithm="sha256", style="vmware"):
    """`members` [(name, bytes)]. VMware writes "SHA256(name)= hex", VirtualBox "SHA1 (name) = hex"."""
    form = {"vmware": "{}({})= {}", "virtualbox": "{} ({}) = {}"}[style]
    return "".join(form.format(algorithm.upper(), name, hashlib.new(algorithm, data).hexdigest()) + "\n"
                   for name, data in members)


def write_tar(path, members, tar_format=tarfile.USTAR_FORMAT, pax_headers=None):
    with tarfile.open(path, "w", format=tar_format, pax_headers=pax_headers) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(data), MTIME, 0o644
            info.uname = info.gname = "someone"
            tar.addfile(info, io.BytesIO(data))


def write_directory(path, members):
    for name, data in members:
        target = os.path.join(path, name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as out:
            out.write(data)


def disk_expectation(ref, content):
    return {"id": ref.disk_id, "capacity": ref.capacity, "blank": content is None,
            "sha256": (content or Content(ref.capacity)).sha256() if ref.capacity <= GIB else None}


def machine_expectation(machine, contents):
    firmware = {"efi": "uefi", "bios": "bios", None: "bios"}[machine.firmware]
    return {"id": machine.id, "name": machine.name or machine.id, "cpus": machine.cpus,
            "memory_mib": machine.memory_mib, "firmware": firmware, "secure_boot": machine.secure_boot,
            "nics": [{"network": n.network, "mac": n.mac} for n in machine.nics],
            "disks": [disk_expectation(d, contents.get(d.disk_id)) for d in machine.disks]}


class Package:
    """One package under construction: add disks and files, bend what the case is about, write."""

    def __init__(self, stem="sample-vm", dialect="vmware", **machine):
        self.stem, self.dialect = stem, dialect
        self.machines = [Machine(**{"id": stem, "nics": [Nic(mac="00:50:56:ab:cd:01")], **machine})]
        self.files, self.payload, self.contents = [], [], {}
        self.collection = None

    def add_disk(self, content, name=None, machine=0, href=None, disk_id=None, units=None, data=None,
                 reference=None, **ref):
        """`content` None makes a blank disk of `ref["capacity"]`. `data`: the member's bytes, by
        default the streamOptimized VMDK of the content. `reference`: more fields of the File."""
        number = sum(len(m.disks) for m in self.machines) + 1
        disk = DiskRef(capacity=ref.pop("capacity", content.capacity if content else 0),
                       disk_id=disk_id or f"vmdisk{number}", units=units, **ref)
        if content:
            name = name or f"{self.stem}-disk{number}.vmdk"
            data = stream_optimized(content, name) if data is None else data
            disk.file, disk.file_id = name, f"file{len(self.files) + 1}"
            disk.populated = sum(len(d) for _, d in content.extents)
            self.add_file(name, data, href=href, **(reference or {}))
            self.contents[disk.disk_id] = content
        self.machines[machine].disks.append(disk)
        return disk

    def add_file(self, name, data, href=None, listed_size=True, parts=None, **fields):
        """A reference and its member; `parts` [(name, bytes)] replaces the member by several."""
        size = None if listed_size is False else len(data) if listed_size is True else listed_size
        self.files.append(File(f"file{len(self.files) + 1}", href or href_of(name), size, **fields))
        self.payload += parts if parts is not None else [(name, data)]
        return self.files[-1].id

    def descriptor(self):
        return envelope(self.machines, self.files, self.dialect, self.collection).encode()

    def members(self, manifest="sha256", style=None, order="ovf mf payload", damage=None):
        """[(name, bytes)] in tar order. `damage` {name: bytes}: stored instead, after the manifest
        has been computed over the good bytes."""
        descriptor = (self.stem + ".ovf", self.descriptor())
        signed = [descriptor] + self.payload
        style = style or ("virtualbox" if self.dialect == "virtualbox" else "vmware")
        text = manifest_text(signed, manifest, style) if manifest else None
        groups = {"ovf": [descriptor], "payload": self.payload,
                  "mf": [(self.stem + ".mf", text.encode())] if text else []}
        out = [m for key in order.split() for m in groups[key]]
        return [(name, (damage or {}).get(name, data)) for name, data in out]

    def expectation(self, notes=()):
        return {"ok": True, "vms": [machine_expectation(m, self.contents) for m in self.machines],
                "notes": list(notes)}


def refused(stage, *mentions):
    return {"ok": False, "stage": stage, "mentions": list(mentions)}


def make(name, directory):
    """Builds one case into `directory`/`name` and returns it."""
    from ova_cases import CASES as known
    target = os.path.join(str(directory), name)
    os.makedirs(target, exist_ok=True)
    path, expect = known[name](target)
    with open(os.path.join(target, "expected.json"), "w", encoding="utf-8") as out:
        json.dump({"case": name, "path": os.path.relpath(path, target), **expect}, out, indent=2)
        out.write("\n")
    return Case(name, path, expect)


def main():
    from ova_cases import BIG, CASES as known
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", nargs="?", help="directory to write into")
    parser.add_argument("--case", action="append", help="only this case (repeatable)")
    parser.add_argument("--big", action="store_true", help="also the cases with sparse files of many GiB")
    parser.add_argument("--list", action="store_true", help="list the cases and what they are")
    args = parser.parse_args()
    if args.list:
        for name, build in known.items():
            print(f"{name:28} {(build.__doc__ or '').strip().splitlines()[0]}")
        return 0
    if not args.out:
        parser.error("OUT is missing")
    wanted = args.case or [n for n in known if args.big or n not in BIG]
    unknown = [n for n in wanted if n not in known]
    if unknown:
        parser.error(f"no case named {', '.join(unknown)}; --list shows them")
    for name in wanted:
        print(make(name, args.out).path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
