// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/filter/throttled_source.hpp"

#include <algorithm>
#include <cstring>

#include "core/plugin/operation.hpp"

namespace hyperhost {
namespace {

// A long read pays by the piece, so that a short one of another disk gets its turn in between.
constexpr uint64_t kPiece = 64u << 10;

struct Throttled {
  std::unique_ptr<SourceHandle> inner;
  std::shared_ptr<Bandwidth> bandwidth;
  bool in_place;
  uint64_t owed = 0;  // of a stream's last span, whose length was not known before
};

const hyper_source& inner(void* ctx) {
  return static_cast<Throttled*>(ctx)->inner->table();
}

hyper_st pay(void* ctx, hyper_op* op, uint64_t bytes) {
  if (op == nullptr) return HYPER_OK;
  RateLimit& limit = static_cast<Throttled*>(ctx)->bandwidth->sources();
  const CancelSource& cancel = static_cast<Operation*>(op)->cancel();
  for (uint64_t piece = 0; bytes != 0; bytes -= piece) {
    piece = std::min(bytes, kPiece);
    if (!limit.take(piece, cancel)) return HYPER_CANCELLED;
  }
  return HYPER_OK;
}

hyper_st read_at(void* ctx, hyper_op* op, uint64_t offset, void* buffer, uint64_t length) noexcept {
  if (const hyper_st status = pay(ctx, op, length); status != HYPER_OK) return status;
  return inner(ctx).read_at(inner(ctx).ctx, op, offset, buffer, length);
}
hyper_st next(void* ctx, hyper_op* op, hyper_span* out) noexcept {
  uint64_t& owed = static_cast<Throttled*>(ctx)->owed;
  if (const hyper_st status = pay(ctx, op, owed); status != HYPER_OK) return status;
  owed = 0;
  const hyper_st status = inner(ctx).next(inner(ctx).ctx, op, out);
  if (status == HYPER_OK) owed = out->len;
  return status;
}
hyper_st borrow(void* ctx, hyper_op* op, uint64_t offset, uint64_t length,
                hyper_span* out) noexcept {
  if (const hyper_st status = pay(ctx, op, length); status != HYPER_OK) return status;
  return inner(ctx).borrow(inner(ctx).ctx, op, offset, length, out);
}
void release(void* ctx, hyper_span* span) noexcept {
  if (inner(ctx).release != nullptr) inner(ctx).release(inner(ctx).ctx, span);
}
hyper_st extents(void* ctx, hyper_op* op, uint64_t offset, uint64_t length, hyper_emit_extent emit,
                 void* arg) noexcept {
  return inner(ctx).extents(inner(ctx).ctx, op, offset, length, emit, arg);
}
hyper_st locate(void* ctx, hyper_file_range* out) noexcept {
  return inner(ctx).locate(inner(ctx).ctx, out);
}
hyper_st finish(void* ctx, hyper_op* op, hyper_emit emit, void* arg) noexcept {
  return inner(ctx).finish == nullptr ? HYPER_OK : inner(ctx).finish(inner(ctx).ctx, op, emit, arg);
}
void close(void* ctx) noexcept {
  delete static_cast<Throttled*>(ctx);
}
hyper_st sibling(void* ctx, hyper_op* op, const char* name, hyper_source* out) noexcept;

void wrap(std::unique_ptr<SourceHandle> source, std::shared_ptr<Bandwidth> bandwidth, bool in_place,
          hyper_source* out) {
  hyper_source table = source->table();
  if (!in_place) table.flags &= ~HYPER_SOURCE_FILE;
  table.read_at = read_at;
  table.next = next;
  table.borrow = borrow;
  table.release = release;
  table.extents = extents;
  table.locate = in_place ? locate : nullptr;
  table.sibling = sibling;
  table.finish = finish;
  table.close = close;
  table.size = out->size;
  table.ctx = new Throttled{std::move(source), std::move(bandwidth), in_place};
  std::memcpy(out, &table, std::min<std::size_t>(out->size, sizeof table));
}

hyper_st sibling(void* ctx, hyper_op* op, const char* name, hyper_source* out) noexcept {
  try {
    const auto& self = *static_cast<Throttled*>(ctx);
    auto opened = std::make_unique<SourceHandle>();
    const hyper_st status =
        opened->opened(inner(ctx).sibling(inner(ctx).ctx, op, name, opened->out()));
    if (status == HYPER_OK) wrap(std::move(opened), self.bandwidth, self.in_place, out);
    return status;
  } catch (const std::exception&) {  // out of memory
    return HYPER_FAIL;
  }
}

}  // namespace

std::unique_ptr<SourceHandle> throttled(std::unique_ptr<SourceHandle> source,
                                        std::shared_ptr<Bandwidth> bandwidth, bool in_place) {
  if (bandwidth->sources().rate() == 0) return source;
  auto outer = std::make_unique<SourceHandle>();
  wrap(std::move(source), std::move(bandwidth), in_place, outer->out());
  return outer;
}

}  // namespace hyperhost
