// SPDX-License-Identifier: Apache-2.0
#include "writer/raw.hpp"

#include <algorithm>

namespace hyper::disk {

void RawWriter::place_at(Op op, Workspace& space, uint64_t base, uint64_t end) {
  const Batch& batch = space.batch;
  if (batch.length == 0) return;
  if (!output_.random()) {  // such a sink gets every byte, in the longest runs possible
    output_.skip(op, base + position_, batch.guest - position_);
    space.writes.push_back({base + batch.guest, space.plain.data(), batch.length});
    position_ = batch.guest + batch.length;
    return;
  }
  for (uint64_t at = 0; at < batch.length;) {
    if (space.zero[at / kGranule]) {
      at += kGranule;
      continue;
    }
    uint64_t stop = at;
    while (stop < batch.length && !space.zero[stop / kGranule]) stop += kGranule;
    stop = std::min({stop, batch.length, end - batch.guest});
    space.writes.push_back({base + batch.guest + at, space.plain.data() + at, stop - at});
    at = stop;
  }
}

uint64_t RawWriter::finish(Op op) {
  if (position_ < size_) output_.skip(op, position_, size_ - position_);
  return size_;
}

}  // namespace hyper::disk
