// SPDX-License-Identifier: Apache-2.0
// DRAFT, not part of ABI 1.0 (boot.h). The C++17 face of "hyper.boot/draft-1": Boot<T> turns a
// class T into the interface's table.
#ifndef HYPER_DRAFT_BOOT_HPP
#define HYPER_DRAFT_BOOT_HPP

#include <memory>
#include <string>
#include <vector>

#include "block.hpp"
#include "boot.h"

namespace hyper {

/// T for Boot<T> also has `static std::unique_ptr<T> open(const Doc& options, Op)`.
class BootInstance {
 public:
  virtual ~BootInstance() = default;
  virtual std::string plan(Op, const Doc& request) = 0;
  /// The host may call it for several machines at once.
  virtual std::string check(Op, const Doc& request, const std::vector<BlockRef>& disks) = 0;
  virtual void close(Op) {}
  virtual const void* get_ext(const char* /*id*/, void** /*self*/) noexcept { return nullptr; }
};

template <class T>
struct Boot {
  static constexpr const char* kId = HYPER_IFACE_BOOT;
  static const void* table() {
    static const hyper_boot table = {
        sizeof(hyper_boot),
        0,
        [](hyper_op* op, uint32_t flags, const hyper_doc* options, void** out) noexcept {
          return detail::guard(op, flags, 0, [&] {
            std::unique_ptr<BootInstance> self = T::open(Doc(options), Op(op));
            *out = self.release();
          });
        },
        [](void* self, hyper_op* op) noexcept {
          const std::unique_ptr<BootInstance> owned(&of(self));
          static_cast<void>(detail::guard(op, [&] { owned->close(Op(op)); }));
        },
        [](void* self, hyper_op* op, uint32_t flags, const hyper_doc* request, hyper_emit emit,
           void* arg) noexcept {
          return detail::guard(
              op, flags, 0, [&] { Emit(emit, arg)(of(self).plan(Op(op), understood(request))); });
        },
        [](void* self, hyper_op* op, uint32_t flags, const hyper_doc* request,
           const hyper_block* disks, uint32_t count, hyper_emit emit, void* arg) noexcept {
          return detail::guard(op, flags, 0, [&] {
            Emit(emit, arg)(
                of(self).check(Op(op), understood(request), detail::block_refs(disks, count)));
          });
        },
        [](void* self, const char* id, void** ext) noexcept { return of(self).get_ext(id, ext); },
    };
    return &table;
  }

 private:
  static Doc understood(const hyper_doc* request) {
    detail::check_understood(
        Doc(request),
        {"/vm", "/machine/*", "/require", "/timeout_ms", "/network", "/scratch_dir", "/picture"},
        [](const std::string&) { return false; });
    return Doc(request);
  }
  static BootInstance& of(void* self) { return *static_cast<BootInstance*>(self); }
};

}  // namespace hyper

#endif
