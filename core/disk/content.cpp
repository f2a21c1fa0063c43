// SPDX-License-Identifier: Apache-2.0
// Both walk 1 MiB blocks handed out by one cursor. Extents are asked for in windows, so that a
// disk of terabytes with little on it costs its extents and not its blocks.
#include "core/disk/content.hpp"

#include <openssl/evp.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

namespace hyperhost {
namespace {

constexpr uint64_t kBlock = hyper::kDigestBlock;
constexpr uint64_t kWindow = 1024 * kBlock;  // 1 GiB of guest bytes a call of extents()

struct Sha256 {
  static hyper::Hash256 hash(std::initializer_list<std::pair<const void*, std::size_t>> pieces) {
    struct Context {
      EVP_MD_CTX* md = EVP_MD_CTX_new();
      ~Context() { EVP_MD_CTX_free(md); }
    };
    thread_local const Context context;
    static const EVP_MD* const algorithm = EVP_sha256();
    hyper::Hash256 out;
    bool good = context.md != nullptr && EVP_DigestInit_ex(context.md, algorithm, nullptr) == 1;
    for (const auto& [data, size] : pieces)
      good = good && EVP_DigestUpdate(context.md, data, size) == 1;
    if (!good || EVP_DigestFinal_ex(context.md, out.data(), nullptr) != 1)
      throw Error(Code::kFail, "SHA-256 is not available in this OpenSSL");
    return out;
  }
};

bool all_zero(const std::vector<uint8_t>& buffer, std::size_t size) {
  return size == 0 ||
         (buffer[0] == 0 && std::memcmp(buffer.data(), buffer.data() + 1, size - 1) == 0);
}

/// The blocks of [0, end) that are not known to be zero, handed out in ascending order.
class BlockCursor {
 public:
  /// Sources are borrowed; a block counts as zero only if all of them say so.
  BlockCursor(std::vector<const SourceHandle*> sources, uint64_t end, Operation& op)
      : sources_(std::move(sources)), end_(end), op_(op) {}

  /// The index of the next block that has data; nothing at the end. on_zero(first, count) is
  /// called for the zero blocks passed over. Any thread.
  std::optional<uint64_t> next(const std::function<void(uint64_t, uint64_t)>& on_zero) {
    const std::lock_guard lock(mutex_);
    for (;;) {
      if (at_ == ready_.size() && !fill()) return std::nullopt;
      const std::size_t from = at_;
      while (at_ < ready_.size() && !ready_[at_]) ++at_;
      if (at_ > from && on_zero) on_zero(window_ + from, at_ - from);
      if (at_ < ready_.size()) return window_ + at_++;
    }
  }

 private:
  bool fill() {
    op_.cancel().check();
    if (scanned_ >= end_) return false;
    const uint64_t length = std::min(kWindow, end_ - scanned_);
    const uint64_t blocks = (length + kBlock - 1) / kBlock;
    ready_.assign(blocks, false);
    window_ = scanned_ / kBlock;
    at_ = 0;
    for (const SourceHandle* source : sources_) {
      const uint64_t limit =
          std::min(length, source->length() > scanned_ ? source->length() - scanned_ : 0);
      if (limit == 0) continue;
      if (!source->can(HYPER_SOURCE_EXTENTS)) {
        std::fill(ready_.begin(),
                  ready_.begin() + static_cast<std::ptrdiff_t>((limit + kBlock - 1) / kBlock),
                  true);
        continue;
      }
      mark(*source, limit);
    }
    scanned_ += length;
    return true;
  }

  void mark(const SourceHandle& source, uint64_t limit) {
    struct Walk {
      std::vector<bool>& ready;
      uint64_t base, expected, end;
      bool bad = false;
    } walk{ready_, scanned_, scanned_, scanned_ + limit};
    const hyper_st status = source.table().extents(
        source.table().ctx, &op_, 0, scanned_, limit,
        [](void* arg, const hyper_extent* extent) noexcept -> hyper_st {
          auto& self = *static_cast<Walk*>(arg);
          if (extent->offset != self.expected || extent->length == 0 ||
              extent->length > self.end - self.expected) {
            self.bad = true;
            return HYPER_FAIL;
          }
          self.expected += extent->length;
          if ((extent->flags & (HYPER_EXTENT_ZERO | HYPER_EXTENT_HOLE)) != 0) return HYPER_OK;
          const uint64_t first = (extent->offset - self.base) / kBlock;
          const uint64_t last = (extent->offset + extent->length - 1 - self.base) / kBlock;
          for (uint64_t i = first; i <= last; ++i) self.ready[i] = true;
          return HYPER_OK;
        },
        &walk);
    if (walk.bad || (status == HYPER_OK && walk.expected != walk.end))
      throw Error(Code::kFail, "the reader's extents have gaps or overlap");
    op_.check(status, "listing the extents of an image");
  }

