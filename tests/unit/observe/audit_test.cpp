// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/watch/audit/audit_chain.hpp"
#include "core/watch/audit/audit_logger.hpp"
#include "core/watch/audit/audit_reader.hpp"
#include "tests/unit/observe/event_fixture.hpp"

namespace hyperhost {
namespace {

using testing::HasSubstr;

class Audit : public testing::Test {
 protected:
  AuditOptions options() {
    AuditOptions options;
    options.path = path_;
    options.required = true;
    options.sync = AuditSync::kNever;
    return options;
  }
  static AuditRecord entry(const std::string& type, const std::string& task = "t1") {
    AuditRecord record;
    record.event_type = type;
    record.task_id = task;
    record.vm_name = "vm-" + task;
    record.user = "ops";
    return record;
  }
  void write(int count, AuditOptions options) {
    const auto log = AuditLogger::open(std::move(options));
    for (int i = 0; i < count; ++i)
      ASSERT_TRUE(log->log(entry("config_change", std::to_string(i))));
  }
  void write(int count) { write(count, options()); }
  std::vector<std::string> lines() {
    std::istringstream text(read_file(path_));
    std::vector<std::string> result;
    for (std::string line; std::getline(text, line);) result.push_back(line);
    return result;
  }
  void put(const std::vector<std::string>& lines) {
    std::ofstream file(path_, std::ios::binary | std::ios::trunc);
    for (const auto& line : lines) file << line << '\n';
  }
  std::string first_fault() {
    const AuditVerdict verdict = audit_verify(path_);
    return verdict.intact() ? "" : verdict.faults.front().message;
  }

