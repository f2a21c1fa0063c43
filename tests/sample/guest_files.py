# SPDX-License-Identifier: Apache-2.0
"""What lies inside the sample VM: its initramfs, its root file system, its second disk.

Nothing here touches the machine: the functions write files below a directory, or return bytes.
"""

import gzip
import hashlib
import os
import random
import shutil

BANNER = "hyperhost sample: up"
ROOT_UUID = "5a6d1f0e-0b5e-4c57-9a3a-68797065726f"
DATA_UUID = "5a6d1f0e-0b5e-4c57-9a3a-687970657264"

# In the order insmod wants them: what a disk needs behind virtio-blk, virtio-scsi, PIIX IDE, PVSCSI.
_MODULES = ["virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci",
            "virtio_blk", "scsi_common", "scsi_mod", "crc-t10dif", "crct10dif_common", "crct10dif_generic",
            "crc64", "crc64-rocksoft", "t10-pi", "sd_mod", "virtio_scsi", "vmw_pvscsi", "libata", "ata_piix"]

_APPLETS = ("cat cp cut dd df dmesg echo env find findfs grep head hostname init insmod ls lsmod md5sum mkdir mknod "
            "modprobe mount mv poweroff ps reboot rm sed sh sha256sum sleep sort stat switch_root sync tail test "
            "touch tr true umount uname wc").split()

_INITRAMFS_INIT = """#!/bin/busybox sh
export PATH=/bin
busybox mkdir -p /proc /sys /dev /root
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs devtmpfs /dev 2>/dev/null
for module in $(busybox cat /modules/order); do
  busybox insmod /modules/$module 2>/dev/null
done
tries=0
until root=$(busybox findfs UUID=%(uuid)s 2>/dev/null); do
  tries=$((tries + 1))
  if [ $tries -gt 100 ]; then
    echo "hyperhost sample: no root file system found"
    busybox poweroff -f
  fi
  busybox sleep 0.1
done
busybox mount -t ext4 "$root" /root || { echo "hyperhost sample: the root file system does not mount"; busybox poweroff -f; }
busybox umount /proc
busybox mount -o move /dev /root/dev
exec busybox switch_root /root /sbin/init
"""

_RC_S = """#!/bin/sh
# Proves that what was copied is whole, says so on the console, and powers off.
mount -t proc proc /proc
mount -t sysfs sysfs /sys
fail() {
  echo "hyperhost sample: damaged: $1"
  sync
  poweroff -f
}
cd / && sha256sum -c /etc/sample.sha256 >/tmp/check 2>&1 || fail "$(grep -v OK /tmp/check | head -n 1)"
if data=$(findfs UUID=%(data)s 2>/dev/null); then
  mount -t ext4 -o ro "$data" /srv/data || fail "the data disk does not mount"
  (cd /srv/data && sha256sum -c SHA256SUMS >/tmp/check 2>&1) || fail "data disk: $(grep -v OK /tmp/check | head -n 1)"
  echo "hyperhost sample: data disk verified"
fi
echo "%(banner)s ($(uname -r))"
umount /srv/data 2>/dev/null
mount -o remount,ro /
sync
poweroff -f
"""

_FILES = {
    "etc/hostname": "hyperhost-sample\n",
    "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 hyperhost-sample\n",
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/group": "root:x:0:\n",
    "etc/fstab": f"UUID={ROOT_UUID} / ext4 errors=remount-ro 0 1\n"
                 f"UUID={DATA_UUID} /srv/data ext4 ro,nofail 0 2\n",
    "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\n'
                      'VERSION="12 (bookworm)"\nVERSION_CODENAME=bookworm\nID=debian\n',
    "etc/debian_version": "12\n",
    "etc/network/interfaces": "auto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet static\n"
                              "  address 192.0.2.10/24\n  gateway 192.0.2.1\n",
    "etc/inittab": "::sysinit:/etc/init.d/rcS\n::ctrlaltdel:/bin/reboot\n",
}


def _cpio_newc(entries):
    """A newc archive of (name, mode, bytes), the same bytes every time."""
    out = bytearray()
    for inode, (name, mode, data) in enumerate(entries + [("TRAILER!!!", 0, b"")], 1):
        raw = name.encode() + b"\0"
        fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0)
        out += b"070701" + b"".join(b"%08x" % f for f in fields) + raw
        out += b"\0" * (-len(out) % 4) + data
        out += b"\0" * (-len(out) % 4)
    return bytes(out)


