// SPDX-License-Identifier: Apache-2.0
#include "core/check/source_suite.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <thread>

#include "core/check/guarded_buffer.hpp"
#include "core/check/large_disk.hpp"
#include "core/check/source_windows.hpp"
#include "core/os/fd.hpp"

namespace hyperhost::check {
namespace {

constexpr uint64_t kMostRead = 24u << 20;  // of one source
constexpr uint64_t kMostStream = 96u << 20;
constexpr uint64_t kMostAtOnce = 1u << 20;
using Clock = std::chrono::steady_clock;

class SourceSuite {
 public:
  SourceSuite(Run& run, std::string what, const OpenSource& open, const Bytes* expected, bool twice)
      : run_(run), what_(std::move(what)), open_(open), expected_(expected), twice_(twice) {}

  void all() {
    {
      Operation op = operation(what_);
      run_.at("opening " + what_);
      source_ = open_(op, HYPER_OPEN_SEEK);
      const hyper_source& table = source_->table();
      run_.require(table.size >= offsetof(hyper_source, close) + sizeof(void*),
                   what_ + " has a table of " + std::to_string(table.size) + " bytes");
      run_.expect(std::memchr(table.format, 0, sizeof table.format) != nullptr,
                  what_ + ": its format does not end in NUL");
      if (source_->can(HYPER_SOURCE_SEEK)) seekable(op);
      if (source_->can(HYPER_SOURCE_SIBLING)) sibling();
      run_.at("close() of " + what_);
      source_.reset();
    }
    streamed();
  }

 private:
  const hyper_source& table() const { return source_->table(); }
  uint64_t most_at_once() const {
    const uint64_t block = table().block_min;
    const uint64_t most =
        table().block_max == 0 ? kMostAtOnce : std::min<uint64_t>(table().block_max, kMostAtOnce);
    return std::max(block, most / block * block);
  }

  /// read_at into memory with a guard behind it; prefilled, so that what is not filled differs.
  bool read(Operation& op, uint64_t offset, uint64_t length, unsigned char fill, Bytes& into) {
    GuardedBuffer buffer(length, "read_at() writes beyond its buffer");
    std::memset(buffer.data(), fill, length);
    const hyper_st status = table().read_at(table().ctx, &op, 0, offset, buffer.data(), length);
    try {
      op.check(status, "read_at()");
    } catch (const Error& error) {
      run_.fail(what_ + ": read_at(" + std::to_string(offset) + ", " + std::to_string(length) +
                ") fails: " + error.what());
      return false;
    }
    if (!buffer.front_is_whole()) run_.fail(what_ + ": read_at() writes in front of its buffer");
    into.assign(buffer.data(), buffer.data() + length);
    return true;
  }

  void seekable(Operation& op) {
    const uint64_t block = table().block_min;
    run_.expect(table().length % block == 0 || block == 1,
                what_ + ": its length is no multiple of its block_min");
    length_ = std::min(source_->length(), kMostRead) / block * block;
    run_.at("read_at() of " + what_);
    for (uint64_t offset = 0; offset < length_;) {
      const uint64_t piece = std::min(most_at_once(), length_ - offset);
      Bytes part;
      if (!read(op, offset, piece, 0x5A, part)) throw CaseEnded();
      content_.insert(content_.end(), part.begin(), part.end());
      offset += piece;
    }
    if (expected_ != nullptr) {
      run_.require(source_->length() == expected_->size(),
                   what_ + ": is " + std::to_string(source_->length()) + " bytes, should be " +
                       std::to_string(expected_->size()));
      run_.require(std::equal(content_.begin(), content_.end(), expected_->begin()),
                   what_ + ": reads other bytes than were put there");
    }
    reads(op, 1, 150, "a read at a random offset");
    flagged();
    if (table().max_parallel > 1) parallel();
    bounds();
    if (source_->can(HYPER_SOURCE_EXTENTS)) extents(op);
    if (source_->can(HYPER_SOURCE_BORROW)) borrow(op);
    if (source_->can(HYPER_SOURCE_FILE)) located(op);
    large_ = check_windows(run_, what_, twice_ ? open_ : OpenSource(), *source_, length_, content_);
  }

