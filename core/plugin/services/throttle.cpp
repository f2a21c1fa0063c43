// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/operation.hpp"

namespace hyperhost {
namespace {

hyper_st take(hyper_op* op, uint32_t flags, uint64_t bytes) noexcept {
  if (flags != 0) return HYPER_UNSUPPORTED;
  if (op == nullptr) return HYPER_OK;
  const auto& operation = *static_cast<Operation*>(op);
  const SendLimits& limits = operation.send_limits();
  const CancelSource& cancel = operation.cancel();
  if (limits.own && !limits.own->take(bytes, cancel)) return HYPER_CANCELLED;
  if (limits.whole && !limits.whole->whole().take(bytes, cancel)) return HYPER_CANCELLED;
  return HYPER_OK;
}

}  // namespace

const hyper_throttle* throttle_table() {
  static const hyper_throttle table = {sizeof(hyper_throttle), 0, take};
  return &table;
}

}  // namespace hyperhost
