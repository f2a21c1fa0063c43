// SPDX-License-Identifier: Apache-2.0
// The steps of a guest's preparation, over a guest in memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <hyper/error.hpp>

#include "plugins/guest/guestfs/steps/steps.hpp"
#include "tests/unit/guest/memory_guest.hpp"

namespace hyperhost::guestfs {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

/// A Debian with one kernel, whose initramfs has the driver of VMware's adapter alone.
MemoryGuest debian() {
  MemoryGuest guest;
  guest.files = {
      {"/etc/fstab", "/dev/sda1 / ext4 defaults 0 1\n"},
      {"/etc/default/grub", "GRUB_CMDLINE_LINUX=\"\"\nGRUB_DISABLE_LINUX_UUID=true\n"},
      {"/boot/grub/grub.cfg", "\tlinux /boot/vmlinuz-6.1 root=/dev/sda1 ro\n"},
      {"/boot/vmlinuz-6.1", "kernel"},
      {"/boot/initrd.img-6.1", "usr/lib/modules/6.1/vmw_pvscsi.ko\n"},
      {"/usr/lib/modules/6.1/modules.dep",
       "kernel/virtio_pci.ko:\nkernel/virtio_blk.ko: x\nkernel/vmw_pvscsi.ko:\n"},
      {"/usr/lib/modules/6.1/modules.builtin", "kernel/ext4.ko\n"},
      {"/etc/initramfs-tools/initramfs.conf", "MODULES=list\n"},
      {"/etc/initramfs-tools/modules", "# modules\nvmw_pvscsi"},
      {"/usr/sbin/update-initramfs", ""},
      {"/usr/sbin/mkinitramfs", ""},
      {"/usr/lib/systemd/network/99-default.link", ""},
      {"/etc/network/interfaces", "auto ens192\niface ens192 inet static\n"},
  };
  return guest;
}

/// As mkinitramfs: what the list names, or all that the kernel has.
void make_images(MemoryGuest& guest) {
  guest.on_run = [&guest](const std::vector<std::string>& command) {
    if (command[0] != "update-initramfs") return;
    const bool all = guest.is_file("/etc/initramfs-tools/conf.d/zz-hyperhost");
    std::string image;
    for (const std::string& word : words_of(all ? "virtio_pci virtio_blk vmw_pvscsi"
                                                : *guest.read("/etc/initramfs-tools/modules")))
      image += "usr/lib/modules/6.1/" + word + ".ko\n";
    guest.files["/boot/initrd.img-6.1"] = image;
  };
}

DeviceNames names() {
  return DeviceNames({{0, 1, "/dev/sda1", "ext4", "root-uuid", "", ""}}, 1);
}

std::vector<std::string> rules_of(const Bench& bench) {
  std::vector<std::string> rules;
  for (const Finding& finding : bench.findings()) rules.push_back(finding.rule);
  return rules;
}

TEST(GuestSteps, DeviceNamesBecomeUuids) {
  MemoryGuest guest = debian();
  Bench bench(guest, true);
  DeviceNames known = names();
  EXPECT_FALSE(fix_device_names(bench, known, ""));
  EXPECT_EQ(guest.files["/etc/fstab"], "UUID=root-uuid / ext4 defaults 0 1\n");
  EXPECT_EQ(guest.files["/boot/grub/grub.cfg"],
            "\tlinux /boot/vmlinuz-6.1 root=UUID=root-uuid ro\n");
  EXPECT_THAT(guest.files["/etc/default/grub"], HasSubstr("\n#GRUB_DISABLE_LINUX_UUID=true"));
  EXPECT_EQ(bench.actions().size(), 3u);
  const FileDigests& fstab = bench.changed_files().at("/etc/fstab");
  EXPECT_EQ(fstab.before, "sha256:/dev/sda1 / ext4 defaults 0 1\n");
  EXPECT_EQ(fstab.after, "sha256:UUID=root-uuid / ext4 defaults 0 1\n");

  Bench second(guest, true);
  fix_device_names(second, known, "");
  EXPECT_THAT(second.actions(), IsEmpty());
  EXPECT_THAT(second.changed_files(), IsEmpty());
}

TEST(GuestSteps, AnInspectionWritesNothingAndFindsTheSame) {
  MemoryGuest guest = debian();
  const auto before = guest.files;
  Bench bench(guest, false);
  DeviceNames known = names();
  fix_device_names(bench, known, "");
  keep_nic_names(bench, {"00:50:56:ab:10:01"});
  EXPECT_FALSE(fix_initramfs(bench, modules_for("virtio"), false, ""));
  EXPECT_EQ(guest.files, before);
  EXPECT_THAT(bench.actions(), IsEmpty());
  EXPECT_THAT(guest.commands, ElementsAre("lsinitramfs /boot/initrd.img-6.1"));
  const auto rules = rules_of(bench);
  for (const char* rule :
       {"linux.fstab-device", "linux.root-device", "linux.nic-name", "linux.initramfs"})
    EXPECT_THAT(rules, Contains(rule));
  for (const Finding& finding : bench.findings()) EXPECT_TRUE(finding.fixable) << finding.rule;
}

TEST(GuestSteps, ADeviceThatIsNotThereIsAFinding) {
  MemoryGuest guest = debian();
  guest.files["/etc/fstab"] = "/dev/sdb1 /data ext4 defaults 0 2\n";
  Bench bench(guest, true);
  DeviceNames known = names();
  fix_device_names(bench, known, "");
  EXPECT_THAT(rules_of(bench), Contains("linux.fstab-device"));
  EXPECT_EQ(guest.files["/etc/fstab"], "/dev/sdb1 /data ext4 defaults 0 2\n");
}

TEST(GuestSteps, ACrypttabThatChangedWantsANewInitramfs) {
  MemoryGuest guest = debian();
  guest.files["/etc/crypttab"] = "root /dev/sda1 none luks\n";
  Bench bench(guest, true);
  DeviceNames known = names();
  EXPECT_TRUE(fix_device_names(bench, known, ""));
  EXPECT_EQ(guest.files["/etc/crypttab"], "root UUID=root-uuid none luks\n");
}

TEST(GuestSteps, LoaderEntriesOnTheEspAreFound) {
  MemoryGuest guest = debian();
  guest.files["/boot/efi/loader/entries/a.conf"] = "options root=/dev/sda1\n";
  guest.files["/boot/efi/loader/entries/readme"] = "root=/dev/sda1\n";
  guest.files["/boot/efi/EFI/debian/grub.cfg"] = "linux /vmlinuz root=/dev/sda1\n";
  Bench bench(guest, true);
  DeviceNames known = names();
  fix_device_names(bench, known, "/boot/efi");
  EXPECT_EQ(guest.files["/boot/efi/loader/entries/a.conf"], "options root=UUID=root-uuid\n");
  EXPECT_EQ(guest.files["/boot/efi/EFI/debian/grub.cfg"], "linux /vmlinuz root=UUID=root-uuid\n");
  EXPECT_EQ(guest.files["/boot/efi/loader/entries/readme"], "root=/dev/sda1\n");
}

TEST(GuestSteps, InitramfsGetsTheDriversAndKeepsThem) {
  MemoryGuest guest = debian();
  make_images(guest);
  Bench bench(guest, true);
  EXPECT_TRUE(fix_initramfs(bench, modules_for("virtio"), false, ""));
  EXPECT_EQ(guest.files["/etc/initramfs-tools/modules"],
            "# modules\nvmw_pvscsi\nvirtio_pci\nvirtio_blk\n");
  EXPECT_THAT(guest.files["/boot/initrd.img-6.1"], HasSubstr("virtio_blk.ko"));
  EXPECT_THAT(guest.commands, Contains("update-initramfs -u -k 6.1"));

  guest.commands.clear();
  Bench second(guest, true);
  EXPECT_TRUE(fix_initramfs(second, modules_for("virtio"), false, ""));
  EXPECT_THAT(second.actions(), IsEmpty());
  EXPECT_THAT(guest.commands, ElementsAre("lsinitramfs /boot/initrd.img-6.1"));
}

TEST(GuestSteps, AnInitramfsOfTheMachineAtHandIsMadeWholeOnce) {
  MemoryGuest guest = debian();
  make_images(guest);
  guest.files["/etc/initramfs-tools/conf.d/driver-policy"] = "MODULES=dep\n";
  Bench bench(guest, true);
  EXPECT_TRUE(fix_initramfs(bench, modules_for("virtio"), false, ""));
  EXPECT_THAT(guest.files["/boot/initrd.img-6.1"], HasSubstr("virtio_blk.ko"));
  EXPECT_FALSE(guest.is_file("/etc/initramfs-tools/conf.d/zz-hyperhost"));
  EXPECT_EQ(guest.files["/etc/initramfs-tools/modules"], "# modules\nvmw_pvscsi");
}

TEST(GuestSteps, AnInitramfsThatStillLacksTheDriverIsAFailure) {
  MemoryGuest guest = debian();  // its update-initramfs does nothing
  Bench bench(guest, true);
  try {
    fix_initramfs(bench, modules_for("virtio"), false, "");
    FAIL() << "nothing was thrown";
  } catch (const hyper::Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("lacks virtio_pci virtio_blk"));
  }
}

