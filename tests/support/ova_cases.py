# SPDX-License-Identifier: Apache-2.0
"""The table of packages that ova_factory can make. A case is a function: directory -> (path, expect)."""

import gzip
import hashlib
import os
import tarfile

from ova_factory import Package, refused, write_directory, write_tar
from ovf_descriptor import Machine, Nic
from vmdk_writer import GIB, KIB, MIB, Content, stream_optimized

CASES = {}
BIG = {"huge-member-gnu", "huge-member-pax"}


def case(function):
    CASES[function.__name__.strip("_").replace("_", "-")] = function
    return function


def plain(stem="sample-vm", seed=1, capacity=4 * MIB, **kwargs):
    package = Package(stem, **kwargs)
    package.add_disk(Content.sample(capacity, seed))
    return package


def ova(directory, package, name=None, tar_format=tarfile.USTAR_FORMAT, pax_headers=None, **how):
    path = os.path.join(directory, name or package.stem + ".ova")
    write_tar(path, package.members(**how), tar_format, pax_headers)
    return path


# --- what the exporters write ------------------------------------------------------------------

@case
def vmware(directory):
    """VMware: SHA-256 .mf, ustar, order ovf, mf, vmdk."""
    package = plain(firmware="bios")
    return ova(directory, package), package.expectation()


@case
def virtualbox(directory):
    """VirtualBox: SHA-1 .mf behind the disks, its own machine section."""
    package = plain(dialect="virtualbox", controller="AHCI")
    return ova(directory, package, manifest="sha1", order="ovf payload mf"), package.expectation()


@case
def ovf2(directory):
    """OVF 2.0: envelope/2, StorageItem and EthernetPortItem, SHA-512 .mf."""
    package = plain(dialect="ovf2")
    return ova(directory, package, manifest="sha512"), package.expectation()


@case
def directory_ovf(directory):
    """An .ovf and its files in a directory, not packed."""
    package = plain()
    write_directory(directory, package.members())
    return os.path.join(directory, package.stem + ".ovf"), package.expectation()


@case
def bare_vmdk(directory):
    """A bare streamOptimized disk image, no descriptor."""
    content = Content.sample(4 * MIB, 7)
    path = os.path.join(directory, "bare.vmdk")
    write_directory(directory, [("bare.vmdk", stream_optimized(content, "bare.vmdk"))])
    return path, {"ok": True, "notes": [], "vms": [{"id": "bare", "name": "bare", "disks": [
        {"capacity": content.capacity, "sha256": content.sha256(), "blank": False}]}]}


@case
def bare_raw(directory):
    """A bare raw disk image, with holes."""
    content = Content.sample(4 * MIB, 8)
    path = os.path.join(directory, "bare.raw")
    content.write_raw(path)
    return path, {"ok": True, "notes": [], "vms": [{"id": "bare", "name": "bare", "disks": [
        {"capacity": content.capacity, "sha256": content.sha256(), "blank": False}]}]}


@case
def two_disks(directory):
    """Two disks, the second one larger than one grain table and not a multiple of a grain."""
    package = plain(seed=2)
    package.add_disk(Content.sample(40 * MIB + 512 * 3, 3, density=0.05))
    return ova(directory, package), package.expectation()


@case
def three_disks_shuffled(directory):
    """Three disks whose members lie in the tar in another order than in the descriptor."""
    package = plain(seed=4)
    package.add_disk(Content.sample(2 * MIB, 5))
    package.add_disk(Content.sample(3 * MIB, 6))
    package.payload.reverse()
    return ova(directory, package), package.expectation()


@case
def efi_nvram(directory):
    """UEFI with secure boot and an nvram reference."""
    package = plain(firmware="efi", secure_boot=True, controller="VirtualSCSI")
    package.machines[0].nvram_file_id = package.add_file("sample-vm-file1.nvram", b"NVRAM" + bytes(8192))
    return ova(directory, package), package.expectation()


@case
def virtualbox_efi(directory):
    """VirtualBox with EFI: said only in its own machine section."""
    package = plain(dialect="virtualbox", firmware="efi", controller="AHCI")
    return ova(directory, package, manifest="sha1", order="ovf payload mf"), package.expectation()


@case
def iso_reference(directory):
    """An ISO in a CD drive: a reference that is no disk."""
    package = plain()
    package.machines[0].iso_file_id = package.add_file("sample-vm-cd.iso", b"\0" * 32768 + b"\1CD001\1" + bytes(2041))
    return ova(directory, package), package.expectation()


