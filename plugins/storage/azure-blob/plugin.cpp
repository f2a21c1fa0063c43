// SPDX-License-Identifier: Apache-2.0
// The plugin "azure-blob": interface hyper.storage/1 over a container.
#include <hyper/plugin.hpp>

#include "plugins/storage/azure-blob/azure_storage.hpp"

namespace {
struct AzureBlob {
  using Interfaces = hyper::Interfaces<hyper::Storage<hyper::azure::AzureStorage>>;
  static constexpr int32_t kThreads = HYPER_THREADS_PARALLEL;
  static void validate(const std::string&, const hyper::Doc& config, hyper::Op op) {
    hyper::azure::AzureStorage::validate(config, op);
  }
};
}  // namespace

HYPER_PLUGIN(AzureBlob)
