// SPDX-License-Identifier: Apache-2.0
// The seed's eleven tests, by their names: the orchestrator as a library, over the real local-ovf
// and parallel-disk plugins and small generated disks. tests/CMakeLists.txt names them to ctest.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/migrate/session.hpp"
#include "core/run/orchestrator.hpp"
#include "core/run/plugin_defaults.hpp"
#include "core/watch/audit/audit_reader.hpp"
#include "tests/support/disk_files.hpp"

namespace hyperhost {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

constexpr uint64_t kDisk = 1u << 20;

/// An HTTP server that keeps the JSON that is posted to it. One connection at a time.
class Listener {
 public:
  Listener() : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    if (::bind(socket_, reinterpret_cast<sockaddr*>(&address), length) != 0 ||
        ::listen(socket_, 16) != 0 ||
        ::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &length) != 0)
      throw std::runtime_error("no listener");
    url_ = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port)) + "/hook";
    thread_ = std::jthread([this](const std::stop_token& stop) { serve(stop); });
  }
  ~Listener() {
    thread_ = {};
    ::close(socket_);
  }
  const std::string& url() const { return url_; }
  /// "migration_start web-01", in the order of arrival.
  std::vector<std::string> events() const {
    const std::lock_guard lock(mutex_);
    return events_;
  }

 private:
  void serve(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      pollfd ready{socket_, POLLIN, 0};
      if (::poll(&ready, 1, 50) != 1) continue;
      const int connection = ::accept4(socket_, nullptr, nullptr, SOCK_CLOEXEC);
      const timeval patience{2, 0};
      ::setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
      std::string text;
      char buffer[4096];
      std::size_t wanted = std::string::npos;
      while (text.size() < wanted) {
        const ssize_t got = ::recv(connection, buffer, sizeof buffer, 0);
        if (got <= 0) break;
        text.append(buffer, static_cast<std::size_t>(got));
        const std::size_t head = text.find("\r\n\r\n");
        const std::size_t length = text.find("Content-Length: ");
        if (head != std::string::npos && length < head)
          wanted = head + 4 + std::stoul(text.substr(length + 16));
      }
      const json body =
          json::parse(text.substr(std::min(text.find("\r\n\r\n"), text.size())), nullptr, false);
      if (body.is_object()) {  // noted before the answer, after which the sender may be done
        const std::lock_guard lock(mutex_);
        events_.push_back(body.value("event", "?") + " " + body.value("vm_name", "?"));
      }
      const std::string answer = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
      ::send(connection, answer.data(), answer.size(), MSG_NOSIGNAL);
      ::close(connection);
    }
  }

  const int socket_;
  std::string url_;
  mutable std::mutex mutex_;
  std::vector<std::string> events_;
  std::jthread thread_;
};

WebhookConfig hook(const std::string& url, bool on_start = false) {
  WebhookConfig config;
  config.url = url;
  config.on_start = on_start;
  return config;
}

class MigrationOrchestratorTest : public ::testing::Test {
 protected:
  MigrationOrchestratorTest() : registry_({{PLUGIN_DIR, "built-in", true}}) {
    std::filesystem::create_directory(place_ / "vms");
    for (const char* vm : {"web-01", "db-01", "cache-01"})
      hyper::test::make_disk(place_ / ("vms/" + std::string(vm) + ".raw"), kDisk, kDisk / 2, 7);
  }

  /// As the seed's configuration: everything that watches, but for webhooks.
  OrchestratorConfig config() const {
    OrchestratorConfig config;
    config.enable_audit_logging = true;
    config.audit.path = place_ / "audit.log";
    config.providers["lab"] = {
        "local-ovf",
        Options(json{{"path", place_ / "vms"}, {"recursive", false}, {"verify_checksums", true}})};
    return config;
  }
  MigrationConfig migration(const std::string& vm) const {
    MigrationConfig config;
    config.vm_name = vm;
    config.provider = "lab";
    config.output_dir = place_ / "out";
    config.user = "admin";
    config.ip_address = "192.168.1.100";
    return config;
  }
  /// Where the content of a raw result is what was generated.
  void expect_same(const std::string& raw, const std::string& vm) const {
    EXPECT_EQ(hyper::test::slurp(raw), hyper::test::slurp(place_ / ("vms/" + vm + ".raw")));
  }

