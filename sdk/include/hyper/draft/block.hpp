// SPDX-License-Identifier: Apache-2.0
// DRAFT, not part of ABI 1.0: it may change or go with block.h. The C++17 face of block.h. Errors
// are exceptions (error.hpp).
#ifndef HYPER_DRAFT_BLOCK_HPP
#define HYPER_DRAFT_BLOCK_HPP

#include <string>
#include <utility>
#include <vector>

#include "../op.hpp"
#include "block.h"

namespace hyper {

/// A disk that the host lends to one call. Later reads see earlier writes.
class BlockRef {
 public:
  explicit BlockRef(const hyper_block* block) : block_(block) {}
  const hyper_block* raw() const { return block_; }
  std::string id() const { return block_->id; }
  uint64_t length() const { return block_->length; }
  bool can(uint32_t flags) const { return (block_->flags & flags) == flags; }

  void read_at(Op op, uint64_t offset, void* buf, uint64_t len) const {
    check(block_->read_at(block_->ctx, op.raw(), 0, offset, buf, len));
  }
  void write_at(Op op, uint64_t offset, const void* buf, uint64_t len) const {
    need(HYPER_BLOCK_WRITE);
    check(block_->write_at(block_->ctx, op.raw(), 0, offset, buf, len));
  }
  void zero_at(Op op, uint64_t offset, uint64_t len) const {
    need(HYPER_BLOCK_WRITE);
    check(block_->zero_at(block_->ctx, op.raw(), 0, offset, len));
  }
  void flush(Op op) const {
    need(HYPER_BLOCK_WRITE);
    check(block_->flush(block_->ctx, op.raw(), 0));
  }
  /// Lends the disk to a program until detach(). Returns what block.h describes for `how`.
  DocBuilder attach(Op op, int32_t how) const {
    need(HYPER_BLOCK_ATTACH);
    std::string json;
    auto take = [&](std::string text) { json = std::move(text); };
    check(block_->attach(block_->ctx, op.raw(), 0, how, &detail::emit_to<decltype(take)>, &take));
    return DocBuilder::parse(json);
  }
  void detach(Op op) const { check(block_->detach(block_->ctx, op.raw(), 0)); }

 private:
  void need(uint32_t flag) const {
    if (!can(flag)) throw Error(HYPER_UNSUPPORTED, "the host does not offer this of a disk");
  }
  const hyper_block* block_;
};

/// Disks that programs use over NBD on Unix sockets, until this object goes.
class AttachedBlocks {
 public:
  struct Served {
    std::string socket, name;  ///< name: of the NBD export
  };

  AttachedBlocks(Op op, const std::vector<BlockRef>& disks) : op_(op) {
    try {
      for (const BlockRef& disk : disks) {
        const DocBuilder answer = disk.attach(op, HYPER_ATTACH_NBD_UNIX);
        attached_.push_back(disk);
        served_.push_back({answer.doc().need_string("/socket"), answer.doc().string("/export")});
      }
    } catch (...) {
      detach();
      throw;
    }
  }
  ~AttachedBlocks() { detach(); }
  AttachedBlocks(const AttachedBlocks&) = delete;
  AttachedBlocks& operator=(const AttachedBlocks&) = delete;

  /// In the order of the disks.
  const std::vector<Served>& served() const { return served_; }

 private:
  void detach() noexcept {
    for (const BlockRef& disk : attached_)
      static_cast<void>(disk.raw()->detach(disk.raw()->ctx, op_.raw(), 0));
    attached_.clear();
  }
  const Op op_;
  std::vector<BlockRef> attached_;
  std::vector<Served> served_;
};

namespace detail {
inline std::vector<BlockRef> block_refs(const hyper_block* disks, uint32_t count) {
  std::vector<BlockRef> out;
  for (uint32_t i = 0; i < count; ++i) out.emplace_back(disks + i);
  return out;
}
}  // namespace detail

}  // namespace hyper

#endif
