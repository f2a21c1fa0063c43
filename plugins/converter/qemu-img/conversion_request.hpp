// SPDX-License-Identifier: Apache-2.0
// A conversion as requested (converter.h), and the arguments of qemu-img for it. Everything in
// `arguments` is from a fixed list or a number, so no value of a plan can become an option.
#ifndef HYPERHOST_QEMU_IMG_CONVERSION_REQUEST_HPP
#define HYPERHOST_QEMU_IMG_CONVERSION_REQUEST_HPP

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "plugins/converter/qemu-img/settings.hpp"

namespace hyperhost::qemu_img {

struct ConversionRequest {
  std::string source_format;  ///< QEMU's name; "" = to be seen from the content
  std::string target_format;  ///< QEMU's name
  std::string subformat;      ///< "" where the format has none
  std::optional<uint64_t> virtual_size;
  std::vector<std::string> arguments;  ///< of `qemu-img convert`, without files and source format
  bool may_reorder = false;            ///< -W is safe for this target
  bool checkable = false;              ///< `qemu-img check` knows the target's format
  std::vector<std::string> notes;
};

/// Throws HYPER_UNSUPPORTED for what qemu-img cannot do, HYPER_CONFIG for what is malformed.
ConversionRequest parse_request(const std::string& request_json, const Settings& settings);

}  // namespace hyperhost::qemu_img

#endif