  hyper::test::Scratch place_;
  PluginRegistry registry_;
};

TEST_F(MigrationOrchestratorTest, BasicMigration) {
  MigrationOrchestrator orchestrator(config(), registry_);
  const MigrationResult result = orchestrator.migrate(migration("web-01"));
  ASSERT_TRUE(result.success) << result.error;
  EXPECT_EQ(result.vm_name, "web-01");
  EXPECT_EQ(result.provider, "local-ovf");
  EXPECT_THAT(result.task_id, HasSubstr("web-01"));
  ASSERT_THAT(result.converted_files, SizeIs(1));
  EXPECT_TRUE(std::filesystem::exists(result.converted_files.front()));
  EXPECT_TRUE(std::filesystem::exists(result.manifest_path));
}

TEST_F(MigrationOrchestratorTest, EndToEndFlow) {
  // Everything by its defaults: a registry of its own, a provider named by its plugin.
  ASSERT_EQ(::setenv("HYPERHOST_PLUGIN_PATH", PLUGIN_DIR, 1), 0);
  ASSERT_EQ(::setenv("HYPERHOST_LOCAL_OVF_PATH", (place_ / "vms").c_str(), 1), 0);
  MigrationOrchestrator orchestrator;
  MigrationConfig wanted = migration("db-01");
  wanted.provider = "local-ovf";
  wanted.target_format = "raw";
  const MigrationResult result = orchestrator.migrate(wanted);
  ASSERT_TRUE(result.success) << result.error;
  EXPECT_GT(result.export_size, 0u);
  EXPECT_EQ(result.total_size, kDisk);
  ASSERT_THAT(result.converted_files, SizeIs(1));
  expect_same(result.converted_files.front(), "db-01");
  const json manifest = json::parse(hyper::test::slurp(result.manifest_path));
  EXPECT_THAT(manifest.dump(), HasSubstr("db-01"));
  orchestrator.close();
  const MigrationResult after = orchestrator.migrate(migration("web-01"));
  EXPECT_FALSE(after.success);
  EXPECT_THAT(after.error, HasSubstr("closed"));
}

TEST_F(MigrationOrchestratorTest, ProgressTracking) {
  MigrationOrchestrator orchestrator(config(), registry_);
  ProgressTracker* tracker = orchestrator.get_progress_tracker();
  ASSERT_NE(tracker, nullptr);
  const MigrationResult result = orchestrator.migrate(migration("web-01"));
  const auto progress = tracker->get_progress(result.task_id);
  ASSERT_TRUE(progress);
  EXPECT_EQ(progress->status, TaskStatus::kCompleted);
  EXPECT_EQ(progress->percentage, 100);
  EXPECT_EQ(progress->info->vm_name, "web-01");
  EXPECT_FALSE(progress->stages.empty());
  EXPECT_FALSE(tracker->get_progress("no such task"));
  // A migration may keep itself out.
  MigrationConfig quiet = migration("db-01");
  quiet.enable_progress = false;
  EXPECT_FALSE(tracker->get_progress(orchestrator.migrate(quiet).task_id));
}

