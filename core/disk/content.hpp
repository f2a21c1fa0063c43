// SPDX-License-Identifier: Apache-2.0
// What a guest sees on a disk, summed up and compared: the content digest of digest.md and the
// first difference of two disks. Sparse-aware, in parallel, in bounded memory (2 MiB a thread).
#pragma once

#include <cstdint>
#include <functional>
#include <hyper/digest.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/plugin/handles.hpp"

namespace hyperhost {

/// Called with guest bytes done so far; any thread, never with less than before.
using OnBytes = std::function<void(uint64_t done)>;

/// "hyper-tree-sha256:<hex>" of a seekable source of guest-visible bytes.
std::string content_digest(const SourceHandle& image, Operation& op, unsigned threads,
                           const OnBytes& on_bytes = {});

/// A block of 1 MiB by its number, and its leaf of the digest.
struct BlockLeaf {
  uint64_t block = 0;
  hyper::Hash256 leaf{};
};

/// The leaf of a block's bytes.
hyper::Hash256 content_leaf(const void* bytes, std::size_t size);

struct ContentDigests {
  std::string own;    ///< of the source
  std::string other;  ///< of a disk that differs from it in some blocks
};

/// Both in one pass. others: the leaves that the other disk has instead, ascending by block.
ContentDigests content_digests(const SourceHandle& image, const std::vector<BlockLeaf>& others,
                               Operation& op, unsigned threads, const OnBytes& on_bytes = {});

struct Difference {
  uint64_t offset = 0;  ///< of the first differing byte
  uint64_t length = 0;  ///< up to the end of the differing run within its 1 MiB block
  std::string reason;   ///< "content" or "size"
};

/// Nothing if both read the same. Disks of different size differ (at the smaller one's end),
/// unless the longer one is zero from there and `ignore_trailing_zeros`.
std::optional<Difference> compare_content(const SourceHandle& a, const SourceHandle& b,
                                          Operation& op, unsigned threads,
                                          bool ignore_trailing_zeros, const OnBytes& on_bytes = {});

/// A byte below `end` at which the two differ, of 64 places of 64 KiB spread over it by `seed`; all
/// of it is read where that is no more. REQUIRES: neither is shorter than `end`.
std::optional<uint64_t> sample_difference(const SourceHandle& a, const SourceHandle& b,
                                          uint64_t end, uint64_t seed, Operation& op);

}  // namespace hyperhost
