// SPDX-License-Identifier: Apache-2.0
// How the guest plugin rewrites the files of a guest: text in, text out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plugins/guest/guestfs/text/boot_args.hpp"
#include "plugins/guest/guestfs/text/mount_tables.hpp"
#include "plugins/guest/guestfs/text/nic_names.hpp"

namespace hyperhost::guestfs {

void PrintTo(const NicName& nic, std::ostream* out) {
  *out << nic.name << " = " << nic.mac;
}

namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

BlockDevice partition(unsigned disk, unsigned number, const std::string& uuid) {
  return {disk,
          number,
          "/dev/sd" + std::string(1, static_cast<char>('a' + disk)) + std::to_string(number),
          "ext4",
          uuid,
          {},
          "PART-" + uuid};
}

DeviceNames one_disk() {
  return DeviceNames({{0, 0, "/dev/sda", "", "", "", ""},
                      partition(0, 1, "root-uuid"),
                      partition(0, 5, "swap-uuid")},
                     1);
}

DeviceNames two_disks() {
  return DeviceNames(
      {partition(0, 1, "root-uuid"), partition(0, 2, "home-uuid"), partition(1, 1, "data-uuid")},
      2);
}

TEST(DeviceNames, KnowsWhichNamesBelongToTheMachine) {
  for (const char* name :
       {"/dev/sda1", "/dev/sdb", "/dev/hda2", "/dev/vda1", "/dev/xvda1", "/dev/nvme0n1p2",
        "/dev/mmcblk0p1", "/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:0:0-part1",
        "/dev/disk/by-id/wwn-0x6000c29-part1"})
    EXPECT_TRUE(machine_name(name)) << name;
  for (const char* name :
       {"UUID=1", "LABEL=root", "/dev/disk/by-uuid/1", "/dev/disk/by-label/x", "/dev/sr0",
        "/dev/mapper/vg-root", "/dev/vg/root", "/dev/md0", "/dev/disk/by-id/dm-uuid-LVM-x", "tmpfs",
        "proc", "/dev/sda1x", "/dev/sdaaaa1", "/dev/sda9999999", "/dev/nvme0", "/dev/nvme0n1p0",
        "/dev/disk/by-path/", "/dev/disk/by-path/x-part0", ""})
    EXPECT_FALSE(machine_name(name)) << name;
}

TEST(DeviceNames, CountsLettersAsDigits) {
  EXPECT_EQ(machine_name("/dev/sdb3")->disk, 1u);
  EXPECT_EQ(machine_name("/dev/sdb3")->partition, 3u);
  EXPECT_EQ(machine_name("/dev/sdz")->disk, 25u);
  EXPECT_EQ(machine_name("/dev/sdaa1")->disk, 26u);
  EXPECT_EQ(machine_name("/dev/nvme1n1p2")->disk, 1u);
}

TEST(DeviceNames, FindsDisksByTheOrderOfTheirPlaces) {
  DeviceNames names = two_disks();
  const std::string second = "/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:10:0-part1";
  const std::string first = "/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:9:0-part1";
  names.learn(second + " /data\n" + first + " /\n");
  std::string why;
  EXPECT_EQ(names.stable(first, why), "UUID=root-uuid");
  EXPECT_EQ(names.stable(second, why), "UUID=data-uuid");
}

TEST(DeviceNames, SaysNothingOfADiskThatIsNotCertain) {
  DeviceNames names = two_disks();
  const std::string name = "/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:1:0-part1";
  names.learn(name);
  std::string why;
  EXPECT_EQ(names.stable(name, why), "");
  EXPECT_THAT(why, HasSubstr("no disk"));
  // Only one disk has a second partition.
  EXPECT_EQ(names.stable("/dev/disk/by-id/scsi-36000c29-part2", why), "UUID=home-uuid");
  EXPECT_EQ(names.stable("/dev/sdc1", why), "");
}

TEST(DeviceNames, AUuidThatTwoPartitionsHaveIsNotUsed) {
  DeviceNames names({partition(0, 1, "same"), partition(1, 1, "same")}, 2);
  std::string why;
  EXPECT_EQ(names.stable("/dev/sda1", why), "");
  EXPECT_THAT(why, HasSubstr("UUID"));
}

TEST(Fstab, ReplacesOnlyTheNamesAndKeepsTheRest) {
  const Edit edit = edit_fstab(
      "# /etc/fstab: a comment about /dev/sda1\n"
      "/dev/sda1\t/  \text4 errors=remount-ro 0 1\r\n"
      "\n"
      "/dev/sda5 none swap sw 0 0\n"
      "UUID=other /home ext4 defaults 0 2\n"
      "/dev/sr0 /media/cdrom0 udf,iso9660 user,noauto 0 0\n"
      "tmpfs /tmp tmpfs size=1g 0 0",
      one_disk());
  EXPECT_EQ(edit.text,
            "# /etc/fstab: a comment about /dev/sda1\n"
            "UUID=root-uuid\t/  \text4 errors=remount-ro 0 1\r\n"
            "\n"
            "UUID=swap-uuid none swap sw 0 0\n"
            "UUID=other /home ext4 defaults 0 2\n"
            "/dev/sr0 /media/cdrom0 udf,iso9660 user,noauto 0 0\n"
            "tmpfs /tmp tmpfs size=1g 0 0");
  ASSERT_EQ(edit.changes.size(), 2u);
  EXPECT_EQ(edit.changes[0].rule, "linux.fstab-device");
  EXPECT_EQ(edit.changes[0].before, "/dev/sda1\t/  \text4 errors=remount-ro 0 1");
  EXPECT_EQ(edit_fstab(edit.text, one_disk()).text, edit.text);
  EXPECT_THAT(edit_fstab(edit.text, one_disk()).changes, IsEmpty());
}

TEST(Fstab, NamesThePlaceThatAPathStandsFor) {
  const Edit edit = edit_fstab(
      "/dev/disk/by-path/pci-0000:00:10.0-scsi-0:0:0:0-part1 / ext4 defaults 0 1\n", one_disk());
  EXPECT_EQ(edit.text, "UUID=root-uuid / ext4 defaults 0 1\n");
  EXPECT_EQ(edit.changes.at(0).rule, "linux.fstab-by-path");
}

TEST(Fstab, LeavesWhatItCannotResolveAndSaysSo) {
  const std::string text = "/dev/sdb1 /data ext4 defaults 0 2\n";
  const Edit edit = edit_fstab(text, one_disk());
  EXPECT_EQ(edit.text, text);
  ASSERT_EQ(edit.changes.size(), 1u);
  EXPECT_NE(edit.changes[0].problem, "");
}

TEST(Fstab, MountsAreDecoded) {
  const auto mounts =
      mounts_of("LABEL=my\\040root /my\\040files btrfs subvol=@,noatime 0 0\nbad\n");
  ASSERT_EQ(mounts.size(), 1u);
  EXPECT_EQ(mounts[0].device, "LABEL=my root");
  EXPECT_EQ(mounts[0].place, "/my files");
  EXPECT_EQ(mount_option(mounts[0].options, "subvol"), "@");
  EXPECT_EQ(mount_option(mounts[0].options, "vol"), "");
}

TEST(Crypttab, ReplacesTheSecondField) {
  const Edit edit =
      edit_crypttab("# name device key\nsda5_crypt /dev/sda5 none luks\n", one_disk());
  EXPECT_EQ(edit.text, "# name device key\nsda5_crypt UUID=swap-uuid none luks\n");
  EXPECT_EQ(edit.changes.at(0).rule, "linux.crypttab-device");
}

TEST(BootArgs, MenuOfGrub2) {
  const Edit edit = edit_boot_devices(
      "# linux root=/dev/sda1\n"
      "menuentry 'Debian' {\n"
      "\tset root='hd0,msdos1'\n"
      "\tlinux /boot/vmlinuz root=/dev/sda1 ro quiet resume=/dev/sda5\n"
      "\tinitrd /boot/initrd.img\n"
      "}\n",
      BootFile::kMenu, one_disk());
  EXPECT_EQ(edit.text,
            "# linux root=/dev/sda1\n"
            "menuentry 'Debian' {\n"
            "\tset root='hd0,msdos1'\n"
            "\tlinux /boot/vmlinuz root=UUID=root-uuid ro quiet resume=UUID=swap-uuid\n"
            "\tinitrd /boot/initrd.img\n"
            "}\n");
  EXPECT_EQ(edit.changes.size(), 1u);
}

TEST(BootArgs, DefaultsOfGrub2) {
  const Edit edit = edit_boot_devices(
      "GRUB_CMDLINE_LINUX=\"root=/dev/sda1 cryptdevice=/dev/sda5:swap\"\n"
      "#GRUB_DISABLE_LINUX_UUID=true\n"
      "GRUB_DISABLE_LINUX_UUID=\"true\"\n",
      BootFile::kDefaults, one_disk());
  EXPECT_EQ(edit.text,
            "GRUB_CMDLINE_LINUX=\"root=UUID=root-uuid cryptdevice=UUID=swap-uuid:swap\"\n"
            "#GRUB_DISABLE_LINUX_UUID=true\n"
            "#GRUB_DISABLE_LINUX_UUID=\"true\"\n");
}

TEST(BootArgs, OtherLoaders) {
  EXPECT_EQ(
      edit_boot_devices("title Debian\noptions root=/dev/sda1 ro\n", BootFile::kMenu, one_disk())
          .text,
      "title Debian\noptions root=UUID=root-uuid ro\n");
  EXPECT_EQ(edit_boot_devices("LABEL l0\n  append initrd=/i root=/dev/sda1\n", BootFile::kMenu,
                              one_disk())
                .text,
            "LABEL l0\n  append initrd=/i root=UUID=root-uuid\n");
  EXPECT_EQ(
      edit_boot_devices("# kopt=root=/dev/hda1 ro\n# root=/dev/hda1\n", BootFile::kMenu, one_disk())
          .text,
      "# kopt=root=UUID=root-uuid ro\n# root=/dev/hda1\n");
  EXPECT_EQ(edit_boot_devices("root=/dev/mapper/vg-root ro", BootFile::kCmdline, one_disk()).text,
            "root=/dev/mapper/vg-root ro");
  EXPECT_EQ(edit_boot_devices("RESUME=/dev/sda5\n", BootFile::kDefaults, one_disk()).text,
            "RESUME=UUID=swap-uuid\n");
  // Not a parameter of its own.
  EXPECT_EQ(edit_boot_devices("nfsroot=/dev/sda1", BootFile::kCmdline, one_disk()).text,
            "nfsroot=/dev/sda1");
}

TEST(BootArgs, GrubEnvKeepsItsSize) {
  std::string text = "# GRUB Environment Block\nkernelopts=root=/dev/sda1 ro\n";
  text.resize(1024, '#');
  const Edit edit = edit_boot_devices(text, BootFile::kGrubEnv, one_disk());
  EXPECT_EQ(edit.text.size(), 1024u);
  EXPECT_THAT(edit.text, HasSubstr("\nkernelopts=root=UUID=root-uuid ro\n####"));
}

TEST(BootArgs, SerialConsoleOnce) {
  const std::string menu = "\tlinux /vmlinuz root=UUID=x ro\n\tinitrd /initrd\n";
  const Edit edit = add_serial_console(menu, BootFile::kMenu);
  EXPECT_EQ(
      edit.text,
      "\tlinux /vmlinuz root=UUID=x ro console=tty0 console=ttyS0,115200n8\n\tinitrd /initrd\n");
  EXPECT_THAT(add_serial_console(edit.text, BootFile::kMenu).changes, IsEmpty());
  EXPECT_EQ(add_serial_console("GRUB_CMDLINE_LINUX=\"\"\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n",
                               BootFile::kDefaults)
                .text,
            "GRUB_CMDLINE_LINUX=\"console=tty0 console=ttyS0,115200n8\"\n"
            "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n");
  EXPECT_EQ(
      add_serial_console("title x\nlinux /vmlinuz\noptions root=UUID=x\n", BootFile::kMenu).text,
      "title x\nlinux /vmlinuz\noptions root=UUID=x console=tty0 console=ttyS0,115200n8\n");
}

TEST(BootArgs, CommandLines) {
  EXPECT_EQ(first_command_line("title x\nlinux /vmlinuz\noptions root=UUID=x ro\n"),
            "root=UUID=x ro");
  EXPECT_EQ(first_command_line("\tlinux /vmlinuz root=UUID=x ro\n"), "root=UUID=x ro");
  EXPECT_EQ(first_command_line("nothing\n"), "");
  EXPECT_EQ(boot_arg("root=/dev/sda1 ro root=UUID=x", "root"), "UUID=x");
}

std::vector<std::string> names_of(const std::vector<NicUse>& uses) {
  std::vector<std::string> out;
  for (const NicUse& use : uses) out.push_back(use.name + (use.mac.empty() ? "" : "=" + use.mac));
  return out;
}

TEST(NicNames, Ifupdown) {
  EXPECT_THAT(
      names_of(ifupdown_nics("auto lo ens192\niface lo inet loopback\n"
                             "iface ens192 inet static\n  address 192.0.2.10/24\n"
                             "iface ens192:0 inet static\n"
                             "# iface eth7 inet dhcp\n"
                             "allow-hotplug ens224.7\n"
                             "auto uplink\niface uplink inet static\n  bridge_ports ens256\n")),
      ElementsAre("ens192", "ens224", "ens256"));
}

TEST(NicNames, Netplan) {
  EXPECT_THAT(names_of(netplan_nics("network:\n"
                                    "  version: 2\n"
                                    "  ethernets:\n"
                                    "    ens192:\n"
                                    "      addresses: [192.0.2.10/24]\n"
                                    "      nameservers:\n"
                                    "        addresses:\n"
                                    "          - 192.0.2.1\n"
                                    "    lan:\n"
                                    "      match:\n"
                                    "        macaddress: '00:50:56:AB:10:02'\n"
                                    "      set-name: \"lan0\"\n"
                                    "    any:\n"
                                    "      match: {}\n"
                                    "  vlans:\n"
                                    "    vlan7:\n"
                                    "      link: ens192\n")),
              ElementsAre("ens192", "lan0=00:50:56:ab:10:02", "any"));
  EXPECT_THAT(netplan_nics("{]\x01\n  : :\n-"), IsEmpty());
}

TEST(NicNames, OtherConfigurations) {
  EXPECT_THAT(names_of(network_manager_nics("[connection]\nid=Wired\ntype=ethernet\n"
                                            "interface-name=ens192\n[ethernet]\n"
                                            "mac-address=00:50:56:AB:10:01\n")),
              ElementsAre("ens192=00:50:56:ab:10:01"));
  EXPECT_THAT(network_manager_nics("[connection]\ntype=wifi\ninterface-name=wlan0\n"), IsEmpty());
  EXPECT_THAT(names_of(networkd_nics("[Match]\nName=ens192 en*\n[Network]\nDHCP=yes\n")),
              ElementsAre("ens192"));
  EXPECT_THAT(names_of(ifcfg_nics("DEVICE=\"eth0\"\nHWADDR=00:50:56:AB:10:01\n", "ifcfg-x")),
              ElementsAre("eth0=00:50:56:ab:10:01"));
  EXPECT_THAT(names_of(ifcfg_nics("BOOTPROTO='static'\n", "ifcfg-eth1")), ElementsAre("eth1"));
  EXPECT_THAT(ifcfg_nics("DEVICE=br0\nTYPE=Bridge\n", "ifcfg-br0"), IsEmpty());
}

TEST(NicNames, AnOnlyNameIsTheOnlyAdapters) {
  const NicPlan plan = plan_nics({{"ens192", ""}}, {"00:50:56:ab:10:01"});
  ASSERT_EQ(plan.names.size(), 1u);
  EXPECT_EQ(plan.names[0].name, "ens192");
  EXPECT_EQ(plan.names[0].mac, "00:50:56:ab:10:01");
}

TEST(NicNames, FollowTheOrderOfVmwaresSlots) {
  const NicPlan plan = plan_nics({{"ens161", ""}, {"ens224", ""}, {"ens192", ""}},
                                 {"00:50:56:ab:10:01", "00:50:56:ab:10:02", "00:50:56:ab:10:03"});
  std::vector<std::string> order;
  for (const NicName& nic : plan.names) order.push_back(nic.name + nic.mac.substr(15));
  EXPECT_THAT(order, ElementsAre("ens16103", "ens19201", "ens22402"));
}

TEST(NicNames, AreNotGuessed) {
  EXPECT_THAT(plan_nics({{"ens192", ""}}, {"00:50:56:ab:10:01", "00:50:56:ab:10:02"}).unknown,
              ElementsAre("ens192"));
  EXPECT_THAT(plan_nics({{"ens192", ""}}, {""}).unknown, ElementsAre("ens192"));
  EXPECT_THAT(
      plan_nics({{"ens192", ""}, {"eth0", ""}}, {"00:50:56:ab:10:01", "00:50:56:ab:10:02"}).unknown,
      ElementsAre("ens192", "eth0"));
  // A known MAC leaves one adapter for the other name.
  const NicPlan plan = plan_nics({{"ens192", "00:50:56:ab:10:02"}, {"eth0", ""}},
                                 {"00:50:56:ab:10:01", "00:50:56:ab:10:02"});
  EXPECT_THAT(plan.unknown, IsEmpty());
  EXPECT_EQ(plan.names.size(), 2u);
}

TEST(NicNames, Addresses) {
  EXPECT_EQ(mac_of(" 00-50-56-AB-10-01\n"), "00:50:56:ab:10:01");
  for (const char* bad : {"", "00:50:56", "00:50:56:ab:10:zz", "00:50:56:ab:10:01\"\nRUN+=x"})
    EXPECT_EQ(mac_of(bad), "") << bad;
  for (const char* bad : {"lo", "br0", "bond0", "veth1", "a b", "x\"\nNAME", "0123456789abcdef"})
    EXPECT_FALSE(adapter_name(bad)) << bad;
  EXPECT_THAT(
      link_file({"ens192", "00:50:56:ab:10:01"}),
      HasSubstr("[Match]\nMACAddress=00:50:56:ab:10:01\nType=ether\n\n[Link]\nName=ens192\n"));
  EXPECT_THAT(udev_rule({"eth0", "00:50:56:ab:10:01"}), HasSubstr("NAME=\"eth0\""));
}

}  // namespace
}  // namespace hyperhost::guestfs
