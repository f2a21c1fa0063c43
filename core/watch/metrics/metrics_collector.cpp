// SPDX-License-Identifier: Apache-2.0
#include "core/watch/metrics/metrics_collector.hpp"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "core/watch/metrics/process_stats.hpp"

namespace hyperhost {
namespace {

using Seconds = std::chrono::duration<double>;
using prometheus::Counter;
using prometheus::Gauge;
using prometheus::Histogram;

constexpr size_t kLabelValues = 32;
constexpr size_t kLabelLength = 64;

// From a blank disk to a day of a slow link.
const Histogram::BucketBoundaries kDurationBuckets = {
    0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 28800, 86400};

/// Lets the first kLabelValues values through and calls the rest "other".
class BoundedLabel {
 public:
  const std::string& operator()(const std::string& value) {
    static const std::string kOther = "other", kNone = "none";
    if (value.empty()) return kNone;
    if (value.size() > kLabelLength) return kOther;
    if (const auto it = known_.find(value); it != known_.end()) return *it;
    return known_.size() < kLabelValues ? *known_.insert(value).first : kOther;
  }

 private:
  std::set<std::string> known_;
};

}  // namespace

struct MetricsCollector::Metrics {
  struct Total {
    uint64_t count = 0;
    double seconds = 0;
    double average() const { return count == 0 ? 0.0 : seconds / static_cast<double>(count); }
  };
  struct StageMetrics {
    Total total;
    uint64_t bytes = 0;
    Counter* bytes_total = nullptr;
    Histogram* duration = nullptr;
    Gauge* average = nullptr;
  };
  struct Reader {
    std::function<double()> read;
    Gauge* gauge = nullptr;
    Counter* counter = nullptr;
  };
  using ReaderKey = std::pair<std::string, Labels>;

  explicit Metrics(Options options_in);

  Counter& counter(const std::string& name, const std::string& help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(*registry).Add({});
  }
  Gauge& gauge(const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(*registry).Add({});
  }
  /// As the Go hypersdk names it; the histogram says more.
  Gauge& average_gauge(const std::string& noun) {
    return prometheus::BuildGauge()
        .Name("hypersdk_avg_" + noun + "_duration_seconds")
        .Help("Average of hypersdk_" + noun + "_duration_seconds so far.")
        .Register(*registry)
        .Add({});
  }
  Histogram& histogram(const std::string& name, const std::string& help) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(*registry).Add(
        {}, kDurationBuckets);
  }

  /// Each outcome of each pair in the run begins at zero, or its first would be no increase.
  void run_started(const event::RunStarted& run);
  void show(const RunFrame& run);
  void task_started(const TaskInfo& task);
  void task_finished(const TaskInfo& task, const event::TaskFinished& finished);
  void stage_finished(const TaskInfo& task, const event::StageFinished& finished);
  void disk_at(const TaskInfo& task, Stage stage, const std::string& disk, uint64_t bytes);
  double success_rate() const {
    const uint64_t ended = succeeded + failed;
    return ended == 0 ? 0 : 100.0 * static_cast<double>(succeeded) / static_cast<double>(ended);
  }
  double uptime() const { return Seconds(options.now() - start).count(); }

  const Options options;
  const std::chrono::steady_clock::time_point start;
  std::shared_ptr<prometheus::Registry> registry = std::make_shared<prometheus::Registry>();

  mutable std::mutex mutex;  // guards everything below
  Counter& migrations_total;
  Gauge &migrations_succeeded, &migrations_failed, &migrations_cancelled, &migrations_skipped;
  Gauge& migrations_active;
  Histogram& migration_duration;
  Gauge &migration_average, &uptime_gauge, &success_rate_gauge;
  prometheus::Family<Gauge>& by_provider;
  prometheus::Family<Counter>&outcomes, &stage_bytes, &retries, &notices;
  prometheus::Family<Histogram>& stage_by_plugin;
  Gauge &resident, &open_fds, &threads;
  Counter& cpu;
  Gauge &run_active, &run_start, &run_percent, &run_left, &run_guest_bytes, &run_unmeasured;
  Gauge& run_rate;
  prometheus::Family<Gauge>& run_vms;
  std::function<RunFrame()> run_frame;
  BoundedLabel provider_label, converter_label, stage_label;

