// SPDX-License-Identifier: Apache-2.0
#include "core/run/plan_estimate.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/base/timestamp.hpp"
#include "core/base/units.hpp"
#include "core/migrate/resume_log.hpp"

namespace hyperhost {
namespace {

namespace fs = std::filesystem;

/// The directory itself, or what of its path exists.
fs::path existing(fs::path directory) {
  std::error_code ignored;
  while (directory.has_relative_path() && !fs::exists(directory, ignored))
    directory = directory.parent_path();
  return directory;
}

uint64_t device_of(const fs::path& directory) {
  struct stat info {};
  return ::stat(existing(directory).c_str(), &info) == 0 ? static_cast<uint64_t>(info.st_dev) : 0;
}

std::optional<uint64_t> free_at(const fs::path& directory) {
  std::error_code failed;
  const fs::space_info info = fs::space(existing(directory), failed);
  if (failed) return std::nullopt;
  return static_cast<uint64_t>(info.available);
}

std::chrono::nanoseconds time_for(uint64_t bytes, double bytes_per_second) {
  constexpr double kLongest = 1e9;  // seconds
  return std::chrono::nanoseconds(static_cast<int64_t>(
      std::min(static_cast<double>(bytes) / bytes_per_second, kLongest) * 1e9));
}

/// For how long at least one of the VMs ran: what a run waited for start windows says nothing of
/// its speed.
Millis busy_time(const std::vector<TaskRecord>& tasks) {
  std::vector<std::pair<Millis, Millis>> spans;
  for (const TaskRecord& task : tasks)
    if (task.started != 0 && task.ended > task.started)
      spans.emplace_back(task.started, task.ended);
  std::sort(spans.begin(), spans.end());
  Millis sum = 0, until = 0;
  for (const auto& [from, to] : spans) {
    sum += std::max<Millis>(0, to - std::max(from, until));
    until = std::max(until, to);
  }
  return sum;
}

/// Guest bytes a second of each of the newest runs that moved something.
std::vector<double> rates_of_earlier_runs(RunState& state) {
  constexpr std::size_t kRuns = 10, kTasks = 2000;
  std::vector<double> rates;
  std::size_t seen = 0;
  for (const RunRecord& run : state.runs(kRuns)) {
    if (run.ended <= run.started) continue;
    uint64_t bytes = 0;
    const auto tasks = state.tasks(run.run_id);
    const Millis busy = busy_time(tasks);
    for (const TaskRecord& task : tasks) {
      if (++seen > kTasks) return rates;
      if (task.status != "succeeded") continue;
      const auto detail = state.task(task.task_id);
      if (detail && !detail->result.is_null() && !detail->result.value("already_done", false))
        bytes += task.guest_bytes;
    }
    if (bytes != 0 && busy != 0)
      rates.push_back(static_cast<double>(bytes) * 1000 / static_cast<double>(busy));
  }
  return rates;
}

void add_time(PlanEstimate& estimate, const std::vector<double>& rates) {
  if (rates.empty() || estimate.todo_bytes == 0) return;
  const auto [slowest, fastest] = std::minmax_element(rates.begin(), rates.end());
  estimate.shortest = time_for(estimate.todo_bytes, *fastest);
  estimate.longest = time_for(estimate.todo_bytes, *slowest);
  estimate.basis = "by " + std::to_string(rates.size()) +
                   (rates.size() == 1 ? " earlier run" : " earlier runs") + " on this host";
}

/// A limit is a fact: nothing is faster.
void apply_limit(PlanEstimate& estimate, const char* name, uint64_t bytes, uint64_t limit) {
  if (limit == 0 || bytes == 0) return;
  const auto least = time_for(bytes, static_cast<double>(limit));
  if (estimate.shortest && *estimate.shortest >= least) return;
  estimate.shortest = least;
  if (estimate.longest) estimate.longest = std::max(*estimate.longest, least);
  estimate.basis = std::string("by ") + name;
}

}  // namespace

PlanEstimator::Place& PlanEstimator::place(const fs::path& directory) {
  const uint64_t device = device_of(directory);
  const auto [found, fresh] = places_.try_emplace(device);
  if (fresh) {
    order_.push_back(device);
    found->second.sum.directory = directory;
    found->second.sum.free_bytes = free_at(directory);
  }
  return found->second;
}

void PlanEstimator::add(const MigrationConfig& job, const VmRoute& route) {
  ++sum_.vms;
  for (const DiskRoute& disk : route.disks) sum_.guest_bytes += disk.disk.capacity_bytes;
  if (route.finished) {
    ++sum_.done_before;
    return;
  }
  if (const auto opens = job.window.opens(now_)) {
    ++sum_.later;
    sum_.last_opens = std::max(sum_.last_opens.value_or(*opens), *opens);
  }
  uint64_t least = 0, worst = 0, staged = 0;
  for (const DiskRoute& disk : route.disks) {
    ++sum_.disks;
    sum_.todo_bytes += disk.disk.capacity_bytes;
    if (disk.disk.blank) continue;
    const uint64_t to_read = disk.disk.bytes_to_read().value_or(disk.disk.capacity_bytes);
    sum_.move_bytes += to_read;
    sum_.at_most |= !disk.disk.bytes_to_read();
    const DiskSpace space = disk_space(disk, job.convert_options.compression);
    sum_.at_least |= !space.known;
    if (disk.staged) staged += to_read;
    if (job.upload_to_cloud) upload_bytes_ += space.least;
    if (disk.direct_upload) continue;
    const bool begun = route.resume && !job.fresh && route.resume->disk(disk.disk.id);
    least += begun ? 0 : space.least;
    worst += space.worst;
  }
  if (worst != 0) {
    Place& at = place(job.output_dir);
    ++at.sum.vms;
    if (job.upload_to_cloud && !job.keep_local) {
      at.passing.push_back(worst);
    } else {
      at.sum.least += least;
      at.sum.worst += worst;
    }
  }
  if (staged != 0)
    place(job.staging_dir.empty() ? job.output_dir : job.staging_dir).passing.push_back(staged);
}

PlanEstimate PlanEstimator::result(uint64_t source_limit, uint64_t upload_limit,
                                   RunState* state) const {
  PlanEstimate out = sum_;
  const std::size_t at_once = std::max<std::size_t>(batch_.max_parallel, 1);
  for (const uint64_t device : order_) {
    Place one = places_.at(device);
    std::sort(one.passing.rbegin(), one.passing.rend());
    one.passing.resize(std::min(one.passing.size(), at_once));
    one.sum.worst = std::accumulate(one.passing.begin(), one.passing.end(), one.sum.worst);
    out.places.push_back(std::move(one.sum));
  }
  if (state != nullptr) add_time(out, rates_of_earlier_runs(*state));
  apply_limit(out, "source_bandwidth_limit", out.move_bytes, source_limit);
  apply_limit(out, "bandwidth_limit", upload_bytes_, upload_limit);
  return out;
}

nlohmann::json PlanEstimate::to_json() const {
  using nlohmann::json;
  json list = json::array();
  for (const PlaceEstimate& place : places)
    list.push_back({{"directory", place.directory.string()},
                    {"vms", place.vms},
                    {"least_bytes", place.least},
                    {"worst_bytes", place.worst},
                    {"free_bytes", place.free_bytes ? json(*place.free_bytes) : json(nullptr)}});
  const auto seconds = [](const std::optional<std::chrono::nanoseconds>& time) {
    return time ? json(std::chrono::duration<double>(*time).count()) : json(nullptr);
  };
  return {
      {"vms", vms},
      {"disks", disks},
      {"done_before", done_before},
      {"guest_bytes", guest_bytes},
      {"todo_bytes", todo_bytes},
      {"move_bytes", move_bytes},
      {"move_bytes_at_most", at_most},
      {"sizes_unknown", at_least},
      {"space", list},
      {"shortest_seconds", seconds(shortest)},
      {"longest_seconds", seconds(longest)},
      {"time_basis", basis},
      {"later_vms", later},
      {"last_window_opens", last_opens ? json(format_timestamp(*last_opens, 0)) : json(nullptr)}};
}

std::vector<Diagnostic> space_findings(const PlanEstimate& estimate) {
  std::vector<Diagnostic> out;
  for (const PlaceEstimate& place : estimate.places) {
    if (!place.free_bytes || place.worst <= *place.free_bytes) continue;
    const bool sure = place.least > *place.free_bytes;
    const std::string vms = place.vms == 0   ? "staged disks take"
                            : place.vms == 1 ? "1 VM takes"
                                             : std::to_string(place.vms) + " VMs take";
    Diagnostic finding;
    finding.severity = sure ? Severity::kError : Severity::kWarning;
    finding.code = Code::kNoSpace;
    finding.summary = sure ? "not enough space in " + place.directory.string()
                           : place.directory.string() + " may run full";
    finding.detail =
        vms +
        (sure ? " at least " + bytes_text(place.least) : " up to " + bytes_text(place.worst)) +
        ", " + bytes_text(*place.free_bytes) + " are free";
    finding.hint = "free some space, choose another output_dir, or migrate fewer VMs at a time";
    out.push_back(std::move(finding));
  }
  return out;
}

}  // namespace hyperhost
