// SPDX-License-Identifier: Apache-2.0
// One conversion: workers take batches from a reader, decode, hash and compress them in parallel,
// give them their place in guest order, and write them. A few more workers than cores, so that
// waiting for the source, for one's turn or for the sink costs no processor time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "engine/budget.hpp"
#include "engine/checkpoints.hpp"
#include "reader/reader.hpp"
#include "writer/writer.hpp"

namespace hyper::disk {

/// Where a conversion may begin instead of at the front, and when it saves where it is.
struct Progressing {
  CheckpointPlan checkpoints;
  std::optional<Position> from;
};

struct Outcome {
  uint64_t length = 0;  ///< of the image
  std::string digest;   ///< "" if none was asked for
  uint64_t resumed_bytes = 0;
};

/// Reads all, writes all. On return no thread of it is left. Throws what went wrong first;
/// HYPER_UNSUPPORTED, before anything is written, for a position it does not understand.
Outcome run_conversion(Op op, Budget& budget, Reader& reader, Writer& writer, Output& output,
                       bool digest, const Progressing& progressing = {});

}  // namespace hyper::disk