  /// A stage's own series, made when the stage is first heard of.
  StageMetrics& of(Stage stage);

  uint64_t total = 0, succeeded = 0, failed = 0, cancelled = 0, skipped = 0;
  Total migrations;
  std::map<Stage, StageMetrics> stages;
  std::map<std::string, uint64_t> providers;
  std::set<std::string> begun, active;
  // Last cumulative count per task, stage and disk: progress arrives as totals, counters want
  // steps.
  std::map<std::tuple<std::string, Stage, std::string>, uint64_t> last_bytes;
  std::map<ReaderKey, Reader> readers;
};

MetricsCollector::Metrics::Metrics(Options options_in)
    : options(std::move(options_in)),
      start(options.now()),
      migrations_total(counter("hypersdk_migrations_total", "Migrations started.")),
      migrations_succeeded(
          gauge("hypersdk_migrations_succeeded", "Migrations that ended well so far.")),
      migrations_failed(gauge("hypersdk_migrations_failed", "Migrations that failed so far.")),
      migrations_cancelled(
          gauge("hypersdk_migrations_cancelled", "Migrations that were cancelled so far.")),
      migrations_skipped(gauge("hypersdk_migrations_skipped",
                               "Migrations that were left out so far: a VM that they depend on "
                               "failed, or their start window is over.")),
      migrations_active(gauge("hypersdk_migrations_active", "Migrations running now.")),
      migration_duration(histogram("hypersdk_migration_duration_seconds",
                                   "Time from start to end of a migration.")),
      migration_average(average_gauge("migration")),
      uptime_gauge(gauge("hypersdk_uptime_seconds", "Time since the host started.")),
      success_rate_gauge(
          gauge("hypersdk_success_rate_percent",
                "Share of the ended migrations that succeeded, 0 to 100; NaN before one ends.")),
      by_provider(prometheus::BuildGauge()
                      .Name("hypersdk_migrations_by_provider")
                      .Help("Migrations started so far, by provider plugin.")
                      .Register(*registry)),
      outcomes(prometheus::BuildCounter()
                   .Name("hypersdk_migrations_finished_total")
                   .Help("Migrations ended, by outcome, provider and converter plugin.")
                   .Register(*registry)),
      stage_bytes(prometheus::BuildCounter()
                      .Name("hypersdk_stage_bytes_total")
                      .Help("Bytes moved, by stage, provider and converter plugin.")
                      .Register(*registry)),
      retries(prometheus::BuildCounter()
                  .Name("hypersdk_retries_total")
                  .Help("Attempts that failed and were repeated, by stage.")
                  .Register(*registry)),
      notices(prometheus::BuildCounter()
                  .Name("hypersdk_notices_total")
                  .Help("Notes, warnings and errors reported, by severity.")
                  .Register(*registry)),
      stage_by_plugin(prometheus::BuildHistogram()
                          .Name("hypersdk_stage_duration_seconds")
                          .Help("Time a stage took, by stage, provider, converter and success.")
                          .Register(*registry)),
      resident(gauge("process_resident_memory_bytes", "Resident memory of this process.")),
      open_fds(gauge("process_open_fds", "Open file descriptors of this process.")),
      threads(gauge("process_threads", "Threads of this process.")),
      cpu(counter("process_cpu_seconds_total", "User and system time of this process.")),
      run_active(gauge("hypersdk_run_active", "1 while a plan's run goes on, 0 after its end.")),
      run_start(gauge("hypersdk_run_start_time_seconds",
                      "When the run began, in seconds since 1970; 0 before.")),
      run_percent(gauge("hypersdk_run_progress_percent",
                        "Share of the bytes to move that was moved; NaN while sizes are unknown.")),
      run_left(gauge("hypersdk_run_left_seconds", "Time that the run takes still; NaN: unknown.")),
      run_guest_bytes(
          gauge("hypersdk_run_guest_bytes", "Guest bytes of the run's VMs whose size is known.")),
      run_unmeasured(
          gauge("hypersdk_run_unmeasured_vms", "VMs of the run whose size is not known yet.")),
      run_rate(gauge("hypersdk_run_bytes_per_second", "Bytes that all VMs move a second now.")),
      run_vms(prometheus::BuildGauge()
                  .Name("hypersdk_run_vms")
                  .Help("VMs of the run, by state.")
                  .Register(*registry)) {
  prometheus::BuildGauge()
      .Name("hypersdk_build_info")
      .Help("Always 1; the labels say what is running.")
      .Register(*registry)
      .Add({{"version", options.version}, {"compiler", "gcc " __VERSION__}})
      .Set(1);
  // From zero, so that the first one is an increase and not just a new series.
  for (const StageRow& row : kStageTable) {
    of(Stage(row));
    retries.Add({{"stage", stage_label(row.name)}});
  }
  for (const Severity severity : {Severity::kInfo, Severity::kWarning, Severity::kError})
    notices.Add({{"severity", severity_name(severity)}});
  show(RunFrame());
  gauge("process_start_time_seconds", "When this process started, in seconds since 1970.")
      .Set(process_start_time());
}

