#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Builds the sample: a bootable Debian-kernel VM with a partition table and ext4, packed as an OVA.

    tests/sample/build_ova.py [--out out/sample] [--style vmware|virtualbox] [--disks 2] [--size 1G]

The kernel (linux-image-cloud-amd64) and busybox-static come from Debian's archive, are unpacked and
not installed. No loop device, no mount, no root: partitions by sfdisk, file systems by mke2fs -d,
boot by a GRUB core image behind the MBR. The VM prints "hyperhost sample: up" on ttyS0 after it has
checked its own files, then powers off. OUT/source/diskN.raw keep the bytes that were packed. A
second call with the same options returns at once.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(ROOT, "tests/support")]
import guest_files  # noqa: E402
from ovf_descriptor import DiskRef, File, Machine, Nic, envelope, href_of  # noqa: E402

MIB = 1 << 20
TIME = 1700000000          # every time stamp inside the images
START = 1 * MIB            # first byte of the only partition
STEM = "hyperhost-sample"
GRUB = "/usr/lib/grub/i386-pc"


def say(text):
    print(f"sample: {text}", flush=True)


def run(*command, **kwargs):
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin",
                               "LC_ALL": "C", "E2FSPROGS_FAKE_TIME": str(TIME)}, **kwargs)
    if done.returncode:
        sys.exit(f"sample: {' '.join(map(str, command[:6]))} failed with status {done.returncode}:\n{done.stdout}")
    return done.stdout


def size_of(text):
    match = re.fullmatch(r"(\d+)([MG])", text)
    if not match or not 256 * MIB <= (value := int(match[1]) * {"M": MIB, "G": 1 << 30}[match[2]]) <= 1 << 43:
        raise argparse.ArgumentTypeError(f"'{text}' is no size; write 512M or 4G, at least 256M")
    return value


def fetch_packages(cache):
    """Downloads and unpacks the kernel and busybox; returns (directory, kernel release)."""
    tree = os.path.join(cache, "packages")
    if not os.path.exists(os.path.join(tree, ".complete")):
        depends = run("apt-cache", "depends", "linux-image-cloud-amd64")
        if "Depends:" not in depends:
            sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
            say("apt knows no packages yet: apt-get update")
            run(*sudo, "apt-get", "update", "-q")
            depends = run("apt-cache", "depends", "linux-image-cloud-amd64")
        kernel = re.search(r"Depends: (linux-image-\S+-cloud-amd64)", depends)
        if not kernel:
            sys.exit("sample: apt knows no linux-image-cloud-amd64; the sample needs Debian 12 on amd64 "
                     "with its archive in /etc/apt/sources.list")
        say(f"fetch {kernel[1]} and busybox-static from Debian's archive")
        shutil.rmtree(tree, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=cache) as work:
            os.chmod(work, 0o755)
            user = ["-o", "APT::Sandbox::User=root"] if os.geteuid() == 0 else []
            run("apt-get", "-q", *user, "download", kernel[1], "busybox-static", cwd=work)
            for deb in sorted(os.listdir(work)):
                run("dpkg-deb", "-x", os.path.join(work, deb), tree)
        open(os.path.join(tree, ".complete"), "w", encoding="ascii").close()
    releases = sorted(os.listdir(os.path.join(tree, "lib/modules")))
    return tree, releases[-1]


def make_ext4(image, size, tree, uuid, label):
    """An ext4 file system over the partition, filled from `tree`, with owners and times made fixed."""
    run("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-U", uuid, "-L", label, "-O", "^has_journal" if
        size < 64 * MIB else "has_journal", "-m", "1", "-E",
        f"offset={START},hash_seed={uuid},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0",
        "-d", tree, image, f"{(size - START - MIB) // 1024}k")
    target = f"{image}?offset={START}"
    used = run("debugfs", "-R", "stats", target)
    total = int(re.search(r"Inode count:\s+(\d+)", used)[1])
    free = int(re.search(r"Free inodes:\s+(\d+)", used)[1])
    stamp = "20231114221320"
    script = "".join(f"sif <{inode}> {field} {value}\n" for inode in [2, *range(11, total - free + 1)]
                     for field, value in (("uid", 0), ("gid", 0), ("atime", stamp), ("ctime", stamp), ("mtime", stamp),
                                          ("crtime", stamp), ("atime_extra", 0), ("ctime_extra", 0),
                                          ("mtime_extra", 0), ("crtime_extra", 0)))
    with tempfile.NamedTemporaryFile("w", suffix=".debugfs") as commands:
        commands.write(script)
        commands.flush()
        run("debugfs", "-w", "-f", commands.name, target)
    check = subprocess.run(["e2fsck", "-fn", target], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                           env={**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}, check=False)
    if check.returncode:
        sys.exit(f"sample: e2fsck finds the new file system faulty:\n{check.stdout}")


