// SPDX-License-Identifier: Apache-2.0
#include "reader/vmdk_stream.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "engine/bytes.hpp"

namespace hyper::disk {
namespace {

constexpr uint64_t kSector = 512;
constexpr uint64_t kMarkerHeader = 12;  // in front of a grain's compressed bytes
constexpr uint64_t kTopUp = 64u << 10;
constexpr uint64_t kLargestGrain = 1u << 20;
constexpr uint64_t kLargestDirectory = 8u << 20;
constexpr uint64_t kLargestDescriptor = 1u << 20;
constexpr uint64_t kTablesBehind = UINT64_MAX;  // gdOffset
constexpr uint32_t kFlagCompressed = 1u << 16, kFlagMarkers = 1u << 17;
enum MarkerType : uint32_t { kEndOfStream = 0, kGrainTable = 1, kDirectory = 2, kFooter = 3 };

[[noreturn]] void corrupt(uint64_t at, const std::string& what) {
  throw Error(HYPER_CORRUPT, "the VMDK stream is damaged",
              what + " at file offset " + std::to_string(at))
      .hint("copy or export the image again");
}

/// A line `key = "value"` or `key=value` of the descriptor; "" if there is none.
std::string descriptor_value(const std::string& text, const std::string& key) {
  for (std::size_t from = 0; from < text.size();) {
    const std::size_t end = std::min(text.find('\n', from), text.size());
    const std::string line = text.substr(from, end - from);
    from = end + 1;
    const std::size_t equals = line.find('=');
    if (equals == std::string::npos) continue;
    const auto trim = [](const std::string& part) {
      const std::size_t first = part.find_first_not_of(" \t\r\"");
      const std::size_t last = part.find_last_not_of(" \t\r\"");
      return first == std::string::npos ? std::string() : part.substr(first, last - first + 1);
    };
    if (trim(line.substr(0, equals)) == key) return trim(line.substr(equals + 1));
  }
  return {};
}

void check_descriptor(const std::string& text) {
  const std::string parent = descriptor_value(text, "parentCID");
  if (!parent.empty() && parent != "ffffffff" && parent != "FFFFFFFF")
    throw Error(HYPER_UNSUPPORTED, "the VMDK is a delta of another disk",
                "parent " + descriptor_value(text, "parentFileNameHint"))
        .hint("export the whole chain, or consolidate the VM's snapshots first");
}

}  // namespace

/// The worker's input buffer as a window on the file: what was carried over, then what is read.
class VmdkStreamReader::Window {
 public:
  Window(VmdkStreamReader& reader, Workspace& space)
      : reader_(reader),
        data_(space.input.data()),
        capacity_(space.input.size()),
        offset_(reader.carry_offset_),
        have_(reader.carry_.size()) {
    std::copy(reader.carry_.begin(), reader.carry_.end(), data_);
    reader.carry_.clear();
  }
  const uint8_t* at() const { return data_ + used_; }
  uint64_t file_offset() const { return offset_ + used_; }
  uint64_t used() const { return used_; }
  void use(uint64_t length) { used_ += length; }
  /// Whether the next `length` bytes are there. Throws if they exceed the buffer.
  bool need(Op op, uint64_t length) {
    while (have_ - used_ < length) {
      op.check_cancelled();
      if (length > capacity_ - used_)
        corrupt(file_offset(), "compressed grains are larger than their content");
      uint64_t want = std::max(length - (have_ - used_), kTopUp);
      if (have_ < reader_.estimate_) want = std::max(want, reader_.estimate_ - have_);
      const uint64_t got =
          reader_.forward_.read(op, data_ + have_, std::min(want, capacity_ - have_));
      if (got == 0) return false;
      have_ += got;
    }
    return true;
  }
  /// What is left goes to the next batch.
  void close() {
    reader_.carry_.assign(data_ + used_, data_ + have_);
    reader_.carry_offset_ = offset_ + used_;
    if (used_ != 0) reader_.estimate_ = std::min(used_ + kTopUp / 2, capacity_ / 2);
  }
  /// Forgets what was used. REQUIRES: nothing points into it.
  void restart() {
    std::memmove(data_, data_ + used_, have_ - used_);
    have_ -= used_;
    offset_ += used_;
    used_ = 0;
  }
  /// Whether anything is left without reading.
  uint64_t left() const { return have_ - used_; }

