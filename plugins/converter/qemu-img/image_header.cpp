// SPDX-License-Identifier: Apache-2.0
#include "plugins/converter/qemu-img/image_header.hpp"

#include <algorithm>
#include <cstring>

#include "plugins/converter/qemu-img/vmdk_descriptor.hpp"

namespace hyperhost::qemu_img {
namespace {

constexpr uint64_t kSector = 512;
constexpr std::size_t kLargestDescriptor = 1u << 20;
using Bytes = std::vector<unsigned char>;

uint64_t number(const Bytes& bytes, std::size_t at, std::size_t width, bool big_endian) {
  uint64_t value = 0;
  for (std::size_t i = 0; i < width; ++i)
    value = value << 8 | bytes[at + (big_endian ? i : width - 1 - i)];
  return value;
}
uint64_t le32(const Bytes& b, std::size_t at) {
  return number(b, at, 4, false);
}
uint64_t le64(const Bytes& b, std::size_t at) {
  return number(b, at, 8, false);
}
uint64_t be32(const Bytes& b, std::size_t at) {
  return number(b, at, 4, true);
}
uint64_t be64(const Bytes& b, std::size_t at) {
  return number(b, at, 8, true);
}

bool begins(const Bytes& bytes, std::string_view magic) {
  return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
}

constexpr std::string_view kQcow2("QFI\xfb", 4), kVmdk("KDMV"), kCowd("COWD"), kVhdx("vhdxfile"),
    kVhd("conectix"), kVdi("\x7f\x10\xda\xbe", 4);

bool is_descriptor(const Bytes& head) {
  std::string text(head.begin(), head.begin() + static_cast<std::ptrdiff_t>(
                                                    std::min<std::size_t>(head.size(), 512)));
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  return first != std::string::npos && text[first] == '#' &&
         text.find("disk descriptorfile") != std::string::npos;
}

/// The VHD footer: a dynamic one's copy in front, or the last sector.
Bytes vhd_footer(const FileView& image) {
  Bytes front = image.read(0, kSector);
  if (begins(front, kVhd)) return front;
  if (image.length() < kSector) return {};
  Bytes end = image.read(image.length() - kSector, kSector);
  return begins(end, kVhd) ? end : Bytes();
}

hyper::Error needs_other_file(const FileView& image, const std::string& what) {
  return hyper::Error(HYPER_UNSUPPORTED,
                      image.shown() + " " + what + "; an image that needs another file is refused")
      .hint("merge it into one image first, e.g. consolidate the snapshots or qemu-img rebase");
}
hyper::Error damaged(const FileView& image, const std::string& what) {
  return hyper::Error(HYPER_CORRUPT, image.shown() + " " + what)
      .hint("get the file again and compare its checksum");
}

HeaderFacts admit_qcow2(const FileView& image) {
  Bytes head = image.read(0, 104);
  if (!begins(head, kQcow2) || head.size() < 72) throw damaged(image, "is not a qcow2 image");
  head.resize(104);  // version 2 ends at 72
  if (be64(head, 8) != 0) {
    const Bytes name = image.read(be64(head, 8), std::min<std::size_t>(be32(head, 16), 1023));
    throw needs_other_file(
        image, "names the backing file \"" + std::string(name.begin(), name.end()) + "\"");
  }
  if (be32(head, 32) != 0)
    throw hyper::Error(HYPER_UNSUPPORTED, image.shown() + " is encrypted").hint("decrypt it first");
  const uint64_t incompatible = be32(head, 4) >= 3 ? be64(head, 72) : 0;
  if ((incompatible & 4) != 0) throw needs_other_file(image, "keeps its data in an external file");
  if ((incompatible & 2) != 0) throw damaged(image, "is marked as corrupt");
  // With the dirty bit reference counts may be stale, which a check would call corrupt.
  return {(incompatible & 1) == 0};
}

void admit_sparse_vmdk(const FileView& image, const Bytes& head) {
  if (head.size() < kSector) throw damaged(image, "is truncated within its header");
  // Without a capacity QEMU takes the embedded descriptor for one that names other files.
  if (le64(head, 12) == 0) throw damaged(image, "has a VMDK header without a capacity");
  const uint64_t at = le64(head, 28), sectors = le64(head, 36);
  if (at == 0) return;
  if (sectors > kLargestDescriptor / kSector || at > image.length() / kSector)
    throw damaged(image, "has a descriptor beyond its end or over 1 MiB");
  const Bytes text = image.read(at * kSector, std::max<std::size_t>(sectors, 20) * kSector);
  if (parse_vmdk_descriptor({text.begin(), text.end()}).has_parent)
    throw needs_other_file(image, "is a delta on a parent disk");
}

void admit_extent(const FileView& descriptor, const VmdkExtent& extent) {
  const bool flat = extent.type == "FLAT" || extent.type == "VMFS";
  if (extent.access != "RW" || (!flat && extent.type != "SPARSE")) {
    // QEMU leaves such extents out and shifts what follows.
    throw hyper::Error(HYPER_UNSUPPORTED, descriptor.shown() + " has an extent " + extent.access +
                                              " " + extent.type + ", which qemu-img cannot read")
        .hint("convert it with the plugin parallel-disk");
  }
  if (extent.file.empty() || extent.file == "." || extent.file == ".." ||
      extent.file.find_first_of("/:\\") != std::string::npos) {
    throw hyper::Error(HYPER_AUTH, descriptor.shown() + " names the extent \"" + extent.file +
                                       "\", which is not a file beside it");
  }
  const std::string& path = descriptor.path();
  const FileView file(whole_file(path.substr(0, path.rfind('/') + 1) + extent.file));
  if (!flat) return admit_sparse_vmdk(file, file.read(0, kSector));
  const uint64_t sectors = file.length() / kSector;
  if (extent.flat_offset_sectors > sectors || extent.sectors > sectors - extent.flat_offset_sectors)
    throw damaged(file, "is shorter than its descriptor says");
}

HeaderFacts admit_vmdk(const FileView& image) {
  const Bytes head = image.read(0, kSector);
  if (begins(head, kVmdk)) {
    admit_sparse_vmdk(image, head);
    return {true};
  }
  if (begins(head, kCowd) || !is_descriptor(head))
    throw damaged(image, "is not a VMDK with a header or a descriptor of its own");
  if (image.length() > kLargestDescriptor) throw damaged(image, "has a descriptor over 1 MiB");
  if (!image.whole()) {
    throw hyper::Error(HYPER_UNSUPPORTED,
                       image.shown() +
                           " is a VMDK descriptor inside an archive, and qemu-img "
                           "finds its extents only beside a file of its own")
        .hint("extract the archive, or convert it with the plugin parallel-disk");
  }
  const Bytes text = image.read(0, kLargestDescriptor);
  const VmdkDescriptor descriptor = parse_vmdk_descriptor({text.begin(), text.end()});
  if (descriptor.has_parent) throw needs_other_file(image, "is a delta on a parent disk");
  if (descriptor.extents.empty()) throw damaged(image, "is a VMDK descriptor without extents");
  for (const VmdkExtent& extent : descriptor.extents) admit_extent(image, extent);
  return {true};
}

HeaderFacts admit_vdi(const FileView& image) {
  const Bytes head = image.read(0, kSector);
  if (head.size() < kSector || le32(head, 0x40) != 0xbeda107f)
    throw damaged(image, "is not a VDI image");
  // No number of 32 bits times another overflows.
  const uint64_t needed = le32(head, 0x158) + le32(head, 0x184) * le32(head, 0x178);
  if (needed > image.length())
    throw damaged(image, "is truncated: its header tells of " + std::to_string(needed) + " bytes");
  return {};
}

HeaderFacts admit_vhd(const FileView& image) {
  const Bytes footer = vhd_footer(image);
  if (footer.size() < kSector) throw damaged(image, "is not a VHD image, or is truncated");
  if (be32(footer, 60) == 4) throw needs_other_file(image, "is a differencing disk");
  return {};
}

}  // namespace

std::string qemu_format(const std::string& format) {
  if (format == "vhd" || format == "vpc") return "vpc";
  for (const char* known : {"raw", "qcow2", "vmdk", "vdi", "vhdx"})
    if (format == known) return known;
  return {};
}

std::string plain_format(const std::string& qemu_name) {
  return qemu_name == "vpc" ? "vhd" : qemu_name;
}

std::string detect_format(const FileView& image) {
  const Bytes head = image.read(0, kSector);
  if (begins(head, kQcow2)) return "qcow2";
  if (begins(head, kVmdk) || is_descriptor(head)) return "vmdk";
  if (begins(head, kVhdx)) return "vhdx";
  if (head.size() == kSector && std::memcmp(&head[0x40], kVdi.data(), kVdi.size()) == 0)
    return "vdi";
  return vhd_footer(image).empty() ? "" : "vpc";
}

HeaderFacts admit_image(const FileView& image, const std::string& format) {
  if (format == "qcow2") return admit_qcow2(image);
  if (format == "vmdk") return admit_vmdk(image);
  if (format == "vdi") return admit_vdi(image);
  if (format == "vpc") return admit_vhd(image);
  if (format == "vhdx" && !begins(image.read(0, 8), kVhdx))
    throw damaged(image, "is not a VHDX image");
  return {};
}

}  // namespace hyperhost::qemu_img
