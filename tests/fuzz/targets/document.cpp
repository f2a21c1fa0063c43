// SPDX-License-Identifier: Apache-2.0
// A plugin's answers: JSON against the schema of each document, and the calls by which plugins read
// documents.
#include "core/plugin/document_schema.hpp"
#include "core/plugin/documents.hpp"
#include "tests/fuzz/fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  fuzz::op();
  const std::vector<std::string> parts = fuzz::parts_of(fuzz::text_of(data, size), "%%");
  const auto document = hyperhost::parse_document(parts[0]);
  if (!document) return 0;
  for (const std::string& name : hyperhost::document_names()) {
    hyperhost::document_problems(name, *document);
    hyperhost::not_understood(name, *document);
  }
  fuzz::accepts([&] {
    const hyper::DocBuilder built = hyper::DocBuilder::parse(parts[0]);
    for (std::size_t i = 1; i < parts.size(); ++i) {
      const hyper::Doc doc = built.doc();
      doc.string(parts[i]);
      doc.integer(parts[i]);
    }
  });
  return 0;
}
