// SPDX-License-Identifier: Apache-2.0
// The host's side of the plugin ABI: diagnostics, options, cancel, children, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "core/os/child_process.hpp"
#include "core/plugin/elf_section.hpp"
#include "core/plugin/operation.hpp"
#include "core/plugin/registry.hpp"

namespace hyperhost {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class TempDir {
 public:
  TempDir() {
    std::string path = (fs::temp_directory_path() / "hyperhost-test-XXXXXX").string();
    path_ = ::mkdtemp(path.data());
  }
  ~TempDir() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

hyper_diag error_diag(const char* summary, hyper_st code) {
  hyper_diag diag{};
  diag.size = sizeof diag;
  diag.severity = HYPER_SEVERITY_ERROR;
  diag.code = code;
  diag.summary = summary;
  return diag;
}

TEST(Operation, CheckThrowsWhatWasReported) {
  Operation op("vm", CancelSource::create());
  const hyper_diag diag = error_diag("the disk is broken", HYPER_CORRUPT);
  const hyper_st status = host_table()->report(&op, &diag);
  try {
    op.check(status, "plugin 'x': convert()");
    FAIL() << "did not throw";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kCorrupt);
    EXPECT_EQ(error.diagnostic().summary, "the disk is broken");
  }
}

TEST(Operation, AFailureWithoutAReasonNamesTheCall) {
  Operation op("vm", CancelSource::create());
  try {
    op.check(HYPER_IO, "plugin 'x': convert()");
    FAIL() << "did not throw";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kIo);
    EXPECT_THAT(error.what(), HasSubstr("plugin 'x': convert()"));
    EXPECT_THAT(error.what(), HasSubstr("gave no reason"));
  }
}

TEST(Operation, AnOldReporterSmallerDiagnosticIsReadUpToItsSize) {
  Operation op("vm", CancelSource::create());
  hyper_diag diag = error_diag("short", HYPER_AUTH);
  diag.detail = reinterpret_cast<const char*>(1);  // beyond what the size covers: must not be read
  diag.size = offsetof(hyper_diag, detail);
  EXPECT_EQ(host_table()->report(&op, &diag), HYPER_AUTH);
  EXPECT_EQ(op.diagnostics().at(0).summary, "short");
  EXPECT_EQ(op.diagnostics().at(0).detail, "");
}

TEST(Operation, ProgressNeverGoesBackNorBeyondTheTotal) {
  Operation op("vm", CancelSource::create());
  std::vector<uint64_t> seen;
  op.on_progress([&](uint64_t done, uint64_t) { seen.push_back(done); });
  host_table()->progress(&op, 50, 100, "");
  host_table()->progress(&op, 10, 100, "");
  host_table()->progress(&op, 1000, 100, "");
  EXPECT_EQ(seen, (std::vector<uint64_t>{50, 100}));
}

TEST(Options, AreReadByJsonPointer) {
  const Options options(nlohmann::json::parse(R"({"a": {"b/c": [1, "x", true, 1.5]}})"));
  hyper_val value{};
  value.size = sizeof value;
  ASSERT_EQ(host_table()->doc_get(&options, "/a/b~1c/1", &value), HYPER_OK);
  EXPECT_EQ(value.type, HYPER_VAL_STRING);
  EXPECT_EQ(std::string(value.str, value.len), "x");
  ASSERT_EQ(host_table()->doc_get(&options, "/a/b~1c", &value), HYPER_OK);
  EXPECT_EQ(value.type, HYPER_VAL_ARRAY);
  EXPECT_EQ(value.len, 4u);
  EXPECT_EQ(host_table()->doc_get(&options, "/nothing", &value), HYPER_NOTFOUND);
  EXPECT_EQ(host_table()->doc_get(&options, "not a pointer", &value), HYPER_NOTFOUND);
  EXPECT_EQ(host_table()->doc_get(&options, "", &value), HYPER_OK);
  EXPECT_EQ(value.type, HYPER_VAL_OBJECT);
}

