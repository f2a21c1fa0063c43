// SPDX-License-Identifier: Apache-2.0
#include <hyper/plugin.hpp>

#include "convert.hpp"
#include "image_source.hpp"

namespace {

struct Plugin {
  using Interfaces = hyper::Interfaces<hyper::Converter<hyper::disk::ParallelDisk>,
                                       hyper::Image<hyper::disk::ImageReader>>;
  static constexpr int32_t kThreads = HYPER_THREADS_PARALLEL;
};

}  // namespace

HYPER_PLUGIN(Plugin)
