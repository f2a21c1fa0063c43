// SPDX-License-Identifier: Apache-2.0
// The packages under the configured path, and the VMs in them by name. A directory is read
// again for each call; what a package holds is remembered until the package changes. Thread-safe.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <hyper/op.hpp>

#include "contents.hpp"

namespace hyper::ovf {

/// A VM somewhere under the path.
struct Listed {
  std::string ref;  ///< relative path of the package; "…#id" where it holds several VMs
  std::string name, id, path;
  std::size_t index = 0;  ///< within its package
  std::size_t disks = 0;
  uint64_t bytes = 0;
  PackageKind kind = PackageKind::kImage;
};

class Catalog {
 public:
  Catalog(const std::string& path, bool recursive, bool verify_checksums);

  /// Each VM, package by package. A package that cannot be read is reported as a warning, or ends
  /// the call if it is the only one configured.
  void list(Op op, const std::function<void(const Listed&)>& on_vm);

  /// The VM by ref, path, file name, name, stem or id: the first of these that anything matches.
  /// HYPER_NOTFOUND with names that are near, HYPER_CONFIG with the candidates.
  Listed find(Op op, const std::string& vm);

  /// The package of a VM, and the VM in it.
  std::pair<std::shared_ptr<const Contents>, const Vm*> load(const Listed& listed) const;

  bool verify_checksums() const { return verify_; }

 private:
  struct Entry {
    PackageKind kind = PackageKind::kImage;
    std::string path, relative;
  };
  using Vms = std::vector<Listed>;

  std::vector<Entry> scan(Op op) const;
  void scan_directory(Op op, const std::string& directory, int depth,
                      std::vector<Entry>& out) const;
  Vms vms_of(const Entry& entry);

  std::string path_;
  bool directory_ = false, recursive_, verify_;
  std::mutex mutex_;
  std::map<std::string, std::pair<Stamp, Vms>> known_;  // by path
};

/// At most five of the names, the nearest first, that `wanted` may have been meant to be.
std::vector<std::string> near_names(const std::string& wanted,
                                    const std::vector<std::string>& names);

}  // namespace hyper::ovf
