# SPDX-License-Identifier: Apache-2.0
"""A guest's root directory: Debian's packages, and the configuration that makes the guest what it is."""

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import uuid

from guest_table import ADDRESS, PASSPHRASE

# A PVSCSI adapter, its disks and the file systems: what an initramfs of the old machine has.
OLD_MACHINE = ["vmw_pvscsi", "mptspi", "ata_piix", "ata_generic", "sd_mod", "ext4"]
BY_PATH = "/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:{disk}:0-part{part}"
NETWORK_PACKAGES = {"ifupdown": ["ifupdown"], "netplan": ["netplan.io"], "network-manager": ["network-manager"],
                    "networkd": [], "none": []}
LAYOUT_PACKAGES = {"lvm": ["lvm2"], "luks": ["cryptsetup-initramfs"], "raid1": ["mdadm"], "plain": []}
FS_PACKAGES = {"ext4": ["e2fsprogs"], "xfs": ["xfsprogs"], "btrfs": ["btrfs-progs"]}
# Says on the first serial port that the guest is up, and how its adapter is called, whatever its console is.
REPORT = """#!/bin/sh
tries=%d
while [ $tries -gt 0 ] && [ -z "$(ip -o -4 addr show scope global)" ]; do
  tries=$((tries - 1))
  sleep 1
done
address=$(ip -o -4 addr show scope global | awk '{print $2 "=" $4}' | tr '\\n' ' ')
failed=$(systemctl list-units --failed --plain --no-legend | awk '{print $1}' | tr '\\n' ' ')
printf '\\r\\ncorpus: up %%s[%%s]\\r\\n' "$address" "$failed" >/dev/ttyS0
"""
REPORT_UNIT = """[Unit]
Description=Reports that the guest is up
After=getty.target systemd-user-sessions.service

[Service]
Type=oneshot
ExecStart=/usr/local/sbin/corpus-report
TimeoutStartSec=180

[Install]
WantedBy=multi-user.target
"""


def run(*command, **kwargs):
    path = "/usr/sbin:/usr/bin:/sbin:/bin:" + os.environ.get("PATH", "")
    return subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=True, env={**os.environ, "PATH": path, "LC_ALL": "C",
                                           # An initramfs is made for each guest, not for the shared base.
                                           "INITRD": "No", "DEBIAN_FRONTEND": "noninteractive"}, **kwargs).stdout


def fingerprint(guest):
    """Changes with everything that a guest is made from, but for the archive's packages."""
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(guest), sort_keys=True).encode())
    here = os.path.dirname(os.path.abspath(__file__))
    for name in ("guest_root.py", "guest_disk.py"):
        with open(os.path.join(here, name), "rb") as f:
            digest.update(f.read())
    return digest.hexdigest()


def ids(guest):
    """The UUIDs of a guest's file systems: the same at every build."""
    return {part: str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{guest.name}.{part}.corpus")) for part in
            ("root", "boot", "swap", "data", "luks")}


def packages_of(guest):
    loader = {"grub": ["grub-efi-amd64-bin"] if guest.firmware == "uefi" else ["grub-pc-bin"],
              "systemd-boot": ["systemd-boot"] if guest.suite != "bullseye" else [], "none": []}[guest.loader]
    return sorted(["systemd-sysv", "udev", "dbus", "kmod", "iproute2", "initramfs-tools", "linux-image-cloud-amd64",
                   *NETWORK_PACKAGES[guest.network], *LAYOUT_PACKAGES[guest.layout], *FS_PACKAGES[guest.fs], *loader,
                   *(["open-vm-tools"] if guest.tools else [])])


def base(guest, directory):
    """A tar archive of the guest's packages, made once for each set of them."""
    packages = packages_of(guest)
    name = hashlib.sha256(json.dumps([guest.suite, packages]).encode()).hexdigest()[:12]
    archive = os.path.join(directory, f"base-{guest.suite}-{name}.tar")
    if not os.path.exists(archive):
        os.makedirs(directory, exist_ok=True)
        excluded = [f"--dpkgopt=path-exclude=/usr/share/{one}/*" for one in ("doc", "man", "locale", "info")]
        run("mmdebstrap", "--variant=minbase", "--format=tar", *excluded, "--dpkgopt=force-unsafe-io",
            f"--include={','.join(packages)}",
            guest.suite, archive + ".part")
        os.replace(archive + ".part", archive)
    return archive


