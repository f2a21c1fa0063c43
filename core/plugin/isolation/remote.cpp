// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/isolation/remote.hpp"

#include <algorithm>
#include <cstring>

namespace hyperhost::isolation {
namespace {

constexpr uint64_t kPiece = 4u << 20;  // of reads and streams; sinks get what was written at once
constexpr uint64_t kMostExtents = 64 * 1024;

struct SourceFacts {
  uint64_t flags = 0, length = 0;
  uint32_t block_min = 0, block_pref = 0, block_max = 0, max_parallel = 0;
  char format[16] = "";
};
struct SinkFacts {
  uint64_t flags = 0, part_size = 0;
  uint32_t block_min = 0, max_parallel = 0;
};

template <class F>
hyper_st guarded(hyper_op* op, F&& f) noexcept {
  try {
    return f();
  } catch (const Error& error) {
    return report_error(op, error);
  } catch (const std::exception&) {
    return HYPER_FAIL;
  }
}

/// The other side of an imported table.
struct Imported {
  std::shared_ptr<Peer> peer;
  uint64_t id;
  uint64_t block_min = 1;
  std::string path;
};
Imported& self_of(void* ctx) {
  return *static_cast<Imported*>(ctx);
}

hyper_st read_at(void* ctx, hyper_op* op, uint64_t offset, void* buf, uint64_t len) noexcept {
  return guarded(op, [&]() -> hyper_st {
    Imported& self = self_of(ctx);
    const uint64_t piece = std::max(self.block_min, kPiece / self.block_min * self.block_min);
    for (uint64_t done = 0;; done += piece) {
      Call call(*self.peer, Verb::kReadAt, self.id, op);
      call.request.a = offset + done;
      call.request.b = std::min(piece, len - done);
      if (const hyper_st status = call.go(); status != HYPER_OK) return status;
      if (call.answer.payload != call.request.b)
        throw Error(Code::kFail, "a worker answered a read with another length");
      if (call.request.b != 0)
        std::memcpy(static_cast<char*>(buf) + done, call.lane().data(), call.request.b);
      if (len - done <= piece) return HYPER_OK;
    }
  });
}

hyper_st next(void* ctx, hyper_op* op, hyper_span* out) noexcept {
  return guarded(op, [&]() -> hyper_st {
    Imported& self = self_of(ctx);
    Call call(*self.peer, Verb::kNext, self.id, op);
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

hyper_st extents(void* ctx, hyper_op* op, uint64_t offset, uint64_t len, hyper_emit_extent emit,
                 void* arg) noexcept {
  return guarded(op, [&]() -> hyper_st {
    Imported& self = self_of(ctx);
    for (const uint64_t end = offset + len; offset < end;) {
      std::vector<hyper_extent> batch;
      {
        Call call(*self.peer, Verb::kExtents, self.id, op);
        call.request.a = offset;
        call.request.b = end - offset;
        if (const hyper_st status = call.go(); status != HYPER_OK) return status;
        batch.resize(std::min<uint64_t>(call.answer.payload / sizeof(hyper_extent), kMostExtents));
        if (batch.empty()) throw Error(Code::kFail, "a worker told no extents");
        std::memcpy(batch.data(), call.lane().data(), batch.size() * sizeof(hyper_extent));
      }
      for (const hyper_extent& extent : batch)
        if (const hyper_st status = emit(arg, &extent); status != HYPER_OK) return status;
      const uint64_t reached = batch.back().offset + batch.back().length;
      if (reached <= offset) throw Error(Code::kFail, "a worker told extents that go back");
      offset = reached;
    }
    return HYPER_OK;
  });
}

hyper_st locate(void* ctx, hyper_file_range* out) noexcept {
  return guarded(nullptr, [&]() -> hyper_st {
    Imported& self = self_of(ctx);
    Call call(*self.peer, Verb::kLocate, self.id, nullptr);
    if (const hyper_st status = call.go(); status != HYPER_OK) return status;
    self.path = PayloadReader(call.lane(), call.answer).text();
    hyper_file_range range{};
    range.size = out->size;
    range.path = self.path.c_str();
    range.offset = call.answer.a;
    range.length = call.answer.b;
    std::memcpy(out, &range, std::min<std::size_t>(out->size, sizeof range));
    return HYPER_OK;
  });
}

/// A call that opens a source: sibling and reopen.
hyper_st open_another(Imported& self, Call& call, hyper_source* out) {
  if (const hyper_st status = call.go(); status != HYPER_OK) return status;
  PayloadReader reader(call.lane(), call.answer);
  import_source(self.peer, call.answer.object, reader, out);
  return HYPER_OK;
}

hyper_st sibling(void* ctx, hyper_op* op, const char* name, hyper_source* out) noexcept {
  return guarded(op, [&]() -> hyper_st {
    Imported& self = self_of(ctx);
    Call call(*self.peer, Verb::kSibling, self.id, op);
    call.arguments().text(name);
    return open_another(self, call, out);
  });
}

hyper_st finish(void* ctx, hyper_op* op, hyper_emit emit, void* arg) noexcept {
  return guarded(op, [&]() -> hyper_st {
    Imported& self = self_of(ctx);
    Call call(*self.peer, Verb::kFinish, self.id, op);
    call.emit_to(emit, arg);
    return call.go();
  });
}

template <Verb kVerb>
void close(void* ctx) noexcept {
  const std::unique_ptr<Imported> self(static_cast<Imported*>(ctx));
  static_cast<void>(guarded(nullptr, [&]() -> hyper_st {
    if (self->peer->gone()) return HYPER_OK;
    return Call(*self->peer, kVerb, self->id, nullptr).go();
  }));
}

hyper_st write_at(void* ctx, hyper_op* op, uint64_t offset, const void* buf,
                  uint64_t len) noexcept {
  return guarded(op, [&]() -> hyper_st {
    Imported& self = self_of(ctx);
    Call call(*self.peer, Verb::kWriteAt, self.id, op);
    call.request.a = offset;
    call.arguments().bytes(buf, len);
    return call.go();
  });
}

hyper_st zero_at(void* ctx, hyper_op* op, uint64_t offset, uint64_t len) noexcept {
  return guarded(op, [&]() -> hyper_st {
    Imported& self = self_of(ctx);
    Call call(*self.peer, Verb::kZeroAt, self.id, op);
    call.request.a = offset;
    call.request.b = len;
    return call.go();
  });
}

const char* path(void* ctx) noexcept {
  return self_of(ctx).path.c_str();
}

hyper_st sync(void* ctx, hyper_op* op) noexcept {
  return guarded(op, [&]() -> hyper_st {
    Imported& self = self_of(ctx);
    return Call(*self.peer, Verb::kSync, self.id, op).go();
  });
}

hyper_st reopen(void* ctx, hyper_op* op, uint64_t length, hyper_source* out) noexcept {
  return guarded(op, [&]() -> hyper_st {
    Imported& self = self_of(ctx);
    Call call(*self.peer, Verb::kReopen, self.id, op);
    call.request.a = length;
    return open_another(self, call, out);
  });
}

hyper_st commit(void* ctx, hyper_op* op, uint64_t length, hyper_emit emit, void* arg) noexcept {
  return guarded(op, [&]() -> hyper_st {
    Imported& self = self_of(ctx);
    Call call(*self.peer, Verb::kCommit, self.id, op);
    call.request.a = length;
    call.emit_to(emit, arg);
    return call.go();
  });
}

hyper_st keep(void* ctx, hyper_op* op, int32_t on, hyper_emit emit, void* arg) noexcept {
  return guarded(op, [&]() -> hyper_st {
    Imported& self = self_of(ctx);
    Call call(*self.peer, Verb::kKeep, self.id, op);
    call.request.a = on != 0;
    call.emit_to(emit, arg);
    return call.go();
  });
}

template <class Table>
void fill(Table* out, Table table) {
  const uint32_t size = std::min<uint32_t>(out->size, sizeof table);
  table.size = size;
  std::memcpy(out, &table, size);
}

}  // namespace

// --- descriptions -------------------------------------------------------------------------------

void write_source(PayloadWriter& out, const hyper_source& table) {
  SourceFacts facts;
  // Lent memory does not cross: the reader asks for copies.
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
  auto self = std::make_unique<Imported>();
  self->peer = std::move(peer);
  self->id = id;
  self->block_min = std::max<uint64_t>(facts.block_min, 1);
  hyper_source table{};
  table.flags = static_cast<uint32_t>(facts.flags) & ~HYPER_SOURCE_BORROW;
  table.length = facts.length;
  table.block_min = facts.block_min;
  table.block_pref = facts.block_pref;
  table.block_max = facts.block_max;
  table.max_parallel = facts.max_parallel;
  std::memcpy(table.format, facts.format, sizeof table.format);
  table.read_at = read_at;
  table.next = next;
  table.release = release;
  table.extents = extents;
  table.locate = locate;
  table.sibling = sibling;
  table.finish = finish;
  table.close = close<Verb::kSourceClose>;
  table.ctx = self.release();
  fill(out, table);
}

void write_sink(PayloadWriter& out, const hyper_sink& table) {
  const SinkFacts facts{table.flags, table.part_size, table.block_min, table.max_parallel};
  const char* file = (table.flags & HYPER_SINK_PATH) != 0 ? table.path(table.ctx) : nullptr;
  out.bytes(&facts, sizeof facts).text(file == nullptr ? "" : file);
}

void import_sink(std::shared_ptr<Peer> peer, uint64_t id, PayloadReader& description,
                 hyper_sink* out) {
  const auto facts = description.pod<SinkFacts>();
  auto self = std::make_unique<Imported>();
  self->peer = std::move(peer);
  self->id = id;
  self->path = description.text();
  hyper_sink table{};
  table.flags = static_cast<uint32_t>(facts.flags);
  table.part_size = facts.part_size;
  table.block_min = facts.block_min;
  table.max_parallel = facts.max_parallel;
  table.write_at = write_at;
  table.zero_at = zero_at;
  table.path = path;
  table.sync = sync;
  table.reopen = reopen;
  table.commit = commit;
  table.close = close<Verb::kSinkClose>;
  table.keep = keep;
  table.ctx = self.release();
  fill(out, table);
}

// --- calls --------------------------------------------------------------------------------------

hyper_st report_error(hyper_op* op, const Error& error) {
  const Diagnostic& diagnostic = error.diagnostic();
  hyper_diag diag{};
  diag.size = sizeof diag;
  diag.severity = HYPER_SEVERITY_ERROR;
  diag.code = static_cast<hyper_st>(diagnostic.code);
  diag.flags = diagnostic.retryable ? HYPER_DIAG_RETRYABLE : 0;
  diag.summary = diagnostic.summary.c_str();
  diag.detail = diagnostic.detail.c_str();
  diag.hint = diagnostic.hint.c_str();
  return hyper::detail::host_slot()->report(op, &diag);
}

namespace {

Error gone_error(Peer& peer) {
  peer.set_gone();
  Diagnostic diagnostic;
  diagnostic.retryable = true;
  diagnostic.summary = "the plugin's process is gone";
  if (peer.why_gone) {
    const auto [code, text] = peer.why_gone();
    const std::size_t end = text.find('\n');
    diagnostic.code = static_cast<Code>(code);
    diagnostic.summary = text.substr(0, end);
    if (end != std::string::npos) diagnostic.detail = text.substr(end + 1);
  }
  return Error(diagnostic);
}

std::shared_ptr<Peer::Outgoing> outgoing(Peer& peer) {
  try {
    return std::make_shared<Peer::Outgoing>(peer);
  } catch (const PeerGone&) {
    throw gone_error(peer);
  }
}

}  // namespace

uint64_t number_of(Peer& peer, hyper_op* op) {
  if (op == nullptr) return 0;
  if (!peer.is_host()) return static_cast<WorkerOperation*>(op)->id();
  return peer.enter(static_cast<Operation*>(op));
}

bool WorkerOperation::progress_is_due(uint64_t done, uint64_t total) {
  const int64_t now = std::chrono::duration_cast<std::chrono::milliseconds>(
                          std::chrono::steady_clock::now().time_since_epoch())
                          .count();
  int64_t before = told_at_;
  if (total != 0 && done >= total) return true;
  return now - before >= 50 && told_at_.compare_exchange_strong(before, now);
}

Call::Call(Peer& peer, Verb verb, uint64_t object, hyper_op* op)
    : peer_(peer), op_(op), out_(outgoing(peer)), arguments_(out_->lane()) {
  request.verb = verb;
  request.object = object;
  request.op = number_of(peer, op);
}

Call::~Call() {
  if (peer_.is_host() && op_ != nullptr) peer_.leave(request.op, static_cast<Operation*>(op_));
  if (emit_) peer_.take_back(request.emit, emit_);
}

void Call::emit_to(hyper_emit emit, void* arg) {
  if (emit == nullptr) return;
  emit_ = std::make_shared<OfferedEmit>(OfferedEmit{emit, arg});
  request.emit = peer_.add(emit_);
}

hyper_st Call::go() {
  request.payload = arguments_.size();
  try {
    answer =
        peer_.call(out_->lane(), request, peer_.is_host() ? static_cast<Operation*>(op_) : nullptr);
  } catch (const PeerGone&) {
    throw gone_error(peer_);
  }
  return answer.status;
}

hyper_st EmitBack::emit(void* self, const char* json, uint64_t len) noexcept {
  return guarded(nullptr, [&]() -> hyper_st {
    auto& back = *static_cast<EmitBack*>(self);
    if (back.id == 0) return HYPER_OK;
    Call call(back.peer, Verb::kEmit, back.id, nullptr);
    call.arguments().bytes(json, len);
    return call.go();
  });
}

// --- serving ------------------------------------------------------------------------------------

OfferedSource::~OfferedSource() {
  if (span.len != 0 && table.release != nullptr) table.release(table.ctx, &span);
  if (owned && table.close != nullptr) table.close(table.ctx);
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
  if (owned && table.close != nullptr) table.close(table.ctx);
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

hyper_st serve_next(OfferedSource& source, Lane& lane, hyper_op* op, Frame& answer) {
  const std::lock_guard lock(source.mutex);
  const hyper_source& table = source.table;
  if (source.span.len == 0) {
    source.given = 0;
    const hyper_st status = table.next(table.ctx, op, &source.span);
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

hyper_st serve_source(Peer& peer, OfferedSource& source, const Frame& request, Lane& lane,
                      hyper_op* op, Frame& answer) {
  const hyper_source& table = source.table;
  switch (request.verb) {
    case Verb::kReadAt: {
      // A worker's length is bounded like every other; the pieces are ours.
      const hyper_st status =
          table.read_at(table.ctx, op, request.a, lane.room(request.b), request.b);
      answer.payload = status == HYPER_OK ? request.b : 0;
      return status;
    }
    case Verb::kNext:
      return serve_next(source, lane, op, answer);
    case Verb::kExtents: {
      Batch batch;
      const hyper_st status =
          table.extents(table.ctx, op, request.a, request.b, &Batch::take, &batch);
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
      const hyper_st status = table.locate(table.ctx, &range);
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
      const hyper_st status = table.sibling(table.ctx, op, name.c_str(), &opened->table);
      if (status != HYPER_OK) return opened->table = {}, status;
      opened->owned = true;
      offer(peer, source.opened, opened, lane, answer);
      return HYPER_OK;
    }
    default: {  // kFinish
      if (table.finish == nullptr) return HYPER_OK;
      EmitBack back{peer, request.emit};
      return table.finish(table.ctx, op, &EmitBack::emit, &back);
    }
  }
}

hyper_st serve_sink(Peer& peer, OfferedSink& sink, const Frame& request, Lane& lane, hyper_op* op,
                    Frame& answer) {
  const hyper_sink& table = sink.table;
  switch (request.verb) {
    case Verb::kWriteAt:
      return table.write_at(table.ctx, op, request.a, lane.data(), request.payload);
    case Verb::kZeroAt:
      return table.zero_at(table.ctx, op, request.a, request.b);
    case Verb::kSync:
      return table.sync == nullptr ? HYPER_OK : table.sync(table.ctx, op);
    case Verb::kReopen: {
      auto opened = opened_source();
      const hyper_st status = table.reopen(table.ctx, op, request.a, &opened->table);
      if (status != HYPER_OK) return opened->table = {}, status;
      opened->owned = true;
      offer(peer, sink.opened, opened, lane, answer);
      return HYPER_OK;
    }
    case Verb::kKeep: {
      if (table.keep == nullptr) return HYPER_UNSUPPORTED;
      EmitBack back{peer, request.emit};
      return table.keep(table.ctx, op, request.a != 0, &EmitBack::emit, &back);
    }
    default: {  // kCommit
      EmitBack back{peer, request.emit};
      return table.commit(table.ctx, op, request.a, &EmitBack::emit, &back);
    }
  }
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
    case Verb::kSinkClose:
      peer.remove(request.object);
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
