// SPDX-License-Identifier: Apache-2.0
// Disk images for fuzz targets. An input is a packed image, so that an image of megabytes is an
// input of a few hundred bytes:
//
//   length of the file in sectors (3 bytes, little endian, modulo 64 MiB), flags (1 byte; 1:
//   compute checksums again) runs of data: first sector (3 bytes), length in bytes (2 bytes), the
//   bytes; all else is zero
//
// corpus.py packs. Every input is a packed image of something.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>

#include <hyper/source.hpp>

namespace fuzz {

class SparseFile {
 public:
  SparseFile(const uint8_t* packed, std::size_t size);
  uint64_t length() const { return length_; }
  bool wants_checksums() const { return wants_checksums_; }
  /// REQUIRES: offset + len <= length(), here and below.
  void read(uint64_t offset, void* buffer, uint64_t len) const;
  void write(uint64_t offset, const void* bytes, uint64_t len);

 private:
  static constexpr uint64_t kPage = 4096;
  uint64_t length_ = 0;
  bool wants_checksums_ = false;
  std::map<uint64_t, std::array<uint8_t, kPage>> pages_;
};

/// Over `file`, which lives as long.
std::unique_ptr<hyper::OwnedSource> open_source(const SparseFile& file);

/// Makes an image ready to be read: writes the checksums that its readers look at first where the
/// input wants that, so that a damaged field does not hide behind a checksum.
using Prepare = void (*)(SparseFile& file);

/// Opens the image and reads what it says of its guest: extents, the beginning, the end. In the
/// differential mode qemu-img reads it too, and other bytes are a failure.
void read_image(const char* format, const uint8_t* data, std::size_t size,
                Prepare prepare = nullptr);

/// The program that the differential mode compares with; null in the usual mode.
const char* qemu_img();

/// The same with an open source; true if all of it was accepted.
bool read_guest(const hyper::SourceRef& source, const char* format);

}  // namespace fuzz
