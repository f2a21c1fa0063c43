// SPDX-License-Identifier: Apache-2.0
// Puts finished files into a store through its plugin: whole files, from local disk, in parallel
// where the store takes parts. Thread-safe.
#pragma once

#include <functional>
#include <string>

#include "core/plugin/handles.hpp"

namespace hyperhost {

struct UploadResult {
  std::string key, location, checksum;
  uint64_t bytes = 0;
};

class CloudStorageManager {
 public:
  explicit CloudStorageManager(StorageHandle& store) : store_(store) {}

  /// Throws Error; nothing visible is left behind then.
  UploadResult upload_file(const std::string& path, const std::string& key, bool overwrite,
                           Operation& op,
                           const std::function<void(uint64_t done, uint64_t total)>& on_progress);
  /// A small object, e.g. a manifest.
  UploadResult upload_text(const std::string& text, const std::string& key, bool overwrite,
                           const std::string& durability, Operation& op);

 private:
  StorageHandle& store_;
};

}  // namespace hyperhost
