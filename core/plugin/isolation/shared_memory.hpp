// SPDX-License-Identifier: Apache-2.0
// Memory that the host and one worker share. The worker's buffers (buf_alloc) lie in it, so that a
// read or a write of the disk's bytes names a place and carries no bytes. Another worker that
// writes these bytes may read the memory too. The host makes it and seals it, so that no side can
// take it away from the others. Its content may change at any time: the host passes the bytes on
// and never interprets them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

#include "core/os/fd.hpp"

namespace hyperhost::isolation {

class SharedMemory {
 public:
  /// The size. Pages that no one has written cost nothing.
  static constexpr uint64_t kBytes = 1u << 30;
  /// The answer of place_of() for data outside of the memory.
  static constexpr uint64_t kNowhere = UINT64_MAX;

  enum class Access { kRead, kWrite };

  /// Host. Null if a limit of the process is too low: payloads then carry all bytes.
  static std::shared_ptr<SharedMemory> create() noexcept;
  /// Host: the memory that contains all of [data, data + length), or null.
  static std::shared_ptr<SharedMemory> holding(const void* data, uint64_t length);
  /// Worker: maps memory of the host under its number. Throws Error.
  SharedMemory(const Fd& memory, uint64_t number, Access access);
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  uint64_t number() const { return number_; }
  int fd() const { return memory_.get(); }  ///< host only
  /// The place in the memory at which [data, data + length) begins, or kNowhere.
  uint64_t place_of(const void* data, uint64_t length) const;
  /// The bytes at a place. Throws Error if the range does not lie completely in the memory.
  unsigned char* at(uint64_t place, uint64_t length) const;

 private:
  const uint64_t number_;
  Fd memory_;
  unsigned char* map_ = nullptr;
};

/// Worker: allocates buffers of whole pages in the memory. Thread-safe.
class SharedBuffers {
 public:
  explicit SharedBuffers(std::shared_ptr<SharedMemory> memory);
  /// Null if there is no room.
  void* take(uint64_t length);
  /// False: the buffer does not come from take().
  bool give_back(void* buffer);

 private:
  const std::shared_ptr<SharedMemory> memory_;
  std::mutex mutex_;
  std::map<uint64_t, uint64_t> free_, taken_;  // length by place
};

}  // namespace hyperhost::isolation
