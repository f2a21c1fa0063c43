// SPDX-License-Identifier: Apache-2.0
// The functions that cross the process border, in one list (at the end): for each its verb and its
// slot in a table of the ABI. The list makes the calling side (a stub for the slot) and the serving
// side (the dispatch of the verb); the slot's type decides how each argument and answer is carried.
// A function that needs more (the bytes of disks, the ends of objects) is written by hand: in
// imported.cpp and offered.cpp for sources, sinks and blocks, in isolated_plugin.cpp and worker.cpp
// for the plugin, in worker_host.cpp and worker_process.cpp for the host's services. Stateless.
#pragma once

#include <hyper/draft/block.h>
#include <hyper/draft/boot.h>
#include <hyper/draft/guest.h>
#include <hyper/draft/target.h>
#include <hyper/hyper.h>

#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/plugin/isolation/call.hpp"
#include "core/plugin/isolation/imported.hpp"
#include "core/plugin/isolation/offered.hpp"

namespace hyperhost::isolation {

/// An object of the other side: the conversation and the object's number there.
struct Remote {
  std::shared_ptr<Peer> peer;
  uint64_t id = 0;
};

/// The calling side's object behind the first argument of a stub (`ctx`, `connection`, `vm` …).
class RemoteObject {
 public:
  virtual ~RemoteObject() = default;
  /// Throws hyper::Reported with the status of a failure that it has reported to `op`, or Error.
  virtual Remote remote(hyper_op* op) = 0;
};

/// A VM that a call opened. It belongs to the worker that opened it.
class OpenedRemote final : public RemoteObject {
 public:
  explicit OpenedRemote(Remote at) : at_(std::move(at)) {}
  Remote remote(hyper_op*) override { return at_; }

 private:
  const Remote at_;
};

/// The calling side's arguments and answers.
class Arguments {
 public:
  /// The sources, sinks and blocks that a call lends. They must outlive the call.
  struct Lendings {
    std::optional<Lent<OfferedSource, hyper_source>> source;
    std::optional<Lent<OfferedSink, hyper_sink>> sink;
    std::list<Lent<OfferedBlock, hyper_block>> blocks;
  };
  Arguments(Call& call, const Remote& to, Lendings& lendings)
      : call_(call), to_(to), lendings_(lendings) {}

  void put(uint64_t number) { call_.arguments().bytes(&number, sizeof number); }
  void put(int32_t number) { call_.arguments().bytes(&number, sizeof number); }
  /// Null stays null.
  void put(const char* text);
  /// Null becomes "", which is no document: see document_in().
  void put(const hyper_doc* document);
  void put(const hyper_source* source);
  void put(const hyper_sink* sink);
  void put(const hyper_block* blocks) { blocks_ = blocks; }
  void put(uint32_t count);  // of the blocks before it
  void put(hyper_emit emit) { emit_ = emit; }
  void put(void* arg) { call_.emit_to(emit_, arg); }  // the argument of that emitter
  void put(void**) {}
  void put(uint64_t*) {}
  void put(hyper_source*) {}
  void put(hyper_sink*) {}

  /// After success: fills the places for answers.
  template <class Argument>
  void take(Argument) {}
  void take(void** object) { *object = static_cast<RemoteObject*>(new OpenedRemote(made())); }
  void take(uint64_t* number) { *number = call_.answer.a; }
  void take(hyper_source* source);
  void take(hyper_sink* sink);

