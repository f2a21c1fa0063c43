// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/isolation/offered.hpp"

#include <algorithm>
#include <cstring>

#include "core/plugin/isolation/call.hpp"
#include "core/plugin/isolation/imported.hpp"

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
      if (batch.extents.size() >= kMostExtents) return HYPER_BUSY;  // the rest is asked for later
      batch.extents.push_back(*extent);
      return HYPER_OK;
    } catch (const std::exception&) {
      return HYPER_FAIL;
    }
  }
};

hyper_st serve_next(OfferedSource& source, Lane& lane, hyper_op* op, uint32_t flags,
                    Frame& answer) {
  const std::lock_guard lock(source.mutex);
  const hyper_source& table = source.table;
  if (source.span.len == 0) {
    source.given = 0;
    const hyper_st status = table.next(table.ctx, op, flags, &source.span);
    if (status != HYPER_OK || source.span.len == 0) {
      source.span = {};
      return status;
    }
  }
  const uint64_t size = std::min(kPiece, source.span.len - source.given);
  std::memcpy(lane.room(size), static_cast<const char*>(source.span.data) + source.given, size);
  answer.payload = size;
  source.given += size;
  if (source.given == source.span.len) {
    if (table.release != nullptr) table.release(table.ctx, &source.span);
    source.span = {};
  }
  return HYPER_OK;
}

/// A source that a call opened becomes an object of its own.
void offer(Peer& peer, OpenedThrough& through, const std::shared_ptr<OfferedSource>& opened,
           Lane& lane, Frame& answer) {
  PayloadWriter out(lane);
  write_source(out, opened->table);
  answer.payload = out.size();
  answer.object = peer.add(opened);
  through.add(answer.object, opened);
}

std::shared_ptr<OfferedSource> opened_source() {
  auto made = std::make_shared<OfferedSource>();
  made->table.size = sizeof made->table;
  return made;
}

/// A worker gets only what the flags promise: other slots may be empty.
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

hyper_st serve_source(Peer& peer, OfferedSource& source, const Frame& request, Lane& lane,
                      hyper_op* op, Frame& answer) {
  const hyper_source& table = source.table;
  const auto flags = static_cast<uint32_t>(request.flags);
  const Turns::Turn turn(source.turns, table.max_parallel);
  if (peer.is_host()) check_promised(table, request.verb);
  switch (request.verb) {
    case Verb::kReadAt: {
      if (peer.is_host() && (request.a > table.length || request.b > table.length - request.a))
        throw Error(Code::kFail, "a worker asked for bytes beyond the end of a source");
      // A worker's length is bounded like every other; the pieces are ours.
      const bool carried = request.memory == 0;
      unsigned char* const to =
          carried ? lane.room(request.b) : peer.named_to_write(request, request.b);
      const hyper_st status = table.read_at(table.ctx, op, flags, request.a, to, request.b);
      answer.payload = status == HYPER_OK && carried ? request.b : 0;
      return status;
    }
    case Verb::kNext:
      return serve_next(source, lane, op, flags, answer);
    case Verb::kExtents: {
      Batch batch;
      const hyper_st status =
          table.extents(table.ctx, op, flags, request.a, request.b, &Batch::take, &batch);
      if (status != HYPER_OK && !(status == HYPER_BUSY && batch.extents.size() == kMostExtents))
        return status;
      answer.payload = PayloadWriter(lane)
                           .bytes(batch.extents.data(), batch.extents.size() * sizeof(hyper_extent))
                           .size();
      return HYPER_OK;
    }
    case Verb::kLocate: {
      hyper_file_range range{};
      range.size = sizeof range;
      const hyper_st status = table.locate(table.ctx, op, flags, &range);
      if (status != HYPER_OK || range.path == nullptr)
        return status == HYPER_OK ? HYPER_FAIL : status;
      answer.payload = PayloadWriter(lane).text(range.path).size();
      answer.a = range.offset;
      answer.b = range.length;
      return HYPER_OK;
    }
    case Verb::kSibling: {
      const std::string name = PayloadReader(lane, request).text();
      auto opened = opened_source();
      const hyper_st status = table.sibling(table.ctx, op, flags, name.c_str(), &opened->table);
      if (status != HYPER_OK) return opened->table = {}, status;
      opened->owned = true;
      offer(peer, source.opened, opened, lane, answer);
      return HYPER_OK;
    }
    default: {  // kFinish
      if (table.finish == nullptr) return HYPER_OK;
      EmitBack back{peer, request.emit};
      return table.finish(table.ctx, op, flags, &EmitBack::emit, &back);
    }
  }
}

