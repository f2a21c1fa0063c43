// SPDX-License-Identifier: Apache-2.0
#include "lease.hpp"

#include <algorithm>

namespace hyper::vsphere {
namespace {

constexpr auto kLeaseReady = std::chrono::minutes(10);  // of a VM with many disks or a long chain
constexpr auto kMostBetween = std::chrono::seconds(30);

std::string after_last(const std::string& text, char separator) {
  const std::size_t at = text.rfind(separator);
  return at == std::string::npos ? text : text.substr(at + 1);
}

/// For the journal: a reference such as "session[KEY]ID" ends with its session, whose key is none
/// of the journal's business.
std::string nameable(const Ref& lease) {
  return lease.id.rfind("session[", 0) == 0 ? std::string() : lease.id;
}

}  // namespace

void expect_initializing(const std::string& state, std::chrono::nanoseconds waited,
                         const std::string& what) {
  if (state == "initializing" && waited <= kLeaseReady) return;
  throw Error(HYPER_BUSY, what,
              state.empty() ? "the server does not report its state" : "the lease is " + state)
      .retryable();
}

Lease::Lease(Session& session, const std::string& vm_name, Debt debt)
    : session_(session), vm_name_(vm_name), debt_(std::move(debt)) {}

std::shared_ptr<Lease> Lease::open(Session& session, const VmInfo& vm, const Ref& snapshot,
                                   const std::string& task_id, std::chrono::nanoseconds patience,
                                   Op op) {
  Debt debt(session, "lease", vm.ref, task_id, op);
  std::shared_ptr<Lease> lease(new Lease(session, vm.name, std::move(debt)));
  if (snapshot.empty())
    lease->start("ExportVm", vm.ref, patience, op);
  else
    lease->start("ExportSnapshot", snapshot, patience, op);
  lease->wait_until_ready(op);
  lease->keeper_ = std::thread([raw = lease.get()] { raw->keep_alive(); });
  return lease;
}

void Lease::start(const char* method, const Ref& self, std::chrono::nanoseconds patience, Op op) {
  const std::string what = "cannot export '" + vm_name_ + "'";
  try {
    ref_ = while_busy(patience, op, [&] {
      // Never cancelled: without the answer the lease's reference is unknown and nothing can end
      // it.
      return ref_in(session_.call(method, self, {}, what, http::Cancel::never()).value());
    });
  } catch (const Fault&) {
    debt_.settle(op);
    throw;
  }
  debt_.name(nameable(ref_), op);
}

void Lease::wait_until_ready(Op op) {
  const std::string what = "the server gives no lease to export '" + vm_name_ + "'";
  const auto begin = std::chrono::steady_clock::now();
  std::chrono::nanoseconds wait = std::chrono::milliseconds(50);
  for (;;) {
    std::optional<Retrieved> got;
    try {
      got = retrieve_one(session_, ref_, {"state", "error", "info"}, what, op);
    } catch (const Fault& fault) {
      if (!fault.is("ManagedObjectNotFound")) throw;
      throw Error(HYPER_BUSY, what, "the lease is gone").retryable();  // its session has ended
    }
    const std::string state = got->object.text("state");
    if (state == "error") throw method_fault(what, got->object.at("error"));
    if (state == "ready") {
      const pugi::xml_node info = got->object.at("info");
      const uint64_t seconds = std::min<uint64_t>(number(info, "leaseTimeout"), 3600);
      if (seconds != 0) timeout_ = std::chrono::seconds(seconds);
      each(info, "deviceUrl", [&](const pugi::xml_node& device) {
        urls_.push_back({text(device, "key"), text(device, "importKey"), text(device, "url"),
                         text(device, "sslThumbprint"), text(device, "targetId"),
                         flag(device, "disk")});
      });
      return;
    }
    expect_initializing(state, std::chrono::steady_clock::now() - begin, what);
    pause(wait, op);
    wait = std::min<std::chrono::nanoseconds>(wait * 2, std::chrono::seconds(1));
  }
}

Lease::~Lease() {
  end("HttpNfcLeaseAbort", Op(nullptr));  // does nothing if the lease has ended
}

// A device's key ends in "<controller type><bus>:<unit>", which names the disk. For simulators and
// unusual controllers the file's name decides, and if that fails the order.
const DeviceUrl* Lease::url_of(const VmInfo& vm, const Disk& disk) const {
  std::vector<const DeviceUrl*> disks;
  for (const DeviceUrl& one : urls_)
    if (one.disk) disks.push_back(&one);
  const auto only = [&](auto matches) -> const DeviceUrl* {
    const auto count = std::count_if(disks.begin(), disks.end(), matches);
    return count != 1 ? nullptr : *std::find_if(disks.begin(), disks.end(), matches);
  };
  if (const DeviceUrl* found =
          only([&](const DeviceUrl* one) { return after_last(one->key, '/') == disk.place(); }))
    return found;
  const std::string file = after_last(after_last(disk.file, ' '), '/');
  const auto same_name = std::count_if(vm.disks.begin(), vm.disks.end(), [&](const Disk& one) {
    return after_last(after_last(one.file, ' '), '/') == file;
  });
  if (same_name == 1)
    if (const DeviceUrl* found =
            only([&](const DeviceUrl* one) { return !file.empty() && one->target == file; }))
      return found;
  if (disks.size() != vm.disks.size()) return nullptr;
  for (std::size_t i = 0; i < disks.size(); ++i)
    if (vm.disks[i].id == disk.id) return disks[i];
  return nullptr;
}

/// Renews the lease once. A Fault means that the lease is lost.
void Lease::renew(const http::Cancel& cancel) {
  try {
    Args args;
    args.number("percent", static_cast<uint64_t>(std::clamp(percent_.load(), 0, 100)));
    session_.call_in_session("HttpNfcLeaseProgress", ref_, args,
                             "the export of '" + vm_name_ + "' was ended by the server", cancel);
  } catch (const Fault& fault) {
    const std::lock_guard lock(mutex_);
    lost_ = Error(HYPER_IO, fault.summary(), fault.detail())
                .hint("The lease ended: it expired, or somebody cancelled the task in vCenter.")
                .retryable();
  }
}

// The first renewal comes at once, because some time may pass between ready and the first byte.
void Lease::keep_alive() {
  const auto every = std::min<std::chrono::milliseconds>(timeout_ / 4, kMostBetween);
  const auto stop = stop_.cancel();
  auto last = std::chrono::steady_clock::now();
  for (;;) {
    try {
      try {
        renew(stop);
        if (lost()) return;
        last = std::chrono::steady_clock::now();
      } catch (const Error& error) {  // the network failed: try again while the lease may live
        if (std::chrono::steady_clock::now() - last > timeout_) {
          const std::lock_guard lock(mutex_);
          lost_ = error;
          return;
        }
      }
      pause(every, stop);
    } catch (...) {  // stopped
      return;
    }
  }
}

void Lease::probe(const http::Cancel& cancel) {
  if (!lost()) {
    try {
      renew(cancel);
    } catch (const Error&) {  // the server cannot be asked
    }
  }
  check();
}

void Lease::stop_keeping() {
  stop_.raise();
  if (keeper_.joinable()) keeper_.join();
}

std::optional<Error> Lease::lost() const {
  const std::lock_guard lock(mutex_);
  return lost_;
}

void Lease::check() const {
  if (const auto error = lost()) throw *error;
}

bool Lease::join() {
  const std::lock_guard lock(mutex_);
  if (ending_ || failed_ || lost_) return false;
  ++users_;
  return true;
}

bool Lease::joinable() const {
  const std::lock_guard lock(mutex_);
  return !ending_ && !failed_ && !lost_;
}

void Lease::leave(bool success, Op op) noexcept {
  bool failed = false;
  {
    const std::lock_guard lock(mutex_);
    failed_ = failed_ || !success;
    failed = failed_;
    if (--users_ != 0) return;
    ending_ = true;
  }
  end(failed ? "HttpNfcLeaseAbort" : "HttpNfcLeaseComplete", op);
}

void Lease::end(const char* method, Op op) noexcept {
  try {
    stop_keeping();
    if (!ref_.empty()) {
      const Ref ref = std::exchange(ref_, Ref());
      try {
        session_.call_in_session(method, ref, {}, "cannot end the lease on '" + vm_name_ + "'",
                                 http::Cancel::never());
      } catch (const Fault& fault) {
        // The lease has ended already, or its session has.
        if (!fault.is("ManagedObjectNotFound") && !fault.is("NotAuthenticated")) throw;
      }
      debt_.settle(op);
    }
  } catch (...) {  // the journal keeps the entry, and the lease expires at the server
  }
}

std::optional<ManifestEntry> Lease::manifest(const std::string& key, const http::Cancel& cancel) {
  std::optional<ManifestEntry> out;
  try {
    const Answer answer = session_.call_in_session(
        "HttpNfcLeaseGetManifest", ref_, {},
        "cannot get the checksums of the export of '" + vm_name_ + "'", cancel);
    each(answer.response(), "returnval", [&](const pugi::xml_node& entry) {
      if (text(entry, "key") != key) return;
      out = ManifestEntry{text(entry, "sha1"), text(entry, "checksum"), text(entry, "checksumType"),
                          number(entry, "size")};
    });
  } catch (const Fault& fault) {
    if (fault.status() != HYPER_UNSUPPORTED) throw;
  }
  return out;
}

}  // namespace hyper::vsphere
