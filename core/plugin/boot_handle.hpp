// SPDX-License-Identifier: Apache-2.0
// A plugin of the kind "boot" (hyper/draft/boot.h) as a C++ object. Calls throw Error with the
// plugin's report. Any thread; a plugin that takes one call at a time is locked.
#pragma once

#include <hyper/draft/boot.h>

#include <nlohmann/json.hpp>
#include <vector>

#include "core/plugin/plugin.hpp"

namespace hyperhost {

class BootHandle {
 public:
  BootHandle(Plugin& plugin, const Options& options, Operation& op);
  ~BootHandle();
  BootHandle(const BootHandle&) = delete;
  BootHandle& operator=(const BootHandle&) = delete;

  const Plugin& plugin() const { return plugin_; }
  /// Whether it can check the machine of the request. Touches no disk.
  nlohmann::json plan(Operation& op, const nlohmann::json& request);
  /// The blocks must outlive the call.
  nlohmann::json check(Operation& op, const nlohmann::json& request,
                       const std::vector<hyper_block>& disks);

 private:
  Plugin& plugin_;
  const hyper_boot* table_;
  const Opener opener_;
  void* self_ = nullptr;
};

}  // namespace hyperhost
