# SPDX-License-Identifier: Apache-2.0
"""A guest's disks from its root directory: partitions by sfdisk, ext4 by mke2fs -d, an encrypted partition by qemu-img,
GRUB as a core image behind the MBR or as a file on the ESP. Other layouts are written by guestfish's appliance."""

import os
import shutil
import subprocess

import guest_root
from guest_root import ids, kernels, parts, run
from guest_table import PASSPHRASE

MIB = 1 << 20
DISK = 2048 * MIB
SIZES = {"esp": 256 * MIB, "boot": 320 * MIB, "swap": 256 * MIB}
DATA_DISK = 128 * MIB
TYPES = {"dos": {"esp": "ef", "boot": "83", "root": "83", "swap": "82"}, "gpt": {"esp": "U", "boot": "L", "root": "L", "swap": "S"}}
RAID_TYPE = {"dos": "fd", "gpt": "R"}
GRUB_MODULES = ["normal", "configfile", "linux", "search", "search_fs_uuid", "search_label", "part_msdos", "part_gpt", "ext2", "fat", "btrfs", "xfs",
                "echo", "test", "minicmd", "serial", "terminal"]


def layout(guest):
    """(name, start, size) of each partition of the first disk."""
    out, at = [], MIB
    numbers = parts(guest)
    fixed = sum(SIZES.get(name, 0) for name in numbers)
    for name in numbers:
        size = SIZES.get(name, DISK - 2 * MIB - fixed)
        out.append((name, at, size))
        at += size
    return out


def partition(guest, image):
    kind = "gpt" if guest.firmware == "uefi" else "dos"
    with open(image, "wb") as out:
        out.truncate(DISK)
    lines = [f"label: {kind}", "first-lba: 2048" if kind == "gpt" else f"label-id: 0x{ids(guest)['root'][:8]}"]
    for name, start, size in layout(guest):
        code = RAID_TYPE[kind] if guest.layout == "raid1" and name == "root" else TYPES[kind][name]
        active = ", bootable" if kind == "dos" and name == layout(guest)[0][0] else ""
        lines.append(f"start={start // 512}, size={size // 512}, type={code}{active}")
    run("sfdisk", "-q", image, input="\n".join(lines) + "\n")


def insert(image, part, start):
    """Copies a file into the disk, leaving out its holes."""
    run("dd", f"if={part}", f"of={image}", "bs=1M", f"seek={start // MIB}", "conv=notrunc,sparse", "status=none")
    os.unlink(part)


def make_ext4(path, size, tree, uuid, label):
    run("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-U", uuid, "-L", label, "-E", "root_owner=0:0", "-d", tree,
        path, f"{size // 1024}k")


def make_esp(guest, tree, path):
    with open(path, "wb") as out:
        out.truncate(SIZES["esp"])
    run("mkfs.vfat", "-F", "32", "-n", "ESP", path)
    staging = path + ".tree"
    os.makedirs(staging)
    if guest.loader == "grub":
        loader = os.path.join(staging, "EFI/debian/grubx64.efi")
        os.makedirs(os.path.dirname(loader))
        early = path + ".cfg"
        with open(early, "w", encoding="ascii") as out:
            out.write(f"search.fs_uuid {ids(guest)['root']} root\nset prefix=($root)/boot/grub\n")
        run("grub-mkimage", "-O", "x86_64-efi", "-d", os.path.join(tree, "usr/lib/grub/x86_64-efi"), "-o", loader,
            "-c", early, "-p", "/boot/grub", *GRUB_MODULES)
        os.unlink(early)
    elif guest.loader == "systemd-boot":
        loader = os.path.join(staging, "EFI/systemd/systemd-bootx64.efi")
        os.makedirs(os.path.dirname(loader))
        shutil.copyfile(os.path.join(tree, "usr/lib/systemd/boot/efi/systemd-bootx64.efi"), loader)
        with open(os.path.join(tree, "etc/machine-id"), encoding="ascii") as f:
            token = f.read().strip()
        guest_root.write(staging, "loader/loader.conf", "timeout 1\n")
        guest_root.write(staging, "loader/entries.srel", "type1\n")
        for version in kernels(tree):
            place = f"{token}/{version}"
            os.makedirs(os.path.join(staging, place))
            shutil.copyfile(os.path.join(tree, f"boot/vmlinuz-{version}"), os.path.join(staging, place, "linux"))
            shutil.copyfile(os.path.join(tree, f"boot/initrd.img-{version}"),
                            os.path.join(staging, place, f"initrd.img-{version}"))
            guest_root.write(staging, f"loader/entries/{token}-{version}.conf",
                             f"title      Debian GNU/Linux 12 (bookworm)\nversion    {version}\nmachine-id {token}\n"
                             f"options    {guest_root.kernel_arguments(guest)}\nlinux      /{place}/linux\n"
                             f"initrd     /{place}/initrd.img-{version}\n")
    if guest.fallback:
        os.makedirs(os.path.join(staging, "EFI/BOOT"))
        shutil.copyfile(loader, os.path.join(staging, "EFI/BOOT/BOOTX64.EFI"))
    for name in sorted(os.listdir(staging)):
        run("mcopy", "-s", "-i", path, os.path.join(staging, name), "::/")
    shutil.rmtree(staging)