@case
def blank_disk(directory):
    """A second disk without fileRef: 10 GiB of nothing."""
    package = plain()
    package.add_disk(None, capacity=10 * GIB, units="byte * 2^30")
    return ova(directory, package), package.expectation()


@case
def collection(directory):
    """VirtualSystemCollection of two VMs, a disk each."""
    package = plain("tier")
    package.machines[0].id = "web"
    package.machines.append(Machine(id="db", name="Data Base", cpus=4, memory_mib=2048,
                                    nics=[Nic("back", "00:50:56:ab:cd:02"), Nic("front", "00:50:56:ab:cd:03")]))
    package.add_disk(Content.sample(3 * MIB, 9), machine=1)
    package.collection = "tier"
    return ova(directory, package), package.expectation()


# --- units and numbers -------------------------------------------------------------------------

@case
def capacity_gib(directory):
    """Capacity in "byte * 2^30", memory in "byte * 2^30" too."""
    package = Package(memory_mib=4096, memory_units="byte * 2^30")
    package.add_disk(Content(GIB, [(0, b"start"), (GIB - 512, b"e" * 512)]), units="byte * 2^30")
    return ova(directory, package), package.expectation()


@case
def capacity_megabytes(directory):
    """The old units: "MegaBytes"."""
    package = Package(memory_units="MegaBytes")
    package.add_disk(Content.sample(5 * MIB, 10), units="MegaBytes")
    return ova(directory, package), package.expectation()


@case
def capacity_tight(directory):
    """Units without spaces: "byte*2^20"."""
    package = Package()
    package.add_disk(Content.sample(5 * MIB, 11), units="byte*2^20")
    return ova(directory, package), package.expectation()


@case
def capacity_overflow(directory):
    """A capacity that overflows 64 bits in its unit: refused."""
    package = Package()
    package.add_disk(Content.sample(MIB, 12), units="byte * 2^40", capacity_text="18446744073709551615")
    return ova(directory, package), refused("open", "capacity")


@case
def capacity_nonsense(directory):
    """A unit nobody knows: refused."""
    package = Package()
    disk = package.add_disk(Content.sample(MIB, 13), capacity_text="1")
    disk.units = "furlong * 2^3"
    return ova(directory, package), refused("open", "furlong")


@case
def capacity_lies(directory):
    """The descriptor's capacity differs from the VMDK's."""
    package = Package()
    package.add_disk(Content.sample(4 * MIB, 14), capacity=8 * MIB)
    return ova(directory, package), refused("open", "capacity")


# --- names -------------------------------------------------------------------------------------

@case
def name_spaces(directory):
    """Spaces in the names; percent-encoded in the descriptor, plain in tar and .mf."""
    package = plain("my old server (copy)")
    return ova(directory, package), package.expectation()


@case
def name_spaces_plain(directory):
    """Spaces in the names, and in the href as they are (not a URI, but seen in the field)."""
    package = Package("my old server")
    package.add_disk(Content.sample(2 * MIB, 15), name="my old disk.vmdk", href="my old disk.vmdk")
    return ova(directory, package), package.expectation()


@case
def name_percent(directory):
    """A name with a percent sign: href "100%25.vmdk", member "100%.vmdk"."""
    package = Package()
    package.add_disk(Content.sample(2 * MIB, 16), name="100%.vmdk")
    return ova(directory, package), package.expectation()


@case
def name_percent_literal(directory):
    """A member really named "a%20b.vmdk", its href the same text: the exact name wins."""
    package = Package()
    package.add_disk(Content.sample(2 * MIB, 17), name="a%20b.vmdk", href="a%20b.vmdk")
    return ova(directory, package), package.expectation()


@case
def name_utf8(directory):
    """UTF-8 names in a pax archive."""
    package = plain("größe-日本")
    return ova(directory, package, tar_format=tarfile.PAX_FORMAT), package.expectation()


@case
def name_utf8_ustar(directory):
    """UTF-8 names straight in a GNU header."""
    package = plain("größe-日本")
    return ova(directory, package, tar_format=tarfile.GNU_FORMAT), package.expectation()


@case
def name_xml(directory):
    """A VM name with XML's own characters."""
    package = plain()
    package.machines[0].name = "R&D <test> \"one\""
    return ova(directory, package), package.expectation()


