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

#include "block.hpp"
#include "guest.h"

namespace hyper {

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
            Emit(emit, arg)(of(self).inspect(Op(op), understood(self, request),
                                             detail::block_refs(disks, count)));
          });
        },
        [](void* self, hyper_op* op, uint32_t flags, const hyper_doc* request,
           const hyper_block* disks, uint32_t count, hyper_emit emit, void* arg) noexcept {
          return detail::guard(op, flags, 0, [&] {
            Emit(emit, arg)(of(self).prepare(Op(op), understood(self, request),
                                             detail::block_refs(disks, count)));
          });
        },
        [](void* self, const char* id, void** ext) noexcept { return of(self).get_ext(id, ext); },
    };
    return &table;
  }

 private:
  static Doc understood(void* self, const hyper_doc* request) {
    detail::check_understood(Doc(request), {"/vm/*", "/machine/*"},
                             [&](const std::string& at) { return of(self).understands(at); });
    return Doc(request);
  }
  static GuestInstance& of(void* self) { return *static_cast<GuestInstance*>(self); }
};

}  // namespace hyper

#endif
