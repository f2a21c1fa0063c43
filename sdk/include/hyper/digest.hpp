// SPDX-License-Identifier: Apache-2.0
// The content digest of a disk, "hyper-tree-sha256": a hash tree over its guest-visible bytes, the
// same for every image format. core/disk/digest.md has the exact definition. Leaves may arrive in
// any order. Memory is bounded: a complete run of 1024 leaves folds into one hash, and zero blocks
// cost nothing. Not thread-safe: give each tree a mutex. Adding a leaf is cheap; hash the block,
// which is not, outside the mutex.
#ifndef HYPER_DIGEST_HPP
#define HYPER_DIGEST_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace hyper {

using Hash256 = std::array<uint8_t, 32>;
constexpr uint64_t kDigestBlock = 1u << 20;  ///< bytes per leaf; the last leaf may be shorter
constexpr const char* kDigestName = "hyper-tree-sha256";

/// Sha256 is a type with
/// `static Hash256 hash(std::initializer_list<std::pair<const void*, std::size_t>> pieces)`.
template <class Sha256>
class DigestTree {
 public:
  /// size: guest-visible bytes of the disk.
  explicit DigestTree(uint64_t size)
      : size_(size), leaves_(size / kDigestBlock + (size % kDigestBlock != 0 ? 1 : 0)) {}

  uint64_t size() const { return size_; }
  uint64_t leaves() const { return leaves_; }

  /// The hash of one block's bytes; any thread.
  static Hash256 leaf(const void* data, std::size_t len) {
    static const uint8_t prefix = 0x00;
    return Sha256::hash({{&prefix, 1}, {data, len}});
  }

  /// REQUIRES: index < leaves(). For each leaf, the caller makes at most one of add() and
  /// add_zero().
  void add(uint64_t index, const Hash256& hash) {
    Chunk& chunk = chunks_[index / kChunk];
    chunk.leaves.emplace_back(static_cast<uint16_t>(index % kChunk), hash);
    account(index / kChunk, 1);
  }

  /// Blocks [first, first+count) are zero. A block that is never added counts as zero in any case;
  /// this call only frees memory earlier.
  void add_zero(uint64_t first, uint64_t count) {
    while (count != 0) {
      const uint64_t chunk = first / kChunk;
      const uint64_t here = std::min<uint64_t>(count, kChunk - first % kChunk);
      if (here < kChunk) account(chunk, static_cast<uint32_t>(here));
      first += here;
      count -= here;
    }
  }

  /// Appends to `out` the hashes of the blocks before `first`. restore() puts them into a new tree,
  /// and the caller adds the other blocks there. Returns false, and saves nothing, if the run of
  /// leaves that contains `first` is folded already: its blocks can no longer be separated. A call
  /// with a `first` behind that run works.
  bool save(uint64_t first, std::vector<uint8_t>& out) {
    for (auto& [index, chunk] : chunks_) {
      if (index * kChunk >= first) break;
      if (index * kChunk + kChunk > first) {
        if (chunk.folded) return false;
        continue;
      }
      if (chunk.folded || index * kChunk + kChunk > leaves_ ||
          (index + 1) * kChunk * kDigestBlock > size_)
        continue;
      chunk.root = fold(chunk);  // what was not added before `first` is zero
      chunk.folded = true;
      chunk.leaves = {};
    }
    const auto put = [&](uint64_t value) {
      for (int i = 0; i < 8; ++i) out.push_back(static_cast<uint8_t>(value >> (8 * i)));
    };
    for (const auto& [index, chunk] : chunks_) {
      if (index * kChunk >= first) break;
      if (chunk.folded) {
        put(index * kChunk);
        out.push_back(1);
        out.insert(out.end(), chunk.root.begin(), chunk.root.end());
        continue;
      }
      for (const auto& [at, hash] : chunk.leaves) {
        if (index * kChunk + at >= first) continue;
        put(index * kChunk + at);
        out.push_back(0);
        out.insert(out.end(), hash.begin(), hash.end());
      }
    }
    return true;
  }

  /// False: `saved` does not come from save(), or comes from another tree.
  bool restore(const std::vector<uint8_t>& saved) {
    constexpr std::size_t kEntry = 8 + 1 + 32;
    if (saved.size() % kEntry != 0) return false;
    for (std::size_t at = 0; at < saved.size(); at += kEntry) {
      uint64_t index = 0;
      for (std::size_t i = 0; i < 8; ++i) index |= uint64_t{saved[at + i]} << (8 * i);
      if (index >= leaves_) return false;
      Hash256 hash;
      std::copy_n(saved.begin() + static_cast<std::ptrdiff_t>(at + 9), 32, hash.begin());
      Chunk& chunk = chunks_[index / kChunk];
      if (chunk.folded) return false;
      if (saved[at + 8] == 0) {
        add(index, hash);
        continue;
      }
      if (index % kChunk != 0 || !chunk.leaves.empty()) return false;
      chunk.folded = true;
      chunk.root = hash;
    }
    return true;
  }

