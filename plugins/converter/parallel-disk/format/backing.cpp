// SPDX-License-Identifier: Apache-2.0
#include "format/backing.hpp"

#include <algorithm>
#include <array>

#include "format/bytes.hpp"

namespace hyper::disk {
namespace {

constexpr uint32_t kFormatExtension = 0xe2792aca;
constexpr uint64_t kLongestName = 1023;  // as the format has it
constexpr uint64_t kLongestFormat = 15;

/// The name's own file beside the image. What QEMU would take for more than that is refused.
std::string file_beside(const ImageFile& overlay, std::string name) {
  while (name.compare(0, 2, "./") == 0) name.erase(0, 2);
  const bool plain = !name.empty() && name != "." && name != ".." &&
                     name.find_first_of(std::string("/\\:\0", 4)) == std::string::npos;
  if (plain) return name;
  Error error(HYPER_AUTH, overlay.unsupported("the backing file '" + name + "'").what() +
                              std::string(" is not a name of a file beside the image"));
  error.hint(
      "put the whole chain into one directory and name it there: qemu-img rebase -u -F "
      "FORMAT -b NAME IMAGE");
  throw error;
}

/// The name of the image on top, where its source tells.
std::string own_name(Op op, const SourceRef& source) {
  if (!source.can(HYPER_SOURCE_FILE)) return {};
  const std::string path = source.locate(op).path;
  return path.substr(path.rfind('/') + 1);
}

}  // namespace

BackingName read_backing_name(Op op, const ImageFile& file, uint64_t offset, uint64_t length,
                              uint64_t extensions, uint64_t cluster) {
  BackingName out;
  if (offset == 0) return out;
  if (length == 0 || length > kLongestName || offset > cluster || length > cluster - offset)
    throw file.corrupt(8, "an impossible place of the backing file's name");
  out.name.resize(length);
  file.read(op, offset, out.name.data(), length, "the backing file's name");
  for (uint64_t at = extensions; at + 8 <= offset;) {
    std::array<uint8_t, 8> head;
    file.read(op, at, head.data(), head.size(), "a header extension");
    const uint32_t type = be32(head.data()), bytes = be32(&head[4]);
    at += head.size();
    if (type == 0) break;
    if (bytes > offset - at) throw file.corrupt(at - 4, "an impossible header extension");
    if (type == kFormatExtension) {
      if (bytes > kLongestFormat) throw file.corrupt(at - 4, "an impossible backing format");
      out.format.resize(bytes);
      file.read(op, at, out.format.data(), bytes, "the backing file's format");
    }
    at += (uint64_t{bytes} + 7) / 8 * 8;
  }
  return out;
}

std::unique_ptr<BackingImage> open_backing(Op op, const ImageFile& overlay,
                                           const BackingName& below, const Backing& backing) {
  if (!backing.allowed)
    throw overlay.unsupported("the image is an overlay of the backing file '" + below.name + "'")
        .hint(
            "allow it (option allow_backing of parallel-disk), or flatten it: qemu-img convert "
            "reads the whole chain");
  const std::string name = file_beside(overlay, below.name);
  // A format that is found out would be the guest's choice: what it writes to a raw disk could say
  // that there is a further file below.
  if (below.format.empty())
    throw overlay
        .unsupported("the image does not say which format its backing file '" + name + "' has")
        .hint("say it: qemu-img rebase -u -F FORMAT -b " + name + " IMAGE");
  if (below.format != "qcow2" && below.format != "raw")
    throw overlay
        .unsupported("the backing file '" + name + "' is of the format '" + below.format +
                     "', not qcow2 or raw")
        .hint("flatten the chain: qemu-img convert reads all of it");
  const SourceRef& package = backing.package != nullptr ? *backing.package : overlay.source();
  Backing next = backing;
  next.package = &package;
  if (next.names.empty()) next.names.push_back(own_name(op, package));
  if (std::find(next.names.begin(), next.names.end(), name) != next.names.end())
    throw overlay.corrupt(8, "the chain of backing files comes back to '" + name + "'");
  if (next.names.size() > Backing::kMost)
    throw overlay.unsupported("more than " + std::to_string(Backing::kMost) + " backing files")
        .hint("shorten the chain: qemu-img commit or qemu-img rebase");
  next.names.push_back(name);
  if (!package.can(HYPER_SOURCE_SIBLING))
    throw overlay
        .unsupported("the image names the backing file '" + name +
                     "', but its source offers this one file only")
        .hint("give the image in its directory, with the whole chain beside it");
  auto image = std::make_unique<BackingImage>();
  image->source = open_sibling(package, op, name);
  image->map = open_image(op, *image->source, below.format, next);
  return image;
}

}  // namespace hyper::disk
