// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/isolation/isolated_plugin.hpp"

#include <algorithm>
#include <hyper/filter.hpp>
#include <utility>

#include "core/plugin/isolation/crossing.hpp"
#include "core/plugin/isolation/worker_process.hpp"

namespace hyperhost::isolation {
namespace {

class Isolated {
 public:
  Isolated(std::string path, std::string id) : path_(std::move(path)), id_(std::move(id)) {}

  /// The running worker. Starts a new one if none runs.
  std::shared_ptr<WorkerProcess> worker() {
    const std::lock_guard lock(mutex_);
    if (!worker_ || worker_->gone()) {
      worker_.reset();
      worker_ = WorkerProcess::start(path_, id_);
    }
    return worker_;
  }

 private:
  const std::string path_, id_;
  std::mutex mutex_;
  std::shared_ptr<WorkerProcess> worker_;
};

/// The functions that open an object get options, and no object that knows its plugin.
std::shared_ptr<Isolated> addressee(const hyper_doc* options) {
  auto found = std::static_pointer_cast<Isolated>(static_cast<const Options*>(options)->target);
  if (!found) throw Error(Code::kFail, "the options name no plugin (Plugin::addressed)");
  return found;
}

/// A connection or a converter's instance. If its worker dies, the next call that starts work opens
/// it again in a new worker.
class Opened final : public RemoteObject {
 public:
  Opened(std::shared_ptr<Isolated> plugin, Verb open, Verb close, std::string options)
      : plugin_(std::move(plugin)), open_(open), close_(close), options_(std::move(options)) {}
  /// Call it before the destructor.
  void end(hyper_op* op) {
    if (worker_ && !worker_->gone())
      static_cast<void>(guarded(op, [&] { return Call(*worker_->peer(), close_, id_, op).go(); }));
  }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;

  Remote remote(hyper_op* op) override {
    const std::lock_guard lock(mutex_);
    if (!worker_ || worker_->gone()) begin(op);
    return {worker_->peer(), id_};
  }

 private:
  void begin(hyper_op* op) {
    worker_.reset();
    const auto worker = plugin_->worker();
    Call call(*worker->peer(), open_, 0, op);
    call.arguments().text(options_);
    hyper::check(call.go());
    worker_ = worker;
    id_ = call.answer.object;
  }

