# SPDX-License-Identifier: Apache-2.0
"""The corpus: each guest by what makes it hard to move. corpus.py builds them.

Names of disks in fstab and root= are those of a VMware guest with a PVSCSI adapter. `boots` is the truth: whether the
guest reaches its login on virtio with fresh firmware, as delivered and after a preparation.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Guest:
    name: str
    about: str
    suite: str = "bookworm"
    firmware: str = "bios"          # bios, uefi
    fs: str = "ext4"                # ext4, xfs, btrfs
    layout: str = "plain"           # plain, lvm, luks, raid1
    names: str = "uuid"             # uuid, device, by-path, label: in fstab and root=
    initramfs: str = "most"         # most, dep, list: list and dep know VMware's adapter alone
    loader: str = "grub"            # grub, systemd-boot, none
    fallback: bool = False          # uefi: a loader at EFI/BOOT
    network: str = "none"           # none, ifupdown, netplan, network-manager, networkd: static, on ens192
    kernels: int = 1
    data_disk: bool = False         # a second disk, mounted at /srv
    serial: bool = True             # the kernel writes to ttyS0
    tools: bool = False             # open-vm-tools
    state: str = "clean"            # clean, dirty, hibernated
    boots_before: bool = False
    boots_after: bool = True


MAC = "00:50:56:ab:10:01"
ADDRESS = "192.0.2.10"
PASSPHRASE = "corpus"               # of encrypted disks; a key file in the initramfs opens them at boot

_GUESTS = [
    Guest("device-list", "fstab and root= by device, an initramfs without virtio", names="device", initramfs="list"),
    Guest("by-path-ens192", "fstab by path, a static address on ens192", names="by-path", initramfs="list",
          network="ifupdown"),
    Guest("uefi-no-fallback", "UEFI whose boot entry is in NVRAM alone", firmware="uefi"),
    Guest("lvm", "root on LVM, /boot by device, an initramfs of the old machine", layout="lvm", names="device",
          initramfs="dep"),
    Guest("uuid-most", "as the installer makes it today: boots everywhere", boots_before=True),
    Guest("label", "names by label, everything in the initramfs", names="label", boots_before=True),
    Guest("device-most", "device names, everything in the initramfs", names="device"),
    Guest("uuid-dep", "UUIDs, an initramfs of the old machine", initramfs="dep"),
    Guest("by-path-data", "two disks, both by path", names="by-path", data_disk=True),
    Guest("device-data", "two disks by device", names="device", data_disk=True, initramfs="list"),
    Guest("two-kernels", "two kernels, neither initramfs has virtio", kernels=2, initramfs="list"),
    Guest("networkd", "systemd-networkd with a static address", network="networkd", boots_before=True),
    Guest("netplan", "netplan with a static address", network="netplan", boots_before=True),
    Guest("network-manager", "NetworkManager with a static address", network="network-manager", boots_before=True),
    Guest("tools", "open-vm-tools are installed", tools=True, initramfs="list"),
    Guest("no-serial", "the kernel writes to the screen alone", serial=False, names="device"),
    Guest("uefi-fallback", "UEFI with a loader where firmware looks", firmware="uefi", fallback=True,
          boots_before=True),
    Guest("uefi-device", "UEFI, device names, no fallback loader", firmware="uefi", names="device",
          initramfs="list"),
    Guest("systemd-boot", "systemd-boot, root= by device", firmware="uefi", loader="systemd-boot", names="device",
          initramfs="list"),
    Guest("btrfs", "btrfs by device", fs="btrfs", names="device", initramfs="list"),
    Guest("xfs", "XFS by device", fs="xfs", names="device", initramfs="list"),
    Guest("luks", "an encrypted root, crypttab by device", layout="luks", names="device", initramfs="list"),
    Guest("raid1", "root on a mirror of two disks", layout="raid1", initramfs="list"),
    Guest("dirty", "the journal was not replayed", state="dirty", names="device", initramfs="list"),
    Guest("hibernated", "suspended to its swap partition", state="hibernated", names="device", initramfs="list",
          boots_after=False),
    Guest("no-loader", "no boot loader on the disk", loader="none", boots_after=False),
    Guest("bullseye", "Debian 11 by device", suite="bullseye", names="device", initramfs="list"),
    Guest("trixie", "Debian 13 by path", suite="trixie", names="by-path", initramfs="dep"),
]
GUESTS = {guest.name: guest for guest in _GUESTS}