def partition(image, size, label):
    with open(image, "wb") as out:
        out.truncate(size)
    if label == "dos":
        script = f"label: dos\nlabel-id: 0x68797065\nstart={START // 512}, size={(size - START - MIB) // 512}, type=83, bootable\n"
    else:
        script = ("label: gpt\nlabel-id: 68797065-7268-4F73-9441-000000000001\nfirst-lba: 2048\n"
                  f"start={START // 512}, size={(size - START - MIB) // 512}, type=L, "
                  "uuid=68797065-7268-4F73-9441-000000000002, name=data\n")
    run("sfdisk", "-q", image, input=script)


def install_grub(image, work):
    """boot.img into the MBR (its code only), the core image into the gap before the partition."""
    core = os.path.join(work, "core.img")
    run("grub-mkimage", "-O", "i386-pc", "-o", core, "-p", "(hd0,msdos1)/boot/grub", "biosdisk", "part_msdos", "ext2",
        "normal", "configfile", "linux", "serial", "terminal", "echo", "test", "minicmd")
    with open(os.path.join(GRUB, "boot.img"), "rb") as f:
        boot = f.read()
    with open(core, "rb") as f:
        code = f.read()
    if len(code) > START - 512:
        sys.exit("sample: the GRUB core image does not fit before the partition")
    with open(image, "r+b") as out:
        out.write(boot[:440])
        out.seek(512)
        out.write(code)


def build_disks(out, args, cache):
    packages, release = fetch_packages(cache)
    source = os.path.join(out, "source")
    os.makedirs(source, exist_ok=True)
    images = []
    with tempfile.TemporaryDirectory(dir=cache) as work:
        for number in range(1, args.disks + 1):
            image = os.path.join(source, f"disk{number}.raw")
            tree = os.path.join(work, f"tree{number}")
            os.makedirs(tree)
            os.chmod(tree, 0o755)
            if number == 1:
                say(f"disk 1: {args.size // MIB} MiB, MBR, GRUB, ext4 with kernel {release}")
                guest_files.root_tree(packages, release, tree)
                partition(image, args.size, "dos")
                make_ext4(image, args.size, tree, guest_files.ROOT_UUID, "sample-root")
                install_grub(image, work)
            else:
                size = 256 * MIB
                say(f"disk {number}: {size // MIB} MiB, GPT, ext4 with data")
                guest_files.data_tree(tree)
                partition(image, size, "gpt")
                uuid = guest_files.DATA_UUID[:-2] + f"{0x64 + number - 2:02x}"
                make_ext4(image, size, tree, uuid, f"sample-data{number - 1}")
            images.append(image)
    return images


def make_vmdk(image, vmdk):
    run("qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized,adapter_type=lsilogic",
        image, vmdk)
    with open(vmdk, "r+b") as f:
        head = f.read(64 * 1024)
        f.seek(0)
        f.write(with_content_id(head, b"68797065"))


def with_content_id(head, value):
    """The head of a VMDK with another content id: qemu-img draws one by lot, of eight digits or fewer."""
    begin = head.index(b"\nCID=") + 5
    line, text = head.index(b"\n", begin), head.index(b"\0", begin)
    changed = head[:begin] + value + head[line:text]
    return changed.ljust(text, b"\0") + head[max(text, len(changed)):]


def digest(path, algorithm):
    value = hashlib.new(algorithm)
    with open(path, "rb") as f:
        while block := f.read(MIB):
            value.update(block)
    return value.hexdigest()


def populated(image):
    """Bytes of the grains that are not all zero (not st_blocks: that varies with the file system's mood)."""
    total, zeros = 0, bytes(64 * 1024)
    with open(image, "rb") as f:
        while block := f.read(len(zeros)):
            total += len(block) if block != zeros else 0
    return total


