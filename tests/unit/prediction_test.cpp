// SPDX-License-Identifier: Apache-2.0
// Each rule of the prediction from a VM's description: what it finds, by which evidence, and that
// it finds nothing in a plain VM.
#include "core/migrate/prediction.hpp"

#include <gmock/gmock.h>

#include <fstream>
#include <regex>
#include <set>

#include "core/plugin/document_schema.hpp"
#include "core/vm/vm_description.hpp"

namespace hyperhost {
namespace {

using nlohmann::json;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

/// A VM of which no rule says anything.
json plain() {
  return {{"name", "web-01"},
          {"firmware", "bios"},
          {"power_state", "on"},
          {"guest_os", "debian12_64Guest"},
          {"os_hint", "linux"},
          {"cpu", 4},
          {"cores_per_socket", 2},
          {"change_tracking", true},
          {"host_name", "web-01.example"},
          {"addresses", {"192.0.2.7"}},
          {"cluster", "C 1"},
          {"cluster_settings",
           {{"drs", false}, {"dpm", false}, {"ha", false}, {"rules", json::array()}}},
          {"guest_disks",
           {{{"path", "/"}, {"free_bytes", 104857600}},
            {{"path", "/boot"}, {"free_bytes", 52428800}},
            {{"path", "/srv"}}}},
          {"disks",
           {{{"id", "disk-0"},
             {"capacity_bytes", 1073741824},
             {"controller", "scsi0:0"},
             {"mode", "persistent"}}}},
          {"nics",
           {{{"id", "nic-0"}, {"mac", "00:50:56:00:00:01"}, {"network", "LAN"}},
            {{"id", "nic-1"}, {"mac", "00:50:56:00:00:02"}, {"network", "LAN"}}}}};
}

struct Fault {
  const char* rule;
  json patch;  ///< JSON Patch of plain()
  std::string disk, evidence;
  const char* bus = "virtio";
  bool prepared = true;
};

json set(const char* path, json value) {
  return json::array({{{"op", "add"}, {"path", path}, {"value", std::move(value)}}});
}

/// As from a provider, whose numbers have no sign.
VmDescription described(const json& document) {
  return parse_vm_description(json::parse(document.dump()), "test");
}

std::vector<VmFinding> found_in(const json& document, const char* bus = "virtio",
                                bool prepared = true) {
  const VmDescription vm = described(document);
  std::vector<DiskRoute> disks;
  for (const DiskDescription& disk : vm.disks) disks.emplace_back().disk = disk;
  GuestSettings guest;
  guest.wanted = prepared;
  guest.machine.bus = bus;
  return predict({vm, disks, guest});
}

std::vector<std::string> rules_of(const std::vector<VmFinding>& findings) {
  std::vector<std::string> out;
  for (const VmFinding& one : findings) out.push_back(one.rule);
  return out;
}

json many_disks(int count) {
  json out = json::array();
  for (int i = 0; i < count; ++i) out.push_back({{"id", "disk-" + std::to_string(i)}});
  return out;
}

json device(const char* kind, const char* label) {
  return json::array({{{"kind", kind}, {"label", label}}});
}

json cluster_rule(const char* kind, const char* name, const char* hosts, bool mandatory) {
  return set("/cluster_settings/rules/-",
             {{"kind", kind}, {"name", name}, {"hosts", hosts}, {"mandatory", mandatory}});
}

const std::vector<Fault>& faults() {
  static const std::vector<Fault> all = {
      {"vm.passthrough", set("/devices", device("passthrough", "PCI device 0")), "",
       "PCI device 0"},
      {"vm.passthrough", set("/devices", json::array({{{"kind", "passthrough"}}})), "",
       "passthrough"},
      {"vm.sriov", set("/nics/1/sriov", true), "", "nic-1"},
      {"vm.usb", set("/devices", device("usb", "Token")), "", "Token"},
      {"vm.usb-controller", set("/devices", device("usb-controller", "USB xHCI")), "", "USB xHCI"},
      {"vm.tpm", set("/vtpm", true), "", ""},
      {"vm.secure-boot", set("/secure_boot", true), "", ""},
      {"vm.nvram", set("/firmware", "uefi"), "", ""},
      {"vm.firmware", set("/firmware", "unknown"), "", ""},
      {"vm.snapshot", set("/snapshots", {{{"name", "before"}}, {{"name", "patch 7"}}}), "",
       "2: before, patch 7"},
      {"vm.consolidation", set("/consolidation_needed", true), "", ""},
      {"vm.fault-tolerance", set("/fault_tolerance", true), "", ""},
      {"vm.drs", set("/cluster_settings/drs", true), "", "C 1"},
      {"vm.dpm", set("/cluster_settings/dpm", true), "", "C 1"},
      {"vm.ha", set("/cluster_settings/ha", true), "", "C 1"},
      {"vm.host-affinity", cluster_rule("run-on", "licences", "rack 2", true), "",
       "licences: must run on the hosts 'rack 2'"},
      {"vm.host-affinity", cluster_rule("keep-off", "", "old", false), "",
       "a rule: should not run on the hosts 'old'"},
      {"vm.vm-affinity", cluster_rule("together", "web and db", "", false), "",
       "web and db: together with other VMs"},
      {"vm.vm-affinity", cluster_rule("apart", "two controllers", "", true), "",
       "two controllers: apart from other VMs"},
      {"vm.guest-os",
       json::array({{{"op", "add"}, {"path", "/guest_os"}, {"value", "freebsd13_64Guest"}},
                    {{"op", "add"}, {"path", "/os_hint"}, {"value", "unknown"}}}),
       "", "freebsd13_64Guest"},
      {"vm.guest-os-old", set("/guest_os", "winXPProGuest"), "",
       "winXPProGuest, and the machine's disks are at virtio"},
      {"vm.guest-os-old", set("/guest_os", "rhel4Guest"), "",
       "rhel4Guest, and the machine's disks are at scsi", "scsi"},
      {"vm.hot-add", set("/cpu_hot_add", true), "", "CPUs"},
      {"vm.hot-add", set("/memory_hot_add", true), "", "memory"},
      {"vm.cpu-affinity", set("/cpu_affinity", true), "", ""},
      {"vm.numa-affinity", set("/numa_affinity", true), "", ""},
      {"vm.cpu-topology", set("/cpu", 5), "", "5 CPUs, 2 in a socket"},
      {"vm.change-tracking", set("/change_tracking", false), "", ""},
      {"vm.host-name", set("/host_name", ""), "", ""},
      {"vm.host-name", set("/host_name", "localhost.localdomain"), "", "localhost.localdomain"},
      {"vm.addresses", set("/addresses", json::array()), "", ""},
      {"vm.name", set("/name", "Web_01"), "", "Web_01"},
      {"vm.name", set("/name", "web..01"), "", "web..01"},
      {"vm.name", set("/name", "web-"), "", "web-"},
      {"vm.name", set("/name", std::string(64, 'a')), "", std::string(64, 'a')},
      {"vm.attachment", set("/attachments", {{{"kind", "iso"}, {"file", "tools.iso"}}}), "",
       "iso: tools.iso"},
      {"disk.capacity", set("/disks/0", {{"id", "disk-9"}, {"blank", true}, {"capacity_bytes", 0}}),
       "disk-9", "0 bytes"},
      {"disk.free-space", set("/guest_disks/0/free_bytes", 52428800), "",
       "/ has 50.0 MiB free of the 100 MiB that a preparation needs"},
      {"disk.free-space", set("/guest_disks/1/free_bytes", 1048576), "",
       "/boot has 1.00 MiB free of the 50.0 MiB that a preparation needs"},
      {"disk.free-space", set("/guest_disks/2/free_bytes", 0), "",
       "/srv has 0 B free of the 10.0 MiB that a preparation needs"},
      {"disk.free-space", set("/guest_disks/0", {{"path", "C:\\"}, {"free_bytes", 10485760}}), "",
       "C:\\ has 10.0 MiB free of the 100 MiB that a preparation needs"},
      {"disk.independent", set("/disks/0/mode", "independent_persistent"), "disk-0",
       "independent_persistent"},
      {"disk.rdm", set("/disks/0/raw_mapping", "virtual"), "disk-0", "virtual"},
      {"disk.shared", set("/disks/0/multi_writer", true), "disk-0", "scsi0:0"},
      {"disk.nvme", set("/disks/0/controller", "nvme0:0"), "disk-0", "nvme0:0"},
      {"disk.nvme", set("/disks/0/controller", "VirtualNVMEController0:1"), "disk-0",
       "VirtualNVMEController0:1"},
      {"disk.serial", set("/disk_uuid", true), "", ""},
      {"disk.change-tracking", set("/disks/0/change_tracking", false), "disk-0", "scsi0:0"},
      {"disk.count", set("/disks", many_disks(166)), "", "166"},
      {"disk.bus", set("/disks", many_disks(5)), "", "5 disks, and ide holds 4", "ide"},
      {"disk.bus", set("/disks", many_disks(7)), "", "7 disks, and sata holds 6", "sata"},
      {"nic.mac-twice", set("/nics/1/mac", "00:50:56:00:00:01"), "",
       "nic-0 and nic-1 have 00:50:56:00:00:01"},
      {"nic.mac", set("/nics/0/mac", ""), "", "nic-0"},
      {"nic.network", set("/nics/0/network", ""), "", "nic-0"},
  };
  return all;
}

TEST(Prediction, SaysNothingOfAPlainVm) {
  EXPECT_THAT(rules_of(found_in(plain())), IsEmpty());
  EXPECT_THAT(rules_of(found_in(plain(), "sata", false)), IsEmpty());
  // Nor of one of which little is known.
  EXPECT_THAT(
      rules_of(found_in({{"name", "disk"}, {"firmware", "bios"}, {"disks", {{{"id", "d"}}}}})),
      IsEmpty());
}

TEST(Prediction, EachRuleFindsItsFaultAlone) {
  for (const Fault& fault : faults()) {
    const json document = plain().patch(fault.patch);
    ASSERT_TRUE(document_problems("vm.description", document).empty()) << fault.rule;
    const auto found = found_in(document, fault.bus, fault.prepared);
    ASSERT_THAT(rules_of(found), ElementsAre(fault.rule));
    EXPECT_EQ(found[0].disk, fault.disk) << fault.rule;
    EXPECT_EQ(found[0].evidence, fault.evidence) << fault.rule;
    EXPECT_FALSE(found[0].fixable_by.empty()) << fault.rule;
  }
}

TEST(Prediction, EveryRuleIsTried) {
  std::set<std::string> tried, there;
  for (const Fault& fault : faults()) tried.insert(fault.rule);
  for (const PredictionRule& rule : prediction_rules())
    EXPECT_TRUE(there.insert(rule.id).second) << rule.id << " stands twice";
  EXPECT_EQ(tried, there);
}

TEST(Prediction, WhatIsNotKnownIsNotFound) {
  json document = plain();
  document["power_state"] = "off";
  document["addresses"] = json::array();
  document["host_name"] = "";
  EXPECT_THAT(rules_of(found_in(document)), IsEmpty());  // its agent does not run
  for (const char* place : {"sata0:1", "VirtualAHCIController0:1", "VirtualIDEController0:0"}) {
    document = plain();
    document["disk_uuid"] = true;
    document["disks"][0]["controller"] = place;
    EXPECT_THAT(rules_of(found_in(document)), IsEmpty()) << place;  // no SCSI disk
  }
  document = plain();
  document["name"] = "db-01.prod--a.example";
  document["disks"][0]["change_tracking"] = true;
  document["guest_disks"][2] = {{"path", "C:\\data"}, {"free_bytes", 10485760}};  // not C: itself
  EXPECT_THAT(rules_of(found_in(document)), IsEmpty());
  document = plain();
  document["guest_disks"][0]["free_bytes"] = 0;
  EXPECT_THAT(rules_of(found_in(document, "virtio", false)), IsEmpty());  // nothing is prepared
  document = plain();
  document["guest_os"] = "winXPProGuest";
  EXPECT_THAT(rules_of(found_in(document, "ide")), IsEmpty());
  document["guest_os"] = "otherGuest64";
  document["os_hint"] = "unknown";
  EXPECT_THAT(rules_of(found_in(document)), IsEmpty());
  document = plain();
  document["cluster_settings"] = {{"drs", nullptr}, {"rules", {{{"kind", "of-tomorrow"}}}}};
  EXPECT_THAT(rules_of(found_in(document)), IsEmpty());
}

TEST(Prediction, ADiskThatIsNotMigratedIsNotLookedAt) {
  const VmDescription vm = described(plain().patch(set("/disks/0/multi_writer", true)));
  EXPECT_THAT(predict({vm, {}, {}}), IsEmpty());
}

TEST(Prediction, AnErrorNamesWhatAcceptsIt) {
  auto found = found_in(plain().patch(set("/devices", device("passthrough", "GPU"))));
  ASSERT_EQ(found.size(), 1u);
  const Diagnostic refused = found[0].diagnostic("web");
  EXPECT_EQ(refused.severity, Severity::kError);
  EXPECT_EQ(refused.path, "vm/web");
  EXPECT_EQ(refused.rule, "vm.passthrough");
  EXPECT_THAT(refused.hint, HasSubstr("guest: {accept: [vm.passthrough]}"));
  found[0].accepted = true;
  EXPECT_EQ(found[0].diagnostic("web").severity, Severity::kWarning);
  EXPECT_THAT(found[0].diagnostic("web").hint, Not(HasSubstr("accept")));
  EXPECT_EQ(finding_json(found[0])["accepted"], true);
  EXPECT_EQ(finding_json(found[0])["severity"], "error");
}

TEST(Prediction, AFindingOfAPluginIsReadAsHostile) {
  const VmFinding found = finding_from({{"rule", "x.y"},
                                        {"severity", "fatal"},
                                        {"summary", "a\x1b[31mb"},
                                        {"evidence", std::string(5000, 'e')},
                                        {"hint", 7}});
  EXPECT_EQ(found.severity, Severity::kInfo);
  EXPECT_EQ(found.summary, "a[31mb");
  EXPECT_EQ(found.evidence.size(), 4096u);
  EXPECT_EQ(found.hint, "");
}

/// Of the guide's chapter on rules: their table, and what follows it on Forklift's.
std::pair<std::string, std::string> guide() {
  std::ifstream file(HYPERHOST_SOURCE_DIR "/docs/plan.md");
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  const std::size_t forklift = text.find("### Forklift's rules"),
                    end = text.find("\n## ", forklift);
  EXPECT_NE(end, std::string::npos);
  return {text.substr(0, forklift), text.substr(forklift, end - forklift)};
}

TEST(Prediction, TheGuideHasTheTable) {
  const std::string text = guide().first;
  std::vector<std::string> rows;
  for (const PredictionRule& rule : prediction_rules())
    rows.push_back("| `" + std::string(rule.id) + "` | " + finding_severity_name(rule.severity) +
                   " | " + rule.reads + " | " + rule.summary + " |");
  for (const std::string& row : rows) EXPECT_THAT(text, HasSubstr(row));
  const std::regex any("\\| `(vm|disk|nic)\\.[a-z-]+` \\|");
  const auto count = std::distance(std::sregex_iterator(text.begin(), text.end(), any), {});
  EXPECT_EQ(static_cast<std::size_t>(count), rows.size());
}

TEST(Prediction, TheGuideComparesForkliftsRulesWithThoseThereAre) {
  const std::string text = guide().second;
  std::set<std::string> known, named;
  for (const PredictionRule& rule : prediction_rules()) known.insert(rule.id);
  const std::regex any("`((vm|disk|nic)\\.[a-z-]+)`");
  for (std::sregex_iterator at(text.begin(), text.end(), any), end; at != end; ++at)
    named.insert((*at)[1]);
  EXPECT_GT(named.size(), 25u);
  for (const std::string& rule : named) EXPECT_THAT(known, Contains(rule));
}

}  // namespace
}  // namespace hyperhost