@case
def name_path(directory):
    """A VM name with slashes and dots: must not become a path."""
    package = plain()
    package.machines[0].name = "../../etc/evil"
    return ova(directory, package), package.expectation()


# --- tar ---------------------------------------------------------------------------------------

@case
def pax_headers(directory):
    """pax: a global header and a long member name."""
    package = Package()
    package.add_disk(Content.sample(2 * MIB, 18), name="disk-" + "x" * 180 + ".vmdk")
    return ova(directory, package, tar_format=tarfile.PAX_FORMAT, pax_headers={"comment": "exported"}), \
        package.expectation()


@case
def gnu_long_name(directory):
    """GNU ././@LongLink member name."""
    package = Package()
    package.add_disk(Content.sample(2 * MIB, 19), name="disk-" + "x" * 180 + ".vmdk")
    return ova(directory, package, tar_format=tarfile.GNU_FORMAT), package.expectation()


@case
def dot_slash_members(directory):
    """Members named ./x, as plain tar makes them."""
    package = plain()
    path = os.path.join(directory, "sample-vm.ova")
    write_tar(path, [("./" + n, d) for n, d in package.members()])
    return path, package.expectation()


@case
def tar_truncated(directory):
    """The OVA ends in the middle of its disk."""
    package = plain()
    path = ova(directory, package)
    os.truncate(path, os.path.getsize(path) // 2)
    return path, refused("open", "sample-vm-disk1.vmdk")


@case
def tar_bad_header(directory):
    """A tar header whose checksum is wrong."""
    package = plain()
    path = ova(directory, package)
    with open(path, "r+b") as out:
        out.seek(0)
        out.write(b"X")
    return path, refused("open", "header")


@case
def tar_symlink(directory):
    """The disk member is a symbolic link out of the package: refused."""
    package = plain()
    path = os.path.join(directory, "sample-vm.ova")
    write_tar(path, package.members()[:1])
    with tarfile.open(path, "a", format=tarfile.USTAR_FORMAT) as tar:
        info = tarfile.TarInfo("sample-vm-disk1.vmdk")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    return path, refused("open", "sample-vm-disk1.vmdk")


@case
def duplicate_member(directory):
    """Two members of the same name: ambiguous, refused."""
    package = plain()
    members = package.members()
    path = os.path.join(directory, "sample-vm.ova")
    write_tar(path, members + [(members[-1][0], b"other")])
    return path, refused("open", "sample-vm-disk1.vmdk")


@case
def no_descriptor(directory):
    """A tar without an .ovf."""
    package = plain()
    return ova(directory, package, order="mf payload"), refused("open", ".ovf")


@case
def empty_file(directory):
    """An .ova of no bytes."""
    path = os.path.join(directory, "empty.ova")
    open(path, "wb").close()
    return path, refused("open", "empty.ova")


def _huge(directory, tar_format):
    package = plain()
    package.machines[0].iso_file_id = "huge"
    iso = 9 * GIB
    package.files.append(type(package.files[0])("huge", "huge.iso", iso))
    path = os.path.join(directory, "sample-vm.ova")
    info = tarfile.TarInfo("huge.iso")
    info.size = iso
    members = package.members(manifest=None)
    write_tar(path, members[:1], tar_format)
    head = 512 + (len(members[0][1]) + 511) // 512 * 512
    with open(path, "r+b") as out:
        out.seek(head)
        out.write(info.tobuf(tar_format))
        out.seek(iso, os.SEEK_CUR)
        disk = tarfile.TarInfo(members[1][0])
        disk.size = len(members[1][1])
        out.write(disk.tobuf(tarfile.USTAR_FORMAT) + members[1][1] + bytes(-disk.size % 512) + bytes(1024))
        out.truncate()
    return path, package.expectation(["mf"])


@case
def huge_member_gnu(directory):
    """A 9 GiB member (sparse, GNU base-256 size) in front of the disk."""
    return _huge(directory, tarfile.GNU_FORMAT)


@case
def huge_member_pax(directory):
    """A 9 GiB member (sparse, pax size record) in front of the disk."""
    return _huge(directory, tarfile.PAX_FORMAT)


# --- manifest ----------------------------------------------------------------------------------

@case
def manifest_missing(directory):
    """No .mf: accepted, with a note."""
    package = plain()
    return ova(directory, package, manifest=None), package.expectation(["mf"])


@case
def manifest_upper_case(directory):
    """Hex digits in upper case, lines ended by CR LF."""
    package = plain()
    members = []
    for name, data in package.members():
        if name.endswith(".mf"):
            lines = data.decode().splitlines()
            data = "".join(l.split("= ")[0] + "= " + l.split("= ")[1].upper() + "\r\n" for l in lines).encode()
        members.append((name, data))
    path = os.path.join(directory, "sample-vm.ova")
    write_tar(path, members)
    return path, package.expectation()


@case
def wrong_checksum_disk(directory):
    """A disk that is not what the .mf says; the VMDK itself is sound."""
    package = plain(seed=20)
    other = stream_optimized(Content.sample(4 * MIB, 21), "sample-vm-disk1.vmdk")
    package.files[0].size = len(other)
    return ova(directory, package, damage={"sample-vm-disk1.vmdk": other}), \
        refused("read", "sample-vm-disk1.vmdk", "sha256")


@case
def wrong_checksum_descriptor(directory):
    """A descriptor changed after it was signed."""
    package = plain()
    text = package.descriptor().replace(b"Debian GNU/Linux 12", b"Debian GNU/Linux 13")
    return ova(directory, package, damage={"sample-vm.ovf": text}), refused("open", "sample-vm.ovf")


@case
def manifest_without_disk(directory):
    """An .mf that does not list the disk: accepted, with a note that names it."""
    package = plain()
    members = package.members()
    line = ("SHA256(sample-vm.ovf)= " + hashlib.sha256(members[0][1]).hexdigest() + "\n").encode()
    path = os.path.join(directory, "sample-vm.ova")
    write_tar(path, [members[0], (members[1][0], line), members[2]])
    return path, package.expectation(["sample-vm-disk1.vmdk"])


@case
def manifest_garbage(directory):
    """An .mf that is no manifest."""
    package = plain()
    members = package.members()
    path = os.path.join(directory, "sample-vm.ova")
    write_tar(path, [members[0], (members[1][0], b"\x89PNG not a manifest\n"), members[2]])
    return path, refused("open", ".mf")


# --- disks -------------------------------------------------------------------------------------

@case
def vmdk_truncated(directory):
    """A VMDK cut in half; tar, .mf and ovf:size agree with the cut file."""
    package = Package()
    content = Content.sample(4 * MIB, 22)
    data = stream_optimized(content)
    package.add_disk(content, data=data[:len(data) // 2 // 512 * 512])
    return ova(directory, package), refused("read", "sample-vm-disk1.vmdk")


@case
def vmdk_bad_grain(directory):
    """A VMDK with a grain whose deflate data is damaged; everything else agrees."""
    package = Package()
    content = Content.sample(4 * MIB, 23)
    data = bytearray(stream_optimized(content))
    middle = len(data) // 3
    data[middle:middle + 64] = bytes(range(64))
    package.add_disk(content, data=bytes(data))
    return ova(directory, package), refused("read", "sample-vm-disk1.vmdk")


@case
def vmdk_zero_grains(directory):
    """A VMDK that stores its zero grains."""
    package = Package()
    content = Content.sample(4 * MIB, 24)
    package.add_disk(content, data=stream_optimized(content, embedded_zero_grains=True))
    return ova(directory, package), package.expectation()


@case
def size_lies(directory):
    """ovf:size is not the member's size: accepted, with a warning that names the file."""
    package = Package()
    package.add_disk(Content.sample(2 * MIB, 25), reference={"listed_size": 12345})
    return ova(directory, package), package.expectation(["sample-vm-disk1.vmdk"])


@case
def gzip_reference(directory):
    """A reference with ovf:compression="gzip"."""
    package = Package()
    content = Content.sample(4 * MIB, 26)
    data = gzip.compress(stream_optimized(content), 6, mtime=0)
    package.add_disk(content, name="sample-vm-disk1.vmdk.gz", data=data, reference={"compression": "gzip"})
    return ova(directory, package), package.expectation()


@case
def gzip_damaged(directory):
    """A gzip-compressed reference whose stream breaks off."""
    package = Package()
    content = Content.sample(4 * MIB, 27)
    data = gzip.compress(stream_optimized(content), 6, mtime=0)
    package.add_disk(content, name="sample-vm-disk1.vmdk.gz", data=data[:len(data) * 2 // 3],
                     reference={"compression": "gzip"})
    return ova(directory, package), refused("read", "sample-vm-disk1.vmdk.gz")


def _chunks(seed, drop=None):
    package = Package()
    content = Content.sample(4 * MIB, seed)
    data, size, name = stream_optimized(content), 256 * KIB, "sample-vm-disk1.vmdk"
    parts = [("%s.%09d" % (name, i), data[at:at + size]) for i, at in enumerate(range(0, len(data), size))]
    kept = [p for i, p in enumerate(parts) if i != drop]
    package.add_disk(content, name=name, data=data, reference={"chunk_size": size, "parts": kept})
    return package


@case
def chunked_reference(directory):
    """A reference in chunks: ovf:chunkSize, members NAME.000000000 and on."""
    package = _chunks(28)
    return ova(directory, package), package.expectation()


@case
def chunk_missing(directory):
    """A chunked reference with a chunk that is not there."""
    package = _chunks(29, drop=1)
    return ova(directory, package), refused("open", "sample-vm-disk1.vmdk.000000001")


# --- hostile and broken descriptors ------------------------------------------------------------

def _href(directory, href, *mentions):
    package = Package()
    package.add_disk(Content.sample(MIB, 30), href=href)
    return ova(directory, package), refused("open", *mentions)


@case
def href_traversal(directory):
    """href="../../etc/passwd"."""
    return _href(directory, "../../etc/passwd", "../../etc/passwd")


@case
def href_traversal_encoded(directory):
    """href="%2e%2e/%2e%2e/etc/passwd"."""
    return _href(directory, "%2e%2e/%2e%2e/etc/passwd", "passwd")


@case
def href_absolute(directory):
    """href="/etc/passwd"."""
    return _href(directory, "/etc/passwd", "/etc/passwd")


@case
def href_file_url(directory):
    """href="file:///etc/passwd"."""
    return _href(directory, "file:///etc/passwd", "passwd")


@case
def href_http(directory):
    """href="http://…": a package must hold its files."""
    return _href(directory, "http://127.0.0.1:9/disk.vmdk", "http://127.0.0.1:9/disk.vmdk")


@case
def href_symlink_directory(directory):
    """In a directory: the referenced file is a symbolic link out of it."""
    package = plain()
    write_directory(os.path.join(directory, "package"), package.members(manifest=None)[:1])
    outside = os.path.join(directory, "outside.vmdk")
    write_directory(directory, [("outside.vmdk", package.payload[0][1])])
    link = os.path.join(directory, "package", "sample-vm-disk1.vmdk")
    if not os.path.lexists(link):
        os.symlink(outside, link)
    return os.path.join(directory, "package", "sample-vm.ovf"), refused("open", "sample-vm-disk1.vmdk")


@case
def file_missing(directory):
    """A referenced file that is not in the package."""
    package = plain()
    return ova(directory, package, order="ovf"), refused("open", "sample-vm-disk1.vmdk")


@case
def xml_broken(directory):
    """A descriptor that is not well-formed XML."""
    package = plain()
    path = os.path.join(directory, "sample-vm.ova")
    write_tar(path, [("sample-vm.ovf", package.descriptor()[:700]), package.payload[0]])
    return path, refused("open", "sample-vm.ovf")


@case
def xml_entities(directory):
    """A descriptor with a document type that defines entities (a "billion laughs")."""
    package = plain()
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>\n<Envelope'
    text = package.descriptor().replace(b"<Envelope", bomb, 1).replace(b"A virtual machine", b"&b;", 1)
    path = os.path.join(directory, "sample-vm.ova")
    write_tar(path, [("sample-vm.ovf", text), package.payload[0]])
    # An entity nobody expands is harmless text; a reader that accepts the package must not grow by it.
    return path, package.expectation(["mf"])


@case
def disk_reference_dangling(directory):
    """A disk whose fileRef names no File."""
    package = plain()
    package.machines[0].disks[0].file_id = "file77"
    return ova(directory, package), refused("open", "file77")


@case
def duplicate_disk_id(directory):
    """Two disks with the same diskId."""
    package = plain()
    package.add_disk(Content.sample(MIB, 31), disk_id="vmdisk1")
    return ova(directory, package), refused("open", "vmdisk1")


@case
def memory_nonsense(directory):
    """A memory size that is no number."""
    package = plain()
    text = package.descriptor().replace(b">1024</rasd:VirtualQuantity>", b">lots</rasd:VirtualQuantity>")
    path = os.path.join(directory, "sample-vm.ova")
    write_tar(path, [("sample-vm.ovf", text), package.payload[0]])
    return path, refused("open", "lots")
