// SPDX-License-Identifier: Apache-2.0
// The handles of the interfaces: provider, converter, storage, image reader.
#include "core/plugin/handles.hpp"

#include <spdlog/spdlog.h>

#include <optional>

#include "core/plugin/handle_calls.hpp"

namespace hyperhost {
namespace {

template <class Interface>
const Interface* interface_of(const Plugin& plugin, const Interface* table, const char* id) {
  if (table == nullptr)
    throw Error(Code::kUnsupported, "plugin '" + plugin.id() + "' has no interface " + id);
  return table;
}

nlohmann::json parsed(const std::string& text, std::string_view document, const std::string& what) {
  return accepted_answer(document, parse_object(text, what), what);
}

}  // namespace

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
