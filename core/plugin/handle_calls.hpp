// SPDX-License-Identifier: Apache-2.0
// What all handles do around a call into a plugin. Used by the handles only.
#pragma once

#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "core/plugin/document_schema.hpp"
#include "core/plugin/plugin.hpp"

namespace hyperhost {

/// "plugin 'acme': open_disk()".
std::string label(const Plugin& plugin, const char* call);

using Undo = hyper_st (*)(void*, hyper_op*, uint32_t, const hyper_doc*) noexcept;
/// Calls a connection's undo. False: the entry belongs to another place, or the slot is null.
bool undone(const Plugin& plugin, Undo undo, void* connection, Operation& op,
            const nlohmann::json& entry);

/// emitted_object() for a document of sdk/schema. Throws what accepted_answer() throws.
template <class F>
nlohmann::json answered(Operation& op, std::string_view document, const std::string& what, F&& f) {
  return accepted_answer(document, emitted_object(op, what, std::forward<F>(f)), what);
}

/// Calls end(op) with a closing operation, or end(nullptr) if the operation cannot be made (no
/// descriptors left).
template <class F>
void with_closing_operation(const Opener& opener, F&& end) noexcept {
  std::optional<ClosingOperation> op;
  try {
    op.emplace(opener.name, ClosingOperation::kLimit, opener.services);
  } catch (const std::exception& error) {
    spdlog::warn("{}: it is closed without a time limit: {}", opener.name, error.what());
  }
  end(op ? &*op : nullptr);
}

}  // namespace hyperhost
