// SPDX-License-Identifier: Apache-2.0
#include "plugins/converter/qemu-img/vmdk_descriptor.hpp"

#include <algorithm>
#include <cctype>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <hyper/error.hpp>

namespace hyperhost::qemu_img {
namespace {

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

/// The value of `key=value` on a line, without quotes; false if the line is another.
bool value_of(const std::string& line, const char* key, std::string& value) {
  const std::size_t equals = line.find('=');
  if (equals == std::string::npos) return false;
  std::string name = line.substr(0, equals);
  name.erase(
      std::remove_if(name.begin(), name.end(), [](unsigned char c) { return std::isspace(c); }),
      name.end());
  if (lower(name) != lower(key)) return false;
  value.clear();
  for (const char c : line.substr(equals + 1))
    if (c != '"' && std::isspace(static_cast<unsigned char>(c)) == 0) value += c;
  return true;
}

uint64_t little_endian(const char* bytes) {
  uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

}  // namespace

VmdkDescriptor parse_vmdk_descriptor(const std::string& bytes) {
  VmdkDescriptor descriptor;
  // NOLINTNEXTLINE(readability-redundant-string-cstr): QEMU, too, stops at a NUL
  const std::string text = bytes.c_str();
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string line = text.substr(begin, end - begin);
    std::string value;
    if (value_of(line, "parentCID", value) && lower(value) != "ffffffff")
      descriptor.has_parent = true;
    if (value_of(line, "parentFileNameHint", value)) descriptor.has_parent = true;
    if (value_of(line, "createType", value)) descriptor.create_type = value;

    // As QEMU reads it, from the line's beginning on: a blank in the format also matches a line's
    // end, so a name may stand on the line after.
    char access[16] = "", type[16] = "", file[1024] = "";
    int64_t sectors = 0, flat = 0;
    const int fields =  // NOLINTNEXTLINE(cert-err34-c): and so does QEMU
        std::sscanf(text.c_str() + begin, "%15s %" SCNd64 " %15s \"%1023[^\n\r\"]\" %" SCNd64,
                    access, &sectors, type, file, &flat);
    const bool extent_word = std::strcmp(access, "RW") == 0 || std::strcmp(access, "RDONLY") == 0 ||
                             std::strcmp(access, "NOACCESS") == 0;
    if (fields >= 3 && extent_word) {
      if (sectors < 0 || flat < 0)
        throw hyper::Error(HYPER_CORRUPT, "the VMDK descriptor has an extent of negative size");
      descriptor.extents.push_back({access, type, fields >= 4 ? file : "",
                                    static_cast<uint64_t>(sectors), static_cast<uint64_t>(flat)});
    }
    begin = end + 1;
  }
  return descriptor;
}

void neutralise_vmdk_name(const std::string& path) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  char header[512] = "";
  if (!file.read(header, sizeof header) || std::memcmp(header, "KDMV", 4) != 0)
    throw hyper::Error(HYPER_IO, "cannot read the header of the VMDK just written", path);
  const uint64_t at = little_endian(header + 28) * 512, room = little_endian(header + 36) * 512;
  if (at == 0 || room == 0 || room > (1u << 20)) return;  // no embedded descriptor
  std::string text(static_cast<std::size_t>(room), '\0');
  if (!file.seekg(static_cast<std::streamoff>(at)) ||
      !file.read(text.data(), static_cast<std::streamsize>(room)))
    throw hyper::Error(HYPER_IO, "cannot read the descriptor of the VMDK just written", path);
  const std::size_t sparse = text.find(" SPARSE \"");
  if (sparse == std::string::npos) return;
  const std::size_t name = sparse + std::strlen(" SPARSE \"");
  const std::size_t quote = text.find('"', name);
  if (quote == std::string::npos) return;
  text.replace(name, quote - name, "disk.vmdk");
  text.resize(static_cast<std::size_t>(room), '\0');
  if (!file.seekp(static_cast<std::streamoff>(at)) ||
      !file.write(text.data(), static_cast<std::streamsize>(room)) || !file.flush())
    throw hyper::Error(HYPER_IO, "cannot write the descriptor of the VMDK", path);
}

}  // namespace hyperhost::qemu_img