TEST(Cancel, ReachesChildrenAndWaits) {
  const auto run = CancelSource::create();
  const auto vm = run->child();
  Operation op("vm", vm);
  EXPECT_EQ(host_table()->cancelled(&op), 0);
  std::thread later([&] { run->cancel(); });
  EXPECT_EQ(host_table()->sleep(&op, 60'000'000'000u), HYPER_CANCELLED);
  later.join();
  EXPECT_EQ(host_table()->cancelled(&op), 1);
  EXPECT_TRUE(run->child()->cancelled());
}

TEST(Cancel, OfAChildLeavesTheParentAlone) {
  const auto run = CancelSource::create();
  run->child()->cancel();
  EXPECT_FALSE(run->cancelled());
}

TEST(Spawn, GivesLinesOfBothStreamsAndTheStatus) {
  Operation op("vm", CancelSource::create());
  const char* argv[] = {"sh", "-c", "printf 'a\\rb\\nc'; echo err >&2; exit 3", nullptr};
  std::vector<std::string> lines;
  int32_t status = 0;
  ASSERT_EQ(spawn_table()->run(
                &op, 0, argv,
                [](void* arg, int32_t stream, const char* line, uint64_t len) noexcept {
                  static_cast<std::vector<std::string>*>(arg)->push_back(std::to_string(stream) +
                                                                         std::string(line, len));
                },
                &lines, &status),
            HYPER_OK);
  EXPECT_THAT(lines, ::testing::UnorderedElementsAre("1a", "1b", "1c", "2err"));
  EXPECT_EQ(status, 3);
}

TEST(Spawn, AMissingProgramIsReported) {
  Operation op("vm", CancelSource::create());
  const char* argv[] = {"no-such-program-here", nullptr};
  int32_t status = 0;
  EXPECT_EQ(spawn_table()->run(&op, 0, argv, nullptr, nullptr, &status), HYPER_NOTFOUND);
  EXPECT_THAT(op.diagnostics().at(0).summary, HasSubstr("no-such-program-here"));
}

TEST(Spawn, CancelKillsTheChild) {
  const auto cancel = CancelSource::create();
  Operation op("vm", cancel);
  const char* argv[] = {"sleep", "600", nullptr};
  std::thread later([&] { cancel->cancel(); });
  int32_t status = 0;
  EXPECT_EQ(spawn_table()->run(&op, 0, argv, nullptr, nullptr, &status), HYPER_CANCELLED);
  later.join();
}

TEST(Spawn, AChildDoesNotInheritDescriptors) {
  const Fd secret(::dup(0));
  Operation op("vm", CancelSource::create());
  const std::string script = "test ! -e /proc/self/fd/" + std::to_string(secret.get());
  const char* argv[] = {"sh", "-c", script.c_str(), nullptr};
  int32_t status = -1;
  ASSERT_EQ(spawn_table()->run(&op, 0, argv, nullptr, nullptr, &status), HYPER_OK);
  EXPECT_EQ(status, 0);
}

TEST(Spawn, AChildSeesNoSecretOfItsHostsEnvironment) {
  ASSERT_EQ(::setenv("AWS_SECRET_ACCESS_KEY", "hidden-from-children", 1), 0);
  Operation op("vm", CancelSource::create());
  const char* argv[] = {"env", nullptr};
  std::string seen;
  int32_t status = -1;
  const hyper_st done = spawn_table()->run(
      &op, 0, argv,
      [](void* arg, int32_t, const char* line, uint64_t len) noexcept {
        static_cast<std::string*>(arg)->append("\n").append(line, len);
      },
      &seen, &status);
  ::unsetenv("AWS_SECRET_ACCESS_KEY");
  ASSERT_EQ(done, HYPER_OK);
  EXPECT_THAT(seen, HasSubstr("\nPATH="));
  EXPECT_THAT(seen, ::testing::Not(HasSubstr("hidden-from-children")));
}

TEST(Spawn, AStartedChildRunsUntilStopped) {
  Operation op("vm", CancelSource::create());
  const char* argv[] = {"sleep", "600", nullptr};
  uint64_t process = 0;
  ASSERT_EQ(spawn_table()->start(&op, 0, argv, &process), HYPER_OK);
  EXPECT_EQ(spawn_table()->alive(process), 1);
  spawn_table()->stop(process);
  EXPECT_EQ(spawn_table()->alive(process), 0);
}

TEST(ElfSection, RefusesWhatIsNoPlugin) {
  const TempDir dir;
  const std::string path = (dir.path() / "x.so").string();
  std::ofstream(path)
      << "not an ELF file at all, but long enough to hold a header of sixty-four bytes";
  EXPECT_THROW(read_elf_section(path, ".hyper_manifest"), Error);
  std::ofstream(path) << "\x7f"
                         "ELF";
  EXPECT_THROW(read_elf_section(path, ".hyper_manifest"), Error);
}

/// The plugins under test, copied so that a test may spoil them.
class RegistryTest : public ::testing::Test {
 protected:
  fs::path copy(const std::string& name, const std::string& as = {}) {
    fs::path to = dir_.path() / (as.empty() ? name : as);
    fs::copy_file(fs::path(TEST_PLUGIN_DIR) / name, to, fs::copy_options::overwrite_existing);
    return to;
  }
  PluginRegistry registry() {
    return PluginRegistry({{dir_.path().string(), "--plugin-dir", true}});
  }
  const PluginFile& only(const PluginRegistry& from) { return from.files().at(0); }
  TempDir dir_;
};

TEST_F(RegistryTest, ReadsAManifestWithoutLoading) {
  copy("good.so");
  const PluginRegistry found = registry();
  EXPECT_EQ(only(found).id, "good");
  EXPECT_TRUE(only(found).chosen) << only(found).refusal;
  EXPECT_EQ(found.ids_with(HYPER_IFACE_STORAGE), std::vector<std::string>{"good"});
}

TEST_F(RegistryTest, AWorldWritableFileIsRefused) {
  const fs::path path = copy("good.so");
  fs::permissions(path, fs::perms::others_write, fs::perm_options::add);
  EXPECT_THAT(only(registry()).refusal, HasSubstr("writable by everybody"));
}

TEST_F(RegistryTest, AWorldWritableDirectoryIsRefused) {
  copy("good.so");
  fs::permissions(dir_.path(), fs::perms::others_write, fs::perm_options::add);
  EXPECT_THAT(only(registry()).refusal, HasSubstr("writable by everybody"));
}

TEST_F(RegistryTest, ADirectoryBelowAWorldWritableOneIsRefusedUnlessThatIsSticky) {
  const fs::path above = dir_.path() / "above", plugins = above / "a" / "plugins";
  fs::create_directories(plugins);
  fs::copy_file(fs::path(TEST_PLUGIN_DIR) / "good.so", plugins / "good.so");
  const fs::path link = dir_.path() / "link";
  fs::create_directory_symlink(plugins, link);
  const auto refusal = [](const fs::path& dir) {
    return PluginRegistry({{dir.string(), "--plugin-dir", true}}).files().at(0).refusal;
  };
  EXPECT_EQ(refusal(plugins), "");
  fs::permissions(above, fs::perms::others_write, fs::perm_options::add);
  EXPECT_THAT(refusal(plugins), HasSubstr("above is writable by everybody"));
  EXPECT_THAT(refusal(link), HasSubstr("above is writable by everybody"));
  fs::permissions(above, fs::perms::sticky_bit, fs::perm_options::add);
  EXPECT_EQ(refusal(plugins), "");
}

TEST_F(RegistryTest, ANewerMajorIsRefusedByItsManifestAndByItsSymbol) {
  copy("newer_major.so");
  PluginRegistry found = registry();
  EXPECT_THAT(only(found).refusal, HasSubstr("built for plugin ABI 2"));
  try {
    found.load("newer-major");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("this host runs ABI 1"));
  }
}

TEST_F(RegistryTest, ANewerMinorIsRefused) {
  copy("newer_minor.so");
  EXPECT_THAT(only(registry()).refusal, HasSubstr("needs plugin ABI 1.7"));
}

TEST_F(RegistryTest, APluginThatRefusesGivesItsReason) {
  copy("refuses.so");
  PluginRegistry found = registry();
  try {
    found.load("refuses");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("the moon is not full"));
  }
}

