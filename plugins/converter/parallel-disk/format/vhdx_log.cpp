// SPDX-License-Identifier: Apache-2.0
// The log is a ring of 4 KiB sectors. An entry is a header with descriptors behind it (each
// further descriptor sector holds 128), then one data sector for each data descriptor. The entry
// with the highest sequence number is the head; its tail is where the oldest entry begins that is
// still to be replayed; all between are replayed in order.
#include "format/vhdx_log.hpp"

#include <algorithm>
#include <cstring>
#include <optional>

#include "format/bytes.hpp"

namespace hyper::disk {
namespace {

constexpr uint64_t kMaxLog = 64u << 20;  // Hyper-V's and QEMU's have 1 MiB
constexpr std::size_t kMaxPieces = 64u << 10;
constexpr uint64_t kEntryHeader = 64;
constexpr uint64_t kDescriptor = 32;
constexpr uint64_t kFirstChange = 192u << 10;  // in front of it are the headers, never logged

constexpr std::array<uint32_t, 256> make_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82f63b78u : 0);
    table[i] = crc;
  }
  return table;
}
constexpr std::array<uint32_t, 256> kTable = make_table();

}  // namespace

uint32_t crc32c(const uint8_t* bytes, std::size_t length, uint32_t before) {
  uint32_t crc = ~before;
  for (std::size_t i = 0; i < length; ++i) crc = crc >> 8 ^ kTable[(crc ^ bytes[i]) & 0xff];
  return ~crc;
}

void VhdxLog::read_ring(Op op, uint64_t at, uint8_t* buf, uint64_t len) const {
  at %= log_length_;
  const uint64_t first = std::min(len, log_length_ - at);
  file_.read(op, log_ + at, buf, first, "the log");
  if (first < len) file_.read(op, log_, buf + first, len - first, "the log");
}

bool VhdxLog::valid_entry(Op op, uint64_t at, const Guid& guid, uint64_t& budget,
                          Entry& out) const {
  std::array<uint8_t, kLogSector> sector;
  read_ring(op, at, sector.data(), kEntryHeader);
  if (std::memcmp(sector.data(), "loge", 4) != 0 ||
      std::memcmp(&sector[32], guid.data(), guid.size()) != 0)
    return false;
  out.at = at;
  out.length = le32(&sector[8]);
  out.tail = le32(&sector[12]);
  out.sequence = le64(&sector[16]);
  out.descriptors = le32(&sector[24]);
  out.flushed_length = le64(&sector[48]);
  out.last_length = le64(&sector[56]);
  const uint64_t head_bytes = kEntryHeader + out.descriptors * kDescriptor;
  if (out.sequence == 0 || out.length == 0 || out.length % kLogSector != 0 ||
      out.length > log_length_ || out.tail % kLogSector != 0 || out.tail >= log_length_ ||
      head_bytes > out.length)
    return false;
  // Only entries that overlap each other, which no writer leaves, cost more than this.
  if (out.length > budget) throw file_.corrupt(log_ + at, "a log of overlapping entries");
  budget -= out.length;
  uint32_t crc = 0, expected = 0;
  for (uint64_t done = 0; done < out.length; done += kLogSector) {
    op.check_cancelled();
    read_ring(op, at + done, sector.data(), kLogSector);
    if (done == 0) {
      expected = le32(&sector[4]);
      std::memset(&sector[4], 0, 4);
    }
    crc = crc32c(sector.data(), kLogSector, crc);
  }
  return crc == expected;
}

void VhdxLog::replay(Op op, uint64_t offset, uint64_t length, const Guid& guid) {
  if (length == 0 || length % kLogSector != 0 || !file_.holds(offset, length))
    throw file_.corrupt(offset, "the log lies beyond the end of the file");
  if (length > kMaxLog)
    throw file_.unsupported("a log of " + std::to_string(length) + " bytes is to be replayed")
        .hint("replay it with 'qemu-img check -r all', or attach the disk in Hyper-V once");
  log_ = offset;
  log_length_ = length;
  uint64_t budget = 4 * length;
  std::optional<Entry> head;
  for (uint64_t at = 0; at < length; at += kLogSector) {
    Entry entry;
    if (valid_entry(op, at, guid, budget, entry) && (!head || entry.sequence > head->sequence))
      head = entry;
  }
  if (!head)
    throw file_.corrupt(offset, "the image was not closed, and its log has no valid entry")
        .hint("open it where it was written, or repair it with 'qemu-img check -r all'");
  if (head->flushed_length > file_.length())
    throw file_.corrupt(file_.length(), "the file is shorter than when its log was written");
  length_ = std::max(length_, head->last_length);
  if (length_ > INT64_MAX) throw file_.corrupt(offset + head->at + 56, "an impossible file length");

  budget = 4 * length;
  Entry entry;
  uint64_t at = head->tail;
  for (uint64_t expected = 0;; ++expected) {
    if (!valid_entry(op, at, guid, budget, entry) ||
        (expected != 0 && entry.sequence != expected) || entry.sequence > head->sequence)
      throw file_.corrupt(offset + at, "the log's sequence of entries is broken");
    apply(op, entry);
    if (at == head->at) break;
    expected = entry.sequence;
    at = (at + entry.length) % length;
  }
}

