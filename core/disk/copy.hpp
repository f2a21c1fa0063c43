// SPDX-License-Identifier: Apache-2.0
// Bytes from a source to a sink as they are: staging for a converter that needs a file, disks that
// are not converted, uploads of finished files. Bounded memory: one buffer a thread.
#pragma once

#include <functional>
#include <string>

#include "core/plugin/handles.hpp"

namespace hyperhost {

struct CopyResult {
  uint64_t bytes = 0;
  std::string checksum;  ///< "sha256:…" where the bytes passed in order; else empty
};

/// Reads the source to its end (a stream as it comes, a seekable one by ranges, in parallel where
/// the sink takes parts) and writes it at the same offsets. Long runs of zeros are not written to
/// a sink that takes random writes. Neither finishes the source nor commits the sink.
CopyResult copy_source(const SourceHandle& source, const SinkHandle& sink, Operation& op,
                       unsigned threads, const std::function<void(uint64_t bytes)>& on_bytes = {});

/// Copies the source into a new file of its own in `directory`, sparse. The file goes when the
/// returned source is closed. Throws Error(kNoSpace) and leaves nothing behind.
std::unique_ptr<SourceHandle> stage_source(const SourceHandle& source, const std::string& directory,
                                           const std::string& name, Operation& op,
                                           const std::function<void(uint64_t bytes)>& on_bytes);

}  // namespace hyperhost
