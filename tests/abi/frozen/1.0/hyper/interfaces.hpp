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

/// A VM held ready to be read.
class ProviderVm {
 public:
  virtual ~ProviderVm() = default;
  virtual std::unique_ptr<Source> open_disk(Op, const std::string& disk_id, uint32_t flags) = 0;
  /// Undoes what opening did. Called once, before the destructor.
  virtual void close(Op, hyper_st /*outcome*/) {}
};

/// A connection to a provider. T for Provider<T> also has
/// `static std::unique_ptr<T> connect(Config, Op)`. The destructor disconnects.
class ProviderConnection {
 public:
  virtual ~ProviderConnection() = default;
  virtual void list_vms(Op, const char* pattern, const Emit&) = 0;
  virtual std::string describe_vm(Op, const std::string& vm) = 0;
  virtual void preflight(Op op, const std::string& /*request_json*/) { static_cast<void>(op); }
  virtual std::unique_ptr<ProviderVm> open_vm(Op, const std::string& request_json) = 0;
  /// Undoes a journal entry; throws Reported(HYPER_UNSUPPORTED) where it belongs to another place.
  virtual void undo(Op, const std::string& /*entry_json*/) { throw Reported(HYPER_UNSUPPORTED); }
};

template <class T>
struct Provider {
  static constexpr const char* kId = HYPER_IFACE_PROVIDER;
  static const void* table() {
    static const hyper_provider table = {
        sizeof(hyper_provider),
        0,
        [](const hyper_cfg* cfg, hyper_op* op, void** out) noexcept {
          return detail::guard(op, [&] { *out = base(T::connect(Config(cfg), Op(op))); });
        },
        [](void* self) noexcept { delete static_cast<ProviderConnection*>(self); },
        [](void* self, hyper_op* op, const char* pattern, hyper_emit emit, void* arg) noexcept {
          return detail::guard(op, [&] { of(self).list_vms(Op(op), pattern, Emit(emit, arg)); });
        },
        [](void* self, hyper_op* op, const char* vm, hyper_emit emit, void* arg) noexcept {
          return detail::guard(op, [&] { Emit(emit, arg)(of(self).describe_vm(Op(op), vm)); });
        },
        [](void* self, hyper_op* op, const char* request) noexcept {
          return detail::guard(op, [&] { of(self).preflight(Op(op), request); });
        },
        [](void* self, hyper_op* op, const char* request, void** out) noexcept {
          return detail::guard(op, [&] { *out = of(self).open_vm(Op(op), request).release(); });
        },
        [](void* vm, hyper_op* op, const char* disk_id, uint32_t flags,
           hyper_source* out) noexcept {
          return detail::guard(op, [&] {
            export_source(static_cast<ProviderVm*>(vm)->open_disk(Op(op), disk_id, flags), out);
          });
        },
        [](void* vm, hyper_op* op, hyper_st outcome) noexcept {
          const std::unique_ptr<ProviderVm> owned(static_cast<ProviderVm*>(vm));
          return detail::guard(op, [&] { owned->close(Op(op), outcome); });
        },
        [](void* self, hyper_op* op, const char* entry) noexcept {
          return detail::guard(op, [&] { of(self).undo(Op(op), entry); });
        },
    };
    return &table;
  }

 private:
  static ProviderConnection* base(std::unique_ptr<ProviderConnection> self) {
    return self.release();
  }
  static ProviderConnection& of(void* self) { return *static_cast<ProviderConnection*>(self); }
};

/// T has `static std::string probe(Config, Op, SourceRef)` ("" = none of ours) and
/// `static std::unique_ptr<Source> open(Config, Op, SourceRef, const std::string& request_json)`.
template <class T>
struct Image {
  static constexpr const char* kId = HYPER_IFACE_IMAGE;
  static const void* table() {
    static const hyper_image table = {
        sizeof(hyper_image),
        0,
        [](const hyper_cfg* cfg, hyper_op* op, const hyper_source* source, hyper_emit emit,
           void* arg) noexcept {
          return detail::guard(op, [&] {
            const std::string json = T::probe(Config(cfg), Op(op), SourceRef(source));
            if (json.empty()) throw Reported(HYPER_UNSUPPORTED);
            Emit(emit, arg)(json);
          });
        },
        [](const hyper_cfg* cfg, hyper_op* op, const hyper_source* source, const char* request,
           hyper_source* out) noexcept {
          return detail::guard(op, [&] {
            export_source(T::open(Config(cfg), Op(op), SourceRef(source), request), out);
          });
        },
    };
    return &table;
  }
};