 private:
  Remote made() const { return {to_.peer, call_.answer.object}; }
  Call& call_;
  const Remote& to_;
  Lendings& lendings_;
  const hyper_block* blocks_ = nullptr;
  hyper_emit emit_ = nullptr;
};

/// Makes a call with these arguments. Throws as Call does.
template <class... Args>
hyper_st call_over(const Remote& to, Verb verb, hyper_op* op, uint32_t flags, Args... args) {
  Arguments::Lendings lendings;
  Call call(*to.peer, verb, to.id, op);
  call.request.flags = flags;
  Arguments arguments(call, to, lendings);
  (arguments.put(args), ...);
  const hyper_st status = call.go();
  if (status == HYPER_OK) (arguments.take(args), ...);
  return status;
}

/// A plugin's object in the worker: its pointer and the function that ends it.
struct Held {
  void* self = nullptr;
  std::function<void(void*, hyper_op*)> end;
};

/// A call from the other side while this side serves it.
struct Incoming {
  Incoming(Peer& from, const Frame& frame, Lane& on, hyper_op* operation, Frame& reply)
      : peer(from), request(frame), lane(on), op(operation), answer(reply), in(on, frame) {}
  Peer& peer;
  const Frame& request;
  Lane& lane;
  hyper_op* const op;
  Frame& answer;
  PayloadReader in;
  OpenedThrough* through = nullptr;  ///< of the offered table that is called
  uint32_t flags() const { return static_cast<uint32_t>(request.flags); }
};

/// A document of the other side. At the host, text that is not JSON, is too long or is nested too
/// deep becomes null, which the called function refuses. A worker trusts its host: only text that
/// is not JSON becomes {}.
hyper_doc document_in(Incoming& call);

/// A new entry for a source that a call opens. Its opener fills the table.
std::shared_ptr<OfferedSource> new_source();
/// Describes a source that a call opened in the answer, and gives it a number. After a failure it
/// ignores what the opener wrote. Returns the status.
hyper_st offer(Incoming& call, const std::shared_ptr<OfferedSource>& opened, hyper_st status);

/// A source or a sink of the host in a worker, for as long as this object lives.
template <class Table>
class HostTable {
 public:
  explicit HostTable(Incoming& call);
  ~HostTable() { table_.close(table_.ctx, nullptr); }
  HostTable(const HostTable&) = delete;
  HostTable& operator=(const HostTable&) = delete;
  const Table* get() const { return &table_; }

 private:
  Table table_{};
};
template <>
HostTable<hyper_source>::HostTable(Incoming& call);
template <>
HostTable<hyper_sink>::HostTable(Incoming& call);

/// The host's blocks in a worker, for as long as this object lives.
class HostBlocks {
 public:
  explicit HostBlocks(Incoming& call);
  ~HostBlocks();
  HostBlocks(const HostBlocks&) = delete;
  HostBlocks& operator=(const HostBlocks&) = delete;
  const hyper_block* get() const { return tables_.data(); }

