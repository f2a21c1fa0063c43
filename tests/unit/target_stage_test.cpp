// SPDX-License-Identifier: Apache-2.0
// The VM at its target as the host sees it: the order of what it asks a plugin of the kind
// "target", what stays after each failure, and what a later run takes over. The plugin is one of
// the test.
#include <gmock/gmock.h>

#include <hyper/draft/target.hpp>
#include <set>

#include "core/migrate/machine.hpp"
#include "core/os/process_identity.hpp"
#include "core/run/cleanup.hpp"
#include "core/state/journal.hpp"
#include "core/vm/route.hpp"
#include "tests/support/memory_plugins.hpp"

namespace hyperhost::testing_memory {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

/// A platform: what it has, and what the test makes it answer.
struct Platform {
  json info = {{"location", "platform"},
               {"disks", {"put"}},
               {"can", {"start", "readback", "state", "stop", "remove"}}};
  json plan = json::object(), answer = json::object();
  json planned, asked;                       ///< the requests of plan and define
  std::map<std::string, std::string> disks;  ///< by ref
  std::map<std::string, std::string> marks;  ///< of the machines, by name
  std::set<std::string> running;
  std::vector<json> puts;
  bool rot = false;
};

Platform& platform() {
  static Platform current;
  return current;
}

class MemoryTarget final : public hyper::TargetConnection {
 public:
  static std::unique_ptr<MemoryTarget> connect(const hyper::Doc&, hyper::Op) {
    return std::make_unique<MemoryTarget>();
  }
  std::string info(hyper::Op) override { return platform().info.dump(); }
  std::string plan(hyper::Op, const hyper::Doc& request) override {
    platform().planned = asked_as("target.request", request);
    return platform().plan.dump();
  }
  std::unique_ptr<hyper::Sink> put_disk(hyper::Op, const hyper::Doc& request) override {
    const json asked = asked_as("target.disk", request);
    platform().puts.push_back(asked);
    MemoryWorld::here().call("target put " + asked["disk"].get<std::string>());
    return std::make_unique<Disk>("ref-" + asked["disk"].get<std::string>());
  }
  std::unique_ptr<hyper::Source> get_disk(hyper::Op, const std::string& ref) override {
    const auto found = platform().disks.find(ref);
    if (found == platform().disks.end()) throw hyper::Error(HYPER_NOTFOUND, "no disk " + ref);
    std::string bytes = found->second;
    if (platform().rot) bytes.at(0) ^= 1;
    return std::make_unique<BytesSource>(bytes, true);
  }
  std::string define(hyper::Op, const hyper::Doc& request) override {
    MemoryWorld::here().call("target define");
    platform().asked = asked_as("target.request", request);
    const std::string name = platform().asked["name"], mark = platform().asked["mark"];
    const auto there = platform().marks.find(name);
    if (there != platform().marks.end() && there->second != mark)
      throw hyper::Error(HYPER_EXISTS, "there is a machine '" + name + "'");
    platform().marks[name] = mark;
    json answer = platform().answer;
    answer.update({{"ref", "vm/" + name}, {"name", name}});
    return answer.dump();
  }
  void start(hyper::Op, const hyper::Doc& request) override {
    MemoryWorld::here().call("target start");
    platform().running.insert(request.string("/ref"));
  }
  void remove(hyper::Op, const hyper::Doc& request) override {
    const std::string ref = request.string("/ref"), kind = request.string("/kind");
    MemoryWorld::here().call("target remove " + kind + " " + ref);
    if (kind == "disk")
      platform().disks.erase(ref);
    else
      platform().marks.erase(ref.substr(3));
  }
  void undo(hyper::Op, const hyper::Doc& entry) override {
    MemoryWorld::here().call("target undo " + entry.string("/kind"));
  }

 private:
  class Disk final : public hyper::Sink {
   public:
    explicit Disk(std::string ref) : ref_(std::move(ref)) {}
    hyper::SinkTraits traits() const override {
      hyper::SinkTraits out;
      out.flags = HYPER_SINK_APPEND;
      return out;
    }
    void write_at(hyper::Op, uint64_t, const void* data, uint64_t length) override {
      bytes_.append(static_cast<const char*>(data), length);
    }
    std::string commit(hyper::Op, uint64_t length) override {
      MemoryWorld::here().call("target commit " + ref_);
      platform().disks[ref_] = bytes_;
      return json{{"location", ref_}, {"bytes", length}}.dump();
    }

