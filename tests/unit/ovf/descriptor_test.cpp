// SPDX-License-Identifier: Apache-2.0
// Descriptors as VMware, VirtualBox, oVirt/OLVM and cloud exports write them, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include <hyper/error.hpp>

#include "plugins/provider/local-ovf/hardware.hpp"
#include "plugins/provider/local-ovf/ovf_model.hpp"
#include "plugins/provider/local-ovf/units.hpp"

namespace hyper::ovf {
namespace {

using testing::HasSubstr;

OvfDocument read(const std::string& name) {
  std::ifstream in(std::string(OVF_DATA_DIR) + "/" + name, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return parse_ovf(text.str(), name);
}

/// What refusing a descriptor says; "" if it was accepted.
std::string refusal(const std::string& text) {
  try {
    parse_ovf(text, "x.ovf");
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

constexpr uint64_t kGiB = uint64_t{1} << 30;

TEST(OvfDescriptor, VirtualBox7Ovf1) {
  const OvfDocument document = read("virtualbox7-ovf1.ovf");
  ASSERT_EQ(document.vms.size(), 1u);
  const OvfVm& vm = document.vms[0];
  EXPECT_EQ(vm.name, "Windows 11");
  EXPECT_EQ(vm.guest_os, "Windows11_64");
  EXPECT_EQ(vm.os_hint, "windows");
  EXPECT_EQ(vm.firmware, "uefi");
  EXPECT_TRUE(vm.secure_boot);
  EXPECT_EQ(vm.cpus, 4u);
  EXPECT_EQ(vm.memory, 8 * kGiB);
  ASSERT_EQ(vm.drives.size(), 1u);
  EXPECT_EQ(vm.drives[0].disk_id, "vmdisk1");
  EXPECT_EQ(vm.drives[0].controller, "sata0:0");
  ASSERT_EQ(vm.nics.size(), 1u);
  EXPECT_EQ(vm.nics[0].mac, "08:00:27:a1:b2:c3") << "said only in vbox:Machine";
  ASSERT_EQ(vm.attachments.size(), 1u);
  EXPECT_EQ(vm.attachments[0].kind, "iso");
  EXPECT_EQ(vm.attachments[0].file_id, "file2");
  EXPECT_TRUE(document.warnings.empty()) << document.warnings[0];
}

TEST(OvfDescriptor, VirtualBox7Ovf2) {
  const OvfDocument document = read("virtualbox7-ovf2.ovf");
  const OvfVm& vm = document.vms.at(0);
  EXPECT_EQ(vm.firmware, "bios");
  EXPECT_EQ(vm.memory, kGiB / 2);
  ASSERT_EQ(vm.drives.size(), 1u);
  EXPECT_EQ(vm.drives[0].controller, "ide1:0");
  ASSERT_EQ(vm.nics.size(), 1u);
  EXPECT_EQ(vm.nics[0].mac, "08:00:27:aa:bb:cc");
  EXPECT_EQ(vm.nics[0].model, "virtio");
  EXPECT_EQ(vm.nics[0].network, "Bridged");
}

TEST(OvfDescriptor, VmwareVappWithConfigurationsPropertiesAndBootOrder) {
  const OvfDocument document = read("vmware-vapp.ovf");
  const OvfVm& vm = document.vms.at(0);
  EXPECT_EQ(vm.id, "app");
  EXPECT_EQ(vm.name, "App Server");
  EXPECT_EQ(vm.annotation, "Owned by team blue");
  EXPECT_EQ(vm.os_hint, "linux");
  EXPECT_EQ(vm.os_version, "Red Hat Enterprise Linux 9 (64-bit)");
  EXPECT_EQ(vm.cpus, 8u) << "of the default configuration";
  EXPECT_EQ(vm.firmware, "uefi");
  EXPECT_TRUE(vm.secure_boot);
  ASSERT_EQ(vm.drives.size(), 3u);
  EXPECT_EQ(vm.drives[0].disk_id, "vmdisk2");
  EXPECT_EQ(vm.drives[0].controller, "scsi0:0");
  EXPECT_EQ(vm.drives[0].boot_order, 1u);
  EXPECT_EQ(vm.drives[1].controller, "nvme0:3");
  EXPECT_EQ(vm.drives[1].boot_order, 0u) << "BootOrderSection names its item";
  EXPECT_EQ(vm.drives[2].boot_order, 2u);
  EXPECT_EQ(document.disks.at("vmdisk1").capacity, 40 * kGiB) << "${diskSize}";
  EXPECT_EQ(document.disks.at("vmdisk3").file_id, "");
  ASSERT_EQ(vm.attachments.size(), 1u);
  EXPECT_EQ(vm.attachments[0].kind, "nvram");
}

TEST(OvfDescriptor, OvirtAndOlvm) {
  const OvfDocument document = read("ovirt.ovf");
  const OvfVm& vm = document.vms.at(0);
  EXPECT_EQ(vm.name, "olvm-guest");
  EXPECT_EQ(vm.os_hint, "linux");
  EXPECT_EQ(vm.firmware, "uefi");
  EXPECT_TRUE(vm.secure_boot);
  EXPECT_EQ(vm.cpus, 2u);
  ASSERT_EQ(vm.drives.size(), 1u);
  EXPECT_EQ(document.disks.at(vm.drives[0].disk_id).capacity, 10 * kGiB);
  ASSERT_EQ(vm.nics.size(), 1u);
  EXPECT_EQ(vm.nics[0].mac, "56:6f:1a:2b:00:01");
}

TEST(OvfDescriptor, PrefixesDoNotMatterAndAnUnattachedDiskGoesToTheOnlyVm) {
  const OvfDocument document = read("rewritten-prefixes.ovf");
  const OvfVm& vm = document.vms.at(0);
  EXPECT_EQ(vm.memory, kGiB);
  EXPECT_EQ(vm.os_hint, "linux") << "by the CIM number";
  ASSERT_EQ(vm.drives.size(), 1u);
  EXPECT_EQ(document.disks.at("vmdisk1").capacity, 8 * kGiB);
  ASSERT_EQ(document.warnings.size(), 1u);
  EXPECT_THAT(document.warnings[0], HasSubstr("vmdisk1"));
}

TEST(OvfDescriptor, MalformedXmlIsOneMessageWithLineAndColumn) {
  EXPECT_THAT(refusal("<Envelope>\n <References>\n </Reference>\n</Envelope>"), HasSubstr("at 3:"));
}

TEST(OvfDescriptor, RefusesWhatIsNoDescriptor) {
  EXPECT_THAT(refusal("<html/>"), HasSubstr("<html>"));
  EXPECT_THAT(refusal(""), HasSubstr("x.ovf"));
  EXPECT_THAT(refusal("<Envelope/>"), HasSubstr("no VirtualSystem"));
}

TEST(OvfDescriptor, RefusesAbsurdDepthAndNumber) {
  std::string deep = "<Envelope>";
  for (int i = 0; i < 300; ++i) deep += "<a>";
  for (int i = 0; i < 300; ++i) deep += "</a>";
  EXPECT_THAT(refusal(deep + "</Envelope>"), HasSubstr("deep"));
  std::string many = "<Envelope>";
  for (int i = 0; i < 600'000; ++i) many += "<a/>";
  EXPECT_THAT(refusal(many + "</Envelope>"), HasSubstr("large"));
}

// One such package may not keep the host from listing the others.
TEST(OvfDescriptor, RefusesANameThatTheHostDoesNotTake) {
  const std::string name(1025, 'x');
  for (const std::string& system : {"<VirtualSystem><Name>" + name + "</Name></VirtualSystem>",
                                    "<VirtualSystem ovf:id='" + name + "'/>"})
    EXPECT_THAT(refusal("<Envelope>" + system + "</Envelope>"), HasSubstr("absurd length"));
}

TEST(OvfDescriptor, RefusesDeltasAndEncryption) {
  const std::string disk = "<Disk ovf:capacity='1' ovf:diskId='d' ovf:fileRef='f' ";
  EXPECT_THAT(
      refusal("<Envelope><DiskSection>" + disk + "ovf:parentRef='base'/></DiskSection></Envelope>"),
      HasSubstr("delta"));
  EXPECT_THAT(refusal("<Envelope><References><EncryptedData/></References></Envelope>"),
              HasSubstr("encrypted"));
}

TEST(OvfDescriptor, RefusesDrivesThatLeadNowhere) {
  EXPECT_THAT(
      refusal("<Envelope><VirtualSystem id='a'><VirtualHardwareSection><Item><ResourceType>17"
              "</ResourceType><HostResource>ovf:/disk/none</HostResource></Item>"
              "</VirtualHardwareSection></VirtualSystem></Envelope>"),
      HasSubstr("'none'"));
}

TEST(OvfUnits, AreUnderstoodAsTheirWritersMeanThem) {
  EXPECT_EQ(parse_byte_unit("byte"), 1u);
  EXPECT_EQ(parse_byte_unit("byte * 2^30"), kGiB);
  EXPECT_EQ(parse_byte_unit("byte*2^20"), 1u << 20);
  EXPECT_EQ(parse_byte_unit("Bytes * 10^9"), 1'000'000'000u);
  EXPECT_EQ(parse_byte_unit("byte * 512"), 512u);
  EXPECT_EQ(parse_byte_unit("MegaBytes"), 1u << 20);
  EXPECT_EQ(parse_byte_unit("GB"), kGiB);
  for (const char* wrong : {"", "furlong", "byte *", "byte * 2^", "byte * 2^64", "byte * 0",
                            "byte * -1", "2^20", "byte ^ 2", "byte * byte", "hertz * 10^6"})
    EXPECT_EQ(parse_byte_unit(wrong), std::nullopt) << wrong;
}

TEST(OvfUnits, NumbersAreWholeAndFit) {
  EXPECT_EQ(parse_number("18446744073709551615"), UINT64_MAX);
  for (const char* wrong : {"", "18446744073709551616", "-1", "+1", "1.5", "1 ", "0x10"})
    EXPECT_EQ(parse_number(wrong), std::nullopt) << wrong;
}

TEST(OvfMac, IsNormalised) {
  EXPECT_EQ(normal_mac("00-50-56-AB-cd-01"), "00:50:56:ab:cd:01");
  EXPECT_EQ(normal_mac("005056abcd01"), "00:50:56:ab:cd:01");
  EXPECT_EQ(normal_mac("7"), "");
  EXPECT_EQ(normal_mac("00:50:56:ab:cd:zz"), "");
}

}  // namespace
}  // namespace hyper::ovf
