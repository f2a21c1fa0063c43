// SPDX-License-Identifier: Apache-2.0
// What an image is, judged by its content and never by its name, and the one door to all parsers.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "format/image_map.hpp"

namespace hyper::disk {

struct ImageInfo {
  std::string format;     ///< "vmdk", "qcow2", "vhd", "vhdx", "vdi", "raw"
  std::string subformat;  ///< "streamOptimized", "dynamic" …; may be empty
  uint64_t virtual_size = 0;
};

/// The format's name; also of a few that this plugin only recognises ("qed", "parallels",
/// "qcow"), so that they are refused instead of being taken for raw disks. What has no format's
/// signature is "raw"; what has one is never raw, however damaged the rest may be.
std::string detect_format(Op op, const SourceRef& source);

/// The files that may be opened because an overlay names them as what lies below it.
struct Backing {
  static constexpr std::size_t kMost = 16;
  bool allowed = false;
  const SourceRef* package = nullptr;   ///< whose siblings they are; null = of the image opened
  std::vector<std::string> names = {};  ///< from the top down to the image that is opened
};

/// format "" = detect; "vpc" is another name of "vhd". Throws HYPER_CONFIG if the content is not of
/// the format asked for ("raw" accepts all content), HYPER_UNSUPPORTED for a format that is not
/// read here, and what the parser throws. The map borrows `source`.
std::unique_ptr<ImageMap> open_image(Op op, const SourceRef& source, const std::string& format,
                                     const Backing& backing = {});

ImageInfo probe_image(Op op, const SourceRef& source, const Backing& backing = {});

std::unique_ptr<ImageMap> open_qcow2(Op op, const SourceRef& source, const Backing& backing);
std::unique_ptr<ImageMap> open_raw(Op op, const SourceRef& source, const Backing& backing = {});

}  // namespace hyper::disk
