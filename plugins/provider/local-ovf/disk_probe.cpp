// SPDX-License-Identifier: Apache-2.0
#include "disk_probe.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include <hyper/error.hpp>

namespace hyper::ovf {
namespace {

using Head = std::array<unsigned char, 512>;

uint64_t little(const unsigned char* at, unsigned bytes) {
  uint64_t value = 0;
  for (unsigned i = bytes; i-- > 0;) value = value << 8 | at[i];
  return value;
}

uint64_t big(const unsigned char* at, unsigned bytes) {
  uint64_t value = 0;
  for (unsigned i = 0; i < bytes; ++i) value = value << 8 | at[i];
  return value;
}

[[noreturn]] void refuse_delta(const Peek& peek, const std::string& what) {
  throw Error(HYPER_UNSUPPORTED,
              "the disk '" + peek.name + "' " + what + ", so it is only a part of a disk")
      .hint(
          "Consolidate its snapshots, or convert it to a stand-alone image, and export it again.");
}

[[noreturn]] void corrupt(const Peek& peek, const std::string& what) {
  throw Error(HYPER_CORRUPT, "the disk '" + peek.name + "' " + what);
}

std::string text_at(const Peek& peek, uint64_t offset, uint64_t len) {
  std::string text(len, '\0');
  text.resize(peek.read(offset, text.data(), text.size()));
  return text;
}

uint64_t sectors(const Peek& peek, uint64_t count) {
  uint64_t bytes = 0;
  if (__builtin_mul_overflow(count, uint64_t{512}, &bytes)) corrupt(peek, "claims an absurd size");
  return bytes;
}

/// VMware "Virtual Disk Format 5.0": struct SparseExtentHeader.
DiskFacts vmdk_sparse(const Peek& peek, const Head& head) {
  DiskFacts facts{"vmdk", "", sectors(peek, little(&head[12], 8)), {}};
  // QEMU takes a capacity of 0 as "follow the extents that the embedded descriptor names".
  if (facts.capacity == 0) corrupt(peek, "is a VMDK whose header gives it no capacity");
  const uint64_t flags = little(&head[8], 4);
  const uint64_t at = sectors(peek, little(&head[28], 8));
  const uint64_t len = std::min(sectors(peek, little(&head[36], 8)), kMaxVmdkDescriptor);
  if (at != 0 && at < peek.size) {
    // Readers look further than the header says: QEMU at 20 sectors.
    const std::string text = text_at(peek, at, std::max(len, uint64_t{20} * 512));
    const VmdkDescriptor descriptor = parse_vmdk_descriptor(text.substr(0, len), peek.name);
    // NOLINTNEXTLINE(readability-redundant-string-cstr): as far as a NUL
    if (descriptor.has_parent || mentions_vmdk_parent(text.c_str()))
      refuse_delta(peek, "is a VMDK that has a parent disk");
    facts.subformat = descriptor.create_type;
  }
  if (facts.subformat.empty())
    facts.subformat = (flags & 0x30000) != 0 ? "streamOptimized" : "monolithicSparse";
  return facts;
}

DiskFacts vmdk_text(const Peek& peek) {
  if (peek.size > kMaxVmdkDescriptor) corrupt(peek, "is a VMDK descriptor of absurd size");
  const VmdkDescriptor descriptor = parse_vmdk_descriptor(text_at(peek, 0, peek.size), peek.name);
  if (descriptor.has_parent) refuse_delta(peek, "is a VMDK that has a parent disk");
  if (descriptor.extents.empty()) corrupt(peek, "is a VMDK descriptor without extents");
  return {"vmdk", descriptor.create_type, descriptor.capacity_bytes, descriptor.extents};
}

/// QEMU docs/interop/qcow2.txt.
DiskFacts qcow2(const Peek& peek, const Head& head) {
  const uint64_t version = big(&head[4], 4);
  if (version != 2 && version != 3)
    throw Error(HYPER_UNSUPPORTED, "the disk '" + peek.name + "' is a qcow image of version " +
                                       std::to_string(version))
        .hint("Convert it with qemu-img convert -O qcow2 first.");
  if (big(&head[8], 8) != 0) refuse_delta(peek, "is a qcow2 image that has a backing file");
  if (version == 3 && (big(&head[72], 8) & 4) != 0)
    refuse_delta(peek, "is a qcow2 image that keeps its data in another file");
  return {"qcow2", "", big(&head[24], 8), {}};
}

/// Microsoft "Virtual Hard Disk Image Format Specification": the footer.
DiskFacts vhd(const Peek& peek, const unsigned char* footer) {
  const uint64_t type = big(footer + 60, 4);
  if (type == 4) refuse_delta(peek, "is a differencing VHD");
  return {"vhd", type == 2 ? "fixed" : "dynamic", big(footer + 48, 8), {}};
}

DiskFacts vdi(const Peek& peek, const Head& head) {
  const uint64_t type = little(&head[76], 4);
  if (type == 4 || type == 3) refuse_delta(peek, "is a differencing VDI");
  return {"vdi", type == 2 ? "static" : "dynamic", little(&head[368], 8), {}};
}

constexpr unsigned char kVhdxMetadataRegion[16] = {0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b,
                                                   0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e};
constexpr unsigned char kVhdxFileParameters[16] = {0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d,
                                                   0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b};
constexpr unsigned char kVhdxDiskSize[16] = {0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48,
                                             0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8};

/// MS-VHDX 2.2.3 (region table) and 2.6 (metadata).
DiskFacts vhdx(const Peek& peek) {
  DiskFacts facts{"vhdx", "dynamic", 0, {}};
  const auto block = [&](uint64_t offset, std::size_t len, const char* signature) {
    std::vector<unsigned char> bytes(len);
    bytes.resize(peek.read(offset, bytes.data(), len));
    const std::size_t magic = std::strlen(signature);
    if (bytes.size() < 64 || std::memcmp(bytes.data(), signature, magic) != 0) bytes.clear();
    return bytes;
  };
  const auto regions = block(192u << 10, 64u << 10, "regi");
  if (regions.empty()) {
    if (!peek.whole) return facts;
    corrupt(peek, "is a VHDX without a region table");
  }
  for (uint64_t i = 0; i < little(&regions[8], 4) && 16 + 32 * (i + 1) <= regions.size(); ++i) {
    const unsigned char* region = &regions[16 + 32 * i];
    if (std::memcmp(region, kVhdxMetadataRegion, 16) != 0) continue;
    const uint64_t base = little(region + 16, 8);
    const auto table = block(base, 64u << 10, "metadata");
    if (table.empty()) break;
    for (uint64_t j = 0; j < little(&table[10], 2) && 32 * (j + 2) <= table.size(); ++j) {
      const unsigned char* entry = &table[32 * (j + 1)];
      unsigned char value[8] = {};
      const bool parameters = std::memcmp(entry, kVhdxFileParameters, 16) == 0;
      const bool size = std::memcmp(entry, kVhdxDiskSize, 16) == 0;
      if (!parameters && !size) continue;
      if (peek.read(base + little(entry + 16, 4), value, 8) != 8) break;
      if (size) facts.capacity = little(value, 8);
      if (parameters && (value[4] & 2) != 0) refuse_delta(peek, "is a differencing VHDX");
      if (parameters && (value[4] & 1) != 0) facts.subformat = "fixed";
    }
  }
  if (facts.capacity == 0 && peek.whole) corrupt(peek, "is a VHDX that does not tell its size");
  return facts;
}

}  // namespace

DiskFacts probe_disk(const Peek& peek) {
  Head head{};
  const std::size_t got = peek.read(0, head.data(), head.size());
  const auto starts = [&](const char* magic, std::size_t len) {
    return got == head.size() && std::memcmp(head.data(), magic, len) == 0;
  };
  if (starts("KDMV", 4)) return vmdk_sparse(peek, head);
  if (starts("COWD", 4)) refuse_delta(peek, "is a sparse extent of an ESX host");
  if (looks_like_vmdk_descriptor(std::string(head.begin(), head.begin() + got)))
    return vmdk_text(peek);
  if (starts("QFI\xfb", 4)) return qcow2(peek, head);
  if (starts("conectix", 8)) return vhd(peek, head.data());
  if (starts("vhdxfile", 8)) return vhdx(peek);
  if (got == head.size() && little(&head[64], 4) == 0xbeda107f) return vdi(peek, head);
  if (peek.whole && peek.size >= 1024) {
    Head footer{};
    if (peek.read(peek.size - footer.size(), footer.data(), footer.size()) == footer.size() &&
        std::memcmp(footer.data(), "conectix", 8) == 0)
      return vhd(peek, footer.data());
  }
  // Whole sectors, as its readers see it.
  return {"raw", "", peek.whole ? (peek.size + 511) / 512 * 512 : 0, {}};
}

}  // namespace hyper::ovf