TEST_F(MigrationOrchestratorTest, MetricsCollection) {
  MigrationOrchestrator orchestrator(config(), registry_);
  MetricsCollector* collector = orchestrator.get_metrics_collector();
  ASSERT_NE(collector, nullptr);
  orchestrator.migrate(migration("web-01"));
  MigrationConfig missing = migration("no-such-vm");
  EXPECT_FALSE(orchestrator.migrate(missing).success);
  const json stats = collector->get_stats();
  EXPECT_EQ(stats["migrations"]["total"], 2);
  EXPECT_EQ(stats["migrations"]["succeeded"], 1);
  EXPECT_EQ(stats["migrations"]["failed"], 1);
  EXPECT_EQ(stats["bytes"]["converted"], kDisk);
  EXPECT_THAT(collector->metrics_text(), HasSubstr("hypersdk_migrations_total"));
  // A migration may keep itself out.
  MigrationConfig quiet = migration("db-01");
  quiet.enable_metrics = false;
  EXPECT_TRUE(orchestrator.migrate(quiet).success);
  EXPECT_EQ(collector->get_stats()["migrations"], stats["migrations"]);
}

TEST_F(MigrationOrchestratorTest, AuditLogging) {
  MigrationResult result;
  {
    MigrationOrchestrator orchestrator(config(), registry_);
    result = orchestrator.migrate(migration("web-01"));
    MigrationConfig quiet = migration("db-01");
    quiet.enable_audit_logging = false;
    EXPECT_TRUE(orchestrator.migrate(quiet).success);
  }
  EXPECT_THAT(hyper::test::slurp(place_ / "audit.log"), Not(HasSubstr("db-01")));
  EXPECT_TRUE(audit_verify(place_ / "audit.log").intact());
  std::vector<std::string> types;
  AuditFilter filter;
  filter.task_id = result.task_id;
  audit_query(place_ / "audit.log", filter, [&](const json& entry, std::string_view) {
    types.push_back(entry["event_type"]);
    EXPECT_EQ(entry["user"], "admin");
    EXPECT_EQ(entry["ip_address"], "192.168.1.100");
    return true;
  });
  ASSERT_GE(types.size(), 2u);
  EXPECT_EQ(types.front(), "migration_start");
  EXPECT_EQ(types.back(), "migration_complete");
}

TEST_F(MigrationOrchestratorTest, WebhookNotifications) {
  const Listener all, of_one, switched_off;
  OrchestratorConfig wanted = config();
  wanted.enable_webhooks = true;
  wanted.webhook_configs = {hook(all.url(), true)};
  MigrationOrchestrator orchestrator(wanted, registry_);
  // A VM's own hooks get its news and no other's, also where it fails before it begins.
  MigrationConfig web = migration("web-01"), missing = migration("no-such-vm");
  web.webhook_configs = {hook(of_one.url())};
  missing.webhook_configs = web.webhook_configs;
  MigrationConfig quiet = migration("cache-01");
  quiet.enable_webhooks = false;
  quiet.webhook_configs = {hook(switched_off.url())};
  for (const MigrationConfig& one : {web, missing, migration("db-01"), quiet})
    orchestrator.migrate(one);
  const MigrationConfig impossible = [&] {
    MigrationConfig config = migration("db-01");
    config.webhook_configs = {hook("gopher://127.0.0.1")};
    return config;
  }();
  EXPECT_FALSE(orchestrator.migrate(impossible).success);
  orchestrator.close();
  EXPECT_THAT(all.events(),
              UnorderedElementsAre("migration_start web-01", "migration_complete web-01",
                                   "migration_start no-such-vm", "migration_failed no-such-vm",
                                   "migration_start db-01", "migration_complete db-01",
                                   "migration_start db-01", "migration_failed db-01"));
  EXPECT_THAT(of_one.events(),
              ElementsAre("migration_complete web-01", "migration_failed no-such-vm"));
  EXPECT_THAT(switched_off.events(), IsEmpty());
  // Equal hooks of several VMs are one, with one queue and one row of statistics.
  EXPECT_THAT(orchestrator.get_webhook_manager()->stats(), SizeIs(2));
}

