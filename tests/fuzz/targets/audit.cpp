// SPDX-License-Identifier: Apache-2.0
// An audit log that somebody else may have written: its lines, its head.
#include "core/watch/audit/audit_chain.hpp"
#include "tests/fuzz/fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  const std::string_view text = fuzz::text_of(data, size);
  hyperhost::parse_link(text);
  if (const auto head = hyperhost::parse_head(text)) {
    const auto again = hyperhost::parse_head(hyperhost::format_head(*head));
    if (!again || again->seq != head->seq || again->hash != head->hash)
      fuzz::fail("a head does not survive being written");
  }
  return 0;
}
