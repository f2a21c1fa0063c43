// SPDX-License-Identifier: Apache-2.0
// A connected storage for the cases of hyper.storage/1: each call named before it is made, each
// answer held against its schema. One thread, except write().
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/check/run.hpp"
#include "core/check/test_disks.hpp"
#include "core/check/traces.hpp"

namespace hyperhost::check {

class CheckedStore {
 public:
  /// Connects, or ends the case as skipped.
  explicit CheckedStore(Run& run);
  StorageHandle& operator*() { return *storage_; }

  /// Keys of this run alone begin with it: a bucket may hold other things.
  static const std::string& prefix();
  static nlohmann::json request(const std::string& key, uint64_t length, bool overwrite = false);

  nlohmann::json stat(const std::string& key);
  std::vector<std::string> list(const std::string& prefix);
  void remove(const std::string& key);
  std::unique_ptr<SinkHandle> put(const std::string& key, uint64_t length, bool overwrite = false);
  nlohmann::json commit(SinkHandle& sink, const std::string& key, uint64_t length);
  /// The whole object; length: that it should have. A failure is a finding, and gives nothing.
  Bytes get(const std::string& key, uint64_t length);

  /// Writes all of `bytes` in the sink's way, out of order where it may be.
  void write(const SinkHandle& sink, const Bytes& bytes, Operation& op);
  /// A size with an odd end that the sink takes in several pieces.
  uint64_t size_for(const SinkHandle& sink) const;
  /// put, write, commit.
  void store(const std::string& key, const Bytes& bytes, bool overwrite = false);

  /// Files in the directory that the suite made for the storage; 0 where it made none.
  std::size_t files() const;

 private:
  Run& run_;
  std::unique_ptr<StorageHandle> storage_;
};

}  // namespace hyperhost::check
