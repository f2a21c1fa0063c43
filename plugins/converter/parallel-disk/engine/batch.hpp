// SPDX-License-Identifier: Apache-2.0
// The unit of work: one aligned block of the guest's disk (1 or 2 MiB), from the compressed bytes
// that came in to the writes that go out, and the memory of the worker that has it in hand. A
// workspace belongs to one worker; only the engine's cursor and the writer's place() see it too,
// while that worker calls them.
#pragma once

#include <bitset>
#include <cstdint>
#include <vector>

#include "codec/inflate.hpp"
#include "engine/buffer.hpp"
#include "format/image_map.hpp"

namespace hyper::disk {

constexpr uint64_t kGranule = 4096;           ///< zeros are looked for in units of this
constexpr uint64_t kLargestBatch = 2u << 20;  ///< and 1 MiB is the usual one
constexpr uint64_t kLargestUnit = 2u << 20;   ///< a compressed grain or cluster, inflated

/// A part of a batch that may be other than zero.
struct Piece : Mapped {
  const uint8_t* bytes = nullptr;  ///< compressed: its file_length bytes, once in memory
};

/// A write that is due: `data` lies in the workspace.
struct Write {
  uint64_t offset = 0;
  const uint8_t* data = nullptr;
  uint64_t length = 0;
};

/// Compressed bytes of one unit, in Workspace::packed.
struct Packed {
  uint32_t index = 0;  ///< of the unit in its batch
  uint32_t offset = 0, length = 0;
};

struct Batch {
  uint64_t number = 0;
  uint64_t zero_from = 0;     ///< [zero_from, guest) is zero as well
  uint64_t guest = 0;         ///< a multiple of the batch size
  uint64_t length = 0;        ///< less than the batch size at the end of the disk; may be 0
  std::vector<Piece> pieces;  ///< ascending, inside the batch
};

struct Workspace {
  explicit Workspace(uint64_t batch_bytes)
      : input(2 * batch_bytes + (256u << 10)),
        plain(batch_bytes),
        packed(batch_bytes + batch_bytes / 32) {}

  /// What a worker may touch at most.
  static uint64_t bytes(uint64_t batch_bytes) { return 4 * batch_bytes + (1u << 20); }

  Batch batch;
  Buffer input;  ///< compressed bytes as they came
  Buffer plain;  ///< the batch as the guest sees it, zeros behind the end of the disk
  bool has_plain = false;
  std::bitset<kLargestBatch / kGranule> zero;  ///< of plain, by granule
  Buffer packed;                               ///< compressed by the writer
  std::vector<Packed> packings;
  std::vector<Write> writes;
  Inflater inflater;
  Buffer unit;  ///< a unit that does not lie in one batch; allocated when met
};

}  // namespace hyper::disk