TEST(GuestSteps, ABuiltInDriverNeedsNoImage) {
  MemoryGuest guest = debian();
  guest.files["/usr/lib/modules/6.1/modules.builtin"] =
      "kernel/virtio_pci.ko\nkernel/virtio_blk.ko\n";
  Bench bench(guest, true);
  EXPECT_TRUE(fix_initramfs(bench, modules_for("virtio"), false, ""));
  EXPECT_THAT(bench.actions(), IsEmpty());
}

TEST(GuestSteps, AKernelWithoutTheDriverCannotBeHelped) {
  MemoryGuest guest = debian();
  guest.files["/usr/lib/modules/6.1/modules.dep"] = "kernel/vmw_pvscsi.ko:\n";
  Bench bench(guest, true);
  EXPECT_FALSE(fix_initramfs(bench, modules_for("virtio"), false, ""));
  EXPECT_THAT(rules_of(bench), Contains("linux.no-driver"));
}

TEST(GuestSteps, AFullBootIsRefusedBeforeTheImageIsWritten) {
  MemoryGuest guest = debian();
  make_images(guest);
  guest.free = 1u << 20;
  Bench bench(guest, true);
  const std::string before = guest.files["/boot/initrd.img-6.1"];
  EXPECT_THROW(fix_initramfs(bench, modules_for("virtio"), false, ""), hyper::Error);
  EXPECT_EQ(guest.files["/boot/initrd.img-6.1"], before);
  EXPECT_THAT(guest.commands, Not(Contains(HasSubstr("update-initramfs"))));
}

