// SPDX-License-Identifier: Apache-2.0
// The plugin "local": interface hyper.storage/1 over a directory.
#include <hyper/plugin.hpp>

#include "plugins/storage/local/local_storage.hpp"

namespace {
struct Local {
  using Interfaces = hyper::Interfaces<hyper::Storage<hyperhost::storage_local::LocalStorage>>;
  static constexpr int32_t kThreads = HYPER_THREADS_PARALLEL;
};
}  // namespace

HYPER_PLUGIN(Local)
