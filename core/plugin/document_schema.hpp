// SPDX-License-Identifier: Apache-2.0
// The documents that cross the plugin ABI and those that hyperhost writes for programs, each with
// its JSON Schema from sdk/schema ("vm.description" is sdk/schema/vm.description.json, compiled
// in). The host checks what plugins answer, `plugins check` what both sides say. Any thread.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/diagnostic.hpp"

namespace hyperhost {

inline constexpr int kMaxDocumentDepth = 128;

/// All names, sorted.
const std::vector<std::string>& document_names();

/// REQUIRES: `name` is one of document_names(), here and below.
const nlohmann::json& document_schema(std::string_view name);

/// What is wrong with a document, each problem with its JSON Pointer; empty = nothing.
std::vector<Diagnostic> document_problems(std::string_view name, const nlohmann::json& document);

/// The first pointer of the document's `must_understand` that its schema has no member for, else
/// "".
std::string not_understood(std::string_view name, const nlohmann::json& document);

/// Throws Error(kFail) that names `what` ("plugin 'acme': describe_vm()"), the pointer and the
/// problem, or Error(kUnsupported) where the document demands more than this host understands.
void check_document(std::string_view name, const nlohmann::json& document, const std::string& what);

/// A plugin's answer, checked and without members that are null: they count as absent.
nlohmann::json accepted_answer(std::string_view name, nlohmann::json answer,
                               const std::string& what);

/// Throws Error(kFail) where the host itself would send a wrong request.
void check_request(std::string_view name, const nlohmann::json& request);

/// The embedded files: {name, text} each.
struct DocumentText {
  std::string_view name, text;
};
const std::vector<DocumentText>& document_texts();

}  // namespace hyperhost
