// SPDX-License-Identifier: Apache-2.0
// SHA-256 by OpenSSL (SHA-NI where the processor has it), in the shape hyper/digest.hpp asks for.
#pragma once

#include <hyper/digest.hpp>

namespace hyper::disk {

struct Sha256 {
  static Hash256 hash(std::initializer_list<std::pair<const void*, std::size_t>> pieces);
};
using Digest = DigestTree<Sha256>;

}  // namespace hyper::disk
