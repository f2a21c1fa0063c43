// SPDX-License-Identifier: Apache-2.0
// The log of a VHDX: changes of its metadata that were under way when the file was last closed.
// A reader must not write to the file, so the replay happens in front of it: reads go through an
// overlay that knows which sectors the log replaces, and where in the log their content is.
// [MS-VHDX] 2.3. Immutable once replayed, thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <map>

#include "format/image_file.hpp"

namespace hyper::disk {

/// CRC-32C (Castagnoli), to be continued with the value of the part before.
uint32_t crc32c(const uint8_t* bytes, std::size_t length, uint32_t before = 0);

class VhdxLog {
 public:
  using Guid = std::array<uint8_t, 16>;
  static constexpr uint64_t kLogSector = 4096;

  /// The file as it is, without a log.
  explicit VhdxLog(const ImageFile& file) : file_(file), length_(file.length()) {}
  /// Takes in the active sequence of the log at [offset, offset + length). Throws HYPER_CORRUPT if
  /// there is none, HYPER_UNSUPPORTED if the log is larger than anybody writes.
  void replay(Op op, uint64_t offset, uint64_t length, const Guid& guid);

  bool empty() const { return pieces_.empty(); }
  /// The file's length after the replay.
  uint64_t length() const { return length_; }
  /// Does the log change anything in this range?
  bool touches(uint64_t offset, uint64_t length) const;
  /// Reads the file as it is after the replay.
  void read(Op op, uint64_t offset, void* buf, uint64_t len, const char* what) const;

 private:
  struct Entry {
    uint64_t at = 0;  // within the log
    uint64_t sequence = 0, length = 0, tail = 0, descriptors = 0;
    uint64_t flushed_length = 0, last_length = 0;
  };
  struct Piece {
    uint64_t end = 0;
    uint64_t data = 0;  // file offset of the log's data sector; 0 = zeros
    std::array<uint8_t, 8> leading{};
    std::array<uint8_t, 4> trailing{};
  };

  void read_ring(Op op, uint64_t at, uint8_t* buf, uint64_t len) const;
  bool valid_entry(Op op, uint64_t at, const Guid& guid, uint64_t& budget, Entry& out) const;
  void apply(Op op, const Entry& entry);
  void replace(uint64_t from, const Piece& piece);

  const ImageFile& file_;
  uint64_t length_;
  uint64_t log_ = 0, log_length_ = 0;
  std::map<uint64_t, Piece> pieces_;  // by file offset, without overlap
};

}  // namespace hyper::disk
