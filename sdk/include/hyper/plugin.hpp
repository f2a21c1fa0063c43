// SPDX-License-Identifier: Apache-2.0
// The C++17 face of the plugin ABI, whole. A plugin is a class that names its interfaces:
//
//   struct Acme {
//     using Interfaces = hyper::Interfaces<hyper::Provider<AcmeConnection>>;
//     static constexpr int32_t kThreads = HYPER_THREADS_PARALLEL;
//   };
//   HYPER_PLUGIN(Acme)
//
// The class may also have the static functions start(Op), stop() and
// validate(const std::string& iface, const Doc& options, Op). The plugin's id, version and options
// come from the manifest that hyperhost_add_plugin() (CMake) compiles in.
#ifndef HYPER_PLUGIN_HPP
#define HYPER_PLUGIN_HPP

#include <cstddef>
#include <cstdio>
#include <cstring>

#include "interfaces.hpp"
#include "plugin.h"

// Generated from the plugin's manifest by hyperhost_add_plugin().
extern "C" {
extern const char hyper_manifest_json[];
extern const char hyper_manifest_id[];
extern const char hyper_manifest_version[];
}

namespace hyper {

template <class... Is>
struct Interfaces {
  static const void* get(const char* id) {
    const void* found = nullptr;
    static_cast<void>(((std::strcmp(id, Is::kId) == 0 && (found = Is::table(), true)) || ...));
    return found;
  }
};

namespace detail {
template <class P, class = void>
struct StartHook {
  static void call(Op) {}
};
template <class P>
struct StartHook<P, decltype(P::start(std::declval<Op>()))> {
  static void call(Op op) { P::start(op); }
};
template <class P, class = void>
struct StopHook {
  static void call() {}
};
template <class P>
struct StopHook<P, decltype(P::stop())> {
  static void call() { P::stop(); }
};
template <class P, class = void>
struct ValidateHook {
  static constexpr decltype(hyper_plugin::validate) kCall = nullptr;
};
template <class P>
struct ValidateHook<P, decltype(P::validate(std::string(), Doc(), Op(nullptr)))> {
  static hyper_st call(hyper_op* op, uint32_t flags, const char* iface,
                       const hyper_doc* options) noexcept {
    return guard(op, flags, 0, [&] { P::validate(iface, Doc(options), Op(op)); });
  }
  static constexpr decltype(hyper_plugin::validate) kCall = &call;
};

template <class P>
const hyper_plugin* plugin_entry(const hyper_hello* hello) noexcept {
  static const hyper_plugin plugin = {
      sizeof(hyper_plugin),
      HYPER_ABI_MINOR,
      0,
      P::kThreads,
      0,
      hyper_manifest_id,
      hyper_manifest_version,
      hyper_manifest_json,
      [](const hyper_host* table, hyper_op* op) noexcept {
        host_slot() = table;
        return guard(op, [&] { StartHook<P>::call(Op(op)); });
      },
      []() noexcept { StopHook<P>::call(); },
      ValidateHook<P>::kCall,
      [](const char* iface) noexcept -> const void* { return P::Interfaces::get(iface); },
  };
  // This face uses nothing newer than minor 0, so it works with any host of this major.
  static_cast<void>(hello);
  return &plugin;
}
}  // namespace detail
}  // namespace hyper

#define HYPER_PLUGIN(PLUGIN)                                                                  \
  static_assert(PLUGIN::kThreads >= HYPER_THREADS_SERIAL, "kThreads: HYPER_THREADS_…");       \
  extern "C" HYPER_EXPORT const hyper_plugin* hyper_plugin_entry_v1(const hyper_hello* hello) \
      HYPER_NOEXCEPT {                                                                        \
    return ::hyper::detail::plugin_entry<PLUGIN>(hello);                                      \
  }

#endif
