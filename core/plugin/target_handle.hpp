// SPDX-License-Identifier: Apache-2.0
// A plugin of the kind "target" (hyper/draft/target.h) as a C++ object. Calls throw Error with the
// plugin's report. Any thread; a plugin that takes one call at a time is locked.
#pragma once

#include <hyper/draft/target.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "core/plugin/handles.hpp"
#include "core/plugin/plugin.hpp"

namespace hyperhost {

class TargetHandle {
 public:
  TargetHandle(Plugin& plugin, const Options& options, Operation& op);
  ~TargetHandle();
  TargetHandle(const TargetHandle&) = delete;
  TargetHandle& operator=(const TargetHandle&) = delete;

  const Plugin& plugin() const { return plugin_; }
  nlohmann::json info(Operation& op);
  /// Whether it can define the machine of the request. Changes nothing.
  nlohmann::json plan(Operation& op, const nlohmann::json& request);
  std::unique_ptr<SinkHandle> put_disk(Operation& op, const nlohmann::json& request);
  nlohmann::json import_disk(Operation& op, const nlohmann::json& request);
  /// The bytes of the disk's file.
  std::unique_ptr<SourceHandle> get_disk(Operation& op, const std::string& ref);
  nlohmann::json define(Operation& op, const nlohmann::json& request);
  void start(Operation& op, const std::string& ref);
  /// Null JSON if there is no such machine.
  nlohmann::json state(Operation& op, const std::string& ref);
  /// how: "guest" or "off".
  void stop(Operation& op, const std::string& ref, const char* how);
  /// kind: "machine" or "disk".
  void remove(Operation& op, const std::string& ref, const char* kind);
  /// As ProviderHandle::undo.
  bool undo(Operation& op, const nlohmann::json& entry);

 private:
  using Slot = hyper_st (*)(void*, hyper_op*, uint32_t, const hyper_doc*) noexcept;
  /// Calls a slot that answers nothing. Throws Error if it is null.
  void call(Slot slot, const char* name, Operation& op, const nlohmann::json& request);
  template <class Optional>
  Optional offered(Optional slot, const char* name) const;

  Plugin& plugin_;
  const hyper_target* table_;
  const Opener opener_;
  void* connection_ = nullptr;
};

}  // namespace hyperhost
