// SPDX-License-Identifier: Apache-2.0
// All mutants in one plugin; HYPER_MUTANT names the one that this process is.
#include "converter.hpp"
#include "guest.hpp"
#include "image.hpp"
#include "provider.hpp"
#include "storage.hpp"

namespace mutants {
namespace {

using Interfaces =
    hyper::Interfaces<hyper::Provider<Connection>, hyper::Converter<Converter>,
                      hyper::Storage<Store>, hyper::Image<Image>, hyper::Guest<Guest>>;

// Tables as a plugin in C has them that does not look at a call's flags.
const hyper_provider& provider() {
  return *static_cast<const hyper_provider*>(Interfaces::get(HYPER_IFACE_PROVIDER));
}
const hyper_storage& storage() {
  return *static_cast<const hyper_storage*>(Interfaces::get(HYPER_IFACE_STORAGE));
}

const void* get(const char* iface) noexcept {
  static const hyper_provider careless_provider = [] {
    hyper_provider made = provider();
    made.list_vms = [](void* self, hyper_op* op, uint32_t, const char* pattern, hyper_emit emit,
                       void* arg) noexcept {
      return provider().list_vms(self, op, 0, pattern, emit, arg);
    };
    return made;
  }();
  static const hyper_storage careless_storage = [] {
    hyper_storage made = storage();
    made.put = [](void* self, hyper_op* op, uint32_t, const hyper_doc* request,
                  hyper_sink* out) noexcept { return storage().put(self, op, 0, request, out); };
    return made;
  }();
  if (mutant("provider-ignores-flags") && std::strcmp(iface, HYPER_IFACE_PROVIDER) == 0)
    return &careless_provider;
  if (mutant("storage-ignores-flags") && std::strcmp(iface, HYPER_IFACE_STORAGE) == 0)
    return &careless_storage;
  return Interfaces::get(iface);
}

struct Mutant {
  using Interfaces = mutants::Interfaces;
  static constexpr int32_t kThreads = HYPER_THREADS_PARALLEL;
};

}  // namespace
}  // namespace mutants

extern "C" HYPER_EXPORT const hyper_plugin* hyper_plugin_entry_v1(
    const hyper_hello* hello) noexcept {
  static const hyper_plugin plugin = [hello] {
    hyper_plugin made = *hyper::detail::plugin_entry<mutants::Mutant>(hello);
    made.get = mutants::get;
    return made;
  }();
  return &plugin;
}