TEST(GuestSteps, DracutIsAskedForTheKernel) {
  MemoryGuest guest = debian();
  guest.files.erase("/usr/sbin/update-initramfs");
  guest.files["/usr/bin/dracut"] = "";
  guest.files.erase("/boot/initrd.img-6.1");
  guest.files["/boot/initramfs-6.1.img"] = "nothing";
  guest.on_run = [&](const std::vector<std::string>& command) {
    if (command[0] == "dracut")
      guest.files["/boot/initramfs-6.1.img"] = "/virtio_pci.ko.xz\n/virtio-blk.ko.xz\n";
  };
  Bench bench(guest, true);
  EXPECT_TRUE(fix_initramfs(bench, modules_for("virtio"), false, ""));
  EXPECT_THAT(guest.commands, Contains("dracut --force --add-drivers virtio_pci virtio_blk "
                                       "/boot/initramfs-6.1.img 6.1"));
  EXPECT_EQ(guest.files["/etc/dracut.conf.d/90-hyperhost.conf"],
            "add_drivers+=\" virtio_pci virtio_blk \"\n");
}

TEST(GuestSteps, ACopyThatTheLoaderStartsFollows) {
  MemoryGuest guest = debian();
  make_images(guest);
  guest.files["/boot/efi/loader/entries/a.conf"] = "linux /m/6.1/linux\ninitrd /m/6.1/initrd\n";
  guest.files["/boot/efi/loader/entries/b.conf"] = "initrd /other\ninitrd /../../etc/fstab\n";
  guest.files["/boot/efi/m/6.1/initrd"] = guest.files["/boot/initrd.img-6.1"];
  guest.files["/boot/efi/other"] = "another system's";
  Bench bench(guest, true);
  EXPECT_TRUE(fix_initramfs(bench, modules_for("virtio"), false, "/boot/efi"));
  EXPECT_THAT(guest.files["/boot/efi/m/6.1/initrd"], HasSubstr("virtio_blk.ko"));
  EXPECT_EQ(guest.files["/boot/efi/other"], "another system's");
}