 private:
  VmdkStreamReader& reader_;
  uint8_t* data_;
  uint64_t capacity_, offset_, have_ = 0, used_ = 0;
};

VmdkStreamReader::VmdkStreamReader(Op op, const SourceRef& source) : forward_(source) {
  uint8_t sector[kSector];
  uint64_t at = 0;
  read_front_bytes(op, at, sector, sizeof sector);
  header_ = parse(sector, 0);
  size_ = header_.capacity * kSector;
  grain_ = header_.grain * kSector;
  tables_behind_ = header_.gd_offset == kTablesBehind;
  read_front(op, header_);
}

VmdkStreamReader::Header VmdkStreamReader::parse(const uint8_t* sector, uint64_t at) {
  if (std::memcmp(sector, "KDMV", 4) != 0) corrupt(at, "there is no VMDK header");
  const auto version = load_le<uint32_t>(sector + 4), flags = load_le<uint32_t>(sector + 8);
  if (version < 1 || version > 3)
    throw Error(HYPER_UNSUPPORTED, "the VMDK has version " + std::to_string(version));
  if ((flags & kFlagCompressed) == 0 || (flags & kFlagMarkers) == 0)
    throw Error(HYPER_UNSUPPORTED, "the VMDK is no streamOptimized one",
                "without compressed grains and markers it cannot be read as a stream");
  if (std::memcmp(sector + 73, "\n \r\n", 4) != 0)
    corrupt(at + 73, "line ends were changed by a text-mode transfer");
  if (load_le<uint16_t>(sector + 77) != 1) corrupt(at + 77, "there is an unknown compression");
  Header header;
  header.capacity = load_le<uint64_t>(sector + 12);
  header.grain = load_le<uint64_t>(sector + 20);
  header.descriptor_offset = load_le<uint64_t>(sector + 28);
  header.descriptor_size = load_le<uint64_t>(sector + 36);
  header.gtes = load_le<uint32_t>(sector + 44);
  header.gd_offset = load_le<uint64_t>(sector + 56);
  header.overhead = load_le<uint64_t>(sector + 64);
  if (header.capacity > INT64_MAX / kSector) corrupt(at + 12, "there is an impossible capacity");
  if (header.grain < 8 || header.grain > kLargestGrain / kSector ||
      (header.grain & (header.grain - 1)) != 0)
    corrupt(at + 20, "there is an impossible grain size");
  if (header.gtes == 0 || header.gtes > 4096) corrupt(at + 44, "there is an impossible table size");
  if (header.overhead == 0 || header.overhead > INT64_MAX / kSector)
    corrupt(at + 64, "there is an impossible overhead");
  return header;
}

void VmdkStreamReader::read_front_bytes(Op op, uint64_t& at, void* to, uint64_t length) {
  auto* out = static_cast<uint8_t*>(to);
  while (length != 0) {
    op.check_cancelled();
    const uint64_t got = forward_.read(op, out, length);
    if (got == 0) corrupt(at, "the file is truncated");
    out += got;
    at += got;
    length -= got;
  }
}

void VmdkStreamReader::skip_front(Op op, uint64_t& at, uint64_t to) {
  std::vector<uint8_t> chunk(kTopUp);
  while (at < to) read_front_bytes(op, at, chunk.data(), std::min<uint64_t>(kTopUp, to - at));
}

void VmdkStreamReader::read_front(Op op, const Header& header) {
  const uint64_t end = header.overhead * kSector;
  uint64_t at = kSector;
  if (header.descriptor_offset != 0 && header.descriptor_size != 0) {
    if (header.descriptor_size > kLargestDescriptor / kSector ||
        header.descriptor_offset > header.overhead ||
        header.descriptor_size > header.overhead - header.descriptor_offset)
      corrupt(28, "there is an impossible descriptor");
    skip_front(op, at, header.descriptor_offset * kSector);
    std::string text(header.descriptor_size * kSector, '\0');
    read_front_bytes(op, at, text.data(), text.size());
    text.resize(std::min(text.find('\0'), text.size()));
    check_descriptor(text);
  }
  if (!tables_behind_) count_tables(op, header, at);
  skip_front(op, at, end);
  carry_offset_ = end;
}

// The tables in front say how many grains follow: the only sign that a file without an
// end-of-stream marker is complete.
void VmdkStreamReader::count_tables(Op op, const Header& header, uint64_t& at) {
  const uint64_t tables = div_ceil(div_ceil(header.capacity, header.grain), header.gtes);
  if (tables * 4 > kLargestDirectory)
    throw Error(HYPER_UNSUPPORTED, "the VMDK's grain directory is too large");
  if (header.gd_offset > header.overhead || header.gd_offset * kSector < at)
    throw Error(HYPER_UNSUPPORTED, "the VMDK's tables cannot be read as a stream",
                "its grain directory lies behind the grains");
  skip_front(op, at, header.gd_offset * kSector);
  std::vector<uint8_t> directory(tables * 4);
  read_front_bytes(op, at, directory.data(), directory.size());
  std::vector<uint8_t> table(header.gtes * 4ull);
  for (uint64_t i = 0; i < tables; ++i) {
    const uint64_t offset = load_le<uint32_t>(&directory[i * 4]) * kSector;
    if (offset == 0) continue;
    if (offset < at || offset + table.size() > header.overhead * kSector)
      throw Error(
          HYPER_UNSUPPORTED, "the VMDK's tables cannot be read as a stream",
          "grain table " + std::to_string(i) + " lies at file offset " + std::to_string(offset));
    skip_front(op, at, offset);
    read_front_bytes(op, at, table.data(), table.size());
    for (uint64_t entry = 0; entry < header.gtes; ++entry)
      if (load_le<uint32_t>(&table[entry * 4]) > 1) ++grains_expected_;
  }
  counted_ = true;
}

bool VmdkStreamReader::next(Op op, Workspace& space) {
  Batch& batch = space.batch;
  batch.pieces.clear();
  if (ended_) return false;
  Window window(*this, space);
  Seen seen = Seen::kOther;
  while (seen == Seen::kOther || seen == Seen::kGrain) seen = take_marker(op, window, batch);
  window.close();
  if (seen == Seen::kEnd) {
    ended_ = batch.pieces.empty();
    if (ended_) carry_.clear();
  }
  batch.zero_from = position_;
  if (batch.pieces.empty()) {  // zeros to the end
    batch.guest = size_;
    batch.length = 0;
    return batch.zero_from != size_ || size_ == 0;
  }
  batch.guest = batch.pieces.front().guest_offset / batch_bytes_ * batch_bytes_;
  batch.length = std::min(batch_bytes_, size_ - batch.guest);
  position_ = batch.guest + batch.length;
  return true;
}

VmdkStreamReader::Seen VmdkStreamReader::take_marker(Op op, Window& window, Batch& batch) {
  const uint64_t at = window.file_offset();
  if (!window.need(op, kSector)) {
    if (window.left() != 0) corrupt(at, "the file is truncated");
    if (batch.pieces.empty()) check_end(op, at, false);
    return Seen::kEnd;
  }
  const auto value = load_le<uint64_t>(window.at());
  const auto size = load_le<uint32_t>(window.at() + 8);
  const auto type = load_le<uint32_t>(window.at() + 12);
  if (size != 0) {
    if (value > (UINT64_MAX - 1) / kSector || value * kSector >= size_)
      corrupt(at, "a grain lies behind the end of the disk");
    const uint64_t guest = value * kSector;
    if (!batch.pieces.empty() &&
        guest / batch_bytes_ != batch.pieces.front().guest_offset / batch_bytes_)
      return Seen::kFull;
    take_grain(op, window, batch, value, size);
    return Seen::kGrain;
  }
  if (type == kEndOfStream) {
    if (!batch.pieces.empty()) return Seen::kEnd;  // met again with the next batch
    check_end(op, at, true);
    std::vector<uint8_t> rest(kTopUp);  // the source's own checks want all of it read
    while (forward_.read(op, rest.data(), rest.size()) != 0) op.check_cancelled();
    return Seen::kEnd;
  }
  if (type > kFooter) corrupt(at, "there is an unknown marker");
  if (value > INT64_MAX / kSector) corrupt(at, "a marker has an impossible size");
  uint64_t length = value * kSector;
  const bool in_one_go = length <= kTopUp;
  if (!batch.pieces.empty() && !in_one_go) return Seen::kFull;
  window.use(kSector);
  if (type == kFooter) {
    if (!window.need(op, kSector)) corrupt(at, "the footer is truncated");
    const Header footer = parse(window.at(), window.file_offset());
    if (footer.capacity != header_.capacity || footer.grain != header_.grain)
      corrupt(at, "header and footer differ");
    footer_seen_ = true;
    length = kSector;
  }
  while (length != 0) {
    const uint64_t now = std::min(length, kTopUp);
    if (!window.need(op, now)) corrupt(window.file_offset(), "the file is truncated");
    window.use(now);
    length -= now;
    if (batch.pieces.empty()) window.restart();
  }
  return Seen::kOther;
}

void VmdkStreamReader::take_grain(Op op, Window& window, Batch& batch, uint64_t sector,
                                  uint32_t size) {
  const uint64_t at = window.file_offset(), guest = sector * kSector;
  if (guest % grain_ != 0) corrupt(at, "a grain does not begin at a multiple of the grain size");
  // Ascending, and not in a block whose batch is under way.
  if (guest < next_grain_ || guest < position_)
    corrupt(at, "the grains are not in ascending order");
  if (size > grain_ + grain_ / 8 + 1024) corrupt(at, "a grain has an impossible compressed size");
  const uint64_t whole = round_up(kMarkerHeader + size, kSector);
  if (!window.need(op, whole)) {
    // The last grain of a file may lack its padding.
    if (window.left() < kMarkerHeader + size) corrupt(at, "a grain is truncated");
    corrupt(at, "the padding behind a grain is missing: the file is truncated");
  }
  Piece piece;
  piece.guest_offset = piece.unit_offset = guest;
  piece.unit_length = grain_;
  piece.length = std::min(grain_, size_ - guest);
  piece.codec = Codec::kZlib;
  piece.file_offset = at + kMarkerHeader;
  piece.file_length = size;
  piece.bytes = window.at() + kMarkerHeader;
  batch.pieces.push_back(piece);
  window.use(whole);
  next_grain_ = guest + grain_;
  ++grains_seen_;
}

void VmdkStreamReader::check_end(Op, uint64_t at, bool marker) {
  if (tables_behind_ && !marker) corrupt(at, "the end-of-stream marker is missing: truncated");
  if (tables_behind_ && !footer_seen_) corrupt(at, "the footer is missing");
  if (counted_ && grains_seen_ != grains_expected_)
    corrupt(at, "the file ends after " + std::to_string(grains_seen_) + " of " +
                    std::to_string(grains_expected_) + " grains");
}

}  // namespace hyper::disk