def write_menu(guest, tree):
    """grub.cfg as grub-mkconfig writes it, without the modules that the core image has."""
    separate = "boot" in parts(guest)
    place = "" if separate else "/@/boot" if guest.fs == "btrfs" else "/boot"
    entries = "".join(
        f"menuentry 'Debian GNU/Linux, with Linux {version}' --class debian --class gnu-linux {{\n"
        f"\tsearch --no-floppy --fs-uuid --set=root {ids(guest)['boot' if separate else 'root']}\n"
        f"\tlinux\t{place}/vmlinuz-{version} {guest_root.kernel_arguments(guest)}\n"
        f"\tinitrd\t{place}/initrd.img-{version}\n}}\n" for version in reversed(kernels(tree)))
    guest_root.write(tree, "boot/grub/grub.cfg", f"set default=\"0\"\nset timeout=1\n{entries}")


def install_grub(guest, tree, image, work):
    """boot.img into the MBR, the core image into the gap before the first partition."""
    number = parts(guest).get("boot", parts(guest)["root"])
    prefix = "/grub" if "boot" in parts(guest) else "/@/boot/grub" if guest.fs == "btrfs" else "/boot/grub"
    core, modules = os.path.join(work, "core.img"), os.path.join(tree, "usr/lib/grub/i386-pc")
    run("grub-mkimage", "-O", "i386-pc", "-d", modules, "-o", core, "-p", f"(hd0,msdos{number}){prefix}", "biosdisk",
        *GRUB_MODULES)
    with open(os.path.join(modules, "boot.img"), "rb") as f:
        boot = f.read()
    with open(core, "rb") as f:
        code = f.read()
    os.unlink(core)
    if len(code) > MIB - 512:
        raise RuntimeError("GRUB's core image does not fit before the partition")
    with open(image, "r+b") as out:
        out.write(boot[:440])
        out.seek(512)
        out.write(code)


def guestfish(drives, script):
    """Runs commands in libguestfs' appliance. drives: (path, "rw" or "ro")."""
    arguments = [word for path, mode in drives for word in
                 (["--format=raw", "-a", path] if mode == "rw" else ["--format=raw", "--ro", "-a", path, "--rw"])]
    environment = {"LIBGUESTFS_BACKEND": "direct", "LIBGUESTFS_BACKEND_SETTINGS": "force_tcg"}
    path = "/usr/sbin:/usr/bin:/sbin:/bin:" + os.environ.get("PATH", "")
    subprocess.run(["guestfish", *arguments], input="run\n" + "\n".join(script) + "\n", text=True, check=True,
                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                   env={**os.environ, **environment, "PATH": path})


def root_file(guest, tree, work, size):
    """The root file system as a file, with what the layout puts around it where no kernel is needed for that."""
    image = os.path.join(work, "root.img")
    make_ext4(image, size - 2 * MIB if guest.layout == "luks" else size, tree, ids(guest)["root"], "c-root")
    if guest.state == "dirty":
        run("debugfs", "-w", "-R", "feature needs_recovery", image)
    if guest.layout != "luks":
        return image
    opened, sealed = image, image + ".luks"
    run("qemu-img", "convert", "-f", "raw", "--object", f"secret,id=key,data={PASSPHRASE}", "-O", "luks", "-o",
        "key-secret=key,iter-time=10,cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=plain64,hash-alg=sha256", opened, sealed)
    os.unlink(opened)
    return sealed


