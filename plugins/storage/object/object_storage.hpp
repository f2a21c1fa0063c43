// SPDX-License-Identifier: Apache-2.0
// The connection of a storage plugin for an object store: keys below a prefix, sinks of parts,
// sources of ranges, what was left unfinished aborted, all over a Service. Any thread.
#ifndef HYPERHOST_OBJECT_OBJECT_STORAGE_HPP
#define HYPERHOST_OBJECT_OBJECT_STORAGE_HPP

#include <hyper/interfaces.hpp>
#include <memory>
#include <string>

#include "plugins/storage/object/retry.hpp"
#include "plugins/storage/object/service.hpp"

namespace hyper::object {

struct StoreSettings {
  std::string prefix;        ///< of all keys; "" or ends with '/'
  uint64_t part_size = 0;    ///< at least; grown so that the largest object has few enough parts
  unsigned concurrency = 4;  ///< parts at once
  RetryPolicy retry;
  std::map<std::string, std::string> metadata;  ///< of every object
};

/// The options that all object stores have: prefix, part_size, concurrency, max_attempts,
/// metadata. Throws HYPER_CONFIG.
StoreSettings read_store_settings(const Doc& config);

class ObjectStorage : public StorageConnection {
 public:
  ObjectStorage(std::shared_ptr<Service> service, StoreSettings settings)
      : service_(std::move(service)), settings_(std::move(settings)) {}

  std::string info(Op op) override;
  std::unique_ptr<Sink> put(Op op, const Doc& request) override;
  std::unique_ptr<Source> get(Op op, const std::string& key) override;
  std::string stat(Op op, const std::string& key) override;
  void list(Op op, const std::string& prefix, const Emit& emit) override;
  void remove(Op op, const std::string& key) override;
  void undo(Op op, const Doc& entry) override;

 private:
  std::string entry(const ObjectInfo& object) const;
  std::optional<ObjectInfo> look(Op op, const std::string& key) const;
  std::string whole_key(const std::string& key) const;

  const std::shared_ptr<Service> service_;
  const StoreSettings settings_;
};

/// The size of parts for an object of about `expected` bytes: `wanted`, or larger where the
/// store's number of parts would not do.
uint64_t choose_part_size(const Limits& limits, uint64_t wanted, uint64_t expected);

}  // namespace hyper::object

#endif
