// SPDX-License-Identifier: Apache-2.0
// Page-aligned memory of a fixed size. Untouched pages cost nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace hyper::disk {

class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t size) : size_((size + kAlign - 1) / kAlign * kAlign) {
    data_.reset(static_cast<uint8_t*>(std::aligned_alloc(kAlign, size_)));
    if (!data_) throw std::bad_alloc();
  }
  uint8_t* data() const { return data_.get(); }
  std::size_t size() const { return size_; }

 private:
  static constexpr std::size_t kAlign = 4096;
  struct Free {
    void operator()(uint8_t* memory) const { std::free(memory); }
  };
  std::unique_ptr<uint8_t, Free> data_;
  std::size_t size_ = 0;
};

}  // namespace hyper::disk
