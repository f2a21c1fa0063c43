// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/filter/serial_source.hpp"

#include <algorithm>
#include <cstring>

namespace hyperhost {
namespace {

struct Serial {
  std::unique_ptr<SourceHandle> inner;
  const Plugin& plugin;
};

const hyper_source& inner(void* ctx) {
  return static_cast<Serial*>(ctx)->inner->table();
}
auto enter(void* ctx) {
  return static_cast<Serial*>(ctx)->plugin.enter();
}

hyper_st read_at(void* ctx, hyper_op* op, uint64_t offset, void* buffer, uint64_t length) noexcept {
  const auto lock = enter(ctx);
  return inner(ctx).read_at(inner(ctx).ctx, op, offset, buffer, length);
}
hyper_st next(void* ctx, hyper_op* op, hyper_span* out) noexcept {
  const auto lock = enter(ctx);
  return inner(ctx).next(inner(ctx).ctx, op, out);
}
hyper_st borrow(void* ctx, hyper_op* op, uint64_t offset, uint64_t length,
                hyper_span* out) noexcept {
  const auto lock = enter(ctx);
  return inner(ctx).borrow(inner(ctx).ctx, op, offset, length, out);
}
void release(void* ctx, hyper_span* span) noexcept {
  const auto lock = enter(ctx);
  if (inner(ctx).release != nullptr) inner(ctx).release(inner(ctx).ctx, span);
}
hyper_st extents(void* ctx, hyper_op* op, uint64_t offset, uint64_t length, hyper_emit_extent emit,
                 void* arg) noexcept {
  const auto lock = enter(ctx);
  return inner(ctx).extents(inner(ctx).ctx, op, offset, length, emit, arg);
}
hyper_st locate(void* ctx, hyper_file_range* out) noexcept {
  const auto lock = enter(ctx);
  return inner(ctx).locate(inner(ctx).ctx, out);
}
hyper_st finish(void* ctx, hyper_op* op, hyper_emit emit, void* arg) noexcept {
  const auto lock = enter(ctx);
  return inner(ctx).finish == nullptr ? HYPER_OK : inner(ctx).finish(inner(ctx).ctx, op, emit, arg);
}
void close(void* ctx) noexcept {
  const std::unique_ptr<Serial> self(static_cast<Serial*>(ctx));
  const auto lock = self->plugin.enter();
  self->inner.reset();
}
hyper_st sibling(void* ctx, hyper_op* op, const char* name, hyper_source* out) noexcept;

void wrap(std::unique_ptr<SourceHandle> source, const Plugin& plugin, hyper_source* out) {
  hyper_source table = source->table();
  table.read_at = read_at;
  table.next = next;
  table.borrow = borrow;
  table.release = release;
  table.extents = extents;
  table.locate = locate;
  table.sibling = sibling;
  table.finish = finish;
  table.close = close;
  table.max_parallel = 1;
  table.size = out->size;
  table.ctx = new Serial{std::move(source), plugin};
  std::memcpy(out, &table, std::min<std::size_t>(out->size, sizeof table));
}

hyper_st sibling(void* ctx, hyper_op* op, const char* name, hyper_source* out) noexcept {
  const auto lock = enter(ctx);
  try {
    auto opened = std::make_unique<SourceHandle>();
    const hyper_st status =
        opened->opened(inner(ctx).sibling(inner(ctx).ctx, op, name, opened->out()));
    if (status == HYPER_OK) wrap(std::move(opened), static_cast<Serial*>(ctx)->plugin, out);
    return status;
  } catch (const std::exception&) {  // out of memory
    return HYPER_FAIL;
  }
}

}  // namespace

std::unique_ptr<SourceHandle> serialized(std::unique_ptr<SourceHandle> source,
                                         const Plugin& plugin) {
  if (!plugin.serial()) return source;
  auto outer = std::make_unique<SourceHandle>();
  wrap(std::move(source), plugin, outer->out());
  return outer;
}

}  // namespace hyperhost
