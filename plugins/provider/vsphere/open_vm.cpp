// SPDX-License-Identifier: Apache-2.0
#include "open_vm.hpp"

#include <algorithm>

#include "content.hpp"
#include "datastore_source.hpp"
#include "lease_source.hpp"
#include "preflight.hpp"

namespace hyper::vsphere {
namespace {
constexpr auto kPatience = std::chrono::seconds(60);
}

OpenVm::OpenVm(Connection& connection, VmInfo vm, const VmOptions& options, std::string task_id,
               std::map<std::string, std::string> contents, Op op)
    : connection_(connection),
      vm_(std::move(vm)),
      options_(options),
      task_id_(std::move(task_id)),
      contents_(std::move(contents)) {
  if (!vm_.leftovers.empty() && options_.transport == VmOptions::Transport::kDatastore) {
    remove_leftovers(connection_.session(), vm_, op);  // they hide the files that are to be read
    vm_ = read_vm(connection_.session(), connection_.names(), vm_.ref, op);
  }
  check_contents(vm_, op);
  try {
    power_.emplace(connection_.session(), vm_, task_id_, options_, op);
    if (vm_.power != "off") make_snapshot(op);
  } catch (...) {
    try {
      undo(false, op);
    } catch (...) {  // the journal has what is left to undo
    }
    throw;
  }
}

Error OpenVm::changed(const std::string& how) const {
  return Error(HYPER_BUSY, "'" + vm_.name + "' was changed while it was being migrated", how)
      .hint("The next try reads it again from the beginning.")
      .at("vm/" + vm_.name)
      .retryable();
}

/// The host may have parts of these disks from an earlier run. They fit only the same content.
void OpenVm::check_contents(const VmInfo& now, Op op) {
  if (contents_.empty()) return;
  const Contents found = contents_of(connection_.session(), now, op);
  for (const auto& [disk, content] : contents_) {
    const auto id = found.ids.find(disk);
    if (id != found.ids.end() && id->second == content) continue;
    throw changed(now.power != "off"       ? "it is " + now.power + " now"
                  : !found.unknown.empty() ? found.unknown
                                           : disk + " was written to, or is another file");
  }
}

void OpenVm::check_contents(Op op) {
  const std::lock_guard lock(mutex_);
  if (contents_.empty() || snapshot_) return;  // a snapshot has frozen the content
  check_contents(read_vm(connection_.session(), connection_.names(), vm_.ref, op), op);
}

/// Nothing locks a file that is read by ranges. It stays unchanged only while the VM is off or this
/// plugin's snapshot exists. One call.
void OpenVm::check_disk(const Disk& disk, Op op) {
  const std::string what = "cannot look at '" + vm_.name + "'";
  const Retrieved got =
      retrieve_one(connection_.session(), vm_.ref,
                   {"runtime.powerState", "snapshot", "config.hardware.device"}, what, op);
  const std::string power = power_word(got.object.required("runtime.powerState", what));
  const std::vector<Snapshot> snapshots = read_snapshots(got.object.known("snapshot", what));
  const std::vector<Disk> disks = read_disks(got.object.known("config.hardware.device", what));
  bool frozen = false;
  {
    const std::lock_guard lock(mutex_);
    frozen = snapshot_.has_value();
    if (frozen && std::none_of(snapshots.begin(), snapshots.end(),
                               [&](const Snapshot& one) { return one.ref == snapshot_->ref(); }))
      throw changed("the snapshot that is read is gone");
  }
  if (!frozen && power != "off") throw changed("it is " + power + " now");
  const auto now = std::find_if(disks.begin(), disks.end(),
                                [&](const Disk& one) { return one.key == disk.key; });
  if (now == disks.end()) throw changed("it has no '" + disk.label + "' now");
  if (now->capacity != disk.capacity)
    throw changed("'" + disk.label + "' has " + std::to_string(now->capacity) + " bytes now, not " +
                  std::to_string(disk.capacity));
  if (!frozen && now->file != disk.file)
    throw changed("'" + disk.label + "' is another file now: " + now->file);
}

void OpenVm::make_snapshot(Op op) {
  snapshot_.emplace(connection_.session(), vm_, task_id_, options_, op);
  // The disks of the snapshot are read, whose files are the frozen ones.
  const Retrieved got = retrieve_one(connection_.session(), snapshot_->ref(),
                                     {"config.hardware.device"}, "cannot read the snapshot", op);
  const std::vector<Disk> frozen =
      read_disks(got.object.known("config.hardware.device", "cannot read the snapshot"));
  for (Disk& disk : vm_.disks) {
    const auto then = std::find_if(frozen.begin(), frozen.end(),
                                   [&](const Disk& one) { return one.key == disk.key; });
    // Without a frozen file only the file that the VM writes to is known, which must not be read.
    disk.in_snapshot = then != frozen.end();
    if (!disk.in_snapshot) continue;
    disk.file = then->file;
    disk.change_id = then->change_id;
  }
}

std::unique_ptr<Source> OpenVm::open_disk(Op op, const std::string& disk_id, uint32_t) {
  const auto disk = std::find_if(vm_.disks.begin(), vm_.disks.end(),
                                 [&](const Disk& one) { return one.id == disk_id; });
  if (disk == vm_.disks.end())
    throw Error(HYPER_NOTFOUND, "the VM '" + vm_.name + "' has no disk '" + disk_id + "'");
  if (const auto why = unfit(vm_, *disk, snapshot_.has_value())) throw *why;
  HostSlots::Slot slot = connection_.slots().take(slot_host(), op);
  check_contents(op);
  if (options_.transport != VmOptions::Transport::kLease)
    if (auto source = open_in_datastore(*disk, slot, op)) return source;
  return open_by_lease(*disk, std::move(slot), op);
}

/// Null if the disk cannot be read this way, or need not be. A lease locks the files, and reading
/// the files blocks a lease, so all disks of a VM use the same transport.
std::unique_ptr<Source> OpenVm::open_in_datastore(const Disk& disk, HostSlots::Slot& slot, Op op) {
  const bool must = options_.transport == VmOptions::Transport::kDatastore;
  if (!must && (!ranges_pay(vm_, options_) || connection_.by_lease(vm_.ref))) return nullptr;
  std::string why;
  for (const Disk& one : vm_.disks)
    if (const auto reason = no_flat_file(vm_, one); reason && (!must || one.id == disk.id))
      why = "'" + one.label + "': " + *reason;
  Ref snapshot;
  {
    const std::lock_guard lock(mutex_);
    if (snapshot_) snapshot = snapshot_->ref();
    if (snapshot_ && !disk.in_snapshot) why = "the snapshot does not show its file";
    if (snapshot_ && !must) return nullptr;
  }
  if (why.empty()) {
    try {
      auto source =
          std::make_unique<DatastoreSource>(connection_.session(), vm_, disk, snapshot,
                                            options_.skip_unallocated, watch(disk, must), op);
      if (must || source->areas_known() || disk.independent() || vm_.is_template) {
        source->hold(std::move(slot));
        return source;
      }
      why = "the server does not say which areas are allocated";
    } catch (const Error& error) {
      if (must) throw;
      why = error.what();
    }
  }
  if (must)
    throw Error(
        HYPER_UNSUPPORTED,
        "the disk '" + disk.label + "' of '" + vm_.name + "' cannot be read in its datastore", why)
        .hint("transport: auto or lease exports it through the API.");
  lease_from_now_on(why, op);
  return nullptr;
}

void OpenVm::lease_from_now_on(const std::string& why, Op op) {
  if (connection_.take_by_lease(vm_.ref))
    op.note(
        Error(HYPER_OK, "'" + vm_.name + "' is exported by lease, not read in its datastore", why)
            .at("vm/" + vm_.name));
}

DatastoreSource::Watch OpenVm::watch(const Disk& disk, bool must) {
  const auto check = [this, disk](Op op, bool at_end) {
    check_disk(disk, op);
    if (at_end) check_contents(op);
  };
  const auto failed = [this, must](const Error& error, Op op) {
    Error out = error;
    if (!must) {
      lease_from_now_on(error.what(), op);
      out.hint("The next try exports it by lease.").retryable();
    } else if (error.status() == HYPER_NOTFOUND) {
      out.hint("The file was moved meanwhile (Storage vMotion?): the next try looks for it again.")
          .retryable();
    }
    return out;
  };
  return {check, failed};
}

const std::string& OpenVm::slot_host() const {
  return vm_.host.empty() ? vm_.host_name : vm_.host.id;
}

/// A lease of its own for each disk, because one stream of a lease is slow. If the server allows
/// only one lease at a time, the disks share it.
std::shared_ptr<Lease> OpenVm::lease(Op op) {
  const std::lock_guard lock(mutex_);
  std::shared_ptr<Lease> alive;
  for (const std::weak_ptr<Lease>& one : leases_)
    if (auto held = one.lock(); held && held->joinable()) alive = held;
  const auto open = [&](std::chrono::nanoseconds patience) {
    return Lease::open(connection_.session(), vm_, snapshot_ ? snapshot_->ref() : Ref(), task_id_,
                       patience, op);
  };
  const auto joined = [&](const std::shared_ptr<Lease>& made) {
    made->join();
    leases_.push_back(made);
    return made;
  };
  std::shared_ptr<Lease> made;
  try {
    made = open(alive ? std::chrono::nanoseconds(0) : kPatience);
  } catch (const Fault& fault) {
    // Servers refuse a second lease by many a fault; the first one has all disks.
    if (alive && alive->join()) return alive;
    if (alive) return joined(open(kPatience));  // it ended meanwhile, and is no obstacle any more
    if (vm_.is_template)
      throw Error(fault.status(), "the template '" + vm_.name + "' cannot be exported",
                  fault.detail())
          .hint("Clone it to a VM, or convert it to one.");
    // The server has no ExportVm, or the VM is suspended.
    const bool another_way = fault.is("NotSupported") || fault.is("MethodNotFound") ||
                             fault.is("InvalidPowerState") || fault.is("InvalidRequest");
    if (!another_way || snapshot_) throw;
    op.debug("'" + vm_.name + "' cannot be exported as it is (" + fault.kind() +
             "): a snapshot of it is");
    make_snapshot(op);
    made = open(kPatience);
  }
  return joined(made);
}

std::unique_ptr<Source> OpenVm::open_by_lease(const Disk& disk, HostSlots::Slot slot, Op op) {
  std::shared_ptr<Lease> held = lease(op);
  const DeviceUrl* device = nullptr;
  std::string url, cookie;
  http::Client* client = nullptr;
  try {
    device = held->url_of(vm_, disk);
    if (device == nullptr)
      throw Error(HYPER_UNSUPPORTED,
                  "the server does not offer the disk '" + disk.label + "' of '" + vm_.name +
                      "' for export",
                  "it offers " + std::to_string(held->urls().size()) + " others")
          .hint("Independent and raw mapped disks are not part of an export.");
    url = device->url;
    bool same_host = false;
    client = &connection_.client_for(url, device->thumbprint, same_host);
    // The url contains a token of its own. Only the server itself gets the session's cookie.
    if (same_host) cookie = connection_.session().cookie();
  } catch (...) {
    held->leave(false, op);
    throw;
  }
  return std::make_unique<LeaseSource>(std::move(held), *device, vm_, disk, *client, url, cookie,
                                       std::move(slot), op);
}

void OpenVm::close(Op op, hyper_st outcome) {
  undo(outcome == HYPER_OK, op);
}

void OpenVm::look_for_consolidation(Op op) {
  try {
    if (!needs_consolidation(connection_.session(), vm_.ref, http::Cancel::never())) return;
    op.warn(Error(HYPER_FAIL, "the disks of '" + vm_.name + "' need consolidation")
                .hint("In vCenter: Snapshots > Consolidate. Until then they grow and are slow.")
                .at("vm/" + vm_.name));
  } catch (const Error& error) {
    op.warn(Error(error.status(),
                  "it is unknown whether the disks of '" + vm_.name + "' need consolidation",
                  error.what())
                .at("vm/" + vm_.name));
  }
}

void OpenVm::undo(bool success, Op op) {
  std::exception_ptr failure;
  if (snapshot_) {
    try {
      snapshot_->remove(op, http::Cancel::never());
      snapshot_.reset();
      look_for_consolidation(op);
    } catch (...) {
      failure = std::current_exception();
    }
  }
  if (power_) power_->end(success, op);
  if (failure) std::rethrow_exception(failure);
}

}  // namespace hyper::vsphere
