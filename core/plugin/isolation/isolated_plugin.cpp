// SPDX-License-Identifier: Apache-2.0
// The ABI's functions that open an object (connect, open, probe, validate) get no argument that
// names their plugin. So each isolated plugin gets one of a fixed number of table sets; a template
// makes their functions for each number. All other functions get an object that knows its plugin.
#include "core/plugin/isolation/isolated_plugin.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <hyper/filter.hpp>
#include <utility>

#include "core/plugin/isolation/crossing.hpp"
#include "core/plugin/isolation/worker_process.hpp"

namespace hyperhost::isolation {
namespace {

constexpr std::size_t kMostIsolated = 32;  // plugins at once

class Isolated {
 public:
  Isolated(std::string path, std::string id, WorkerSettings settings)
      : path_(std::move(path)), id_(std::move(id)), settings_(std::move(settings)) {}
  const std::string& id() const { return id_; }

  /// The running worker. Starts a new one if none runs.
  std::shared_ptr<WorkerProcess> worker() {
    const std::lock_guard lock(mutex_);
    if (!worker_ || worker_->gone()) {
      worker_.reset();
      worker_ = WorkerProcess::start(path_, id_, settings_);
    }
    return worker_;
  }

 private:
  const std::string path_, id_;
  const WorkerSettings settings_;
  std::mutex mutex_;
  std::shared_ptr<WorkerProcess> worker_;
};

std::mutex slots_mutex;
std::array<std::shared_ptr<Isolated>, kMostIsolated> slots;

std::shared_ptr<Isolated> isolated(std::size_t number) {
  const std::lock_guard lock(slots_mutex);
  return slots[number];
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
hyper_st open_it(std::size_t number, hyper_op* op, uint32_t flags, const hyper_doc* options,
                 void** out) noexcept {
  return guarded(op, [&]() -> hyper_st {
    if (flags != 0) return HYPER_UNSUPPORTED;  // begin() does not repeat flags in a new worker
    auto made = std::make_unique<Opened>(isolated(number), kOpen, kClose, json_of(options));
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
Remote plugin_itself(std::size_t number) {
  return {isolated(number)->worker()->peer(), 0};
}

hyper_st probe(std::size_t number, hyper_op* op, uint32_t flags, const hyper_doc* options,
               const hyper_source* source, hyper_emit emit, void* arg) noexcept {
  return guarded(op, [&] {
    return call_over(plugin_itself(number), Verb::kProbe, op, flags, options, source, emit, arg);
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

hyper_st image_open(std::size_t number, hyper_op* op, uint32_t flags, const hyper_doc* options,
                    const hyper_source* source, const hyper_doc* request,
                    hyper_source* out) noexcept {
  return guarded(op, [&]() -> hyper_st {
    const Remote at = plugin_itself(number);
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

hyper_st validate(std::size_t number, hyper_op* op, uint32_t flags, const char* iface,
                  const hyper_doc* options) noexcept {
  return guarded(op, [&] {
    return call_over(plugin_itself(number), Verb::kValidate, op, flags, iface, options);
  });
}

template <std::size_t kNumber>
PluginTables tables_of() {
  PluginTables tables;
  tables.validate = [](hyper_op* op, uint32_t flags, const char* iface,
                       const hyper_doc* options) noexcept {
    return validate(kNumber, op, flags, iface, options);
  };
  hyper_provider& provider = tables.provider;
  provider.size = sizeof provider;
  provider.connect = [](hyper_op* op, uint32_t flags, const hyper_doc* options,
                        void** out) noexcept {
    return open_it<Verb::kProviderConnect, Verb::kProviderDisconnect>(kNumber, op, flags, options,
                                                                      out);
  };
  provider.disconnect = close_it;
  provider.close_vm = close_vm;
  ProviderCalls::fill(provider);
  hyper_image& image = tables.image;
  image.size = sizeof image;
  image.probe = [](hyper_op* op, uint32_t flags, const hyper_doc* options,
                   const hyper_source* source, hyper_emit emit, void* arg) noexcept {
    return probe(kNumber, op, flags, options, source, emit, arg);
  };
  image.open = [](hyper_op* op, uint32_t flags, const hyper_doc* options,
                  const hyper_source* source, const hyper_doc* request,
                  hyper_source* out) noexcept {
    return image_open(kNumber, op, flags, options, source, request, out);
  };
  hyper_converter& converter = tables.converter;
  converter.size = sizeof converter;
  converter.open = [](hyper_op* op, uint32_t flags, const hyper_doc* options, void** out) noexcept {
    return open_it<Verb::kConverterOpen, Verb::kConverterClose>(kNumber, op, flags, options, out);
  };
  converter.close = close_it;
  ConverterCalls::fill(converter);
  hyper_storage& storage = tables.storage;
  storage.size = sizeof storage;
  storage.connect = [](hyper_op* op, uint32_t flags, const hyper_doc* options,
                       void** out) noexcept {
    return open_it<Verb::kStorageConnect, Verb::kStorageDisconnect>(kNumber, op, flags, options,
                                                                    out);
  };
  storage.disconnect = close_it;
  StorageCalls::fill(storage);
  hyper_guest& guest = tables.guest;
  guest.size = sizeof guest;
  guest.open = [](hyper_op* op, uint32_t flags, const hyper_doc* options, void** out) noexcept {
    return open_it<Verb::kGuestOpen, Verb::kGuestClose>(kNumber, op, flags, options, out);
  };
  guest.close = close_it;
  GuestCalls::fill(guest);
  hyper_boot& boot = tables.boot;
  boot.size = sizeof boot;
  boot.open = [](hyper_op* op, uint32_t flags, const hyper_doc* options, void** out) noexcept {
    return open_it<Verb::kBootOpen, Verb::kBootClose>(kNumber, op, flags, options, out);
  };
  boot.close = close_it;
  BootCalls::fill(boot);
  hyper_target& target = tables.target;
  target.size = sizeof target;
  target.connect = [](hyper_op* op, uint32_t flags, const hyper_doc* options, void** out) noexcept {
    return open_it<Verb::kTargetConnect, Verb::kTargetDisconnect>(kNumber, op, flags, options, out);
  };
  target.disconnect = close_it;
  TargetCalls::fill(target);
  return tables;
}

template <std::size_t... kNumbers>
PluginTables tables_numbered(std::size_t number, std::index_sequence<kNumbers...>) {
  static PluginTables (*const makers[])() = {tables_of<kNumbers>...};
  return makers[number]();
}

}  // namespace

std::unique_ptr<Plugin> load_isolated(const std::string& path, const std::string& id,
                                      WorkerSettings settings) {
  static_cast<void>(host_table());  // the proxies report to it
  const Confinement confinement = settings.confinement;
  const auto plugin = std::make_shared<Isolated>(path, id, std::move(settings));
  const nlohmann::json facts = plugin->worker()->facts();
  if (const std::string kept = plugin->worker()->kept(); !kept.empty())
    spdlog::warn(
        "plugin '{}' works on guests, and this system does not give its process {}; isolation: "
        "{{confine: required}} refuses to go on, {{confine: off}} leaves it as it is",
        id, kept);
  std::size_t number = 0;
  {
    const std::lock_guard lock(slots_mutex);
    while (number < slots.size() && slots[number]) ++number;
    if (number == slots.size())
      throw Error(Code::kUnsupported, "more than 32 plugins in processes of their own at once");
    slots[number] = plugin;
  }
  PluginTables tables = tables_numbered(number, std::make_index_sequence<kMostIsolated>());
  const auto interfaces = facts.value("interfaces", nlohmann::json::array());
  const auto has = [&](const char* iface) {
    return std::find(interfaces.begin(), interfaces.end(), iface) != interfaces.end();
  };
  if (!has(HYPER_IFACE_PROVIDER)) tables.provider = {};
  if (!has(HYPER_IFACE_IMAGE)) tables.image = {};
  if (!has(HYPER_IFACE_CONVERTER)) tables.converter = {};
  if (!has(HYPER_IFACE_STORAGE)) tables.storage = {};
  if (!has(HYPER_IFACE_GUEST)) tables.guest = {};
  if (!has(HYPER_IFACE_BOOT)) tables.boot = {};
  if (!has(HYPER_IFACE_TARGET)) tables.target = {};
  if (!facts.value("prepares", false)) tables.guest.prepare = nullptr;
  tables.serial = facts.value("serial", true);
  if (confinement.user) tables.user = confinement.user->user;
  return Plugin::of_tables(id, facts.value("version", ""), tables, [number] {
    std::shared_ptr<Isolated> last;  // ended outside the lock
    const std::lock_guard lock(slots_mutex);
    last = std::move(slots[number]);
    slots[number].reset();
  });
}

}  // namespace hyperhost::isolation
