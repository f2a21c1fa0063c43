// SPDX-License-Identifier: Apache-2.0
// The image interface of the plugin: the guest-visible bytes and extents of any image it reads.
#pragma once

#include <memory>
#include <string>

#include <hyper/interfaces.hpp>

namespace hyper::disk {

struct ImageReader {
  static std::string probe(const Doc& config, Op op, SourceRef source);
  static std::unique_ptr<Source> open(const Doc& config, Op op, SourceRef source,
                                      const Doc& request);
};

}  // namespace hyper::disk
