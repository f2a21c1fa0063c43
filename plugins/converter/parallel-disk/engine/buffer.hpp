// SPDX-License-Identifier: Apache-2.0
// Memory for the disk's bytes, from the host: what is read into it or written from it is not copied
// on its way to a host in another process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include <hyper/op.hpp>

namespace hyper::disk {

/// Page-aligned, of a fixed size. Untouched pages cost nothing.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t size) : size_(size) {
    data_.reset(static_cast<uint8_t*>(host().buf_alloc(size == 0 ? 1 : size)));
    if (!data_) throw std::bad_alloc();
  }
  uint8_t* data() const { return data_.get(); }
  std::size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(uint8_t* memory) const { host().buf_free(memory); }
  };
  std::unique_ptr<uint8_t, Free> data_;
  std::size_t size_ = 0;
};

/// For containers of such bytes.
template <class T>
struct HostAllocator {
  using value_type = T;
  HostAllocator() = default;
  template <class Other>
  HostAllocator(const HostAllocator<Other>&) noexcept {}
  T* allocate(std::size_t count) {
    void* const memory = host().buf_alloc(count * sizeof(T));
    if (memory == nullptr) throw std::bad_alloc();
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, std::size_t) noexcept { host().buf_free(memory); }
  friend bool operator==(const HostAllocator&, const HostAllocator&) { return true; }
};

}  // namespace hyper::disk