def write(tree, path, text, mode=0o644):
    full = os.path.join(tree, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    if os.path.islink(full):
        os.unlink(full)
    with open(full, "w", encoding="utf-8") as out:
        out.write(text)
    os.chmod(full, mode)


def device(guest, part, disk, number):
    """How the guest calls a partition. part: as in ids()."""
    return {"uuid": f"UUID={ids(guest)[part]}", "label": f"LABEL=c-{part}", "device": f"/dev/sd{'ab'[disk]}{number}",
            "by-path": BY_PATH.format(disk=disk, part=number)}[guest.names]


def root_device(guest):
    if guest.layout in ("lvm", "luks", "raid1"):
        return {"lvm": "/dev/mapper/corpus-root", "luks": "/dev/mapper/root_crypt",
                "raid1": f"UUID={ids(guest)['root']}"}[guest.layout]
    return device(guest, "root", 0, parts(guest)["root"])


def parts(guest):
    """The numbers of the partitions of the first disk. systemd-boot keeps kernels on the ESP."""
    names = []
    if guest.firmware == "uefi":
        names.append("esp")
    if guest.layout in ("lvm", "luks", "raid1"):
        names.append("boot")
    names.append("root")
    if guest.state == "hibernated":
        names.append("swap")
    return {name: number for number, name in enumerate(names, 1)}


def kernel_arguments(guest):
    flags = " rootflags=subvol=@" if guest.fs == "btrfs" else ""
    resume = f" resume={device(guest, 'swap', 0, parts(guest)['swap'])}" if guest.state == "hibernated" else ""
    return f"root={root_device(guest)}{flags} ro{' console=tty0 console=ttyS0,115200' if guest.serial else ''}{resume}"


def configure_mounts(guest, tree):
    numbers, subvolume = parts(guest), "subvol=@" if guest.fs == "btrfs" else "defaults"
    lines = [f"{root_device(guest)} / {guest.fs} {subvolume} 0 {0 if guest.fs != 'ext4' else 1}"]
    if "boot" in numbers:
        lines.append(f"{device(guest, 'boot', 0, numbers['boot'])} /boot ext4 defaults 0 2")
    if "esp" in numbers:
        esp = f"/dev/sda{numbers['esp']}" if guest.names == "device" else "LABEL=ESP"
        lines.append(f"{esp} /boot/efi vfat umask=0077 0 1")
        os.makedirs(os.path.join(tree, "boot/efi"), exist_ok=True)
    if "swap" in numbers:
        lines.append(f"{device(guest, 'swap', 0, numbers['swap'])} none swap sw 0 0")
    if guest.data_disk:
        lines.append(f"{device(guest, 'data', 1, 1)} /srv ext4 defaults 0 2")
    write(tree, "etc/fstab", "# <file system> <mount point> <type> <options> <dump> <pass>\n" + "\n".join(lines) + "\n")
    if guest.layout == "luks":
        write(tree, "etc/crypttab", f"root_crypt /dev/sda{numbers['root']} /etc/keys/root.key luks,initramfs\n")
        write(tree, "etc/keys/root.key", PASSPHRASE, 0o600)
        write(tree, "etc/cryptsetup-initramfs/conf-hook", "KEYFILE_PATTERN=/etc/keys/*.key\n")


def configure_network(guest, tree):
    if guest.network == "ifupdown":
        write(tree, "etc/network/interfaces", "auto lo\niface lo inet loopback\n\nauto ens192\niface ens192 inet static\n"
              f"  address {ADDRESS}/24\n")
    elif guest.network == "netplan":
        write(tree, "etc/netplan/50-cloud-init.yaml", "network:\n  version: 2\n  renderer: networkd\n  ethernets:\n"
              f"    ens192:\n      addresses: [{ADDRESS}/24]\n", 0o600)
    elif guest.network == "network-manager":
        write(tree, "etc/NetworkManager/system-connections/Wired.nmconnection",
              "[connection]\nid=Wired\nuuid=9a7bd7b3-6d0c-4b63-9f07-1d1f6b0d5c01\ntype=ethernet\ninterface-name=ens192\n\n"
              f"[ipv4]\nmethod=manual\naddress1={ADDRESS}/24\n", 0o600)
    elif guest.network == "networkd":
        write(tree, "etc/systemd/network/20-lan.network", f"[Match]\nName=ens192\n\n[Network]\nAddress={ADDRESS}/24\n")
    if guest.network in ("networkd", "netplan"):
        run("chroot", tree, "systemctl", "enable", "systemd-networkd.service")
    write(tree, "etc/hostname", f"{guest.name}\n")
    write(tree, "etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {guest.name}\n")


def configure_loader(guest, tree):
    arguments = kernel_arguments(guest)
    if guest.loader == "grub":
        disable = "GRUB_DISABLE_LINUX_UUID=true\n" if guest.names in ("device", "by-path") else ""
        extra = arguments.split(" ro", 1)[1].strip()
        write(tree, "etc/default/grub", f'GRUB_DEFAULT=0\nGRUB_TIMEOUT=1\nGRUB_DISTRIBUTOR=Debian\nGRUB_CMDLINE_LINUX_DEFAULT=""\n'
              f'GRUB_CMDLINE_LINUX="{extra}"\n{disable}')
    # The kernel's hooks write a loader entry from it where systemd-boot is installed.
    elif guest.loader == "systemd-boot":
        write(tree, "etc/kernel/cmdline", arguments + "\n")


def add_kernel(tree):
    """A second kernel: the first under another version, as an older package would leave it."""
    version = sorted(os.listdir(os.path.join(tree, "usr/lib/modules")))[0]
    other = version.replace("6.1.", "6.1.0-1.", 1) if version.startswith("6.1.") else "0-" + version
    shutil.copytree(os.path.join(tree, "usr/lib/modules", version), os.path.join(tree, "usr/lib/modules", other),
                    symlinks=True)
    for name in ("vmlinuz", "config", "System.map"):
        shutil.copy2(os.path.join(tree, f"boot/{name}-{version}"), os.path.join(tree, f"boot/{name}-{other}"))
    run("chroot", tree, "depmod", other)


def make_initramfs(guest, tree):
    """What the guest's own tool would have made on the old machine. It cannot look at that machine here: `dep` becomes
    the list that it would have found."""
    configuration = os.path.join(tree, "etc/initramfs-tools/initramfs.conf")
    with open(configuration, encoding="utf-8") as f:
        text = f.read()
    setting = "list" if guest.initramfs == "dep" else guest.initramfs
    modules = {"xfs": ["xfs"], "btrfs": ["btrfs"], "ext4": []}[guest.fs]
    listed = "\n".join(OLD_MACHINE + modules + {"luks": ["dm_crypt", "aes", "xts"], "raid1": ["raid1"]}.get(guest.layout, []))
    write(tree, "etc/initramfs-tools/initramfs.conf", text.replace("MODULES=most", f"MODULES={setting}"))
    if setting == "list":
        write(tree, "etc/initramfs-tools/modules", listed + "\n")
    # Without the old machine's disks nothing says what to resume from.
    write(tree, "etc/initramfs-tools/conf.d/resume", "RESUME=none\n")
    write(tree, "etc/initramfs-tools/update-initramfs.conf", "update_initramfs=yes\nbackup_initramfs=no\n")
    for version in kernels(tree):
        run("chroot", tree, "mkinitramfs", "-o", f"/boot/initrd.img-{version}", version)
    if guest.initramfs == "dep":
        write(tree, "etc/initramfs-tools/initramfs.conf", text.replace("MODULES=most", "MODULES=dep"))
        write(tree, "etc/initramfs-tools/modules", "")


def kernels(tree):
    return sorted(os.listdir(os.path.join(tree, "usr/lib/modules")))


def make(guest, directory, tree):
    """Unpacks and configures the guest's root at `tree`; returns it."""
    archive = base(guest, directory)
    os.makedirs(tree)
    run("tar", "--numeric-owner", "-xf", archive, "-C", tree)
    configure_mounts(guest, tree)
    configure_network(guest, tree)
    configure_loader(guest, tree)
    write(tree, "usr/local/sbin/corpus-report", REPORT % (60 if guest.network != "none" else 0), 0o755)
    write(tree, "etc/systemd/system/corpus-report.service", REPORT_UNIT)
    run("chroot", tree, "systemctl", "enable", "corpus-report.service")
    write(tree, "etc/machine-id", hashlib.md5(guest.name.encode(), usedforsecurity=False).hexdigest() + "\n")
    if guest.kernels == 2:
        add_kernel(tree)
    make_initramfs(guest, tree)
    return tree
