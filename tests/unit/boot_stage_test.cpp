// SPDX-License-Identifier: Apache-2.0
// The boot check of a delivered VM as the host sees it: what it asks a plugin of the kind "boot",
// and what follows from each answer. The plugin is one of the test; QEMU is in e2e.boot.
#include <gmock/gmock.h>

#include <hyper/draft/boot.hpp>
#include <hyper/draft/guest.hpp>

#include "core/vm/route.hpp"
#include "tests/support/memory_plugins.hpp"

namespace hyperhost::testing_memory {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

struct Script {
  json answer = {
      {"grade", "login"},
      {"accel", "tcg"},
      {"stopped", "guest"},
      {"console_tail", "web login:"},
      {"reached", {{{"grade", "login"}, {"ms", 1200}, {"evidence", "serial: web login:"}}}}};
  std::string refusal;  ///< of plan()
  bool picture = false;
  json planned, checked;                       ///< the requests
  std::vector<std::filesystem::path> sockets;  ///< where the disks were attached
  std::string read;
  std::string written;  ///< by the guest, to each disk, where that takes it
  std::string notes;    ///< of the guest's records after its boot
  bool reads_traces = true, traces_fail = false;
  std::vector<std::string> looked;  ///< what the disks held when the guest plugin looked
};

Script& script() {
  static Script current;
  return current;
}

/// Answers as the script says.
class MemoryBoot final : public hyper::BootInstance {
 public:
  static std::unique_ptr<MemoryBoot> open(const hyper::Doc&, hyper::Op) {
    return std::make_unique<MemoryBoot>();
  }
  std::string plan(hyper::Op, const hyper::Doc& request) override {
    script().planned = asked_as("boot.request", request);
    if (!script().refusal.empty())
      throw hyper::Error(HYPER_NOTFOUND, script().refusal).hint("install it");
    return R"({"notes": ["the machine of the check has no TPM"]})";
  }
  std::string check(hyper::Op op, const hyper::Doc& request,
                    const std::vector<hyper::BlockRef>& disks) override {
    MemoryWorld::here().call("boot");
    script().checked = asked_as("boot.request", request);
    {
      const hyper::AttachedBlocks attached(op, disks);
      for (const auto& disk : attached.served()) {
        EXPECT_TRUE(std::filesystem::exists(disk.socket));
        script().sockets.push_back(disk.socket);
      }
    }
    for (const hyper::BlockRef& disk : disks) {
      const bool takes = script().checked["require"] == "traces";
      EXPECT_EQ(disk.can(HYPER_BLOCK_WRITE), takes);
      if (!takes) {
        EXPECT_THROW(disk.write_at(op, 0, "x", 1), hyper::Error);
      }
      std::string bytes(disk.length(), '\0');
      disk.read_at(op, 0, bytes.data(), bytes.size());
      script().read += bytes;
      if (takes) disk.write_at(op, 0, script().written.data(), script().written.size());
    }
    json answer = script().answer;
    if (script().picture) {
      const std::string path = script().checked.at("picture").get<std::string>() + ".png";
      std::ofstream(path) << "picture";
      answer["screens"] = {path};
    }
    return answer.dump();
  }
};

/// What the disks hold is the guest's one record.
class MemoryReader final : public hyper::GuestInstance {
 public:
  static std::unique_ptr<MemoryReader> open(const hyper::Doc&, hyper::Op) {
    return std::make_unique<MemoryReader>();
  }
  std::string plan(hyper::Op, const hyper::Doc& request) override {
    EXPECT_EQ(asked_as("guest.request", request)["traces"], true);
    return script().reads_traces ? R"({"traces": true})" : R"({"families": ["linux"]})";
  }
  std::string inspect(hyper::Op op, const hyper::Doc& request,
                      const std::vector<hyper::BlockRef>& disks) override {
    EXPECT_EQ(asked_as("guest.request", request)["traces"], true);
    std::string all;
    for (const hyper::BlockRef& disk : disks) {
      EXPECT_FALSE(disk.can(HYPER_BLOCK_WRITE));
      std::string bytes(disk.length(), '\0');
      disk.read_at(op, 0, bytes.data(), bytes.size());
      all += bytes;
    }
    script().looked.push_back(all);
    const bool later = script().looked.size() > 1;
    if (later && script().traces_fail) throw hyper::Error(HYPER_FAIL, "it does not mount any more");
    json answer = {{"roots", json::array()},
                   {"traces", {{"boots", {{{"id", all}, {"evidence", "record: " + all}}}}}}};
    answer["traces"]["notes"] = json::array({"an old note"});
    if (later && !script().notes.empty()) answer["traces"]["notes"].push_back(script().notes);
    return answer.dump();
  }
  std::string prepare(hyper::Op, const hyper::Doc&, const std::vector<hyper::BlockRef>&) override {
    throw hyper::Error(HYPER_UNSUPPORTED, "it only reads");
  }
};

class BootStage : public MemoryHost {
 protected:
  BootStage() {
    script() = {};
    PluginTables tables;
    tables.boot = *static_cast<const hyper_boot*>(hyper::Boot<MemoryBoot>::table());
    add("memory-boot", tables, {HYPER_IFACE_BOOT});
    PluginTables reader;
    reader.guest = *static_cast<const hyper_guest*>(hyper::Guest<MemoryReader>::table());
    add("memory-reader", reader, {HYPER_IFACE_GUEST});
    add_vm("web", {"aaaa", "bbbb"});
  }
  MigrationConfig booting() const {
    MigrationConfig out = config("web");
    out.boot.wanted = true;
    out.boot_plugin.plugin = "memory-boot";
    return out;
  }
  MigrationConfig tracing() const {
    MigrationConfig out = booting();
    out.boot.require = BootGrade::kTraces;
    out.traces_plugin.plugin = "memory-reader";
    return out;
  }
  json manifest() const { return json::parse(content("web/manifest.json")); }
};

TEST_F(BootStage, TheDeliveredDisksAreBootedAndTheResultSaysSo) {
  script().picture = true;
  MigrationConfig job = booting();
  job.boot.timeout = std::chrono::minutes(3);
  job.boot.isolated_network = true;
  job.boot.machine.bus = "sata";
  const MigrationResult result = orchestrator().migrate(job, cancel_);
  ASSERT_TRUE(result.success) << result.error;
  EXPECT_EQ(script().read, "aaaabbbb");
  ASSERT_THAT(script().sockets, SizeIs(2));
  for (const auto& socket : script().sockets) EXPECT_FALSE(std::filesystem::exists(socket));
  EXPECT_EQ(script().checked["timeout_ms"], 180'000);
  EXPECT_EQ(script().checked["network"], "isolated");
  const json machine = script().checked["machine"];
  EXPECT_EQ(machine["firmware"], "bios");
  ASSERT_THAT(machine["disks"], SizeIs(2));
  EXPECT_EQ(machine["disks"][0]["boot"], true);
  EXPECT_EQ(machine["disks"][1]["boot"], false);
  EXPECT_EQ(machine["disks"][1]["bus"], "sata");
  EXPECT_EQ(result.boot["booted"], true);
  EXPECT_EQ(result.boot["screen"], file("web/boot-screen.png").string());
  EXPECT_TRUE(std::filesystem::exists(file("web/boot-screen.png")));
  const json boot = manifest().at("hyperhost").at("boot");
  EXPECT_EQ(boot["plugin"], "memory-boot");
  EXPECT_EQ(boot["grade"], "login");
  EXPECT_EQ(boot["evidence"][0]["ms"], 1200);
  EXPECT_EQ(manifest()["pipeline"]["validate"]["boot_test"], true);
}

TEST_F(BootStage, WithoutTheKeyNothingIsBooted) {
  ASSERT_TRUE(orchestrator().migrate(config("web"), cancel_).success);
  EXPECT_EQ(world_.count("boot"), 0u);
  EXPECT_FALSE(manifest().at("hyperhost").contains("boot"));
  EXPECT_EQ(manifest()["pipeline"]["validate"]["boot_test"], false);
}

TEST_F(BootStage, AGuestThatFailsFailsTheVmAndTheNextRunOnlyBootsItAgain) {
  script().answer = {{"grade", "kernel"},
                     {"failed", "initramfs"},
                     {"failure", "serial: (initramfs)"},
                     {"console_tail", "ALERT! /dev/sda1 does not exist\n(initramfs)"}};
  const MigrationResult result = orchestrator().migrate(booting(), cancel_);
  EXPECT_FALSE(result.success);
  EXPECT_THAT(
      result.diagnostic.summary,
      HasSubstr("does not boot: its kernel does not find the root file system (initramfs)"));
  EXPECT_EQ(result.diagnostic.detail, "serial: (initramfs)");
  EXPECT_EQ(result.diagnostic.rule, "boot.initramfs");
  EXPECT_THAT(result.boot["console_tail"], HasSubstr("ALERT!"));
  EXPECT_FALSE(std::filesystem::exists(file("web/manifest.json")));  // the set is not complete
  script() = {};
  world_.forget_calls();
  const MigrationResult again = orchestrator().migrate(booting(), cancel_);
  EXPECT_TRUE(again.success) << again.error;
  EXPECT_EQ(world_.count("boot"), 1u);
  EXPECT_EQ(world_.count("half aaaa"), 0u);  // converted once, and the file is the earlier run's
  EXPECT_EQ(world_.count("write web/web-disk-0.raw"), 0u);
  EXPECT_EQ(world_.count("commit web/web-disk-0.raw"), 0u);
}

TEST_F(BootStage, WithoutARecordAFailureTakesTheDisksAway) {
  script().answer["grade"] = "loader";
  OrchestratorConfig config_of;
  config_of.providers = providers();
  MigrationOrchestrator orchestrator(config_of, registry_, {nullptr, nullptr, clock_});
  EXPECT_FALSE(orchestrator.migrate(booting(), cancel_).success);
  EXPECT_FALSE(std::filesystem::exists(file("web")));
  // The picture that the result names is what there is to see of it.
  script().picture = true;
  const MigrationResult result = orchestrator.migrate(booting(), cancel_);
  const std::filesystem::path screen = result.boot["screen"].get<std::string>();
  EXPECT_TRUE(std::filesystem::exists(screen));
  EXPECT_THAT(result.diagnostic.hint, HasSubstr(screen.string()));
  EXPECT_FALSE(std::filesystem::exists(file("web/web-disk-0.raw")));
  std::filesystem::remove(screen);
  EXPECT_TRUE(std::filesystem::remove(file("web")));  // nothing else is there
}

TEST_F(BootStage, AResultNamesNoPictureThatWentWithItsVm) {
  script().picture = true;
  OrchestratorConfig config_of;
  config_of.providers = providers();
  MigrationOrchestrator orchestrator(config_of, registry_, {nullptr, nullptr, clock_});
  MigrationConfig job = uploading("web");
  job.boot.wanted = true;
  job.boot_plugin.plugin = "memory-boot";
  world_.on_call = [](const std::string& call) {
    if (call.rfind("put bucket:", 0) == 0) throw hyper::Error(HYPER_FAIL, "the bucket is gone");
  };
  const MigrationResult result = orchestrator.migrate(job, cancel_);
  world_.on_call = {};
  EXPECT_FALSE(result.success);
  EXPECT_EQ(result.boot["booted"], true);
  EXPECT_FALSE(result.boot.contains("screen"));
  EXPECT_FALSE(std::filesystem::exists(file("web")));
}

TEST_F(BootStage, AGuestThatIsNotThereInTimeHasNotBooted) {
  script().answer["grade"] = "kernel";
  script().answer["stopped"] = "off";
  MigrationResult result = orchestrator().migrate(booting(), cancel_);
  EXPECT_THAT(result.diagnostic.summary,
              HasSubstr("it reached 'kernel' and not 'login' within 900 s"));
  EXPECT_THAT(result.diagnostic.detail, HasSubstr("web login:"));
  script().answer["stopped"] = "guest";
  result = orchestrator().migrate(booting(), cancel_);
  EXPECT_THAT(result.diagnostic.summary, HasSubstr("and not 'login' before it powered off"));
  MigrationConfig less = booting();
  less.boot.require = BootGrade::kKernel;
  EXPECT_TRUE(orchestrator().migrate(less, cancel_).success);
}

TEST_F(BootStage, AWarningDeliversTheVm) {
  script().answer["failed"] = "panic";
  MigrationConfig job = booting();
  job.boot.warn_only = true;
  const MigrationResult result = orchestrator().migrate(job, cancel_);
  ASSERT_TRUE(result.success) << result.error;
  ASSERT_THAT(result.warnings, SizeIs(1));
  EXPECT_THAT(result.warnings[0].summary, HasSubstr("its kernel panics (panic)"));
  EXPECT_EQ(manifest()["hyperhost"]["boot"]["booted"], false);
  EXPECT_EQ(manifest()["hyperhost"]["boot"]["failed"], "panic");
}

TEST_F(BootStage, NothingIsUploadedThatDoesNotBoot) {
  MigrationConfig job = uploading("web");
  job.boot.wanted = true;
  job.boot_plugin.plugin = "memory-boot";
  job.keep_local = false;
  script().picture = true;
  script().answer["failed"] = "no-boot-device";
  EXPECT_FALSE(orchestrator().migrate(job, cancel_).success);
  EXPECT_THAT(world_.bucket, IsEmpty());
  EXPECT_TRUE(std::filesystem::exists(file("web/boot-screen.png")));
  script().answer.erase("failed");
  const MigrationResult result = orchestrator().migrate(job, cancel_);
  ASSERT_TRUE(result.success) << result.error;
  EXPECT_THAT(world_.bucket, SizeIs(3));
  EXPECT_FALSE(std::filesystem::exists(file("web")));  // nor a picture of a guest that boots
}

TEST_F(BootStage, AHostileAnswerBecomesBoundedText) {
  script().answer = {
      {"grade", "login"},          {"accel", "tcg\x1b[2J"},
      {"stopped", nullptr},        {"console_tail", std::string(100'000, 'x') + "\x1b[31m\nend"},
      {"reached", json::array()},  {"notes", {std::string(1000, 'x'), "a \x1b]0;b\x07 note"}},
      {"screens", {"/etc/passwd"}}};
  for (int i = 0; i < 1000; ++i)
    script().answer["reached"].push_back({{"grade", "kernel"}, {"evidence", "\xc3\xa4\r\n"}});
  const MigrationResult result = orchestrator().migrate(booting(), cancel_);
  ASSERT_TRUE(result.success) << result.error;
  const std::string tail = result.boot["console_tail"];
  EXPECT_EQ(tail.size(), 8192u);
  EXPECT_EQ(tail.substr(tail.size() - 9), "x[31m\nend");
  EXPECT_EQ(result.boot["accel"], "tcg[2J");
  EXPECT_EQ(result.boot["stopped"], "");
  EXPECT_THAT(result.boot["reached"], SizeIs(32));
  EXPECT_EQ(result.boot["reached"][5], json({{"grade", "kernel"}, {"ms", 0}, {"evidence", ""}}));
  EXPECT_THAT(result.boot["notes"][0].get<std::string>(), SizeIs(256));
  EXPECT_EQ(result.boot["notes"][1], "a ]0;b note");
  EXPECT_FALSE(result.boot.contains("screen"));
}

TEST_F(BootStage, AnAnswerInAWrongFormIsTheFaultOfThePlugin) {
  const std::pair<const char*, json> wrong[] = {{"/grade", "splendid"},
                                                {"/failed", "a b"},
                                                {"/reached", json::array({{{"ms", 1}}})},
                                                {"/notes", {1}},
                                                {"/accel", 7}};
  for (const auto& [pointer, value] : wrong) {
    script() = {};
    script().answer[json::json_pointer(pointer)] = value;
    const MigrationResult result = orchestrator().migrate(booting(), cancel_);
    EXPECT_FALSE(result.success);
    EXPECT_THAT(
        result.diagnostic.summary,
        HasSubstr("plugin 'memory-boot': check() gave a wrong document: " + std::string(pointer)));
  }
}

TEST_F(BootStage, WhatThePluginRefusesIsAFindingOfPreflight) {
  script().refusal = "\"qemu\" is not installed";
  const VmRoute route = orchestrator().preflight(booting(), cancel_);
  ASSERT_THAT(route.findings, SizeIs(1));
  EXPECT_EQ(route.findings[0].summary, "\"qemu\" is not installed");
  EXPECT_EQ(route.findings[0].path, "boot/memory-boot");
  EXPECT_EQ(world_.count("boot"), 0u);
  script().refusal.clear();
  const VmRoute fine = orchestrator().preflight(booting(), cancel_);
  ASSERT_THAT(fine.findings, SizeIs(1));
  EXPECT_EQ(fine.findings[0].severity, Severity::kInfo);
  EXPECT_EQ(script().planned["require"], "login");
}

TEST_F(BootStage, AVmThatWasFinishedWithoutACheckIsReported) {
  ASSERT_TRUE(orchestrator().migrate(config("web"), cancel_).success);
  const MigrationResult result = orchestrator().migrate(booting(), cancel_);
  EXPECT_TRUE(result.success) << result.error;
  EXPECT_TRUE(result.already_done);
  ASSERT_THAT(result.warnings, SizeIs(1));
  EXPECT_THAT(result.warnings[0].summary, HasSubstr("did not show that the VM boots"));
  std::filesystem::remove_all(file("web"));
  ASSERT_TRUE(orchestrator().migrate(booting(), cancel_).success);
  const MigrationResult done = orchestrator().migrate(booting(), cancel_);
  EXPECT_TRUE(done.already_done);
  EXPECT_THAT(done.warnings, IsEmpty());
  EXPECT_EQ(done.boot["grade"], "login");
}

TEST_F(BootStage, WhatTheGuestRecordedProvesItsBoot) {
  script().written = "up";
  script().notes = "failed: ssh.service";
  const MigrationResult result = orchestrator().migrate(tracing(), cancel_);
  ASSERT_TRUE(result.success) << result.error;
  EXPECT_EQ(script().checked["require"], "traces");
  EXPECT_EQ(script().read, "aaaabbbb");
  EXPECT_THAT(script().looked, ElementsAre("aaaabbbb", "upaaupbb"));
  EXPECT_EQ(result.boot["booted"], true);
  EXPECT_EQ(result.boot["grade"], "traces");
  const json& last = result.boot["reached"].back();
  EXPECT_EQ(last["grade"], "traces");
  EXPECT_EQ(last["evidence"], "record: upaaupbb");
  EXPECT_THAT(result.boot["notes"], ElementsAre("failed: ssh.service"));  // the other one is old
  EXPECT_EQ(content("web/web-disk-0.raw"), "aaaa");
  EXPECT_EQ(content("web/web-disk-1.raw"), "bbbb");
  const json boot = manifest()["hyperhost"]["boot"];
  EXPECT_EQ(boot["grade"], "traces");
  EXPECT_EQ(boot["evidence"].back()["evidence"], "record: upaaupbb");
}

TEST_F(BootStage, ABootThatTheGuestDidNotRecordIsNone) {
  const MigrationResult result = orchestrator().migrate(tracing(), cancel_);  // it writes nothing
  EXPECT_FALSE(result.success);
  EXPECT_EQ(result.diagnostic.rule, "boot.no-traces");
  EXPECT_THAT(result.diagnostic.summary, HasSubstr("its own records do not show the boot"));
  EXPECT_THAT(result.diagnostic.detail, HasSubstr("all of them from before the check"));
  EXPECT_EQ(result.boot["grade"], "login");
  EXPECT_THAT(script().looked, SizeIs(2));
}

TEST_F(BootStage, OnlyAGuestThatPoweredOffIsReadAgain) {
  script().written = "up";
  script().answer["stopped"] = "off";
  MigrationResult result = orchestrator().migrate(tracing(), cancel_);
  EXPECT_EQ(result.diagnostic.rule, "boot.no-clean-stop");
  EXPECT_THAT(script().looked, SizeIs(1));
  script().answer["stopped"] = "guest";
  script().answer["failed"] = "emergency";
  result = orchestrator().migrate(tracing(), cancel_);
  EXPECT_EQ(result.diagnostic.rule, "boot.emergency");
  EXPECT_THAT(script().looked, SizeIs(2));
  script().answer.erase("failed");
  script().answer["grade"] = "firmware";
  result = orchestrator().migrate(tracing(), cancel_);
  EXPECT_THAT(result.diagnostic.summary, HasSubstr("it reached 'firmware' and not 'traces'"));
  EXPECT_THAT(script().looked, SizeIs(3));
}

TEST_F(BootStage, AReaderThatFailsAfterTheBootFailsTheVm) {
  script().written = "up";
  script().traces_fail = true;
  const MigrationResult result = orchestrator().migrate(tracing(), cancel_);
  EXPECT_FALSE(result.success);
  EXPECT_EQ(result.diagnostic.summary, "it does not mount any more");
  EXPECT_EQ(content("web/web-disk-0.raw"), "aaaa");
}

TEST_F(BootStage, AReaderThatReadsNoTracesIsAFindingOfPreflight) {
  script().reads_traces = false;
  const VmRoute route = orchestrator().preflight(tracing(), cancel_);
  ASSERT_THAT(route.findings, SizeIs(2));  // the other one is a note
  EXPECT_EQ(route.findings[1].severity, Severity::kError);
  EXPECT_EQ(route.findings[1].path, "boot/traces/memory-reader");
  EXPECT_THAT(route.findings[1].summary, HasSubstr("does not read what a boot leaves"));
  EXPECT_EQ(world_.count("boot"), 0u);
}

}  // namespace
}  // namespace hyperhost::testing_memory