void VhdxLog::apply(Op op, const Entry& entry) {
  const uint64_t head_bytes = kEntryHeader + entry.descriptors * kDescriptor;
  uint64_t data = div_round_up(head_bytes, kLogSector) * kLogSector;
  for (uint64_t i = 0; i < entry.descriptors; ++i) {
    std::array<uint8_t, kDescriptor> descriptor;
    const uint64_t at = entry.at + kEntryHeader + i * kDescriptor;
    read_ring(op, at, descriptor.data(), descriptor.size());
    const uint64_t place = log_ + at % log_length_;
    const uint64_t from = le64(&descriptor[16]);
    uint64_t size = kLogSector;
    Piece piece;
    if (std::memcmp(descriptor.data(), "zero", 4) == 0) {
      size = le64(&descriptor[8]);
    } else if (std::memcmp(descriptor.data(), "desc", 4) == 0) {
      if (data + kLogSector > entry.length)
        throw file_.corrupt(place, "a log entry has fewer data sectors than descriptors");
      std::array<uint8_t, kLogSector> sector;
      read_ring(op, entry.at + data, sector.data(), sector.size());
      if (std::memcmp(sector.data(), "data", 4) != 0 || le32(&sector[4]) != entry.sequence >> 32 ||
          le32(&sector[4092]) != (entry.sequence & 0xffffffff))
        throw file_.corrupt(place, "a log entry's data sector is not its own");
      piece.data = log_ + (entry.at + data) % log_length_;
      std::memcpy(piece.trailing.data(), &descriptor[4], 4);
      std::memcpy(piece.leading.data(), &descriptor[8], 8);
      data += kLogSector;
    } else {
      throw file_.corrupt(place, "a log descriptor of an unknown kind");
    }
    const bool aligned = from % kLogSector == 0 && size % kLogSector == 0;
    if (le64(&descriptor[24]) != entry.sequence || !aligned || from < kFirstChange ||
        from > INT64_MAX || size > INT64_MAX - from)
      throw file_.corrupt(place, "a log descriptor that cannot be");
    piece.end = from + size;
    if (size != 0) replace(from, piece);
    if (pieces_.size() > kMaxPieces)
      throw file_.unsupported("too large a log to be replayed in memory")
          .hint("replay it with 'qemu-img check -r all', or attach the disk in Hyper-V once");
  }
}

void VhdxLog::replace(uint64_t from, const Piece& piece) {
  auto next = pieces_.lower_bound(from);
  if (next != pieces_.begin()) {
    auto& [start, before] = *std::prev(next);
    if (before.end > from) {  // longer than a sector, so zeros
      const Piece rest = before;
      before.end = from;
      if (rest.end > piece.end) pieces_[piece.end] = rest;
      next = pieces_.lower_bound(from);
    }
  }
  while (next != pieces_.end() && next->first < piece.end) {
    if (next->second.end > piece.end) {
      Piece rest = next->second;
      pieces_.erase(next);
      pieces_[piece.end] = rest;
      break;
    }
    next = pieces_.erase(next);
  }
  pieces_[from] = piece;
}

bool VhdxLog::touches(uint64_t offset, uint64_t length) const {
  auto next = pieces_.upper_bound(offset);
  if (next != pieces_.begin() && std::prev(next)->second.end > offset) return true;
  return next != pieces_.end() && next->first < offset + length;
}

void VhdxLog::read(Op op, uint64_t offset, void* buf, uint64_t len, const char* what) const {
  if (offset > length_ || len > length_ - offset)
    throw file_.corrupt(offset, std::string(what) + " lies beyond the end of the file");
  auto* out = static_cast<uint8_t*>(buf);
  const uint64_t real = file_.length() > offset ? std::min(len, file_.length() - offset) : 0;
  if (real != 0) file_.read(op, offset, out, real, what);
  std::memset(out + real, 0, len - real);
  if (pieces_.empty()) return;
  auto piece = pieces_.upper_bound(offset);
  if (piece != pieces_.begin()) --piece;
  for (; piece != pieces_.end() && piece->first < offset + len; ++piece) {
    const uint64_t from = std::max(offset, piece->first);
    const uint64_t to = std::min(offset + len, piece->second.end);
    if (from >= to) continue;
    if (piece->second.data == 0) {
      std::memset(out + (from - offset), 0, to - from);
      continue;
    }
    // The ends of a data sector carry its signature and number; their bytes are in the descriptor.
    std::array<uint8_t, kLogSector> sector;
    file_.read(op, piece->second.data, sector.data(), sector.size(), "the log");
    std::memcpy(sector.data(), piece->second.leading.data(), 8);
    std::memcpy(&sector[kLogSector - 4], piece->second.trailing.data(), 4);
    std::memcpy(out + (from - offset), &sector[from - piece->first], to - from);
  }
}

}  // namespace hyper::disk
