// SPDX-License-Identifier: Apache-2.0
// The ABI's functions that open something (connect, open, probe, validate) are not told which
// plugin they belong to: the descriptor is. So each isolated plugin gets one of a fixed number of
// table sets, whose functions are stamped out per number; everything behind them carries its own
// context.
#include "core/plugin/isolation/isolated_plugin.hpp"

#include <algorithm>
#include <array>
#include <hyper/filter.hpp>
#include <utility>

#include "core/plugin/isolation/call.hpp"
#include "core/plugin/isolation/imported.hpp"
#include "core/plugin/isolation/offered.hpp"
#include "core/plugin/isolation/worker_process.hpp"

namespace hyperhost::isolation {
namespace {

constexpr std::size_t kMostIsolated = 32;  // plugins at once

class Isolated {
 public:
  Isolated(std::string path, std::string id) : path_(std::move(path)), id_(std::move(id)) {}
  const std::string& id() const { return id_; }

  /// The running worker, or a fresh one where there is none any more.
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

std::mutex slots_mutex;
std::array<std::shared_ptr<Isolated>, kMostIsolated> slots;

std::shared_ptr<Isolated> isolated(std::size_t number) {
  const std::lock_guard lock(slots_mutex);
  return slots[number];
}

/// A connection or a converter's instance. Its worker may die; then it is opened again, in a fresh
/// one, by the next call that begins something.
class Opened {
 public:
  Opened(std::shared_ptr<Isolated> plugin, Verb open, Verb close, std::string options)
      : plugin_(std::move(plugin)), open_(open), close_(close), options_(std::move(options)) {}
  /// Before the destructor.
  void end(hyper_op* op) {
    if (worker_ && !worker_->gone())
      static_cast<void>(guarded(op, [&] { return Call(*worker_->peer(), close_, id_, op).go(); }));
  }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;

  hyper_st ensure(hyper_op* op) {
    const std::lock_guard lock(mutex_);
    if (worker_ && !worker_->gone()) return HYPER_OK;
    worker_.reset();
    const auto worker = plugin_->worker();
    Call call(*worker->peer(), open_, 0, op);
    call.arguments().text(options_);
    const hyper_st status = call.go();
    if (status != HYPER_OK) return status;
    worker_ = worker;
    id_ = call.answer.object;
    return HYPER_OK;
  }
  struct Where {
    std::shared_ptr<WorkerProcess> worker;
    uint64_t id;
  };
  Where where() {
    const std::lock_guard lock(mutex_);
    return {worker_, id_};
  }

