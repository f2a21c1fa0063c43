// SPDX-License-Identifier: Apache-2.0
// The files of the plugin "file": byte for byte for two machines, and what becomes of texts that
// mean ill. That libvirt's schema takes them is in e2e.target.
#include <gmock/gmock.h>

#include <fstream>
#include <hyper/testing/host.hpp>
#include <sstream>

#include "plugins/target/file/file_target.hpp"
#include "plugins/target/file/text.hpp"

namespace hyperhost::file_target {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string text_of(const std::string& name) {
  std::ifstream in(std::string(TARGET_DATA_DIR) + "/" + name, std::ios::binary);
  std::stringstream out;
  out << in.rdbuf();
  return out.str();
}

class FileTargetTest : public ::testing::TestWithParam<const char*> {
 protected:
  Machine machine(const std::string& request) { return read_machine(host_.doc(request)); }
  hyper::testing::Host host_;
};

TEST_P(FileTargetTest, WritesTheseFiles) {
  const std::string directory = GetParam();
  const Machine read = machine(text_of(directory + "/request.json"));
  std::string all;
  for (const Rendered& file : {libvirt_domain(read), kubevirt_machine(read, ""),
                               proxmox_script(read), openstack_script(read)})
    all += "==== " + file.name + "\n" + file.text;
  EXPECT_EQ(all, text_of(directory + "/expected"));
}
INSTANTIATE_TEST_SUITE_P(Machines, FileTargetTest, ::testing::Values("linux", "windows"));

TEST(FileTargetText, XmlHoldsAnyText) {
  EXPECT_EQ(xml("<a b='c' d=\"e\">&\n\t\x01\x7f\xef\xbf\xbe\xc3\xa4"),
            "&lt;a b=&apos;c&apos; d=&quot;e&quot;&gt;&amp;&#10;&#9;???\xc3\xa4");
}

TEST(FileTargetText, YamlScalarsAndCommentsStayOneLine) {
  EXPECT_EQ(yaml("a\"b\\c\n\xc2\x85\xe2\x80\xa8\xef\xbf\xbf\xc3\xa4"),
            "\"a\\\"b\\\\c\\u000a\\u0085\\u2028\\uffff\xc3\xa4\"");
  EXPECT_EQ(comment("a\n---\r\xe2\x80\xa9"
                    "b\xc2\x85"
                    "c"),
            "a?---??b?c");
}

TEST(FileTargetText, AWordOfTheShellIsAWord) {
  EXPECT_EQ(shell("it's $(x) `y`"), "'it'\\''s $(x) `y`'");
}

TEST(FileTargetText, LabelsAreValidShortAndApart) {
  EXPECT_EQ(dns_label("web-01", 63), "web-01");
  EXPECT_NE(dns_label("Web 01", 63), dns_label("web_01", 63));
  EXPECT_THAT(dns_label("Web 01", 63), HasSubstr("web-01-"));
  EXPECT_THAT(dns_label("\xe2\x98\x83", 63), HasSubstr("vm-"));
  EXPECT_LE(dns_label(std::string(500, 'a'), 50).size(), 50u);
  EXPECT_LE(dns_label("-" + std::string(49, '-') + "a", 50).size(), 50u);
  for (const char* text : {"-a", "a-", "", "-", "A", "a.b", "a--b"}) {
    const std::string label = dns_label(text, 50);
    EXPECT_NE(label.front(), '-') << text;
    EXPECT_NE(label.back(), '-') << text;
  }
}

TEST_F(FileTargetTest, AFormatThatAPlatformDoesNotTakeIsNoFile) {
  const std::string request =
      R"({"name": "a", "vm": "a", "mark": "0", "machine": {"disks": [{"id": "disk-0", "bus": "virtio"}]},
          "disks": [{"id": "disk-0", "format": "vhdx"}]})";
  const auto target = FileTarget::connect(host_.doc("{}"), host_.op());
  const std::string plan = target->plan(host_.op(), host_.doc(request));
  EXPECT_THAT(plan, HasSubstr("kubevirt.yaml"));
  EXPECT_THAT(plan, HasSubstr("openstack.sh"));
  EXPECT_THAT(plan, Not(HasSubstr("proxmox.sh")));
  EXPECT_THAT(plan, HasSubstr("Proxmox VE imports no disks of the format vhdx"));
  EXPECT_THAT(target->define(host_.op(), host_.doc(request)), Not(HasSubstr("libvirt.xml")));
}

TEST_F(FileTargetTest, OnlyTheWantedPlatforms) {
  const auto target = FileTarget::connect(host_.doc(R"({"render": ["proxmox"]})"), host_.op());
  const std::string plan = target->plan(host_.op(), host_.doc(text_of("linux/request.json")));
  EXPECT_EQ(plan, R"({"files":["proxmox.sh"],"findings":[]})");
}

TEST_F(FileTargetTest, WhatIsNoMachineIsRefused) {
  for (const char* request :
       {R"({"vm": "a", "machine": {}, "disks": []})",
        R"({"name": "a", "machine": {}, "disks": []})",
        R"({"name": "a", "machine": {"arch": "ppc64"}, "disks": [{"id": "d", "format": "raw"}]})",
        R"({"name": "a", "machine": {}, "disks": [{"id": "d", "format": "raw"}]})"})
    EXPECT_THROW(machine(request), hyper::Error) << request;
}

TEST_F(FileTargetTest, KubeVirtFetchesFromWhereTheOptionSays) {
  const Machine read = machine(text_of("linux/request.json"));
  EXPECT_THAT(kubevirt_machine(read, "http://store/web-01").text,
              HasSubstr("url: \"http://store/web-01/web-01-disk-1.qcow2\""));
}

TEST_F(FileTargetTest, TheDisksOfOneBusHaveNamesInTheirOrder) {
  Machine read = machine(text_of("linux/request.json"));
  while (read.disks.size() < 28) read.disks.push_back(read.disks[1]);
  EXPECT_THAT(libvirt_domain(read).text, HasSubstr("dev=\"vdz\""));
  EXPECT_THAT(libvirt_domain(read).text, HasSubstr("dev=\"vdab\""));
  EXPECT_THROW(proxmox_script(read), hyper::Error);  // it takes 16
}

}  // namespace
}  // namespace hyperhost::file_target
