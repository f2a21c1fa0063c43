// SPDX-License-Identifier: Apache-2.0
// The connection of the storage plugin "s3": the plan's options made into a service and its
// settings. Any thread.
#ifndef HYPERHOST_S3_S3_STORAGE_HPP
#define HYPERHOST_S3_S3_STORAGE_HPP

#include "plugins/storage/object/object_storage.hpp"

namespace hyper::s3 {

class S3Storage final : public object::ObjectStorage {
 public:
  static std::unique_ptr<S3Storage> connect(const Doc& config, Op op);
  /// What the schema cannot say. Throws HYPER_CONFIG.
  static void validate(const Doc& config, Op op);
  using object::ObjectStorage::ObjectStorage;
};

}  // namespace hyper::s3

#endif
