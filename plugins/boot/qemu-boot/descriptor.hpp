// SPDX-License-Identifier: Apache-2.0
// A file descriptor with an owner. Any thread, one at a time.
#ifndef HYPERHOST_QEMU_BOOT_DESCRIPTOR_HPP
#define HYPERHOST_QEMU_BOOT_DESCRIPTOR_HPP

#include <unistd.h>

#include <utility>

namespace hyperhost::qemu_boot {

class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

}  // namespace hyperhost::qemu_boot

#endif
