// SPDX-License-Identifier: Apache-2.0
// The connection of the storage plugin "azure-blob": the plan's options made into a service and its
// settings. Any thread.
#ifndef HYPERHOST_AZURE_AZURE_STORAGE_HPP
#define HYPERHOST_AZURE_AZURE_STORAGE_HPP

#include "plugins/storage/object/object_storage.hpp"

namespace hyper::azure {

class AzureStorage final : public object::ObjectStorage {
 public:
  static std::unique_ptr<AzureStorage> connect(const Doc& config, Op op);
  /// What the schema cannot say. Throws HYPER_CONFIG.
  static void validate(const Doc& config, Op op);
  using object::ObjectStorage::ObjectStorage;
};

}  // namespace hyper::azure

#endif
