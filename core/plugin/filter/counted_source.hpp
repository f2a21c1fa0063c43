// SPDX-License-Identifier: Apache-2.0
// A source whose reads are counted: what really came from it, without the holes that its reader
// left out and the zeros that it made up.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "core/plugin/handles.hpp"

namespace hyperhost {

/// bytes: grows with each read, on any thread. A reader that opens the source's file by itself is
/// not counted.
void count_reads(SourceHandle& source, std::shared_ptr<std::atomic<uint64_t>> bytes);

}  // namespace hyperhost
