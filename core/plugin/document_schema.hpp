// SPDX-License-Identifier: Apache-2.0
// The documents that cross the plugin ABI and those that hyperhost writes for programs, each with
// its JSON Schema from sdk/schema ("vm.description" is sdk/schema/vm.description.json, compiled
// in). The handles check every answer, the services what plugins write. Any thread.
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

/// The problems of a document, each with its JSON Pointer; empty = the document is valid.
std::vector<Diagnostic> document_problems(std::string_view name, const nlohmann::json& document);

/// The first pointer of the document's `must_understand` for which its schema has no member; ""
/// if there is none.
std::string not_understood(std::string_view name, const nlohmann::json& document);

/// Throws Error(kFail) that names `what` ("plugin 'acme': describe_vm()"), the pointer and the
/// problem.
void check_form(std::string_view name, const nlohmann::json& document, const std::string& what);

/// As check_form(). Throws Error(kUnsupported) if the document demands a member that this host does
/// not know.
void check_document(std::string_view name, const nlohmann::json& document, const std::string& what);

/// A plugin's answer, checked. Members that are null count as absent and are removed.
nlohmann::json accepted_answer(std::string_view name, nlohmann::json answer,
                               const std::string& what);

/// The embedded files: {name, text} each.
struct DocumentText {
  std::string_view name, text;
};
const std::vector<DocumentText>& document_texts();

}  // namespace hyperhost
