// SPDX-License-Identifier: Apache-2.0
// The order of what becomes visible is the promise: nothing has its final name until every disk
// of the VM is written and verified; the manifest comes last, so its presence means that the set
// is complete.
#include "core/migrate/vm_migration.hpp"
#include "core/migrate/plan_route.hpp"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <thread>

#include "core/disk/local_sources.hpp"
#include "core/migrate/cloud_storage_manager.hpp"
#include "core/migrate/resume_log.hpp"
#include "core/plugin/filter/throttled_source.hpp"
#include "core/vm/manifest.hpp"

namespace hyperhost {

VmMigration::VmMigration(Session& session, EventBus& events, const MigrationConfig& config,
                         std::shared_ptr<const TaskInfo> task, std::shared_ptr<CancelSource> cancel,
                         MigrationResult& result, std::function<void(const VmRoute&)> on_planned,
                         const CancelSource& draining)
    : session_(session),
      events_(events),
      config_(config),
      task_(std::move(task)),
      cancel_(std::move(cancel)),
      result_(result),
      on_planned_(std::move(on_planned)),
      draining_(draining),
      op_(session.operation(config.vm_name, cancel_)),
      conversions_(session),
      stages_(events, task_) {
  op_.limit_sending(send_limits());
}

SendLimits VmMigration::send_limits() const {
  if (!config_.upload_to_cloud) return {};
  return {session_.bandwidth(),
          session_.bandwidth()->of_task(task_->task_id, config_.bandwidth_limit)};
}

void VmMigration::notice(const Diagnostic& diagnostic, const char* stage) {
  {
    const std::lock_guard lock(notices_mutex_);
    if (diagnostic.severity == Severity::kWarning) result_.warnings.push_back(diagnostic);
  }
  events_.publish(task_, event::Notice{diagnostic, stage});
}

std::string VmMigration::description() const {
  std::string text;
  for (const DiskRoute& route : route_.disks)
    text += (text.empty() ? "" : "; ") + route.disk.id + ": " + route.why;
  return text;
}

void VmMigration::run() {
  cancel_->check();
  route_ = plan_route(session_, config_, op_);
  result_.total_size = 0;
  for (const DiskRoute& route : route_.disks) result_.total_size += route.disk.capacity_bytes;
  on_planned_(route_);
  Diagnostic first;
  std::string others;
  bool failed = false;
  for (const Diagnostic& finding : route_.findings) {
    if (finding.severity != Severity::kError) {
      notice(finding, "export");
    } else if (!failed) {
      first = finding;
      failed = true;
    } else {
      others += (others.empty() ? "also: " : "; ") + to_string(finding);
    }
  }
  if (failed) {
    if (!others.empty()) first.detail += (first.detail.empty() ? "" : "; ") + others;
    throw Error(first);
  }

  if (route_.finished) {
    route_.resume->restore(result_);
    remove_orphans();
    Diagnostic done;
    done.severity = Severity::kInfo;
    done.code = Code::kOk;
    done.summary = "already done by an earlier run: its files are there and unchanged";
    notice(done, "export");
    return;
  }
  try {
    take_over();
    export_and_convert();
    commit();
    claim_destination();
    upload();
    write_manifest();
    if (route_.resume) route_.resume->finished(result_);
  } catch (const Error& failure) {
    stages_.abandon();
    undo(worth_keeping(failure.code()));
    throw;
  } catch (...) {
    stages_.abandon();
    undo(false);
    throw;
  }
  try {
    // A power cut may have brought back the entry of a disk that had its name already.
    remove_orphans();
  } catch (const Error& failure) {  // the journal cannot be read: cleanup does it
    Diagnostic diagnostic = failure.diagnostic();
    diagnostic.severity = Severity::kWarning;
    notice(diagnostic, "export");
  }
}

void VmMigration::export_and_convert() {
  uint64_t source_bytes = 0;
  bool known = true;
  for (const DiskRoute& route : route_.disks) {
    known = known && route.disk.source_bytes.has_value();
    source_bytes += route.disk.source_bytes.value_or(0);
  }
  stages_.announce(Stage::kExport, known ? source_bytes : 0, description());
  stages_.announce(Stage::kConvert, result_.total_size, config_.converter.plugin);
  stages_.announce(Stage::kVerify, result_.total_size, verify_name(config_.verify_export));
  stages_.begin(Stage::kExport);
  for (std::size_t i = 0; i < pending_.size(); ++i) {
    if (!ready_[i]) continue;
    const DiskResult& disk = pending_[i].result;
    stages_.progress(Stage::kExport, disk.id, disk.source_bytes, disk.source_bytes);
    stages_.progress(Stage::kConvert, disk.id, disk.virtual_size, disk.virtual_size);
    stages_.disk_finished(disk.id, true);
  }

  std::unique_ptr<ProviderVmHandle> vm;
  bool needed = false;
  for (std::size_t i = 0; i < route_.disks.size(); ++i)
    needed = needed || (!ready_[i] && !route_.disks[i].disk.blank);
  op_.on_notice([&](const Diagnostic& diagnostic) { notice(diagnostic, "export"); });
  if (needed) {
    nlohmann::json request = vm_request(config_, route_.vm.ref, result_.task_id);
    for (const DiskRoute& route : route_.disks)
      if (!route.disk.content_id.empty())
        request["content_ids"][route.disk.id] = route.disk.content_id;
    vm = session_.provider(config_.provider, op_).open_vm(op_, request);
  }
  op_.on_notice({});

  std::atomic<std::size_t> next{0};
  std::atomic<bool> left_out{false};
  std::mutex ready_mutex;
  std::mutex error_mutex;
  std::exception_ptr error;
  const auto work = [&] {
    for (std::size_t i = next++; i < route_.disks.size() && !cancel_->cancelled(); i = next++) {
      {
        const std::lock_guard lock(ready_mutex);
        if (ready_[i]) continue;
      }
      try {
        const DiskSlots::Slot slot(session_.disk_slots(), *cancel_);
        if (draining_.cancelled()) {
          left_out = true;
          return;
        }
        try {
          convert_disk(route_.disks[i], vm.get(), pending_[i]);
        } catch (const Error& failure) {
          if (!read_again(failure)) throw;
          try {
            convert_disk(route_.disks[i], vm.get(), pending_[i]);
          } catch (const Error& again) {
            // A VM whose plugin is gone opens no disk any more: the first failure says why.
            if (again.code() != Code::kFail || again.diagnostic().retryable) throw;
            throw Error(failure.diagnostic());
          }
        }
        const std::lock_guard lock(ready_mutex);
        ready_[i] = true;
      } catch (...) {
        stages_.disk_finished(route_.disks[i].disk.id, false);
        const std::lock_guard lock(error_mutex);
        if (!error) error = std::current_exception();
        cancel_->cancel();  // the VM's other disks; `error` keeps the cause
      }
    }
  };
  const std::size_t workers =
      config_.parallel_disks
          ? std::clamp<std::size_t>(config_.max_parallel_disks, 1,
                                    std::max<std::size_t>(route_.disks.size(), 1))
          : 1;
  {
    std::vector<std::jthread> pool;
    for (std::size_t i = 1; i < workers; ++i) pool.emplace_back(work);
    work();
  }
  result_.export_duration = stages_.duration(Stage::kExport);
  result_.conversion_duration = stages_.duration(Stage::kConvert);
  result_.verify_duration = stages_.duration(Stage::kVerify);
  if (!error && cancel_->cancelled())
    error = std::make_exception_ptr(Error(Code::kCancelled, "cancelled"));
  if (!error && left_out)
    error = std::make_exception_ptr(
        Error(Code::kCancelled, "stopped after the disks that ran: the run is being drained"));
  if (error) {
    bool keep = false;
    try {
      std::rethrow_exception(error);
    } catch (const Error& failure) {
      keep = worth_keeping(failure.code());
    } catch (...) {
    }
    drop_pending(keep);  // temporary files go before the source is given back
    close_source(vm, HYPER_FAIL);
    std::rethrow_exception(error);
  }
  uint64_t read = 0, converted = 0;
  for (const PendingDisk& disk : pending_) {
    read += disk.result.source_bytes;
    converted += disk.result.virtual_size;
    result_.exported_files.push_back(disk.result.source_file);
  }
  result_.export_size = read;
  stages_.end(Stage::kExport, true, read);
  stages_.end(Stage::kConvert, true, converted);
  stages_.end(Stage::kVerify, true, converted);
  close_source(vm, HYPER_OK);
}

/// One disk's passing trouble costs that disk's time, not the whole VM's.
bool VmMigration::read_again(const Error& failure) {
  Diagnostic diagnostic = failure.diagnostic();
  if (!config_.disk_retry || !diagnostic.retryable || cancel_->cancelled()) return false;
  diagnostic.severity = Severity::kWarning;
  diagnostic.hint = "The disk is read again, from its beginning.";
  notice(diagnostic, "export");
  return cancel_->wait_for(std::max(*config_.disk_retry, diagnostic.retry_after));
}

void VmMigration::convert_disk(const DiskRoute& route, ProviderVmHandle* vm, PendingDisk& out) {
  Operation op = session_.operation(route_.vm.name + "/" + route.disk.id, cancel_);
  op.limit_sending(send_limits());
  op.on_notice([&](const Diagnostic& diagnostic) { notice(diagnostic, "convert"); });
  try {
    const std::shared_ptr<SourceHandle> delivered =
        route.disk.blank ? open_blank_source(route.disk.capacity_bytes)
                         : throttled(vm->open_disk(op, route.disk.id, route.open_flags),
                                     session_.bandwidth(), route.in_place);
    out = conversions_.convert(
        config_, route, delivered, route_.directory, op,
        [&](Stage stage, uint64_t done, uint64_t total) {
          stages_.progress(stage, route.disk.id, done, total);
        },
        route_.resume.get());
    stages_.disk_finished(route.disk.id, true);
  } catch (const Error& failure) {
    Diagnostic diagnostic = failure.diagnostic();
    if (diagnostic.path.empty())
      diagnostic.path = "vm/" + route_.vm.name + "/disk/" + route.disk.id;
    throw Error(diagnostic);
  }
}

void VmMigration::close_source(std::unique_ptr<ProviderVmHandle>& vm, hyper_st outcome) {
  if (!vm) return;
  // Undoing is not interrupted by what ended the migration.
  Operation op = session_.operation(route_.vm.name, CancelSource::create());
  op.on_notice([&](const Diagnostic& diagnostic) { notice(diagnostic, "export"); });
  try {
    vm->close(op, outcome);
  } catch (const Error& failure) {
    Diagnostic diagnostic = failure.diagnostic();
    diagnostic.severity = Severity::kWarning;
    diagnostic.detail = "something may be left at the source: " + diagnostic.detail;
    notice(diagnostic, "export");
  }
  vm.reset();
}

void VmMigration::commit() {
  cancel_->check();
  for (PendingDisk& disk : pending_) {
    if (!disk.committed) conversions_.commit(disk, route_.directory, op_);
    const bool direct = disk.store != &session_.local_storage(config_.output_dir, op_);
    const bool replaces = direct ? config_.upload_overwrite : config_.overwrite;
    if (!replaces && !disk.adopted) committed_.emplace_back(disk.store, disk.key);
    conversions_.verify_committed(config_, disk, op_,
                                  [&](Stage stage, uint64_t done, uint64_t total) {
                                    stages_.progress(stage, disk.result.id, done, total);
                                  });
    result_.conversion_size += disk.length;
    result_.converted_files.push_back(disk.result.path);
    result_.disks.push_back(disk.result);
  }
  stages_.end(Stage::kVerify, true, result_.total_size);
}

UploadOptions VmMigration::upload_options() const {
  return {config_.upload_overwrite, config_.export_manifest, "file", config_.presign};
}

void VmMigration::upload() {
  if (!config_.upload_to_cloud) return;
  result_.cloud_destination = config_.cloud_destination;
  StorageHandle& store = session_.storage(config_.storage, op_);
  CloudStorageManager manager(store);
  uint64_t total = 0;
  for (const PendingDisk& disk : pending_) total += disk.length;
  stages_.announce(Stage::kUpload, total, config_.cloud_destination);
  stages_.begin(Stage::kUpload);
  uint64_t sent = 0;
  for (std::size_t i = 0; i < pending_.size(); ++i) {
    const PendingDisk& disk = pending_[i];
    DiskResult& result = result_.disks[i];
    if (disk.store == &store) {  // written there in the first place
      result_.uploaded_files.push_back(disk.result.path);
      result.uploaded_to = disk.result.path;
    } else {
      cancel_->check();
      const UploadResult uploaded = manager.upload_file(
          disk.result.path, disk.key, upload_options(), op_, [&](uint64_t done, uint64_t size) {
            stages_.progress(Stage::kUpload, disk.result.id, done, size);
          });
      if (!config_.upload_overwrite && !uploaded.adopted) committed_.emplace_back(&store, disk.key);
      result_.uploaded_files.push_back(uploaded.location);
      result.uploaded_to = uploaded.location;
      result.url = uploaded.url;
      result.set_stored_checksum(uploaded.checksum);
    }
    stages_.progress(Stage::kUpload, result.id, disk.length, disk.length);
    stages_.disk_finished(result.id, true);
    sent += disk.length;
  }
  result_.upload_size = sent;
  stages_.end(Stage::kUpload, true, sent);
  result_.upload_duration = stages_.duration(Stage::kUpload);
}

void VmMigration::write_manifest() {
  const bool local_files = !config_.upload_to_cloud || config_.keep_local;
  if (config_.export_manifest) {
    cancel_->check();
    const std::string text = make_manifest(config_, route_, result_).dump(2) + "\n";
    const std::string key = route_.stem + "/manifest.json";
    if (config_.upload_to_cloud) {
      StorageHandle& store = session_.storage(config_.storage, op_);
      const UploadResult uploaded =
          CloudStorageManager(store).upload_text(text, key, upload_options(), op_);
      if (!config_.upload_overwrite) committed_.emplace_back(&store, key);
      result_.uploaded_files.push_back(uploaded.location);
      result_.manifest_url = uploaded.url;
      if (!local_files) result_.manifest_path = uploaded.location;
    }
    if (local_files) {
      StorageHandle& local = session_.local_storage(config_.output_dir, op_);
      const UploadOptions options{
          config_.overwrite, false, durability_name(config_.durability), {}};
      result_.manifest_path =
          CloudStorageManager(local).upload_text(text, key, options, op_).location;
    }
  }
  if (local_files) return;
  // The remote set is complete: only now the local files may go.
  StorageHandle& local = session_.local_storage(config_.output_dir, op_);
  for (const PendingDisk& disk : pending_)
    if (disk.store == &local) local.remove(op_, disk.key);
  std::error_code ignored;
  std::filesystem::remove(route_.directory, ignored);
}

}  // namespace hyperhost
