// SPDX-License-Identifier: Apache-2.0
// The differential mode: qemu-img reads an image that our reader accepted. Both accept and the
// bytes differ: one of them gives the guest another disk than its writer meant. Runs a child
// process; one thread.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/fuzz/image.hpp"

namespace fuzz {

/// Ends the process where qemu-img accepts the image and reads other bytes than `ours`.
void compare_with_qemu(const char* qemu_img, const char* format, const SparseFile& file,
                       const std::vector<uint8_t>& ours);

/// How many images both have read, so far.
unsigned compared();

}  // namespace fuzz