  /// "hyper-tree-sha256:<64 hex digits>".
  std::string text() const {
    static const char digits[] = "0123456789abcdef";
    std::string out = std::string(kDigestName) + ":";
    for (const uint8_t byte : digest()) {
      out += digits[byte >> 4];
      out += digits[byte & 15];
    }
    return out;
  }

  Hash256 digest() const {
    const Hash256 root = leaves_ == 0 ? Sha256::hash({}) : subtree(0, leaves_);
    uint8_t header[8];
    for (int i = 0; i < 8; ++i) header[i] = static_cast<uint8_t>(size_ >> (8 * i));
    static const char name[] = "hyper-tree-sha256/1\n";
    return Sha256::hash({{name, sizeof name - 1}, {header, sizeof header}, {root.data(), 32}});
  }

 private:
  static constexpr uint64_t kChunk = 1024;
  struct Chunk {
    std::vector<std::pair<uint16_t, Hash256>> leaves;  // not zero, in order of arrival
    uint32_t accounted = 0;
    bool folded = false;
    Hash256 root{};
  };

  static Hash256 node(const Hash256& left, const Hash256& right) {
    static const uint8_t prefix = 0x01;
    return Sha256::hash({{&prefix, 1}, {left.data(), 32}, {right.data(), 32}});
  }

  /// The root over 2^level zero blocks of full length.
  static const Hash256& zero_root(unsigned level) {
    static const std::array<Hash256, 64> roots = [] {
      std::array<Hash256, 64> out{};
      const std::vector<uint8_t> zeros(kDigestBlock, 0);
      out[0] = leaf(zeros.data(), zeros.size());
      for (std::size_t i = 1; i < out.size(); ++i) out[i] = node(out[i - 1], out[i - 1]);
      return out;
    }();
    return roots[level];
  }

  void account(uint64_t index, uint32_t count) {
    Chunk& chunk = chunks_[index];
    chunk.accounted += count;
    if (chunk.accounted < kChunk || index * kChunk + kChunk > leaves_) return;
    chunk.root = fold(chunk);
    chunk.folded = true;
    chunk.leaves = {};
  }

  /// The root over a chunk of kChunk blocks, all of full length.
  static Hash256 fold(const Chunk& chunk) {
    std::vector<Hash256> level(kChunk, zero_root(0));
    for (const auto& [at, hash] : chunk.leaves) level[at] = hash;
    for (std::size_t n = kChunk; n > 1; n /= 2)
      for (std::size_t i = 0; i < n / 2; ++i) level[i] = node(level[2 * i], level[2 * i + 1]);
    return level[0];
  }

  Hash256 leaf_hash(uint64_t index) const {
    const auto chunk = chunks_.find(index / kChunk);
    if (chunk != chunks_.end())
      for (const auto& [at, hash] : chunk->second.leaves)
        if (at == index % kChunk) return hash;
    const uint64_t length = std::min(kDigestBlock, size_ - index * kDigestBlock);
    if (length == kDigestBlock) return zero_root(0);
    const std::vector<uint8_t> zeros(static_cast<std::size_t>(length), 0);
    return leaf(zeros.data(), zeros.size());
  }

  /// RFC 6962, section 2.1: split at the largest power of two below n.
  Hash256 subtree(uint64_t first, uint64_t n) const {
    if (n == 1) return leaf_hash(first);
    unsigned level = 0;
    while ((uint64_t{1} << (level + 1)) <= n) ++level;
    const bool perfect = (uint64_t{1} << level) == n;
    const bool full = (first + n) * kDigestBlock <= size_;
    if (perfect && full) {
      const auto chunk = chunks_.lower_bound(first / kChunk);
      const bool none = chunk == chunks_.end() || chunk->first * kChunk >= first + n;
      if (none) return zero_root(level);
      if (n == kChunk) return chunk->second.folded ? chunk->second.root : fold(chunk->second);
    }
    const uint64_t left = perfect ? n / 2 : uint64_t{1} << level;
    return node(subtree(first, left), subtree(first + left, n - left));
  }

  uint64_t size_;
  uint64_t leaves_;
  std::map<uint64_t, Chunk> chunks_;
};

}  // namespace hyper

#endif