def initramfs(packages):
    """The gzip-compressed initramfs from the unpacked Debian packages at `packages`."""
    with open(os.path.join(packages, "bin/busybox"), "rb") as f:
        busybox = f.read()
    found = {}
    for where, _, names in os.walk(os.path.join(packages, "lib/modules")):
        for name in names:
            if name.endswith(".ko"):
                found[name[:-3].replace("-", "_")] = os.path.join(where, name)
    entries = [("bin", 0o40755, b""), ("bin/busybox", 0o100755, busybox), ("modules", 0o40755, b"")]
    order = []
    for name in (m.replace("-", "_") for m in _MODULES):
        if name in found:  # what is missing is built in
            with open(found[name], "rb") as f:
                entries.append((f"modules/{name}.ko", 0o100644, f.read()))
            order.append(name + ".ko")
    entries.append(("modules/order", 0o100644, ("\n".join(order) + "\n").encode()))
    entries.append(("init", 0o100755, (_INITRAMFS_INIT % {"uuid": ROOT_UUID}).encode()))
    return gzip.compress(_cpio_newc(entries), 6, mtime=0)


def _write(root, name, data, mode=0o644):
    path = os.path.join(root, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as out:
        out.write(data)
    os.chmod(path, mode)


def _checksums(root, names):
    lines = []
    for name in names:
        with open(os.path.join(root, name), "rb") as f:
            lines.append(f"{hashlib.sha256(f.read()).hexdigest()}  {name}\n")
    return "".join(lines).encode()


def root_tree(packages, kernel_release, root):
    """Fills the directory `root` with the VM's root file system."""
    for name in ("dev proc sys tmp run root srv/data var/log bin sbin etc/init.d home mnt").split():
        os.makedirs(os.path.join(root, name), exist_ok=True)
    shutil.copytree(os.path.join(packages, "lib"), os.path.join(root, "lib"), symlinks=True, dirs_exist_ok=True)
    shutil.copytree(os.path.join(packages, "usr/share"), os.path.join(root, "usr/share"), symlinks=True,
                    dirs_exist_ok=True)
    for kind in ("vmlinuz", "config", "System.map"):
        shutil.copy(os.path.join(packages, "boot", f"{kind}-{kernel_release}"), _ensure(root, "boot"))
    _write(root, f"boot/initrd.img-{kernel_release}", initramfs(packages))
    _write(root, "boot/grub/grub.cfg", (
        "serial --unit=0 --speed=115200\nterminal_input serial console\nterminal_output serial console\n"
        "set timeout=0\nmenuentry 'Debian GNU/Linux' {\n"
        f"  linux /boot/vmlinuz-{kernel_release} root=UUID={ROOT_UUID} ro console=tty0 console=ttyS0,115200 quiet\n"
        f"  initrd /boot/initrd.img-{kernel_release}\n}}\n").encode())
    shutil.copy(os.path.join(packages, "bin/busybox"), os.path.join(root, "bin/busybox"))
    for applet in _APPLETS:
        os.symlink("busybox", os.path.join(root, "bin", applet))
    os.symlink("../bin/busybox", os.path.join(root, "sbin/init"))
    for name, text in _FILES.items():
        _write(root, name, text.encode())
    _write(root, "etc/init.d/rcS", (_RC_S % {"banner": BANNER, "data": DATA_UUID}).encode(), 0o755)
    _write(root, "srv/noise.bin", random.Random(4711).randbytes(4 << 20))
    checked = [f"boot/vmlinuz-{kernel_release}", f"boot/initrd.img-{kernel_release}", "srv/noise.bin", "bin/busybox"]
    _write(root, "etc/sample.sha256", _checksums(root, checked))


def _ensure(root, name):
    path = os.path.join(root, name)
    os.makedirs(path, exist_ok=True)
    return path


def data_tree(root):
    """Fills the directory `root` with the second disk's files: names and sizes of many kinds."""
    rng = random.Random(12)
    _write(root, "records/empty", b"")
    _write(root, "records/größe und leerzeichen.txt", "Grüße\n".encode() * 1000)
    for i in range(200):
        _write(root, f"records/{i:03d}.log", (f"record {i} " * rng.randrange(1, 400)).encode())
    _write(root, "blob/noise.bin", rng.randbytes(3 << 20))
    with open(os.path.join(_ensure(root, "blob"), "sparse.bin"), "wb") as out:
        out.truncate(8 << 20)
        out.seek(5 << 20)
        out.write(b"in the middle of nowhere\n")
    names = ["records/empty", "records/größe und leerzeichen.txt", "records/007.log", "blob/noise.bin",
             "blob/sparse.bin"]
    _write(root, "SHA256SUMS", _checksums(root, names))
