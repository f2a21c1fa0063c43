// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/handles.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <optional>

#include "core/plugin/document_schema.hpp"
#include "core/plugin/filter/watched_sink.hpp"

namespace hyperhost {
namespace {

/// Ends something. Without an operation where even that cannot be made (no descriptors left).
template <class F>
void with_closing_operation(const Opener& opener, F&& end) noexcept {
  std::optional<ClosingOperation> op;
  try {
    op.emplace(opener.name, ClosingOperation::kLimit, opener.services);
  } catch (const std::exception& error) {
    spdlog::warn("{}: it is closed without a time limit: {}", opener.name, error.what());
  }
  end(op ? &*op : nullptr);
}

std::string label(const Plugin& plugin, const char* call) {
  return "plugin '" + plugin.id() + "': " + call + "()";
}

void promise(const std::string& what, bool flag, bool slot, const char* name) {
  if (flag && !slot)
    throw Error(Code::kFail, what + " promises " + name + " and has no such function");
}

template <class Interface>
const Interface* interface_of(const Plugin& plugin, const Interface* table, const char* id) {
  if (table == nullptr)
    throw Error(Code::kUnsupported, "plugin '" + plugin.id() + "' has no interface " + id);
  return table;
}

/// Refuses an answer that says that a member must be understood which this host does not know.
nlohmann::json understood(nlohmann::json answer, std::string_view document,
                          const std::string& what) {
  const std::string pointer = not_understood(document, answer);
  if (pointer.empty()) return answer;
  Diagnostic diagnostic;
  diagnostic.code = Code::kUnsupported;
  diagnostic.summary =
      what + " answers with a member that must be understood and is not known here";
  diagnostic.detail = pointer;
  diagnostic.hint = "update hyperhost, or use an older version of the plugin";
  diagnostic.path = pointer;
  throw Error(diagnostic);
}

nlohmann::json parsed(const std::string& text, std::string_view document, const std::string& what) {
  return understood(parse_object(text, what), document, what);
}

/// emitted_object() of a known document.
template <class F>
nlohmann::json answered(Operation& op, std::string_view document, const std::string& what, F&& f) {
  return understood(emitted_object(op, what, std::forward<F>(f)), document, what);
}

using Undo = hyper_st (*)(void*, hyper_op*, uint32_t, const hyper_doc*) noexcept;

bool undone(const Plugin& plugin, Undo undo, void* connection, Operation& op,
            const nlohmann::json& entry) {
  if (undo == nullptr) return false;
  const auto lock = plugin.enter();
  const hyper_doc doc{entry};
  const hyper_st status = undo(connection, &op, 0, &doc);
  if (status == HYPER_UNSUPPORTED) return false;
  op.check(status, label(plugin, "undo"));
  return true;
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
  return answered(op, "source.finish", "finish of the source", [&](hyper_emit emit, void* arg) {
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
  source->gate_ = gate_;
  source->validate(label(plugin_, "reopen"));
  return source;
}

nlohmann::json SinkHandle::commit(Operation& op, uint64_t length) {
  return answered(op, "sink.commit", label(plugin_, "commit"), [&](hyper_emit emit, void* arg) {
    return table_.commit(table_.ctx, &op, 0, length, emit, arg);
  });
}

nlohmann::json SinkHandle::keep(Operation& op) {
  return emitted_object(op, label(plugin_, "keep"), [&](hyper_emit emit, void* arg) {
    return table_.keep(table_.ctx, &op, 0, 1, emit, arg);
  });
}

void SinkHandle::drop(Operation& op) {
  op.check(table_.keep(table_.ctx, &op, 0, 0, nullptr, nullptr), label(plugin_, "keep"));
}

ProviderHandle::ProviderHandle(Plugin& plugin, const Options& options, Operation& op)
    : plugin_(plugin),
      table_(interface_of(plugin, plugin.provider(), HYPER_IFACE_PROVIDER)),
      opener_(op) {
  const auto lock = plugin_.enter();
  op.check(table_->connect(&op, 0, &options, &connection_), label(plugin_, "connect"));
}

ProviderHandle::~ProviderHandle() {
  const auto lock = plugin_.enter();
  with_closing_operation(opener_, [&](hyper_op* op) { table_->disconnect(connection_, op); });
}

void ProviderHandle::list_vms(Operation& op, const std::string& pattern,
                              const std::function<void(const nlohmann::json&)>& on_vm) {
  const auto lock = plugin_.enter();
  const std::string what = label(plugin_, "list_vms");
  EmitSink sink([&](const std::string& text) { on_vm(parsed(text, "vm.summary", what)); });
  const hyper_st status = table_->list_vms(
      connection_, &op, 0, pattern.empty() ? nullptr : pattern.c_str(), &EmitSink::emit, &sink);
  sink.rethrow();
  op.check(status, what);
}

nlohmann::json ProviderHandle::describe_vm(Operation& op, const std::string& vm) {
  const auto lock = plugin_.enter();
  return answered(op, "vm.description", label(plugin_, "describe_vm"),
                  [&](hyper_emit emit, void* arg) {
                    return table_->describe_vm(connection_, &op, 0, vm.c_str(), emit, arg);
                  });
}

void ProviderHandle::preflight(Operation& op, const nlohmann::json& request) {
  if (table_->preflight == nullptr) return;
  const auto lock = plugin_.enter();
  const hyper_doc doc{request};
  op.check(table_->preflight(connection_, &op, 0, &doc), label(plugin_, "preflight"));
}

std::unique_ptr<ProviderVmHandle> ProviderHandle::open_vm(Operation& op,
                                                          const nlohmann::json& request) {
  const auto lock = plugin_.enter();
  const hyper_doc doc{request};
  void* vm = nullptr;
  op.check(table_->open_vm(connection_, &op, 0, &doc, &vm), label(plugin_, "open_vm"));
  return std::make_unique<ProviderVmHandle>(*this, op, vm);
}

bool ProviderHandle::undo(Operation& op, const nlohmann::json& entry) {
  return undone(plugin_, table_->undo, connection_, op, entry);
}

ProviderVmHandle::~ProviderVmHandle() {
  if (vm_ == nullptr) return;
  Operation op(opener_.name, CancelSource::create(), opener_.services);
  try {
    close(op, HYPER_FAIL);
  } catch (const Error& error) {
    spdlog::error("cleaning up at the source failed: {}", error.what());
  }
}

std::unique_ptr<SourceHandle> ProviderVmHandle::open_disk(Operation& op, const std::string& disk_id,
                                                          uint32_t flags) {
  const auto lock = provider_.plugin_.enter();
  auto source = std::make_unique<SourceHandle>();
  const std::string what = label(provider_.plugin_, "open_disk");
  op.check(source->opened(
               &op, provider_.table_->open_disk(vm_, &op, flags, disk_id.c_str(), source->out())),
           what);
  source->validate(what);
  source->serialize(provider_.plugin_);
  return source;
}

void ProviderVmHandle::close(Operation& op, hyper_st outcome) {
  const auto lock = provider_.plugin_.enter();
  void* vm = std::exchange(vm_, nullptr);
  if (vm != nullptr)
    op.check(provider_.table_->close_vm(vm, &op, outcome), label(provider_.plugin_, "close_vm"));
}

ConverterHandle::ConverterHandle(Plugin& plugin, const Options& options, Operation& op)
    : plugin_(plugin),
      table_(interface_of(plugin, plugin.converter(), HYPER_IFACE_CONVERTER)),
      opener_(op),
      options_(options) {
  const auto lock = plugin_.enter();
  op.check(table_->open(&op, 0, &options_, &self_), label(plugin_, "open"));
}

ConverterHandle::~ConverterHandle() {
  const auto lock = plugin_.enter();
  with_closing_operation(opener_, [&](hyper_op* op) { table_->close(self_, op); });
}

nlohmann::json ConverterHandle::plan(Operation& op, const nlohmann::json& request) {
  const hyper_doc doc{request};
  const auto lock = plugin_.enter();
  return answered(op, "converter.plan", label(plugin_, "plan"), [&](hyper_emit emit, void* arg) {
    return table_->plan(self_, &op, 0, &doc, emit, arg);
  });
}

nlohmann::json ConverterHandle::convert(Operation& op, const nlohmann::json& request,
                                        const SourceHandle& source, const SinkHandle& sink) {
  const hyper_doc doc{request};
  const auto lock = plugin_.enter();
  const SerialGate::OwnUse own_source(plugin_, source.gate()), own_sink(plugin_, sink.gate());
  return answered(
      op, "converter.result", label(plugin_, "convert"), [&](hyper_emit emit, void* arg) {
        return table_->convert(self_, &op, 0, &doc, &source.table(), &sink.table(), emit, arg);
      });
}

StorageHandle::StorageHandle(Plugin& plugin, const Options& options, Operation& op)
    : plugin_(plugin),
      table_(interface_of(plugin, plugin.storage(), HYPER_IFACE_STORAGE)),
      opener_(op) {
  const auto lock = plugin_.enter();
  op.check(table_->connect(&op, 0, &options, &connection_), label(plugin_, "connect"));
}

StorageHandle::~StorageHandle() {
  const auto lock = plugin_.enter();
  with_closing_operation(opener_, [&](hyper_op* op) { table_->disconnect(connection_, op); });
}

nlohmann::json StorageHandle::info(Operation& op) {
  const auto lock = plugin_.enter();
  return answered(op, "storage.info", label(plugin_, "info"), [&](hyper_emit emit, void* arg) {
    return table_->info(connection_, &op, 0, emit, arg);
  });
}

std::unique_ptr<SinkHandle> StorageHandle::put(Operation& op, const nlohmann::json& request) {
  const auto lock = plugin_.enter();
  auto sink = std::make_unique<SinkHandle>(plugin_);
  const hyper_doc doc{request};
  op.check(sink->opened(&op, table_->put(connection_, &op, 0, &doc, sink->out())),
           label(plugin_, "put"));
  sink->validate(label(plugin_, "put"));
  sink->serialize();
  return sink;
}

std::unique_ptr<SourceHandle> StorageHandle::get(Operation& op, const std::string& key) {
  const auto lock = plugin_.enter();
  auto source = std::make_unique<SourceHandle>();
  op.check(source->opened(&op, table_->get(connection_, &op, 0, key.c_str(), source->out())),
           label(plugin_, "get"));
  source->validate(label(plugin_, "get"));
  source->serialize(plugin_);
  return source;
}

nlohmann::json StorageHandle::stat(Operation& op, const std::string& key) {
  const auto lock = plugin_.enter();
  nlohmann::json answer;
  const std::string what = label(plugin_, "stat");
  EmitSink sink([&](const std::string& text) { answer = parsed(text, "storage.stat", what); });
  const hyper_st status = table_->stat(connection_, &op, 0, key.c_str(), &EmitSink::emit, &sink);
  sink.rethrow();
  if (status == HYPER_NOTFOUND) return nullptr;
  op.check(status, what);
  return answer;
}

void StorageHandle::list(Operation& op, const std::string& prefix,
                         const std::function<void(const nlohmann::json&)>& on_object) {
  const auto lock = plugin_.enter();
  const std::string what = label(plugin_, "list");
  EmitSink sink([&](const std::string& text) { on_object(parsed(text, "storage.stat", what)); });
  const hyper_st status = table_->list(connection_, &op, 0, prefix.c_str(), &EmitSink::emit, &sink);
  sink.rethrow();
  op.check(status, what);
}

void StorageHandle::remove(Operation& op, const std::string& key) {
  const auto lock = plugin_.enter();
  op.check(table_->remove(connection_, &op, 0, key.c_str()), label(plugin_, "remove"));
}

bool StorageHandle::undo(Operation& op, const nlohmann::json& entry) {
  return undone(plugin_, table_->undo, connection_, op, entry);
}

ImageReader::ImageReader(Plugin& plugin, Options options)
    : plugin_(plugin),
      table_(interface_of(plugin, plugin.image(), HYPER_IFACE_IMAGE)),
      options_(std::make_shared<const Options>(std::move(options))) {}

nlohmann::json ImageReader::probe(Operation& op, const SourceHandle& source) const {
  const auto lock = plugin_.enter();
  const SerialGate::OwnUse own(plugin_, source.gate());
  nlohmann::json answer;
  const std::string what = label(plugin_, "probe");
  EmitSink sink([&](const std::string& text) { answer = parsed(text, "image.probe", what); });
  const hyper_st status =
      table_->probe(&op, 0, options_.get(), &source.table(), &EmitSink::emit, &sink);
  sink.rethrow();
  if (status == HYPER_UNSUPPORTED) return nullptr;
  op.check(status, what);
  return answer;
}

std::unique_ptr<SourceHandle> ImageReader::open(Operation& op, std::shared_ptr<SourceHandle> source,
                                                const std::string& format) const {
  const auto lock = plugin_.enter();
  const SerialGate::OwnUse own(plugin_, source->gate());
  hyper_doc request{nlohmann::json::object()};
  if (!format.empty()) request.json["format"] = format;
  auto image = std::make_unique<SourceHandle>();
  op.check(image->opened(
               &op, table_->open(&op, 0, options_.get(), &source->table(), &request, image->out())),
           label(plugin_, "open"));
  image->validate(label(plugin_, "open"));
  if (!image->can(HYPER_SOURCE_SEEK))
    throw Error(Code::kFail, label(plugin_, "open") + " gave an image that cannot seek");
  image->serialize(plugin_, source.get());
  image->keep =
      std::make_shared<std::pair<std::shared_ptr<SourceHandle>, std::shared_ptr<const Options>>>(
          std::move(source), options_);
  return image;
}

}  // namespace hyperhost