 private:
  const std::shared_ptr<Isolated> plugin_;
  const Verb open_, close_;
  const std::string options_;
  std::mutex mutex_;
  std::shared_ptr<WorkerProcess> worker_;
  uint64_t id_ = 0;
};

/// A VM that is held open belongs to the worker that opened it.
struct OpenVm {
  std::shared_ptr<WorkerProcess> worker;
  uint64_t id;
};

std::string json_of(const hyper_doc* doc) {
  return doc == nullptr ? "{}" : doc->json.dump();
}

template <Verb kOpen, Verb kClose>
hyper_st open_it(std::size_t number, hyper_op* op, uint32_t flags, const hyper_doc* options,
                 void** out) noexcept {
  return guarded(op, [&]() -> hyper_st {
    if (flags != 0) return HYPER_UNSUPPORTED;  // a worker that is started again would need them
    auto made = std::make_unique<Opened>(isolated(number), kOpen, kClose, json_of(options));
    const hyper_st status = made->ensure(op);
    if (status == HYPER_OK) *out = made.release();
    return status;
  });
}

void close_it(void* self, hyper_op* op) noexcept {
  const std::unique_ptr<Opened> opened(static_cast<Opened*>(self));
  opened->end(op);
}

/// A call on a connection with one text, whose results are emitted.
template <Verb kVerb>
hyper_st ask(void* self, hyper_op* op, uint32_t flags, const char* text, hyper_emit emit,
             void* arg) noexcept {
  return guarded(op, [&]() -> hyper_st {
    auto& opened = *static_cast<Opened*>(self);
    if (const hyper_st status = opened.ensure(op); status != HYPER_OK) return status;
    const auto [worker, id] = opened.where();
    Call call(*worker->peer(), kVerb, id, op);
    call.request.flags = flags;
    call.request.a = text == nullptr ? 0 : 1;
    call.arguments().text(text == nullptr ? "" : text);
    call.emit_to(emit, arg);
    return call.go();
  });
}
template <Verb kVerb>
hyper_st ask_silently(void* self, hyper_op* op, uint32_t flags, const char* text) noexcept {
  return ask<kVerb>(self, op, flags, text, nullptr, nullptr);
}
/// The same with a document.
template <Verb kVerb>
hyper_st ask_about(void* self, hyper_op* op, uint32_t flags, const hyper_doc* request,
                   hyper_emit emit, void* arg) noexcept {
  return guarded(op,
                 [&] { return ask<kVerb>(self, op, flags, json_of(request).c_str(), emit, arg); });
}
template <Verb kVerb>
hyper_st tell(void* self, hyper_op* op, uint32_t flags, const hyper_doc* request) noexcept {
  return ask_about<kVerb>(self, op, flags, request, nullptr, nullptr);
}

hyper_st storage_info(void* self, hyper_op* op, uint32_t flags, hyper_emit emit,
                      void* arg) noexcept {
  return ask<Verb::kInfo>(self, op, flags, nullptr, emit, arg);
}

/// What a call opened, as a table of ours.
hyper_st take_source(const std::shared_ptr<WorkerProcess>& worker, Call& call, hyper_source* out) {
  const hyper_st status = call.go();
  if (status != HYPER_OK) return status;
  PayloadReader in(call.lane(), call.answer);
  import_source(worker->peer(), call.answer.object, in, out);
  return HYPER_OK;
}

hyper_st open_vm(void* self, hyper_op* op, uint32_t flags, const hyper_doc* request,
                 void** out) noexcept {
  return guarded(op, [&]() -> hyper_st {
    auto& opened = *static_cast<Opened*>(self);
    if (const hyper_st status = opened.ensure(op); status != HYPER_OK) return status;
    const auto [worker, id] = opened.where();
    Call call(*worker->peer(), Verb::kOpenVm, id, op);
    call.request.flags = flags;
    call.arguments().text(json_of(request));
    const hyper_st status = call.go();
    if (status == HYPER_OK) *out = new OpenVm{worker, call.answer.object};
    return status;
  });
}

hyper_st open_disk(void* self, hyper_op* op, uint32_t flags, const char* disk,
                   hyper_source* out) noexcept {
  return guarded(op, [&]() -> hyper_st {
    const auto& vm = *static_cast<OpenVm*>(self);
    Call call(*vm.worker->peer(), Verb::kOpenDisk, vm.id, op);
    call.request.flags = flags;
    call.arguments().text(disk);
    return take_source(vm.worker, call, out);
  });
}

hyper_st close_vm(void* self, hyper_op* op, hyper_st outcome) noexcept {
  const std::unique_ptr<OpenVm> vm(static_cast<OpenVm*>(self));
  return guarded(op, [&]() -> hyper_st {
    // Its process took it along; what it owed to the outside is in the journal.
    if (vm->worker->gone()) return HYPER_OK;
    Call call(*vm->worker->peer(), Verb::kCloseVm, vm->id, op);
    call.request.a = static_cast<uint64_t>(static_cast<int64_t>(outcome));
    return call.go();
  });
}

hyper_st storage_put(void* self, hyper_op* op, uint32_t flags, const hyper_doc* request,
                     hyper_sink* out) noexcept {
  return guarded(op, [&]() -> hyper_st {
    auto& opened = *static_cast<Opened*>(self);
    if (const hyper_st status = opened.ensure(op); status != HYPER_OK) return status;
    const auto [worker, id] = opened.where();
    Call call(*worker->peer(), Verb::kPut, id, op);
    call.request.flags = flags;
    call.arguments().text(json_of(request));
    if (const hyper_st status = call.go(); status != HYPER_OK) return status;
    PayloadReader in(call.lane(), call.answer);
    import_sink(worker->peer(), call.answer.object, in, out);
    return HYPER_OK;
  });
}

hyper_st storage_get(void* self, hyper_op* op, uint32_t flags, const char* key,
                     hyper_source* out) noexcept {
  return guarded(op, [&]() -> hyper_st {
    auto& opened = *static_cast<Opened*>(self);
    if (const hyper_st status = opened.ensure(op); status != HYPER_OK) return status;
    const auto [worker, id] = opened.where();
    Call call(*worker->peer(), Verb::kGet, id, op);
    call.request.flags = flags;
    call.arguments().text(key);
    return take_source(worker, call, out);
  });
}

hyper_st convert(void* self, hyper_op* op, uint32_t flags, const hyper_doc* request,
                 const hyper_source* source, const hyper_sink* sink, hyper_emit emit,
                 void* arg) noexcept {
  return guarded(op, [&]() -> hyper_st {
    auto& opened = *static_cast<Opened*>(self);
    if (const hyper_st status = opened.ensure(op); status != HYPER_OK) return status;
    const auto [worker, id] = opened.where();
    const Lent<OfferedSource, hyper_source> from(worker->peer(), *source);
    const Lent<OfferedSink, hyper_sink> to(worker->peer(), *sink);
    Call call(*worker->peer(), Verb::kConvert, id, op);
    call.request.flags = flags;
    call.request.a = from.id();
    call.request.b = to.id();
    call.arguments().text(json_of(request));
    write_source(call.arguments(), *source);
    write_sink(call.arguments(), *sink);
    call.emit_to(emit, arg);
    return call.go();
  });
}

hyper_st probe(std::size_t number, hyper_op* op, uint32_t flags, const hyper_doc* options,
               const hyper_source* source, hyper_emit emit, void* arg) noexcept {
  return guarded(op, [&]() -> hyper_st {
    const auto worker = isolated(number)->worker();
    const Lent<OfferedSource, hyper_source> from(worker->peer(), *source);
    Call call(*worker->peer(), Verb::kProbe, 0, op);
    call.request.flags = flags;
    call.request.a = from.id();
    call.arguments().text(json_of(options)).text("");
    write_source(call.arguments(), *source);
    call.emit_to(emit, arg);
    return call.go();
  });
}

/// An image over a source of the host's: the source is lent until the image is closed.
struct OpenImage final : hyper::Filter<OpenImage, hyper_source> {
  OpenImage(std::shared_ptr<WorkerProcess> reader, const hyper_source& source)
      : worker(std::move(reader)), lent(worker->peer(), source) {}
  void change(hyper_source& table) {
    table.flags &= HYPER_SOURCE_SEEK | HYPER_SOURCE_EXTENTS;
    table.next = nullptr;
    table.release = nullptr;
    table.locate = nullptr;
    table.sibling = nullptr;
  }
  const std::shared_ptr<WorkerProcess> worker;
  const Lent<OfferedSource, hyper_source> lent;
};

hyper_st image_open(std::size_t number, hyper_op* op, uint32_t flags, const hyper_doc* options,
                    const hyper_source* source, const hyper_doc* request,
                    hyper_source* out) noexcept {
  return guarded(op, [&]() -> hyper_st {
    auto image = std::make_unique<OpenImage>(isolated(number)->worker(), *source);
    Call call(*image->worker->peer(), Verb::kImageOpen, 0, op);
    call.request.flags = flags;
    call.request.a = image->lent.id();
    call.arguments().text(json_of(options)).text(json_of(request));
    write_source(call.arguments(), *source);
    hyper_source opened{};
    opened.size = sizeof opened;
    const hyper_st status = take_source(image->worker, call, &opened);
    if (status == HYPER_OK)
      hyper::detail::fill_table(*out, OpenImage::over(opened, std::move(image)));
    return status;
  });
}

hyper_st validate(std::size_t number, hyper_op* op, uint32_t flags, const char* iface,
                  const hyper_doc* options) noexcept {
  return guarded(op, [&]() -> hyper_st {
    const auto worker = isolated(number)->worker();
    Call call(*worker->peer(), Verb::kValidate, 0, op);
    call.request.flags = flags;
    call.arguments().text(iface).text(json_of(options));
    return call.go();
  });
}

template <std::size_t kNumber>
PluginTables tables_of() {
  PluginTables tables;
  tables.validate = [](hyper_op* op, uint32_t flags, const char* iface,
                       const hyper_doc* options) noexcept {
    return validate(kNumber, op, flags, iface, options);
  };
  tables.provider = {
      sizeof(hyper_provider),
      0,
      [](hyper_op* op, uint32_t flags, const hyper_doc* options, void** out) noexcept {
        return open_it<Verb::kProviderConnect, Verb::kProviderDisconnect>(kNumber, op, flags,
                                                                          options, out);
      },
      close_it,
      ask<Verb::kListVms>,
      ask<Verb::kDescribeVm>,
      tell<Verb::kPreflight>,
      open_vm,
      open_disk,
      close_vm,
      tell<Verb::kProviderUndo>,
      nullptr,
      nullptr,
  };
  tables.image = {
      sizeof(hyper_image),
      0,
      [](hyper_op* op, uint32_t flags, const hyper_doc* options, const hyper_source* source,
         hyper_emit emit,
         void* arg) noexcept { return probe(kNumber, op, flags, options, source, emit, arg); },
      [](hyper_op* op, uint32_t flags, const hyper_doc* options, const hyper_source* source,
         const hyper_doc* request, hyper_source* out) noexcept {
        return image_open(kNumber, op, flags, options, source, request, out);
      },
  };
  tables.converter = {
      sizeof(hyper_converter),
      0,
      [](hyper_op* op, uint32_t flags, const hyper_doc* options, void** out) noexcept {
        return open_it<Verb::kConverterOpen, Verb::kConverterClose>(kNumber, op, flags, options,
                                                                    out);
      },
      close_it,
      ask_about<Verb::kPlan>,
      convert,
      nullptr,
  };
  tables.storage = {
      sizeof(hyper_storage),
      0,
      [](hyper_op* op, uint32_t flags, const hyper_doc* options, void** out) noexcept {
        return open_it<Verb::kStorageConnect, Verb::kStorageDisconnect>(kNumber, op, flags, options,
                                                                        out);
      },
      close_it,
      storage_info,
      storage_put,
      storage_get,
      ask<Verb::kStat>,
      ask<Verb::kList>,
      ask_silently<Verb::kRemove>,
      tell<Verb::kStorageUndo>,
      nullptr,
  };
  return tables;
}

template <std::size_t... kNumbers>
PluginTables tables_numbered(std::size_t number, std::index_sequence<kNumbers...>) {
  static PluginTables (*const makers[])() = {tables_of<kNumbers>...};
  return makers[number]();
}

}  // namespace

std::unique_ptr<Plugin> load_isolated(const std::string& path, const std::string& id) {
  static_cast<void>(host_table());  // the proxies report to it
  const auto plugin = std::make_shared<Isolated>(path, id);
  const nlohmann::json facts = plugin->worker()->facts();
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
  tables.serial = facts.value("serial", true);
  return Plugin::of_tables(id, facts.value("version", ""), tables, [number] {
    std::shared_ptr<Isolated> last;  // ended outside the lock
    const std::lock_guard lock(slots_mutex);
    last = std::move(slots[number]);
    slots[number].reset();
  });
}

}  // namespace hyperhost::isolation
