// SPDX-License-Identifier: Apache-2.0
// A parsed disk image, reduced to one question: what lies at this guest offset? Every seekable
// format is a parser that makes an ImageMap; the engine and the image reader do all the rest.
// Immutable once opened: map() may be called from any thread, unless a parser says otherwise.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <hyper/source.hpp>

namespace hyper::disk {

enum class Codec : uint8_t {
  kNone,        ///< bytes as they are
  kZlib,        ///< RFC 1950: header, deflate, Adler-32 (VMDK grains)
  kRawDeflate,  ///< RFC 1951 (qcow2 compression type 0)
  kZstd,        ///< one zstd frame (qcow2 compression type 1)
};

/// A guest range and where its bytes are.
struct Mapped {
  uint64_t guest_offset = 0;
  uint64_t length = 0;  ///< guest-visible bytes; never 0
  bool zero = false;    ///< reads as zeros; the members below are unset
  bool hole = false;    ///< … and nothing is allocated for it
  Codec codec = Codec::kNone;
  const SourceRef* file = nullptr;  ///< which file the bytes are in; lives as long as the map
  uint64_t file_offset = 0;         ///< kNone: of guest_offset; else of the compressed bytes
  uint64_t file_length = 0;         ///< compressed: at most this many bytes hold the stream
  uint64_t unit_offset = 0;  ///< compressed: guest offset of the whole unit (grain, cluster) …
  uint64_t unit_length = 0;  ///< … and its guest-visible length once inflated
};

using OnMapped = std::function<void(const Mapped&)>;

class ImageMap {
 public:
  virtual ~ImageMap() = default;
  virtual uint64_t virtual_size() const = 0;
  virtual std::string format() const = 0;     ///< "vmdk", "qcow2", "vhd", "vhdx", "vdi", "raw"
  virtual std::string subformat() const = 0;  ///< "monolithicSparse" …; may be empty
  /// What the user should know of the image although it can be read.
  virtual std::vector<std::string> notes() const { return {}; }
  /// The guest range [offset, offset+length), ascending and contiguous, in pieces as large as the
  /// image allows (adjacent runs merged up to what is convenient). Reads metadata lazily, in
  /// bounded memory. Throws hyper::Error(HYPER_CORRUPT) with the file offset of what is wrong.
  virtual void map(Op op, uint64_t offset, uint64_t length, const OnMapped& on_mapped) const = 0;
};

}  // namespace hyper::disk
