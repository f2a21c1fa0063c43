// SPDX-License-Identifier: Apache-2.0
// What a later run takes over from an earlier one, and when it starts from the front.
#include <gmock/gmock.h>

#include "core/vm/result_json.hpp"
#include "tests/support/memory_plugins.hpp"

namespace hyperhost::testing_memory {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class Resume : public MemoryHost {
 protected:
  Resume() { add_vm("web", {"aaaa", "bbbb"}); }
  MigrationResult migrate(const MigrationConfig& config) {
    struct Notices final : Observer {
      std::string text;
      void on_event(const Event& event) noexcept override {
        if (const auto* notice = std::get_if<event::Notice>(&event.body))
          text += to_string(notice->diagnostic) + "\n";
      }
    } notices;
    MigrationOrchestrator all = orchestrator();
    all.events().subscribe(&notices);
    const MigrationResult result = all.migrate(config, CancelSource::create());
    notices_ = notices.text;
    return result;
  }
  /// A run that ends in a way that a later run may repair.
  void interrupt(const std::string& at, const MigrationConfig& config) {
    world_.on_call = [=](const std::string& call) {
      if (call == at) throw hyper::Error(HYPER_IO, "the cable is out");
    };
    ASSERT_FALSE(migrate(config).success);
    world_.on_call = {};
    world_.forget_calls();
  }
  std::string notices_;  // of the last run
};

TEST_F(Resume, ADiskContinuesAtItsLastCheckpoint) {
  interrupt("half bbbb", config("web"));
  EXPECT_THAT(resume_->phases(), ElementsAre("disk-0 written", "disk-1 writing"));
  const MigrationResult result = migrate(config("web"));
  ASSERT_TRUE(result.success) << result.error;
  EXPECT_TRUE(result.disks.at(0).adopted);
  EXPECT_EQ(result.disks.at(1).resumed_bytes, 2u);
  EXPECT_EQ(world_.count("open web/disk-0"), 0u);
  EXPECT_EQ(world_.count("write web/web-disk-1.raw"), 1u);
  EXPECT_EQ(content("web/web-disk-0.raw") + content("web/web-disk-1.raw"), "aaaabbbb");
  EXPECT_THAT(resume_->phases(), ElementsAre("vm finished"));
}

TEST_F(Resume, AVmWhoseDisksAreAllWrittenIsNotOpenedAgain) {
  interrupt("commit web/web-disk-0.raw", config("web"));
  const MigrationResult result = migrate(config("web"));
  ASSERT_TRUE(result.success) << result.error;
  EXPECT_EQ(world_.count("open web"), 0u);
  EXPECT_EQ(content("web/web-disk-1.raw"), "bbbb");
}

TEST_F(Resume, AnotherContentStartsFromTheFront) {
  interrupt("half bbbb", config("web"));
  world_.vms["web"].disks[1] = {"disk-1", "BBBB", "BBBB", true};
  const MigrationResult result = migrate(config("web"));
  ASSERT_TRUE(result.success) << result.error;
  EXPECT_TRUE(result.disks.at(0).adopted);
  EXPECT_EQ(result.disks.at(1).resumed_bytes, 0u);
  EXPECT_EQ(content("web/web-disk-1.raw"), "BBBB");
  EXPECT_THAT(world_.unfinished, IsEmpty());
  EXPECT_THAT(notices_, HasSubstr("what an earlier run wrote of disk-1 is removed, and the disk "
                                  "starts from the front: changed since: content"));
}

TEST_F(Resume, AnotherRequestStartsFromTheFront) {
  interrupt("half bbbb", config("web"));
  MigrationConfig other = config("web");
  other.convert_options.deterministic = true;
  const MigrationResult result = migrate(other);
  ASSERT_TRUE(result.success) << result.error;
  EXPECT_FALSE(result.disks.at(0).adopted);
  EXPECT_EQ(result.disks.at(1).resumed_bytes, 0u);
  EXPECT_THAT(notices_, HasSubstr("starts from the front: changed since: request"));
}

TEST_F(Resume, ADiskWhoseContentCannotBeKnownIsNeverResumed) {
  for (MemoryDisk& disk : world_.vms["web"].disks) disk.content_id.clear();
  interrupt("half bbbb", config("web"));
  EXPECT_THAT(resume_->phases(), IsEmpty());
  EXPECT_THAT(world_.unfinished, IsEmpty());
}

TEST_F(Resume, FreshTakesNothingOver) {
  interrupt("half bbbb", config("web"));
  MigrationConfig fresh = config("web");
  fresh.fresh = true;
  const MigrationResult result = migrate(fresh);
  ASSERT_TRUE(result.success) << result.error;
  EXPECT_FALSE(result.disks.at(0).adopted);
  EXPECT_EQ(result.disks.at(1).resumed_bytes, 0u);
  EXPECT_THAT(world_.unfinished, IsEmpty());
}

TEST_F(Resume, AFinishedVmIsNotDoneAgain) {
  ASSERT_TRUE(migrate(config("web")).success);
  world_.forget_calls();
  const MigrationResult again = migrate(config("web"));
  EXPECT_TRUE(again.success);
  EXPECT_TRUE(again.already_done);
  EXPECT_EQ(again.disks.size(), 2u);
  EXPECT_EQ(again.converted_files.at(1), file("web/web-disk-1.raw").string());
  EXPECT_EQ(world_.count("open web"), 0u);
}

TEST_F(Resume, AFinishedVmIsReportedWithAllThatItsRunReported) {
  MigrationConfig wanted = uploading("web");
  wanted.presign = std::chrono::seconds(60);
  interrupt("half bbbb", wanted);
  const MigrationResult first = migrate(wanted);
  ASSERT_TRUE(first.success) << first.error;
  const MigrationResult again = migrate(wanted);
  ASSERT_TRUE(again.already_done);
  for (std::size_t i = 0; i < 2; ++i)
    EXPECT_EQ(to_json(again.disks.at(i)), to_json(first.disks.at(i)));
  EXPECT_TRUE(again.disks[0].adopted);
  EXPECT_EQ(again.disks[1].resumed_bytes, 2u);
  EXPECT_EQ(again.disks[1].url, "https://signed/web/web-disk-1.raw");
  EXPECT_EQ(again.manifest_url, first.manifest_url);
}

TEST(DiskResultJson, IsReadBackAsItWasWritten) {
  DiskResult disk;
  disk.id = "disk-0";
  disk.source_checksum = "sha256:aa";
  disk.boot_order = 3;
  disk.staged = disk.adopted = true;
  disk.resumed_bytes = 7;
  disk.url = "https://x";
  disk.convert_duration = std::chrono::nanoseconds(1'500'000'001);
  disk.notes = {"a", "b"};
  const DiskResult back = disk_result_from(to_json(disk));
  EXPECT_EQ(to_json(back), to_json(disk));
  EXPECT_EQ(back.convert_duration, disk.convert_duration);
  EXPECT_EQ(back.source_checksum, "sha256:aa");
  EXPECT_THROW(disk_result_from(json::array()), Error);
  EXPECT_THROW(disk_result_from(json{{"id", 7}}), Error);
  json damaged = to_json(disk);
  damaged["verify_seconds"] = -1;
  EXPECT_THROW(disk_result_from(damaged), Error);
}

TEST_F(Resume, AFinishedVmIsDoneAgainWhereItsContentChanged) {
  ASSERT_TRUE(migrate(config("web")).success);
  world_.vms["web"].disks[0] = {"disk-0", "AAAA", "AAAA", true};
  MigrationConfig over = config("web");
  EXPECT_FALSE(migrate(over).success);  // its files are in the way
  over.overwrite = true;
  ASSERT_TRUE(migrate(over).success);
  EXPECT_EQ(content("web/web-disk-0.raw"), "AAAA");
}

TEST_F(Resume, AFinishedVmWhoseFileIsGoneIsDoneAgain) {
  ASSERT_TRUE(migrate(config("web")).success);
  for (const char* name : {"web/web-disk-0.raw", "web/web-disk-1.raw", "web/manifest.json"})
    std::filesystem::remove(file(name));
  const MigrationResult again = migrate(config("web"));
  ASSERT_TRUE(again.success) << again.error;
  EXPECT_FALSE(again.already_done);
}

TEST_F(Resume, AFileThatSomebodyChangedIsNotReplaced) {
  ASSERT_TRUE(migrate(config("web")).success);
  std::ofstream(file("web/web-disk-0.raw")) << "mine now";
  const MigrationResult again = migrate(config("web"));
  EXPECT_EQ(again.diagnostic.code, Code::kExists);
  EXPECT_THAT(again.error, HasSubstr("web-disk-0.raw was changed since"));
  EXPECT_EQ(content("web/web-disk-0.raw"), "mine now");
}

TEST_F(Resume, AKillBetweenTheUploadsContinuesWithItsOwnObjects) {
  interrupt("commit bucket:web/manifest.json", uploading("web"));
  EXPECT_THAT(resume_->phases(), ElementsAre("vm closing", "disk-0 written", "disk-1 written"));
  const MigrationResult result = migrate(uploading("web"));
  ASSERT_TRUE(result.success) << result.error;
  EXPECT_EQ(world_.count("open web"), 0u);
  EXPECT_EQ(world_.bucket["web/web-disk-0.raw"], "aaaa");
}

TEST_F(Resume, TheTimeOfTheEndIsTheSessionsClock) {
  ASSERT_TRUE(migrate(config("web")).success);
  MigrationConfig over = config("web");
  over.overwrite = true;
  const auto millis = [&] {
    return std::chrono::duration_cast<std::chrono::milliseconds>(clock_->wall().time_since_epoch())
        .count();
  };
  over.continues_since = millis();
  EXPECT_TRUE(migrate(over).already_done);  // done since then
  clock_->advance(std::chrono::seconds(5));
  over.continues_since = millis();
  EXPECT_FALSE(migrate(over).already_done);
}

TEST_F(Resume, AStoreThatFailsCostsTheResumptionOnly) {
  class Broken final : public ResumeStore {
    std::vector<ResumeRecord> resume_records(const std::string&) override { return {}; }
    void save_resume(const ResumeRecord&) override { throw Error(Code::kIo, "no disk"); }
    void finish_resume(const ResumeRecord&) override { throw Error(Code::kIo, "no disk"); }
    void forget_resume(const std::string&) override { throw Error(Code::kIo, "no disk"); }
    void forget_resume(const std::string&, const std::string&) override {
      throw Error(Code::kIo, "no disk");
    }
  };
  OrchestratorConfig config_of;
  config_of.providers = providers();
  MigrationOrchestrator broken(config_of, registry_, {nullptr, std::make_shared<Broken>()});
  const MigrationResult result = broken.migrate(config("web"), cancel_);
  EXPECT_TRUE(result.success) << result.error;
}

}  // namespace
}  // namespace hyperhost::testing_memory
