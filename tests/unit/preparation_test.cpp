// SPDX-License-Identifier: Apache-2.0
// A guest that is prepared before its disks are copied, as the host sees it: what it lends a plugin
// of the kind "guest", and what it makes of each answer. The plugin is one of the test.
#include <gmock/gmock.h>
#include <unistd.h>

#include <cstdlib>
#include <hyper/draft/guest.hpp>
#include <set>

#include "core/block/change_list.hpp"
#include "core/disk/content.hpp"
#include "core/disk/local_sources.hpp"
#include "core/vm/route.hpp"
#include "tests/support/memory_plugins.hpp"

namespace hyperhost::testing_memory {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

struct GuestScript {
  json answer = {{"actions", {{{"rule", "linux.fstab-device"}, {"what", "names a UUID"}}}},
                 {"files", {{{"path", "/etc/fstab"}, {"before", nullptr}, {"after", "sha256:1"}}}},
                 {"caps", {{"block", "virtio"}}},
                 {"root", "/dev/sda1"}};
  std::string refusal;  ///< of plan()
  std::string failure;  ///< of prepare(), when it has written
  json planned, prepared;
};

GuestScript& guest_script() {
  static GuestScript current;
  return current;
}

/// Writes "new!" at byte 2 of each disk.
class MemoryGuest final : public hyper::GuestInstance {
 public:
  static std::unique_ptr<MemoryGuest> open(const hyper::Doc&, hyper::Op) {
    return std::make_unique<MemoryGuest>();
  }
  std::string plan(hyper::Op, const hyper::Doc& request) override {
    guest_script().planned = asked_as("guest.request", request);
    if (!guest_script().refusal.empty())
      throw hyper::Error(HYPER_UNSUPPORTED, guest_script().refusal);
    return R"({"families": ["linux"]})";
  }
  std::string inspect(hyper::Op, const hyper::Doc&, const std::vector<hyper::BlockRef>&) override {
    return R"({"roots": []})";
  }
  std::string prepare(hyper::Op op, const hyper::Doc& request,
                      const std::vector<hyper::BlockRef>& disks) override {
    MemoryWorld::here().call("prepare");
    guest_script().prepared = asked_as("guest.request", request);
    for (const hyper::BlockRef& disk : disks) {
      EXPECT_TRUE(disk.can(HYPER_BLOCK_WRITE | HYPER_BLOCK_ATTACH));
      disk.write_at(op, 2, "new!", 4);
    }
    if (!guest_script().failure.empty()) throw hyper::Error(HYPER_FAIL, guest_script().failure);
    return guest_script().answer.dump();
  }
};

class Preparation : public MemoryHost {
 protected:
  Preparation() {
    guest_script() = {};
    PluginTables tables;
    tables.guest = *static_cast<const hyper_guest*>(hyper::Guest<MemoryGuest>::table());
    add("memory-guest", tables, {HYPER_IFACE_GUEST});
    add_vm("web", {"aaaaaaaa", "bbbbbbbb"});
  }
  MigrationConfig preparing() const {
    MigrationConfig out = config("web");
    out.guest.wanted = true;
    out.guest_plugins = {{"memory-guest", {}}};
    return out;
  }
  json manifest() const { return json::parse(content("web/manifest.json")); }
  static std::string digest_of(const std::string& bytes) {
    Operation op("digest", CancelSource::create());
    char name[] = "/tmp/hyperhost-digest-XXXXXX";
    const int file = ::mkstemp(name);
    EXPECT_EQ(::write(file, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    ::close(file);
    const auto source = open_file_source(name, "raw");
    std::filesystem::remove(name);
    return content_digest(*source, op, 1);
  }
};

TEST_F(Preparation, TheDeliveredDisksArePreparedAndTheSourceIsProven) {
  MigrationConfig job = preparing();
  job.verify_export = Verify::kTarget;
  job.guest.machine.type = "q35";
  job.guest.machine.bus = "scsi";
  job.guest.machine.nic = "e1000";
  const MigrationResult result = orchestrator().migrate(job, cancel_);
  ASSERT_TRUE(result.success) << result.error;
  EXPECT_EQ(content("web/web-disk-0.raw"), "aanew!aa");
  EXPECT_EQ(content("web/web-disk-1.raw"), "bbnew!bb");
  EXPECT_EQ(world_.vms["web"].disks[0].bytes, "aaaaaaaa");
  const json machine = guest_script().prepared["machine"];
  EXPECT_EQ(machine["machine"], "q35");
  EXPECT_EQ(machine["disks"][1]["bus"], "scsi");
  EXPECT_EQ(guest_script().prepared["vm"]["name"], "web");

  EXPECT_EQ(result.disks[0].digest, digest_of("aanew!aa"));
  EXPECT_EQ(result.disks[0].source_digest, digest_of("aaaaaaaa"));
  const ChangeList list = read_changes(file("web/web-disk-1.changes"));
  EXPECT_EQ(list.source_digest, digest_of("bbbbbbbb"));
  EXPECT_THAT(list.blocks, SizeIs(1));
  const json own = manifest()["hyperhost"];
  EXPECT_EQ(own["disks"][1]["changed"],
            json({{"blocks", 1}, {"bytes", 8}, {"list", "web-disk-1.changes"}}));
  EXPECT_EQ(own["guest"]["plugin"], "memory-guest");
  EXPECT_EQ(own["guest"]["actions"][0]["rule"], "linux.fstab-device");
  EXPECT_EQ(own["guest"]["files"],
            json::array({json{{"path", "/etc/fstab"}, {"after", "sha256:1"}}}));
  EXPECT_EQ(manifest()["pipeline"]["fix"]["enabled"], true);
}

TEST_F(Preparation, AStreamIsStagedFirst) {
  world_.vms["web"].disks[1].seekable = false;
  MigrationConfig job = preparing();
  job.verify_export = Verify::kTarget;
  const VmRoute route = orchestrator().preflight(job, cancel_);
  EXPECT_THAT(route.findings, IsEmpty());
  EXPECT_FALSE(route.disks[0].staged);
  EXPECT_THAT(route.disks[1].why,
              HasSubstr("a preparation needs to seek and the source is a stream"));
  const MigrationResult result = orchestrator().migrate(job, cancel_);
  ASSERT_TRUE(result.success) << result.error;
  EXPECT_EQ(content("web/web-disk-1.raw"), "bbnew!bb");
  EXPECT_TRUE(result.disks[1].staged);
  EXPECT_EQ(result.disks[1].source_digest, digest_of("bbbbbbbb"));
  EXPECT_EQ(result.export_size, 16u);
  // The staged copy is gone: two disks, two lists of changes, the manifest and its digest.
  std::set<std::string> left;
  for (const auto& one : std::filesystem::directory_iterator(file("web")))
    left.insert(one.path().filename());
  EXPECT_THAT(left, ::testing::IsSupersetOf({"web-disk-1.raw", "web-disk-1.changes"}));
  for (const std::string& name : left) EXPECT_THAT(name, Not(HasSubstr("stag")));
}

TEST_F(Preparation, AStreamThatBreaksLeavesNothing) {
  world_.vms["web"].disks[1].seekable = false;
  guest_script().failure = "the guest has no kernel";
  EXPECT_FALSE(orchestrator().migrate(preparing(), cancel_).success);
  EXPECT_FALSE(std::filesystem::exists(file("web")));
}

TEST_F(Preparation, WithoutTheKeyTheGuestStaysAsItIs) {
  ASSERT_TRUE(orchestrator().migrate(config("web"), cancel_).success);
  EXPECT_EQ(content("web/web-disk-0.raw"), "aaaaaaaa");
  EXPECT_FALSE(std::filesystem::exists(file("web/web-disk-0.changes")));
  EXPECT_FALSE(manifest()["hyperhost"].contains("guest"));
  EXPECT_EQ(manifest()["pipeline"]["fix"]["enabled"], false);
}

TEST_F(Preparation, AFailureLeavesNothing) {
  guest_script().failure = "the guest has no kernel";
  const MigrationResult result = orchestrator().migrate(preparing(), cancel_);
  EXPECT_FALSE(result.success);
  EXPECT_EQ(result.diagnostic.summary, "the guest has no kernel");
  EXPECT_FALSE(std::filesystem::exists(file("web")));
  guest_script() = {};
  EXPECT_TRUE(orchestrator().migrate(preparing(), cancel_).success);
}

TEST_F(Preparation, AnErrorThatItLeavesFailsTheVmUnlessThePlanAcceptsIt) {
  guest_script().answer["findings"] = {
      {{"rule", "linux.mount"}, {"severity", "warning"}, {"summary", "a disk is not mounted"}},
      {{"rule", "linux.fstab-by-path"},
       {"severity", "error"},
       {"summary", "A name in /etc/fstab belongs to the old machine"},
       {"evidence", "/dev/disk/by-path/pci-0000:03:00.0"},
       {"hint", "Write a UUID there."}}};
  MigrationResult result = orchestrator().migrate(preparing(), cancel_);
  EXPECT_FALSE(result.success);
  EXPECT_EQ(result.diagnostic.rule, "linux.fstab-by-path");
  EXPECT_THAT(result.diagnostic.summary,
              HasSubstr("will not boot: A name in /etc/fstab belongs to the old machine"));
  EXPECT_THAT(result.diagnostic.detail, HasSubstr("by-path/pci-0000:03:00.0"));
  EXPECT_THAT(result.diagnostic.hint, HasSubstr("guest: {accept: [linux.fstab-by-path]}"));
  EXPECT_FALSE(std::filesystem::exists(file("web")));
  MigrationConfig job = preparing();
  job.guest.accept = {"linux.mount", "linux.fstab-by-path"};
  result = orchestrator().migrate(job, cancel_);
  ASSERT_TRUE(result.success) << result.error;
  ASSERT_THAT(result.warnings, SizeIs(1));
  EXPECT_EQ(result.warnings[0].rule, "linux.fstab-by-path");
  EXPECT_THAT(manifest()["hyperhost"]["guest"]["findings"], SizeIs(2));
}

TEST_F(Preparation, AnAnswerInAWrongFormIsTheFaultOfThePlugin) {
  const std::pair<const char*, json> wrong[] = {{"/actions", {{{"rule", "a"}}}},
                                                {"/files", {{{"path", 1}}}},
                                                {"/caps", "virtio"},
                                                {"/root", 1}};
  for (const auto& [pointer, value] : wrong) {
    guest_script() = {};
    guest_script().answer[json::json_pointer(pointer)] = value;
    const MigrationResult result = orchestrator().migrate(preparing(), cancel_);
    EXPECT_FALSE(result.success);
    EXPECT_THAT(result.diagnostic.summary,
                HasSubstr("plugin 'memory-guest': prepare() gave a wrong document: " +
                          std::string(pointer)));
  }
}

TEST_F(Preparation, WhatCannotBePreparedIsAFindingOfPreflight) {
  guest_script().refusal = "this plugin prepares Linux only";
  VmRoute route = orchestrator().preflight(preparing(), cancel_);
  ASSERT_THAT(route.findings, SizeIs(1));
  EXPECT_EQ(route.findings[0].summary, guest_script().refusal);
  guest_script() = {};
  EXPECT_THAT(orchestrator().preflight(preparing(), cancel_).findings, IsEmpty());
  MigrationConfig as_it_is = preparing();
  as_it_is.enable_conversion = false;
  route = orchestrator().preflight(as_it_is, cancel_);
  ASSERT_FALSE(route.findings.empty());
  EXPECT_THAT(route.findings[0].summary, HasSubstr("while its disks are converted"));
  EXPECT_EQ(world_.count("prepare"), 0u);
}

TEST_F(Preparation, AFinishedVmStaysAndAnotherMachineBeginsItAgain) {
  ASSERT_TRUE(orchestrator().migrate(preparing(), cancel_).success);
  MigrationResult again = orchestrator().migrate(preparing(), cancel_);
  EXPECT_TRUE(again.already_done);
  EXPECT_EQ(again.guest["root"], "/dev/sda1");
  EXPECT_EQ(world_.count("prepare"), 1u);
  MigrationConfig other = preparing();
  other.guest.machine.bus = "sata";
  other.overwrite = true;
  again = orchestrator().migrate(other, cancel_);
  ASSERT_TRUE(again.success) << again.error;
  EXPECT_FALSE(again.already_done);
  EXPECT_EQ(world_.count("prepare"), 2u);
}

class KeptPreparation : public Preparation {
 protected:
  /// The copy of the second disk breaks in its middle.
  void break_copy(const MigrationConfig& job) {
    world_.on_call = [](const std::string& call) {
      if (call == "half bbne") throw hyper::Error(HYPER_IO, "the target is gone");
    };
    EXPECT_FALSE(orchestrator().migrate(job, cancel_).success);
    world_.on_call = nullptr;
    EXPECT_THAT(overlays(), SizeIs(2));
  }
  std::vector<std::filesystem::path> overlays() const {
    std::vector<std::filesystem::path> out;
    for (const auto& one : std::filesystem::recursive_directory_iterator(directory_))
      if (one.path().filename().string().find(".hyperhost-overlay-") != std::string::npos)
        out.push_back(one.path());
    return out;
  }
  void finish(const MigrationConfig& job, std::size_t preparations) {
    const MigrationResult result = orchestrator().migrate(job, cancel_);
    ASSERT_TRUE(result.success) << result.error;
    EXPECT_EQ(content("web/web-disk-0.raw"), "aanew!aa");
    EXPECT_EQ(content("web/web-disk-1.raw"), "bbnew!bb");
    EXPECT_EQ(result.guest["root"], "/dev/sda1");
    EXPECT_EQ(world_.count("prepare"), preparations);
    EXPECT_TRUE(std::filesystem::exists(file("web/web-disk-0.changes")));
    EXPECT_THAT(overlays(), IsEmpty());
  }
};

TEST_F(KeptPreparation, ALaterRunTakesItOverWithTheDisksThatWereMadeOfIt) {
  break_copy(preparing());
  finish(preparing(), 1);
  EXPECT_EQ(world_.count("half aane"), 1u);
  EXPECT_EQ(world_.count("half bbne"), 1u);  // continued behind its middle
}

TEST_F(KeptPreparation, AnotherMachineOrDescriptionMakesAnotherOne) {
  break_copy(preparing());
  MigrationConfig job = preparing();
  job.guest.machine.bus = "sata";
  break_copy(job);
  EXPECT_EQ(world_.count("prepare"), 2u);
  world_.vms["web"].disks[0].content_id = "another";
  finish(job, 3);
  EXPECT_EQ(world_.count("half aane"), 3u);
}

TEST_F(KeptPreparation, AnErrorThatThePlanNoLongerAcceptsFailsTheLaterRun) {
  guest_script().answer["findings"] = {{{"rule", "linux.fstab-by-path"}, {"severity", "error"}}};
  MigrationConfig job = preparing();
  job.guest.accept = {"linux.fstab-by-path"};
  break_copy(job);
  EXPECT_FALSE(orchestrator().migrate(preparing(), cancel_).success);
  EXPECT_EQ(world_.count("prepare"), 1u);
  EXPECT_FALSE(std::filesystem::exists(file("web")));
}

TEST_F(KeptPreparation, OfASourceThatCannotTellItsContentNothingIsKept) {
  world_.vms["web"].disks[1].content_id = "";
  world_.on_call = [](const std::string& call) {
    if (call == "half bbne") throw hyper::Error(HYPER_IO, "the target is gone");
  };
  EXPECT_FALSE(orchestrator().migrate(preparing(), cancel_).success);
  world_.on_call = nullptr;
  EXPECT_FALSE(std::filesystem::exists(file("web")));
  finish(preparing(), 2);
}

TEST_F(Preparation, TheListsGoWhereTheDisksGo) {
  MigrationConfig job = uploading("web");
  job.guest.wanted = true;
  job.guest_plugins = {{"memory-guest", {}}};
  job.keep_local = false;
  const MigrationResult result = orchestrator().migrate(job, cancel_);
  ASSERT_TRUE(result.success) << result.error;
  EXPECT_EQ(world_.bucket["web/web-disk-0.raw"], "aanew!aa");
  EXPECT_TRUE(world_.bucket.contains("web/web-disk-1.changes"));
  EXPECT_FALSE(std::filesystem::exists(file("web")));
}

}  // namespace
}  // namespace hyperhost::testing_memory
