// SPDX-License-Identifier: Apache-2.0
// A disk's bytes for a reader of its structures: few of them, each read once, never more than a
// budget. What a guest wrote is hostile: a number that lies outside of what was read is 0, and
// nothing here throws but the source. One thread.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace hyperhost {

/// Some bytes of a disk. Every access is checked: beyond the end all is zero.
class Bytes {
 public:
  Bytes() = default;
  explicit Bytes(std::vector<unsigned char> bytes) : bytes_(std::move(bytes)) {}

  uint64_t size() const { return bytes_.size(); }
  uint8_t at(uint64_t offset) const { return offset < bytes_.size() ? bytes_[offset] : 0; }
  uint16_t le16(uint64_t offset) const { return static_cast<uint16_t>(little(offset, 2)); }
  uint32_t le32(uint64_t offset) const { return static_cast<uint32_t>(little(offset, 4)); }
  uint64_t le64(uint64_t offset) const { return little(offset, 8); }
  uint64_t little(uint64_t offset, unsigned width) const;
  uint64_t big(uint64_t offset, unsigned width) const;
  /// Whether the text stands there, whole.
  bool has(uint64_t offset, std::string_view text) const;
  /// Whether the text stands anywhere.
  bool contains(std::string_view text) const;
  /// The range, as far as it is there.
  std::string text(uint64_t offset, uint64_t length) const;
  Bytes part(uint64_t offset, uint64_t length) const;
  bool all_zero(uint64_t offset, uint64_t length) const;
  void set(uint64_t offset, uint8_t value) {
    if (offset < bytes_.size()) bytes_[offset] = value;
  }

 private:
  std::vector<unsigned char> bytes_;
};

class DiskBytes {
 public:
  static constexpr uint64_t kPage = 4096;
  static constexpr uint64_t kMostAtOnce = uint64_t{1} << 20;
  /// Fills the buffer, or throws. The range lies within the disk.
  using Read = std::function<void(uint64_t offset, void* buffer, uint64_t length)>;

  /// most: no more is read than this.
  DiskBytes(Read read, uint64_t length, uint64_t most)
      : read_(std::move(read)), length_(length), most_(most) {}

  uint64_t length() const { return length_; }
  /// The range, without what lies beyond the disk, the budget or kMostAtOnce.
  Bytes read(uint64_t offset, uint64_t length);
  uint64_t bytes_read() const { return bytes_read_; }
  /// The budget kept something from being read.
  bool cut() const { return cut_; }

 private:
  /// False: the budget does not allow it.
  bool fetch(uint64_t first, uint64_t end);

  const Read read_;
  const uint64_t length_, most_;
  uint64_t bytes_read_ = 0;
  bool cut_ = false;
  std::map<uint64_t, std::array<unsigned char, kPage>> pages_;
};

}  // namespace hyperhost