MetricsCollector::Metrics::StageMetrics& MetricsCollector::Metrics::of(Stage stage) {
  const auto [found, first] = stages.try_emplace(stage);
  if (first) {
    const StageRow& row = stage.row();
    const std::string noun = row.noun;
    found->second.bytes_total =
        &counter("hypersdk_bytes_" + std::string(row.done) + "_total", row.bytes_help);
    found->second.duration = &histogram("hypersdk_" + noun + "_duration_seconds",
                                        "Time the " + noun + " stage of a migration took.");
    found->second.average = &average_gauge(noun);
  }
  return found->second;
}

void MetricsCollector::Metrics::run_started(const event::RunStarted& run) {
  run_active.Set(1);
  for (const auto& task : run.tasks) {
    const std::string& provider = provider_label(task->provider);
    const std::string& converter = converter_label(task->converter);
    for (const Outcome outcome :
         {Outcome::kSucceeded, Outcome::kFailed, Outcome::kCancelled, Outcome::kSkipped})
      outcomes.Add(
          {{"outcome", outcome_name(outcome)}, {"provider", provider}, {"converter", converter}});
  }
}

void MetricsCollector::Metrics::show(const RunFrame& run) {
  constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
  run_start.Set(std::chrono::duration<double>(run.start_time.time_since_epoch()).count());
  run_percent.Set(run.percentage.value_or(kUnknown));
  run_left.Set(run.left ? run.left->likely : kUnknown);
  run_guest_bytes.Set(static_cast<double>(run.guest_bytes));
  run_unmeasured.Set(static_cast<double>(run.unmeasured));
  run_rate.Set(run.rate);
  const std::pair<const char*, std::size_t> states[] = {
      {"waiting", run.waiting}, {"running", run.running},     {"completed", run.completed},
      {"failed", run.failed},   {"cancelled", run.cancelled}, {"skipped", run.skipped}};
  for (const auto& [state, number] : states)
    run_vms.Add({{"state", state}}).Set(static_cast<double>(number));
}

void MetricsCollector::Metrics::task_started(const TaskInfo& task) {
  active.insert(task.task_id);
  migrations_active.Set(static_cast<double>(active.size()));
  if (!begun.insert(task.task_id).second) return;  // an attempt more at the same task
  ++total;
  migrations_total.Increment();
  const std::string& provider = provider_label(task.provider);
  by_provider.Add({{"provider", provider}}).Set(static_cast<double>(++providers[provider]));
}

