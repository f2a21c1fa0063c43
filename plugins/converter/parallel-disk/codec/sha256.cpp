// SPDX-License-Identifier: Apache-2.0
#include "codec/sha256.hpp"

#include <openssl/evp.h>

#include <memory>
#include <stdexcept>

namespace hyper::disk {

Hash256 Sha256::hash(std::initializer_list<std::pair<const void*, std::size_t>> pieces) {
  struct Free {
    void operator()(EVP_MD_CTX* state) const { EVP_MD_CTX_free(state); }
  };
  const std::unique_ptr<EVP_MD_CTX, Free> state(EVP_MD_CTX_new());
  Hash256 out{};
  bool fine = state != nullptr && EVP_DigestInit_ex(state.get(), EVP_sha256(), nullptr) == 1;
  for (const auto& [data, length] : pieces)
    fine = fine && EVP_DigestUpdate(state.get(), data, length) == 1;
  if (!fine || EVP_DigestFinal_ex(state.get(), out.data(), nullptr) != 1)
    throw std::runtime_error("OpenSSL cannot compute SHA-256");
  return out;
}

}  // namespace hyper::disk
