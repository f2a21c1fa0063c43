// SPDX-License-Identifier: Apache-2.0
// Memory that is followed by an inaccessible page and preceded by a guard pattern: a plugin that
// writes outside its buffer is caught at the write or at the check. One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace hyperhost::check {

class GuardedBuffer {
 public:
  /// what: said of a write beyond the end, e.g. "read_at() wrote beyond the buffer".
  GuardedBuffer(std::size_t size, const std::string& what);
  ~GuardedBuffer();
  GuardedBuffer(const GuardedBuffer&) = delete;
  GuardedBuffer& operator=(const GuardedBuffer&) = delete;

  unsigned char* data() const { return data_; }
  std::size_t size() const { return size_; }
  /// False where something was written in front of data().
  bool front_is_whole() const;
  void make_read_only();

  /// Installs the handler that tells an access to a guard from any other crash. Once.
  static void catch_accesses();

 private:
  std::size_t size_, mapped_;
  unsigned char* map_;
  unsigned char* data_;
  std::size_t slot_;
};

}  // namespace hyperhost::check
