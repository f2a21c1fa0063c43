// SPDX-License-Identifier: Apache-2.0
#include "vmdk_descriptor.hpp"

#include <algorithm>
#include <sstream>

#include <hyper/error.hpp>

#include "package.hpp"
#include "units.hpp"

namespace hyper::ovf {
namespace {

std::string unquoted(std::string text) {
  text = trimmed(text);
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"')
    return text.substr(1, text.size() - 2);
  return text;
}

VmdkExtent parse_extent(const std::string& line, const std::string& where) {
  std::istringstream words(line);
  std::string access, sectors;
  VmdkExtent extent;
  words >> access >> sectors >> extent.type;
  const auto count = parse_number(sectors);
  if (!count || __builtin_mul_overflow(*count, uint64_t{512}, &extent.bytes))
    throw Error(HYPER_CORRUPT, where + " is an extent without a sensible size");
  const std::size_t open = line.find('"');
  const std::size_t close = line.rfind('"');
  if (open != std::string::npos && close > open)
    extent.file = line.substr(open + 1, close - open - 1);
  if (extent.file.empty() && extent.type != "ZERO")
    throw Error(HYPER_CORRUPT, where + " is an extent without a file");
  return extent;
}

}  // namespace

bool mentions_vmdk_parent(const std::string& text) {
  return lower(text).find("parentfilenamehint") != std::string::npos;
}

bool looks_like_vmdk_descriptor(const std::string& text) {
  const std::size_t begin = text.find_first_not_of(" \t\r\n");
  return begin != std::string::npos &&
         lower(text.substr(begin, 22)).rfind("# disk descriptorfile", 0) == 0;
}

VmdkDescriptor parse_vmdk_descriptor(const std::string& text, const std::string& label) {
  VmdkDescriptor out;
  out.has_parent = mentions_vmdk_parent(text);
  std::istringstream lines(text.substr(0, text.find('\0')));
  std::string line;
  for (std::size_t number = 1; std::getline(lines, line); ++number) {
    line = trimmed(line);
    if (line.empty() || line.front() == '#') continue;
    const std::string where =
        "line " + std::to_string(number) + " of the VMDK descriptor '" + label + "'";
    const std::string first = line.substr(0, line.find_first_of(" \t="));
    if (first == "RW" || first == "RDONLY" || first == "NOACCESS") {
      VmdkExtent extent = parse_extent(line, where);
      if (__builtin_add_overflow(out.capacity_bytes, extent.bytes, &out.capacity_bytes))
        throw Error(HYPER_CORRUPT, where + " makes the disk absurdly large");
      out.extents.push_back(std::move(extent));
      continue;
    }
    const std::size_t equals = line.find('=');
    if (equals == std::string::npos) continue;
    const std::string key = lower(trimmed(line.substr(0, equals)));
    const std::string value = unquoted(line.substr(equals + 1));
    if (key == "createtype") out.create_type = value;
    if (key == "parentcid") out.has_parent = out.has_parent || lower(value) != "ffffffff";
  }
  return out;
}

}  // namespace hyper::ovf
