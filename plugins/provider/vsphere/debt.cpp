// SPDX-License-Identifier: Apache-2.0
#include "debt.hpp"

namespace hyper::vsphere {

Debt::Debt(Session& session, const char* kind, const Ref& vm, const std::string& task_id, Op op,
           const nlohmann::ordered_json& more)
    : json_({{"plugin", "vsphere"},
             {"kind", kind},
             {"where", session.settings().endpoint.authority},
             {"server", session.content().instance_uuid},
             {"vm", vm.id},
             {"ref", ""},
             {"task_id", task_id}}) {
  if (more.is_object()) json_.update(more);
  entry_ = Journal::open(op, json_.dump());
}

void Debt::name(const std::string& ref, Op op) {
  json_["ref"] = ref;
  if (entry_ != 0) Journal::update(op, entry_, json_.dump());
}

void Debt::settle(Op op) noexcept {
  const uint64_t entry = std::exchange(entry_, 0);
  if (entry == 0) return;
  try {
    Journal::close(op, entry);
  } catch (...) {  // cleanup finds that nothing is left of it
  }
}

}  // namespace hyper::vsphere
