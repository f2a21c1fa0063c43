// SPDX-License-Identifier: Apache-2.0
// Which way each disk of a VM goes, and what keeps a VM from starting.
#include "core/migrate/plan_route.hpp"

#include <gmock/gmock.h>

#include "tests/support/memory_plugins.hpp"

namespace hyperhost::testing_memory {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Route : public MemoryHost {
 protected:
  VmRoute plan(const MigrationConfig& config) {
    Session session(registry_, providers(), services());
    Operation op = session.operation("vm", cancel_);
    return plan_route(session, config, op);
  }
  static std::vector<std::string> errors(const VmRoute& route) {
    std::vector<std::string> out;
    for (const Diagnostic& one : route.findings)
      if (one.severity == Severity::kError) out.push_back(one.summary);
    return out;
  }
};

TEST_F(Route, ASeekableDiskGoesInOnePass) {
  add_vm("web", {"aaaa", "bbbb"});
  const VmRoute route = plan(config("web"));
  EXPECT_TRUE(route.possible());
  ASSERT_EQ(route.disks.size(), 2u);
  EXPECT_EQ(route.disks[0].why, "one pass through memory-convert (seekable source), no staging");
  EXPECT_EQ(route.disks[1].key, "web/web-disk-1.raw");
  EXPECT_FALSE(route.disks[0].staged);
  EXPECT_FALSE(route.disks[0].direct_upload);
}

TEST_F(Route, AForwardStreamGoesInOnePassWhereTheConverterTakesStreams) {
  add_vm("web", {"aaaa"});
  world_.vms["web"].disks[0].seekable = false;
  const VmRoute route = plan(config("web"));
  EXPECT_EQ(route.disks.at(0).open_flags, uint32_t{HYPER_OPEN_STREAM});
  EXPECT_THAT(route.disks.at(0).why, HasSubstr("forward stream"));
}

TEST_F(Route, OnlyTheDisksThatWereAskedForAreInIt) {
  add_vm("web", {"aaaa", "bbbb"});
  MigrationConfig wanted = config("web");
  wanted.disks.exclude = {"disk-0"};
  EXPECT_EQ(plan(wanted).disks.at(0).disk.id, "disk-1");
  wanted.disks.exclude = {"disk-7"};
  EXPECT_THAT(errors(plan(wanted)), ElementsAre("the VM has no disk 'disk-7'"));
  wanted.disks.exclude = {"disk-0", "disk-1"};
  EXPECT_THAT(errors(plan(wanted)), ElementsAre("the VM 'web' has no disk to migrate"));
}

TEST_F(Route, AConverterThatCannotIsAFindingThatNamesTheDisk) {
  add_vm("web", {"aaaa"});
  MigrationConfig wanted = config("web");
  wanted.target_format = "qcow2";
  const VmRoute route = plan(wanted);
  EXPECT_FALSE(route.possible());
  EXPECT_THAT(errors(route), ElementsAre("only raw can be written"));
  EXPECT_EQ(route.findings[0].path, "vm/web/disk/disk-0");
}

TEST_F(Route, WithoutConversionADiskIsCopiedAsDelivered) {
  add_vm("web", {"aaaa"});
  MigrationConfig wanted = config("web");
  wanted.enable_conversion = false;
  wanted.target_format = "qcow2";
  const VmRoute route = plan(wanted);
  EXPECT_EQ(route.disks.at(0).why, "copied as delivered");
  EXPECT_EQ(route.disks.at(0).target_format, "raw");
}

TEST_F(Route, WhereNoLocalFileIsKeptTheConverterWritesIntoTheStore) {
  add_vm("web", {"aaaa"});
  MigrationConfig wanted = uploading("web");
  EXPECT_FALSE(plan(wanted).disks.at(0).direct_upload);
  wanted.keep_local = false;
  const VmRoute route = plan(wanted);
  EXPECT_TRUE(route.disks.at(0).direct_upload);
  EXPECT_THAT(route.disks.at(0).why, HasSubstr("written straight into memory-bucket"));
}

TEST_F(Route, ATargetThatExistsIsAFindingUnlessItMayBeOverwritten) {
  add_vm("web", {"aaaa"});
  std::filesystem::create_directories(file("web"));
  std::ofstream(file("web/web-disk-0.raw")) << "mine";
  world_.bucket["web/manifest.json"] = "theirs";
  MigrationConfig wanted = uploading("web");
  EXPECT_THAT(errors(plan(wanted)),
              ElementsAre("target exists: " + file("web/web-disk-0.raw").string(),
                          "target exists: memory://bucket/web/manifest.json"));
  wanted.overwrite = wanted.upload_overwrite = true;
  EXPECT_TRUE(plan(wanted).possible());
}

TEST_F(Route, AVmThatIsNotThereCannotBeDescribed) {
  EXPECT_THROW(plan(config("nowhere")), Error);
}

TEST_F(Route, LookingChangesNothing) {
  add_vm("web", {"aaaa"});
  plan(uploading("web"));
  for (const std::string& call : world_.calls())
    EXPECT_THAT(call, ::testing::AnyOf(HasSubstr("connect"), HasSubstr("describe"),
                                       HasSubstr("open converter"), HasSubstr("stat ")));
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
}

}  // namespace
}  // namespace hyperhost::testing_memory
