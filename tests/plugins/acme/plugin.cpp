// SPDX-License-Identifier: Apache-2.0
// A third party's plugin, as the tests of open formats and destinations need one.
#include "image.hpp"
#include "store.hpp"

namespace {

struct Acme {
  using Interfaces = hyper::Interfaces<hyper::Converter<acme::Converter>, hyper::Image<acme::Image>,
                                       hyper::Storage<acme::Store>>;
  static constexpr int32_t kThreads = HYPER_THREADS_PARALLEL;
};

}  // namespace

HYPER_PLUGIN(Acme)
