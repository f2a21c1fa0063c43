// SPDX-License-Identifier: Apache-2.0
#include "plugins/converter/qemu-img/image_spec.hpp"

#include <nlohmann/json.hpp>

namespace hyperhost::qemu_img {
namespace {

constexpr uint64_t kSectorBytes = 512;

/// QEMU wants a range of whole sectors. In a tar archive the rest of a member's last sector is
/// padding; elsewhere other bytes would be taken for the disk's.
uint64_t whole_sectors(const FileView& image) {
  const uint64_t rest = image.length() % kSectorBytes;
  if (rest == 0) return image.length();
  const uint64_t rounded = image.length() + (kSectorBytes - rest);
  if (rounded > image.file_length() - image.offset() || !image.zeros_behind(rounded)) {
    throw hyper::Error(HYPER_UNSUPPORTED,
                       image.shown() +
                           " does not end at a whole sector, and qemu-img cannot read "
                           "it in place")
        .hint("extract it to a file of its own");
  }
  return rounded;
}

}  // namespace

std::string image_spec(const FileView& image, const std::string& format) {
  using nlohmann::json;
  json node{{"driver", image.block_device() ? "host_device" : "file"}, {"filename", image.path()}};
  if (!image.whole()) {
    node = json{{"driver", "raw"},
                {"offset", image.offset()},
                {"size", whole_sectors(image)},
                {"file", std::move(node)}};
  }
  json top{{"driver", format}, {"file", std::move(node)}};
  // Checked before, and here made impossible: whatever the file says now, nothing else is opened.
  if (format != "raw") top["backing"] = nullptr;
  try {
    return "json:" + top.dump();
  } catch (const json::exception&) {
    throw hyper::Error(HYPER_UNSUPPORTED,
                       "the path of the image is not UTF-8 and cannot be "
                       "passed to qemu-img safely")
        .hint("rename the file or its directory");
  }
}

}  // namespace hyperhost::qemu_img