 private:
  std::vector<hyper_block> tables_;
};

/// An argument on the serving side: read from the call, passed to the slot, and after the slot's
/// return, with its status, turned into the answer. end() returns the status.
template <class Argument>
struct Received;
struct OnlyRead {
  static hyper_st end(Incoming&, hyper_st status) { return status; }
};
template <>
struct Received<uint64_t> : OnlyRead {
  explicit Received(Incoming& call) : value(call.in.pod<uint64_t>()) {}
  uint64_t get() const { return value; }
  const uint64_t value;
};
template <>
struct Received<int32_t> : OnlyRead {
  explicit Received(Incoming& call) : value(call.in.pod<int32_t>()) {}
  int32_t get() const { return value; }
  const int32_t value;
};
template <>
struct Received<const char*> : OnlyRead {
  // The host's own functions never get null from a worker.
  explicit Received(Incoming& call)
      : null(call.in.pod<uint32_t>() == 0 && !call.peer.is_host()), text(call.in.text()) {}
  const char* get() const { return null ? nullptr : text.c_str(); }
  const bool null;
  const std::string text;
};
template <>
struct Received<const hyper_doc*> : OnlyRead {
  explicit Received(Incoming& call) : document(document_in(call)) {}
  const hyper_doc* get() const { return &document; }
  const hyper_doc document;
};
template <>
struct Received<hyper_emit> : OnlyRead {
  explicit Received(Incoming&) {}
  static hyper_emit get() { return &EmitBack::emit; }
};
template <>
struct Received<void*> : OnlyRead {  // the argument of the emitter before it
  explicit Received(Incoming& call) : back{call.peer, call.request.emit} {}
  void* get() { return &back; }
  EmitBack back;
};
template <class Table>
struct ReceivedTable : OnlyRead {
  explicit ReceivedTable(Incoming& call) : table(call) {}
  const Table* get() const { return table.get(); }
  const HostTable<Table> table;
};
template <>
struct Received<const hyper_source*> : ReceivedTable<hyper_source> {
  using ReceivedTable::ReceivedTable;
};
template <>
struct Received<const hyper_sink*> : ReceivedTable<hyper_sink> {
  using ReceivedTable::ReceivedTable;
};
template <>
struct Received<const hyper_block*> : OnlyRead {
  explicit Received(Incoming& call) : blocks(call) {}
  const hyper_block* get() const { return blocks.get(); }
  const HostBlocks blocks;
};
template <>
struct Received<uint32_t> : OnlyRead {  // the count of the blocks before it
  explicit Received(Incoming& call) : value(call.in.pod<uint32_t>()) {}
  uint32_t get() const { return value; }
  const uint32_t value;
};
template <>
struct Received<void**> {
  explicit Received(Incoming&) {}
  void** get() { return &self; }
  hyper_st end(Incoming& call, hyper_st status);
  void* self = nullptr;
};
template <>
struct Received<uint64_t*> : OnlyRead {
  explicit Received(Incoming& call) : number(call.answer.a) {}
  uint64_t* get() const { return &number; }
  uint64_t& number;
};
template <>
struct Received<hyper_source*> {
  explicit Received(Incoming&) {}
  hyper_source* get() const { return &opened->table; }
  hyper_st end(Incoming& call, hyper_st status) { return offer(call, opened, status); }
  const std::shared_ptr<OfferedSource> opened = new_source();
};
template <>
struct Received<hyper_sink*> {
  explicit Received(Incoming&) { opened->table.size = sizeof opened->table; }
  hyper_sink* get() const { return &opened->table; }
  hyper_st end(Incoming& call, hyper_st status);
  const std::shared_ptr<OfferedSink> opened = std::make_shared<OfferedSink>();
};

/// Reads the arguments in their order, calls f with them, and makes the answer.
template <class F>
hyper_st with_received(Incoming&, F&& f) {
  return f();
}
template <class First, class... Rest, class F>
hyper_st with_received(Incoming& call, F&& f) {
  Received<First> first(call);
  const hyper_st status =
      with_received<Rest...>(call, [&](Rest... rest) { return f(first.get(), rest...); });
  return first.end(call, status);
}

/// A function that crosses: its verb, its slot, and the status where the slot is null.
template <Verb kVerbOf, auto kSlotOf, hyper_st kIfNull = HYPER_UNSUPPORTED>
struct Crossing;

/// A slot of an object.
template <class Table, class... Args, Verb kVerbOf,
          hyper_st (*Table::*kSlotOf)(void*, hyper_op*, uint32_t, Args...) noexcept,
          hyper_st kIfNull>
struct Crossing<kVerbOf, kSlotOf, kIfNull> {
  static constexpr Verb kVerb = kVerbOf;
  static constexpr auto kSlot = kSlotOf;
  static hyper_st stub(void* self, hyper_op* op, uint32_t flags, Args... args) noexcept {
    return guarded(op, [&] {
      return call_over(static_cast<RemoteObject*>(self)->remote(op), kVerbOf, op, flags, args...);
    });
  }
  template <class Self>
  static hyper_st serve(Incoming& call, const Table& table, Self&& self) {
    if (table.*kSlotOf == nullptr) return kIfNull;
    const std::shared_ptr<void> object = self();  // the object cannot end during the call
    return with_received<Args...>(call, [&](Args... args) {
      return (table.*kSlotOf)(object.get(), call.op, call.flags(), args...);
    });
  }
};

/// The host's services, from the worker. Defined in worker_host.cpp.
Remote services_of_host();

/// A slot of the host's services, or one that opens something (which has no stub here).
template <class Table, class... Args, Verb kVerbOf,
          hyper_st (*Table::*kSlotOf)(hyper_op*, uint32_t, Args...) noexcept, hyper_st kIfNull>
struct Crossing<kVerbOf, kSlotOf, kIfNull> {
  static constexpr Verb kVerb = kVerbOf;
  static constexpr auto kSlot = kSlotOf;
  static hyper_st stub(hyper_op* op, uint32_t flags, Args... args) noexcept {
    return guarded(op, [&] { return call_over(services_of_host(), kVerbOf, op, flags, args...); });
  }
  template <class Self>
  static hyper_st serve(Incoming& call, const Table& table, Self&&) {
    if (table.*kSlotOf == nullptr) return kIfNull;
    return with_received<Args...>(
        call, [&](Args... args) { return (table.*kSlotOf)(call.op, call.flags(), args...); });
  }
};

template <class... Crossings>
struct Calls {
  static constexpr std::size_t kBytes = sizeof...(Crossings) * sizeof(void (*)());
  /// Fills the slots with stubs.
  template <class Table>
  static void fill(Table& table) {
    ((table.*Crossings::kSlot = &Crossings::stub), ...);
  }
  /// Serves a call whose verb is in the list; false: it is not. self(): the table's object, a
  /// std::shared_ptr<void>.
  template <class Table, class Self>
  static bool serve(Incoming& call, const Table& table, Self&& self) {
    return ((call.request.verb == Crossings::kVerb &&
             (call.answer.status = Crossings::serve(call, table, self), true)) ||
            ...);
  }
  template <class Table>
  static bool serve(Incoming& call, const Table& table) {
    return serve(call, table, [] { return std::shared_ptr<void>(); });
  }
};

// --- the list ---

using ProviderCalls = Calls<Crossing<Verb::kListVms, &hyper_provider::list_vms>,
                            Crossing<Verb::kDescribeVm, &hyper_provider::describe_vm>,
                            Crossing<Verb::kPreflight, &hyper_provider::preflight, HYPER_OK>,
                            Crossing<Verb::kOpenVm, &hyper_provider::open_vm>,
                            Crossing<Verb::kOpenDisk, &hyper_provider::open_disk>,
                            Crossing<Verb::kProviderUndo, &hyper_provider::undo>>;
using ConverterCalls = Calls<Crossing<Verb::kPlan, &hyper_converter::plan>,
                             Crossing<Verb::kConvert, &hyper_converter::convert>>;
using ImageCalls = Calls<Crossing<Verb::kProbe, &hyper_image::probe>>;
using StorageCalls =
    Calls<Crossing<Verb::kInfo, &hyper_storage::info>, Crossing<Verb::kPut, &hyper_storage::put>,
          Crossing<Verb::kGet, &hyper_storage::get>, Crossing<Verb::kStat, &hyper_storage::stat>,
          Crossing<Verb::kList, &hyper_storage::list>,
          Crossing<Verb::kRemove, &hyper_storage::remove>,
          Crossing<Verb::kStorageUndo, &hyper_storage::undo>>;
using GuestCalls = Calls<Crossing<Verb::kGuestPlan, &hyper_guest::plan>,
                         Crossing<Verb::kInspect, &hyper_guest::inspect>,
                         Crossing<Verb::kPrepare, &hyper_guest::prepare>>;
using BootCalls = Calls<Crossing<Verb::kBootPlan, &hyper_boot::plan>,
                        Crossing<Verb::kBootCheck, &hyper_boot::check>>;
using TargetCalls = Calls<Crossing<Verb::kTargetInfo, &hyper_target::info>,
                          Crossing<Verb::kTargetPlan, &hyper_target::plan>,
                          Crossing<Verb::kPutDisk, &hyper_target::put_disk>,
                          Crossing<Verb::kImportDisk, &hyper_target::import_disk>,
                          Crossing<Verb::kGetDisk, &hyper_target::get_disk>,
                          Crossing<Verb::kDefine, &hyper_target::define>,
                          Crossing<Verb::kTargetStart, &hyper_target::start>,
                          Crossing<Verb::kTargetState, &hyper_target::state>,
                          Crossing<Verb::kTargetStop, &hyper_target::stop>,
                          Crossing<Verb::kTargetRemove, &hyper_target::remove>,
                          Crossing<Verb::kTargetUndo, &hyper_target::undo>>;
using BlockCalls = Calls<Crossing<Verb::kBlockZero, &hyper_block::zero_at>,
                         Crossing<Verb::kBlockFlush, &hyper_block::flush, HYPER_OK>,
                         Crossing<Verb::kBlockAttach, &hyper_block::attach>,
                         Crossing<Verb::kBlockDetach, &hyper_block::detach, HYPER_OK>>;
using SourceCalls = Calls<Crossing<Verb::kSibling, &hyper_source::sibling>,
                          Crossing<Verb::kFinish, &hyper_source::finish, HYPER_OK>>;
using SinkCalls =
    Calls<Crossing<Verb::kZeroAt, &hyper_sink::zero_at>,
          Crossing<Verb::kSync, &hyper_sink::sync, HYPER_OK>,
          Crossing<Verb::kReopen, &hyper_sink::reopen>,
          Crossing<Verb::kCommit, &hyper_sink::commit>, Crossing<Verb::kKeep, &hyper_sink::keep>>;
using JournalCalls = Calls<Crossing<Verb::kJournalOpen, &hyper_journal::open>,
                           Crossing<Verb::kJournalUpdate, &hyper_journal::update>,
                           Crossing<Verb::kJournalClose, &hyper_journal::close>,
                           Crossing<Verb::kJournalList, &hyper_journal::list>>;
using ThrottleCalls = Calls<Crossing<Verb::kThrottle, &hyper_throttle::take>>;
using CheckpointCalls = Calls<Crossing<Verb::kCheckpoint, &hyper_checkpoint::save>>;

// A slot that a later minor of the ABI adds does not compile before it is in the list or counted
// here, among those that are written by hand or do not cross (get_ext, borrow).
constexpr std::size_t kSlotBytes = sizeof(void (*)());
static_assert(sizeof(hyper_provider) ==
              offsetof(hyper_provider, connect) + ProviderCalls::kBytes + 5 * kSlotBytes);
static_assert(sizeof(hyper_converter) ==
              offsetof(hyper_converter, open) + ConverterCalls::kBytes + 3 * kSlotBytes);
static_assert(sizeof(hyper_image) ==
              offsetof(hyper_image, probe) + ImageCalls::kBytes + kSlotBytes);
static_assert(sizeof(hyper_storage) ==
              offsetof(hyper_storage, connect) + StorageCalls::kBytes + 3 * kSlotBytes);
static_assert(sizeof(hyper_guest) ==
              offsetof(hyper_guest, open) + GuestCalls::kBytes + 3 * kSlotBytes);
static_assert(sizeof(hyper_boot) ==
              offsetof(hyper_boot, open) + BootCalls::kBytes + 3 * kSlotBytes);
static_assert(sizeof(hyper_target) ==
              offsetof(hyper_target, connect) + TargetCalls::kBytes + 3 * kSlotBytes);
static_assert(sizeof(hyper_block) ==
              offsetof(hyper_block, read_at) + BlockCalls::kBytes + 4 * kSlotBytes);
static_assert(sizeof(hyper_source) ==
              offsetof(hyper_source, read_at) + SourceCalls::kBytes + 8 * kSlotBytes);
static_assert(sizeof(hyper_sink) ==
              offsetof(hyper_sink, write_at) + SinkCalls::kBytes + 4 * kSlotBytes);
static_assert(sizeof(hyper_journal) == offsetof(hyper_journal, open) + JournalCalls::kBytes);
static_assert(sizeof(hyper_throttle) == offsetof(hyper_throttle, take) + ThrottleCalls::kBytes);
static_assert(sizeof(hyper_checkpoint) ==
              offsetof(hyper_checkpoint, save) + CheckpointCalls::kBytes);

}  // namespace hyperhost::isolation
