// SPDX-License-Identifier: Apache-2.0
#include "core/run/plan_run.hpp"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/migrate/session.hpp"
#include "core/os/process_identity.hpp"
#include "core/state/sqlite/state_store.hpp"
#include "core/vm/result_json.hpp"
#include "core/vm/route.hpp"
#include "core/watch/recorder/run_recorder.hpp"

namespace hyperhost {
namespace {

/// A long plan does not keep its first VM waiting: the rest is checked while it runs.
constexpr std::chrono::seconds kPreflight{3};
constexpr std::size_t kRunsLookedAt = 100;
constexpr uintmax_t kStateSpace = 4u << 20;  // its write-ahead log alone

/// Found out at the end it would cost the run's results.
void check_state_space(const std::filesystem::path& directory) {
  std::error_code failed;
  const auto space = std::filesystem::space(directory, failed);
  if (!failed && space.available < kStateSpace)
    throw Error(Code::kNoSpace, "the state directory " + directory.string() + " is full",
                std::to_string(space.available) + " bytes are free",
                "free some space there, or set HYPERHOST_STATE_DIR");
}

bool has_error(const std::vector<Diagnostic>& diagnostics) {
  return std::any_of(diagnostics.begin(), diagnostics.end(),
                     [](const Diagnostic& one) { return one.severity == Severity::kError; });
}

/// What several VMs of the plan have: addresses of network cards, and shared disks.
class Shared {
 public:
  void add(const VmRoute& route, const std::string& where) {
    for (const NicDescription& nic : route.vm.nics) {
      std::string mac = nic.mac;
      for (char& c : mac)
        if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
      if (mac.empty()) continue;
      add(route, where, "nic.mac-twice", mac, nic.mac,
          "it has a network card with the address of another VM's",
          "Let no more than one of them run in one network");
    }
    for (const DiskRoute& one : route.disks)
      if (one.disk.multi_writer && !one.disk.file.empty())
        add(route, where, "disk.shared", route.vm.datacenter + "\n" + one.disk.file, one.disk.file,
            "it shares a disk with another VM of the plan, and each of them gets a copy",
            "Leave the disk out of all but one of them (disks: {exclude: ...})");
  }
  std::vector<Diagnostic> found;

 private:
  void add(const VmRoute& route, const std::string& where, const char* rule,
           const std::string& identity, const std::string& shown, const char* summary,
           const char* hint) {
    const std::string key = std::string(rule) + "\n" + identity;
    const auto [first, fresh] = seen_.try_emplace(key, route.vm.name);
    if (fresh || first->second == route.vm.name || !said_.insert(key).second) return;
    Diagnostic one;
    one.severity = Severity::kWarning;
    one.code = Code::kOk;
    one.where = where;
    one.path = "vm/" + route.vm.name;
    one.rule = rule;
    one.summary = summary;
    one.detail = shown + ", as '" + first->second + "'";
    one.hint = hint;
    found.push_back(std::move(one));
  }

