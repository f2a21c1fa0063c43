// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/isolation/offered.hpp"

#include <algorithm>
#include <cstring>

#include "core/plugin/isolation/crossing.hpp"

namespace hyperhost::isolation {

OfferedSource::~OfferedSource() {
  if (span.len != 0 && table.release != nullptr) table.release(table.ctx, &span);
  end(nullptr);
}

void OfferedSource::end(hyper_op* op) {
  if (std::exchange(owned, false) && table.close != nullptr) table.close(table.ctx, op);
}

void OpenedThrough::add(uint64_t id, const std::shared_ptr<OfferedSource>& opened) {
  const std::lock_guard lock(mutex_);
  opened_.erase(std::remove_if(opened_.begin(), opened_.end(),
                               [](const auto& one) { return one.second.expired(); }),
                opened_.end());
  opened_.emplace_back(id, opened);
}

void OpenedThrough::take_back(Peer& peer) {
  const std::lock_guard lock(mutex_);
  for (const auto& [id, weak] : opened_) {
    const std::shared_ptr<OfferedSource> opened = weak.lock();
    if (!opened) continue;
    peer.take_back(id, opened);
    opened->opened.take_back(peer);
  }
  opened_.clear();
}

OfferedSink::~OfferedSink() {
  end(nullptr);
}

void OfferedSink::end(hyper_op* op) {
  if (std::exchange(owned, false) && table.close != nullptr) table.close(table.ctx, op);
}

namespace {

struct Batch {
  std::vector<hyper_extent> extents;
  static hyper_st take(void* self, const hyper_extent* extent) noexcept {
    auto& batch = *static_cast<Batch*>(self);
    try {
      if (batch.extents.size() >= kMostExtents) return HYPER_BUSY;  // a later call gets the rest
      batch.extents.push_back(*extent);
      return HYPER_OK;
    } catch (const std::exception&) {
      return HYPER_FAIL;
    }
  }
};

hyper_st serve_next(OfferedSource& source, Incoming& call) {
  const std::lock_guard lock(source.mutex);
  const hyper_source& table = source.table;
  if (source.span.len == 0) {
    source.given = 0;
    const hyper_st status = table.next(table.ctx, call.op, call.flags(), &source.span);
    if (status != HYPER_OK || source.span.len == 0) {
      source.span = {};
      return status;
    }
  }
  const uint64_t size = std::min(kPiece, source.span.len - source.given);
  std::memcpy(call.lane.room(size), static_cast<const char*>(source.span.data) + source.given,
              size);
  call.answer.payload = size;
  source.given += size;
  if (source.given == source.span.len) {
    if (table.release != nullptr) table.release(table.ctx, &source.span);
    source.span = {};
  }
  return HYPER_OK;
}

/// A worker may call only the slots that the flags promise: other slots may be empty.
void check_promised(const hyper_source& table, Verb verb) {
  const uint32_t needed = verb == Verb::kReadAt    ? HYPER_SOURCE_SEEK
                          : verb == Verb::kNext    ? HYPER_SOURCE_STREAM
                          : verb == Verb::kExtents ? HYPER_SOURCE_EXTENTS
                          : verb == Verb::kLocate  ? HYPER_SOURCE_FILE
                          : verb == Verb::kSibling ? HYPER_SOURCE_SIBLING
                                                   : 0;
  if ((table.flags & needed) != needed)
    throw Error(Code::kFail, "a worker asked a source for what it does not do");
}

void check_promised(const hyper_sink& table, Verb verb) {
  constexpr uint32_t kWritten = HYPER_SINK_RANDOM | HYPER_SINK_PARTS | HYPER_SINK_APPEND;
  const uint32_t one_of = verb == Verb::kWriteAt  ? kWritten
                          : verb == Verb::kZeroAt ? HYPER_SINK_RANDOM
                          : verb == Verb::kReopen ? HYPER_SINK_READBACK
                          : verb == Verb::kKeep   ? HYPER_SINK_RESUME
                                                  : ~0u;
  if ((table.flags & one_of) == 0)
    throw Error(Code::kFail, "a worker asked a sink for what it does not do");
}

void check_promised(const hyper_block& table, Verb verb) {
  const uint32_t needed = verb == Verb::kBlockRead      ? 0
                          : verb == Verb::kBlockExtents ? HYPER_BLOCK_EXTENTS
                          : verb == Verb::kBlockAttach || verb == Verb::kBlockDetach
                              ? HYPER_BLOCK_ATTACH
                              : HYPER_BLOCK_WRITE;
  if ((table.flags & needed) != needed)
    throw Error(Code::kFail, "a worker asked a disk for what it does not do");
}

template <class Table>
hyper_st serve_read(const Table& table, Incoming& call) {
  const Frame& request = call.request;
  if (call.peer.is_host() && (request.a > table.length || request.b > table.length - request.a))
    throw Error(Code::kFail, "a worker asked for bytes beyond the end of a disk");
  // The worker chose the length: room() and named_to_write() bound it.
  const bool carried = request.memory == 0;
  unsigned char* const to =
      carried ? call.lane.room(request.b) : call.peer.named_to_write(request, request.b);
  const hyper_st status = table.read_at(table.ctx, call.op, call.flags(), request.a, to, request.b);
  call.answer.payload = status == HYPER_OK && carried ? request.b : 0;
  return status;
}

template <class Table>
hyper_st serve_write(const Table& table, Incoming& call) {
  const Frame& request = call.request;
  const bool carried = request.memory == 0;
  const void* const from = carried ? call.lane.data() : call.peer.named_to_read(request, request.b);
  return table.write_at(table.ctx, call.op, call.flags(), request.a, from,
                        carried ? request.payload : request.b);
}

template <class Table>
hyper_st serve_extents(const Table& table, Incoming& call) {
  Batch batch;
  const hyper_st status = table.extents(table.ctx, call.op, call.flags(), call.request.a,
                                        call.request.b, &Batch::take, &batch);
  if (status != HYPER_OK && !(status == HYPER_BUSY && batch.extents.size() == kMostExtents))
    return status;
  call.answer.payload =
      PayloadWriter(call.lane)
          .bytes(batch.extents.data(), batch.extents.size() * sizeof(hyper_extent))
          .size();
  return HYPER_OK;
}

hyper_st serve_locate(const hyper_source& table, Incoming& call) {
  hyper_file_range range{};
  range.size = sizeof range;
  const hyper_st status = table.locate(table.ctx, call.op, call.flags(), &range);
  if (status != HYPER_OK || range.path == nullptr) return status == HYPER_OK ? HYPER_FAIL : status;
  call.answer.payload = PayloadWriter(call.lane).text(range.path).size();
  call.answer.a = range.offset;
  call.answer.b = range.length;
  return HYPER_OK;
}

/// The caller owns the offered table during the call.
std::shared_ptr<void> object_of(void* ctx) {
  return {std::shared_ptr<void>(), ctx};
}

void serve_source(OfferedSource& source, Incoming& call) {
  const hyper_source& table = source.table;
  const Turns::Turn turn(source.turns, table.max_parallel);
  if (call.peer.is_host()) check_promised(table, call.request.verb);
  call.through = &source.opened;
  if (SourceCalls::serve(call, table, [&] { return object_of(table.ctx); })) return;
  call.answer.status = call.request.verb == Verb::kReadAt    ? serve_read(table, call)
                       : call.request.verb == Verb::kNext    ? serve_next(source, call)
                       : call.request.verb == Verb::kExtents ? serve_extents(table, call)
                                                             : serve_locate(table, call);
}

void serve_sink(OfferedSink& sink, Incoming& call) {
  const hyper_sink& table = sink.table;
  const Turns::Turn turn(sink.turns, table.max_parallel);
  if (call.peer.is_host()) check_promised(table, call.request.verb);
  call.through = &sink.opened;
  if (SinkCalls::serve(call, table, [&] { return object_of(table.ctx); })) return;
  call.answer.status = serve_write(table, call);  // kWriteAt
}

void serve_block(OfferedBlock& block, Incoming& call) {
  const hyper_block& table = block.table;
  const Turns::Turn turn(block.turns, table.max_parallel);
  if (call.peer.is_host()) check_promised(table, call.request.verb);
  if (BlockCalls::serve(call, table, [&] { return object_of(table.ctx); })) return;
  call.answer.status = call.request.verb == Verb::kBlockRead    ? serve_read(table, call)
                       : call.request.verb == Verb::kBlockWrite ? serve_write(table, call)
                                                                : serve_extents(table, call);
}

/// Closes a table that the other side opened, when no other call uses it.
template <class Offered>
void close_offered(Incoming& call) {
  const uint64_t id = call.request.object;
  const std::shared_ptr<Offered> offered = call.peer.find<Offered>(id);
  if (!offered) return;
  if (!offered->owned) return call.peer.remove(id);  // it is lent: its owner closes it
  call.peer.take_back(id, offered);
  offered->end(call.op);
}

}  // namespace

bool serve_table(Incoming& call) {
  const auto gone = [] {
    throw Error(Code::kFail, "a worker asked about something that is not there any more");
  };
  switch (call.request.verb) {
    case Verb::kReadAt:
    case Verb::kNext:
    case Verb::kExtents:
    case Verb::kLocate:
    case Verb::kSibling:
    case Verb::kFinish: {
      const auto source = call.peer.find<OfferedSource>(call.request.object);
      if (!source) gone();
      serve_source(*source, call);
      return true;
    }
    case Verb::kWriteAt:
    case Verb::kZeroAt:
    case Verb::kSync:
    case Verb::kReopen:
    case Verb::kKeep:
    case Verb::kCommit: {
      const auto sink = call.peer.find<OfferedSink>(call.request.object);
      if (!sink) gone();
      serve_sink(*sink, call);
      return true;
    }
    case Verb::kBlockRead:
    case Verb::kBlockWrite:
    case Verb::kBlockZero:
    case Verb::kBlockFlush:
    case Verb::kBlockExtents:
    case Verb::kBlockAttach:
    case Verb::kBlockDetach: {
      const auto block = call.peer.find<OfferedBlock>(call.request.object);
      if (!block) gone();
      serve_block(*block, call);
      return true;
    }
    case Verb::kSourceClose:
      close_offered<OfferedSource>(call);
      return true;
    case Verb::kSinkClose:
      close_offered<OfferedSink>(call);
      return true;
    case Verb::kEmit: {
      const auto emit = call.peer.find<OfferedEmit>(call.request.object);
      if (!emit) gone();
      std::string json(static_cast<std::size_t>(call.request.payload), '\0');
      call.in.bytes(json.data(), json.size());
      call.answer.status = emit->emit(emit->arg, json.data(), json.size());
      return true;
    }
    default:
      return false;
  }
}

}  // namespace hyperhost::isolation
