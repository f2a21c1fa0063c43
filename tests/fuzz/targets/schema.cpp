// SPDX-License-Identifier: Apache-2.0
// A plugin's schema, from a stranger, and options for it: two texts, apart by a line "%%".
#include <nlohmann/json.hpp>

#include "core/config/read_yaml.hpp"
#include "core/config/schema.hpp"
#include "core/plugin/documents.hpp"
#include "tests/fuzz/fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  const std::vector<std::string> parts = fuzz::parts_of(fuzz::text_of(data, size), "%%");
  const auto schema = hyperhost::parse_document(parts[0]);
  std::vector<hyperhost::Diagnostic> problems;
  auto value = hyperhost::read_yaml(parts.size() > 1 ? parts[1] : "{}", "options", problems);
  if (!schema || !value || !schema->is_object()) return 0;
  hyperhost::validate_options(*value, *schema, "", {});
  return 0;
}