  std::map<std::string, std::string> seen_;  // the VM's name, by the rule and what it is
  std::set<std::string> said_;
};

}  // namespace

PlanRun::PlanRun(PlanHost host, PlanRunOptions options)
    : host_(std::move(host)), options_(std::move(options)) {}

PlanRun::~PlanRun() = default;

PlanStatus PlanRun::prepare() {
  return prepare(false);
}

PlanStatus PlanRun::check() {
  return prepare(true);
}

PlanStatus PlanRun::prepare(bool only_check) {
  if (!load()) {
    if (!only_check) audit_failed_plan();
    return PlanStatus::kWrong;
  }
  if (only_check) bound_.orchestrator.enable_audit_logging = false;  // it would make a file
  try {
    open_state(only_check);
    SessionServices services{state_, state_};
    services.answer_timeout = plan_->batch.answer_timeout;
    orchestrator_ = std::make_unique<MigrationOrchestrator>(bound_.orchestrator, *registry_,
                                                            std::move(services));
  } catch (const Error& failure) {
    keep(failure);
    return PlanStatus::kCannotRun;
  }
  for (MigrationConfig& config : bound_.migrations) {
    config.fresh = options_.fresh;
    config.continues_since = continues_since_;
  }
  keep(Watchers::check(plan_->observability, plan_->base_dir));
  const auto found = expand_patterns(bound_, *orchestrator_, host_.cancel);
  keep(found);
  std::copy_if(found.begin(), found.end(), std::back_inserter(bound_.diagnostics),
               [](const Diagnostic& one) { return one.severity != Severity::kError; });
  if (!has_error(diagnostics_) && preflight(only_check) == PlanStatus::kInterrupted)
    return PlanStatus::kInterrupted;
  if (AuditLogger* audit = orchestrator_->get_audit_logger()) audit_findings(*audit);
  if (!has_error(diagnostics_)) return PlanStatus::kReady;
  return host_.cancel->cancelled() ? PlanStatus::kInterrupted : PlanStatus::kCannotRun;
}

bool PlanRun::load() {
  PlanResult loaded = options_.text.empty()
                          ? load_plan(options_.plan, options_.changes)
                          : parse_plan(options_.text, options_.plan, options_.changes);
  keep(loaded.diagnostics);
  plan_ = loaded.plan;
  draft_ = loaded.draft;
  const Plan* plan = plan_ ? plan_.get() : draft_.get();
  if (plan == nullptr) return false;
  std::vector<std::string> dirs;
  for (const auto& dir : plan->plugin_dirs) dirs.push_back(dir.string());
  registry_ = &host_.registry(dirs);
  if (!plan_) {  // what is wrong with plugins' options is reported together with the rest
    keep(bind_plan(*draft_, *registry_).diagnostics);
    return false;
  }
  bound_ = bind_plan(*plan_, *registry_,
                     options_.converter.empty() ? std::nullopt : std::optional(options_.converter));
  keep(bound_.diagnostics);
  return bound_.ok;
}

/// A check looks at what is there and makes nothing.
void PlanRun::open_state(bool only_check) {
  std::error_code ignored;
  if (only_check && !std::filesystem::exists(host_.state_dir / "state.db", ignored)) return;
  if (!only_check) check_state_space(host_.state_dir);
  state_ = StateStore::open(host_.state_dir, !only_check);
  find_unfinished_runs();
}

/// What runs of this plan have not come to their end, back to the last one that did?
void PlanRun::find_unfinished_runs() {
  for (const RunRecord& run : state_->runs(kRunsLookedAt)) {
    if (run.plan_file != plan_file()) continue;
    const auto tasks = state_->tasks(run.run_id);
    const bool complete =
        run.ended != 0 && std::all_of(tasks.begin(), tasks.end(), [](const TaskRecord& task) {
          return task.status == "succeeded";
        });
    if (complete) break;
    continues_since_ = run.started;
  }
}

PlanStatus PlanRun::preflight(bool only_check) {
  const auto begin = std::chrono::steady_clock::now();
  std::vector<std::vector<Diagnostic>> found;
  bound_.batch.checked = 0;
  PlanEstimator estimator(bound_.batch);
  Shared shared;
  for (const MigrationConfig& config : bound_.migrations) {
    if (host_.cancel->cancelled()) break;
    if (!only_check && std::chrono::steady_clock::now() - begin > kPreflight) break;
    VmRoute route = orchestrator_->preflight(config, host_.cancel);
    for (Diagnostic& finding : route.findings)
      if (finding.where.empty() && finding.path != "/output_dir" &&
          finding.path.rfind("converter/", 0) != 0)
        finding.where = bound_.specs[bound_.batch.checked]->mark.where();
    shared.add(route, bound_.specs[bound_.batch.checked]->mark.where());
    found.push_back(route.findings);
    ++bound_.batch.checked;
    directories_.push_back(route.directory);
    bound_.batch.sizes.push_back(size_of(route));
    estimator.add(config, route);
    if (only_check) routes_.push_back(std::move(route));
  }
  if (!only_check && bound_.batch.continue_on_error) let_others_run(found);
  for (const auto& findings : found) keep(findings);
  keep(shared.found);
  keep(shared_directories());
  estimate_ = estimator.result(plan_->batch.source_bandwidth_limit, plan_->batch.bandwidth_limit,
                               state_.get());
  const bool said = std::any_of(diagnostics_.begin(), diagnostics_.end(), [](const auto& one) {
    return one.severity == Severity::kError && one.code == Code::kNoSpace;  // one VM's alone
  });
  if (!said) keep(space_findings(estimate_));
  return host_.cancel->cancelled() ? PlanStatus::kInterrupted : PlanStatus::kReady;
}

/// A pattern takes what is there: a VM of it that cannot be migrated fails by itself, as long as
/// another one can be.
void PlanRun::let_others_run(std::vector<std::vector<Diagnostic>>& found) const {
  if (std::all_of(found.begin(), found.end(), has_error)) return;
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (!bound_.specs[i]->vm_is_pattern) continue;
    for (Diagnostic& finding : found[i]) {
      if (finding.severity != Severity::kError) continue;
      finding.severity = Severity::kWarning;
      finding.summary = "it will fail: " + finding.summary;
    }
  }
}

