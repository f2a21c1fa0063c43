// SPDX-License-Identifier: Apache-2.0
#include "checker.hpp"

#include <algorithm>
#include <chrono>
#include <set>
#include <utility>

#include <hyper/error.hpp>

namespace hyper::ovf {
namespace {
constexpr std::size_t kStep = 1u << 20;
}

/// Digests the pieces in order, and compares each at its end.
class Checker::Hashing {
 public:
  explicit Hashing(const CheckPlan& plan) : plan_(plan) {
    const std::size_t in_main = plan.main.pieces().size();
    // One piece whose own checksum is SHA-256 is its total as well.
    const bool same = in_main == 1 && plan.expected[0] && plan.expected[0]->algorithm == "sha256";
    if (plan.total && !same) total_.emplace("sha256");
    open_piece();
  }

  uint64_t position() const { return position_; }
  bool in_main() const { return index_ < plan_.main.pieces().size(); }
  bool finished() const { return index_ == plan_.expected.size(); }

  /// Bytes at position(), which lie within one of main and extras.
  void update(const void* data, std::size_t len) {
    const auto* bytes = static_cast<const char*>(data);
    while (len != 0 && !finished()) {
      const auto here = static_cast<std::size_t>(std::min<uint64_t>(len, piece().length - inside_));
      if (digest_) digest_->update(bytes, here);
      if (total_ && in_main()) total_->update(bytes, here);
      bytes += here;
      len -= here;
      inside_ += here;
      position_ += here;
      if (inside_ == piece().length) close_piece();
    }
  }

  /// Reads on for a step; whole pieces that nothing depends on are skipped.
  void read_step(std::vector<char>& buffer) {
    if (!digest_ && !(total_ && in_main())) {
      position_ += piece().length - inside_;
      inside_ = piece().length;
      close_piece();
      return;
    }
    buffer.resize(kStep);
    const auto len = static_cast<std::size_t>(std::min<uint64_t>(kStep, piece().length - inside_));
    const Piece& from = piece();
    if (from.file->read_some(from.offset + inside_, buffer.data(), len) != len)
      throw Error(
          HYPER_CORRUPT,
          "'" + from.name + "' ended while its checksum was being computed: it became shorter");
    update(buffer.data(), len);
  }

  CheckOutcome outcome() {
    if (!mismatch_.empty())
      throw Error(HYPER_CORRUPT, mismatch_, mismatch_detail_)
          .hint(
              "The file was damaged or changed after the package was made: copy or export it "
              "again.");
    CheckOutcome out;
    out.sha256 = total_ ? total_->hex() : plan_.total ? only_sha256_ : std::string();
    for (const std::string& algorithm : compared_)
      out.verified += (out.verified.empty() ? "" : ", ") + algorithm;
    if (!out.verified.empty()) out.verified += " as in " + plan_.manifest;
    return out;
  }

 private:
  const Piece& piece() const {
    const std::size_t in_main_count = plan_.main.pieces().size();
    return in_main() ? plan_.main.pieces()[index_] : plan_.extras.pieces()[index_ - in_main_count];
  }

  void open_piece() {
    while (!finished()) {
      digest_.reset();
      if (const auto& expected = plan_.expected[index_]) digest_.emplace(expected->algorithm);
      inside_ = 0;
      if (piece().length != 0) return;
      compare();  // of an empty file
      ++index_;
    }
  }

  void close_piece() {
    compare();
    ++index_;
    open_piece();
  }

  void compare() {
    if (!digest_) return;
    const Expected& expected = *plan_.expected[index_];
    const std::string hex = digest_->hex();
    digest_.reset();
    if (expected.algorithm == "sha256" && in_main()) only_sha256_ = hex;
    compared_.insert(expected.algorithm);
    if (hex == expected.hex || !mismatch_.empty()) return;
    mismatch_ = "the checksum of '" + piece().name + "' is not the one in the manifest '" +
                plan_.manifest + "'";
    mismatch_detail_ = expected.algorithm + " of the file in '" + piece().file->path() + "' is " +
                       hex + ", the manifest says " + expected.hex;
  }

  const CheckPlan& plan_;
  std::size_t index_ = 0;
  uint64_t inside_ = 0, position_ = 0;
  std::optional<Digest> digest_, total_;
  std::string only_sha256_, mismatch_, mismatch_detail_;
  std::set<std::string> compared_;
};

Checker::Checker(CheckPlan plan)
    : plan_(std::move(plan)), hashing_(std::make_unique<Hashing>(plan_)) {}

Checker::~Checker() = default;

void Checker::start() {
  if (settled_.load(std::memory_order_acquire)) return;
  const std::lock_guard lock(mutex_);
  if (mode_ != Mode::kIdle) return;
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
  mode_ = Mode::kThread;
  settled_.store(true, std::memory_order_release);
}

void Checker::run(const std::stop_token& stop) {
  std::exception_ptr failure;
  try {
    std::vector<char> buffer;
    while (!stop.stop_requested() && !hashing_->finished()) hashing_->read_step(buffer);
  } catch (...) {
    failure = std::current_exception();
  }
  const std::lock_guard lock(mutex_);
  failure_ = failure;
  done_ = true;
  done_changed_.notify_all();
}

void Checker::feed(const void* data, std::size_t len) {
  {
    const std::lock_guard lock(mutex_);
    if (mode_ == Mode::kThread) return;
    mode_ = Mode::kFed;
    settled_.store(true, std::memory_order_release);
  }
  if (hashing_->in_main()) hashing_->update(data, len);
}

CheckOutcome Checker::finish(Op op) {
  bool threaded = false;
  {
    std::unique_lock lock(mutex_);
    threaded = mode_ == Mode::kThread;
    while (threaded && !done_) {
      done_changed_.wait_for(lock, std::chrono::milliseconds(100));
      op.check_cancelled();
    }
    if (failure_) std::rethrow_exception(failure_);
  }
  std::vector<char> buffer;
  while (!hashing_->finished()) {
    op.check_cancelled();
    hashing_->read_step(buffer);
  }
  return hashing_->outcome();
}

}  // namespace hyper::ovf