void MetricsCollector::Metrics::task_finished(const TaskInfo& task,
                                              const event::TaskFinished& finished) {
  const bool ran = begun.erase(task.task_id) != 0;
  active.erase(task.task_id);
  migrations_active.Set(static_cast<double>(active.size()));
  std::erase_if(last_bytes,
                [&](const auto& entry) { return std::get<0>(entry.first) == task.task_id; });

  switch (finished.outcome) {
    case Outcome::kSucceeded:
      ++succeeded;
      break;
    case Outcome::kFailed:
      ++failed;
      break;
    case Outcome::kCancelled:
      ++cancelled;
      break;
    case Outcome::kSkipped:
      ++skipped;
      break;
  }
  migrations_succeeded.Set(static_cast<double>(succeeded));
  migrations_failed.Set(static_cast<double>(failed));
  migrations_cancelled.Set(static_cast<double>(cancelled));
  migrations_skipped.Set(static_cast<double>(skipped));
  outcomes
      .Add({{"outcome", outcome_name(finished.outcome)},
            {"provider", provider_label(task.provider)},
            {"converter", converter_label(task.converter)}})
      .Increment();
  if (!ran || finished.outcome == Outcome::kSkipped) return;
  const double seconds = Seconds(finished.duration).count();
  migration_duration.Observe(seconds);
  ++migrations.count;
  migrations.seconds += seconds;
}

void MetricsCollector::Metrics::stage_finished(const TaskInfo& task,
                                               const event::StageFinished& finished) {
  const double seconds = Seconds(finished.duration).count();
  StageMetrics& stage = of(finished.stage);
  ++stage.total.count;
  stage.total.seconds += seconds;
  stage.duration->Observe(seconds);
  stage_by_plugin
      .Add({{"stage", stage_name(finished.stage)},
            {"provider", provider_label(task.provider)},
            {"converter", converter_label(task.converter)},
            {"success", finished.success ? "true" : "false"}},
           kDurationBuckets)
      .Observe(seconds);
}

void MetricsCollector::Metrics::disk_at(const TaskInfo& task, Stage stage, const std::string& disk,
                                        uint64_t now_at) {
  uint64_t& last = last_bytes[{task.task_id, stage, disk}];
  // Threads of one disk may report out of order; only DiskStarted resets the count.
  if (now_at <= last) return;
  const uint64_t step = now_at - last;
  last = now_at;
  StageMetrics& metrics = of(stage);
  metrics.bytes += step;
  metrics.bytes_total->Increment(static_cast<double>(step));
  stage_bytes
      .Add({{"stage", stage_name(stage)},
            {"provider", provider_label(task.provider)},
            {"converter", converter_label(task.converter)}})
      .Increment(static_cast<double>(step));
}

MetricsCollector::MetricsCollector() : MetricsCollector(Options{}) {}
MetricsCollector::MetricsCollector(Options options)
    : metrics_(std::make_unique<Metrics>(std::move(options))) {}
MetricsCollector::~MetricsCollector() = default;

void MetricsCollector::on_event(const Event& event) noexcept {
  try {
    Metrics& m = *metrics_;
    std::lock_guard lock(m.mutex);
    const auto count = [&](auto& family, const char* name, const std::string& value) {
      family.Add({{name, value}}).Increment();
    };
    if (const auto* notice = std::get_if<event::Notice>(&event.body))
      count(m.notices, "severity", severity_name(notice->diagnostic.severity));
    if (const auto* retry = std::get_if<event::Retry>(&event.body))
      count(m.retries, "stage", m.stage_label(retry->stage));
    if (const auto* run = std::get_if<event::RunStarted>(&event.body)) m.run_started(*run);
    if (std::holds_alternative<event::RunFinished>(event.body)) m.run_active.Set(0);
    if (!event.task) return;
    const TaskInfo& task = *event.task;
    if (std::holds_alternative<event::TaskStarted>(event.body)) m.task_started(task);
    if (std::holds_alternative<event::TaskWaiting>(event.body)) {  // for its next attempt
      m.active.erase(task.task_id);
      m.migrations_active.Set(static_cast<double>(m.active.size()));
    }
    if (const auto* e = std::get_if<event::StageFinished>(&event.body)) m.stage_finished(task, *e);
    if (const auto* e = std::get_if<event::TaskFinished>(&event.body)) m.task_finished(task, *e);
    if (const auto* e = std::get_if<event::DiskStarted>(&event.body))
      m.last_bytes[{task.task_id, e->stage, e->disk_id}] = e->bytes_adopted;
    if (const auto* e = std::get_if<event::DiskProgress>(&event.body))
      m.disk_at(task, e->stage, e->disk_id, e->bytes_done);
    if (const auto* e = std::get_if<event::DiskFinished>(&event.body))
      if (e->success) m.disk_at(task, e->stage, e->disk_id, e->bytes);
  } catch (const std::exception&) {
    // Out of memory; a metric less is better than a migration less.
  }
}

