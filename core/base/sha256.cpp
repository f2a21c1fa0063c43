// SPDX-License-Identifier: Apache-2.0
#include "core/base/sha256.hpp"

#include <openssl/evp.h>

#include "core/base/diagnostic.hpp"

namespace hyperhost {

std::string sha256_of(const std::string& text) {
  unsigned char hash[32];
  unsigned size = 0;
  if (EVP_Digest(text.data(), text.size(), hash, &size, EVP_sha256(), nullptr) != 1)
    throw Error(Code::kFail, "SHA-256 is not available in this OpenSSL");
  static const char digits[] = "0123456789abcdef";
  std::string out;
  for (const unsigned char byte : hash) {
    out += digits[byte >> 4];
    out += digits[byte & 15];
  }
  return out;
}

}  // namespace hyperhost
