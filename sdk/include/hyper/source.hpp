// SPDX-License-Identifier: Apache-2.0
// Part of the C++17 face: sources. Derive from Source to offer bytes. Use SourceRef to read bytes
// that another side offers. Errors are exceptions (error.hpp) on both sides.
#ifndef HYPER_SOURCE_HPP
#define HYPER_SOURCE_HPP

#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "op.hpp"
#include "source.h"

namespace hyper {

struct SourceTraits {
  uint32_t flags = 0;  ///< HYPER_SOURCE_…
  uint64_t length = HYPER_LENGTH_UNKNOWN;
  uint32_t block_min = 1;
  uint32_t block_pref = 1u << 20;
  uint32_t block_max = 0;
  uint32_t max_parallel = 1;
  std::string format;  ///< at most 15 bytes
};

/// A function that lists extents calls it for each of them.
class EmitExtent {
 public:
  EmitExtent(hyper_emit_extent emit, void* arg) : emit_(emit), arg_(arg) {}
  void operator()(uint64_t offset, uint64_t length, uint32_t flags) const {
    const hyper_extent extent{offset, length, flags, 0};
    if (length != 0) check(emit_(arg_, &extent));
  }

 private:
  hyper_emit_extent emit_;
  void* arg_;
};

struct FileRange {
  std::string path;
  uint64_t offset = 0, length = 0;
};

/// Base of a plugin's sources. Override the functions that traits().flags promises. A source ends
/// with close(), followed at once by the destructor.
class Source {
 public:
  virtual ~Source() = default;
  virtual SourceTraits traits() const = 0;
  /// Fills all of buf or throws. The range lies within length.
  virtual void read_at(Op, uint64_t /*offset*/, void* /*buf*/, uint64_t /*len*/) { unsupported(); }
  /// Returns the next bytes; {nullptr, 0} at the end. Valid until the next call or release().
  virtual std::pair<const void*, uint64_t> next(Op) { unsupported(); }
  /// Lends bytes. release() gets `token` back.
  virtual const void* borrow(Op, uint64_t /*offset*/, uint64_t /*len*/, void** /*token*/) {
    unsupported();
  }
  virtual void release(void* /*token*/) noexcept {}
  virtual void extents(Op, uint64_t /*offset*/, uint64_t /*len*/, const EmitExtent&) {
    unsupported();
  }
  virtual FileRange locate(Op) { unsupported(); }
  virtual std::unique_ptr<Source> sibling(Op, const std::string& /*name*/) { unsupported(); }
  /// Completes integrity checks. Returns the JSON object that source.h describes, or "".
  virtual std::string finish(Op) { return {}; }
  /// Override it if the source needs an operation to end (its log, its time limit). A failure is
  /// only reported.
  virtual void close(Op) {}
  /// Returns an ability by its id (source.h). The table's functions get *self.
  virtual const void* get_ext(const char* /*id*/, void** /*self*/) noexcept { return nullptr; }

