// SPDX-License-Identifier: Apache-2.0
#include "format/vmdk.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <vector>

#include "format/bytes.hpp"
#include "format/vmdk_descriptor.hpp"
#include "format/vmdk_sparse.hpp"

namespace hyper::disk {
namespace {

constexpr uint64_t kSeSparseMagic = 0xcafebabe;

struct Extent {
  uint64_t guest = 0, length = 0;
  std::shared_ptr<const ImageFile> file;  // none: zeros
  uint64_t file_offset = 0;               // flat
  std::optional<SparseExtent> sparse;
};

class VmdkMap final : public ImageMap {
 public:
  VmdkMap(std::string subformat, std::vector<Extent> extents)
      : subformat_(std::move(subformat)), extents_(std::move(extents)) {
    if (!extents_.empty()) size_ = extents_.back().guest + extents_.back().length;
  }
  uint64_t virtual_size() const override { return size_; }
  std::string format() const override { return "vmdk"; }
  std::string subformat() const override { return subformat_; }

  void map(Op op, uint64_t offset, uint64_t length, const OnMapped& on_mapped) const override {
    check_map_range(*this, offset, length);
    RunMerger out(op, on_mapped);
    const uint64_t end = offset + length;
    auto extent = std::upper_bound(extents_.begin(), extents_.end(), offset,
                                   [](uint64_t at, const Extent& e) { return at < e.guest; });
    if (extent != extents_.begin()) --extent;
    for (; offset < end; ++extent) {
      const uint64_t skip = offset - extent->guest;
      const uint64_t part = std::min(end - offset, extent->length - skip);
      if (extent->sparse)
        extent->sparse->map(op, skip, part, extent->guest, out);
      else if (extent->file)
        out.bytes(offset, part, extent->file->source(), extent->file_offset + skip);
      else
        out.zeros(offset, part, true);
      offset += part;
    }
    out.finish();
  }

 private:
  std::string subformat_;
  std::vector<Extent> extents_;  // ascending, contiguous
  uint64_t size_ = 0;
};

/// Opens the extents that a descriptor names, each file once.
class Siblings {
 public:
  Siblings(Op op, const ImageFile& first) : op_(op), first_(first) {}

  std::shared_ptr<const ImageFile> open(const std::string& name) {
    check_vmdk_extent_name(name);
    auto& file = files_[name];
    if (file == nullptr) {
      if (!first_.source().can(HYPER_SOURCE_SIBLING))
        throw first_
            .unsupported("the descriptor names the file '" + name +
                         "', but its source offers this one file only")
            .hint("give the descriptor in its folder, with its extents beside it");
      file = std::make_shared<ImageFile>(open_sibling(first_.source(), op_, name), first_, name);
    }
    return file;
  }

