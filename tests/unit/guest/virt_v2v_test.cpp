// SPDX-License-Identifier: Apache-2.0
// What virt-v2v is run with, and what its words mean.
#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <hyper/testing/host.hpp>

#include "plugins/guest/virt-v2v/command.hpp"
#include "plugins/guest/virt-v2v/v2v_plugin.hpp"
#include "plugins/guest/virt-v2v/words.hpp"

namespace hyperhost::virt_v2v {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

std::size_t place_of(const std::vector<std::string>& list, const std::string& one) {
  return static_cast<std::size_t>(std::find(list.begin(), list.end(), one) - list.begin());
}

TEST(VirtV2vWords, CapabilitiesAreWhatTheProgramLists) {
  Capabilities capabilities;
  for (const char* line : {"virt-v2v-in-place", "libguestfs-rewrite", "input:libvirtxml",
                           "convert:linux", "convert:windows"})
    capabilities.add_line(line);
  EXPECT_TRUE(capabilities.has("input:libvirtxml"));
  EXPECT_FALSE(capabilities.has("input:disk"));
  EXPECT_THAT(capabilities.families(), ElementsAre("linux", "windows"));
}

TEST(VirtV2vWords, WarningsAndTheErrorAreApart) {
  Messages messages;
  for (const char* line :
       {"virt-v2v-in-place: warning: could not determine a way to update the ",
        "configuration of Grub2", "[ 120.1] Mapping filesystem data", "not of it",
        "nbdkit: debug: error: none of ours",
        "virt-v2v-in-place: error: inspection could not detect the source guest (or ",
        "physical machine).", "", "If reporting bugs, run virt-v2v with debugging enabled",
        "virt-v2v-in-place: error: a second one"})
    messages.add_line(line);
  EXPECT_THAT(messages.warnings(),
              ElementsAre("could not determine a way to update the  configuration of Grub2"));
  EXPECT_EQ(messages.has_virtio(), std::nullopt);
  EXPECT_EQ(messages.error(),
            "inspection could not detect the source guest (or  physical machine).");
}

TEST(VirtV2vWords, TheDriversAreInOrNot) {
  Messages in, out;
  in.add_line("virt-v2v-in-place: warning: QEMU Guest Agent MSI not found on tools");
  in.add_line("virt-v2v-in-place: This guest has virtio drivers installed.");
  out.add_line("virt-v2v-in-place: This guest does not have virtio drivers installed.");
  EXPECT_EQ(in.has_virtio(), true);
  EXPECT_THAT(in.warnings(), ElementsAre("QEMU Guest Agent MSI not found on tools"));
  EXPECT_EQ(out.has_virtio(), false);
}

TEST(VirtV2vWords, AProgramWithoutEndIsCut) {
  Messages messages;
  for (int i = 0; i < 5000; ++i)
    messages.add_line("virt-v2v-in-place: warning: " + std::string(5000, 'x') + "\x1b[1m");
  EXPECT_THAT(messages.warnings(), SizeIs(100));
  EXPECT_EQ(messages.warnings().front(), std::string(2000, 'x'));
}

TEST(VirtV2vWords, ErrorsHaveRules) {
  const std::pair<const char*, const char*> rows[] = {
      {"inspection could not detect the source guest (or physical machine).", "guest.no-system"},
      {"filesystem was mounted read-only, even though we asked for it to be mounted read-write. "
       "This usually means that the filesystem was not cleanly unmounted.",
       "win.hibernated"},
      {"not enough free space for conversion on filesystem '/'. 3.1 MB free < 100 MB needed",
       "fs.space"},
      {"virt-v2v is unable to convert this guest type (linux/photon)", "guest.family"},
      {"One of rhsrvany.exe or pvvxsvc.exe is missing in /usr/share/virt-tools.", "v2v.no-drivers"},
      {"something else", "v2v.failed"}};
  for (const auto& [text, rule] : rows) {
    EXPECT_STREQ(meaning_of(text).rule, rule) << text;
    EXPECT_STRNE(meaning_of(text).summary, "");
  }
}

TEST(VirtV2vWords, PhasesComeFromTimedLines) {
  EXPECT_EQ(phase_of("[   0.2] Setting up the source: -i libvirtxml x"),
            "Setting up the source: -i libvirtxml x");
  for (const char* line : {"", "1/100", "[a] no", "[  1.0]", "words [ 1.0] later"})
    EXPECT_EQ(phase_of(line), "") << line;
}

TEST(VirtV2vCommand, IsLimitedCleanAndWithoutASecret) {
  Settings settings;
  settings.keys = {{"/dev/sda2", "hunter2"}, {"b1a2", "swordfish"}};
  settings.emulate = true;
  settings.timeout_s = 600;
  settings.virtio_win = "/srv/virtio win";
  const auto command =
      command_line(settings, {"/usr/bin/virt-v2v-in-place", "2.2.0", false}, "/tmp/x",
                   {"PATH=/opt:/usr/bin", "LIBGUESTFS_PATH=/fixed", "SUPERMIN_KERNEL=/k"});
  EXPECT_EQ(command[0], "timeout");
  EXPECT_EQ(command[2], "600");
  EXPECT_LT(place_of(command, "-i"), place_of(command, "/usr/bin/virt-v2v-in-place"));
  for (const char* variable :
       {"PATH=/opt:/usr/bin", "LIBGUESTFS_PATH=/fixed", "SUPERMIN_KERNEL=/k", "HOME=/tmp/x",
        "VIRT_V2V_TMPDIR=/tmp/x", "LIBGUESTFS_BACKEND_SETTINGS=force_tcg",
        "VIRTIO_WIN=/srv/virtio win"})
    EXPECT_THAT(command, Contains(variable));
  const std::string text = command_text(command);
  EXPECT_THAT(text, HasSubstr("--machine-readable --root first --key /dev/sda2:file:/tmp/x/key-0 "
                              "--key b1a2:file:/tmp/x/key-1 -i libvirtxml /tmp/x/domain.xml"));
  EXPECT_THAT(text, HasSubstr("'VIRTIO_WIN=/srv/virtio win'"));
  EXPECT_THAT(text, Not(HasSubstr("hunter2")));
  EXPECT_THAT(text, Not(HasSubstr("swordfish")));
  EXPECT_THAT(text, Not(HasSubstr("--no-fstrim")));
  EXPECT_THAT(command_line({}, {"/p", "2.13.3", true}, "/d", {}), Contains("--no-fstrim"));
}

TEST(VirtV2vCommand, TheDomainHasTheSourcesBuses) {
  hyper::testing::Host host;
  const hyper::Doc request = host.doc(R"({
    "vm": {"name": "a<b>&'c", "disks": [
             {"id": "disk-0", "controller": "ParaVirtualSCSIController0:0"},
             {"id": "disk-1", "controller": "VirtualAHCIController0:1"},
             {"id": "disk-2", "controller": "ide0:0"}, {"id": "disk-3"}],
           "nics": [{"mac": "00:50:56:00:00:01", "network": "VM & Network"}, {"network": ""}]},
    "machine": {"firmware": "uefi", "memory_bytes": 4294967296, "cpu": {"count": 3}}})");
  const std::string xml = domain_xml(
      request, {{"disk-2", "/o/2"}, {"disk-0", "/o/0"}, {"disk-1", "/o/1"}, {"disk-3", "/o/3"}});
  EXPECT_THAT(xml, HasSubstr("<name>a&lt;b&gt;&amp;&apos;c</name>"));
  EXPECT_THAT(xml, HasSubstr("<memory unit='KiB'>4194304</memory>"));
  EXPECT_THAT(xml, HasSubstr("<vcpu>3</vcpu>"));
  EXPECT_THAT(xml, HasSubstr("<os firmware='efi'>"));
  EXPECT_THAT(xml, HasSubstr("<source file='/o/2'/>\n      <target dev='hda' bus='ide'/>"));
  EXPECT_THAT(xml, HasSubstr("<source file='/o/0'/>\n      <target dev='sda' bus='scsi'/>"));
  EXPECT_THAT(xml, HasSubstr("<source file='/o/1'/>\n      <target dev='sdb' bus='sata'/>"));
  EXPECT_THAT(xml, HasSubstr("<source file='/o/3'/>\n      <target dev='sdc' bus='scsi'/>"));
  EXPECT_THAT(xml, HasSubstr("<source network='VM &amp; Network'/>\n      <mac address='00:50:56"));
  EXPECT_THAT(xml, HasSubstr("<source network='none'/>\n    </interface>"));
}

