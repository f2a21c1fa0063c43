// SPDX-License-Identifier: Apache-2.0
// A sparse disk of more than 4 GiB whose bytes follow from their offset, so that a read of any
// place can be judged: it has data at its beginning, around 2^31 and 2^32, at its end and at some
// places between, and zeros elsewhere. Free functions; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace hyperhost::check {

inline constexpr uint64_t kLargeDisk = (uint64_t{5} << 30) + 7 * 512;

/// [begin, end) of each range of data, ascending.
const std::vector<std::pair<uint64_t, uint64_t>>& large_disk_data();

/// What [offset, offset + length) holds. REQUIRES: within the disk.
void large_disk_bytes(uint64_t offset, uint64_t length, unsigned char* out);

/// Whether a disk is this one. first: its first 512 bytes.
bool is_large_disk(uint64_t length, const unsigned char* first);

/// Takes 0.5 MiB where the file system has holes. Throws Error.
void write_large_disk(const std::string& path);

}  // namespace hyperhost::check
