// SPDX-License-Identifier: Apache-2.0
// DRAFT, not part of ABI 1.0 (target.h). The C++17 face of "hyper.target/draft-1": derive from
// TargetConnection and name Target<T> among the plugin's interfaces. Errors are exceptions.
#ifndef HYPER_DRAFT_TARGET_HPP
#define HYPER_DRAFT_TARGET_HPP

#include <memory>
#include <string>

#include "../doc.hpp"
#include "../error.hpp"
#include "../op.hpp"
#include "../sink.hpp"
#include "../source.hpp"
#include "target.h"

namespace hyper {

/// T for Target<T> also has `static std::unique_ptr<T> connect(const Doc& options, Op)`. The
/// answers are the JSON objects that target.h names. What info() does not promise may stay as it is
/// here.
class TargetConnection {
 public:
  virtual ~TargetConnection() = default;
  virtual std::string info(Op) = 0;
  virtual std::string plan(Op, const Doc& request) = 0;
  virtual std::string define(Op, const Doc& request) = 0;
  virtual std::unique_ptr<Sink> put_disk(Op, const Doc& /*request*/) { not_offered(); }
  virtual std::string import_disk(Op, const Doc& /*request*/) { not_offered(); }
  virtual std::unique_ptr<Source> get_disk(Op, const std::string& /*ref*/) { not_offered(); }
  virtual void start(Op, const Doc& /*request*/) { not_offered(); }
  virtual std::string state(Op, const std::string& /*ref*/) { not_offered(); }
  virtual void stop(Op, const Doc& /*request*/) { not_offered(); }
  virtual void remove(Op, const Doc& /*request*/) { not_offered(); }
  /// As ProviderConnection has them.
  virtual void undo(Op, const Doc& /*entry*/) { not_offered(); }
  virtual void disconnect(Op) {}
  virtual bool understands(const std::string& /*pointer*/) { return false; }
  virtual const void* get_ext(const char* /*id*/, void** /*self*/) noexcept { return nullptr; }

 private:
  [[noreturn]] static void not_offered() { throw Reported(HYPER_UNSUPPORTED); }
};

template <class T>
struct Target {
  static constexpr const char* kId = HYPER_IFACE_TARGET;
  static const void* table() {
    static const hyper_target table = {
        sizeof(hyper_target),
        0,
        [](hyper_op* op, uint32_t flags, const hyper_doc* options, void** out) noexcept {
          return detail::guard(op, flags, 0, [&] {
            std::unique_ptr<TargetConnection> self = T::connect(Doc(options), Op(op));
            *out = self.release();
          });
        },
        [](void* self, hyper_op* op) noexcept {
          const std::unique_ptr<TargetConnection> owned(&of(self));
          static_cast<void>(detail::guard(op, [&] { owned->disconnect(Op(op)); }));
        },
        [](void* self, hyper_op* op, uint32_t flags, hyper_emit emit, void* arg) noexcept {
          return detail::guard(op, flags, 0, [&] { Emit(emit, arg)(of(self).info(Op(op))); });
        },
        [](void* self, hyper_op* op, uint32_t flags, const hyper_doc* request, hyper_emit emit,
           void* arg) noexcept {
          return detail::guard(op, flags, 0, [&] {
            Emit(emit, arg)(of(self).plan(Op(op), understood(self, request)));
          });
        },
        [](void* self, hyper_op* op, uint32_t flags, const hyper_doc* request,
           hyper_sink* out) noexcept {
          return detail::guard(op, flags, 0, [&] {
            export_sink(of(self).put_disk(Op(op), understood(self, request)), out);
          });
        },
        [](void* self, hyper_op* op, uint32_t flags, const hyper_doc* request, hyper_emit emit,
           void* arg) noexcept {
          return detail::guard(op, flags, 0, [&] {
            Emit(emit, arg)(of(self).import_disk(Op(op), understood(self, request)));
          });
        },
        [](void* self, hyper_op* op, uint32_t flags, const char* ref, hyper_source* out) noexcept {
          return detail::guard(op, flags, 0,
                               [&] { export_source(of(self).get_disk(Op(op), ref), out); });
        },
        [](void* self, hyper_op* op, uint32_t flags, const hyper_doc* request, hyper_emit emit,
           void* arg) noexcept {
          return detail::guard(op, flags, 0, [&] {
            Emit(emit, arg)(of(self).define(Op(op), understood(self, request)));
          });
        },
        [](void* self, hyper_op* op, uint32_t flags, const hyper_doc* request) noexcept {
          return detail::guard(op, flags, 0,
                               [&] { of(self).start(Op(op), understood(self, request)); });
        },
        [](void* self, hyper_op* op, uint32_t flags, const char* ref, hyper_emit emit,
           void* arg) noexcept {
          return detail::guard(op, flags, 0, [&] { Emit(emit, arg)(of(self).state(Op(op), ref)); });
        },
        [](void* self, hyper_op* op, uint32_t flags, const hyper_doc* request) noexcept {
          return detail::guard(op, flags, 0,
                               [&] { of(self).stop(Op(op), understood(self, request)); });
        },
        [](void* self, hyper_op* op, uint32_t flags, const hyper_doc* request) noexcept {
          return detail::guard(op, flags, 0,
                               [&] { of(self).remove(Op(op), understood(self, request)); });
        },
        [](void* self, hyper_op* op, uint32_t flags, const hyper_doc* entry) noexcept {
          return detail::guard(op, flags, 0, [&] { of(self).undo(Op(op), Doc(entry)); });
        },
        [](void* self, const char* id, void** ext) noexcept { return of(self).get_ext(id, ext); },
    };
    return &table;
  }

 private:
  static Doc understood(void* self, const hyper_doc* request) {
    detail::check_understood(
        Doc(request),
        {"/name", "/vm", "/task_id", "/mark", "/overwrite", "/machine/*", "/disks/*", "/disk",
         "/file_name", "/format", "/length", "/virtual_size", "/storage", "/url", "/path",
         "/checksum", "/ref", "/how", "/kind"},
        [&](const std::string& at) { return of(self).understands(at); });
    return Doc(request);
  }
  static TargetConnection& of(void* self) { return *static_cast<TargetConnection*>(self); }
};

}  // namespace hyper

#endif