  const std::shared_ptr<Isolated> plugin_;
  const Verb open_, close_;
  const std::string options_;
  std::mutex mutex_;
  std::shared_ptr<WorkerProcess> worker_;
  uint64_t id_ = 0;
};

std::string json_of(const hyper_doc* doc) {
  return doc == nullptr ? "{}" : doc->json.dump();
}

template <Verb kOpen, Verb kClose>
hyper_st open_it(hyper_op* op, uint32_t flags, const hyper_doc* options, void** out) noexcept {
  return guarded(op, [&]() -> hyper_st {
    if (flags != 0) return HYPER_UNSUPPORTED;  // begin() does not repeat flags in a new worker
    auto made = std::make_unique<Opened>(addressee(options), kOpen, kClose, json_of(options));
    static_cast<void>(made->remote(op));
    *out = static_cast<RemoteObject*>(made.release());
    return HYPER_OK;
  });
}

void close_it(void* self, hyper_op* op) noexcept {
  const std::unique_ptr<Opened> opened(static_cast<Opened*>(static_cast<RemoteObject*>(self)));
  opened->end(op);
}

hyper_st close_vm(void* self, hyper_op* op, hyper_st outcome) noexcept {
  const std::unique_ptr<RemoteObject> vm(static_cast<RemoteObject*>(self));
  return guarded(op, [&]() -> hyper_st {
    const Remote at = vm->remote(op);
    // The VM ended with its process. The journal has the changes that must be undone.
    if (at.peer->gone()) return HYPER_OK;
    Call call(*at.peer, Verb::kCloseVm, at.id, op);
    call.request.a = static_cast<uint64_t>(static_cast<int64_t>(outcome));
    return call.go();
  });
}

/// The functions of a plugin that have no object.
Remote plugin_itself(const hyper_doc* options) {
  return {addressee(options)->worker()->peer(), 0};
}

hyper_st probe(hyper_op* op, uint32_t flags, const hyper_doc* options, const hyper_source* source,
               hyper_emit emit, void* arg) noexcept {
  return guarded(op, [&] {
    return call_over(plugin_itself(options), Verb::kProbe, op, flags, options, source, emit, arg);
  });
}

/// An image over a source of the host. The source is lent until the image is closed.
struct OpenImage final : hyper::Filter<OpenImage, hyper_source> {
  OpenImage(const Remote& at, const hyper_source& source) : lent(at.peer, source) {}
  void change(hyper_source& table) {
    table.flags &= HYPER_SOURCE_SEEK | HYPER_SOURCE_EXTENTS;
    table.next = nullptr;
    table.release = nullptr;
    table.locate = nullptr;
    table.sibling = nullptr;
  }
  const Lent<OfferedSource, hyper_source> lent;
};

hyper_st image_open(hyper_op* op, uint32_t flags, const hyper_doc* options,
                    const hyper_source* source, const hyper_doc* request,
                    hyper_source* out) noexcept {
  return guarded(op, [&]() -> hyper_st {
    const Remote at = plugin_itself(options);
    auto image = std::make_unique<OpenImage>(at, *source);
    const uint64_t id = image->lent.id();
    Call call(*at.peer, Verb::kImageOpen, 0, op);
    call.request.flags = flags;
    call.arguments().text(json_of(options)).text(json_of(request)).bytes(&id, sizeof id);
    write_source(call.arguments(), *source);
    if (const hyper_st status = call.go(); status != HYPER_OK) return status;
    PayloadReader description(call.lane(), call.answer);
    hyper_source opened{};
    opened.size = sizeof opened;
    import_source(at.peer, call.answer.object, description, &opened);
    hyper::detail::fill_table(*out, OpenImage::over(opened, std::move(image)));
    return HYPER_OK;
  });
}

hyper_st validate(hyper_op* op, uint32_t flags, const char* iface,
                  const hyper_doc* options) noexcept {
  return guarded(op, [&] {
    return call_over(plugin_itself(options), Verb::kValidate, op, flags, iface, options);
  });
}

PluginTables tables_of(const nlohmann::json& facts) {
  PluginTables tables;
  const auto interfaces = facts.value("interfaces", nlohmann::json::array());
  const auto has = [&](const char* iface) {
    return std::find(interfaces.begin(), interfaces.end(), iface) != interfaces.end();
  };
  if (has(HYPER_IFACE_PROVIDER)) {
    hyper_provider& table = tables.provider;
    table.size = sizeof table;
    table.connect = open_it<Verb::kProviderConnect, Verb::kProviderDisconnect>;
    table.disconnect = close_it;
    table.close_vm = close_vm;
    ProviderCalls::fill(table);
  }
  if (has(HYPER_IFACE_IMAGE)) tables.image = {sizeof tables.image, 0, probe, image_open};
  if (has(HYPER_IFACE_CONVERTER)) {
    hyper_converter& table = tables.converter;
    table.size = sizeof table;
    table.open = open_it<Verb::kConverterOpen, Verb::kConverterClose>;
    table.close = close_it;
    ConverterCalls::fill(table);
  }
  if (has(HYPER_IFACE_STORAGE)) {
    hyper_storage& table = tables.storage;
    table.size = sizeof table;
    table.connect = open_it<Verb::kStorageConnect, Verb::kStorageDisconnect>;
    table.disconnect = close_it;
    StorageCalls::fill(table);
  }
  tables.validate = validate;
  tables.serial = facts.value("serial", true);
  return tables;
}

}  // namespace

std::unique_ptr<Plugin> load_isolated(const std::string& path, const std::string& id) {
  static_cast<void>(host_table());  // the proxies report to it
  const auto plugin = std::make_shared<Isolated>(path, id);
  const nlohmann::json facts = plugin->worker()->facts();
  PluginTables tables = tables_of(facts);
  tables.target = plugin;
  return Plugin::of_tables(id, facts.value("version", ""), tables, {});
}

}  // namespace hyperhost::isolation
