// SPDX-License-Identifier: Apache-2.0
// The plugin "guestfs": hyper.guest by libguestfs.
#include <hyper/plugin.hpp>

#include "plugins/guest/guestfs/guest_plugin.hpp"

namespace {

using hyperhost::guestfs::GuestPlugin;

GuestPlugin& of(void* self) {
  return *static_cast<GuestPlugin*>(self);
}

struct Guest {
  static constexpr const char* kId = HYPER_IFACE_GUEST;
  static const void* table() {
    static const hyper_guest table = {
        sizeof(hyper_guest),
        0,
        [](hyper_op* op, uint32_t flags, const hyper_doc* options, void** out) noexcept {
          return hyper::detail::guard(op, flags, 0, [&] {
            *out = GuestPlugin::open(hyper::Doc(options), hyper::Op(op)).release();
          });
        },
        [](void* self, hyper_op*) noexcept { delete &of(self); },
        [](void* self, hyper_op* op, uint32_t flags, const hyper_doc* request, hyper_emit emit,
           void* arg) noexcept {
          return hyper::detail::guard(op, flags, 0, [&] {
            hyper::Emit(emit, arg)(of(self).plan(hyper::Op(op), understood(request)));
          });
        },
        [](void* self, hyper_op* op, uint32_t flags, const hyper_doc* request,
           const hyper_block* disks, uint32_t count, hyper_emit emit, void* arg) noexcept {
          return hyper::detail::guard(op, flags, 0, [&] {
            hyper::Emit(emit,
                        arg)(of(self).inspect(hyper::Op(op), understood(request), disks, count));
          });
        },
        [](void* self, hyper_op* op, uint32_t flags, const hyper_doc* request,
           const hyper_block* disks, uint32_t count, hyper_emit emit, void* arg) noexcept {
          return hyper::detail::guard(op, flags, 0, [&] {
            hyper::Emit(emit,
                        arg)(of(self).prepare(hyper::Op(op), understood(request), disks, count));
          });
        },
        [](void*, const char*, void**) noexcept -> const void* { return nullptr; },
    };
    return &table;
  }

 private:
  static hyper::Doc understood(const hyper_doc* request) {
    hyper::detail::check_understood(hyper::Doc(request),
                                    {"/vm/*", "/machine/*", "/keys/*", "/root", "/depth"},
                                    [](const std::string&) { return false; });
    return hyper::Doc(request);
  }
};

struct Guestfs {
  using Interfaces = hyper::Interfaces<Guest>;
  static constexpr int32_t kThreads = HYPER_THREADS_PARALLEL;
};

}  // namespace

HYPER_PLUGIN(Guestfs)
