// SPDX-License-Identifier: Apache-2.0
#include "reader/raw_stream.hpp"

#include <algorithm>
#include <string>

namespace hyper::disk {

bool RawStreamReader::next(Op op, Workspace& space) {
  Batch& batch = space.batch;
  batch.pieces.clear();
  batch.guest = batch.zero_from = forward_.position();
  batch.length = std::min(batch_bytes_, size_ - batch.guest);
  if (batch.length == 0) {
    uint8_t more = 0;
    if (forward_.read(op, &more, 1) != 0)
      throw Error(HYPER_CORRUPT, "the raw disk is longer than it should be",
                  "more than " + std::to_string(size_) + " bytes came");
    return false;
  }
  for (uint64_t got = 0; got < batch.length;) {
    op.check_cancelled();
    const uint64_t now = forward_.read(op, space.plain.data() + got, batch.length - got);
    if (now == 0)
      throw Error(HYPER_CORRUPT, "the raw disk is truncated",
                  "it ends at " + std::to_string(forward_.position()) + " of " +
                      std::to_string(size_) + " bytes");
    got += now;
  }
  Piece piece;
  piece.guest_offset = piece.file_offset = batch.guest;
  piece.length = batch.length;
  batch.pieces.push_back(piece);
  return true;
}

}  // namespace hyper::disk
