// SPDX-License-Identifier: Apache-2.0
// What a conversion needs to go on where it ended, as bytes: numbers and blobs one after the
// other, read back with every length checked. And as text (base64), for JSON.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace hyper::disk {

class StateWriter {
 public:
  void number(uint64_t value) {
    for (unsigned i = 0; i < 8; ++i) bytes_.push_back(static_cast<uint8_t>(value >> (8 * i)));
  }
  void blob(const void* data, uint64_t length) {
    number(length);
    const auto* from = static_cast<const uint8_t*>(data);
    bytes_.insert(bytes_.end(), from, from + length);
  }
  const std::vector<uint8_t>& bytes() const { return bytes_; }

 private:
  std::vector<uint8_t> bytes_;
};

/// Reads what a StateWriter wrote; ok() is false from the first thing on that is not there.
class StateReader {
 public:
  explicit StateReader(const std::vector<uint8_t>& bytes) : bytes_(bytes) {}
  uint64_t number() {
    if (!ok_ || bytes_.size() - at_ < 8) {
      ok_ = false;
      return 0;
    }
    uint64_t value = 0;
    for (unsigned i = 0; i < 8; ++i) value |= uint64_t{bytes_[at_ + i]} << (8 * i);
    at_ += 8;
    return value;
  }
  /// A blob of exactly `length` bytes.
  void blob(void* to, uint64_t length) {
    if (number() != length || !ok_ || bytes_.size() - at_ < length) {
      ok_ = false;
      return;
    }
    if (length != 0) std::memcpy(to, bytes_.data() + at_, length);
    at_ += length;
  }
  bool ok() const { return ok_; }
  bool at_end() const { return ok_ && at_ == bytes_.size(); }

 private:
  const std::vector<uint8_t>& bytes_;
  std::size_t at_ = 0;
  bool ok_ = true;
};

std::string to_base64(const std::vector<uint8_t>& bytes);
/// False where `text` is no base64.
bool from_base64(std::string_view text, std::vector<uint8_t>& bytes);

}  // namespace hyper::disk