 protected:
  [[noreturn]] static void unsupported() {
    throw Error(HYPER_UNSUPPORTED, "this source has no such access");
  }
};

namespace detail {
struct SourceBox {
  std::unique_ptr<Source> source;
  FileRange range;
};
inline Source& source_of(void* ctx) {
  return *static_cast<SourceBox*>(ctx)->source;
}

/// Copies min(size) bytes of a table into the caller's.
template <class Table>
void fill_table(Table& out, Table table) {
  const uint32_t size = out.size < sizeof(Table) ? out.size : static_cast<uint32_t>(sizeof(Table));
  table.size = size;
  std::memcpy(&out, &table, size);
}
}  // namespace detail

/// Passes a Source over the ABI. The receiver's close() deletes it.
inline void export_source(std::unique_ptr<Source> source, hyper_source* out) {
  auto box = std::make_unique<detail::SourceBox>();
  box->source = std::move(source);
  const SourceTraits traits = box->source->traits();
  hyper_source table{};
  table.flags = traits.flags;
  table.length = traits.length;
  table.block_min = traits.block_min;
  table.block_pref = traits.block_pref;
  table.block_max = traits.block_max;
  table.max_parallel = traits.max_parallel;
  traits.format.copy(table.format, sizeof table.format - 1);  // the table is zero: NUL-terminated
  table.read_at = [](void* ctx, hyper_op* op, uint32_t flags, uint64_t offset, void* buf,
                     uint64_t len) noexcept {
    return detail::guard(op, flags, 0, [&] {
      Source& self = detail::source_of(ctx);
      const uint64_t length = self.traits().length;
      if (length != HYPER_LENGTH_UNKNOWN && (offset > length || len > length - offset))
        throw Error(HYPER_FAIL, "read beyond the end of the source");
      self.read_at(Op(op), offset, buf, len);
    });
  };
  table.next = [](void* ctx, hyper_op* op, uint32_t flags, hyper_span* out_span) noexcept {
    return detail::guard(op, flags, 0, [&] {
      const auto [data, len] = detail::source_of(ctx).next(Op(op));
      *out_span = hyper_span{data, len, 0, nullptr};
    });
  };
  table.borrow = [](void* ctx, hyper_op* op, uint32_t flags, uint64_t offset, uint64_t len,
                    hyper_span* out_span) noexcept {
    return detail::guard(op, flags, 0, [&] {
      void* token = nullptr;
      const void* data = detail::source_of(ctx).borrow(Op(op), offset, len, &token);
      *out_span = hyper_span{data, len, offset, token};
    });
  };
  table.release = [](void* ctx, hyper_span* span) noexcept {
    detail::source_of(ctx).release(span->token);
  };
  table.extents = [](void* ctx, hyper_op* op, uint32_t flags, uint64_t offset, uint64_t len,
                     hyper_emit_extent emit, void* arg) noexcept {
    return detail::guard(op, flags, 0, [&] {
      detail::source_of(ctx).extents(Op(op), offset, len, EmitExtent(emit, arg));
    });
  };
  table.locate = [](void* ctx, hyper_op* op, uint32_t flags, hyper_file_range* out_range) noexcept {
    return detail::guard(op, flags, 0, [&] {
      auto& box_ref = *static_cast<detail::SourceBox*>(ctx);
      box_ref.range = box_ref.source->locate(Op(op));
      hyper_file_range range{};
      range.path = box_ref.range.path.c_str();
      range.offset = box_ref.range.offset;
      range.length = box_ref.range.length;
      detail::fill_table(*out_range, range);
    });
  };
  table.sibling = [](void* ctx, hyper_op* op, uint32_t flags, const char* name,
                     hyper_source* out_source) noexcept {
    return detail::guard(op, flags, 0, [&] {
      export_source(detail::source_of(ctx).sibling(Op(op), name), out_source);
    });
  };
  table.finish = [](void* ctx, hyper_op* op, uint32_t flags, hyper_emit emit, void* arg) noexcept {
    return detail::guard(op, flags, 0, [&] {
      const std::string json = detail::source_of(ctx).finish(Op(op));
      if (!json.empty()) Emit(emit, arg)(json);
    });
  };
  table.close = [](void* ctx, hyper_op* op) noexcept {
    const std::unique_ptr<detail::SourceBox> owned(static_cast<detail::SourceBox*>(ctx));
    static_cast<void>(detail::guard(op, [&] { owned->source->close(Op(op)); }));
  };
  table.get_ext = [](void* ctx, const char* id, void** self) noexcept {
    return detail::source_of(ctx).get_ext(id, self);
  };
  table.ctx = box.get();
  detail::fill_table(*out, table);
  static_cast<void>(box.release());
}

/// Bytes lent by a source, given back on destruction.
class Span {
 public:
  Span() = default;
  Span(const hyper_source* source, hyper_span span) : source_(source), span_(span) {}
  Span(Span&& other) noexcept { swap(other); }
  Span& operator=(Span&& other) noexcept { return swap(other), *this; }
  Span(const Span&) = delete;
  Span& operator=(const Span&) = delete;
  ~Span() {
    if (source_ != nullptr && source_->release != nullptr) source_->release(source_->ctx, &span_);
  }
  const unsigned char* data() const { return static_cast<const unsigned char*>(span_.data); }
  uint64_t size() const { return span_.len; }
  bool empty() const { return span_.len == 0; }

