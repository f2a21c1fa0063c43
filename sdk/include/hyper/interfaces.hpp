// SPDX-License-Identifier: Apache-2.0
// Part of the C++17 face: the four interfaces as abstract classes. `hyper::Provider<T>` and its
// like turn a class T into the interface's C table. JSON documents are described in the C headers.
#ifndef HYPER_INTERFACES_HPP
#define HYPER_INTERFACES_HPP

#include <memory>
#include <string>

#include "converter.h"
#include "image.h"
#include "provider.h"
#include "sink.hpp"
#include "source.hpp"
#include "storage.h"

namespace hyper {

/// A VM that is ready to be read.
class ProviderVm {
 public:
  virtual ~ProviderVm() = default;
  virtual std::unique_ptr<Source> open_disk(Op, const std::string& disk_id, uint32_t flags) = 0;
  /// Undoes what open_vm() did. The host calls it once, before the destructor.
  virtual void close(Op, hyper_st /*outcome*/) {}
  /// As Source::get_ext().
  virtual const void* get_ext(const char* /*id*/, void** /*self*/) noexcept { return nullptr; }
};

/// A connection to a provider. T for Provider<T> also has
/// `static std::unique_ptr<T> connect(const Doc& options, Op)`. The connection ends with
/// disconnect(), followed at once by the destructor.
class ProviderConnection {
 public:
  virtual ~ProviderConnection() = default;
  virtual void list_vms(Op, const char* pattern, const Emit&) = 0;
  virtual std::string describe_vm(Op, const std::string& vm) = 0;
  virtual void preflight(Op, const Doc& /*request*/) {}
  virtual std::unique_ptr<ProviderVm> open_vm(Op, const Doc& request) = 0;
  /// Undoes the change that a journal entry names. Throws Reported(HYPER_UNSUPPORTED) if the entry
  /// belongs to another place.
  virtual void undo(Op, const Doc& /*entry*/) { throw Reported(HYPER_UNSUPPORTED); }
  /// Override it if the connection needs an operation to end. A failure is only reported.
  virtual void disconnect(Op) {}
  /// Returns true if the plugin knows this member of a request, which these headers do not name.
  virtual bool understands(const std::string& /*pointer*/) { return false; }
  virtual const void* get_ext(const char* /*id*/, void** /*self*/) noexcept { return nullptr; }
};

template <class T>
struct Provider {
  static constexpr const char* kId = HYPER_IFACE_PROVIDER;
  static const void* table() {
    static const hyper_provider table = {
        sizeof(hyper_provider),
        0,
        [](hyper_op* op, uint32_t flags, const hyper_doc* options, void** out) noexcept {
          return detail::guard(op, flags, 0,
                               [&] { *out = base(T::connect(Doc(options), Op(op))); });
        },
        [](void* self, hyper_op* op) noexcept {
          const std::unique_ptr<ProviderConnection> owned(&of(self));
          static_cast<void>(detail::guard(op, [&] { owned->disconnect(Op(op)); }));
        },
        [](void* self, hyper_op* op, uint32_t flags, const char* pattern, hyper_emit emit,
           void* arg) noexcept {
          return detail::guard(op, flags, 0,
                               [&] { of(self).list_vms(Op(op), pattern, Emit(emit, arg)); });
        },
        [](void* self, hyper_op* op, uint32_t flags, const char* vm, hyper_emit emit,
           void* arg) noexcept {
          return detail::guard(op, flags, 0,
                               [&] { Emit(emit, arg)(of(self).describe_vm(Op(op), vm)); });
        },
        [](void* self, hyper_op* op, uint32_t flags, const hyper_doc* request) noexcept {
          return detail::guard(op, flags, 0,
                               [&] { of(self).preflight(Op(op), understood(self, request)); });
        },
        [](void* self, hyper_op* op, uint32_t flags, const hyper_doc* request,
           void** out) noexcept {
          return detail::guard(op, flags, 0, [&] {
            *out = of(self).open_vm(Op(op), understood(self, request)).release();
          });
        },
        [](void* vm, hyper_op* op, uint32_t flags, const char* disk_id,
           hyper_source* out) noexcept {
          return detail::guard(op, flags, HYPER_OPEN_SEEK | HYPER_OPEN_STREAM, [&] {
            export_source(static_cast<ProviderVm*>(vm)->open_disk(Op(op), disk_id, flags), out);
          });
        },
        [](void* vm, hyper_op* op, hyper_st outcome) noexcept {
          const std::unique_ptr<ProviderVm> owned(static_cast<ProviderVm*>(vm));
          return detail::guard(op, [&] { owned->close(Op(op), outcome); });
        },
        [](void* self, hyper_op* op, uint32_t flags, const hyper_doc* entry) noexcept {
          return detail::guard(op, flags, 0, [&] { of(self).undo(Op(op), Doc(entry)); });
        },
        [](void* self, const char* id, void** ext) noexcept { return of(self).get_ext(id, ext); },
        [](void* vm, const char* id, void** ext) noexcept {
          return static_cast<ProviderVm*>(vm)->get_ext(id, ext);
        },
    };
    return &table;
  }

