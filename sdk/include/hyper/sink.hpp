// SPDX-License-Identifier: Apache-2.0
// Part of the C++17 face: sinks. Derive from Sink in a storage plugin; use SinkRef to write.
#ifndef HYPER_SINK_HPP
#define HYPER_SINK_HPP

#include <memory>
#include <string>

#include "sink.h"
#include "source.hpp"

namespace hyper {

struct SinkTraits {
  uint32_t flags = 0;  ///< HYPER_SINK_…
  uint64_t part_size = 0;
  uint32_t block_min = 1;
  uint32_t max_parallel = 1;
};

/// Base of a storage plugin's sinks. A sink ends with close(), followed at once by the destructor.
/// Without a commit before them, they abort and leave nothing behind.
class Sink {
 public:
  virtual ~Sink() = default;
  virtual SinkTraits traits() const = 0;
  virtual void write_at(Op, uint64_t offset, const void* buf, uint64_t len) = 0;
  virtual void zero_at(Op, uint64_t /*offset*/, uint64_t /*len*/) { unsupported(); }
  /// The temporary file. The text is valid as long as the sink.
  virtual const char* path() { return nullptr; }
  virtual void sync(Op) {}
  virtual std::unique_ptr<Source> reopen(Op, uint64_t /*length*/) { unsupported(); }
  /// Makes the object durable and visible. Returns the JSON object that sink.h describes.
  virtual std::string commit(Op, uint64_t length) = 0;
  /// Returns the token that sink.h describes if `on`, else "".
  virtual std::string keep(Op, bool /*on*/) { unsupported(); }
  /// As Source::close() and Source::get_ext().
  virtual void close(Op) {}
  virtual const void* get_ext(const char* /*id*/, void** /*self*/) noexcept { return nullptr; }

 protected:
  [[noreturn]] static void unsupported() {
    throw Error(HYPER_UNSUPPORTED, "this sink has no such access");
  }
};

/// Passes a Sink over the ABI. The receiver's close() deletes it.
inline void export_sink(std::unique_ptr<Sink> sink, hyper_sink* out) {
  const SinkTraits traits = sink->traits();
  hyper_sink table{};
  table.flags = traits.flags;
  table.part_size = traits.part_size;
  table.block_min = traits.block_min;
  table.max_parallel = traits.max_parallel;
  table.write_at = [](void* ctx, hyper_op* op, uint32_t flags, uint64_t offset, const void* buf,
                      uint64_t len) noexcept {
    return detail::guard(op, flags, 0,
                         [&] { static_cast<Sink*>(ctx)->write_at(Op(op), offset, buf, len); });
  };
  table.zero_at = [](void* ctx, hyper_op* op, uint32_t flags, uint64_t offset,
                     uint64_t len) noexcept {
    return detail::guard(op, flags, 0,
                         [&] { static_cast<Sink*>(ctx)->zero_at(Op(op), offset, len); });
  };
  table.path = [](void* ctx) noexcept -> const char* { return static_cast<Sink*>(ctx)->path(); };
  table.sync = [](void* ctx, hyper_op* op, uint32_t flags) noexcept {
    return detail::guard(op, flags, 0, [&] { static_cast<Sink*>(ctx)->sync(Op(op)); });
  };
  table.reopen = [](void* ctx, hyper_op* op, uint32_t flags, uint64_t length,
                    hyper_source* out_source) noexcept {
    return detail::guard(op, flags, 0, [&] {
      export_source(static_cast<Sink*>(ctx)->reopen(Op(op), length), out_source);
    });
  };
  table.commit = [](void* ctx, hyper_op* op, uint32_t flags, uint64_t length, hyper_emit emit,
                    void* arg) noexcept {
    return detail::guard(op, flags, 0, [&] {
      const std::string json = static_cast<Sink*>(ctx)->commit(Op(op), length);
      if (!json.empty()) Emit(emit, arg)(json);
    });
  };
  table.keep = [](void* ctx, hyper_op* op, uint32_t flags, int32_t on, hyper_emit emit,
                  void* arg) noexcept {
    return detail::guard(op, flags, 0, [&] {
      const std::string json = static_cast<Sink*>(ctx)->keep(Op(op), on != 0);
      if (!json.empty()) Emit(emit, arg)(json);
    });
  };
  table.close = [](void* ctx, hyper_op* op) noexcept {
    const std::unique_ptr<Sink> owned(static_cast<Sink*>(ctx));
    static_cast<void>(detail::guard(op, [&] { owned->close(Op(op)); }));
  };
  table.get_ext = [](void* ctx, const char* id, void** self) noexcept {
    return static_cast<Sink*>(ctx)->get_ext(id, self);
  };
  table.ctx = sink.get();
  detail::fill_table(*out, table);
  static_cast<void>(sink.release());
}

/// Writes to a sink that another side owns.
class SinkRef {
 public:
  explicit SinkRef(const hyper_sink* sink) : sink_(sink) {}
  const hyper_sink* raw() const { return sink_; }
  bool can(uint32_t flags) const { return (sink_->flags & flags) == flags; }
  uint64_t part_size() const { return sink_->part_size; }
  uint32_t max_parallel() const { return sink_->max_parallel; }
  void write_at(Op op, uint64_t offset, const void* buf, uint64_t len) const {
    check(sink_->write_at(sink_->ctx, op.raw(), 0, offset, buf, len));
  }
  void zero_at(Op op, uint64_t offset, uint64_t len) const {
    check(sink_->zero_at(sink_->ctx, op.raw(), 0, offset, len));
  }
  std::string path() const {
    const char* text = sink_->path(sink_->ctx);
    return text == nullptr ? std::string() : std::string(text);
  }
  /// Does nothing if the sink has no sync.
  void sync(Op op) const {
    if (sink_->sync != nullptr) check(sink_->sync(sink_->ctx, op.raw(), 0));
  }

 private:
  const hyper_sink* sink_;
};

}  // namespace hyper

#endif