TEST(VirtV2vSettings, WhatDoesNotFitIsRefused) {
  hyper::testing::Host host;
  const auto read = [&](const char* options) { return read_settings(host.doc(options)); };
  EXPECT_EQ(read("{}").root, "first");
  EXPECT_EQ(read(R"({"keys": {"all": "x"}})").keys.at("all"), "x");
  for (const char* options :
       {R"({"virtio_win": "drivers"})", R"({"timeout_seconds": 1})", R"({"root": "ask"})",
        R"({"keys": {"a:b": "x"}})", R"({"keys": {"": "x"}})"})
    EXPECT_THROW(read(options), hyper::Error) << options;
}

TEST(VirtV2vSettings, WindowsNeedsItsFiles) {
  char name[] = "/tmp/hyperhost-v2v-test-XXXXXX";
  const std::filesystem::path place = ::mkdtemp(name);
  Settings settings;
  settings.virt_tools = place / "tools";
  settings.virtio_win = place / "drivers";
  const auto refusal = [&](const char* bus) -> std::string {
    try {
      check_windows_files(settings, bus);
    } catch (const hyper::Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(refusal("sata"), HasSubstr("rhsrvany.exe"));
  std::filesystem::create_directory(settings.virt_tools);
  std::ofstream(settings.virt_tools + "/pvvxsvc.exe") << "MZ";
  EXPECT_EQ(refusal("sata"), "");
  EXPECT_THAT(refusal("virtio"), HasSubstr("virtio's drivers"));
  EXPECT_THAT(refusal("scsi"), HasSubstr("virtio's drivers"));
  std::ofstream(settings.virtio_win + ".iso") << "CD001";
  EXPECT_EQ(refusal("virtio"), "");
  std::filesystem::remove_all(place);
}

}  // namespace
}  // namespace hyperhost::virt_v2v
