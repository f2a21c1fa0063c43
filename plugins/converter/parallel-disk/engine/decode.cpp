// SPDX-License-Identifier: Apache-2.0
#include "engine/decode.hpp"

#include <cstring>
#include <string>

#include "engine/bytes.hpp"

namespace hyper::disk {
namespace {

[[noreturn]] void damaged(const Piece& piece, const char* what) {
  throw Error(HYPER_CORRUPT, "the image is damaged",
              std::string(what) + " at file offset " + std::to_string(piece.file_offset) +
                  " (guest offset " + std::to_string(piece.unit_offset) + ")")
      .hint("copy or export the image again");
}

uint64_t inflate(Workspace& space, const Piece& piece, uint64_t batch_bytes, uint64_t disk_bytes) {
  Batch& batch = space.batch;
  const uint64_t at = piece.guest_offset - batch.guest;
  // The last unit of a disk may hold a whole grain or only what the disk has left.
  const bool last = piece.guest_offset + piece.length == disk_bytes;
  const uint64_t used = piece.guest_offset + piece.length - piece.unit_offset;
  // Directly into its place, if it is there whole.
  const bool direct = !last && piece.unit_offset == piece.guest_offset &&
                      piece.length == piece.unit_length && at + piece.length <= batch_bytes;
  if (!direct && space.unit.size() == 0) space.unit = Buffer(kLargestUnit);
  uint8_t* to = direct ? space.plain.data() + at : space.unit.data();
  const auto done = space.inflater.run(piece.codec, piece.bytes, piece.file_length, to,
                                       last ? space.unit.size() : piece.unit_length);
  if (!done) damaged(piece, "a compressed block cannot be inflated");
  if (done->produced != piece.unit_length && !(last && done->produced >= used))
    damaged(piece, "a compressed block has the wrong size");
  if (!direct)
    std::memcpy(space.plain.data() + at, to + (piece.guest_offset - piece.unit_offset),
                piece.length);
  return done->consumed;
}

}  // namespace

uint64_t decode(Workspace& space, uint64_t batch_bytes, uint64_t disk_bytes) {
  Batch& batch = space.batch;
  uint8_t* plain = space.plain.data();
  uint64_t consumed = 0, filled = 0;
  for (const Piece& piece : batch.pieces) {
    const uint64_t at = piece.guest_offset - batch.guest;
    if (piece.codec != Codec::kNone) consumed += inflate(space, piece, batch_bytes, disk_bytes);
    std::memset(plain + filled, 0, at - filled);
    filled = at + piece.length;
  }
  std::memset(plain + filled, 0, batch_bytes - filled);
  for (uint64_t i = 0; i < batch_bytes / kGranule; ++i)
    space.zero[i] = is_zero(plain + i * kGranule, kGranule);
  space.has_plain = true;
  return consumed;
}

}  // namespace hyper::disk
