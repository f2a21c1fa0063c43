// SPDX-License-Identifier: Apache-2.0
// The plugin "gcs": interface hyper.storage/1 over a bucket.
#include <hyper/plugin.hpp>

#include "plugins/storage/gcs/gcs_storage.hpp"

namespace {
struct Gcs {
  using Interfaces = hyper::Interfaces<hyper::Storage<hyper::gcs::GcsStorage>>;
  static constexpr int32_t kThreads = HYPER_THREADS_PARALLEL;
  static void validate(const std::string&, const hyper::Doc& config, hyper::Op op) {
    hyper::gcs::GcsStorage::validate(config, op);
  }
};
}  // namespace

HYPER_PLUGIN(Gcs)
