// SPDX-License-Identifier: Apache-2.0
// A conversion request (hyper/converter.h) as a value.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace hyper::disk {

enum class Compression : uint8_t { kNone, kZlib, kZstd, kKeep };

struct Request {
  std::string source_format;  ///< "" = found out from the content
  std::optional<uint64_t> source_length;
  std::vector<std::string> source_access;
  std::string target_format;  ///< raw, qcow2, vhd, vmdk
  std::string subformat;      ///< vhd: dynamic, fixed; vmdk: streamOptimized
  Compression compression = Compression::kNone;
  int level = 0;
  uint64_t cluster_bytes = 64u << 10;
  std::optional<uint64_t> virtual_size;
  bool deterministic = false;  ///< no random identifiers in the image
  bool digest = false;
  bool durable = false;                              ///< durability: file
  uint64_t checkpoint_bytes = 0, checkpoint_ms = 0;  ///< 0 = none are wanted
  std::string checkpoint_state;                      ///< JSON; "" = from the front

  bool source_can(const std::string& access) const;
};

/// Throws HYPER_CONFIG for what is wrong and HYPER_UNSUPPORTED for what this plugin does not write.
Request parse_request(const std::string& json, bool strict_deflate);

}  // namespace hyper::disk
