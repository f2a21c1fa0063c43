// SPDX-License-Identifier: Apache-2.0
// SHA-256 by OpenSSL (SHA-NI where the processor has it), in the shape hyper/digest.hpp asks for;
// and of two messages at once, which OpenSSL does not have.
#pragma once

#include <hyper/digest.hpp>

namespace hyper::disk {

struct Sha256 {
  static Hash256 hash(std::initializer_list<std::pair<const void*, std::size_t>> pieces);

  /// Whether pair() is faster than two calls of hash().
  static bool pairs();
  /// The hashes of `prefix` followed by `length` bytes, of either. REQUIRES: length >= 63.
  static std::array<Hash256, 2> pair(uint8_t prefix, const uint8_t* first, const uint8_t* second,
                                     std::size_t length);
};
using Digest = DigestTree<Sha256>;

/// Digest::leaf of two blocks of kDigestBlock bytes.
inline std::array<Hash256, 2> leaf_pair(const uint8_t* first, const uint8_t* second) {
  return Sha256::pair(0x00, first, second, kDigestBlock);
}

}  // namespace hyper::disk