/// T for Converter<T> also has `static std::unique_ptr<T> open(Config, Op)`.
class ConverterInstance {
 public:
  virtual ~ConverterInstance() = default;
  virtual std::string plan(Op, const std::string& request_json) = 0;
  /// May be called for several disks at once.
  virtual std::string convert(Op, const std::string& request_json, SourceRef, SinkRef) = 0;
};

template <class T>
struct Converter {
  static constexpr const char* kId = HYPER_IFACE_CONVERTER;
  static const void* table() {
    static const hyper_converter table = {
        sizeof(hyper_converter),
        0,
        [](const hyper_cfg* cfg, hyper_op* op, void** out) noexcept {
          return detail::guard(op, [&] {
            std::unique_ptr<ConverterInstance> self = T::open(Config(cfg), Op(op));
            *out = self.release();
          });
        },
        [](void* self) noexcept { delete static_cast<ConverterInstance*>(self); },
        [](void* self, hyper_op* op, const char* request, hyper_emit emit, void* arg) noexcept {
          return detail::guard(op, [&] {
            Emit(emit, arg)(static_cast<ConverterInstance*>(self)->plan(Op(op), request));
          });
        },
        [](void* self, hyper_op* op, const char* request, const hyper_source* source,
           const hyper_sink* sink, hyper_emit emit, void* arg) noexcept {
          return detail::guard(op, [&] {
            Emit(emit, arg)(static_cast<ConverterInstance*>(self)->convert(
                Op(op), request, SourceRef(source), SinkRef(sink)));
          });
        },
    };
    return &table;
  }
};

/// T for Storage<T> also has `static std::unique_ptr<T> connect(Config, Op)`.
class StorageConnection {
 public:
  virtual ~StorageConnection() = default;
  virtual std::string info(Op) = 0;
  virtual std::unique_ptr<Sink> put(Op, const std::string& request_json) = 0;
  virtual std::unique_ptr<Source> get(Op, const std::string& key) = 0;
  /// "" = not there.
  virtual std::string stat(Op, const std::string& key) = 0;
  virtual void list(Op, const std::string& prefix, const Emit&) = 0;
  virtual void remove(Op, const std::string& key) = 0;
  /// As ProviderConnection::undo.
  virtual void undo(Op, const std::string& /*entry_json*/) { throw Reported(HYPER_UNSUPPORTED); }
};

template <class T>
struct Storage {
  static constexpr const char* kId = HYPER_IFACE_STORAGE;
  static const void* table() {
    static const hyper_storage table = {
        sizeof(hyper_storage),
        0,
        [](const hyper_cfg* cfg, hyper_op* op, void** out) noexcept {
          return detail::guard(op, [&] {
            std::unique_ptr<StorageConnection> self = T::connect(Config(cfg), Op(op));
            *out = self.release();
          });
        },
        [](void* self) noexcept { delete static_cast<StorageConnection*>(self); },
        [](void* self, hyper_op* op, hyper_emit emit, void* arg) noexcept {
          return detail::guard(op, [&] { Emit(emit, arg)(of(self).info(Op(op))); });
        },
        [](void* self, hyper_op* op, const char* request, hyper_sink* out) noexcept {
          return detail::guard(op, [&] { export_sink(of(self).put(Op(op), request), out); });
        },
        [](void* self, hyper_op* op, const char* key, hyper_source* out) noexcept {
          return detail::guard(op, [&] { export_source(of(self).get(Op(op), key), out); });
        },
        [](void* self, hyper_op* op, const char* key, hyper_emit emit, void* arg) noexcept {
          return detail::guard(op, [&] {
            const std::string json = of(self).stat(Op(op), key);
            if (json.empty()) throw Reported(HYPER_NOTFOUND);
            Emit(emit, arg)(json);
          });
        },
        [](void* self, hyper_op* op, const char* prefix, hyper_emit emit, void* arg) noexcept {
          return detail::guard(op, [&] { of(self).list(Op(op), prefix, Emit(emit, arg)); });
        },
        [](void* self, hyper_op* op, const char* key) noexcept {
          return detail::guard(op, [&] { of(self).remove(Op(op), key); });
        },
        [](void* self, hyper_op* op, const char* entry) noexcept {
          return detail::guard(op, [&] { of(self).undo(Op(op), entry); });
        },
    };
    return &table;
  }

 private:
  static StorageConnection& of(void* self) { return *static_cast<StorageConnection*>(self); }
};

}  // namespace hyper

#endif
