// SPDX-License-Identifier: Apache-2.0
#include "core/check/documents.hpp"

#include <openssl/evp.h>

#include <array>
#include <nlohmann/json.hpp>

#include "core/plugin/document_schema.hpp"

namespace hyperhost::check {

void expect_document(Run& run, const std::string& name, const nlohmann::json& document,
                     const std::string& call) {
  for (const Diagnostic& problem : document_problems(name, document)) {
    run.fail(call + " emits a document that is not as " + name +
             ".json says: " + (problem.path.empty() ? "" : problem.path + ": ") + problem.summary);
    break;  // one names the call; the rest often follows from it
  }
}

std::string sha256_of(const Bytes& bytes) {
  std::array<unsigned char, 32> sum{};
  if (EVP_Digest(bytes.data(), bytes.size(), sum.data(), nullptr, EVP_sha256(), nullptr) != 1)
    throw Error(Code::kFail, "SHA-256 cannot be computed");
  std::string out;
  for (const unsigned char byte : sum) {
    out += "0123456789abcdef"[byte / 16];
    out += "0123456789abcdef"[byte % 16];
  }
  return out;
}

}  // namespace hyperhost::check
