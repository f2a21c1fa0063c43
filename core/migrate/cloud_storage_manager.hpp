// SPDX-License-Identifier: Apache-2.0
// Puts finished files into a store through its plugin: whole files, from local disk, in parallel
// where the store takes parts. Thread-safe.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "core/plugin/handles.hpp"

namespace hyperhost {

struct UploadOptions {
  bool overwrite = false;
  bool adopt = false;  ///< an object that is there and the same will do
  std::string durability = "file";
  std::chrono::seconds presign{0};  ///< 0 = no URL
  /// Called when the object has its name and was not there before. The upload may fail after that.
  std::function<void()> on_new = {};
  std::string content_type = "application/json";  ///< of a text
};

struct UploadResult {
  std::string key, location;
  std::string checksum;  ///< as the store keeps it; may be empty
  std::string url;       ///< presigned, where asked for
  uint64_t bytes = 0;
  bool adopted = false;  ///< it was there before, the same
};

/// Every upload ends with a look at the store: there, as long as sent, with the checksum of what
/// was sent where the store keeps one. Throws Error; nothing visible is left behind then but what
/// on_new was called for, and an object whose store gave an UnusableAnswer.
class CloudStorageManager {
 public:
  explicit CloudStorageManager(StorageHandle& store) : store_(store) {}

  UploadResult upload_file(const std::string& path, const std::string& key,
                           const UploadOptions& options, Operation& op,
                           const std::function<void(uint64_t done, uint64_t total)>& on_progress);
  /// A small object, e.g. a manifest.
  UploadResult upload_text(const std::string& text, const std::string& key,
                           const UploadOptions& options, Operation& op);

 private:
  UploadResult commit(SinkHandle& sink, const std::string& key, uint64_t bytes,
                      const UploadOptions& options, Operation& op);
  void check_stored(const UploadResult& result, Operation& op);

  StorageHandle& store_;
};

}  // namespace hyperhost