  TemporaryDirectory directory_;
  const std::filesystem::path path_ = directory_ / "audit.log";
};

TEST_F(Audit, AMigrationLeavesItsTrail) {
  const auto log = AuditLogger::open(options());
  const auto task = make_task("t1");
  const auto at = WallClock::time_point{std::chrono::seconds(1767323045)};
  const auto publish = [&](EventBody body) { log->on_event({at, task, std::move(body)}); };
  log->on_event({at, nullptr, event::RunStarted{"run-1", "web-tier", "ops", {task}}});
  publish(event::TaskStarted{1, 1000, {}});
  publish(event::StageStarted{Stage::kExport, 1000, "streaming"});
  publish(event::DiskStarted{Stage::kExport, "d0", 1000});
  publish(event::DiskProgress{Stage::kExport, "d0", 500, 1000});
  Diagnostic warning;
  warning.severity = Severity::kWarning;
  warning.summary = "there is no .mf";
  publish(event::Notice{warning, "export"});
  publish(event::StageFinished{Stage::kExport, true, 1000, std::chrono::milliseconds(1500)});
  event::TaskFinished finished;
  finished.outcome = Outcome::kFailed;
  finished.error = Error(Code::kNoSpace, "the disk is full").diagnostic();
  finished.duration = std::chrono::seconds(2);
  finished.files = {"/out/a.qcow2"};
  publish(finished);

  // Ids and hashes differ with each run; everything else is golden.
  std::string normalised;
  for (const std::string& line : lines()) {
    auto object = nlohmann::ordered_json::parse(line);
    EXPECT_EQ(object["event_id"].get<std::string>().size(), 36u);
    EXPECT_EQ(object["prev_hash"].get<std::string>().size(), 64u);
    object.erase("event_id");
    object.erase("prev_hash");
    normalised += object.dump() + "\n";
  }
  EXPECT_EQ(normalised, read_file(HYPERHOST_GOLDEN_DIR "/audit.log"));
  EXPECT_EQ(first_fault(), "");
}

TEST_F(Audit, ARunIsClosedAndASkippedVmIsNoSuccess) {
  const auto log = AuditLogger::open(options());
  const auto at = WallClock::time_point{std::chrono::seconds(1767323045)};
  event::TaskFinished skipped;
  skipped.outcome = Outcome::kSkipped;
  skipped.error = Error(Code::kCancelled, "not begun: 'db' did not succeed").diagnostic();
  log->on_event({at, make_task("t1"), skipped});
  event::RunFinished end{"run-1", 3, 0, 0, 1, "night", "ops", std::chrono::seconds(90)};
  log->on_event({at, nullptr, end});
  const auto first = nlohmann::json::parse(lines().at(0)),
             last = nlohmann::json::parse(lines().at(1));
  EXPECT_EQ(first["event_type"], "migration_skipped");
  EXPECT_EQ(first["status"], "skipped");
  EXPECT_EQ(first["success"], false);
  EXPECT_EQ(first["error"], "not begun: 'db' did not succeed");
  EXPECT_EQ(last["action"], "run_end");
  EXPECT_EQ(last["status"], "failed");
  EXPECT_EQ(last["success"], false);
  EXPECT_EQ(last["user"], "ops");
  EXPECT_EQ(last["duration"], 90.0);
  EXPECT_EQ(last["details"]["succeeded"], "3");
  EXPECT_EQ(last["details"]["skipped"], "1");
}

TEST_F(Audit, FilesArePrivate) {
  const mode_t before = umask(0);
  write(1);
  umask(before);
  for (const auto& path : {path_, audit_head_path(path_)}) {
    struct stat info {};
    ASSERT_EQ(stat(path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0640u) << path;
  }
}

TEST_F(Audit, ChainGoesOnAfterARestart) {
  write(3);
  write(3);
  const AuditVerdict verdict = audit_verify(path_);
  EXPECT_TRUE(verdict.intact());
  EXPECT_EQ(verdict.lines, 6u);
  EXPECT_EQ(verdict.last_seq, 6u);
}

TEST_F(Audit, RotatesKeepsAndChainsAcross) {
  AuditOptions small = options();
  small.max_bytes = 2000;
  small.keep = 3;
  write(60, small);
  EXPECT_TRUE(std::filesystem::exists(path_.string() + ".3"));
  EXPECT_FALSE(std::filesystem::exists(path_.string() + ".4"));
  for (unsigned i = 0; i <= 3; ++i)
    EXPECT_LE(std::filesystem::file_size(audit_file_path(path_, i)), 2000u);
  const AuditVerdict verdict = audit_verify(path_);
  EXPECT_TRUE(verdict.intact()) << verdict.faults.front().message;
  EXPECT_EQ(verdict.files, 4u);
  EXPECT_GT(verdict.first_seq, 1u);
  EXPECT_EQ(verdict.last_seq, 60u);

  std::filesystem::remove(path_.string() + ".2");
  EXPECT_FALSE(audit_verify(path_).intact());
}

TEST_F(Audit, RemovingTheOldestFileIsFound) {
  AuditOptions small = options();
  small.max_bytes = 2000;
  write(30, small);
  unsigned oldest = 1;
  while (std::filesystem::exists(audit_file_path(path_, oldest + 1))) ++oldest;
  std::filesystem::remove(audit_file_path(path_, oldest));
  EXPECT_THAT(first_fault(), HasSubstr("oldest lines were removed"));
}

TEST_F(Audit, EveryEditedOrRemovedLineIsFound) {
  write(6);
  const auto original = lines();
  for (size_t i = 0; i < original.size(); ++i) {
    auto edited = original;
    edited[i].replace(edited[i].find("ops"), 3, "eve");
    put(edited);
    EXPECT_FALSE(audit_verify(path_).intact()) << "edited line " << i + 1;
    auto removed = original;
    removed.erase(removed.begin() + static_cast<std::ptrdiff_t>(i));
    put(removed);
    EXPECT_FALSE(audit_verify(path_).intact()) << "removed line " << i + 1;
    auto garbled = original;
    garbled[i] = garbled[i].substr(0, 40);
    put(garbled);
    EXPECT_FALSE(audit_verify(path_).intact()) << "garbled line " << i + 1;
  }
  auto swapped = original;
  std::swap(swapped[2], swapped[3]);
  put(swapped);
  EXPECT_FALSE(audit_verify(path_).intact());
  put(original);
  EXPECT_TRUE(audit_verify(path_).intact());
}

TEST_F(Audit, WritingOnDoesNotHideACutTail) {
  write(5);
  auto cut = lines();
  cut.pop_back();
  put(cut);
  write(3);
  EXPECT_FALSE(audit_verify(path_).intact());
}

TEST_F(Audit, WritingOnDoesNotHideACutTailWithTheHeadRemoved) {
  write(5);
  auto cut = lines();
  cut.pop_back();
  put(cut);
  std::filesystem::remove(audit_head_path(path_));
  write(3);
  EXPECT_THAT(first_fault(), HasSubstr("head file was missing"));
}

TEST_F(Audit, ATornLastLineIsClosedAndToldApartFromAnEdit) {
  write(3);
  std::ofstream(path_, std::ios::app) << R"({"event_id":"half a li)";
  EXPECT_TRUE(audit_verify(path_).intact());
  write(2);
  const AuditVerdict verdict = audit_verify(path_);
  EXPECT_TRUE(verdict.intact()) << verdict.faults.front().message;
  EXPECT_EQ(verdict.torn_lines, 1u);
  EXPECT_THAT(lines().at(4), HasSubstr("torn_line_closed"));

  auto edited = lines();
  edited[3] = R"({"event_id":"half another)";
  put(edited);
  EXPECT_FALSE(audit_verify(path_).intact());
}

TEST_F(Audit, ACrashBetweenLineAndHeadIsTakenUp) {
  write(3);
  const std::string head = read_file(audit_head_path(path_));
  write(1);
  std::ofstream(audit_head_path(path_), std::ios::trunc) << head;
  EXPECT_TRUE(audit_verify(path_).intact());
  write(2);
  EXPECT_EQ(first_fault(), "");
  EXPECT_EQ(audit_verify(path_).last_seq, 6u);
}

TEST_F(Audit, ThreadsAndProcessesShareOneLog) {
  AuditOptions small = options();
  small.max_bytes = 20'000;
  small.keep = 100;
  std::vector<pid_t> children;
  for (int p = 0; p < 3; ++p) {
    const pid_t child = fork();
    if (child == 0) {
      bool all = true;
      {
        const auto log = AuditLogger::open(small);
        for (int i = 0; i < 100; ++i) all = log->log(entry("config_change")) && all;
      }
      _exit(all ? 0 : 1);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  {
    const auto log = AuditLogger::open(small);
    std::vector<std::jthread> threads;
    for (int t = 0; t < 3; ++t)
      threads.emplace_back([&] {
        for (int i = 0; i < 50; ++i) log->log(entry("warning"));
      });
  }
  const AuditVerdict verdict = audit_verify(path_);
  EXPECT_TRUE(verdict.intact()) << verdict.faults.front().message;
  EXPECT_EQ(verdict.lines, 450u);
}

TEST_F(Audit, ARequiredLogThatCannotBeOpenedThrows) {
  AuditOptions bad = options();
  bad.path =
      directory_ / "missing" / "too" / "audit.log";  // the last directory alone would be made
  EXPECT_THROW(AuditLogger::open(bad), Error);
  bad.path = "/dev/full";
  EXPECT_THROW(AuditLogger::open(bad), Error);
}

TEST_F(Audit, AnOptionalLogWarnsOnceAndComesBack) {
  AuditOptions optional = options();
  optional.required = false;
  optional.path = directory_ / "later" / "still" / "audit.log";
  std::vector<Diagnostic> warnings;
  optional.on_failure = [&](const Diagnostic& diagnostic) { warnings.push_back(diagnostic); };
  const auto log = AuditLogger::open(optional);
  EXPECT_FALSE(log->log(entry("warning")));
  EXPECT_FALSE(log->log(entry("warning")));
  EXPECT_FALSE(log->healthy());
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_EQ(warnings[0].severity, Severity::kWarning);
  EXPECT_THAT(to_string(warnings[0]), HasSubstr("cannot make the directory of the audit log"));

  std::filesystem::create_directory(directory_ / "later");
  EXPECT_TRUE(log->log(entry("warning")));
  EXPECT_TRUE(log->healthy());
  EXPECT_EQ(log->lost(), 2u);
  EXPECT_THAT(read_file(optional.path), HasSubstr("2 entries before this one were lost"));
  EXPECT_TRUE(audit_verify(optional.path).intact());
}

TEST_F(Audit, AFullDiskLosesTheEntryNotTheChain) {
  const auto log = AuditLogger::open(options());
  ASSERT_TRUE(log->log(entry("warning")));
  const auto size = std::filesystem::file_size(path_);
  signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit tight{size + 100, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &tight);
  const bool written = log->log(entry("warning"));
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_FALSE(written);
  EXPECT_FALSE(log->healthy());
  EXPECT_EQ(log->failure().native_code, EFBIG);
  EXPECT_EQ(std::filesystem::file_size(path_), size);
  EXPECT_TRUE(log->log(entry("warning")));
  EXPECT_TRUE(log->healthy());
  EXPECT_EQ(first_fault(), "");
}

TEST_F(Audit, AProcessThatHoldsTheLockDoesNotStopThisOne) {
  const auto log = AuditLogger::open(options());
  const int holder = ::open(audit_head_path(path_).c_str(), O_RDWR);
  ASSERT_EQ(flock(holder, LOCK_EX), 0);
  EXPECT_FALSE(log->log(entry("warning")));
  EXPECT_EQ(log->failure().code, Code::kBusy);
  close(holder);
  EXPECT_TRUE(log->log(entry("warning")));
}

TEST_F(Audit, HostileTextStaysOneLine) {
  const auto log = AuditLogger::open(options());
  AuditRecord record = entry("error");
  record.error = std::string("first\nsecond\r\"}\xff\xfe") + std::string(100'000, 'x');
  record.resources.assign(5000, "/out/file");
  ASSERT_TRUE(log->log(record));
  ASSERT_EQ(lines().size(), 1u);
  EXPECT_LT(lines()[0].size(), 20'000u);
  EXPECT_EQ(nlohmann::json::parse(lines()[0])["resources"].size(), 101u);
  EXPECT_EQ(first_fault(), "");
}

TEST_F(Audit, QueryFiltersAcrossRotationsInOrder) {
  AuditOptions small = options();
  small.max_bytes = 3000;
  small.keep = 50;
  {
    const auto log = AuditLogger::open(small);
    for (int i = 0; i < 50; ++i) {
      AuditRecord record = entry(i % 2 == 0 ? "migration_start" : "migration_failed");
      record.timestamp = WallClock::time_point{std::chrono::hours(i)};
      record.vm_name = i < 25 ? "a" : "b";
      record.success = i % 2 == 0;
      record.description = std::to_string(i);
      log->log(record);
    }
  }
  const auto found = [&](const AuditFilter& filter) {
    std::vector<int> numbers;
    audit_query(path_, filter, [&](const nlohmann::json& object, std::string_view) {
      numbers.push_back(std::stoi(object["description"].get<std::string>()));
      return true;
    });
    return numbers;
  };
  EXPECT_EQ(found({}).size(), 50u);
  EXPECT_TRUE(std::ranges::is_sorted(found({})));
  AuditFilter filter;
  filter.vm_name = "b";
  filter.success = false;
  EXPECT_EQ(found(filter).size(), 13u);
  filter = {};
  filter.since = WallClock::time_point{std::chrono::hours(10)};
  filter.until = WallClock::time_point{std::chrono::hours(13)};
  EXPECT_EQ(found(filter), (std::vector{10, 11, 12}));
  filter = {};
  filter.types = {"migration_failed"};
  filter.limit = 2;
  EXPECT_EQ(found(filter), (std::vector{1, 3}));
  filter = {};
  filter.task_id = "no-such-task";
  EXPECT_TRUE(found(filter).empty());
}

TEST_F(Audit, QueryMemoryDoesNotGrowWithTheLog) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer's memory is not the program's";
#endif
  {
    std::ofstream file(path_);
    const std::string line =
        R"({"event_type":"warning","vm_name":"a","error":")" + std::string(1000, 'x') + "\"}\n";
    for (int i = 0; i < 60'000; ++i) file << line;
    file << std::string(8 << 20, 'y') << "\n";  // no line of ours is so long
  }
  rusage before{}, after{};
  getrusage(RUSAGE_SELF, &before);
  EXPECT_EQ(audit_query(path_, {}, [](const nlohmann::json&, std::string_view) { return true; }),
            60'000u);
  getrusage(RUSAGE_SELF, &after);
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 16 * 1024);  // KiB, for 68 MiB of log
}

TEST_F(Audit, NoLogIsAnError) {
  EXPECT_THROW(audit_verify(path_), Error);
  EXPECT_THROW(audit_query(path_, {}, [](const nlohmann::json&, std::string_view) { return true; }),
               Error);
}

TEST_F(Audit, CopiesGoToSyslogAndJournaldAndAreNeverWaitedFor) {
  const auto bind_socket = [&](const std::string& name) {
    const int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::snprintf(address.sun_path, sizeof address.sun_path, "%s", (directory_ / name).c_str());
    EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return fd;
  };
  const int syslog = bind_socket("log"), journald = bind_socket("journal");
  AuditOptions copied = options();
  copied.to_syslog = copied.to_journald = true;
  copied.syslog_socket = directory_ / "log";
  copied.journald_socket = directory_ / "journal";
  const auto log = AuditLogger::open(copied);
  ASSERT_TRUE(log->log(entry("warning")));
  const auto receive = [](int fd) {
    std::string text(65536, '\0');
    const ssize_t got = recv(fd, text.data(), text.size(), MSG_DONTWAIT);
    text.resize(got > 0 ? static_cast<size_t>(got) : 0);
    return text;
  };
  EXPECT_THAT(receive(syslog),
              testing::AllOf(testing::StartsWith("<85>hyperhost["), testing::EndsWith(lines()[0])));
  EXPECT_THAT(receive(journald), HasSubstr("\nMESSAGE=" + lines()[0] + "\n"));
  EXPECT_EQ(log->copies_lost(), 0u);

  for (int i = 0; i < 2000; ++i) ASSERT_TRUE(log->log(entry("warning")));  // nothing reads
  EXPECT_GT(log->copies_lost(), 0u);
  EXPECT_TRUE(log->healthy());
  close(syslog);
  close(journald);
}

}  // namespace
}  // namespace hyperhost
