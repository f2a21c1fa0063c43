// SPDX-License-Identifier: Apache-2.0
#include "core/check/source_windows.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <random>
#include <thread>

#include "core/check/large_disk.hpp"

namespace hyperhost::check {
namespace {

constexpr uint64_t kWindow = 64 * 1024;
constexpr std::size_t kMostZeros = 64;  // places that extents() calls zero
constexpr std::chrono::milliseconds kMostTime{3000};

struct Window {
  uint64_t offset = 0;
  Bytes bytes;
};

class Windows {
 public:
  Windows(Run& run, std::string what, const OpenSource& open, const SourceHandle& source,
          uint64_t begin, bool known)
      : run_(run),
        what_(std::move(what)),
        open_(open),
        source_(source),
        begin_(begin),
        known_(known) {}

  void all() {
    place();
    {
      Operation op = operation(what_);
      run_.at("read_at() of " + what_ + " at its end, around 2^31 and 2^32, and at random");
      for (Window& window : windows_) once(op, window);
    }
    if (source_.can(HYPER_SOURCE_EXTENTS)) zeros();
    parallel();
  }

 private:
  uint64_t block() const { return source_.table().block_min; }
  bool late() const { return std::chrono::steady_clock::now() > until_; }
  std::string range(uint64_t offset, uint64_t length) const {
    return "read_at(" + std::to_string(offset) + ", " + std::to_string(length) + ") of " + what_;
  }

  void place() {
    const uint64_t length = source_.length();
    const auto add = [&](uint64_t offset) {
      offset = offset / block() * block();
      if (offset >= length) return;
      const uint64_t size = std::min(kWindow, length - offset) / block() * block();
      if (size != 0) windows_.push_back({offset, Bytes(size)});
    };
    add(length - std::min(length, kWindow));
    for (const uint64_t edge : {uint64_t{1} << 31, uint64_t{1} << 32, uint64_t{1} << 33})
      if (length > edge) add(edge - kWindow / 2);
    if (known_)
      for (const auto& [from, to] : large_disk_data()) add(from - std::min(from, kWindow / 4));
    std::mt19937_64 random(31);
    for (int i = 0; i < 12 && length != 0; ++i) add(random() % length);
  }

  bool read(Operation& op, const SourceHandle& source, uint64_t offset, Bytes& into) const {
    std::fill(into.begin(), into.end(), static_cast<unsigned char>(0x5A));
    try {
      source.read_at(op, offset, into.data(), into.size());
      return true;
    } catch (const Error& error) {
      run_.fail(range(offset, into.size()) + " fails: " + error.what());
      return false;
    }
  }

  /// Whole and in pieces of odd sizes; against what is known.
  void once(Operation& op, Window& window) {
    if (!read(op, source_, window.offset, window.bytes)) return;
    if (known_) {
      Bytes expected(window.bytes.size());
      large_disk_bytes(window.offset, expected.size(), expected.data());
      const auto [there, wanted] =
          std::mismatch(window.bytes.begin(), window.bytes.end(), expected.begin());
      if (there != window.bytes.end())
        run_.fail(
            range(window.offset, window.bytes.size()) +
            " gives other bytes than the disk has, from offset " +
            std::to_string(window.offset + static_cast<uint64_t>(there - window.bytes.begin())));
    }
    uint64_t at = 0;
    for (uint64_t step = block(); at < window.bytes.size(); step = step * 3 + block()) {
      Bytes piece(std::min<uint64_t>(step, window.bytes.size() - at));
      if (!read(op, source_, window.offset + at, piece)) return;
      if (!std::equal(piece.begin(), piece.end(),
                      window.bytes.begin() + static_cast<std::ptrdiff_t>(at)))
        return run_.fail(range(window.offset + at, piece.size()) +
                         " gives other bytes than a larger read did");
      at += piece.size();
    }
  }