def write_by_appliance(guest, tree, work, disks, number):
    """Root file systems that need a kernel."""
    root, first = f"/dev/sda{number}", disks[0]
    if guest.fs in ("xfs", "btrfs"):
        archive = os.path.join(work, "root.tar")
        run("tar", "--numeric-owner", "-cf", archive, "-C", tree, ".")
        if guest.fs == "xfs":
            script = [f"mkfs xfs {root}", f"set-uuid {root} {ids(guest)['root']}", f"set-label {root} c-root",
                      f"mount {root} /", f"tar-in {archive} /"]
        else:
            script = [f"mkfs btrfs {root} label:c-root", f"set-uuid {root} {ids(guest)['root']}", f"mount {root} /",
                      "btrfs-subvolume-create /@", f"tar-in {archive} /@"]
        guestfish([(first, "rw")], script)
        os.unlink(archive)
        return
    size = layout(guest)[number - 1][2] - 16 * MIB
    content = root_file(guest, tree, work, size)
    if guest.layout == "lvm":
        script = [f"pvcreate {root}", f"vgcreate corpus {root}", "lvcreate-free root corpus 100",
                  "copy-device-to-device /dev/sdb /dev/corpus/root sparse:true"]
        guestfish([(first, "rw"), (content, "rw")], script)
    else:
        script = [f"md-create root \"{root} /dev/sdb1\" level:raid1",
                  "copy-device-to-device /dev/sdc /dev/md/root sparse:true"]
        guestfish([(first, "rw"), (disks[1], "rw"), (content, "rw")], script)
    os.unlink(content)


def make_second_disk(guest, work):
    image = os.path.join(work, "disk-1.raw")
    with open(image, "wb") as out:
        out.truncate(DISK if guest.layout == "raid1" else DATA_DISK)
    code = "fd" if guest.layout == "raid1" else "83"
    run("sfdisk", "-q", image, input=f"label: dos\nlabel-id: 0x{ids(guest)['data'][:8]}\nstart=2048, type={code}\n")
    if guest.layout != "raid1":
        part, tree = os.path.join(work, "data.img"), os.path.join(work, "data")
        os.makedirs(tree)
        make_ext4(part, DATA_DISK - MIB, tree, ids(guest)["data"], "c-data")
        os.rmdir(tree)
        insert(image, part, MIB)
    return image


def make(guest, tree, work):
    """Builds the guest's disks in `work` from the root at `tree`; returns their paths."""
    disks = [os.path.join(work, "disk-0.raw")]
    partition(guest, disks[0])
    if guest.data_disk or guest.layout == "raid1":
        disks.append(make_second_disk(guest, work))
    if guest.loader != "systemd-boot":
        write_menu(guest, tree)
    for name, start, size in layout(guest):
        part = os.path.join(work, name + ".part")
        if name == "esp":
            make_esp(guest, tree, part)
            insert(disks[0], part, start)
        elif name == "boot":
            boot = os.path.join(work, "boot")
            shutil.move(os.path.join(tree, "boot"), boot)
            os.makedirs(os.path.join(tree, "boot"))
            make_ext4(part, size, boot, ids(guest)["boot"], "c-boot")
            shutil.rmtree(boot)
            insert(disks[0], part, start)
        elif name == "swap":
            with open(part, "wb") as out:
                out.truncate(size)
            run("mkswap", "-q", "-U", ids(guest)["swap"], "-L", "c-swap", part)
            if guest.state == "hibernated":
                with open(part, "r+b") as out:  # the signature of a saved state, in front of swap's own
                    out.seek(4096 - 10)
                    out.write(b"S1SUSPEND\0")
            insert(disks[0], part, start)
        elif guest.layout in ("plain", "luks") and guest.fs == "ext4":
            insert(disks[0], root_file(guest, tree, work, size), start)
    if guest.layout in ("lvm", "raid1") or guest.fs != "ext4":
        write_by_appliance(guest, tree, work, disks, parts(guest)["root"])
    if guest.loader == "grub" and guest.firmware == "bios":
        install_grub(guest, tree, disks[0], work)
    return disks