void MetricsCollector::add_gauge(const std::string& name, const std::string& help,
                                 const Labels& labels, std::function<double()> read) {
  Metrics& m = *metrics_;
  std::lock_guard lock(m.mutex);
  Gauge& gauge = prometheus::BuildGauge().Name(name).Help(help).Register(*m.registry).Add(labels);
  m.readers[{name, labels}] = {std::move(read), &gauge, nullptr};
}

void MetricsCollector::add_counter(const std::string& name, const std::string& help,
                                   const Labels& labels, std::function<double()> read) {
  Metrics& m = *metrics_;
  std::lock_guard lock(m.mutex);
  Counter& counter =
      prometheus::BuildCounter().Name(name).Help(help).Register(*m.registry).Add(labels);
  m.readers[{name, labels}] = {std::move(read), nullptr, &counter};
}

void MetricsCollector::remove_reader(const std::string& name, const Labels& labels) {
  std::lock_guard lock(metrics_->mutex);
  metrics_->readers.erase({name, labels});
}

void MetricsCollector::show_run(std::function<RunFrame()> frame) {
  std::lock_guard lock(metrics_->mutex);
  metrics_->run_frame = std::move(frame);
}

std::string MetricsCollector::metrics_text() {
  Metrics& m = *metrics_;
  std::lock_guard lock(m.mutex);
  if (m.run_frame) m.show(m.run_frame());
  m.uptime_gauge.Set(m.uptime());
  // No rate, and not one of 0, before a first migration has ended.
  const bool ended = m.succeeded + m.failed != 0;
  m.success_rate_gauge.Set(ended ? m.success_rate() : std::numeric_limits<double>::quiet_NaN());
  m.migration_average.Set(m.migrations.average());
  for (const auto& [stage, metrics] : m.stages) metrics.average->Set(metrics.total.average());
  const ProcessStats process = read_process_stats();
  m.resident.Set(static_cast<double>(process.resident_bytes));
  m.open_fds.Set(static_cast<double>(process.open_fds));
  m.threads.Set(static_cast<double>(process.threads));
  m.cpu.Increment(std::max(0.0, process.cpu_seconds - m.cpu.Value()));
  for (auto& [key, reader] : m.readers) {
    if (reader.gauge) reader.gauge->Set(reader.read());
    if (reader.counter)
      reader.counter->Increment(std::max(0.0, reader.read() - reader.counter->Value()));
  }
  return prometheus::TextSerializer().Serialize(m.registry->Collect());
}

nlohmann::json MetricsCollector::get_stats() const {
  const Metrics& m = *metrics_;
  std::lock_guard lock(m.mutex);
  nlohmann::json stats;
  stats["migrations"] = {{"total", m.total},         {"succeeded", m.succeeded},
                         {"failed", m.failed},       {"active", m.active.size()},
                         {"cancelled", m.cancelled}, {"skipped", m.skipped}};
  stats["success_rate"] = m.success_rate();
  nlohmann::json& durations = stats["durations"];
  const auto put = [&](const std::string& name, const Metrics::Total& sum) {
    durations[name + "_total"] = sum.seconds;
    durations[name + "_avg"] = sum.average();
  };
  for (const auto& [stage, metrics] : m.stages) {
    // The Go hypersdk's four stages are always there, a further one as soon as a VM has had it.
    if (stage > Stage::kVerify && metrics.total.count == 0 && metrics.bytes == 0) continue;
    put(stage.row().noun, metrics.total);
    stats["bytes"][stage.row().done] = metrics.bytes;
  }
  put("migration", m.migrations);
  stats["providers"] = m.providers;
  stats["uptime"] = m.uptime();
  return stats;
}

std::shared_ptr<prometheus::Registry> MetricsCollector::registry() const {
  return metrics_->registry;
}

}  // namespace hyperhost
