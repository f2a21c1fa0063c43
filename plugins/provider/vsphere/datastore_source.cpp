// SPDX-License-Identifier: Apache-2.0
#include "datastore_source.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "plugins/http/errors.hpp"

namespace hyper::vsphere {
namespace {

constexpr uint64_t kSector = 512;
constexpr int kTries = 6;
constexpr int kWholeRange = 5;  // times the longest stall: a range that trickles ends, too
constexpr uint64_t kMostWait = 30'000'000'000;
constexpr std::size_t kMostAreas = 1u << 20;  // 16 MiB of memory; the rest counts as allocated

std::string percent_encoded(const std::string& text, const char* kept) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view(kept).find(c) != std::string_view::npos;
    if (plain) {
      out += c;
    } else {
      out += '%';
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    }
  }
  return out;
}

int64_t ticks() {
  return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Splits "[store] dir/file".
std::pair<std::string, std::string> split_path(const std::string& path) {
  const std::size_t end = path.find("] ");
  if (path.empty() || path[0] != '[' || end == std::string::npos) return {};
  return {path.substr(1, end - 1), path.substr(end + 2)};
}

}  // namespace

std::optional<std::string> no_flat_file(const VmInfo& vm, const Disk& disk) {
  if (disk.backing != "VirtualDiskFlatVer2BackingInfo") return "its backing is " + disk.backing;
  if (!vm.snapshots.empty()) return "the VM has snapshots";
  if (!vm.leftovers.empty()) return std::nullopt;  // seen once those are removed
  if (disk.has_parent) return "the VM has snapshots";
  if (!disk.flat_extent) return "its datastore keeps no flat file of it";
  if (disk.capacity == 0 || disk.capacity % kSector != 0)
    return "the server does not report its size";
  return std::nullopt;
}

bool ranges_pay(const VmInfo& vm, const VmOptions& options) {
  if (vm.power != "off") return false;
  return (vm.change_tracking && options.skip_unallocated) || vm.is_template ||
         std::any_of(vm.disks.begin(), vm.disks.end(),
                     [](const Disk& disk) { return disk.independent(); });
}

DatastoreSource::DatastoreSource(Session& session, const VmInfo& vm, const Disk& disk,
                                 const Ref& snapshot, bool skip_unallocated, Watch watch, Op op)
    : session_(session),
      what_("the disk '" + disk.label + "' of '" + vm.name + "'"),
      datacenter_(vm.datacenter),
      file_(disk.flat_file),
      capacity_(disk.capacity),
      watch_(std::move(watch)),
      next_check_(ticks() + session.settings().check_interval.count()) {
  probe(op);
  if (skip_unallocated) find_areas(vm, disk, snapshot, op);
}

/// twice: some vCenters want the names of datacenter and datastore encoded twice.
std::string DatastoreSource::url(bool twice) const {
  const auto [store, path] = split_path(file_);
  const auto name = [&](const std::string& text) {
    const std::string once = percent_encoded(text, "-._~");
    return twice ? percent_encoded(once, "-._~") : once;
  };
  return session_.settings().endpoint.base() + "/folder/" + percent_encoded(path, "-._~/") +
         "?dcPath=" + name(datacenter_) + "&dsName=" + name(store);
}

void DatastoreSource::probe(Op op) {
  char sector[kSector];
  url_ = url(false);
  std::optional<uint64_t> total;
  try {
    total = read(0, sector, kSector, op);
  } catch (const Error& error) {
    if (error.status() != HYPER_NOTFOUND || url(true) == url_) throw;
    url_ = url(true);
    total = read(0, sector, kSector, op);
  }
  if (total && *total != capacity_)
    throw Error(HYPER_UNSUPPORTED, "the flat file of " + what_ + " has another size than the disk",
                std::to_string(*total) + " bytes, not " + std::to_string(capacity_));
  read(capacity_ - kSector, sector, kSector, op);
}

std::optional<uint64_t> DatastoreSource::read(uint64_t offset, void* buf, uint64_t len, Op op) {
  http::Request request;
  request.url = url_;
  request.time_limit = kWholeRange * session_.settings().http.stall_timeout;
  uint64_t wait = 250'000'000;
  bool renewed = false;
  for (int tries = 1;; ++tries) {
    request.headers = {{"Cookie", session_.cookie()}};
    try {
      const auto total = session_.client().read_range(request, offset, buf, len, op);
      received_ += len;
      return total;
    } catch (const Error& error) {
      if (error.native_code() == 401 && !renewed) {  // the session expired: a call renews it
        renewed = true;
        session_.call("CurrentTime", {"ServiceInstance", "ServiceInstance"}, {},
                      "cannot renew the session", op);
        continue;
      }
      // The server answers 500 for a locked file, which stays locked for long.
      if (!error.is_retryable() || error.native_code() == 500 || tries == kTries) throw;
      op.debug("range at " + std::to_string(offset) + " again: " + error.what());
      op.sleep_ns(std::min(std::max(wait, error.retry_after_ns()), kMostWait));
      wait *= 2;
    }
  }
}