  void reads(Operation& op, unsigned seed, int count, const std::string& kind) {
    std::mt19937_64 random(seed);
    const uint64_t block = table().block_min;
    const uint64_t blocks = length_ / block;
    if (blocks == 0) return;
    for (int i = 0; i < count && !differs_; ++i) {
      const uint64_t first = random() % blocks;
      const uint64_t most = std::min(blocks - first, std::max<uint64_t>(1, most_at_once() / block));
      const uint64_t count_blocks =
          1 + random() % std::min<uint64_t>(most, i % 3 == 0 ? 1 : 256 * 1024 / block + 1);
      const uint64_t offset = first * block, size = std::min(count_blocks, most) * block;
      Bytes part;
      if (!read(op, offset, size, 0xA5, part)) return;
      if (std::equal(part.begin(), part.end(),
                     content_.begin() + static_cast<std::ptrdiff_t>(offset)))
        continue;
      differs_ = true;
      run_.fail(what_ + ": " + kind + " (" + std::to_string(offset) + ", " + std::to_string(size) +
                ") does not equal what was read in order");
    }
  }

  void parallel() {
    run_.at("read_at() of " + what_ + " on several threads");
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < std::min(4u, table().max_parallel); ++i)
      threads.emplace_back([this, i] {
        Operation op = operation(what_);
        try {
          reads(op, 100 + i, 60, "a read on one of several threads");
        } catch (const std::exception& error) {
          run_.fail(error.what());
        }
      });
    for (std::thread& thread : threads) thread.join();
  }

  /// A bit that no version defines: a later one may, and this plugin would not do what it asks.
  void flagged() {
    run_.at("read_at() with an unknown flag of " + what_);
    Operation op = operation(what_);
    Bytes buffer(table().block_min);
    if (source_->length() < buffer.size()) return;
    const hyper_st status =
        table().read_at(table().ctx, &op, 1u << 31, 0, buffer.data(), buffer.size());
    run_.expect(status == HYPER_UNSUPPORTED,
                what_ + ": read_at() with an unknown flag is not HYPER_UNSUPPORTED");
  }

  void bounds() {
    const uint64_t block = table().block_min, end = source_->length();
    Bytes buffer(2 * block + 16);
    const auto outside = [&](uint64_t offset, uint64_t length, const char* which) {
      run_.at(std::string("read_at() ") + which + " of " + what_);
      run_.expect_error(what_ + ": read_at() " + which, [&] {
        Operation op = operation(what_);
        op.check(table().read_at(table().ctx, &op, 0, offset, buffer.data(), length), "read_at()");
      });
    };
    outside(end, block, "behind the end");
    if (end >= block) outside(end - block, 2 * block, "across the end");
    outside(UINT64_MAX / block * block - block, 2 * block, "at an offset that overflows");
  }

  void extents(Operation& op) {
    struct Walk {
      SourceSuite& suite;
      uint64_t at, end, count = 0;
      std::string wrong;
    };
    const auto emit = [](void* arg, const hyper_extent* extent) noexcept -> hyper_st {
      Walk& walk = *static_cast<Walk*>(arg);
      if (++walk.count > 1'000'000) return HYPER_FAIL;
      if (!walk.wrong.empty()) return HYPER_OK;
      const auto place = [&] {
        return " (offset " + std::to_string(extent->offset) + ", length " +
               std::to_string(extent->length) + ")";
      };
      if (extent->offset != walk.at)
        walk.wrong = "an extent does not begin where the one before it ends" + place();
      else if (extent->length == 0 || extent->length > walk.end - extent->offset)
        walk.wrong = "an extent is empty or leaves the range that was asked for" + place();
      else if ((extent->flags & (HYPER_EXTENT_ZERO | HYPER_EXTENT_HOLE)) == HYPER_EXTENT_HOLE)
        walk.wrong = "a hole is not marked as zero too" + place();
      else if ((extent->flags & HYPER_EXTENT_ZERO) != 0) {
        const uint64_t stop =
            std::min<uint64_t>(extent->offset + extent->length, walk.suite.content_.size());
        for (uint64_t at = extent->offset; at < stop; ++at)
          if (walk.suite.content_[at] != 0) {
            walk.wrong = "an extent is marked as zero and byte " + std::to_string(at) +
                         " reads otherwise" + place();
            break;
          }
      }
      walk.at = extent->offset + extent->length;
      return HYPER_OK;
    };
    const auto walked = [&](uint64_t offset, uint64_t length) {
      run_.at("extents() of " + what_);
      Walk walk{*this, offset, offset + length, 0, ""};
      const hyper_st status = table().extents(table().ctx, &op, 0, offset, length, emit, &walk);
      if (status != HYPER_OK) {
        run_.expect_error("extents()", [&] { op.check(status, "extents()"); });
        run_.fail(what_ + ": extents() fails");
        return;
      }
      if (walk.wrong.empty() && walk.at != walk.end)
        walk.wrong = "the extents end at " + std::to_string(walk.at) + ", asked for up to " +
                     std::to_string(walk.end);
      run_.expect(walk.wrong.empty(), what_ + ": " + walk.wrong);
    };
    const uint64_t block = table().block_min, end = source_->length();
    walked(0, end);
    if (end > 8 * block) {
      walked(block, end / 2 / block * block);
      walked(end / 3 / block * block, 3 * block);
    }
    if (end == 0) return;
    // An emitter that says no ends the walk with its status.
    const auto refuse = [](void* arg, const hyper_extent*) noexcept -> hyper_st {
      ++*static_cast<int*>(arg);
      return HYPER_NOSPACE;
    };
    int calls = 0;
    const hyper_st status = table().extents(table().ctx, &op, 0, 0, end, refuse, &calls);
    run_.expect(status == HYPER_NOSPACE && calls == 1,
                what_ + ": extents() continues after the receiver failed, or hides its status");
  }