def pack(out, args, images):
    algorithm, order = {"vmware": ("sha256", "ovf mf disks"), "virtualbox": ("sha1", "ovf disks mf")}[args.style]
    machine = Machine(id=STEM, cpus=2, memory_mib=512, firmware="bios",
                      nics=[Nic("VM Network", "00:50:56:ab:10:01", "VmxNet3" if args.style == "vmware" else "E1000")],
                      controller="lsilogic" if args.style == "vmware" else "AHCI")
    files, names = [], []
    with tempfile.TemporaryDirectory(dir=out) as work:
        for number, image in enumerate(images, 1):
            name = f"{STEM}-disk{number}.vmdk"
            say(f"pack {name} (streamOptimized)")
            make_vmdk(image, os.path.join(work, name))
            size = os.path.getsize(os.path.join(work, name))
            files.append(File(f"file{number}", href_of(name), size))
            machine.disks.append(DiskRef(
                capacity=os.path.getsize(image), file=name, file_id=f"file{number}", disk_id=f"vmdisk{number}",
                units="byte * 2^20" if args.style == "vmware" else None, populated=populated(image)))
            names.append(name)
        with open(os.path.join(work, STEM + ".ovf"), "w", encoding="utf-8") as f:
            f.write(envelope([machine], files, args.style))
        form = "{}({})= {}\n" if args.style == "vmware" else "{} ({}) = {}\n"
        with open(os.path.join(work, STEM + ".mf"), "w", encoding="utf-8") as f:
            f.writelines(form.format(algorithm.upper(), n, digest(os.path.join(work, n), algorithm))
                         for n in [STEM + ".ovf", *names])
        members = [n for key in order.split()
                   for n in {"ovf": [STEM + ".ovf"], "mf": [STEM + ".mf"], "disks": names}[key]]
        ova = os.path.join(out, STEM + ".ova")
        run("tar", "--format=ustar", "--owner=someone:1000", "--group=someone:1000", "--mode=0644",
            f"--mtime=@{TIME}", "-C", work, "-cf", ova + ".part", *members)
        os.replace(ova + ".part", ova)
    return ova


def stamp_of(args):
    value = hashlib.sha256(json.dumps([args.style, args.disks, args.size]).encode())
    for name in (__file__, guest_files.__file__, os.path.join(ROOT, "tests/support/ovf_descriptor.py")):
        with open(name, "rb") as f:
            value.update(f.read())
    return value.hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", default=os.path.join(ROOT, "out/sample"), help="directory of the OVA")
    parser.add_argument("--style", choices=["vmware", "virtualbox"], default="vmware", help="whose export to look like")
    parser.add_argument("--disks", type=int, choices=range(1, 9), default=2, metavar="1-8", help="how many disks")
    parser.add_argument("--size", type=size_of, default=1 << 30, help="virtual size of the first disk")
    args = parser.parse_args()
    out, cache = os.path.abspath(args.out), os.path.join(ROOT, "out/cache")
    ova, stamp = os.path.join(out, STEM + ".ova"), os.path.join(out, "source", "stamp.json")
    wanted = stamp_of(args)
    try:
        with open(stamp, encoding="utf-8") as f:
            known = json.load(f)
        if known["inputs"] == wanted and known["ova_bytes"] == os.path.getsize(ova):
            say(f"{ova} is up to date")
            return
    except (OSError, ValueError, KeyError):
        pass
    missing = [t for t in ("qemu-img", "mke2fs", "debugfs", "sfdisk", "grub-mkimage")
               if not shutil.which(t, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")]
    missing += [] if os.path.exists(os.path.join(GRUB, "boot.img")) else ["grub-pc-bin"]
    if missing:
        sys.exit(f"sample: {', '.join(missing)} not found; configs/quickstart installs what is needed")
    os.makedirs(out, exist_ok=True)
    os.makedirs(cache, exist_ok=True)
    images = build_disks(out, args, cache)
    pack(out, args, images)
    with open(stamp, "w", encoding="utf-8") as f:
        json.dump({"inputs": wanted, "ova_bytes": os.path.getsize(ova), "kernel": fetch_packages(cache)[1]}, f)
    say(f"{ova}: {os.path.getsize(ova) / MIB:.1f} MiB")


if __name__ == "__main__":
    main()