TEST(GuestSteps, NicNamesAreKeptByMac) {
  MemoryGuest guest = debian();
  Bench bench(guest, true);
  keep_nic_names(bench, {"00:50:56:ab:10:01"});
  EXPECT_THAT(guest.files["/etc/systemd/network/10-hyperhost-ens192.link"],
              HasSubstr("MACAddress=00:50:56:ab:10:01"));
  Bench second(guest, true);
  keep_nic_names(second, {"00:50:56:ab:10:01"});
  EXPECT_THAT(second.actions(), IsEmpty());
}

TEST(GuestSteps, OlderGuestsGetAUdevRule) {
  MemoryGuest guest = debian();
  guest.files.erase("/usr/lib/systemd/network/99-default.link");
  const std::string rules = "/etc/udev/rules.d/70-persistent-net.rules";
  guest.files[rules] = "# kept\n";
  Bench bench(guest, true);
  keep_nic_names(bench, {"00:50:56:ab:10:01"});
  EXPECT_THAT(guest.files[rules], HasSubstr("# kept\nSUBSYSTEM==\"net\""));
  const std::string once = guest.files[rules];
  Bench second(guest, true);
  keep_nic_names(second, {"00:50:56:ab:10:01"});
  EXPECT_EQ(guest.files[rules], once);
}

TEST(GuestSteps, FallbackLoaderIsTheGuestsOwn) {
  MemoryGuest guest;
  guest.files = {{"/boot/efi/EFI/debian/shimx64.efi", "shim"},
                 {"/boot/efi/EFI/debian/grubx64.efi", "grub"},
                 {"/boot/efi/EFI/alien/grubx64.efi", "other"}};
  Bench bench(guest, true);
  add_fallback_loader(bench, "/boot/efi", "debian");
  EXPECT_EQ(guest.files["/boot/efi/EFI/BOOT/BOOTX64.EFI"], "shim");
  EXPECT_EQ(guest.files["/boot/efi/EFI/BOOT/grubx64.efi"], "grub");
  Bench second(guest, true);
  add_fallback_loader(second, "/boot/efi", "debian");
  EXPECT_THAT(second.actions(), IsEmpty());
}

TEST(GuestSteps, AnEspWithoutALoaderIsAFinding) {
  MemoryGuest guest;
  Bench bench(guest, true);
  add_fallback_loader(bench, "/boot/efi", "debian");
  EXPECT_THAT(rules_of(bench), ElementsAre("boot.no-loader"));
  EXPECT_THAT(guest.files, IsEmpty());
}

TEST(GuestSteps, AgentThatCannotBeRemovedIsOnlyAWarning) {
  MemoryGuest guest;
  guest.files = {{"/var/lib/dpkg/info/open-vm-tools.list", ""},
                 {"/var/lib/dpkg/info/open-vm-tools.md5sums", ""}};
  guest.on_run = [](const std::vector<std::string>&) {
    throw hyper::Error(HYPER_FAIL, "dpkg is locked");
  };
  Bench bench(guest, true);
  remove_vmware_tools(bench);
  EXPECT_THAT(guest.commands, ElementsAre("dpkg --remove open-vm-tools"));
  EXPECT_THAT(rules_of(bench), ElementsAre("vmware.tools"));
  EXPECT_THAT(bench.actions(), IsEmpty());
}

TEST(GuestSteps, SelinuxLabelsAtTheNextBootIfSomethingChanged) {
  MemoryGuest guest = debian();
  guest.files["/etc/selinux/config"] = "# comment\nSELINUX=enforcing\n";
  Bench idle(guest, true);
  relabel(idle);
  EXPECT_FALSE(guest.is_file("/.autorelabel"));
  Bench bench(guest, true);
  DeviceNames known = names();
  fix_device_names(bench, known, "");
  relabel(bench);
  EXPECT_TRUE(guest.is_file("/.autorelabel"));
}

TEST(GuestSteps, WhatIsReportedOfAGuestIsShortAndPrintable) {
  MemoryGuest guest = debian();
  guest.files["/etc/fstab"] = "/dev/sdb1 /\xff\x1b[31m" + std::string(5000, 'x') + " ext4 a 0 0\n";
  Bench bench(guest, true);
  DeviceNames known = names();
  fix_device_names(bench, known, "");
  const std::string evidence = bench.findings().at(0).evidence;
  EXPECT_LT(evidence.size(), 1100u);
  for (const char c : evidence) EXPECT_TRUE(c >= 0x20 && c < 0x7f);
}

}  // namespace
}  // namespace hyperhost::guestfs
