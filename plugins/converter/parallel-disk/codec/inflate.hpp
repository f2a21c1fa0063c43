// SPDX-License-Identifier: Apache-2.0
// Decompression of one unit (grain, cluster). One per worker.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "format/image_map.hpp"

namespace hyper::disk {

struct Inflated {
  std::size_t consumed = 0;  ///< bytes of input the stream took
  std::size_t produced = 0;  ///< bytes of output
};

class Inflater {
 public:
  Inflater();
  ~Inflater();
  /// Input behind the end of the stream is ignored. Nothing if the stream is damaged, ends early
  /// or is longer than `out_capacity`.
  std::optional<Inflated> run(Codec codec, const uint8_t* in, std::size_t in_length, uint8_t* out,
                              std::size_t out_capacity);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hyper::disk