TEST_F(RegistryTest, AnUndefinedSymbolIsFoundWhenLoading) {
  copy("undefined_symbol.so");
  PluginRegistry found = registry();
  try {
    found.load("undefined-symbol");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("nobody_defines_this"));
  }
}

TEST_F(RegistryTest, AnExceptionInAPluginBecomesADiagnostic) {
  copy("throws.so");
  PluginRegistry found = registry();
  Plugin& plugin = found.load("throws");
  Operation op("vm", CancelSource::create());
  void* connection = nullptr;
  const Options options;
  const hyper_st status = plugin.storage()->connect(&op, 0, &options, &connection);
  try {
    op.check(status, "connect");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("thrown inside the plugin"));
  }
}

TEST_F(RegistryTest, AnUnknownPluginSuggestsANearName) {
  copy("good.so");
  PluginRegistry found = registry();
  try {
    found.load("godo");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kNotFound);
    EXPECT_THAT(error.what(), HasSubstr("good"));
  }
}

TEST_F(RegistryTest, TheFirstOfTwoEqualVersionsIsUsed) {
  copy("good.so", "a.so");
  copy("good.so", "b.so");
  const PluginRegistry found = registry();
  EXPECT_TRUE(found.files()[0].chosen);
  EXPECT_FALSE(found.files()[1].chosen);
  EXPECT_THAT(found.files()[1].refusal, HasSubstr("a.so is used"));
}

TEST_F(RegistryTest, AMissingRequiredDirectoryIsSaid) {
  const PluginRegistry found({{"/no/such/directory", "--plugin-dir", true}});
  EXPECT_THAT(only(found).refusal, HasSubstr("cannot read this plugin directory"));
}

}  // namespace
}  // namespace hyperhost
