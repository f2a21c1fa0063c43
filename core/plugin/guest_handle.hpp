// SPDX-License-Identifier: Apache-2.0
// A plugin of the kind "guest" (hyper/draft/guest.h) as a C++ object. Calls throw Error with the
// plugin's report. Any thread; a plugin that takes one call at a time is locked.
#pragma once

#include <hyper/draft/guest.h>

#include <nlohmann/json.hpp>
#include <vector>

#include "core/plugin/plugin.hpp"

namespace hyperhost {

class GuestHandle {
 public:
  GuestHandle(Plugin& plugin, const Options& options, Operation& op);
  ~GuestHandle();
  GuestHandle(const GuestHandle&) = delete;
  GuestHandle& operator=(const GuestHandle&) = delete;

  const Plugin& plugin() const { return plugin_; }
  /// Whether it can prepare the VM of the request. Touches no disk.
  nlohmann::json plan(Operation& op, const nlohmann::json& request);
  /// The blocks must outlive the call, here and below. The plugin only reads them.
  nlohmann::json inspect(Operation& op, const nlohmann::json& request,
                         const std::vector<hyper_block>& disks);
  /// Throws Error(kUnsupported) if the plugin only inspects.
  nlohmann::json prepare(Operation& op, const nlohmann::json& request,
                         const std::vector<hyper_block>& disks);

 private:
  Plugin& plugin_;
  const hyper_guest* table_;
  const Opener opener_;
  void* self_ = nullptr;
};

}  // namespace hyperhost
