// SPDX-License-Identifier: Apache-2.0
#include "format/vmdk_descriptor.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>

#include "format/bytes.hpp"

namespace hyper::disk {
namespace {

constexpr std::string_view kBlanks = " \t\r";
constexpr std::size_t kMaxExtents = 4096;

std::string_view trim(std::string_view text) {
  const auto from = text.find_first_not_of(kBlanks);
  if (from == std::string_view::npos) return {};
  return text.substr(from, text.find_last_not_of(kBlanks) - from + 1);
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

std::string_view next_line(std::string_view& text) {
  const auto end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

std::string_view next_word(std::string_view& text) {
  text = trim(text);
  const auto end = std::min(text.find_first_of(kBlanks), text.size());
  const std::string_view word = text.substr(0, end);
  text.remove_prefix(end);
  return word;
}

std::string_view unquoted(std::string_view value) {
  if (value.size() >= 2 && value.front() == '"' && value.back() == '"')
    value = value.substr(1, value.size() - 2);
  return value;
}

bool number(std::string_view word, uint64_t& out, int base = 10) {
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), out, base);
  return error == std::errc() && end == word.data() + word.size() && !word.empty();
}

bool is_access(std::string_view word) {
  return word == "RW" || word == "RDONLY" || word == "NOACCESS";
}

// ACCESS SECTORS TYPE ["NAME" [OFFSET]]
bool parse_extent(std::string_view line, VmdkExtentLine& out) {
  out.access = next_word(line);
  if (!number(next_word(line), out.sectors)) return false;
  out.type = next_word(line);
  line = trim(line);
  if (out.type.empty()) return false;
  if (line.empty()) return out.type == "ZERO";
  if (line.front() != '"') return false;
  const auto quote = line.find('"', 1);
  if (quote == std::string_view::npos) return false;
  out.name = line.substr(1, quote - 1);
  line.remove_prefix(quote + 1);
  const std::string_view offset = next_word(line);
  // ESX writes a partition's identity behind the offset of a device; files have nothing more.
  return offset.empty() || number(offset, out.offset);
}

}  // namespace

bool is_vmdk_descriptor(std::string_view text) {
  if (text.substr(0, 3) == "\xef\xbb\xbf") text.remove_prefix(3);
  while (!text.empty()) {
    const std::string line = lower(trim(next_line(text)));
    if (line.rfind("# disk descriptorfile", 0) == 0) return true;
    if (line.empty() || line.front() == '#') continue;
    return line.rfind("version=", 0) == 0 || line.rfind("version =", 0) == 0;
  }
  return false;
}

VmdkDescriptor parse_vmdk_descriptor(std::string_view text, const ImageFile& file,
                                     uint64_t text_offset) {
  VmdkDescriptor out;
  uint64_t sectors = 0;
  const char* const begin = text.data();
  while (!text.empty()) {
    const uint64_t line_offset = static_cast<uint64_t>(text.data() - begin);
    const std::string_view line = trim(next_line(text));
    if (line.empty() || line.front() == '#') continue;
    std::string_view rest = line;
    if (is_access(next_word(rest))) {
      VmdkExtentLine extent;
      extent.text_offset = text_offset + line_offset;
      if (!parse_extent(line, extent))
        throw file.corrupt(extent.text_offset, "an extent of the descriptor cannot be read");
      if (extent.sectors == 0) continue;
      if (extent.sectors > static_cast<uint64_t>(INT64_MAX) / kSector - sectors)
        throw file.corrupt(extent.text_offset, "extents of an impossible size");
      sectors += extent.sectors;
      if (out.extents.size() == kMaxExtents)
        throw file.unsupported("more than " + std::to_string(kMaxExtents) + " extents");
      out.extents.push_back(std::move(extent));
      continue;
    }
    const auto equals = line.find('=');
    if (equals == std::string_view::npos) continue;
    const std::string key = lower(trim(line.substr(0, equals)));
    const std::string_view value = unquoted(trim(line.substr(equals + 1)));
    if (key == "createtype") {
      const bool plain = value.size() <= 32 && std::all_of(value.begin(), value.end(), [](char c) {
                           return std::isalnum(static_cast<unsigned char>(c)) != 0;
                         });
      if (plain) out.create_type = value;
    } else if (key == "parentcid") {
      uint64_t cid = 0;
      if (!number(value, cid, 16))
        throw file.corrupt(text_offset + line_offset, "the descriptor's parentCID cannot be read");
      if (cid != 0xffffffffu)
        throw file
            .unsupported("this is a delta link (parentCID " + std::string(value.substr(0, 8)) +
                         "), not a whole disk")
            .hint("consolidate or remove the VM's snapshots, or export the disk whole");
    } else if (key == "encryption.keysafe") {
      throw file.unsupported("the disk is encrypted").hint("decrypt the VM before migrating it");
    }
  }
  out.virtual_size = sectors * kSector;
  return out;
}

void check_vmdk_extent_name(const std::string& name) {
  if (name.empty() || name == "." || name == ".." ||
      name.find_first_of(std::string("/\\\0", 3)) != std::string::npos)
    throw Error(HYPER_AUTH, "vmdk: the extent's file '" + name +
                                "' is not a name of a file beside the descriptor")
        .hint("disks on devices and in other folders are not read: export the disk");
}

}  // namespace hyper::disk