  const std::vector<const SourceHandle*> sources_;
  const uint64_t end_;
  Operation& op_;
  std::mutex mutex_;
  std::vector<bool> ready_;
  uint64_t window_ = 0, scanned_ = 0;
  std::size_t at_ = 0;
};

/// Runs `work` on several threads; the first exception stops the others at their next block and
/// is thrown here.
void run_parallel(unsigned threads, const std::function<void(std::atomic<bool>& stop)>& work) {
  std::atomic<bool> stop{false};
  std::mutex mutex;
  std::exception_ptr error;
  {
    std::vector<std::jthread> pool;
    for (unsigned i = 0; i < std::max(1u, threads); ++i)
      pool.emplace_back([&] {
        try {
          work(stop);
        } catch (...) {
          stop = true;
          const std::lock_guard lock(mutex);
          if (!error) error = std::current_exception();
        }
      });
  }
  if (error) std::rethrow_exception(error);
}

unsigned usable_threads(unsigned wanted, const SourceHandle& source) {
  return std::max(1u, std::min(wanted, source.table().max_parallel));
}

}  // namespace

namespace {

/// The tree of a disk, and that of one which has other leaves in some places. Thread-safe.
class TwoTrees {
 public:
  TwoTrees(uint64_t size, const std::vector<BlockLeaf>* others)
      : own_(size), other_(size), others_(others) {}

  void add(uint64_t block, const hyper::Hash256& leaf) {
    own_.add(block, leaf);
    if (others_ == nullptr) return;
    const auto instead = from(block);
    other_.add(block, instead != others_->end() && instead->block == block ? instead->leaf : leaf);
  }
  void add_zero(uint64_t first, uint64_t count) {
    own_.add_zero(first, count);
    if (others_ == nullptr) return;
    const uint64_t end = first + count;
    for (auto instead = from(first); first < end; ++instead) {
      const bool there = instead != others_->end() && instead->block < end;
      const uint64_t until = there ? instead->block : end;
      if (until > first) other_.add_zero(first, until - first);
      if (!there) return;
      other_.add(instead->block, instead->leaf);
      first = instead->block + 1;
    }
  }
  ContentDigests texts() const {
    return {own_.text(), others_ == nullptr ? std::string() : other_.text()};
  }

