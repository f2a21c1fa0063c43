// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/plugin.hpp"

#include <spdlog/spdlog.h>

#include <dlfcn.h>

#define BOOST_DLL_USE_STD_FS
#include <algorithm>
#include <boost/dll/shared_library.hpp>
#include <cstring>
#include <filesystem>
#include <initializer_list>
#include <mutex>
#include <system_error>
#include <vector>

namespace hyperhost {
namespace {

Error refused(const std::string& path, const std::string& why) {
  return Error(Code::kUnsupported, "plugin " + path + " is refused", why);
}

/// Copies a plugin's table. Slots that the plugin's table does not have are zero. min_size: the
/// bytes that a table of ABI 1.0 has; a shorter one is refused.
template <class Table>
void copy_table(Table& out, const void* from, std::size_t min_size, const std::string& what) {
  uint32_t size = 0;
  std::memcpy(&size, from, sizeof size);  // every table begins with it
  if (size < min_size)
    throw Error(
        Code::kUnsupported, what + " is too small",
        "it says " + std::to_string(size) + " bytes, ABI 1.0 has " + std::to_string(min_size));
  std::memcpy(static_cast<void*>(&out), from, std::min<std::size_t>(size, sizeof out));
}

struct Slot {
  template <class Function>
  Slot(const char* slot_name, Function function) : name(slot_name), set(function != nullptr) {}
  const char* name;
  bool set;
};
void require(const std::string& what, std::initializer_list<Slot> slots) {
  for (const Slot& slot : slots)
    if (!slot.set) throw Error(Code::kUnsupported, what + " has no " + slot.name + "()");
}

boost::dll::shared_library open_library(const std::string& path) {
  std::error_code error;
  boost::dll::shared_library library;
  library.load(path, error, boost::dll::load_mode::rtld_now | boost::dll::load_mode::rtld_local);
  if (!error) return library;
  // Boost keeps only the code. The loader's own text names the missing symbol or library.
  const char* reason = ::dlerror();
  if (::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL) == nullptr) reason = ::dlerror();
  throw refused(path, reason == nullptr ? error.message() : reason);
}

/// Keeps a library loaded until the process ends (see the header). Its handle is never closed, also
/// not at exit.
void keep_loaded(boost::dll::shared_library library) {
  static std::mutex mutex;
  static auto* const kept = new std::vector<boost::dll::shared_library>;
  const std::lock_guard lock(mutex);
  kept->push_back(std::move(library));
}

struct Interfaces {
  hyper_provider& provider;
  hyper_image& image;
  hyper_converter& converter;
  hyper_storage& storage;
  hyper_boot& boot;
  hyper_guest& guest;
  hyper_target& target;
};

/// Copies the tables that the plugin has. Throws Error if one lacks a required slot.
void take_interfaces(const hyper_plugin& table, const std::string& id, const Interfaces& out) {
  const std::string what = "plugin '" + id + "': interface ";
  if (const void* from = table.get(HYPER_IFACE_PROVIDER)) {
    auto& to = out.provider;
    copy_table(to, from, sizeof to, what + HYPER_IFACE_PROVIDER);
    require(what + HYPER_IFACE_PROVIDER, {{"connect", to.connect},
                                          {"disconnect", to.disconnect},
                                          {"list_vms", to.list_vms},
                                          {"describe_vm", to.describe_vm},
                                          {"open_vm", to.open_vm},
                                          {"open_disk", to.open_disk},
                                          {"close_vm", to.close_vm}});
  }
  if (const void* from = table.get(HYPER_IFACE_IMAGE)) {
    auto& to = out.image;
    copy_table(to, from, sizeof to, what + HYPER_IFACE_IMAGE);
    require(what + HYPER_IFACE_IMAGE, {{"probe", to.probe}, {"open", to.open}});
  }
  if (const void* from = table.get(HYPER_IFACE_CONVERTER)) {
    auto& to = out.converter;
    copy_table(to, from, sizeof to, what + HYPER_IFACE_CONVERTER);
    require(what + HYPER_IFACE_CONVERTER,
            {{"open", to.open}, {"close", to.close}, {"plan", to.plan}, {"convert", to.convert}});
  }
  if (const void* from = table.get(HYPER_IFACE_STORAGE)) {
    auto& to = out.storage;
    copy_table(to, from, sizeof to, what + HYPER_IFACE_STORAGE);
    require(what + HYPER_IFACE_STORAGE, {{"connect", to.connect},
                                         {"disconnect", to.disconnect},
                                         {"info", to.info},
                                         {"put", to.put},
                                         {"get", to.get},
                                         {"stat", to.stat},
                                         {"list", to.list},
                                         {"remove", to.remove}});
  }
  if (const void* from = table.get(HYPER_IFACE_BOOT)) {
    auto& to = out.boot;
    copy_table(to, from, sizeof to, what + HYPER_IFACE_BOOT);
    require(what + HYPER_IFACE_BOOT,
            {{"open", to.open}, {"close", to.close}, {"plan", to.plan}, {"check", to.check}});
  }
  if (const void* from = table.get(HYPER_IFACE_GUEST)) {
    auto& to = out.guest;
    copy_table(to, from, sizeof to, what + HYPER_IFACE_GUEST);
    require(what + HYPER_IFACE_GUEST,
            {{"open", to.open}, {"close", to.close}, {"plan", to.plan}, {"inspect", to.inspect}});
  }
  if (const void* from = table.get(HYPER_IFACE_TARGET)) {
    auto& to = out.target;
    copy_table(to, from, sizeof to, what + HYPER_IFACE_TARGET);
    require(what + HYPER_IFACE_TARGET, {{"connect", to.connect},
                                        {"disconnect", to.disconnect},
                                        {"info", to.info},
                                        {"plan", to.plan},
                                        {"define", to.define}});
  }
}

}  // namespace

