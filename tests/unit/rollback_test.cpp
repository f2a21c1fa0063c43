// SPDX-License-Identifier: Apache-2.0
// What a VM that fails leaves behind: nothing it made, all it found.
#include <gmock/gmock.h>

#include "tests/support/memory_plugins.hpp"

namespace hyperhost::testing_memory {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class Rollback : public MemoryHost {
 protected:
  /// Makes the call that begins so fail, for good.
  void fail(const std::string& at, hyper_st code = HYPER_CORRUPT) {
    world_.on_call = [=](const std::string& call) {
      if (call.rfind(at, 0) == 0) throw hyper::Error(code, "made to fail: " + at);
    };
  }
  MigrationResult migrate(const MigrationConfig& config) {
    return orchestrator().migrate(config, cancel_);
  }
  std::size_t position(const std::string& call) const {
    const auto calls = world_.calls();
    return static_cast<std::size_t>(std::find(calls.begin(), calls.end(), call) - calls.begin());
  }
};

TEST_F(Rollback, WhatSucceedsIsThereWholeAndTheManifestCameLast) {
  add_vm("web", {"aaaa", "bbbb"});
  const MigrationResult result = migrate(uploading("web"));
  ASSERT_TRUE(result.success) << result.error;
  EXPECT_EQ(content("web/web-disk-0.raw"), "aaaa");
  EXPECT_EQ(world_.bucket["web/web-disk-1.raw"], "bbbb");
  EXPECT_LT(position("commit web/web-disk-1.raw"), position("commit bucket:web/web-disk-0.raw"));
  EXPECT_LT(position("commit bucket:web/web-disk-1.raw"),
            position("commit bucket:web/manifest.json"));
  EXPECT_LT(position("commit bucket:web/manifest.json"), position("commit web/manifest.json"));
  EXPECT_EQ(result.uploaded_files.at(0), "memory://bucket/web/web-disk-0.raw");
  EXPECT_EQ(result.disks.at(1).url, "https://signed/web/web-disk-1.raw");
  EXPECT_EQ(world_.count("close web"), 1u);
}

TEST_F(Rollback, NothingHasItsNameBeforeEveryDiskIsWritten) {
  add_vm("web", {"aaaa", "bbbb"});
  migrate(config("web"));
  EXPECT_LT(position("half bbbb"), position("commit web/web-disk-0.raw"));
}

TEST_F(Rollback, ADiskThatFailsTakesTheOthersWithIt) {
  add_vm("web", {"aaaa", "bbbb"});
  fail("half bbbb");
  const MigrationResult result = migrate(config("web"));
  EXPECT_EQ(result.diagnostic.code, Code::kCorrupt);
  EXPECT_EQ(result.diagnostic.path, "vm/web/disk/disk-1");
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
  EXPECT_THAT(world_.unfinished, IsEmpty());
  EXPECT_THAT(resume_->phases(), IsEmpty());
  EXPECT_THAT(world_.calls(), Contains("close web failed"));
  EXPECT_LT(position("drop web/web-disk-0.raw"), position("close web failed"));
}

TEST_F(Rollback, AFailedUploadTakesBackWhatHadItsName) {
  add_vm("web", {"aaaa", "bbbb"});
  fail("write bucket:web/web-disk-1.raw");
  EXPECT_FALSE(migrate(uploading("web")).success);
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
  EXPECT_THAT(world_.bucket, IsEmpty());
  // In reverse.
  EXPECT_LT(position("remove bucket:web/web-disk-0.raw"), position("remove web/web-disk-1.raw"));
  EXPECT_LT(position("remove web/web-disk-1.raw"), position("remove web/web-disk-0.raw"));
}

TEST_F(Rollback, AFailedManifestTakesBackTheUploads) {
  add_vm("web", {"aaaa"});
  fail("commit web/manifest.json");
  EXPECT_FALSE(migrate(uploading("web")).success);
  EXPECT_THAT(world_.bucket, IsEmpty());
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
}

TEST_F(Rollback, WhatReplacedAFileIsNotRemoved) {
  add_vm("web", {"aaaa"});
  std::filesystem::create_directories(file("web"));
  std::ofstream(file("web/web-disk-0.raw")) << "old";
  MigrationConfig wanted = config("web");
  wanted.overwrite = true;
  fail("commit web/manifest.json");
  EXPECT_FALSE(migrate(wanted).success);
  EXPECT_EQ(content("web/web-disk-0.raw"), "aaaa");
  EXPECT_THAT(world_.calls(), Not(Contains(HasSubstr("remove"))));
}

TEST_F(Rollback, AnotherFileInTheVmsDirectoryStays) {
  add_vm("web", {"aaaa"});
  std::filesystem::create_directories(file("web"));
  std::ofstream(file("web/notes.txt")) << "mine";
  fail("commit web/manifest.json");
  EXPECT_FALSE(migrate(config("web")).success);
  EXPECT_EQ(content("web/notes.txt"), "mine");
  EXPECT_FALSE(std::filesystem::exists(file("web/web-disk-0.raw")));
}

TEST_F(Rollback, TheSourceThatCannotBeGivenBackIsAWarning) {
  add_vm("web", {"aaaa"});
  fail("close web", HYPER_IO);
  const MigrationResult result = migrate(config("web"));
  EXPECT_TRUE(result.success);
  ASSERT_EQ(result.warnings.size(), 1u);
  EXPECT_EQ(result.warnings[0].detail, "something may be left at the source");
}

TEST_F(Rollback, WithoutLocalFilesOnlyTheStoreHasTheSet) {
  add_vm("web", {"aaaa"});
  MigrationConfig wanted = uploading("web");
  wanted.keep_local = false;
  const MigrationResult result = migrate(wanted);
  ASSERT_TRUE(result.success) << result.error;
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
  EXPECT_EQ(result.manifest_path, "memory://bucket/web/manifest.json");
  fail("commit bucket:web/manifest.json");
  world_.bucket.clear();
  EXPECT_FALSE(migrate(wanted).success);
  EXPECT_THAT(world_.bucket, IsEmpty());
}

/// A store that gives an object its name and then answers against the schema.
class WrongAnswer : public Rollback {
 protected:
  WrongAnswer() { add_vm("web", {"aaaa", "bbbb"}); }
  void unknown_content() {
    for (MemoryDisk& disk : world_.vms["web"].disks) disk.content_id.clear();
  }
  MigrationResult failed(const MigrationConfig& wanted, const std::string& object) {
    world_.answers = {{object, R"({"location": "there", "bytes": "all of them"})"}};
    const MigrationResult result = migrate(wanted);
    world_.answers.clear();
    EXPECT_FALSE(result.success);
    EXPECT_THAT(result.diagnostic.summary, HasSubstr("commit() gave a wrong document: /bytes"));
    EXPECT_EQ(result.diagnostic.detail,
              "by then the object had its final name, and it may be complete");
    EXPECT_THAT(result.diagnostic.hint, HasSubstr("run it again"));
    return result;
  }
};

TEST_F(WrongAnswer, TheNextRunTakesOverWhatIsComplete) {
  MigrationConfig wanted = config("web");
  wanted.verify_export = Verify::kTarget;
  failed(wanted, "web/web-disk-0.raw");
  EXPECT_EQ(content("web/web-disk-0.raw"), "aaaa");
  world_.forget_calls();
  const MigrationResult again = migrate(wanted);
  ASSERT_TRUE(again.success) << again.error;
  EXPECT_TRUE(again.disks.at(0).adopted);
  EXPECT_THAT(world_.calls(), Not(Contains(HasSubstr("half"))));
  EXPECT_EQ(content("web/web-disk-1.raw"), "bbbb");
}

TEST_F(WrongAnswer, WhatTheNextRunCannotTakeOverIsRemoved) {
  unknown_content();
  failed(config("web"), "web/web-disk-1.raw");
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
  failed(config("web"), "web/manifest.json");
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
  MigrationConfig wanted = uploading("web");
  failed(wanted, "bucket:web/manifest.json");
  EXPECT_THAT(world_.bucket, IsEmpty());
  wanted.export_manifest = false;
  failed(wanted, "bucket:web/web-disk-0.raw");
  EXPECT_THAT(world_.bucket, IsEmpty());
  EXPECT_TRUE(migrate(wanted).success);
}

TEST_F(WrongAnswer, WhatMayHaveBeenThereBeforeStays) {
  unknown_content();
  failed(uploading("web"),
         "bucket:web/web-disk-0.raw");  // an equal object would have been taken over
  EXPECT_EQ(world_.bucket.size(), 1u);
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
}

TEST_F(WrongAnswer, ObjectsThatHaveTheirNamesAreWrittenAgain) {
  failed(uploading("web"), "bucket:web/web-disk-1.raw");
  EXPECT_EQ(world_.bucket.size(), 2u);
  failed(uploading("web"), "bucket:web/manifest.json");
  const MigrationResult again = migrate(uploading("web"));
  ASSERT_TRUE(again.success) << again.error;
  EXPECT_EQ(world_.bucket["web/web-disk-1.raw"], "bbbb");
}

TEST_F(Rollback, AnObjectThatTheStoreDoesNotHoldAsSentIsRemoved) {
  add_vm("web", {"aaaa"});
  world_.on_call = [&](const std::string& call) {
    const std::lock_guard lock(world_.mutex);
    const auto found = world_.bucket.find("web/web-disk-0.raw");
    if (call == "stat bucket:web/web-disk-0.raw" && found != world_.bucket.end())
      found->second = "a";
  };
  const MigrationResult result = migrate(uploading("web"));
  EXPECT_EQ(result.diagnostic.code, Code::kCorrupt);
  EXPECT_THAT(world_.bucket, IsEmpty());
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
}

TEST_F(Rollback, ACancelKeepsWhatALaterRunCanResume) {
  add_vm("web", {"aaaa", "bbbb"});
  world_.on_call = [&](const std::string& call) {
    if (call == "half bbbb") cancel_->cancel();
  };
  const MigrationResult result = migrate(config("web"));
  EXPECT_EQ(result.outcome, Outcome::kCancelled);
  EXPECT_EQ(world_.unfinished.size(), 2u);
  EXPECT_THAT(resume_->phases(), ::testing::ElementsAre("disk-0 written", "disk-1 writing"));
}

TEST_F(Rollback, ADiskThatReadsBackDifferentlyLeavesNothing) {
  add_vm("web", {"aaaa"});
  MigrationConfig wanted = config("web");
  wanted.verify_export = Verify::kTarget;
  world_.rot = true;
  const MigrationResult result = migrate(wanted);
  EXPECT_EQ(result.diagnostic.code, Code::kCorrupt);
  EXPECT_THAT(result.error, HasSubstr("first difference at guest bytes 2 to 2"));
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
  EXPECT_THAT(world_.unfinished, IsEmpty());
  world_.rot = false;
  const MigrationResult good = migrate(wanted);
  ASSERT_TRUE(good.success) << good.error;
  EXPECT_EQ(good.disks.at(0).verified_by, "memory-convert");
  EXPECT_EQ(good.disks.at(0).digest.rfind("hyper-tree-sha256:", 0), 0u);
}

}  // namespace
}  // namespace hyperhost::testing_memory