  void borrow(Operation& op) {
    run_.at("borrow() of " + what_);
    std::mt19937_64 random(7);
    std::vector<hyper_span> out;
    const uint64_t block = table().block_min;
    for (int i = 0; i < 32 && length_ >= block; ++i) {
      const uint64_t offset = random() % (length_ / block) * block;
      const uint64_t size =
          std::min({most_at_once(), length_ - offset, 4 * block + 4096 / block * block});
      hyper_span span{};
      try {
        op.check(table().borrow(table().ctx, &op, 0, offset, size, &span), "borrow()");
      } catch (const Error& error) {
        run_.fail(what_ + ": " + error.what());
        break;
      }
      if (span.len != size || span.data == nullptr) {
        run_.fail(what_ + ": borrow() lends another length than was asked for");
        break;
      }
      if (std::memcmp(span.data, content_.data() + offset, size) != 0)
        run_.fail(what_ + ": borrow() lends other bytes than read_at() reads");
      out.push_back(span);
      if (out.size() < 3) continue;
      table().release(table().ctx, &out.front());
      out.erase(out.begin());
    }
    for (hyper_span& span : out) table().release(table().ctx, &span);
  }

  void located(Operation& op) {
    run_.at("locate() of " + what_);
    hyper_file_range range{};
    range.size = sizeof range;
    if (table().locate(table().ctx, &op, 0, &range) != HYPER_OK || range.path == nullptr ||
        range.path[0] != '/') {
      run_.fail(what_ + ": locate() names no absolute path");
      return;
    }
    run_.expect(range.length == source_->length(), what_ + ": locate() names another length");
    const Fd file(::open(range.path, O_RDONLY | O_CLOEXEC));
    Bytes bytes(std::min<std::size_t>(content_.size(), 1u << 20));
    const ssize_t got =
        ::pread(file.get(), bytes.data(), bytes.size(), static_cast<off_t>(range.offset));
    run_.expect(got == static_cast<ssize_t>(bytes.size()) &&
                    std::equal(bytes.begin(), bytes.end(), content_.begin()),
                what_ + ": the file that locate() names holds other bytes");
  }

  void sibling() {
    for (const char* name :
         {"../../../../../../etc/passwd", "/etc/passwd", "", "..", "no-such-file"}) {
      run_.at("sibling(\"" + std::string(name) + "\") of " + what_);
      run_.expect_error(what_ + ": sibling(\"" + name + "\")", [&] {
        Operation op = operation(what_);
        SourceHandle other;
        op.check(other.opened(&op, table().sibling(table().ctx, &op, 0, name, other.out())),
                 "sibling()");
      });
    }
  }

  void streamed() {
    Operation op = operation(what_);
    source_ = open_(op, HYPER_OPEN_STREAM);
    if (source_->can(HYPER_SOURCE_STREAM)) {
      uint64_t at = 0;
      while (at < kMostStream || run_.settings().deep) {
        run_.at("next() of " + what_);
        hyper_span span{};
        try {
          op.check(table().next(table().ctx, &op, 0, &span), "next()");
        } catch (const Error& error) {
          run_.fail(what_ + ": next() fails at " + std::to_string(at) + ": " + error.what());
          return;
        }
        if (span.len == 0) {
          if (table().length != HYPER_LENGTH_UNKNOWN)
            run_.expect(at == table().length, what_ + ": the stream ends at " + std::to_string(at) +
                                                  " of " + std::to_string(table().length) +
                                                  " bytes");
          if (source_->length() == HYPER_LENGTH_UNKNOWN && !content_.empty() && at < kMostRead)
            run_.expect(at == content_.size(), "next() of " + what_ + ": the stream ends at " +
                                                   std::to_string(at) + ", and read_at() reads " +
                                                   std::to_string(content_.size()) + " bytes");
          finish(op, at);
          break;
        }
        run_.require(span.data != nullptr, what_ + ": next() lends no memory");
        const uint64_t known =
            at < content_.size() ? std::min<uint64_t>(span.len, content_.size() - at) : 0;
        if (known != 0 && std::memcmp(span.data, content_.data() + at, known) != 0)
          run_.stop(what_ + ": the stream has other bytes than read_at(), near " +
                    std::to_string(at));
        if (large_) expect_large(span, at);
        at += span.len;
        run_.at("release() of " + what_);
        if (table().release != nullptr) table().release(table().ctx, &span);
      }
    } else if (content_.size() == source_->length()) {
      // Read to its end, as finish() expects it.
      Bytes part;
      for (uint64_t offset = 0; offset < length_; offset += part.size())
        if (!read(op, offset, std::min(most_at_once(), length_ - offset), 0, part)) return;
      finish(op, length_);
    }
    run_.at("close() of " + what_);
    source_.reset();
  }

