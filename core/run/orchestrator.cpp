// SPDX-License-Identifier: Apache-2.0
#include "core/run/orchestrator.hpp"
#include "core/base/version.hpp"
#include "core/migrate/plan_route.hpp"

#include <openssl/rand.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "core/base/exception.hpp"
#include "core/base/file_name.hpp"
#include "core/base/redactor.hpp"
#include "core/base/units.hpp"
#include "core/migrate/session.hpp"
#include "core/migrate/vm_migration.hpp"
#include "core/run/batch_orchestrator.hpp"
#include "core/run/plugin_defaults.hpp"

namespace hyperhost {
namespace {

std::string random_hex(int bytes) {
  static const char digits[] = "0123456789abcdef";
  unsigned char raw[16];
  if (RAND_bytes(raw, bytes) != 1) throw Error(Code::kFail, "no random numbers from this OpenSSL");
  std::string out;
  for (int i = 0; i < bytes; ++i) {
    out += digits[raw[i] >> 4];
    out += digits[raw[i] & 15];
  }
  return out;
}

std::string now_compact() {
  const std::time_t now = WallClock::to_time_t(WallClock::now());
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y%m%d-%H%M%S", &utc);
  return text;
}

/// Limits that made somebody wait just now.
std::vector<std::string> limits_reached(Bandwidth& bandwidth, const ProgressFrame& frame) {
  std::vector<std::string> out;
  const auto now = RateLimit::Clock::now();
  const auto look = [&](const char* key, const RateLimit& limit) {
    const bool slows = limit.slows(now);
    if (slows) out.push_back(std::string(key) + " of " + bytes_text(limit.rate()) + "/s");
    return slows;
  };
  for (const TaskProgress& task : frame.tasks) {
    if (task.status != TaskStatus::kRunning) continue;
    const auto own = bandwidth.find(task.info->task_id);
    if (own && look("bandwidth_limit", *own)) out.back() += " for " + task.info->vm_name;
  }
  look("source_bandwidth_limit", bandwidth.sources());
  look("bandwidth_limit", bandwidth.whole());
  return out;
}

}  // namespace

std::string make_task_id(const std::string& vm_name) {
  std::string name =
      vm_name.substr(vm_name.rfind('/') == std::string::npos ? 0 : vm_name.rfind('/') + 1);
  name = safe_file_name(name.empty() ? "vm" : name);
  std::replace_if(
      name.begin(), name.end(),
      [](unsigned char c) {
        return !((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                 c == '-' || c == '_' || c == '.');
      },
      '_');
  return now_compact() + "-" + name.substr(0, 60) + "-" + random_hex(3);
}

event::TaskMeasured size_of(const VmRoute& route) {
  event::TaskMeasured size;
  for (const DiskRoute& disk : route.disks) {
    const uint64_t guest = disk.disk.capacity_bytes;
    size.guest_bytes += guest;
    if (!disk.disk.blank && !route.finished)
      size.move_bytes += disk.disk.bytes_to_read().value_or(guest);
    size.disk_ids.push_back(disk.disk.id);
  }
  return size;
}

MigrationOrchestrator::MigrationOrchestrator(OrchestratorConfig config, PluginRegistry& registry,
                                             SessionServices services)
    : MigrationOrchestrator(std::move(config), nullptr, &registry, std::move(services)) {}

MigrationOrchestrator::MigrationOrchestrator(OrchestratorConfig config, PluginRegistry& registry)
    : MigrationOrchestrator(std::move(config), registry, SessionServices{}) {}

MigrationOrchestrator::MigrationOrchestrator(OrchestratorConfig config)
    : MigrationOrchestrator(std::move(config),
                            std::make_unique<PluginRegistry>(PluginRegistry::search_path({})),
                            nullptr, SessionServices{}) {}

MigrationOrchestrator::MigrationOrchestrator(OrchestratorConfig config,
                                             std::unique_ptr<PluginRegistry> own,
                                             PluginRegistry* registry, SessionServices services)
    : config_(std::move(config)),
      own_registry_(std::move(own)),
      registry_(registry != nullptr ? *registry : *own_registry_),
      session_(std::make_unique<Session>(registry_, config_.providers, std::move(services))),
      run_id_(now_compact() + "-" + random_hex(3)) {
  session_->bandwidth()->whole().set(config_.bandwidth_limit);
  session_->bandwidth()->sources().set(config_.source_bandwidth_limit);
  if (config_.enable_audit_logging) {
    if (!config_.audit.on_failure)
      config_.audit.on_failure = [](const Diagnostic& failure) {
        spdlog::warn("audit log: {}", to_string(failure));
      };
    audit_ = AuditLogger::open(config_.audit);
    events_.subscribe(audit_.get(),
                      Watch::kAudit);  // first: it is written before any other observer reacts
  }
  if (config_.enable_progress) {
    ProgressTracker::Options watched;
    watched.now = [clock = session_->services().clock] { return clock->steady(); };
    progress_ = std::make_unique<ProgressTracker>(watched);
    progress_->set_limits([bandwidth = session_->bandwidth()](const ProgressFrame& frame) {
      return limits_reached(*bandwidth, frame);
    });
    events_.subscribe(progress_.get(), Watch::kProgress);
  }
  if (config_.enable_metrics) {
    MetricsCollector::Options options;
    options.version = version();
    metrics_ = std::make_unique<MetricsCollector>(options);
    events_.subscribe(metrics_.get(), Watch::kMetrics);
    if (progress_) metrics_->show_run([this] { return progress_->frame().run; });
  }
  if (config_.enable_webhooks) add_webhooks(std::move(config_.webhook_configs));
}

void MigrationOrchestrator::add_webhooks(std::vector<WebhookConfig> hooks) {
  finish_webhooks();
  WebhookManager::Options options;
  options.user_agent = std::string("hyperhost/") + version();
  options.on_failure = [](const Diagnostic& failure) {
    spdlog::warn("webhook: {}", to_string(failure));
  };
  webhooks_ = std::make_unique<WebhookManager>(std::move(hooks), options);
  if (metrics_) webhooks_->expose(*metrics_);
  events_.subscribe(webhooks_.get(), Watch::kWebhooks);
}

void MigrationOrchestrator::finish_webhooks() {
  if (!webhooks_) return;
  events_.unsubscribe(webhooks_.get());
  webhooks_->stop();
}

void MigrationOrchestrator::close() {
  if (closed_.exchange(true)) return;
  finish_webhooks();
  if (audit_) events_.unsubscribe(audit_.get());
  audit_.reset();
}

MigrationOrchestrator::~MigrationOrchestrator() {
  close();
}

MigrationConfig MigrationOrchestrator::completed(const MigrationConfig& original) {
  if (closed_) throw Error(Code::kConfig, "the orchestrator is closed");
  MigrationConfig config = original;
  config.output_dir = std::filesystem::absolute(config.output_dir);
  if (config.enable_conversion && config.converter.plugin.empty())
    config.converter = default_converter(registry_);
  config.target_format = config.convert_options.output_format = target_format_of(config);
  if (config.upload_to_cloud && config_.enable_cloud_storage && config.storage.plugin.empty())
    config.storage = default_storage(registry_, config.cloud_destination);
  if (session_->provider_plugin(config.provider).empty() &&
      registry_.find(config.provider) != nullptr)
    session_->add_provider(config.provider,
                           default_choice(registry_, config.provider,
                                          environment_options(registry_, config.provider)));
  return config;
}

void MigrationOrchestrator::add_task_webhooks(const MigrationConfig& config,
                                              const std::string& task_id) {
  if (webhooks_ && config_.enable_webhooks && config.enable_webhooks)
    webhooks_->add(config.webhook_configs, task_id);
}

std::shared_ptr<const TaskInfo> MigrationOrchestrator::task_info(const MigrationConfig& original) {
  MigrationConfig config = original;
  try {
    config = completed(original);
  } catch (const std::exception&) {
    // The attempt will fail for the same reason, and say it.
  }
  auto task = std::make_shared<TaskInfo>();
  task->task_id = config.task_id.empty() ? make_task_id(config.vm_name) : config.task_id;
  task->run_id = run_id_;
  task->vm_name = config.vm_name;
  task->provider = session_->provider_plugin(config.provider);
  task->provider_name = config.provider;
  task->converter = config.converter.plugin;
  task->user = config.user.empty() ? config_.user : config.user;
  task->ip_address = config.ip_address.empty() ? "127.0.0.1" : config.ip_address;
  task->user_agent = std::string("hyperhost/") + version();
  task->target_format = config.target_format;
  const std::pair<bool, Watch> watched[] = {{config.enable_progress, Watch::kProgress},
                                            {config.enable_metrics, Watch::kMetrics},
                                            {config.enable_audit_logging, Watch::kAudit},
                                            {config.enable_webhooks, Watch::kWebhooks}};
  for (const auto& [wanted, as] : watched)
    if (!wanted) task->unwatched |= static_cast<uint32_t>(as);
  try {
    add_task_webhooks(config, task->task_id);  // a VM that never begins is news too
  } catch (const std::exception&) {
    // As above.
  }
  return task;
}

MigrationResult MigrationOrchestrator::migrate(const MigrationConfig& config,
                                               std::shared_ptr<CancelSource> cancel) {
  if (!cancel) cancel = CancelSource::create();
  const auto task = task_info(config);
  MigrationResult result = attempt(config, task, cancel);
  finish(result, task);
  return result;
}

MigrationResult MigrationOrchestrator::attempt(const MigrationConfig& original,
                                               const std::shared_ptr<const TaskInfo>& task,
                                               const std::shared_ptr<CancelSource>& cancel) {
  MigrationConfig config = original;
  config.task_id = task->task_id;
  config.enable_conversion = config.enable_conversion && config_.enable_conversion;
  config.parallel_disks = config.parallel_disks && config.convert_options.enable_parallel &&
                          config_.enable_parallel_conversion;
  config.upload_to_cloud = config.upload_to_cloud && config_.enable_cloud_storage;

  MigrationResult result;
  result.task_id = task->task_id;
  result.vm_name = config.vm_name;
  result.provider = task->provider;
  result.start_time = session_->services().clock->wall();
  const auto begin = session_->services().clock->steady();
  bool started_published = false;
  const auto start = [&](const VmRoute* route) {
    if (std::exchange(started_published, true)) return;
    event::TaskStarted started;
    started.stages.clear();
    for (const auto& stage : stages_of(session_->stages(), config))
      for (const Stage announced : stage->announces(config)) started.stages.push_back(announced);
    if (route != nullptr) {
      started.disks = static_cast<uint32_t>(route->disks.size());
      started.guest_bytes = result.total_size;
    }
    if (route != nullptr) events_.publish(task, size_of(*route));
    events_.publish(task, started);
    if (audit_ && audit_->required() && !audit_->healthy()) {
      Diagnostic failure = audit_->failure();
      failure.detail = "the audit log is required, so nothing was touched: " + failure.detail;
      throw Error(failure);
    }
  };
  try {
    config = completed(config);
    add_task_webhooks(config, task->task_id);
    // A cancel of its own: a disk that fails stops the VM's other disks and nothing else.
    VmMigration(
        *session_, events_, config, task, cancel->child(), result,
        [&](const VmRoute& route) { start(&route); }, *draining_)
        .run();
    result.success = true;
    result.outcome = Outcome::kSucceeded;
  } catch (const Error& failure) {
    result.diagnostic = failure.diagnostic();
  } catch (const std::exception& failure) {
    result.diagnostic = error_of(failure).diagnostic();
  }
  if (!result.success) {
    if (!started_published) {
      try {
        start(nullptr);
      } catch (const Error& failure) {
        result.diagnostic = failure.diagnostic();
      }
    }
    result.outcome =
        result.diagnostic.code == Code::kCancelled ? Outcome::kCancelled : Outcome::kFailed;
    for (std::string* text :
         {&result.diagnostic.summary, &result.diagnostic.detail, &result.diagnostic.hint})
      *text = Redactor::global().redact(*text);
    result.error = to_string(result.diagnostic);
  }
  result.end_time = session_->services().clock->wall();
  result.total_duration = session_->services().clock->steady() - begin;
  return result;
}

void MigrationOrchestrator::finish(MigrationResult& result,
                                   const std::shared_ptr<const TaskInfo>& task) {
  event::TaskFinished finished;
  finished.outcome = result.outcome;
  if (!result.success) finished.error = result.diagnostic;
  finished.already_done = result.already_done;
  finished.duration = result.total_duration;
  finished.bytes_exported = result.export_size;
  for (const DiskResult& disk : result.disks) finished.bytes_converted += disk.virtual_size;
  finished.bytes_uploaded = result.upload_size;
  finished.manifest_path = result.manifest_path;
  finished.files = result.converted_files;
  events_.publish(task, finished);
  session_->bandwidth()->forget(task->task_id);
}

VmRoute MigrationOrchestrator::preflight(const MigrationConfig& config,
                                         std::shared_ptr<CancelSource> cancel) {
  if (!cancel) cancel = CancelSource::create();
  Operation op = session_->operation(config.vm_name, cancel);
  try {
    return plan_route(*session_, completed(config), op);
  } catch (const Error& failure) {
    VmRoute route;
    route.vm.name = config.vm_name;
    route.findings = op.diagnostics();
    Diagnostic diagnostic = failure.diagnostic();
    if (diagnostic.path.empty()) diagnostic.path = "vm/" + config.vm_name;
    const bool there =
        std::any_of(route.findings.begin(), route.findings.end(), [&](const Diagnostic& one) {
          return one.severity == Severity::kError && one.summary == diagnostic.summary;
        });
    if (!there) route.findings.push_back(diagnostic);
    return route;
  }
}

void MigrationOrchestrator::cancel(const std::string& task_id) {
  const std::lock_guard lock(tasks_mutex_);
  cancelled_.insert(task_id);
  if (const auto found = running_.find(task_id); found != running_.end()) found->second->cancel();
}

std::shared_ptr<CancelSource> MigrationOrchestrator::begin_task(
    const std::string& task_id, const std::shared_ptr<CancelSource>& cancel) {
  const std::lock_guard lock(tasks_mutex_);
  auto own = cancel->child();
  if (cancelled_.contains(task_id)) own->cancel();
  return running_[task_id] = own;
}

void MigrationOrchestrator::end_task(const std::string& task_id) {
  const std::lock_guard lock(tasks_mutex_);
  running_.erase(task_id);
}

bool MigrationOrchestrator::task_cancelled(const std::string& task_id) {
  const std::lock_guard lock(tasks_mutex_);
  return cancelled_.contains(task_id);
}

std::vector<MigrationResult> MigrationOrchestrator::migrate_batch(
    const std::vector<MigrationConfig>& configs, const BatchOptions& batch,
    std::shared_ptr<CancelSource> cancel,
    const std::function<void(const MigrationResult&)>& on_result) {
  if (!cancel) cancel = CancelSource::create();
  BatchOptions options = batch;
  if (!config_.enable_batch_orchestration) options.max_parallel = 1;
  session_->disk_slots().limit(options.max_parallel_disks);
  return BatchOrchestrator(*this, options).run(configs, cancel, on_result);
}

}  // namespace hyperhost
