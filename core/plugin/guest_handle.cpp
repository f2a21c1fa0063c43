// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/guest_handle.hpp"

#include "core/plugin/handle_calls.hpp"

namespace hyperhost {

GuestHandle::GuestHandle(Plugin& plugin, const Options& options, Operation& op)
    : plugin_(plugin), table_(plugin.guest()), opener_(op) {
  if (table_ == nullptr)
    throw Error(Code::kUnsupported,
                "plugin '" + plugin.id() + "' has no interface " HYPER_IFACE_GUEST);
  const auto lock = plugin_.enter();
  op.check(table_->open(&op, 0, &options, &self_), label(plugin_, "open"));
}

GuestHandle::~GuestHandle() {
  const auto lock = plugin_.enter();
  with_closing_operation(opener_, [&](hyper_op* op) { table_->close(self_, op); });
}

nlohmann::json GuestHandle::plan(Operation& op, const nlohmann::json& request) {
  const hyper_doc doc{request};
  const auto lock = plugin_.enter();
  return answered(op, "guest.plan", label(plugin_, "plan"), [&](hyper_emit emit, void* arg) {
    return table_->plan(self_, &op, 0, &doc, emit, arg);
  });
}

nlohmann::json GuestHandle::inspect(Operation& op, const nlohmann::json& request,
                                    const std::vector<hyper_block>& disks) {
  const hyper_doc doc{request};
  const auto lock = plugin_.enter();
  return answered(op, "guest.inspection", label(plugin_, "inspect"),
                  [&](hyper_emit emit, void* arg) {
                    return table_->inspect(self_, &op, 0, &doc, disks.data(),
                                           static_cast<uint32_t>(disks.size()), emit, arg);
                  });
}

nlohmann::json GuestHandle::prepare(Operation& op, const nlohmann::json& request,
                                    const std::vector<hyper_block>& disks) {
  if (table_->prepare == nullptr)
    throw Error(Code::kUnsupported, "plugin '" + plugin_.id() + "' only inspects guests");
  const hyper_doc doc{request};
  const auto lock = plugin_.enter();
  return answered(op, "guest.result", label(plugin_, "prepare"), [&](hyper_emit emit, void* arg) {
    return table_->prepare(self_, &op, 0, &doc, disks.data(), static_cast<uint32_t>(disks.size()),
                           emit, arg);
  });
}

}  // namespace hyperhost
