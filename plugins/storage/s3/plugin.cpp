// SPDX-License-Identifier: Apache-2.0
// The plugin "s3": interface hyper.storage/1 over a bucket.
#include <hyper/plugin.hpp>

#include "plugins/storage/s3/s3_storage.hpp"

namespace {
struct S3 {
  using Interfaces = hyper::Interfaces<hyper::Storage<hyper::s3::S3Storage>>;
  static constexpr int32_t kThreads = HYPER_THREADS_PARALLEL;
  static void validate(const std::string&, const hyper::Doc& config, hyper::Op op) {
    hyper::s3::S3Storage::validate(config, op);
  }
};
}  // namespace

HYPER_PLUGIN(S3)
