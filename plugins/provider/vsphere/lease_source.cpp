// SPDX-License-Identifier: Apache-2.0
#include "lease_source.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "plugins/http/errors.hpp"

namespace hyper::vsphere {
namespace {

constexpr int kLeaseTries = 5;
constexpr uint64_t kMostLeaseWait = 30'000'000'000;
constexpr uint64_t kZerosASecond = 100u << 20;  // how fast a host reads what it does not send
constexpr uint64_t kProgress = 1u << 20;        // ends a silence
constexpr uint64_t kMostTail = 16u << 20;       // behind the last grain, of a small disk

/// The address without its path, which is a ticket: whoever has it can download the disk.
std::string shown_address(const std::string& url) {
  const std::size_t path = url.find('/', url.find("://") + 3);
  return path == std::string::npos ? url : url.substr(0, path) + "/…";
}

bool same_hex(std::string a, std::string b) {
  const auto normalise = [](std::string& text) {
    text.erase(std::remove(text.begin(), text.end(), ':'), text.end());
    std::transform(text.begin(), text.end(), text.begin(),
                   [](char c) { return c >= 'A' && c <= 'F' ? static_cast<char>(c + 32) : c; });
  };
  normalise(a);
  normalise(b);
  return a == b;
}

}  // namespace

LeaseSource::LeaseSource(std::shared_ptr<Lease> lease, const DeviceUrl& device, const VmInfo& vm,
                         const Disk& disk, http::Client& client, const std::string& url,
                         const std::string& cookie, HostSlots::Slot slot, Op op)
    : lease_(std::move(lease)),
      key_(device.key),
      what_("the disk '" + disk.label + "' of '" + vm.name + "'"),
      capacity_(disk.capacity),
      slot_(std::move(slot)),
      check_(what_, disk.capacity) {
  try {
    download_ = std::make_unique<http::Download>(ask(client, url, cookie, op));
  } catch (...) {
    lease_->leave(false, op);
    throw;
  }
}

LeaseSource::~LeaseSource() {
  close(Op(nullptr));
}

void LeaseSource::close(Op op) {
  download_.reset();  // the connection must end before its lease
  if (const auto lease = std::exchange(lease_, nullptr)) lease->leave(false, op);
}

/// A host whose buffers are in use answers 503 for a while, which is not yet a failure.
http::Download LeaseSource::ask(http::Client& client, const std::string& url,
                                const std::string& cookie, Op op) {
  http::Request request;
  request.url = url;
  request.shown = shown_address(url);
  request.headers = {{"Accept", "application/x-vnd.vmware-streamVmdk, */*"}};
  if (!cookie.empty()) request.headers.emplace_back("Cookie", cookie);
  uint64_t wait = 250'000'000;
  for (int tries = 1;; ++tries) {
    lease_->check();
    http::Download download = client.open(request, op);
    if (download.status() == 200) return download;
    Error error = http::status_error("cannot download " + what_, download.status(),
                                     download.headers(), shown_address(url));
    if (download.status() != 503) lease_->probe(op);
    if (download.status() == 500)
      error.hint("The disk is locked: another lease, a backup or a running VM has it open.");
    if (download.status() == 401 || download.status() == 403 || download.status() == 404)
      error.hint("The lease's address is not valid any more: try again.").retryable();
    const bool busy = download.status() == 503 || download.status() == 502;
    if (!busy || tries == kLeaseTries) throw error;
    op.sleep_ns(std::min(std::max(wait, error.retry_after_ns()), kMostLeaseWait));
    wait *= 2;
  }
}

SourceTraits LeaseSource::traits() const {
  SourceTraits out;
  out.flags = HYPER_SOURCE_STREAM;
  out.format = "vmdk";
  return out;
}

/// A host sends nothing while it reads zeros: as long as the lease is alive, silence may last as
/// long as reading the whole disk takes.
std::string_view LeaseSource::next_piece(Op op) {
  for (;;) {
    try {
      return download_->next(op);
    } catch (const Error& error) {
      if (error.native_code() != http::kStalled || !lease_) throw;
      const auto now = std::chrono::steady_clock::now();
      if (!silent_since_ || received_ - received_then_ >= kProgress) {
        silent_since_ = now;
        received_then_ = received_;
      }
      if (now - *silent_since_ >= std::chrono::seconds(capacity_ / kZerosASecond)) throw;
      lease_->probe(op);
      op.debug("nothing comes of " + what_ + "; its lease is alive");
    }
  }
}

std::pair<const void*, uint64_t> LeaseSource::next(Op op) {
  if (ended_) return {nullptr, 0};
  std::string_view piece;
  try {
    piece = next_piece(op);
  } catch (const Error& error) {
    if (lease_) lease_->probe(op);  // a lost lease may be the cause
    throw Error(error.status(), "the download of " + what_ + " broke off",
                "after " + std::to_string(received_) + " bytes; " + error.what())
        .native(error.native_code())
        .retryable();
  }
  if (lease_) lease_->check();
  received_ += piece.size();
  if (piece.empty()) {
    ended_ = true;
    return {nullptr, 0};
  }
  check_.feed(piece);
  if (lease_ && capacity_ != 0)
    lease_->progress(static_cast<int>(std::min<uint64_t>(received_ / (capacity_ / 100 + 1), 99)));
  return {piece.data(), piece.size()};
}

std::string LeaseSource::finish(Op op) {
  // A decoder may have stopped at the last grain; tables of 4 bytes a grain may follow it.
  const uint64_t most = received_ + kMostTail + capacity_ / 4096;
  while (next(op).second != 0)
    if (received_ > most)
      throw Error(HYPER_CORRUPT, what_ + " is delivered without an end",
                  std::to_string(received_) + " bytes came, the last of them behind its grains")
          .retryable();
  const StreamCheck::Result sums = check_.finish();
  nlohmann::ordered_json out = {{"bytes", sums.bytes}, {"checksum", "sha256:" + sums.sha256}};
  const std::string verified = verify(sums, op);
  if (!verified.empty()) out["verified"] = verified;
  download_.reset();
  std::exchange(lease_, nullptr)->leave(true, op);
  slot_.release();
  return out.dump();
}

std::string LeaseSource::verify(const StreamCheck::Result& sums, Op op) {
  const auto entry = lease_->manifest(key_, op);
  if (!entry) return {};
  const auto differs = [&](const std::string& of, const std::string& theirs,
                           const std::string& ours) {
    return Error(HYPER_CORRUPT, what_ + " did not come as it was sent",
                 of + " " + theirs + " was sent, " + ours + " came")
        .retryable();
  };
  if (entry->size != 0 && entry->size != sums.bytes)
    throw differs("a length of", std::to_string(entry->size), std::to_string(sums.bytes));
  std::string kind = entry->checksum_type;
  std::transform(kind.begin(), kind.end(), kind.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  if (!entry->checksum.empty() && (kind == "sha256" || kind == "sha1")) {
    const std::string& ours = kind == "sha256" ? sums.sha256 : sums.sha1;
    if (!same_hex(entry->checksum, ours)) throw differs(kind, entry->checksum, ours);
    return kind + " as in the lease's manifest";
  }
  if (entry->sha1.empty()) return entry->size == 0 ? "" : "length as in the lease's manifest";
  if (!same_hex(entry->sha1, sums.sha1)) throw differs("sha1", entry->sha1, sums.sha1);
  return "sha1 as in the lease's manifest";
}

}  // namespace hyper::vsphere