  /// What extents() calls zero is read: both ends of each such extent, and places in the middle.
  void zeros() {
    run_.at("extents() of " + what_);
    std::vector<std::pair<uint64_t, uint64_t>> claims;
    Operation op = operation(what_);
    const auto emit = [](void* arg, const hyper_extent* extent) noexcept -> hyper_st {
      auto& all = *static_cast<std::vector<std::pair<uint64_t, uint64_t>>*>(arg);
      if ((extent->flags & HYPER_EXTENT_ZERO) != 0 && all.size() < 1'000'000)
        all.emplace_back(extent->offset, extent->length);
      return HYPER_OK;
    };
    const uint64_t begin = begin_ / block() * block();
    if (begin >= source_.length()) return;
    const hyper_st status = source_.table().extents(source_.table().ctx, &op, 0, begin,
                                                    source_.length() - begin, emit, &claims);
    if (status != HYPER_OK) return;  // said elsewhere
    std::mt19937_64 random(17);
    std::shuffle(claims.begin(), claims.end(), random);
    if (known_)
      for (const auto& [offset, length] : claims)
        for (const auto& [from, to] : large_disk_data())
          if (std::max(from, offset) < std::min(to, offset + length)) {
            lie(offset, length, std::max(from, offset));
            return;
          }
    const std::size_t looks = std::min(kMostZeros, 3 * claims.size() + 8);
    for (std::size_t i = 0; i < looks && !claims.empty() && !late(); ++i) {
      const auto& [offset, length] = claims[i / 3 % claims.size()];
      const uint64_t size = std::min(kWindow, length) / block() * block();
      if (size == 0) continue;
      const uint64_t last = length - size;
      const uint64_t at = i % 3 == 0 ? 0 : i % 3 == 1 ? last : random() % (last + 1);
      Bytes bytes(size);
      if (!read(op, source_, offset + at / block() * block(), bytes)) return;
      const auto found = std::find_if(bytes.begin(), bytes.end(), [](auto byte) { return byte; });
      if (found == bytes.end()) continue;
      return lie(offset, length,
                 offset + at / block() * block() + static_cast<uint64_t>(found - bytes.begin()));
    }
  }

  void lie(uint64_t offset, uint64_t length, uint64_t byte) const {
    run_.fail("extents() of " + what_ + " marks (offset " + std::to_string(offset) + ", length " +
              std::to_string(length) + ") as zero and byte " + std::to_string(byte) +
              " reads otherwise");
  }

  /// Several threads, on this source and on a second one of the same disk, as far as both allow.
  void parallel() {
    if (windows_.empty() || differs_) return;
    Operation op = operation(what_);
    std::unique_ptr<SourceHandle> second;
    if (open_) {
      run_.at("opening " + what_ + " a second time");
      second = open_(op, HYPER_OPEN_SEEK);
    }
    run_.at("read_at() of " + what_ + " on several threads");
    std::vector<std::thread> threads;
    const auto start = [&](const SourceHandle& source, unsigned seed) {
      const unsigned most = source.gate() ? 1 : std::min(3u, source.table().max_parallel);
      for (unsigned i = 0; i < most; ++i)
        threads.emplace_back([this, &source, seed, i] { reader(source, seed + i); });
    };
    start(source_, 1);
    if (second && second->can(HYPER_SOURCE_SEEK) && second->length() == source_.length())
      start(*second, 10);
    for (std::thread& thread : threads) thread.join();
  }

  void reader(const SourceHandle& source, unsigned seed) {
    std::mt19937 random(seed);
    Operation op = operation(what_);
    for (int i = 0; i < 400 && !differs_ && !late(); ++i) {
      const Window& window = windows_[random() % windows_.size()];
      const uint64_t blocks = window.bytes.size() / block();
      const uint64_t first = random() % blocks;
      const uint64_t count = 1 + random() % (blocks - first);
      Bytes bytes(count * block());
      const uint64_t at = first * block();
      if (!read(op, source, window.offset + at, bytes)) return;
      if (std::equal(bytes.begin(), bytes.end(),
                     window.bytes.begin() + static_cast<std::ptrdiff_t>(at)))
        continue;
      if (!differs_.exchange(true))
        run_.fail(range(window.offset + at, bytes.size()) +
                  " on one of several threads gives other bytes than a read alone");
    }
  }

  Run& run_;
  const std::string what_;
  const OpenSource& open_;
  const SourceHandle& source_;
  const uint64_t begin_;
  const bool known_;
  const std::chrono::steady_clock::time_point until_ = std::chrono::steady_clock::now() + kMostTime;
  std::vector<Window> windows_;
  std::atomic<bool> differs_{false};
};

}  // namespace

bool check_windows(Run& run, const std::string& what, const OpenSource& open,
                   const SourceHandle& source, uint64_t begin, const Bytes& first) {
  const bool known = first.size() >= 512 && is_large_disk(source.length(), first.data());
  Windows(run, what, open, source, begin, known).all();
  return known;
}

}  // namespace hyperhost::check