  void expect_large(const hyper_span& span, uint64_t at) {
    Bytes expected(std::min(span.len, kLargeDisk - std::min(at, kLargeDisk)));
    large_disk_bytes(at, expected.size(), expected.data());
    if (expected.size() != span.len || std::memcmp(span.data, expected.data(), span.len) != 0)
      run_.stop("next() of " + what_ + " gives other bytes than the disk has, near " +
                std::to_string(at));
  }

  /// after: bytes that were read, all of them.
  void finish(Operation& op, uint64_t after) {
    run_.at("finish() of " + what_);
    try {
      const nlohmann::json said = source_->finish(op);
      const auto bytes = said.value("bytes", nlohmann::json());
      run_.expect(bytes.is_null() || bytes == after, "finish() of " + what_ + " says " +
                                                         bytes.dump() + " bytes, and it gave " +
                                                         std::to_string(after));
      const auto sum = said.value("checksum", nlohmann::json());
      if (sum.is_string() && sum.get<std::string>().rfind("sha256:", 0) == 0 &&
          content_.size() == after)
        run_.expect(sum.get<std::string>() == "sha256:" + sha256_of(content_),
                    "finish() of " + what_ + ": its checksum is not that of the bytes it gave");
    } catch (const Error& error) {
      run_.fail(what_ + ": finish() fails: " + error.what());
    }
  }

  Run& run_;
  const std::string what_;
  const OpenSource& open_;
  const Bytes* expected_;
  const bool twice_;
  std::unique_ptr<SourceHandle> source_;
  uint64_t length_ = 0;
  Bytes content_;
  bool large_ = false;
  std::atomic<bool> differs_{false};
};

}  // namespace

void check_source(Run& run, const std::string& what, const OpenSource& open, const Bytes* expected,
                  bool twice) {
  SourceSuite(run, what, open, expected, twice).all();
}

void check_source_cancel(Run& run, const std::string& what, const OpenSource& open) {
  for (const uint32_t flags : {HYPER_OPEN_SEEK, HYPER_OPEN_STREAM}) {
    const auto cancel = CancelSource::create();
    Operation calm = operation(what);
    auto source = open(calm, flags);
    Operation op = operation(what, cancel);
    const bool stream = flags == HYPER_OPEN_STREAM && source->can(HYPER_SOURCE_STREAM);
    if (!stream && !source->can(HYPER_SOURCE_SEEK)) continue;
    Clock::time_point cancelled_at{};
    std::thread canceller([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      cancelled_at = Clock::now();
      cancel->cancel();
    });
    run.at(std::string(stream ? "next()" : "read_at()") + " of " + what + " after the cancel");
    const hyper_source& table = source->table();
    Bytes buffer(table.block_min);
    // A quick call may be repeated for a while: ending that is the caller's part.
    for (int after = 0; after < 50;) {
      hyper_st status = HYPER_OK;
      hyper_span span{};
      const Clock::time_point begin = Clock::now();
      if (stream)
        status = table.next(table.ctx, &op, 0, &span);
      else if (table.length >= buffer.size())
        status = table.read_at(table.ctx, &op, 0, 0, buffer.data(), buffer.size());
      if (stream && status == HYPER_OK && span.len != 0 && table.release != nullptr)
        table.release(table.ctx, &span);
      if (cancel->cancelled()) ++after;
      if (after > 1 && Clock::now() - begin > std::chrono::seconds(2)) break;
      if (status != HYPER_OK) {
        run.expect(status == HYPER_CANCELLED, what + ": a cancelled call fails with status " +
                                                  std::to_string(status) +
                                                  " and not HYPER_CANCELLED");
        break;
      }
      if (stream && span.len == 0) break;
    }
    canceller.join();
    run.expect(Clock::now() - cancelled_at < std::chrono::seconds(2),
               what + ": a call continues for more than 2 s after the cancel");
    run.at("close() of " + what + " after the cancel");
    source.reset();
  }
}

}  // namespace hyperhost::check