/// Two VMs by different references may have one name, which only their providers know.
std::vector<Diagnostic> PlanRun::shared_directories() const {
  std::vector<Diagnostic> problems;
  std::map<std::filesystem::path, std::string> taken;
  for (std::size_t i = 0; i < directories_.size(); ++i) {
    if (directories_[i].empty()) continue;
    const std::string& vm = bound_.migrations[i].vm_name;
    const auto [found, fresh] = taken.try_emplace(directories_[i], vm);
    if (fresh) continue;
    Diagnostic diagnostic;
    diagnostic.code = Code::kConfig;
    diagnostic.where = bound_.specs[i]->mark.where();
    diagnostic.path = bound_.specs[i]->pointer;
    diagnostic.summary = "'" + vm + "' and '" + found->second + "' would share the directory " +
                         found->first.string();
    diagnostic.hint = "give one of them an output_name or another output_dir";
    problems.push_back(std::move(diagnostic));
  }
  return problems;
}

void PlanRun::keep(const std::vector<Diagnostic>& more) {
  for (const Diagnostic& one : more)  // what concerns many VMs is reported once
    if (said_.insert(to_string(one)).second) diagnostics_.push_back(one);
}

void PlanRun::keep(const Error& failure) {
  keep(std::vector<Diagnostic>{failure.diagnostic()});
}

/// What keeps a plan from running is part of the record too.
void PlanRun::audit_findings(AuditLogger& audit) const {
  for (const Diagnostic& finding : diagnostics_) {
    if (finding.severity != Severity::kError) continue;
    AuditRecord record;
    record.event_type = "error";
    record.user = plan_ ? plan_->user : std::string();
    record.action = "preflight";
    record.status = "failed";
    record.success = false;
    record.error = to_string(finding);
    record.description = "plan " + options_.plan + " cannot run";
    audit.log(record);
  }
}

/// The same for a plan that got no orchestrator.
void PlanRun::audit_failed_plan() {
  const Plan* plan = plan_ ? plan_.get() : draft_.get();
  if (plan == nullptr || !plan->observability.audit_log ||
      !plan->observability.audit_log->path.is_absolute())
    return;
  try {
    const auto audit = AuditLogger::open(audit_options(*plan->observability.audit_log));
    audit_findings(*audit);
  } catch (const Error& failure) {
    keep(failure);
  }
}

/// One host at a time runs a plan into a directory.
void PlanRun::lock_outputs() {
  std::set<std::filesystem::path> directories;
  for (const MigrationConfig& config : bound_.migrations) directories.insert(config.output_dir);
  for (const auto& directory : directories) {
    std::error_code failed;
    std::filesystem::create_directory(directory, failed);
    try {
      locks_.push_back(std::make_unique<OutputLock>(state_, directory, plan_->name, plan_->user));
    } catch (const Error& failure) {
      // Nothing is written there (all of it goes to a store), or each VM will report it.
      if (failure.code() == Code::kBusy) throw;
      spdlog::debug("{}", failure.what());
      continue;
    }
    const std::string& from = locks_.back()->file().taken_over_from();
    if (!from.empty())
      spdlog::info("{}: the lock of {}, which is gone, is taken over", directory.string(), from);
  }
}