TEST_F(MigrationOrchestratorTest, BatchMigration) {
  MigrationOrchestrator orchestrator(config(), registry_);
  const std::vector<MigrationResult> results = orchestrator.migrate_batch(
      {migration("web-01"), migration("no-such-vm"), migration("db-01")});
  ASSERT_THAT(results, SizeIs(3));
  EXPECT_TRUE(results[0].success) << results[0].error;
  EXPECT_FALSE(results[1].success);
  EXPECT_TRUE(results[2].success) << results[2].error;
  EXPECT_EQ(results[0].vm_name, "web-01");
  EXPECT_EQ(results[1].vm_name, "no-such-vm");
  EXPECT_EQ(results[2].vm_name, "db-01");
}

TEST_F(MigrationOrchestratorTest, ComponentIntegration) {
  const Listener hooks;
  OrchestratorConfig wanted = config();
  wanted.enable_webhooks = true;
  wanted.webhook_configs = {hook(hooks.url())};
  MigrationOrchestrator orchestrator(wanted, registry_);
  const MigrationResult result = orchestrator.migrate(migration("web-01"));
  ASSERT_TRUE(result.success) << result.error;
  const auto progress = orchestrator.get_progress_tracker()->get_progress(result.task_id);
  ASSERT_TRUE(progress);
  EXPECT_EQ(progress->manifest_path, result.manifest_path);
  EXPECT_EQ(orchestrator.get_metrics_collector()->get_stats()["migrations"]["succeeded"], 1);
  EXPECT_EQ(orchestrator.get_audit_logger()->lost(), 0u);
  orchestrator.close();
  EXPECT_THAT(hooks.events(), ElementsAre("migration_complete web-01"));
  // The destination decides which storage an upload goes to.
  std::filesystem::create_directory(place_ / "store");
  MigrationConfig sent = migration("db-01");
  sent.upload_to_cloud = true;
  sent.cloud_destination = "file://" + (place_ / "store");
  MigrationOrchestrator uploads(config(), registry_);
  const MigrationResult stored = uploads.migrate(sent);
  ASSERT_TRUE(stored.success) << stored.error;
  EXPECT_EQ(stored.cloud_destination, sent.cloud_destination);
  EXPECT_THAT(stored.uploaded_files, SizeIs(2));  // the disk and the manifest
  EXPECT_EQ(hyper::test::slurp(place_ / "store/db-01/db-01-disk-0.qcow2"),
            hyper::test::slurp(stored.converted_files.at(0)));
  sent.vm_name = "cache-01";
  sent.cloud_destination = "somewhere";
  EXPECT_THAT(uploads.migrate(sent).error, HasSubstr("'somewhere' is no destination"));
  sent.cloud_destination = "nowhere://bucket";
  EXPECT_THAT(uploads.migrate(sent).error, HasSubstr("nowhere"));
  OrchestratorConfig here = config();
  here.enable_cloud_storage = false;
  MigrationOrchestrator local(here, registry_);
  const MigrationResult kept = local.migrate(sent);
  EXPECT_TRUE(kept.success) << kept.error;
  EXPECT_THAT(kept.uploaded_files, IsEmpty());
  // What is switched off is not there.
  OrchestratorConfig bare;
  bare.enable_progress = bare.enable_metrics = false;
  MigrationOrchestrator unwatched(bare, registry_);
  EXPECT_EQ(unwatched.get_progress_tracker(), nullptr);
  EXPECT_EQ(unwatched.get_metrics_collector(), nullptr);
  EXPECT_EQ(unwatched.get_audit_logger(), nullptr);
  EXPECT_EQ(unwatched.get_webhook_manager(), nullptr);
}

