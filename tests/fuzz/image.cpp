// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/image.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "image_source.hpp"
#include "tests/fuzz/compare_qemu.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace fuzz {
namespace {

constexpr uint64_t kSectorBytes = 512;
constexpr uint64_t kMostSectors = (64u << 20) / kSectorBytes;
constexpr uint64_t kFront = 1u << 20;     // bytes of the guest that are read at its beginning …
constexpr uint64_t kBack = 64u << 10;     // … and at its end
constexpr uint64_t kMapped = 256u << 20;  // bytes of the guest whose extents are listed
constexpr uint64_t kCompared = 8u << 20;  // largest guest that qemu-img reads too

uint64_t little_endian(const uint8_t* bytes, int width) {
  uint64_t value = 0;
  for (int i = width - 1; i >= 0; --i) value = value << 8 | bytes[i];
  return value;
}

class SparseSource final : public hyper::Source {
 public:
  explicit SparseSource(const SparseFile& file) : file_(file) {}
  hyper::SourceTraits traits() const override {
    hyper::SourceTraits traits;
    traits.flags = HYPER_SOURCE_SEEK;
    traits.length = file_.length();
    traits.max_parallel = 16;
    return traits;
  }
  void read_at(hyper::Op, uint64_t offset, void* buffer, uint64_t len) override {
    if (offset > file_.length() || len > file_.length() - offset)
      fail("a read beyond the end of the file");
    file_.read(offset, buffer, len);
  }

 private:
  const SparseFile& file_;
};

/// The promise of extents(): ascending, contiguous, nothing left out, and what is called zero reads
/// as zeros.
void check_extents(hyper::Source& guest, uint64_t length) {
  std::vector<hyper_extent> runs;
  const hyper_emit_extent collect = [](void* to, const hyper_extent* extent) noexcept -> hyper_st {
    static_cast<std::vector<hyper_extent>*>(to)->push_back(*extent);
    return HYPER_OK;
  };
  guest.extents(op(), 0, length, hyper::EmitExtent(collect, &runs));
  uint64_t next = 0;
  for (const hyper_extent& run : runs) {
    if (run.offset != next) fail("extents are not contiguous");
    next += run.length;
  }
  if (next != length) fail("extents do not cover what was asked for");
  int looked_at = 0;
  for (const hyper_extent& run : runs) {
    if ((run.flags & HYPER_EXTENT_ZERO) == 0 || ++looked_at > 16) continue;
    std::vector<uint8_t> bytes(std::min<uint64_t>(run.length, 4096), 1);
    guest.read_at(op(), run.offset, bytes.data(), bytes.size());
    if (std::any_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte != 0; }))
      fail("an extent that is called zero is not");
  }
}

std::unique_ptr<hyper::Source> open_guest(const hyper::SourceRef& source, const char* format) {
  const hyper::DocBuilder request =
      hyper::DocBuilder::parse("{\"format\": \"" + std::string(format) + "\"}");
  return hyper::disk::ImageReader::open(hyper::Doc(), op(), source, request.doc());
}

}  // namespace

SparseFile::SparseFile(const uint8_t* packed, std::size_t size) {
  if (size < 4) return;
  length_ = little_endian(packed, 3) % kMostSectors * kSectorBytes;
  wants_checksums_ = (packed[3] & 1) != 0;
  for (std::size_t at = 4; at + 5 <= size;) {
    const uint64_t offset = little_endian(packed + at, 3) * kSectorBytes;
    const uint64_t len = std::min<uint64_t>(little_endian(packed + at + 3, 2), size - at - 5);
    at += 5;
    if (offset <= length_ && len <= length_ - offset) write(offset, packed + at, len);
    at += len;
  }
}

void SparseFile::write(uint64_t offset, const void* bytes, uint64_t len) {
  const auto* from = static_cast<const uint8_t*>(bytes);
  while (len != 0) {
    const uint64_t now = std::min(len, kPage - offset % kPage);
    std::memcpy(pages_[offset / kPage].data() + offset % kPage, from, now);
    offset += now;
    from += now;
    len -= now;
  }
}

void SparseFile::read(uint64_t offset, void* buffer, uint64_t len) const {
  auto* to = static_cast<uint8_t*>(buffer);
  while (len != 0) {
    const uint64_t now = std::min(len, kPage - offset % kPage);
    const auto page = pages_.find(offset / kPage);
    if (page == pages_.end())
      std::memset(to, 0, now);
    else
      std::memcpy(to, page->second.data() + offset % kPage, now);
    offset += now;
    to += now;
    len -= now;
  }
}

std::unique_ptr<hyper::OwnedSource> open_source(const SparseFile& file) {
  auto opened = std::make_unique<hyper::OwnedSource>();
  hyper::export_source(std::make_unique<SparseSource>(file), opened->out());
  return opened;
}

bool read_guest(const hyper::SourceRef& source, const char* format) {
  return accepts([&] {
    const auto guest = open_guest(source, format);
    const uint64_t length = guest->traits().length;
    std::vector<uint8_t> bytes(std::min(length, kFront));
    guest->read_at(op(), 0, bytes.data(), bytes.size());
    bytes.resize(std::min(length, kBack));
    guest->read_at(op(), length - bytes.size(), bytes.data(), bytes.size());
    check_extents(*guest, std::min(length, kMapped));
  });
}

const char* qemu_img() {
  return std::getenv("HYPERHOST_FUZZ_QEMU_IMG");
}

void read_image(const char* format, const uint8_t* data, std::size_t size, Prepare prepare) {
  op();
  SparseFile file(data, size);
  if (prepare != nullptr) prepare(file);
  const auto source = open_source(file);
  if (!read_guest(*source, format) || qemu_img() == nullptr) return;
  std::vector<uint8_t> ours;
  if (!accepts([&] {
        const auto guest = open_guest(*source, format);
        if (guest->traits().length > kCompared)
          throw hyper::Error(HYPER_UNSUPPORTED, "too large to compare");
        ours.resize(guest->traits().length);
        guest->read_at(op(), 0, ours.data(), ours.size());
      }))
    return;
  compare_with_qemu(qemu_img(), format, file, ours);
}

}  // namespace fuzz
