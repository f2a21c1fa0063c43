// SPDX-License-Identifier: Apache-2.0
// The places of a disk beyond what the suite reads in order: at its end, around 2^31 and 2^32, at
// random, and where extents() says zero. Read whole, in pieces, and on several threads through
// several sources; all must be the same bytes. Runs in a case's process.
#pragma once

#include "core/check/source_suite.hpp"

namespace hyperhost::check {

/// source: the disk, opened with HYPER_OPEN_SEEK. open: opens it a second time; empty = it must not
/// be. begin: up to here it has been read; first: its
/// first bytes. Returns whether the disk is the large one of large_disk.hpp, whose bytes are known.
bool check_windows(Run& run, const std::string& what, const OpenSource& open,
                   const SourceHandle& source, uint64_t begin, const Bytes& first);

}  // namespace hyperhost::check