   private:
    const std::string ref_;
    std::string bytes_;
  };
};

class MemoryJournal final : public Journal {
 public:
  uint64_t open_entry(const std::string& plugin, const json& what) override {
    const uint64_t id = ++last_;
    entries[id] = {id, plugin, what, owner};
    return id;
  }
  void update_entry(uint64_t id, const json& what) override { entries.at(id).what = what; }
  void close_entry(uint64_t id) override { entries.erase(id); }
  void each_entry(const std::string& plugin,
                  const std::function<void(const JournalEntry&)>& on_entry) override {
    for (const auto& [id, entry] : std::map<uint64_t, JournalEntry>(entries))
      if (plugin.empty() || plugin == entry.plugin) on_entry(entry);
  }
  /// As if this process had been killed.
  void orphan() {
    for (auto& [id, entry] : entries) entry.owner = "of a process that is gone";
  }
  std::vector<std::string> refs() const {
    std::vector<std::string> out;
    for (const auto& [id, entry] : entries) out.push_back(entry.what.value("ref", ""));
    return out;
  }

  std::map<uint64_t, JournalEntry> entries;
  std::string owner = this_process();

 private:
  uint64_t last_ = 0;
};

class TargetStage : public MemoryHost {
 protected:
  TargetStage() {
    platform() = {};
    PluginTables tables;
    tables.target = *static_cast<const hyper_target*>(hyper::Target<MemoryTarget>::table());
    add("memory-target", tables, {HYPER_IFACE_TARGET});
    add_vm("web", {"aaaa", "bbbb"});
  }
  MigrationConfig defining(MigrationConfig out) const {
    out.target.wanted = true;
    out.target.by_default = false;
    out.target_plugin.plugin = "memory-target";
    out.verify_export = Verify::kTarget;
    return out;
  }
  MigrationConfig defining() const { return defining(config("web")); }
  json manifest() const { return json::parse(content("web/manifest.json")); }
  /// Of one kind of call, in their order.
  std::vector<std::string> target_calls() const {
    std::vector<std::string> out;
    for (const std::string& call : world_.calls())
      if (call.rfind("target ", 0) == 0) out.push_back(call);
    return out;
  }
};

TEST_F(TargetStage, DisksAreThereAndComparedBeforeTheMachineIsDefined) {
  MigrationConfig job = defining();
  job.target.name = "prod-{name}";
  job.target.storages = {{"*", "fast"}};
  const MigrationResult result = orchestrator().migrate(job, cancel_);
  ASSERT_TRUE(result.success) << result.error;
  EXPECT_THAT(target_calls(),
              ElementsAre("target put disk-0", "target commit ref-disk-0", "target put disk-1",
                          "target commit ref-disk-1", "target define"));
  EXPECT_EQ(platform().disks["ref-disk-0"], "aaaa");
  EXPECT_EQ(platform().puts[1]["storage"], "fast");
  EXPECT_EQ(platform().asked["name"], "prod-web");
  EXPECT_EQ(platform().asked["disks"][1]["ref"], "ref-disk-1");
  EXPECT_EQ(platform().asked["disks"][1]["path"], file("web/web-disk-1.raw").string());
  EXPECT_FALSE(platform().planned["disks"][0].contains("ref"));
  EXPECT_EQ(result.target["disks"]["disk-0"]["verified"], "readback");
  const json own = manifest().at("hyperhost");
  EXPECT_EQ(own["target"]["ref"], "vm/prod-web");
  EXPECT_EQ(own["machine"], platform().asked["machine"]);
  EXPECT_THAT(platform().running, IsEmpty());
}

TEST_F(TargetStage, WithoutTheKeyNothingIsDefinedAndTheManifestHasTheMachine) {
  ASSERT_TRUE(orchestrator().migrate(config("web"), cancel_).success);
  EXPECT_THAT(target_calls(), IsEmpty());
  EXPECT_FALSE(manifest().at("hyperhost").contains("target"));
  EXPECT_EQ(manifest().at("hyperhost").at("machine").at("firmware"), "bios");
}

TEST_F(TargetStage, ADiskThatIsNotWhatWasSentIsNotDefined) {
  platform().rot = true;
  const MigrationResult result = orchestrator().migrate(defining(), cancel_);
  EXPECT_FALSE(result.success);
  EXPECT_THAT(result.diagnostic.summary, HasSubstr("does not hold what was sent"));
  EXPECT_THAT(target_calls(), Not(Contains("target define")));
  EXPECT_THAT(platform().disks, IsEmpty());  // what is wrong there is taken away
}

TEST_F(TargetStage, AnotherMachineOfThatNameStaysAndTheDisksGo) {
  platform().marks["web"] = "another's";
  const MigrationResult result = orchestrator().migrate(defining(), cancel_);
  EXPECT_FALSE(result.success);
  EXPECT_EQ(result.diagnostic.code, Code::kExists);
  EXPECT_EQ(platform().marks["web"], "another's");
  EXPECT_THAT(platform().disks, IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(file("web/manifest.json")));
}

TEST_F(TargetStage, ALaterRunAdoptsTheDisksThatAreThere) {
  world_.on_call = [](const std::string& call) {
    if (call == "target define") throw hyper::Error(HYPER_IO, "the platform is gone");
  };
  EXPECT_FALSE(orchestrator().migrate(defining(), cancel_).success);
  world_.on_call = {};
  EXPECT_THAT(platform().disks, SizeIs(2));  // kept for the next run
  world_.forget_calls();
  const MigrationResult again = orchestrator().migrate(defining(), cancel_);
  ASSERT_TRUE(again.success) << again.error;
  EXPECT_THAT(target_calls(), ElementsAre("target define"));
  EXPECT_EQ(platform().asked["disks"][0]["ref"], "ref-disk-0");
  // One that is gone there meanwhile is sent again.
  std::filesystem::remove_all(file("web"));
  platform().disks.clear();
  world_.forget_calls();
  ASSERT_TRUE(orchestrator().migrate(defining(), cancel_).success);
  EXPECT_THAT(target_calls(), Contains("target commit ref-disk-0"));
}

TEST_F(TargetStage, WithoutARecordAFailureTakesEverythingAway) {
  OrchestratorConfig config_of;
  config_of.providers = providers();
  MigrationOrchestrator orchestrator(config_of, registry_, {nullptr, nullptr, clock_});
  world_.on_call = [](const std::string& call) {
    if (call == "commit web/manifest.json") throw hyper::Error(HYPER_FAIL, "the place is gone");
  };
  EXPECT_FALSE(orchestrator.migrate(defining(), cancel_).success);
  world_.on_call = {};
  EXPECT_THAT(platform().disks, IsEmpty());
  EXPECT_THAT(platform().marks, IsEmpty());
  const std::vector<std::string> calls = target_calls();
  // The machine goes before the disks that it uses.
  EXPECT_THAT(std::vector<std::string>(calls.end() - 3, calls.end()),
              ElementsAre("target remove machine vm/web", "target remove disk ref-disk-1",
                          "target remove disk ref-disk-0"));
  EXPECT_FALSE(std::filesystem::exists(file("web")));
}

TEST_F(TargetStage, WhatAKilledRunLeftIsInTheJournalAndGoesWithTheNextRunOrTheCleanup) {
  const auto journal = std::make_shared<MemoryJournal>();
  const auto migrate = [&](bool remembers) {
    OrchestratorConfig config_of;
    config_of.providers = providers();
    SessionServices services{journal, remembers ? resume_ : std::make_shared<MemoryResumeStore>(),
                             clock_};
    MigrationOrchestrator orchestrator(config_of, registry_, services);
    return orchestrator.migrate(defining(), cancel_);
  };
  const auto fail_at = [&](const std::string& where) {
    world_.on_call = [where](const std::string& call) {
      if (call == where) throw hyper::Error(HYPER_IO, "the platform is gone");
    };
  };
  fail_at("target put disk-1");
  EXPECT_FALSE(migrate(true).success);
  EXPECT_THAT(journal->refs(), ElementsAre("ref-disk-0"));
  world_.on_call = {};
  journal->orphan();
  world_.forget_calls();
  ASSERT_TRUE(migrate(true).success);  // its record speaks of the disk: it is adopted
  EXPECT_THAT(target_calls(),
              ElementsAre("target put disk-1", "target commit ref-disk-1", "target define"));
  EXPECT_THAT(journal->entries, IsEmpty());

  // Without the record the next run removes it, as the cleanup does.
  std::filesystem::remove_all(file("web"));
  platform().disks.clear();
  platform().marks.clear();
  fail_at("target define");
  EXPECT_FALSE(migrate(true).success);
  EXPECT_THAT(journal->refs(), ElementsAre("ref-disk-0", "ref-disk-1"));
  journal->orphan();
  Session session(registry_, providers(), {journal, resume_, clock_});
  CleanupPlaces places;
  places.targets.push_back(defining().target_plugin);
  world_.on_call = {};
  const auto items = clean_up(*journal, session, places, false, false, cancel_);
  ASSERT_THAT(items, SizeIs(2));
  EXPECT_EQ(items[0].state, CleanupState::kUndone) << items[0].reason;
  EXPECT_THAT(platform().disks, IsEmpty());
  EXPECT_THAT(journal->entries, IsEmpty());

  // A machine goes before the disks that it uses.
  std::filesystem::remove_all(file("web"));
  fail_at("commit web/manifest.json");
  EXPECT_FALSE(migrate(true).success);
  EXPECT_THAT(journal->refs(), ElementsAre("ref-disk-0", "ref-disk-1", "vm/web"));
  journal->orphan();
  world_.on_call = {};
  world_.forget_calls();
  EXPECT_THAT(clean_up(*journal, session, places, false, false, cancel_), SizeIs(3));
  EXPECT_THAT(target_calls(),
              ElementsAre("target remove machine vm/web", "target remove disk ref-disk-1",
                          "target remove disk ref-disk-0"));
  EXPECT_THAT(platform().marks, IsEmpty());
  EXPECT_THAT(journal->entries, IsEmpty());
  ASSERT_TRUE(migrate(true).success);  // what the cleanup removed is made again
  EXPECT_THAT(platform().disks, SizeIs(2));
  EXPECT_THAT(journal->entries, IsEmpty());
  // An entry of another place stays.
  journal->open_entry("memory-target",
                      {{"kind", "target-disk"}, {"where", "elsewhere"}, {"ref", "x"}});
  journal->orphan();
  EXPECT_EQ(clean_up(*journal, session, places, false, false, cancel_)[0].state,
            CleanupState::kNoPlace);
}

TEST_F(TargetStage, FilesThatATargetAnswersAreWrittenWhereTheManifestGoes) {
  platform().info = {{"location", "files"}, {"disks", {"place"}}};
  platform().plan = {{"files", {"vm.xml"}}};
  platform().answer = {{"files", {{{"name", "vm.xml"}, {"text", "<vm/>"}}}}};
  ASSERT_TRUE(orchestrator().migrate(defining(), cancel_).success);
  EXPECT_EQ(content("web/vm.xml"), "<vm/>");
  EXPECT_EQ(manifest()["hyperhost"]["target"]["files"][0], "vm.xml");
  EXPECT_THAT(platform().puts, IsEmpty());
  const auto order = world_.calls();
  EXPECT_LT(std::find(order.begin(), order.end(), "commit web/vm.xml"),
            std::find(order.begin(), order.end(), "commit web/manifest.json"));

  add_vm("cloud", {"cccc"});
  MigrationConfig job = defining(uploading("cloud"));
  job.keep_local = false;
  const MigrationResult result = orchestrator().migrate(job, cancel_);
  ASSERT_TRUE(result.success) << result.error;
  EXPECT_EQ(world_.bucket["cloud/vm.xml"], "<vm/>");
  EXPECT_FALSE(std::filesystem::exists(file("cloud/vm.xml")));
  EXPECT_FALSE(platform().asked["disks"][0].contains("path"));
  EXPECT_THAT(platform().asked["disks"][0]["object"], HasSubstr("cloud/cloud-disk-0.raw"));
}

TEST_F(TargetStage, AFileThatIsThereIsAnErrorBeforeTheCopy) {
  platform().info = {{"location", "files"}, {"disks", {"place"}}};
  platform().plan = {{"files", {"vm.xml"}}};
  platform().answer = {{"files", {{{"name", "vm.xml"}, {"text", "<vm/>"}}}}};
  std::filesystem::create_directories(file("web"));
  std::ofstream(file("web/vm.xml")) << "mine";
  const MigrationResult result = orchestrator().migrate(defining(), cancel_);
  EXPECT_EQ(result.diagnostic.code, Code::kExists);
  EXPECT_EQ(content("web/vm.xml"), "mine");
  EXPECT_EQ(world_.count("open web/disk-0"), 0u);
  MigrationConfig job = defining();
  job.overwrite = true;
  ASSERT_TRUE(orchestrator().migrate(job, cancel_).success);
  EXPECT_EQ(content("web/vm.xml"), "<vm/>");
}

/// As of a plan without the key.
class DefaultTarget : public TargetStage {
 protected:
  DefaultTarget() {
    platform().info = {{"location", "files"}, {"disks", {"place"}}};
    platform().plan = {{"files", {"vm.sh", "vm.xml"}}};
    platform().answer = {
        {"files",
         {{{"name", "vm.sh"}, {"text", "make it"}}, {{"name", "vm.xml"}, {"text", "<vm/>"}}}}};
  }
  MigrationConfig by_default() const {
    MigrationConfig out = defining();
    out.target.by_default = true;
    return out;
  }
  void fail_at(const std::string& where, hyper_st status) {
    world_.on_call = [where, status](const std::string& call) {
      if (call == where) throw hyper::Error(status, "it fails at " + where);
    };
  }
  void put_mine(const std::string& name) {
    std::filesystem::create_directories(file("web"));
    std::ofstream(file("web/" + name)) << "mine";
  }
};

TEST_F(DefaultTarget, AFileOfTheUserStaysAndTheOthersAreWritten) {
  put_mine("vm.xml");
  const MigrationResult result = orchestrator().migrate(by_default(), cancel_);
  ASSERT_TRUE(result.success) << result.error;
  EXPECT_EQ(content("web/vm.xml"), "mine");
  EXPECT_EQ(content("web/vm.sh"), "make it");
  EXPECT_EQ(manifest()["hyperhost"]["target"]["files"], json({"vm.sh"}));
  ASSERT_THAT(result.warnings, SizeIs(1));
  EXPECT_THAT(result.warnings[0].summary, HasSubstr("it exists and stays as it is"));
}

TEST_F(DefaultTarget, WhatKeepsTheFilesAwayKeepsNoDisksAway) {
  for (const char* where : {"target define", "commit web/vm.xml"}) {
    std::filesystem::remove_all(file("web"));
    fail_at(where, HYPER_NOSPACE);
    const MigrationResult result = orchestrator().migrate(by_default(), cancel_);
    EXPECT_TRUE(result.success) << result.error;
    EXPECT_THAT(result.warnings, SizeIs(1)) << where;
    EXPECT_EQ(content("web/web-disk-0.raw"), "aaaa");
    EXPECT_FALSE(std::filesystem::exists(file("web/vm.xml")));
    MigrationConfig asked = defining();
    asked.overwrite = true;
    EXPECT_FALSE(orchestrator().migrate(asked, cancel_).success) << where;
  }
  platform().plan = {{"findings", {{{"rule", "x"}, {"severity", "error"}, {"summary", "no"}}}}};
  EXPECT_TRUE(orchestrator().preflight(by_default(), cancel_).possible());
  EXPECT_FALSE(orchestrator().preflight(defining(), cancel_).possible());
}

TEST_F(DefaultTarget, NoDiskGoesToAPlatformThatThePlanDoesNotAskFor) {
  platform().info = {{"location", "platform"}, {"disks", {"put"}}};
  ASSERT_TRUE(orchestrator().migrate(by_default(), cancel_).success);
  EXPECT_THAT(target_calls(), IsEmpty());
  EXPECT_FALSE(manifest().at("hyperhost").contains("target"));
}

TEST_F(DefaultTarget, ALaterRunReplacesTheFilesOfTheEarlierOneOnly) {
  put_mine("vm.xml");
  fail_at("commit web/manifest.json", HYPER_IO);
  EXPECT_FALSE(orchestrator().migrate(by_default(), cancel_).success);
  EXPECT_EQ(content("web/vm.sh"), "make it");  // kept, as the disks are
  world_.on_call = {};
  platform().answer["files"][0]["text"] = "make it so";
  const MigrationResult again = orchestrator().migrate(by_default(), cancel_);
  ASSERT_TRUE(again.success) << again.error;
  EXPECT_EQ(content("web/vm.sh"), "make it so");
  EXPECT_EQ(content("web/vm.xml"), "mine");
}

TEST_F(DefaultTarget, AFailureThatKeepsNothingTakesTheFilesAwayAndLeavesTheUsers) {
  put_mine("vm.xml");
  fail_at("commit web/manifest.json", HYPER_EXISTS);
  EXPECT_FALSE(orchestrator().migrate(by_default(), cancel_).success);
  EXPECT_FALSE(std::filesystem::exists(file("web/vm.sh")));
  EXPECT_FALSE(std::filesystem::exists(file("web/web-disk-0.raw")));
  EXPECT_EQ(content("web/vm.xml"), "mine");
}

TEST_F(TargetStage, AFileThatWouldReplaceADiskIsTheFaultOfThePlugin) {
  platform().info = {{"location", "files"}, {"disks", {"place"}}};
  for (const char* name : {"web-disk-0.raw", "manifest.json", "../web.xml", ".hidden", ""}) {
    platform().answer = {{"files", {{{"name", name}, {"text", "x"}}}}};
    EXPECT_FALSE(orchestrator().migrate(defining(), cancel_).success) << name;
  }
  EXPECT_FALSE(std::filesystem::exists(file("web.xml")));
}

TEST_F(TargetStage, NamesThatTheTargetDoesNotHaveAreErrorsBeforeTheCopy) {
  platform().info["needs_networks"] = true;
  platform().info["networks"] = {"br0"};
  platform().info["storages"] = {{{"name", "fast"}}};
  platform().info["formats"] = {"qcow2"};
  MigrationConfig job = defining();
  job.target.storages = {{"*", "slow"}};
  const VmRoute route = orchestrator().preflight(job, cancel_);
  std::vector<std::string> rules;
  for (const Diagnostic& one : route.findings) rules.push_back(one.rule);
  EXPECT_THAT(rules, ElementsAre("target.format", "target.format", "target.storage"));
  EXPECT_FALSE(route.possible());
  EXPECT_FALSE(orchestrator().migrate(job, cancel_).success);
  EXPECT_EQ(world_.count("open web/disk-0"), 0u);
}

TEST_F(TargetStage, WhatThePlanOfTheTargetFindsIsAFindingOfPreflight) {
  platform().plan = {{"findings",
                      {{{"rule", "target.tpm"}, {"severity", "warning"}, {"summary", "no TPM"}},
                       {{"rule", "target.name"}, {"severity", "error"}, {"summary", "taken"}}}}};
  const VmRoute route = orchestrator().preflight(defining(), cancel_);
  ASSERT_THAT(route.findings, SizeIs(2));
  EXPECT_EQ(route.findings[0].severity, Severity::kWarning);
  EXPECT_EQ(route.findings[1].rule, "target.name");
  EXPECT_FALSE(route.possible());
}

TEST_F(TargetStage, AMachineIsStartedOnlyWhereThePlanAsksForIt) {
  MigrationConfig job = defining();
  job.target.start = true;
  const MigrationResult result = orchestrator().migrate(job, cancel_);
  ASSERT_TRUE(result.success) << result.error;
  EXPECT_TRUE(platform().running.contains("vm/web"));
  EXPECT_EQ(result.target["started"], true);
  platform().info["can"] = {"remove"};
  add_vm("other", {"dddd"});
  MigrationConfig other = defining(config("other"));
  other.target.start = true;
  EXPECT_THAT(orchestrator().migrate(other, cancel_).diagnostic.summary,
              HasSubstr("starts no machines"));
}

VmRoute described(const json& more) {
  json document = {{"name", "web"},
                   {"disks",
                    {{{"id", "disk-0"}, {"format", "raw"}, {"access", {"seek"}}},
                     {{"id", "disk-1"},
                      {"format", "raw"},
                      {"boot_order_hint", 0},
                      {"datastore", "ds1"},
                      {"access", {"seek"}}}}}};
  document.update(more);
  VmRoute route;
  route.vm = parse_vm_description(json::parse(document.dump()), "test");
  for (const DiskDescription& disk : route.vm.disks) {
    route.disks.emplace_back();
    route.disks.back().disk = disk;
  }
  return route;
}

TEST(Machine, IsMadeOfTheDescriptionThePlanAndWhatThePreparationFound) {
  const VmRoute route = described({{"cpu", 6},
                                   {"cores_per_socket", 3},
                                   {"memory_bytes", 4096},
                                   {"firmware", "uefi"},
                                   {"secure_boot", true},
                                   {"tpm", true},
                                   {"os_hint", "windows"},
                                   {"uuid", "421c8a5e-4d43-b7a3-9f0a-2f3c8a1b7d10"},
                                   {"nics",
                                    {{{"id", "nic-0"}, {"mac", "aa"}, {"network", "VM Network"}},
                                     {{"id", "nic-1"}, {"mac", "bb"}, {"network", "DMZ"}}}}});
  MachineSettings machine;
  machine.nic = "e1000e";
  machine.cpu_model = "EPYC";
  TargetSettings target;
  target.networks = {{"VM Network", "br0"}, {"*", "lab"}};
  target.storages = {{"ds1", "fast"}};
  const json out = machine_to_build(machine, target, route, {{"distro", "debian"}});
  EXPECT_EQ(out["machine"], "q35");  // secure boot needs it
  EXPECT_EQ(out["firmware"], "uefi");
  EXPECT_EQ(out["cpu"],
            json({{"count", 6}, {"sockets", 2}, {"cores", 3}, {"threads", 1}, {"model", "EPYC"}}));
  EXPECT_EQ(out["clock"], "localtime");
  EXPECT_EQ(out["hyperv"], true);
  EXPECT_EQ(out["uuid"], "421c8a5e-4d43-b7a3-9f0a-2f3c8a1b7d10");
  EXPECT_EQ(out["os"]["distro"], "debian");
  EXPECT_EQ(out["nics"][0]["target_network"], "br0");
  EXPECT_EQ(out["nics"][1]["target_network"], "lab");
  EXPECT_EQ(out["nics"][1]["network"], "DMZ");
  EXPECT_EQ(out["nics"][1]["model"], "e1000e");
  EXPECT_EQ(out["disks"][1]["storage"], "fast");
  EXPECT_FALSE(out["disks"][0].contains("storage"));
  for (const Diagnostic& problem : document_problems("machine", out))
    ADD_FAILURE() << problem.path << ": " << problem.summary;
}

TEST(Machine, TheSameForAllSectionsOfThePlanAndBiosWhereTheSourceDoesNotSay) {
  const VmRoute route = described({{"cpu", 3}, {"cores_per_socket", 2}, {"uuid", "56 4d aa"}});
  MachineSettings machine;
  machine.cpus = 4;
  machine.memory_bytes = 1 << 30;
  machine.agent = false;
  const json seen = machine_of(machine, {}, route);
  json built = machine_to_build(machine, {}, route, nullptr);
  EXPECT_EQ(seen["firmware"], "unknown");
  EXPECT_EQ(built["firmware"], "bios");
  built["firmware"] = "unknown";
  EXPECT_EQ(built, seen);
  EXPECT_EQ(built["machine"], "pc");
  EXPECT_EQ(built["cpu"], json({{"count", 4}, {"sockets", 2}, {"cores", 2}, {"threads", 1}}));
  EXPECT_EQ(built["memory_bytes"], 1 << 30);
  EXPECT_EQ(built["agent"], false);
  EXPECT_FALSE(built.contains("uuid"));  // not of a form that another platform takes
}

}  // namespace
}  // namespace hyperhost::testing_memory
