// SPDX-License-Identifier: Apache-2.0
#include "null_storage.hpp"

struct NewerMinor {
  using Interfaces = hyper::Interfaces<hyper::Storage<NullStorage>>;
  static constexpr int32_t kThreads = HYPER_THREADS_PARALLEL;
};
HYPER_PLUGIN(NewerMinor)
