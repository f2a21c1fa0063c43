// SPDX-License-Identifier: Apache-2.0
// Tables of its own around the good ones: what the C++ face does not let one do wrong is done here.
#include <fcntl.h>
#include <unistd.h>

#include <new>
#include <stdexcept>
#include <thread>

#include "converter.hpp"
#include "provider.hpp"
#include "storage.hpp"

namespace zoo {
namespace {

using Interfaces = hyper::Interfaces<hyper::Provider<Connection>, hyper::Converter<Converter>,
                                     hyper::Storage<Store>, hyper::Image<Image>>;

// What C++ before 17, or C, would let through.
using Throwing = hyper_st (*)(void*, hyper_op*, uint32_t, const char*, hyper_emit, void*);
hyper_st throws(void*, hyper_op*, uint32_t, const char*, hyper_emit, void*) {
  throw std::runtime_error("thrown inside the plugin");
}

// A plugin in C that does not look at a call's flags.
decltype(hyper_source::read_at) the_read_at = nullptr;
hyper_st read_ignoring_flags(void* ctx, hyper_op* op, uint32_t, uint64_t offset, void* buf,
                             uint64_t len) noexcept {
  return the_read_at(ctx, op, 0, offset, buf, len);
}
hyper_st open_ignoring_flags(void* vm, hyper_op* op, uint32_t flags, const char* disk,
                             hyper_source* out) noexcept {
  const auto* provider = static_cast<const hyper_provider*>(Interfaces::get(HYPER_IFACE_PROVIDER));
  const hyper_st status = provider->open_disk(vm, op, flags, disk, out);
  if (status == HYPER_OK) {
    the_read_at = out->read_at;
    out->read_at = read_ignoring_flags;
  }
  return status;
}

struct Zoo {
  using Interfaces = zoo::Interfaces;
  static constexpr int32_t kThreads = HYPER_THREADS_PARALLEL;
  static void start(hyper::Op) {
    if (bad("start-leaks")) static_cast<void>(::operator new(200));
    if (bad("start-leaves-threads")) std::thread([] { ::pause(); }).detach();
    if (bad("start-opens")) static_cast<void>(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (bad("need-extension") && hyper::extension<hyper_spawn>(HYPER_EXT_SPAWN) == nullptr)
      throw hyper::Reported(HYPER_UNSUPPORTED);
    if (bad("read-new-host")) {
      volatile const char* beyond = reinterpret_cast<const char*>(&hyper::host());
      static_cast<void>(beyond[hyper::host().size]);
    }
  }
  static void validate(const std::string&, const hyper::Doc& config, hyper::Op) {
    const std::string letter = config.string("/letter");
    if (letter.empty()) {
      hyper::Error error(HYPER_CONFIG, "the letter is empty");
      throw bad("error-without-path") ? error : error.at("/letter");
    }
    if (bad("crash-on-long") && letter.size() > 10000) std::abort();
  }
};

const void* get(const char* iface) noexcept {
  const void* table = Interfaces::get(iface);
  if (table == nullptr && bad("any-interface")) return Interfaces::get(HYPER_IFACE_STORAGE);
  if (std::strcmp(iface, HYPER_IFACE_PROVIDER) != 0) return table;
  static const hyper_provider provider = [table] {
    hyper_provider made = *static_cast<const hyper_provider*>(table);
    if (bad("small-table")) made.size = 16;
    if (bad("empty-slot")) made.describe_vm = nullptr;
    if (bad("ignore-flags")) made.open_disk = open_ignoring_flags;
    if (bad("throw")) {
      const Throwing evil = throws;
      std::memcpy(&made.list_vms, &evil, sizeof evil);
    }
    return made;
  }();
  if (bad("no-interface")) return nullptr;
  return &provider;
}

}  // namespace
}  // namespace zoo

extern "C" HYPER_EXPORT const hyper_plugin* hyper_plugin_entry_v1(
    const hyper_hello* hello) noexcept {
  using zoo::bad;
  static int calls = 0;
  if (bad("entry-opens")) static_cast<void>(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (bad("entry-writes")) static_cast<void>(::write(2, "hi\n", 3));
  if (bad("silent-refusal")) return nullptr;
  if (bad("refusal-overflows") && hello->refusal_cap < 100) std::memset(hello->refusal, 'x', 100);
  if (bad("read-new-hello")) {
    volatile const char* beyond = reinterpret_cast<const char*>(hello);
    static_cast<void>(beyond[sizeof *hello]);
  }
  if (bad("crash-in-entry")) std::abort();
  const auto made = [hello] {
    hyper_plugin plugin = *hyper::detail::plugin_entry<zoo::Zoo>(hello);
    plugin.get = zoo::get;
    if (bad("other-id")) plugin.id = "lion";
    if (bad("small-descriptor")) plugin.size = 24;
    if (bad("too-new")) plugin.need_minor = plugin.abi_minor = 7;
    return plugin;
  };
  static const hyper_plugin plugins[] = {made(), made()};
  return &plugins[bad("two-descriptors") ? calls++ % 2 : 0];
}
