// SPDX-License-Identifier: Apache-2.0
#include "null_storage.hpp"

extern "C" void nobody_defines_this();

struct UndefinedSymbol {
  using Interfaces = hyper::Interfaces<hyper::Storage<NullStorage>>;
  static constexpr int32_t kThreads = HYPER_THREADS_PARALLEL;
  static void stop() { nobody_defines_this(); }
};
HYPER_PLUGIN(UndefinedSymbol)
