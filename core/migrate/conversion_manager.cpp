// SPDX-License-Identifier: Apache-2.0
#include "core/migrate/conversion_manager.hpp"

#include <algorithm>
#include <thread>

#include "core/disk/local_sources.hpp"
#include "core/migrate/vm_run.hpp"
#include "core/plugin/filter/throttled_source.hpp"

namespace hyperhost {

unsigned hardware_threads() {
  return std::max(1u, std::thread::hardware_concurrency());
}

std::shared_ptr<SourceHandle> open_delivered(VmRun& run, ProviderVmHandle* vm,
                                             const DiskRoute& route, Operation& op) {
  if (route.disk.blank) return open_blank_source(route.disk.capacity_bytes);
  return throttled(vm->open_disk(op, route.disk.id, route.open_flags), run.session.bandwidth(),
                   route.in_place);
}

ConversionManager::ConversionManager(VmRun& run) : run_(run) {}

void ConversionManager::convert_all(ProviderVmHandle* vm) {
  const MigrationConfig& job = run_.job;
  const std::size_t workers =
      job.parallel_disks ? std::clamp<std::size_t>(job.max_parallel_disks, 1,
                                                   std::max<std::size_t>(run_.disks.size(), 1))
                         : 1;
  {
    std::vector<std::jthread> pool;
    for (std::size_t i = 1; i < workers; ++i) pool.emplace_back([&] { work(vm); });
    work(vm);
  }
  if (error_) std::rethrow_exception(error_);
  if (run_.cancel->cancelled()) throw Error(Code::kCancelled, "cancelled");
  if (left_out_)
    throw Error(Code::kCancelled, "stopped after the disks that ran: the run is being drained");
}

void ConversionManager::work(ProviderVmHandle* vm) {
  for (std::size_t i = next_++; i < run_.disks.size() && !run_.cancel->cancelled(); i = next_++) {
    DiskTransfer& disk = *run_.disks[i];
    if (disk.written()) continue;
    try {
      const DiskSlots::Slot slot(run_.session.disk_slots(), *run_.cancel);
      if (run_.draining.cancelled()) {
        left_out_ = true;
        return;
      }
      convert(disk, vm);
    } catch (...) {
      run_.stages.disk_finished(disk.route().disk.id, false);
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
      run_.cancel->cancel();  // the VM's other disks; error_ keeps the cause
    }
  }
}

void ConversionManager::convert(DiskTransfer& disk, ProviderVmHandle* vm) {
  try {
    return attempt(disk, vm);
  } catch (const Error& failure) {
    if (disk.route().prepared || !read_again(failure)) throw;  // its view is used up
    try {
      attempt(disk, vm);
    } catch (const Error& again) {
      // A VM whose plugin is gone opens no disk any more: the first failure says why.
      if (again.code() != Code::kFail || again.diagnostic().retryable) throw;
      throw Error(failure.diagnostic());
    }
  }
}

/// One disk's passing trouble costs that disk's time, not the whole VM's.
bool ConversionManager::read_again(const Error& failure) {
  Diagnostic diagnostic = failure.diagnostic();
  if (!run_.job.disk_retry || !diagnostic.retryable || run_.cancel->cancelled()) return false;
  diagnostic.severity = Severity::kWarning;
  diagnostic.hint = "The disk is read again, from its beginning.";
  run_.notice(diagnostic, "export");
  return run_.cancel->wait_for(std::max(*run_.job.disk_retry, diagnostic.retry_after));
}

void ConversionManager::attempt(DiskTransfer& disk, ProviderVmHandle* vm) {
  const DiskRoute& route = disk.route();
  Operation op = run_.operation(run_.route.vm.name + "/" + route.disk.id);
  op.on_notice([&](const Diagnostic& diagnostic) { run_.notice(diagnostic, "convert"); });
  try {
    const auto open = [&] { return open_delivered(run_, vm, route, op); };
    disk.run(open, run_.route.directory, op);
    run_.stages.disk_finished(route.disk.id, true);
  } catch (const Error& failure) {
    Diagnostic diagnostic = failure.diagnostic();
    if (diagnostic.path.empty())
      diagnostic.path = "vm/" + run_.route.vm.name + "/disk/" + route.disk.id;
    throw Error(diagnostic);
  }
}

}  // namespace hyperhost