// "*" asks for the allocated areas. An answer covers [startOffset, startOffset + length). It may
// end long before the disk ends, also without any area in it.
void DatastoreSource::find_areas(const VmInfo& vm, const Disk& disk, const Ref& snapshot, Op op) {
  if (!vm.change_tracking || disk.independent()) return;
  const auto add = [this](uint64_t begin, uint64_t end) {
    if (!areas_.empty() && begin <= areas_.back().end)
      areas_.back().end = std::max(areas_.back().end, end);
    else
      areas_.push_back({begin, end});
  };
  uint64_t at = 0;
  try {
    while (at < capacity_) {
      Args args;
      if (!snapshot.empty()) args.ref("snapshot", snapshot);
      args.number("deviceKey", static_cast<uint64_t>(disk.key)).number("startOffset", at);
      args.text("changeId", "*");
      const Answer answer = session_.call("QueryChangedDiskAreas", vm.ref, args,
                                          "cannot ask which areas are allocated", op);
      const uint64_t start = number(answer.value(), "startOffset");
      const uint64_t length = number(answer.value(), "length");
      if (start > at || length > capacity_ || length == 0 || start + length <= at)
        throw Error(HYPER_CORRUPT, "the allocated areas of " + what_ + " make no sense");
      each(answer.value(), "changedArea", [&](const pugi::xml_node& area) {
        const uint64_t begin = number(area, "start"), bytes = number(area, "length");
        if (begin > capacity_ || bytes > capacity_ - begin ||
            (!areas_.empty() && begin < areas_.back().begin))
          throw Error(HYPER_CORRUPT, "the allocated areas of " + what_ + " make no sense");
        add(begin, begin + bytes);
      });
      at = std::min(start + length, capacity_);
      if (areas_.size() > kMostAreas) {
        add(areas_.back().end, capacity_);
        break;
      }
    }
    areas_known_ = true;
  } catch (const Error& error) {
    areas_.clear();
    op.debug("all of " + what_ + " is read: " + error.what());
  }
}

SourceTraits DatastoreSource::traits() const {
  SourceTraits out;
  out.flags = HYPER_SOURCE_SEEK | (areas_known_ ? HYPER_SOURCE_EXTENTS : 0u);
  out.length = capacity_;
  out.max_parallel = session_.settings().datastore_connections;
  out.format = "raw";
  return out;
}

/// When the interval is over, one of the reading threads makes the check.
void DatastoreSource::check_now_and_then(Op op) {
  int64_t due = next_check_;
  const int64_t now = ticks();
  if (now < due) return;
  if (!next_check_.compare_exchange_strong(due, now + session_.settings().check_interval.count()))
    return;
  watch_.check(op, false);
}

void DatastoreSource::read_at(Op op, uint64_t offset, void* buf, uint64_t len) {
  op.check_cancelled();
  check_now_and_then(op);
  if (len == 0) return;
  try {
    read(offset, buf, len, op);
  } catch (const Reported&) {  // cancelled
    throw;
  } catch (const Error& error) {
    watch_.check(op, false);  // it may find the cause
    throw watch_.failed(error, op);
  }
}

void DatastoreSource::extents(Op, uint64_t offset, uint64_t len, const EmitExtent& emit) {
  const uint64_t end = offset + len;
  auto area = std::partition_point(areas_.begin(), areas_.end(),
                                   [&](const Area& one) { return one.end <= offset; });
  while (offset < end) {
    const uint64_t data = area == areas_.end() ? end : std::clamp(area->begin, offset, end);
    emit(offset, data - offset, HYPER_EXTENT_ZERO | HYPER_EXTENT_HOLE);
    if (data == end) return;
    const uint64_t until = std::min(area->end, end);
    emit(data, until - data, 0);
    offset = until;
    ++area;
  }
}

std::string DatastoreSource::finish(Op op) {
  slot_.release();
  watch_.check(op, true);
  return nlohmann::ordered_json{{"bytes", received_.load()}}.dump();
}

}  // namespace hyper::vsphere