std::unique_ptr<Plugin> Plugin::load(const std::string& path, const std::string& expected_id,
                                     const hyper_host* host) {
  boost::dll::shared_library library = open_library(path);
  if (!library.has(HYPER_ENTRY_SYMBOL))
    throw refused(path, library.has("hyper_plugin_entry_v2")
                            ? "it is built for plugin ABI 2 and this host runs ABI 1"
                            : "it exports no symbol " HYPER_ENTRY_SYMBOL);
  const auto entry = library.get<const hyper_plugin*(const hyper_hello*)>(HYPER_ENTRY_SYMBOL);
  keep_loaded(std::move(library));

  char refusal[512] = "";
  const hyper_hello hello{sizeof(hyper_hello), HYPER_ABI_MINOR, 0, refusal, sizeof refusal};
  const hyper_plugin* descriptor = entry(&hello);
  refusal[sizeof refusal - 1] = '\0';
  if (descriptor == nullptr)
    throw refused(path, refusal[0] != '\0' ? refusal : "it gave no reason");

  std::unique_ptr<Plugin> plugin(new Plugin);
  copy_table(plugin->plugin_, descriptor, sizeof(hyper_plugin), "descriptor of " + path);
  const hyper_plugin& table = plugin->plugin_;
  if (table.need_minor > HYPER_ABI_MINOR)
    throw refused(path, "it needs plugin ABI 1." + std::to_string(table.need_minor) +
                            " and this host offers 1." + std::to_string(HYPER_ABI_MINOR));
  if (table.id == nullptr || table.version == nullptr || table.start == nullptr ||
      table.stop == nullptr || table.get == nullptr)
    throw refused(path, "its descriptor has an empty slot that may not be empty");
  plugin->id_ = table.id;
  plugin->version_ = table.version;
  if (plugin->id_ != expected_id)
    throw refused(
        path, "its manifest says '" + expected_id + "' and its descriptor '" + plugin->id_ + "'");

  Operation op("plugin " + plugin->id_, CancelSource::create());
  op.on_notice([&](const Diagnostic& notice) {
    spdlog::warn("plugin {}: {}", expected_id, to_string(notice));
  });
  op.check(table.start(host, &op), "plugin '" + plugin->id_ + "': start");
  plugin->started_ = true;

  take_interfaces(table, plugin->id_,
                  {plugin->provider_, plugin->image_, plugin->converter_, plugin->storage_,
                   plugin->boot_, plugin->guest_, plugin->target_});
  return plugin;
}

std::unique_ptr<Plugin> Plugin::of_tables(const std::string& id, const std::string& version,
                                          const PluginTables& tables, std::function<void()> ended) {
  std::unique_ptr<Plugin> plugin(new Plugin);
  plugin->id_ = id;
  plugin->version_ = version;
  plugin->provider_ = tables.provider;
  plugin->image_ = tables.image;
  plugin->converter_ = tables.converter;
  plugin->storage_ = tables.storage;
  plugin->boot_ = tables.boot;
  plugin->guest_ = tables.guest;
  plugin->target_ = tables.target;
  plugin->plugin_.validate = tables.validate;
  plugin->plugin_.threads = tables.serial ? HYPER_THREADS_SERIAL : HYPER_THREADS_PARALLEL;
  plugin->ended_ = std::move(ended);
  plugin->user_ = tables.user;
  return plugin;
}

Plugin::~Plugin() {
  if (started_) plugin_.stop();
  if (ended_) ended_();
}

const hyper_provider* Plugin::provider() const {
  return provider_.size ? &provider_ : nullptr;
}
const hyper_image* Plugin::image() const {
  return image_.size ? &image_ : nullptr;
}
const hyper_converter* Plugin::converter() const {
  return converter_.size ? &converter_ : nullptr;
}
const hyper_storage* Plugin::storage() const {
  return storage_.size ? &storage_ : nullptr;
}
const hyper_boot* Plugin::boot() const {
  return boot_.size ? &boot_ : nullptr;
}
const hyper_guest* Plugin::guest() const {
  return guest_.size ? &guest_ : nullptr;
}
const hyper_target* Plugin::target() const {
  return target_.size ? &target_ : nullptr;
}

hyper_st Plugin::validate(const char* iface, const Options& options, Operation& op) const {
  if (plugin_.validate == nullptr) return HYPER_OK;
  const auto lock = enter();
  return plugin_.validate(&op, 0, iface, &options);
}

std::unique_lock<std::recursive_mutex> Plugin::enter() const {
  return serial() ? std::unique_lock(serial_) : std::unique_lock<std::recursive_mutex>();
}

}  // namespace hyperhost