 private:
  static Doc understood(void* self, const hyper_doc* request) {
    detail::check_understood(Doc(request), {"/vm", "/task_id", "/options/*", "/content_ids/*"},
                             [&](const std::string& at) { return of(self).understands(at); });
    return Doc(request);
  }
  static ProviderConnection* base(std::unique_ptr<ProviderConnection> self) {
    return self.release();
  }
  static ProviderConnection& of(void* self) { return *static_cast<ProviderConnection*>(self); }
};

/// T has `static std::string probe(const Doc& options, Op, SourceRef)` ("" = T does not read such
/// an image) and `static std::unique_ptr<Source> open(const Doc& options, Op, SourceRef, const Doc&
/// request)`.
template <class T>
struct Image {
  static constexpr const char* kId = HYPER_IFACE_IMAGE;
  static const void* table() {
    static const hyper_image table = {
        sizeof(hyper_image),
        0,
        [](hyper_op* op, uint32_t flags, const hyper_doc* options, const hyper_source* source,
           hyper_emit emit, void* arg) noexcept {
          return detail::guard(op, flags, 0, [&] {
            const std::string json = T::probe(Doc(options), Op(op), SourceRef(source));
            if (json.empty()) throw Reported(HYPER_UNSUPPORTED);
            Emit(emit, arg)(json);
          });
        },
        [](hyper_op* op, uint32_t flags, const hyper_doc* options, const hyper_source* source,
           const hyper_doc* request, hyper_source* out) noexcept {
          return detail::guard(op, flags, 0, [&] {
            detail::check_understood(Doc(request), {"/format"},
                                     [](const std::string&) { return false; });
            export_source(T::open(Doc(options), Op(op), SourceRef(source), Doc(request)), out);
          });
        },
    };
    return &table;
  }
};

/// T for Converter<T> also has `static std::unique_ptr<T> open(const Doc& options, Op)`.
class ConverterInstance {
 public:
  virtual ~ConverterInstance() = default;
  virtual std::string plan(Op, const Doc& request) = 0;
  /// The host may call it for several disks at once.
  virtual std::string convert(Op, const Doc& request, SourceRef, SinkRef) = 0;
  /// As ProviderConnection has them.
  virtual void close(Op) {}
  virtual bool understands(const std::string& /*pointer*/) { return false; }
  virtual const void* get_ext(const char* /*id*/, void** /*self*/) noexcept { return nullptr; }
};

template <class T>
struct Converter {
  static constexpr const char* kId = HYPER_IFACE_CONVERTER;
  static const void* table() {
    static const hyper_converter table = {
        sizeof(hyper_converter),
        0,
        [](hyper_op* op, uint32_t flags, const hyper_doc* options, void** out) noexcept {
          return detail::guard(op, flags, 0, [&] {
            std::unique_ptr<ConverterInstance> self = T::open(Doc(options), Op(op));
            *out = self.release();
          });
        },
        [](void* self, hyper_op* op) noexcept {
          const std::unique_ptr<ConverterInstance> owned(&of(self));
          static_cast<void>(detail::guard(op, [&] { owned->close(Op(op)); }));
        },
        [](void* self, hyper_op* op, uint32_t flags, const hyper_doc* request, hyper_emit emit,
           void* arg) noexcept {
          return detail::guard(op, flags, 0, [&] {
            Emit(emit, arg)(of(self).plan(Op(op), understood(self, request)));
          });
        },
        [](void* self, hyper_op* op, uint32_t flags, const hyper_doc* request,
           const hyper_source* source, const hyper_sink* sink, hyper_emit emit,
           void* arg) noexcept {
          return detail::guard(op, flags, 0, [&] {
            Emit(emit, arg)(of(self).convert(Op(op), understood(self, request), SourceRef(source),
                                             SinkRef(sink)));
          });
        },
        [](void* self, const char* id, void** ext) noexcept { return of(self).get_ext(id, ext); },
    };
    return &table;
  }

