// SPDX-License-Identifier: Apache-2.0
// The connection of the storage plugin "gcs": the JSON API, or with an HMAC key the XML API, which
// is S3's protocol. Any thread.
#ifndef HYPERHOST_GCS_GCS_STORAGE_HPP
#define HYPERHOST_GCS_GCS_STORAGE_HPP

#include "plugins/storage/object/object_storage.hpp"

namespace hyper::gcs {

class GcsStorage final : public object::ObjectStorage {
 public:
  static std::unique_ptr<GcsStorage> connect(const Doc& config, Op op);
  /// What the schema cannot say. Throws HYPER_CONFIG.
  static void validate(const Doc& config, Op op);
  using object::ObjectStorage::ObjectStorage;
};

}  // namespace hyper::gcs

#endif