hyper_st serve_sink(Peer& peer, OfferedSink& sink, const Frame& request, Lane& lane, hyper_op* op,
                    Frame& answer) {
  const hyper_sink& table = sink.table;
  const auto flags = static_cast<uint32_t>(request.flags);
  const Turns::Turn turn(sink.turns, table.max_parallel);
  if (peer.is_host()) check_promised(table, request.verb);
  switch (request.verb) {
    case Verb::kWriteAt:
      if (request.memory == 0)
        return table.write_at(table.ctx, op, flags, request.a, lane.data(), request.payload);
      return table.write_at(table.ctx, op, flags, request.a, peer.named_to_read(request, request.b),
                            request.b);
    case Verb::kZeroAt:
      return table.zero_at(table.ctx, op, flags, request.a, request.b);
    case Verb::kSync:
      return table.sync == nullptr ? HYPER_OK : table.sync(table.ctx, op, flags);
    case Verb::kReopen: {
      auto opened = opened_source();
      const hyper_st status = table.reopen(table.ctx, op, flags, request.a, &opened->table);
      if (status != HYPER_OK) return opened->table = {}, status;
      opened->owned = true;
      offer(peer, sink.opened, opened, lane, answer);
      return HYPER_OK;
    }
    case Verb::kKeep: {
      EmitBack back{peer, request.emit};
      return table.keep(table.ctx, op, flags, request.a != 0, &EmitBack::emit, &back);
    }
    default: {  // kCommit
      EmitBack back{peer, request.emit};
      return table.commit(table.ctx, op, flags, request.a, &EmitBack::emit, &back);
    }
  }
}

/// Ends what was opened for the other side, once no other call uses it.
template <class Offered>
void close_offered(Peer& peer, const Frame& request, hyper_op* op) {
  const std::shared_ptr<Offered> offered = peer.find<Offered>(request.object);
  if (!offered) return;
  if (!offered->owned) return peer.remove(request.object);  // lent: its owner ends it
  peer.take_back(request.object, offered);
  offered->end(op);
}

}  // namespace

bool serve_table(Peer& peer, const Frame& request, Lane& lane, hyper_op* op, Frame& answer) {
  const auto gone = [] {
    throw Error(Code::kFail, "a worker asked about something that is not there any more");
  };
  switch (request.verb) {
    case Verb::kReadAt:
    case Verb::kNext:
    case Verb::kExtents:
    case Verb::kLocate:
    case Verb::kSibling:
    case Verb::kFinish: {
      const auto source = peer.find<OfferedSource>(request.object);
      if (!source) gone();
      answer.status = serve_source(peer, *source, request, lane, op, answer);
      return true;
    }
    case Verb::kWriteAt:
    case Verb::kZeroAt:
    case Verb::kSync:
    case Verb::kReopen:
    case Verb::kKeep:
    case Verb::kCommit: {
      const auto sink = peer.find<OfferedSink>(request.object);
      if (!sink) gone();
      answer.status = serve_sink(peer, *sink, request, lane, op, answer);
      return true;
    }
    case Verb::kSourceClose:
      close_offered<OfferedSource>(peer, request, op);
      return true;
    case Verb::kSinkClose:
      close_offered<OfferedSink>(peer, request, op);
      return true;
    case Verb::kEmit: {
      const auto emit = peer.find<OfferedEmit>(request.object);
      if (!emit) gone();
      std::string json(static_cast<std::size_t>(request.payload), '\0');
      PayloadReader(lane, request).bytes(json.data(), json.size());
      answer.status = emit->emit(emit->arg, json.data(), json.size());
      return true;
    }
    default:
      return false;
  }
}

}  // namespace hyperhost::isolation
