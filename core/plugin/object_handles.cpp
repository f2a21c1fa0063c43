// SPDX-License-Identifier: Apache-2.0
// The handles of sources and sinks.
#include <algorithm>

#include "core/plugin/filter/watched_sink.hpp"
#include "core/plugin/handle_calls.hpp"
#include "core/plugin/handles.hpp"

namespace hyperhost {
namespace {

void promise(const std::string& what, bool flag, bool slot, const char* name) {
  if (flag && !slot)
    throw Error(Code::kFail, what + " promises " + name + " and has no such function");
}

}  // namespace

SourceHandle::~SourceHandle() {
  if (table_.close != nullptr)
    with_closing_operation(opener_, [&](hyper_op* op) { table_.close(table_.ctx, op); });
}

hyper_st SourceHandle::opened(const hyper_op* op, hyper_st status) {
  if (status == HYPER_OK && op != nullptr) opener_ = Opener(*static_cast<const Operation*>(op));
  if (status != HYPER_OK) table_ = {};
  return status;
}

void SourceHandle::validate(const std::string& what) const {
  const auto has = [&](uint32_t flag) { return (table_.flags & flag) != 0; };
  promise(what, has(HYPER_SOURCE_SEEK), table_.read_at != nullptr, "read_at");
  promise(what, has(HYPER_SOURCE_STREAM), table_.next != nullptr, "next");
  promise(what, has(HYPER_SOURCE_BORROW), table_.borrow && table_.release, "borrow");
  promise(what, has(HYPER_SOURCE_EXTENTS), table_.extents != nullptr, "extents");
  promise(what, has(HYPER_SOURCE_FILE), table_.locate != nullptr, "locate");
  promise(what, has(HYPER_SOURCE_SIBLING), table_.sibling != nullptr, "sibling");
  if (table_.close == nullptr || (table_.flags & (HYPER_SOURCE_SEEK | HYPER_SOURCE_STREAM)) == 0)
    throw Error(Code::kFail, what + " opened a source that can be neither read nor closed");
  if (has(HYPER_SOURCE_SEEK) && table_.length == HYPER_LENGTH_UNKNOWN)
    throw Error(Code::kFail, what + " opened a seekable source without a length");
  if (table_.block_min == 0 || table_.max_parallel == 0)
    throw Error(Code::kFail, what + " opened a source with a limit of 0");
}

void SourceHandle::serialize(const Plugin& plugin, const SourceHandle* reads_from) {
  plugin_ = &plugin;
  if (!plugin.serial()) return;
  gate_ =
      std::make_shared<SerialGate>(plugin, reads_from == nullptr ? nullptr : reads_from->gate());
  table_ = serialized(table_, gate_);
}

void SourceHandle::read_at(Operation& op, uint64_t offset, void* buffer, uint64_t length) const {
  const uint64_t most = table_.block_max == 0 ? length : table_.block_max;
  for (uint64_t done = 0; done < length;) {
    const uint64_t piece = std::min(most, length - done);
    op.check(table_.read_at(table_.ctx, &op, 0, offset + done,
                            static_cast<unsigned char*>(buffer) + done, piece),
             "read of the source");
    done += piece;
  }
}

nlohmann::json SourceHandle::finish(Operation& op) const {
  if (table_.finish == nullptr) return nlohmann::json::object();
  const std::string what =
      plugin_ == nullptr ? op.name() + ": finish() of the source" : label(*plugin_, "finish");
  return answered(op, "source.finish", what, [&](hyper_emit emit, void* arg) {
    return table_.finish(table_.ctx, &op, 0, emit, arg);
  });
}

SinkHandle::~SinkHandle() {
  if (table_.close != nullptr)
    with_closing_operation(opener_, [&](hyper_op* op) { table_.close(table_.ctx, op); });
}

hyper_st SinkHandle::opened(const hyper_op* op, hyper_st status) {
  if (status == HYPER_OK && op != nullptr) opener_ = Opener(*static_cast<const Operation*>(op));
  if (status != HYPER_OK) table_ = {};
  return status;
}

void SinkHandle::validate(const std::string& what) const {
  const auto has = [&](uint32_t flag) { return (table_.flags & flag) != 0; };
  promise(what, has(HYPER_SINK_RANDOM), table_.write_at && table_.zero_at, "random writes");
  promise(what, has(HYPER_SINK_PARTS | HYPER_SINK_APPEND), table_.write_at != nullptr, "write_at");
  promise(what, has(HYPER_SINK_PATH), table_.path != nullptr, "path");
  promise(what, has(HYPER_SINK_READBACK), table_.reopen != nullptr, "reopen");
  promise(what, has(HYPER_SINK_RESUME), table_.keep != nullptr, "keep");
  if (table_.commit == nullptr || table_.close == nullptr)
    throw Error(Code::kFail, what + " opened a sink that cannot be committed or closed");
  if (has(HYPER_SINK_PARTS) && table_.part_size == 0)
    throw Error(Code::kFail, what + " opened a sink of parts without a part size");
  if (table_.block_min == 0 || table_.max_parallel == 0)
    throw Error(Code::kFail, what + " opened a sink with a limit of 0");
}

void SinkHandle::serialize() {
  if (!plugin_.serial()) return;
  gate_ = std::make_shared<SerialGate>(plugin_);
  table_ = serialized(table_, gate_);
}

void SinkHandle::watch(std::function<void(uint64_t)> on_written) {
  table_ = watched(table_, std::move(on_written));
}

std::string SinkHandle::path() const {
  const char* text = can(HYPER_SINK_PATH) ? table_.path(table_.ctx) : nullptr;
  return text == nullptr ? std::string() : std::string(text);
}

std::unique_ptr<SourceHandle> SinkHandle::reopen(Operation& op, uint64_t length) const {
  auto source = std::make_unique<SourceHandle>();
  op.check(source->opened(&op, table_.reopen(table_.ctx, &op, 0, length, source->out())),
           label(plugin_, "reopen"));
  source->plugin_ = &plugin_;
  source->gate_ = gate_;
  source->validate(label(plugin_, "reopen"));
  return source;
}

nlohmann::json SinkHandle::commit(Operation& op, uint64_t length) {
  const std::string what = label(plugin_, "commit");
  std::string text = "{}";
  EmitSink sink([&](const std::string& emitted) { text = emitted; });
  const hyper_st status = table_.commit(table_.ctx, &op, 0, length, &EmitSink::emit, &sink);
  sink.rethrow();
  op.check(status, what);
  try {
    return accepted_answer("sink.commit", parse_object(text, what), what);
  } catch (const Error& failure) {
    Diagnostic diagnostic = failure.diagnostic();
    diagnostic.code = Code::kFail;  // what was written can be used, so it is kept
    for (const std::string& more : {diagnostic.detail, diagnostic.hint})
      if (!more.empty()) diagnostic.summary += "; " + more;
    diagnostic.detail = "by then the object had its final name, and it may be complete";
    diagnostic.hint =
        "run it again: what is complete is taken over, and what is missing is written";
    throw UnusableAnswer(std::move(diagnostic));
  }
}

nlohmann::json SinkHandle::keep(Operation& op) {
  return answered(op, "sink.token", label(plugin_, "keep"), [&](hyper_emit emit, void* arg) {
    return table_.keep(table_.ctx, &op, 0, 1, emit, arg);
  });
}

void SinkHandle::drop(Operation& op) {
  op.check(table_.keep(table_.ctx, &op, 0, 0, nullptr, nullptr), label(plugin_, "keep"));
}

}  // namespace hyperhost
