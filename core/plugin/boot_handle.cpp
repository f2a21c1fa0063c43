// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/boot_handle.hpp"

#include "core/plugin/handle_calls.hpp"

namespace hyperhost {

BootHandle::BootHandle(Plugin& plugin, const Options& options, Operation& op)
    : plugin_(plugin), table_(plugin.boot()), opener_(op) {
  if (table_ == nullptr)
    throw Error(Code::kUnsupported,
                "plugin '" + plugin.id() + "' has no interface " HYPER_IFACE_BOOT);
  const auto lock = plugin_.enter();
  op.check(table_->open(&op, 0, &options, &self_), label(plugin_, "open"));
}

BootHandle::~BootHandle() {
  const auto lock = plugin_.enter();
  with_closing_operation(opener_, [&](hyper_op* op) { table_->close(self_, op); });
}

nlohmann::json BootHandle::plan(Operation& op, const nlohmann::json& request) {
  const hyper_doc doc{request};
  const auto lock = plugin_.enter();
  return answered(op, "boot.plan", label(plugin_, "plan"), [&](hyper_emit emit, void* arg) {
    return table_->plan(self_, &op, 0, &doc, emit, arg);
  });
}

nlohmann::json BootHandle::check(Operation& op, const nlohmann::json& request,
                                 const std::vector<hyper_block>& disks) {
  const hyper_doc doc{request};
  const auto lock = plugin_.enter();
  return answered(op, "boot.result", label(plugin_, "check"), [&](hyper_emit emit, void* arg) {
    return table_->check(self_, &op, 0, &doc, disks.data(), static_cast<uint32_t>(disks.size()),
                         emit, arg);
  });
}

}  // namespace hyperhost
