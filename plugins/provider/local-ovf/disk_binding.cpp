// SPDX-License-Identifier: Apache-2.0
#include "disk_binding.hpp"

#include <algorithm>
#include <cstring>

#include <hyper/error.hpp>

#include "gzip_reader.hpp"
#include "units.hpp"

namespace hyper::ovf {
namespace {

constexpr std::size_t kMaxChunks = 500;  // each may be an open file
constexpr std::size_t kGzipPeek = 2u << 20;
constexpr std::size_t kGzipStep = 64u << 10;
constexpr uint64_t kCapacitySlack = 1u << 20;

}  // namespace

DiskBinder::DiskBinder(const Package& package, std::string descriptor, ExpectedOf expected_of)
    : package_(package),
      descriptor_(std::move(descriptor)),
      base_(directory_part(descriptor_)),
      expected_of_(std::move(expected_of)) {}

Piece DiskBinder::find_file(const std::string& href) const {
  const std::string whose = "the descriptor " + in_quotes(descriptor_);
  if (auto piece = find_reference(package_, base_, href, whose)) return *piece;
  throw Error(HYPER_NOTFOUND, "the file " + in_quotes(href) + " that " + whose +
                                  " refers to is not in the package " + in_quotes(package_.path()))
      .hint("Copy or export the package again, with all of its files.");
}

void DiskBinder::bind_reference(const OvfFile& file, const OvfDisk& described, Disk& disk,
                                std::vector<std::string>& warnings) const {
  disk.range = file.chunk_size == 0 ? Range({find_file(file.href)}) : chunks(file);
  disk.file = file.chunk_size == 0 ? disk.range.pieces().front().name : file.href;
  disk.base = directory_part(disk.range.pieces().front().name);
  if (file.size && *file.size != disk.range.size())
    warnings.push_back("the descriptor gives " + in_quotes(disk.file) + " " +
                       std::to_string(*file.size) + " bytes, but it has " +
                       std::to_string(disk.range.size()));
  for (const Piece& piece : disk.range.pieces()) disk.expected.push_back(expected_of_(piece.name));
  const std::string compression = lower(trimmed(file.compression));
  disk.gzip = compression == "gzip";
  if (!disk.gzip && !compression.empty() && compression != "identity")
    throw Error(HYPER_UNSUPPORTED, "the file " + in_quotes(disk.file) + " is compressed with " +
                                       in_quotes(file.compression) +
                                       ", of which only gzip is known");
  disk.facts = disk.gzip ? probe_gzip(disk, described.capacity) : probe_range(disk);
  bind_extents(disk);
  check_capacity(described, disk, warnings);
  if (described.format.find("vmdk") != std::string::npos && disk.facts.format != "vmdk")
    warnings.push_back("the descriptor calls " + in_quotes(disk.file) + " a VMDK, but it is " +
                       disk.facts.format);
}

void DiskBinder::bind_image(Piece piece, Disk& disk) const {
  disk.file = piece.name;
  disk.range = Range({std::move(piece)});
  disk.expected.emplace_back();
  disk.facts = probe_range(disk);
  bind_extents(disk);
  disk.capacity = disk.facts.capacity;
}

/// NAME.000000000 and on, as many as the size calls for, or as are there.
Range DiskBinder::chunks(const OvfFile& file) const {
  std::vector<Piece> pieces;
  const uint64_t count =
      file.size ? *file.size / file.chunk_size + (*file.size % file.chunk_size != 0) : 0;
  for (std::size_t i = 0; count == 0 || i < count; ++i) {
    std::string digits = std::to_string(i);
    digits.insert(0, 9 - std::min<std::size_t>(9, digits.size()), '0');
    const std::string href = file.href + "." + digits;
    if (i == kMaxChunks)
      throw Error(HYPER_UNSUPPORTED, in_quotes(file.href) + " is in more than " +
                                         std::to_string(kMaxChunks) + " chunks")
          .hint("Join the chunks to one file and remove ovf:chunkSize from the descriptor.");
    if (count == 0 && i != 0) {
      auto piece =
          find_reference(package_, base_, href, "the descriptor " + in_quotes(descriptor_));
      if (!piece) break;
      pieces.push_back(std::move(*piece));
    } else {
      pieces.push_back(find_file(href));
    }
  }
  return Range(std::move(pieces));
}

DiskFacts DiskBinder::probe_range(const Disk& disk) const {
  const Range& range = disk.range;
  return probe_disk({disk.file, range.size(), true,
                     [&](uint64_t offset, void* buf, std::size_t len) -> std::size_t {
                       if (offset >= range.size()) return 0;
                       const auto here = std::min<uint64_t>(len, range.size() - offset);
                       range.read(offset, buf, here);
                       return here;
                     }});
}

DiskFacts DiskBinder::probe_gzip(const Disk& disk, uint64_t capacity) const {
  std::vector<char> head(kGzipPeek);
  GzipReader reader(disk.range, UINT64_MAX);
  std::size_t have = 0;
  bool whole = false;
  try {
    while (!whole && have < head.size()) {
      const std::size_t got =
          reader.read(head.data() + have, std::min(kGzipStep, head.size() - have));
      have += got;
      whole = got == 0;
    }
  } catch (const Error&) {
    if (have == 0) throw;  // else the headers may be sound, and reading the disk will tell
  }
  DiskFacts facts = probe_disk(
      {disk.file, have, whole, [&](uint64_t offset, void* buf, std::size_t len) -> std::size_t {
         if (offset >= have) return 0;
         const auto here = std::min<uint64_t>(len, have - offset);
         std::memcpy(buf, head.data() + offset, here);
         return here;
       }});
  if (!facts.extents.empty())
    throw Error(HYPER_UNSUPPORTED, "the compressed file " + in_quotes(disk.file) +
                                       " is a VMDK descriptor whose extents lie in other files");
  if (facts.capacity == 0 && capacity == 0)
    throw Error(HYPER_CORRUPT, "neither the descriptor nor the compressed file " +
                                   in_quotes(disk.file) + " tells the disk's capacity");
  return facts;
}

void DiskBinder::bind_extents(Disk& disk) const {
  std::vector<Piece> pieces;
  for (const VmdkExtent& extent : disk.facts.extents) {
    if (extent.file.empty()) continue;
    check_inside(extent.file, "the VMDK descriptor " + in_quotes(disk.file));
    if (extent.file.find(':') != std::string::npos)  // QEMU would take it for a protocol
      throw Error(HYPER_AUTH, "the VMDK descriptor " + in_quotes(disk.file) + " refers to " +
                                  in_quotes(extent.file) + ", which could be taken for a URL");
    auto piece = package_.find(disk.base + extent.file);
    if (!piece)
      throw Error(HYPER_NOTFOUND, "the extent " + in_quotes(extent.file) + " of the VMDK " +
                                      in_quotes(disk.file) + " is not beside it")
          .hint("Copy or export the disk again, with all of its files.");
    const bool seen = std::any_of(pieces.begin(), pieces.end(),
                                  [&](const Piece& other) { return other.name == piece->name; });
    if (seen) continue;  // two extents in one file
    if (pieces.size() == kMaxChunks)
      throw Error(HYPER_UNSUPPORTED, "the VMDK " + in_quotes(disk.file) + " has too many extents");
    disk.expected.push_back(expected_of_(piece->name));
    pieces.push_back(std::move(*piece));
  }
  disk.extras = Range(std::move(pieces));
}

void DiskBinder::check_capacity(const OvfDisk& described, Disk& disk,
                                std::vector<std::string>& warnings) const {
  const uint64_t real = disk.facts.capacity;
  disk.capacity = real != 0 ? real : described.capacity;
  if (real == 0 || described.capacity == 0 || real == described.capacity) return;
  const uint64_t difference =
      real > described.capacity ? real - described.capacity : described.capacity - real;
  const std::string text = "the descriptor gives the disk " + in_quotes(described.id) +
                           " a capacity of " + std::to_string(described.capacity) +
                           " bytes, but its image " + in_quotes(disk.file) + " has " +
                           std::to_string(real);
  // Rounding to the unit, or to whole megabytes, is what exporters do.
  if (difference >= std::max(described.unit, kCapacitySlack))
    throw Error(HYPER_CORRUPT, text)
        .hint("Export the package again, or give the path of the disk image itself.");
  warnings.push_back(text);
}

}  // namespace hyper::ovf
