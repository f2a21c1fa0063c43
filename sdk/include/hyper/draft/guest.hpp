// SPDX-License-Identifier: Apache-2.0
// DRAFT, not part of ABI 1.0: it may change or go with guest.h.
// The C++17 face of guest.h: derive from GuestInstance and name Guest<T> among the plugin's
// interfaces. Errors are exceptions (error.hpp).
#ifndef HYPER_DRAFT_GUEST_HPP
#define HYPER_DRAFT_GUEST_HPP

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../interfaces.hpp"
#include "guest.h"

namespace hyper {

/// A disk that the host lends to one call (block.h). Later reads see earlier writes.
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

/// T for Guest<T> also has `static std::unique_ptr<T> open(const Doc& options, Op)`. The answers
/// are the JSON objects that guest.h describes.
class GuestInstance {
 public:
  virtual ~GuestInstance() = default;
  virtual std::string plan(Op, const Doc& request) = 0;
  virtual std::string inspect(Op, const Doc& request, const std::vector<BlockRef>& disks) = 0;
  virtual std::string prepare(Op, const Doc& request, const std::vector<BlockRef>& disks) = 0;
  /// As ProviderConnection has them.
  virtual void close(Op) {}
  virtual bool understands(const std::string& /*pointer*/) { return false; }
  virtual const void* get_ext(const char* /*id*/, void** /*self*/) noexcept { return nullptr; }
};

template <class T>
struct Guest {
  static constexpr const char* kId = HYPER_IFACE_GUEST;
  static const void* table() {
    static const hyper_guest table = {
        sizeof(hyper_guest),
        0,
        [](hyper_op* op, uint32_t flags, const hyper_doc* options, void** out) noexcept {
          return detail::guard(op, flags, 0, [&] {
            std::unique_ptr<GuestInstance> self = T::open(Doc(options), Op(op));
            *out = self.release();
          });
        },
        [](void* self, hyper_op* op) noexcept {
          const std::unique_ptr<GuestInstance> owned(&of(self));
          static_cast<void>(detail::guard(op, [&] { owned->close(Op(op)); }));
        },
        [](void* self, hyper_op* op, uint32_t flags, const hyper_doc* request, hyper_emit emit,
           void* arg) noexcept {
          return detail::guard(op, flags, 0, [&] {
            Emit(emit, arg)(of(self).plan(Op(op), understood(self, request)));
          });
        },
        [](void* self, hyper_op* op, uint32_t flags, const hyper_doc* request,
           const hyper_block* disks, uint32_t count, hyper_emit emit, void* arg) noexcept {
          return detail::guard(op, flags, 0, [&] {
            Emit(emit,
                 arg)(of(self).inspect(Op(op), understood(self, request), refs(disks, count)));
          });
        },
        [](void* self, hyper_op* op, uint32_t flags, const hyper_doc* request,
           const hyper_block* disks, uint32_t count, hyper_emit emit, void* arg) noexcept {
          return detail::guard(op, flags, 0, [&] {
            Emit(emit,
                 arg)(of(self).prepare(Op(op), understood(self, request), refs(disks, count)));
          });
        },
        [](void* self, const char* id, void** ext) noexcept { return of(self).get_ext(id, ext); },
    };
    return &table;
  }

 private:
  static Doc understood(void* self, const hyper_doc* request) {
    detail::check_understood(Doc(request),
                             {"/vm/*", "/machine/*", "/keys/*", "/depth", "/max_bytes"},
                             [&](const std::string& at) { return of(self).understands(at); });
    return Doc(request);
  }
  static std::vector<BlockRef> refs(const hyper_block* disks, uint32_t count) {
    std::vector<BlockRef> out;
    for (uint32_t i = 0; i < count; ++i) out.emplace_back(disks + i);
    return out;
  }
  static GuestInstance& of(void* self) { return *static_cast<GuestInstance*>(self); }
};

}  // namespace hyper

#endif
