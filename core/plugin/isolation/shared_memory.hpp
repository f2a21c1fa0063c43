// SPDX-License-Identifier: Apache-2.0
// Memory that the host and one worker have in common: the worker's buffers (buf_alloc) lie in it,
// so that a read or a write of the disk's bytes names a place instead of carrying them. Another
// worker that is to write them may look at it too. Made by the host and sealed, so that no end can
// take it away from the others. What is in it may change at any time: the host passes it on and
// believes nothing that it says.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

#include "core/os/fd.hpp"

namespace hyperhost::isolation {

class SharedMemory {
 public:
  /// Untouched pages cost nothing.
  static constexpr uint64_t kBytes = 1u << 30;
  /// No place in it.
  static constexpr uint64_t kNowhere = UINT64_MAX;

  enum class Access { kRead, kWrite };

  /// Host. Null where the process may not have as much: all bytes are carried then.
  static std::shared_ptr<SharedMemory> create() noexcept;
  /// Host: the one that all of [data, data + length) lies in, or null.
  static std::shared_ptr<SharedMemory> holding(const void* data, uint64_t length);
  /// The host's, under its number, as a worker sees it. Throws Error.
  SharedMemory(const Fd& memory, uint64_t number, Access access);
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  uint64_t number() const { return number_; }
  int fd() const { return memory_.get(); }  ///< host only
  /// Where [data, data + length) begins in it, or kNowhere.
  uint64_t place_of(const void* data, uint64_t length) const;
  /// Throws Error where the range does not lie in it whole.
  unsigned char* at(uint64_t place, uint64_t length) const;

 private:
  const uint64_t number_;
  Fd memory_;
  unsigned char* map_ = nullptr;
};

/// Worker: gives out pieces of it, whole pages. Thread-safe.
class SharedBuffers {
 public:
  explicit SharedBuffers(std::shared_ptr<SharedMemory> memory);
  /// Null where there is no room.
  void* take(uint64_t length);
  /// False where it is not one of these.
  bool give_back(void* buffer);

 private:
  const std::shared_ptr<SharedMemory> memory_;
  std::mutex mutex_;
  std::map<uint64_t, uint64_t> free_, taken_;  // length by place
};

}  // namespace hyperhost::isolation