 private:
  Op op_;
  const ImageFile& first_;
  std::map<std::string, std::shared_ptr<const ImageFile>> files_;
};

void open_flat(const VmdkExtentLine& line, const ImageFile& first, Siblings& siblings,
               Extent& extent) {
  extent.file = siblings.open(line.name);
  if (line.offset > static_cast<uint64_t>(INT64_MAX) / kSector)
    throw first.corrupt(line.text_offset, "an impossible offset of an extent");
  extent.file_offset = line.offset * kSector;
  if (!extent.file->holds(extent.file_offset, extent.length))
    throw extent.file->corrupt(
        extent.file->length(),
        "the file ends before its extent of " + std::to_string(extent.length) + " bytes does");
}

void open_sparse(Op op, const VmdkExtentLine& line, Siblings& siblings, Extent& extent) {
  extent.file = siblings.open(line.name);
  extent.sparse = line.type == "VMFSSPARSE" ? SparseExtent::open_cowd(op, extent.file)
                                            : SparseExtent::open_hosted(op, extent.file);
  if (extent.sparse->capacity() < extent.length)
    throw extent.file->corrupt(12, "the extent is smaller than its descriptor says");
}

std::unique_ptr<ImageMap> open_descriptor(Op op, const VmdkDescriptor& descriptor,
                                          const ImageFile& first) {
  if (descriptor.extents.empty()) throw first.corrupt(0, "the descriptor names no extents");
  Siblings siblings(op, first);
  std::vector<Extent> extents;
  uint64_t guest = 0;
  for (const VmdkExtentLine& line : descriptor.extents) {
    op.check_cancelled();
    Extent extent;
    extent.guest = guest;
    extent.length = line.sectors * kSector;
    guest += extent.length;
    if (line.access == "NOACCESS" && line.type != "ZERO")
      throw first.unsupported("an extent without access: its content is not part of the image");
    if (line.type == "FLAT" || line.type == "VMFS")
      open_flat(line, first, siblings, extent);
    else if (line.type == "SPARSE" || line.type == "VMFSSPARSE")
      open_sparse(op, line, siblings, extent);
    else if (line.type != "ZERO")
      throw first.unsupported("extents of type " + line.type.substr(0, 16) + " are not read")
          .hint("export the disk, or convert it with qemu-img");
    extents.push_back(std::move(extent));
  }
  return std::make_unique<VmdkMap>(descriptor.create_type, std::move(extents));
}

std::unique_ptr<ImageMap> open_single(Op op, const std::shared_ptr<const ImageFile>& file) {
  Extent extent;
  extent.file = file;
  extent.sparse = SparseExtent::open_hosted(op, file);
  const std::string text = extent.sparse->descriptor(op);
  std::string subformat = extent.sparse->compressed() ? "streamOptimized" : "sparseExtent";
  if (text.empty()) {
    if (!extent.sparse->compressed())
      op.warn(Error(HYPER_UNSUPPORTED, "vmdk: a sparse extent without a descriptor is read alone")
                  .hint("if the disk is split into several files, give its descriptor instead"));
  } else {
    const VmdkDescriptor descriptor =
        parse_vmdk_descriptor(text, *file, extent.sparse->descriptor_offset());
    if (extent.sparse->capacity() == 0) return open_descriptor(op, descriptor, *file);
    if (descriptor.extents.size() > 1)
      throw file->unsupported("the embedded descriptor names " +
                              std::to_string(descriptor.extents.size()) + " extents");
    if (!descriptor.create_type.empty()) subformat = descriptor.create_type;
  }
  extent.length = extent.sparse->capacity();
  std::vector<Extent> extents;
  extents.push_back(std::move(extent));
  return std::make_unique<VmdkMap>(subformat, std::move(extents));
}

std::string beginning(Op op, const ImageFile& file) {
  std::string text(std::min<uint64_t>(file.length(), 4096), '\0');
  file.read(op, 0, text.data(), text.size(), "the beginning");
  return text;
}

bool is_sesparse(const std::string& begin) {
  return begin.size() >= 16 &&
         le64(reinterpret_cast<const uint8_t*>(begin.data())) == kSeSparseMagic;
}

bool is_cowd(const std::string& begin) {
  return begin.size() >= 32 && begin.compare(0, 4, "COWD") == 0 &&
         le32(reinterpret_cast<const uint8_t*>(begin.data()) + 4) == 1;
}

}  // namespace

bool is_vmdk(Op op, const SourceRef& source) {
  const ImageFile file(source, "vmdk");
  const std::string begin = beginning(op, file);
  const auto* bytes = reinterpret_cast<const uint8_t*>(begin.data());
  if (begin.size() >= kSector && begin.compare(0, 4, "KDMV") == 0)
    return (le32(bytes + 4) >= 1 && le32(bytes + 4) <= 3) || !is_boot_sector(bytes, begin.size());
  if (is_cowd(begin) || is_sesparse(begin)) return true;
  return file.length() <= kMaxVmdkDescriptor && is_vmdk_descriptor(begin);
}

std::unique_ptr<ImageMap> open_vmdk(Op op, const SourceRef& source) {
  const auto file = std::make_shared<const ImageFile>(source, "vmdk");
  const std::string begin = beginning(op, *file);
  if (begin.compare(0, 4, "KDMV") == 0) return open_single(op, file);
  if (is_sesparse(begin)) throw file->unsupported("seSparse extents are not read");
  if (is_cowd(begin))
    throw file->unsupported("this is an extent of a disk").hint("give the disk's descriptor");
  if (file->length() > kMaxVmdkDescriptor || !is_vmdk_descriptor(begin))
    throw file->corrupt(0, "neither a sparse extent nor a descriptor");
  std::string text(file->length(), '\0');
  file->read(op, 0, text.data(), text.size(), "the descriptor");
  text.resize(std::min(text.find('\0'), text.size()));
  return open_descriptor(op, parse_vmdk_descriptor(text, *file, 0), *file);
}

}  // namespace hyper::disk
