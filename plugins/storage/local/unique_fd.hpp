// SPDX-License-Identifier: Apache-2.0
// A file descriptor with an owner. Any thread; moved, never copied.
#ifndef HYPERHOST_STORAGE_LOCAL_UNIQUE_FD_HPP
#define HYPERHOST_STORAGE_LOCAL_UNIQUE_FD_HPP

#include <unistd.h>

#include <utility>

namespace hyperhost::storage_local {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~UniqueFd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

}  // namespace hyperhost::storage_local

#endif