 private:
  void swap(Span& other) noexcept {
    std::swap(source_, other.source_);
    std::swap(span_, other.span_);
  }
  const hyper_source* source_ = nullptr;
  hyper_span span_{};
};

/// Reads a source that another side owns (SourceRef) or that this object closes (OwnedSource).
class SourceRef {
 public:
  explicit SourceRef(const hyper_source* source) : source_(source) {}
  const hyper_source* raw() const { return source_; }
  /// An ability of the source: its table and the object for the table's functions. A null table:
  /// the source does not have the ability.
  template <class Table>
  std::pair<const Table*, void*> ext(const char* id) const {
    void* self = nullptr;
    const void* table =
        source_->get_ext == nullptr ? nullptr : source_->get_ext(source_->ctx, id, &self);
    return {static_cast<const Table*>(table), self};
  }
  bool can(uint32_t flags) const { return (source_->flags & flags) == flags; }
  uint64_t length() const { return source_->length; }
  uint32_t max_parallel() const { return source_->max_parallel; }
  std::string format() const {
    const void* end = std::memchr(source_->format, 0, sizeof source_->format);
    return end == nullptr ? std::string(source_->format, sizeof source_->format)
                          : std::string(source_->format);
  }
  void read_at(Op op, uint64_t offset, void* buf, uint64_t len) const {
    check(source_->read_at(source_->ctx, op.raw(), 0, offset, buf, len));
  }
  Span next(Op op) const {
    hyper_span span{};
    check(source_->next(source_->ctx, op.raw(), 0, &span));
    return span.len == 0 ? Span() : Span(source_, span);
  }
  Span borrow(Op op, uint64_t offset, uint64_t len) const {
    hyper_span span{};
    check(source_->borrow(source_->ctx, op.raw(), 0, offset, len, &span));
    return Span(source_, span);
  }
  /// Calls f(const hyper_extent&) for each extent. An exception of f ends the listing and is
  /// rethrown.
  template <class F>
  void extents(Op op, uint64_t offset, uint64_t len, F f) const {
    struct Call {
      F& f;
      std::exception_ptr error;
    } call{f, nullptr};
    const hyper_st status = source_->extents(
        source_->ctx, op.raw(), 0, offset, len,
        [](void* arg, const hyper_extent* extent) noexcept -> hyper_st {
          auto& self = *static_cast<Call*>(arg);
          try {
            self.f(*extent);
            return HYPER_OK;
          } catch (...) {
            self.error = std::current_exception();
            return HYPER_FAIL;
          }
        },
        &call);
    if (call.error) std::rethrow_exception(call.error);
    check(status);
  }
  FileRange locate(Op op) const {
    hyper_file_range range{};
    range.size = sizeof range;
    check(source_->locate(source_->ctx, op.raw(), 0, &range));
    return {range.path, range.offset, range.length};
  }
  /// The JSON that finish() emits, or "".
  std::string finish(Op op) const {
    if (source_->finish == nullptr) return {};
    std::string json;
    auto take = [&](std::string text) { json = std::move(text); };
    check(source_->finish(source_->ctx, op.raw(), 0, &detail::emit_to<decltype(take)>, &take));
    return json;
  }

 protected:
  const hyper_source* source_;
};

class OwnedSource : public SourceRef {
 public:
  OwnedSource() : SourceRef(&table_) { table_.size = sizeof table_; }
  OwnedSource(const OwnedSource&) = delete;
  OwnedSource& operator=(const OwnedSource&) = delete;
  ~OwnedSource() { end(nullptr); }
  /// Closes with the operation's log and time limit. The destructor closes without an operation.
  void close(Op op) { end(op.raw()); }
  /// An opener fills it.
  hyper_source* out() { return &table_; }

 private:
  void end(hyper_op* op) {
    if (table_.close != nullptr) table_.close(table_.ctx, op);
    table_.close = nullptr;
  }
  hyper_source table_{};
};

inline std::unique_ptr<OwnedSource> open_sibling(const SourceRef& source, Op op,
                                                 const std::string& name) {
  auto opened = std::make_unique<OwnedSource>();
  check(source.raw()->sibling(source.raw()->ctx, op.raw(), 0, name.c_str(), opened->out()));
  return opened;
}

}  // namespace hyper

#endif
