// SPDX-License-Identifier: Apache-2.0
// An object being read: ranges of one version of it, fetched in blocks of which the last used few
// are kept, since readers of images come back to their tables and read in small pieces. Any number
// of threads up to max_parallel.
#ifndef HYPERHOST_OBJECT_OBJECT_SOURCE_HPP
#define HYPERHOST_OBJECT_OBJECT_SOURCE_HPP

#include <condition_variable>
#include <hyper/source.hpp>
#include <list>
#include <memory>
#include <mutex>
#include <vector>

#include "plugins/storage/object/retry.hpp"
#include "plugins/storage/object/service.hpp"

namespace hyper::object {

class ObjectSource final : public Source {
 public:
  ObjectSource(std::shared_ptr<Service> service, ObjectInfo object, RetryPolicy policy,
               unsigned parallel);

  SourceTraits traits() const override;
  void read_at(Op op, uint64_t offset, void* buf, uint64_t len) override;

 private:
  struct Block {
    uint64_t index = 0;
    bool ready = false, failed = false;
    std::vector<char> bytes;
  };
  std::shared_ptr<Block> block(Op op, uint64_t index);

  const std::shared_ptr<Service> service_;
  const ObjectInfo object_;
  const RetryPolicy policy_;
  const unsigned parallel_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::list<std::shared_ptr<Block>> blocks_;  // the last used first
};

}  // namespace hyper::object

#endif
