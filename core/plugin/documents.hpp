// SPDX-License-Identifier: Apache-2.0
// The ABI's documents in the host: hyper_doc is a JSON value. Its maker owns it. Any thread may
// read a document while no thread writes to it.
#pragma once

#include <hyper/host.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

struct hyper_doc {
  nlohmann::json json;
};

namespace hyperhost {

/// Parses JSON text that a plugin wrote. Returns nothing if the text is not JSON, is longer than 16
/// MiB, or is nested deeper than 128: code that walks a deeper document could run out of stack.
std::optional<nlohmann::json> parse_document(std::string_view text);

/// Fills in the doc_ functions of a host's table.
void add_document_calls(hyper_host& table);

}  // namespace hyperhost
