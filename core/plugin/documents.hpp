// SPDX-License-Identifier: Apache-2.0
// The ABI's documents as the host has them: hyper_doc is a JSON value. Whoever makes one owns it;
// one that is read only may be read by any thread.
#pragma once

#include <hyper/host.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

struct hyper_doc {
  nlohmann::json json;
};

namespace hyperhost {

/// JSON text that a plugin wrote. Nothing where it is no JSON, longer than 16 MiB, or nested so
/// deeply (128) that code which walks it could run out of stack.
std::optional<nlohmann::json> parse_document(std::string_view text);

/// Fills in the doc_ functions of a host's table.
void add_document_calls(hyper_host& table);

}  // namespace hyperhost