TEST_F(MigrationOrchestratorTest, FailureHandling) {
  MigrationOrchestrator orchestrator(config(), registry_);
  const MigrationResult missing = orchestrator.migrate(migration("no-such-vm"));
  EXPECT_FALSE(missing.success);
  EXPECT_EQ(missing.outcome, Outcome::kFailed);
  EXPECT_THAT(missing.error, HasSubstr("no-such-vm"));
  MigrationConfig elsewhere = migration("web-01");
  elsewhere.provider = "nowhere";
  EXPECT_THAT(orchestrator.migrate(elsewhere).error, HasSubstr("nowhere"));
  MigrationConfig impossible = migration("web-01");
  impossible.converter.plugin = "no-such-converter";
  EXPECT_THAT(orchestrator.migrate(impossible).error, HasSubstr("no-such-converter"));
  const auto cancel = CancelSource::create();
  cancel->cancel();
  EXPECT_EQ(orchestrator.migrate(migration("web-01"), cancel).outcome, Outcome::kCancelled);
  EXPECT_FALSE(std::filesystem::exists(place_ / "out/web-01"));
  const auto progress = orchestrator.get_progress_tracker()->get_progress(missing.task_id);
  ASSERT_TRUE(progress);
  EXPECT_EQ(progress->status, TaskStatus::kFailed);
  // It still works afterwards.
  EXPECT_TRUE(orchestrator.migrate(migration("web-01")).success);
}

TEST_F(MigrationOrchestratorTest, ConversionOptions) {
  MigrationOrchestrator orchestrator(config(), registry_);
  for (const char* format : {"raw", "qcow2", "vmdk", "vhd"}) {
    MigrationConfig wanted = migration("web-01");
    wanted.target_format = wanted.convert_options.output_format = format;
    wanted.output_dir = place_ / format;
    const MigrationResult result = orchestrator.migrate(wanted);
    ASSERT_TRUE(result.success) << format << ": " << result.error;
    ASSERT_THAT(result.disks, SizeIs(1));
    EXPECT_EQ(result.disks[0].target_format, format);
    EXPECT_EQ(result.disks[0].virtual_size, kDisk);
  }
  // Either of the two names says it; both together must say the same.
  MigrationConfig named = migration("db-01");
  named.output_dir = place_ / "named";
  named.convert_options.output_format = "raw";
  named.convert_options.enable_parallel = false;
  const MigrationResult raw = orchestrator.migrate(named);
  ASSERT_TRUE(raw.success) << raw.error;
  expect_same(raw.converted_files.at(0), "db-01");
  named.target_format = "vmdk";
  EXPECT_THAT(orchestrator.migrate(named).error, HasSubstr("contradict each other"));
  MigrationConfig packed = migration("web-01");
  packed.convert_options.compression = Compression::kZlib;
  EXPECT_TRUE(orchestrator.migrate(packed).success);
  // Switched off for all: the disks come as they are delivered.
  OrchestratorConfig copying = config();
  copying.enable_conversion = false;
  MigrationOrchestrator copies(copying, registry_);
  const MigrationResult copy = copies.migrate(migration("db-01"));
  ASSERT_TRUE(copy.success) << copy.error;
  ASSERT_THAT(copy.converted_files, SizeIs(1));
  expect_same(copy.converted_files.front(), "db-01");
}

TEST(MigrationResultTest, Structure) {
  const MigrationResult result;
  EXPECT_FALSE(result.success);
  for (const std::string& text : {result.task_id, result.vm_name, result.provider, result.error,
                                  result.manifest_path, result.cloud_destination})
    EXPECT_THAT(text, IsEmpty());
  for (const auto* files :
       {&result.exported_files, &result.converted_files, &result.uploaded_files})
    EXPECT_THAT(*files, IsEmpty());
  EXPECT_EQ(result.export_size + result.conversion_size + result.total_size, 0u);
  for (const auto duration : {result.export_duration, result.conversion_duration,
                              result.upload_duration, result.total_duration})
    EXPECT_EQ(duration.count(), 0);
  EXPECT_EQ(result.start_time, WallClock::time_point{});
  EXPECT_EQ(result.end_time, WallClock::time_point{});
}

}  // namespace
}  // namespace hyperhost