 private:
  static Doc understood(void* self, const hyper_doc* request) {
    detail::check_understood(
        Doc(request),
        {"/source/format", "/source/length", "/source/access", "/target/format",
         "/target/compression", "/target/compression_level", "/target/cluster_size",
         "/target/deterministic", "/target/durability", "/virtual_size", "/digest",
         "/checkpoint/interval_bytes", "/checkpoint/interval_ms", "/checkpoint/state/*"},
        [&](const std::string& at) { return of(self).understands(at); });
    return Doc(request);
  }
  static ConverterInstance& of(void* self) { return *static_cast<ConverterInstance*>(self); }
};

/// T for Storage<T> also has `static std::unique_ptr<T> connect(const Doc& options, Op)`.
class StorageConnection {
 public:
  virtual ~StorageConnection() = default;
  virtual std::string info(Op) = 0;
  virtual std::unique_ptr<Sink> put(Op, const Doc& request) = 0;
  virtual std::unique_ptr<Source> get(Op, const std::string& key) = 0;
  /// "" = no such object.
  virtual std::string stat(Op, const std::string& key) = 0;
  virtual void list(Op, const std::string& prefix, const Emit&) = 0;
  virtual void remove(Op, const std::string& key) = 0;
  /// As ProviderConnection has them.
  virtual void undo(Op, const Doc& /*entry*/) { throw Reported(HYPER_UNSUPPORTED); }
  virtual void disconnect(Op) {}
  virtual bool understands(const std::string& /*pointer*/) { return false; }
  virtual const void* get_ext(const char* /*id*/, void** /*self*/) noexcept { return nullptr; }
};

template <class T>
struct Storage {
  static constexpr const char* kId = HYPER_IFACE_STORAGE;
  static const void* table() {
    static const hyper_storage table = {
        sizeof(hyper_storage),
        0,
        [](hyper_op* op, uint32_t flags, const hyper_doc* options, void** out) noexcept {
          return detail::guard(op, flags, 0, [&] {
            std::unique_ptr<StorageConnection> self = T::connect(Doc(options), Op(op));
            *out = self.release();
          });
        },
        [](void* self, hyper_op* op) noexcept {
          const std::unique_ptr<StorageConnection> owned(&of(self));
          static_cast<void>(detail::guard(op, [&] { owned->disconnect(Op(op)); }));
        },
        [](void* self, hyper_op* op, uint32_t flags, hyper_emit emit, void* arg) noexcept {
          return detail::guard(op, flags, 0, [&] { Emit(emit, arg)(of(self).info(Op(op))); });
        },
        [](void* self, hyper_op* op, uint32_t flags, const hyper_doc* request,
           hyper_sink* out) noexcept {
          return detail::guard(op, flags, 0, [&] {
            export_sink(of(self).put(Op(op), understood(self, request)), out);
          });
        },
        [](void* self, hyper_op* op, uint32_t flags, const char* key, hyper_source* out) noexcept {
          return detail::guard(op, flags, 0,
                               [&] { export_source(of(self).get(Op(op), key), out); });
        },
        [](void* self, hyper_op* op, uint32_t flags, const char* key, hyper_emit emit,
           void* arg) noexcept {
          return detail::guard(op, flags, 0, [&] {
            const std::string json = of(self).stat(Op(op), key);
            if (json.empty()) throw Reported(HYPER_NOTFOUND);
            Emit(emit, arg)(json);
          });
        },
        [](void* self, hyper_op* op, uint32_t flags, const char* prefix, hyper_emit emit,
           void* arg) noexcept {
          return detail::guard(op, flags, 0,
                               [&] { of(self).list(Op(op), prefix, Emit(emit, arg)); });
        },
        [](void* self, hyper_op* op, uint32_t flags, const char* key) noexcept {
          return detail::guard(op, flags, 0, [&] { of(self).remove(Op(op), key); });
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
        {"/key", "/length", "/expected_bytes", "/overwrite", "/durability", "/content_type",
         "/metadata/*", "/resume/*", "/resume_length", "/adopt", "/presign_seconds"},
        [&](const std::string& at) { return of(self).understands(at); });
    return Doc(request);
  }
  static StorageConnection& of(void* self) { return *static_cast<StorageConnection*>(self); }
};

}  // namespace hyper

#endif
