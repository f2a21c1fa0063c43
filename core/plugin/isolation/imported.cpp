// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/isolation/imported.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <hyper/source.hpp>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/plugin/isolation/crossing.hpp"

namespace hyperhost::isolation {
namespace {

struct SourceFacts {
  uint64_t flags = 0, length = 0;
  uint32_t block_min = 0, block_pref = 0, block_max = 0, max_parallel = 0;
  char format[16] = "";
};
struct SinkFacts {
  uint64_t flags = 0, part_size = 0;
  uint32_t block_min = 0, max_parallel = 0;
};
struct BlockFacts {
  uint64_t length = 0;
  uint32_t flags = 0, block_min = 0, block_pref = 0, max_parallel = 0;
};

/// The object behind an imported table.
struct Imported final : RemoteObject {
  Imported(std::shared_ptr<Peer> other, uint64_t number) : peer(std::move(other)), id(number) {}
  Remote remote(hyper_op*) override { return {peer, id}; }
  const std::shared_ptr<Peer> peer;
  const uint64_t id;
  uint64_t block_min = 1, length = 0;
  bool in_file = false;
  std::string path;  // of a sink
  std::string name;  // of a block
  std::mutex mutex;  // guards `range`, which is set once: its path lives as long as the source
  struct Range {
    std::string path;
    uint64_t offset = 0, length = 0;
    Fd file;  // at the worker
  };
  std::optional<Range> range;
};
Imported& self_of(void* ctx) {
  return *static_cast<Imported*>(static_cast<RemoteObject*>(ctx));
}

/// The place of a FILE source's bytes; null, with `status`, if the other side fails.
const Imported::Range* range_of(Imported& self, hyper_op* op, uint32_t flags, hyper_st& status) {
  const std::lock_guard lock(self.mutex);
  if (self.range) return &*self.range;
  Call call(*self.peer, Verb::kLocate, self.id, op);
  call.request.flags = flags;
  if ((status = call.go()) != HYPER_OK) return nullptr;
  Imported::Range range{
      PayloadReader(call.lane(), call.answer).text(), call.answer.a, call.answer.b, {}};
  // The host never opens a file that a worker names.
  if (!self.peer->is_host()) range.file = Fd(::open(range.path.c_str(), O_RDONLY | O_CLOEXEC));
  self.range = std::move(range);
  return &*self.range;
}

/// In the worker: reads from the local file that holds the bytes, without a call to the host.
/// False: the caller must ask the host, which also reports what is wrong.
bool read_file(Imported& self, hyper_op* op, uint32_t flags, uint64_t offset, void* buf,
               uint64_t len) {
  if (flags != 0 || !self.in_file || self.peer->is_host() || offset > self.length ||
      len > self.length - offset)
    return false;
  hyper_st status = HYPER_OK;
  const Imported::Range* range = range_of(self, op, flags, status);
  if (range == nullptr || !range->file.valid()) return false;
  for (uint64_t done = 0; done < len;) {
    const ssize_t got = ::pread(range->file.get(), static_cast<char*>(buf) + done, len - done,
                                static_cast<off_t>(range->offset + offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    done += static_cast<uint64_t>(got);
  }
  return true;
}

template <Verb kVerb>
hyper_st read_at(void* ctx, hyper_op* op, uint32_t flags, uint64_t offset, void* buf,
                 uint64_t len) noexcept {
  return guarded(op, [&]() -> hyper_st {
    Imported& self = self_of(ctx);
    if (read_file(self, op, flags, offset, buf, len)) return HYPER_OK;
    const uint64_t piece = std::max(self.block_min, kPiece / self.block_min * self.block_min);
    for (uint64_t done = 0;; done += piece) {
      Call call(*self.peer, kVerb, self.id, op);
      call.request.flags = flags;
      call.request.a = offset + done;
      call.request.b = std::min(piece, len - done);
      char* const to = static_cast<char*>(buf) + done;
      const bool carried = !self.peer->name_to_write(call.request, to, call.request.b);
      if (const hyper_st status = call.go(); status != HYPER_OK) return status;
      if (call.answer.payload != (carried ? call.request.b : 0))
        throw Error(Code::kFail, "a worker answered a read with another length");
      if (call.answer.payload != 0) std::memcpy(to, call.lane().data(), call.request.b);
      if (len - done <= piece) return HYPER_OK;
    }
  });
}

hyper_st next(void* ctx, hyper_op* op, uint32_t flags, hyper_span* out) noexcept {
  return guarded(op, [&]() -> hyper_st {
    Imported& self = self_of(ctx);
    Call call(*self.peer, Verb::kNext, self.id, op);
    call.request.flags = flags;
    if (const hyper_st status = call.go(); status != HYPER_OK) return status;
    // The bytes stay in the lane's memory until release().
    *out = hyper_span{call.lane().data(), call.answer.payload, 0, nullptr};
    if (out->len != 0) out->token = new std::shared_ptr<Peer::Outgoing>(call.keep());
    return HYPER_OK;
  });
}

void release(void*, hyper_span* span) noexcept {
  delete static_cast<std::shared_ptr<Peer::Outgoing>*>(span->token);
  span->token = nullptr;
}

template <Verb kVerb>
hyper_st extents(void* ctx, hyper_op* op, uint32_t flags, uint64_t offset, uint64_t len,
                 hyper_emit_extent emit, void* arg) noexcept {
  return guarded(op, [&]() -> hyper_st {
    Imported& self = self_of(ctx);
    for (const uint64_t end = offset + len; offset < end;) {
      std::vector<hyper_extent> batch;
      {
        Call call(*self.peer, kVerb, self.id, op);
        call.request.flags = flags;
        call.request.a = offset;
        call.request.b = end - offset;
        if (const hyper_st status = call.go(); status != HYPER_OK) return status;
        batch.resize(std::min<uint64_t>(call.answer.payload / sizeof(hyper_extent), kMostExtents));
        if (batch.empty()) throw Error(Code::kFail, "a worker reported no extents");
        std::memcpy(batch.data(), call.lane().data(), batch.size() * sizeof(hyper_extent));
      }
      for (const hyper_extent& extent : batch)
        if (const hyper_st status = emit(arg, &extent); status != HYPER_OK) return status;
      const uint64_t reached = batch.back().offset + batch.back().length;
      if (reached <= offset) throw Error(Code::kFail, "a worker reported extents that go back");
      offset = reached;
    }
    return HYPER_OK;
  });
}

hyper_st locate(void* ctx, hyper_op* op, uint32_t flags, hyper_file_range* out) noexcept {
  return guarded(op, [&]() -> hyper_st {
    Imported& self = self_of(ctx);
    hyper_st status = HYPER_OK;
    const Imported::Range* found = range_of(self, op, flags, status);
    if (found == nullptr) return status;
    hyper_file_range range{};
    range.size = out->size;
    range.path = found->path.c_str();
    range.offset = found->offset;
    range.length = found->length;
    std::memcpy(out, &range, std::min<std::size_t>(out->size, sizeof range));
    return HYPER_OK;
  });
}

template <Verb kVerb>
void close(void* ctx, hyper_op* op) noexcept {
  const std::unique_ptr<Imported> self(&self_of(ctx));
  static_cast<void>(guarded(op, [&]() -> hyper_st {
    if (self->peer->gone()) return HYPER_OK;
    return Call(*self->peer, kVerb, self->id, op).go();
  }));
}

template <Verb kVerb>
hyper_st write_at(void* ctx, hyper_op* op, uint32_t flags, uint64_t offset, const void* buf,
                  uint64_t len) noexcept {
  return guarded(op, [&]() -> hyper_st {
    Imported& self = self_of(ctx);
    Call call(*self.peer, kVerb, self.id, op);
    call.request.flags = flags;
    call.request.a = offset;
    call.request.b = len;
    if (!call.name_to_read(buf, len)) call.arguments().bytes(buf, len);
    return call.go();
  });
}

const char* path(void* ctx) noexcept {
  return self_of(ctx).path.c_str();
}

}  // namespace

void write_source(PayloadWriter& out, const hyper_source& table) {
  SourceFacts facts;
  // Lent memory does not cross the process border: the reader gets copies.
  facts.flags = table.flags & ~HYPER_SOURCE_BORROW;
  facts.length = table.length;
  facts.block_min = table.block_min;
  facts.block_pref = table.block_pref;
  facts.block_max = table.block_max;
  facts.max_parallel = table.max_parallel;
  std::memcpy(facts.format, table.format, sizeof facts.format);
  out.bytes(&facts, sizeof facts);
}

void import_source(std::shared_ptr<Peer> peer, uint64_t id, PayloadReader& description,
                   hyper_source* out) {
  const auto facts = description.pod<SourceFacts>();
  auto self = std::make_unique<Imported>(std::move(peer), id);
  self->block_min = std::max<uint64_t>(facts.block_min, 1);
  self->length = facts.length;
  self->in_file = (facts.flags & HYPER_SOURCE_FILE) != 0;
  hyper_source table{};
  table.flags = static_cast<uint32_t>(facts.flags) & ~HYPER_SOURCE_BORROW;
  table.length = facts.length;
  table.block_min = facts.block_min;
  table.block_pref = facts.block_pref;
  table.block_max = facts.block_max;
  table.max_parallel = facts.max_parallel;
  std::memcpy(table.format, facts.format, sizeof table.format);
  table.read_at = read_at<Verb::kReadAt>;
  table.next = next;
  table.release = release;
  table.extents = extents<Verb::kExtents>;
  table.locate = locate;
  SourceCalls::fill(table);
  table.close = close<Verb::kSourceClose>;
  table.ctx = static_cast<RemoteObject*>(self.release());
  hyper::detail::fill_table(*out, table);
}

void write_sink(PayloadWriter& out, const hyper_sink& table) {
  const SinkFacts facts{table.flags, table.part_size, table.block_min, table.max_parallel};
  const char* file = (table.flags & HYPER_SINK_PATH) != 0 ? table.path(table.ctx) : nullptr;
  out.bytes(&facts, sizeof facts).text(file == nullptr ? "" : file);
}

void import_sink(std::shared_ptr<Peer> peer, uint64_t id, PayloadReader& description,
                 hyper_sink* out) {
  const auto facts = description.pod<SinkFacts>();
  auto self = std::make_unique<Imported>(std::move(peer), id);
  self->path = description.text();
  hyper_sink table{};
  table.flags = static_cast<uint32_t>(facts.flags);
  table.part_size = facts.part_size;
  table.block_min = facts.block_min;
  table.max_parallel = facts.max_parallel;
  table.write_at = write_at<Verb::kWriteAt>;
  table.path = path;
  SinkCalls::fill(table);
  table.close = close<Verb::kSinkClose>;
  table.ctx = static_cast<RemoteObject*>(self.release());
  hyper::detail::fill_table(*out, table);
}

void write_block(PayloadWriter& out, const hyper_block& table) {
  const BlockFacts facts{table.length, table.flags, table.block_min, table.block_pref,
                         table.max_parallel};
  out.bytes(&facts, sizeof facts).text(table.id);
}

hyper_block import_block(std::shared_ptr<Peer> peer, uint64_t id, PayloadReader& description) {
  const auto facts = description.pod<BlockFacts>();
  auto self = std::make_unique<Imported>(std::move(peer), id);
  self->block_min = std::max<uint64_t>(facts.block_min, 1);
  self->length = facts.length;
  self->name = description.text();
  hyper_block table{};
  table.size = sizeof table;
  table.flags = facts.flags;
  table.id = self->name.c_str();
  table.length = facts.length;
  table.block_min = facts.block_min;
  table.block_pref = facts.block_pref;
  table.max_parallel = facts.max_parallel;
  table.read_at = read_at<Verb::kBlockRead>;
  table.write_at = write_at<Verb::kBlockWrite>;
  table.extents = extents<Verb::kBlockExtents>;
  BlockCalls::fill(table);
  table.get_ext = [](void*, const char*, void**) noexcept -> const void* { return nullptr; };
  table.ctx = static_cast<RemoteObject*>(self.release());
  return table;
}

void forget_block(hyper_block& table) {
  const std::unique_ptr<Imported> self(&self_of(table.ctx));
  table = {};
}

}  // namespace hyperhost::isolation
