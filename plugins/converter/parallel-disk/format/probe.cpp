// SPDX-License-Identifier: Apache-2.0
#include "format/probe.hpp"

#include <algorithm>
#include <string_view>

#include "format/bytes.hpp"
#include "format/image_file.hpp"
#include "format/vdi.hpp"
#include "format/vhd.hpp"
#include "format/vhdx.hpp"
#include "format/vmdk.hpp"

namespace hyper::disk {
namespace {

std::string beginning(Op op, const SourceRef& source) {
  const ImageFile file(source, "image");
  std::string bytes(std::min<uint64_t>(file.length(), kSector), '\0');
  file.read(op, 0, bytes.data(), bytes.size(), "the beginning");
  return bytes;
}

// A signature makes the format, even if the rest is damaged: taking a broken image for a raw disk
// would be worse than any message. Only where the first sector is plainly a boot sector instead,
// and the header is none that any version of the format has, the four bytes are the guest's.
uint32_t qcow_version(const std::string& begin) {
  if (begin.size() < 72 || begin.compare(0, 4, "QFI\xfb") != 0) return 0;
  const auto* bytes = reinterpret_cast<const uint8_t*>(begin.data());
  const uint32_t version = be32(bytes + 4), cluster_bits = be32(bytes + 20);
  if (version == 1) return 1;
  const bool sane = (version == 2 || version == 3) && cluster_bits >= 9 && cluster_bits <= 30;
  return sane || !is_boot_sector(bytes, begin.size()) ? 2 : 0;
}

bool is_qcow2(Op op, const SourceRef& source) {
  return qcow_version(beginning(op, source)) == 2;
}

bool is_raw(Op, const SourceRef&) {
  return true;
}

struct Format {
  const char* name;
  bool (*is)(Op, const SourceRef&);
  std::unique_ptr<ImageMap> (*open)(Op, const SourceRef&, const Backing&);
};

template <std::unique_ptr<ImageMap> (*kOpen)(Op, const SourceRef&)>
std::unique_ptr<ImageMap> alone(Op op, const SourceRef& source, const Backing&) {
  return kOpen(op, source);
}

// In the order of detection: signatures in front, then the fixed VHD's at the end, then the rest.
constexpr Format kFormats[] = {
    {"qcow2", is_qcow2, open_qcow2},     {"vmdk", is_vmdk, alone<open_vmdk>},
    {"vhdx", is_vhdx, alone<open_vhdx>}, {"vdi", is_vdi, alone<open_vdi>},
    {"vhd", is_vhd, alone<open_vhd>},    {"raw", is_raw, open_raw},
};

const char* foreign_format(const std::string& begin) {
  struct Known {
    const char* name;
    std::string_view magic;
  };
  static constexpr Known kForeign[] = {
      {"qed", {"QED\0", 4}}, {"parallels", "WithoutFreeSpace"}, {"parallels", "WithouFreSpacExt"}};
  for (const Known& known : kForeign)
    if (begin.compare(0, known.magic.size(), known.magic) == 0) return known.name;
  return qcow_version(begin) == 1 ? "qcow" : nullptr;
}

const Format* find_format(const std::string& name) {
  const std::string own = name == "vpc" ? "vhd" : name;
  const auto* found = std::find_if(std::begin(kFormats), std::end(kFormats),
                                   [&](const Format& format) { return own == format.name; });
  return found == std::end(kFormats) ? nullptr : found;
}

}  // namespace

std::string detect_format(Op op, const SourceRef& source) {
  if (const char* foreign = foreign_format(beginning(op, source))) return foreign;
  return std::find_if(std::begin(kFormats), std::end(kFormats),
                      [&](const Format& format) { return format.is(op, source); })
      ->name;
}

std::unique_ptr<ImageMap> open_image(Op op, const SourceRef& source, const std::string& format,
                                     const Backing& backing) {
  const std::string name = format.empty() ? detect_format(op, source) : format;
  const Format* known = find_format(name);
  if (known == nullptr)
    throw Error(HYPER_UNSUPPORTED, "images of the format '" + name + "' are not read here")
        .hint("convert it with qemu-img");
  if (!format.empty() && !known->is(op, source))
    throw Error(HYPER_CONFIG, "the image is said to be " + std::string(known->name) +
                                  ", but its content is " + detect_format(op, source))
        .hint("leave the format out to have it detected");
  return known->open(op, source, backing);
}

ImageInfo probe_image(Op op, const SourceRef& source, const Backing& backing) {
  const auto image = open_image(op, source, "", backing);
  return {image->format(), image->subformat(), image->virtual_size()};
}

}  // namespace hyper::disk
