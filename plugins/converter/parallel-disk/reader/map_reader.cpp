// SPDX-License-Identifier: Apache-2.0
#include "reader/map_reader.hpp"

#include <algorithm>
#include <cstring>
#include <string>

namespace hyper::disk {
namespace {
constexpr uint64_t kFirstWindow = 64u << 20;
constexpr std::size_t kMostPieces = 8192;
constexpr uint64_t kSmallGap = 1024;  // between compressed units: markers and padding

/// Ends a map's listing.
struct Enough {};

/// Whether others of a chain's files cover some of the unit's place in the batch.
bool is_part(const Piece& piece, const Batch& batch, uint64_t disk_bytes) {
  const uint64_t end =
      std::min({piece.unit_offset + piece.unit_length, batch.guest + batch.length, disk_bytes});
  return piece.guest_offset > std::max(piece.unit_offset, batch.guest) ||
         piece.guest_offset + piece.length < end;
}
}  // namespace

const Input& Inputs::of(Op op, const SourceRef& file) {
  const std::lock_guard lock(mutex_);
  std::unique_ptr<Input>& input = inputs_[file.raw()];
  if (!input) input = std::make_unique<Input>(op, file);
  return *input;
}

uint64_t Inputs::bytes_read() const {
  const std::lock_guard lock(mutex_);
  uint64_t sum = 0;
  for (const auto& [file, input] : inputs_) sum += input->bytes_read();
  return sum;
}

uint64_t Inputs::length() const {
  const std::lock_guard lock(mutex_);
  uint64_t sum = 0;
  for (const auto& [file, input] : inputs_) sum += input->length();
  return sum;
}

bool MapReader::fill_window(Op op) {
  if (mapped_ == size_) return false;
  if (window_ == 0) window_ = kFirstWindow;
  const uint64_t length = std::min(window_, size_ - mapped_);
  uint64_t expected = mapped_;
  const auto take = [&](const Mapped& piece) {
    if (piece.guest_offset != expected || piece.length == 0 ||
        piece.length > mapped_ + length - expected)
      throw Error(HYPER_FAIL, "internal error: the image's map has gaps");
    expected += piece.length;
    if (piece.zero) return;
    if (piece.codec != Codec::kNone && piece.unit_length > kLargestUnit)
      throw Error(HYPER_UNSUPPORTED, "the image's compressed blocks are larger than 2 MiB",
                  std::to_string(piece.unit_length) + " bytes");
    pieces_.push_back(piece);
    if (pieces_.size() >= kMostPieces) throw Enough();
  };
  try {
    map_.map(op, mapped_, length, take);
    if (expected != mapped_ + length)
      throw Error(HYPER_FAIL, "internal error: the image's map ends early");
  } catch (const Enough&) {  // a large window met data after all: the rest is asked for again
  }
  mapped_ = expected;
  if (!pieces_.empty())
    window_ = kFirstWindow;
  else if (window_ <= size_ / 2)
    window_ *= 2;
  return true;
}

bool MapReader::next(Op op, Workspace& space) {
  Batch& batch = space.batch;
  batch.pieces.clear();
  if (ended_) return false;
  while (pieces_.empty() && fill_window(op)) op.check_cancelled();
  batch.zero_from = position_;
  if (pieces_.empty()) {  // zeros to the end
    batch.guest = size_;
    batch.length = 0;
    ended_ = true;
    return batch.zero_from != size_ || size_ == 0;
  }
  batch.guest = pieces_.front().guest_offset / batch_bytes_ * batch_bytes_;
  batch.length = std::min(batch_bytes_, size_ - batch.guest);
  const uint64_t end = batch.guest + batch.length;
  while (mapped_ < end) fill_window(op);
  while (!pieces_.empty() && pieces_.front().guest_offset < end) {
    Mapped& front = pieces_.front();
    Piece piece;
    static_cast<Mapped&>(piece) = front;
    piece.length = std::min(front.length, end - front.guest_offset);
    batch.pieces.push_back(piece);
    inputs_.of(op, *piece.file);  // before its bytes count
    if (piece.codec == Codec::kNone)
      consumed_ += piece.length;
    else
      allow_for_split(piece, batch.guest);
    if (piece.length == front.length) {
      pieces_.pop_front();
    } else {  // the rest is for the next batch
      front.guest_offset += piece.length;
      front.length -= piece.length;
      if (front.codec == Codec::kNone) front.file_offset += piece.length;
    }
  }
  position_ = end;
  return true;
}

// A unit that reaches from one batch into the next is read, and counted, for each of them.
void MapReader::allow_for_split(const Piece& piece, uint64_t batch) {
  const auto [met, added] =
      last_units_.try_emplace(piece.file->raw(), LastUnit{piece.unit_offset, batch});
  LastUnit& last = met->second;
  if (!added && last.unit_offset == piece.unit_offset && last.batch != batch)
    allowed_ += piece.file_length;
  last = {piece.unit_offset, batch};
}

void MapReader::load(Op op, Workspace& space) {
  Batch& batch = space.batch;
  uint64_t used = 0;
  for (std::size_t i = 0; i < batch.pieces.size(); ++i) {
    Piece& piece = batch.pieces[i];
    if (piece.bytes != nullptr) continue;
    const Input& input = inputs_.of(op, *piece.file);
    if (piece.codec == Codec::kNone) {
      uint64_t length = piece.length;  // and those that follow in the file as in the disk
      while (i + 1 < batch.pieces.size()) {
        const Piece& next = batch.pieces[i + 1];
        if (next.codec != Codec::kNone || next.bytes != nullptr || next.file != piece.file ||
            next.guest_offset != piece.guest_offset + length ||
            next.file_offset != piece.file_offset + length)
          break;
        length += next.length;
        ++i;
      }
      input.read(op, piece.file_offset, space.plain.data() + (piece.guest_offset - batch.guest),
                 length);
      continue;
    }
    if (is_part(piece, batch, size_))
      load_part(op, input, space, i);
    else
      i = load_compressed(op, input, space, i, used);
  }
  check_amount();
}

// Below an overlay, pieces of one unit may come one by one between those of the overlay. The unit
// is read and inflated once for all of them, and they become plain bytes: held as they come, the
// units of a long chain would not find room, and each piece would cost the whole unit again.
void MapReader::load_part(Op op, const Input& input, Workspace& space, std::size_t first) {
  std::vector<Piece>& pieces = space.batch.pieces;
  const Piece unit = pieces[first];
  Buffer packed(unit.file_length), plain(kLargestUnit);
  input.read(op, unit.file_offset, packed.data(), unit.file_length);
  const auto done =
      space.inflater.run(unit.codec, packed.data(), unit.file_length, plain.data(), plain.size());
  if (!done || done->produced != unit.unit_length)
    throw Error(HYPER_CORRUPT, "the image is damaged",
                "the compressed block at file offset " + std::to_string(unit.file_offset) +
                    " (guest offset " + std::to_string(unit.unit_offset) + ") cannot be inflated")
        .hint("copy or export the image again");
  consumed_ += done->consumed;
  for (std::size_t i = first; i < pieces.size(); ++i) {
    Piece& piece = pieces[i];
    if (piece.guest_offset >= unit.unit_offset + unit.unit_length) break;
    if (piece.codec == Codec::kNone || piece.file != unit.file ||
        piece.file_offset != unit.file_offset)
      continue;
    std::memcpy(space.plain.data() + (piece.guest_offset - space.batch.guest),
                plain.data() + (piece.guest_offset - piece.unit_offset), piece.length);
    piece.codec = Codec::kNone;
    piece.bytes = space.plain.data() + (piece.guest_offset - space.batch.guest);  // done
  }
}

// Reads the units from `first` on that lie closely behind each other; returns the last of them.
std::size_t MapReader::load_compressed(Op op, const Input& input, Workspace& space,
                                       std::size_t first, uint64_t& used) {
  std::vector<Piece>& pieces = space.batch.pieces;
  const uint64_t start = pieces[first].file_offset;
  uint64_t end = start;
  std::size_t last = first;
  for (std::size_t i = first; i < pieces.size(); ++i) {
    Piece& piece = pieces[i];
    const bool close = piece.codec != Codec::kNone && piece.file == pieces[first].file &&
                       piece.file_offset >= start && piece.file_offset <= end + kSmallGap;
    if (i != first && (!close || is_part(piece, space.batch, size_))) break;
    if (piece.file_offset < input.length())  // the format only says what it may be at most
      piece.file_length = std::min(piece.file_length, input.length() - piece.file_offset);
    end = std::max(end, piece.file_offset + piece.file_length);
    piece.bytes = space.input.data() + used + (piece.file_offset - start);
    last = i;
  }
  if (end - start > space.input.size() - used)
    throw Error(HYPER_CORRUPT, "the image is damaged",
                "compressed blocks at file offset " + std::to_string(start) +
                    " are larger than their content");
  input.read(op, start, space.input.data() + used, end - start);
  used += end - start;
  return last;
}

void MapReader::account(uint64_t consumed) {
  consumed_ += consumed;
  check_amount();
}

// No format here lets a file's byte stand for two guest bytes, unless it is compressed, so an image
// that claims more data than its files hold has tables that lie. Found before it fills a disk.
void MapReader::check_amount() const {
  if (consumed_ > inputs_.length() + allowed_) refuse_amount();
}

void refuse_amount() {
  throw Error(HYPER_CORRUPT, "the image's tables lie",
              "they refer to more data than the image holds: several guest ranges share a block")
      .hint("copy or export the image again");
}

}  // namespace hyper::disk
