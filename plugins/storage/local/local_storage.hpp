// SPDX-License-Identifier: Apache-2.0
// The connection of the storage plugin "local": keys are files under one directory. Holds no
// descriptor between calls; any thread.
#ifndef HYPERHOST_STORAGE_LOCAL_LOCAL_STORAGE_HPP
#define HYPERHOST_STORAGE_LOCAL_LOCAL_STORAGE_HPP

#include <hyper/interfaces.hpp>
#include <memory>
#include <string>

#include "plugins/storage/local/rooted_directory.hpp"

namespace hyperhost::storage_local {

class LocalStorage final : public hyper::StorageConnection {
 public:
  static std::unique_ptr<LocalStorage> connect(const hyper::Doc& config, hyper::Op op);
  explicit LocalStorage(RootedDirectory root) : root_(std::move(root)) {}

  std::string info(hyper::Op op) override;
  std::unique_ptr<hyper::Sink> put(hyper::Op op, const hyper::Doc& request) override;
  std::unique_ptr<hyper::Source> get(hyper::Op op, const std::string& key) override;
  std::string stat(hyper::Op op, const std::string& key) override;
  /// In the order of the names, directory by directory. Unfinished files are not listed.
  void list(hyper::Op op, const std::string& prefix, const hyper::Emit& emit) override;
  void remove(hyper::Op op, const std::string& key) override;
  void undo(hyper::Op op, const hyper::Doc& entry) override;

 private:
  RootedDirectory root_;
};

}  // namespace hyperhost::storage_local

#endif