 private:
  std::vector<BlockLeaf>::const_iterator from(uint64_t block) const {
    return std::lower_bound(
        others_->begin(), others_->end(), block,
        [](const BlockLeaf& one, uint64_t wanted) { return one.block < wanted; });
  }
  hyper::DigestTree<Sha256> own_, other_;
  const std::vector<BlockLeaf>* const others_;  ///< null = there is no other one
};

ContentDigests digests_of(const SourceHandle& image, const std::vector<BlockLeaf>* others,
                          Operation& op, unsigned threads, const OnBytes& on_bytes) {
  TwoTrees trees(image.length(), others);
  std::mutex tree_mutex;
  uint64_t done = 0;
  const auto advance = [&](uint64_t blocks) {  // with tree_mutex held
    done = std::min(image.length(), done + blocks * kBlock);
    if (on_bytes) on_bytes(done);
  };
  BlockCursor cursor({&image}, image.length(), op);
  const auto on_zero = [&](uint64_t first, uint64_t count) {
    const std::lock_guard lock(tree_mutex);
    trees.add_zero(first, count);
    advance(count);
  };
  run_parallel(usable_threads(threads, image), [&](std::atomic<bool>& stop) {
    std::vector<uint8_t> buffer(kBlock);
    while (!stop) {
      const auto block = cursor.next(on_zero);
      if (!block) return;
      op.cancel().check();
      const auto size =
          static_cast<std::size_t>(std::min(kBlock, image.length() - *block * kBlock));
      image.read_at(op, *block * kBlock, buffer.data(), size);
      const bool zero = all_zero(buffer, size);
      hyper::Hash256 leaf{};
      if (!zero) leaf = content_leaf(buffer.data(), size);
      const std::lock_guard lock(tree_mutex);
      if (zero)
        trees.add_zero(*block, 1);
      else
        trees.add(*block, leaf);
      advance(1);
    }
  });
  return trees.texts();
}

}  // namespace

hyper::Hash256 content_leaf(const void* bytes, std::size_t size) {
  return hyper::DigestTree<Sha256>::leaf(bytes, size);
}

std::string content_digest(const SourceHandle& image, Operation& op, unsigned threads,
                           const OnBytes& on_bytes) {
  return digests_of(image, nullptr, op, threads, on_bytes).own;
}

ContentDigests content_digests(const SourceHandle& image, const std::vector<BlockLeaf>& others,
                               Operation& op, unsigned threads, const OnBytes& on_bytes) {
  return digests_of(image, &others, op, threads, on_bytes);
}

std::optional<uint64_t> sample_difference(const SourceHandle& a, const SourceHandle& b,
                                          uint64_t end, uint64_t seed, Operation& op) {
  constexpr uint64_t kPlaces = 64, kPlace = 64u << 10;
  const uint64_t all = (end + kPlace - 1) / kPlace;
  std::mt19937_64 random(seed);
  std::vector<uint8_t> left(kPlace), right(kPlace);
  for (uint64_t i = 0; i < std::min(kPlaces, all); ++i) {
    op.cancel().check();
    // One place of each of as many equal parts.
    const uint64_t first = all * i / std::min(kPlaces, all);
    const uint64_t behind = all * (i + 1) / std::min(kPlaces, all);
    const uint64_t offset = (first + random() % (behind - first)) * kPlace;
    const auto size = static_cast<std::size_t>(std::min(kPlace, end - offset));
    a.read_at(op, offset, left.data(), size);
    b.read_at(op, offset, right.data(), size);
    const auto last = left.begin() + static_cast<std::ptrdiff_t>(size);
    const auto at = std::mismatch(left.begin(), last, right.begin()).first;
    if (at != last) return offset + static_cast<uint64_t>(at - left.begin());
  }
  return std::nullopt;
}

std::optional<Difference> compare_content(const SourceHandle& a, const SourceHandle& b,
                                          Operation& op, unsigned threads,
                                          bool ignore_trailing_zeros, const OnBytes& on_bytes) {
  const uint64_t shorter = std::min(a.length(), b.length());
  const uint64_t end = ignore_trailing_zeros ? std::max(a.length(), b.length()) : shorter;
  BlockCursor cursor({&a, &b}, end, op);
  std::mutex mutex;
  std::optional<Difference> first;
  std::atomic<uint64_t> found_block{UINT64_MAX};
  const auto read = [&](const SourceHandle& source, uint64_t offset, std::vector<uint8_t>& buffer,
                        std::size_t size) {
    const uint64_t there = source.length() > offset ? source.length() - offset : 0;
    const auto part = static_cast<std::size_t>(std::min<uint64_t>(size, there));
    if (part > 0) source.read_at(op, offset, buffer.data(), part);
    std::memset(buffer.data() + part, 0, size - part);
  };
  run_parallel(std::min(usable_threads(threads, a), usable_threads(threads, b)),
               [&](std::atomic<bool>& stop) {
                 std::vector<uint8_t> left(kBlock), right(kBlock);
                 while (!stop) {
                   const auto block = cursor.next({});
                   // Blocks come in ascending order: what is behind a difference cannot be the
                   // first.
                   if (!block || *block > found_block) return;
                   op.cancel().check();
                   const uint64_t offset = *block * kBlock;
                   const auto size = static_cast<std::size_t>(std::min(kBlock, end - offset));
                   read(a, offset, left, size);
                   read(b, offset, right, size);
                   if (on_bytes) on_bytes(offset + size);
                   const auto at =
                       std::mismatch(left.begin(), left.begin() + static_cast<std::ptrdiff_t>(size),
                                     right.begin());
                   const auto skip = static_cast<std::size_t>(at.first - left.begin());
                   if (skip == size) continue;
                   std::size_t stop_at = skip;
                   while (stop_at < size && left[stop_at] != right[stop_at]) ++stop_at;
                   const std::lock_guard lock(mutex);
                   if (!first || offset + skip < first->offset) {
                     first = Difference{offset + skip, stop_at - skip, "content"};
                     found_block = *block;
                   }
                 }
               });
  if (!first && !ignore_trailing_zeros && a.length() != b.length())
    first = Difference{shorter, std::max(a.length(), b.length()) - shorter, "size"};
  return first;
}

}  // namespace hyperhost
