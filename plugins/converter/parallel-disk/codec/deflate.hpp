// SPDX-License-Identifier: Apache-2.0
// Compression of one unit (grain, cluster). One per worker.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace hyper::disk {

enum class Packing : uint8_t {
  kNone,
  kZlib,          ///< RFC 1950, for VMDK grains
  kRawDeflate,    ///< RFC 1951, for qcow2; distances up to 32 KiB
  kRawDeflate4K,  ///< … with distances of at most 4 KiB, as the qcow2 specification has it; slow
  kZstd,
};

/// What is used where a plan names no level: a speed that multiplies qemu-img's at its size.
int default_level(Packing packing);
/// The levels that packing has: first to last.
struct LevelRange {
  int first, last;
};
LevelRange levels(Packing packing);

class Deflater {
 public:
  /// level 0 = default_level().
  Deflater(Packing packing, int level);
  ~Deflater();
  /// The compressed size, or 0 if it would exceed `capacity`.
  std::size_t run(const uint8_t* in, std::size_t in_length, uint8_t* out, std::size_t capacity);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hyper::disk