PlanStatus PlanRun::start() {
  // Warnings and notes of VMs come again, as events of the VM they concern.
  for (const Diagnostic& diagnostic : bound_.diagnostics) spdlog::warn("{}", to_string(diagnostic));
  for (const Diagnostic& finding : space_findings(estimate_))
    spdlog::warn("{}", to_string(finding));
  try {
    lock_outputs();
    watchers_ = std::make_unique<Watchers>(plan_->observability, plan_->base_dir, *orchestrator_);
  } catch (const Error& failure) {
    keep(failure);
    return PlanStatus::kCannotRun;
  }
  for (const std::string& line : watchers_->describe()) spdlog::info("{}", line);
  return PlanStatus::kReady;
}

void PlanRun::record(const MigrationResult& result) {
  try {
    state_->save_result(result.task_id, to_json(result));
  } catch (const Error& failure) {
    spdlog::warn("the result of {} is not recorded: {}", result.vm_name, failure.what());
  }
}

std::vector<MigrationResult> PlanRun::run(
    const std::function<void(const MigrationResult&)>& on_result) {
  RunRecorder recorder(
      state_, plan_file(), [&](const std::string& task_id) { orchestrator_->cancel(task_id); },
      orchestrator_->get_progress_tracker());
  orchestrator_->events().subscribe(&recorder);
  auto results = orchestrator_->migrate_batch(bound_.migrations, bound_.batch, host_.cancel,
                                              [&](const MigrationResult& result) {
                                                record(result);
                                                if (on_result) on_result(result);
                                              });
  orchestrator_->events().unsubscribe(&recorder);
  return results;
}

/// What killed runs left of VMs that this run does not have. No other message names it.
void PlanRun::warn_of_leftovers() {
  const auto text = [](const JournalEntry& entry, const char* member) {
    const auto found = entry.what.find(member);
    return found != entry.what.end() && found->is_string() ? found->get<std::string>() : "";
  };
  const auto is_of = [&](const JournalEntry& entry, const MigrationConfig& config) {
    const std::string where = text(entry, "where");
    const std::string directory = config.output_dir.lexically_normal().string();
    if (where == directory || where.starts_with(directory + "/")) return true;
    // "s3://BUCKET/PREFIX", and "ENDPOINT/BUCKET" with "PREFIX/KEY"
    const std::size_t place = config.cloud_destination.find("://");
    return config.upload_to_cloud && place != std::string::npos &&
           entry.plugin == plugin_id(config.storage.plugin) &&
           (where.substr(where.rfind('/') + 1) + "/" + text(entry, "ref"))
               .starts_with(config.cloud_destination.substr(place + 3));
  };
  std::size_t count = 0;
  std::string first;
  state_->each_entry("", [&](const JournalEntry& entry) {
    if (process_state(entry.owner) != ProcessState::kGone ||
        std::none_of(bound_.migrations.begin(), bound_.migrations.end(),
                     [&](const MigrationConfig& config) { return is_of(entry, config); }))
      return;
    if (count++ == 0) first = text(entry, "where") + "/" + text(entry, "ref");
  });
  if (count != 0)
    spdlog::warn(
        "{} unfinished files or uploads of killed runs belong to no VM of this run, the first is "
        "{}: hyperhost cleanup removes them",
        count, first);
}

std::vector<WebhookStats> PlanRun::finish() {
  try {
    if (state_) warn_of_leftovers();
  } catch (const Error& failure) {
    spdlog::debug("{}", failure.what());
  }
  watchers_->finish();
  return watchers_->webhook_stats();
}

void PlanRun::wait_for_scrape() {
  watchers_->wait_for_scrape(*host_.cancel);
}

std::string PlanRun::plan_file() const {
  return std::filesystem::absolute(options_.plan).string();
}

}  // namespace hyperhost
