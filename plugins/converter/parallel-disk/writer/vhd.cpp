// SPDX-License-Identifier: Apache-2.0
#include "writer/vhd.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "engine/bytes.hpp"

namespace hyper::disk {
namespace {

constexpr uint64_t kSectorBytes = 512;
constexpr uint64_t kMiB = 1u << 20;
// Of a dynamic one; readers hold fixed ones to it too.
constexpr uint64_t kLargestVhd = 2040ull << 30;
constexpr uint64_t kHeaderAt = 512, kTableAt = 1536;
constexpr uint32_t kFixed = 2, kDynamic = 3;
constexpr uint32_t kUnused = 0xffffffff;

struct Geometry {
  uint16_t cylinders;
  uint8_t heads, sectors;
};

/// The specification's appendix "CHS Calculation".
Geometry geometry(uint64_t bytes) {
  uint64_t total = std::min<uint64_t>(bytes / kSectorBytes, 65535ull * 16 * 255);
  uint64_t sectors = 17, heads = 4, times = 0;
  if (total >= 65535ull * 16 * 63) {
    sectors = 255;
    heads = 16;
    times = total / sectors;
  } else {
    times = total / sectors;
    heads = std::max<uint64_t>(4, (times + 1023) / 1024);
    if (times >= heads * 1024 || heads > 16) {
      sectors = 31;
      heads = 16;
      times = total / sectors;
    }
    if (times >= heads * 1024) {
      sectors = 63;
      heads = 16;
      times = total / sectors;
    }
  }
  return {static_cast<uint16_t>(times / heads), static_cast<uint8_t>(heads),
          static_cast<uint8_t>(sectors)};
}

uint32_t checksum(const uint8_t* data, std::size_t length) {
  uint32_t sum = 0;
  for (std::size_t i = 0; i < length; ++i) sum += data[i];
  return ~sum;
}

std::array<uint8_t, kSectorBytes> footer(uint64_t size, uint32_t type, const Uuid& uuid) {
  std::array<uint8_t, kSectorBytes> out{};
  std::memcpy(&out[0], "conectix", 8);
  store_be<uint32_t>(&out[8], 2);
  store_be<uint32_t>(&out[12], 0x00010000);
  store_be<uint64_t>(&out[16], type == kFixed ? UINT64_MAX : kHeaderAt);
  // The creator whose images readers take at the size in bytes, not at the rounded geometry.
  std::memcpy(&out[28], "win ", 4);
  store_be<uint32_t>(&out[32], 0x00060001);
  std::memcpy(&out[36], "Wi2k", 4);
  store_be<uint64_t>(&out[40], size);
  store_be<uint64_t>(&out[48], size);
  const Geometry chs = geometry(size);
  store_be<uint16_t>(&out[56], chs.cylinders);
  out[58] = chs.heads;
  out[59] = chs.sectors;
  store_be<uint32_t>(&out[60], type);
  std::memcpy(&out[68], uuid.data(), uuid.size());
  store_be<uint32_t>(&out[64], checksum(out.data(), out.size()));
  return out;
}

}  // namespace

uint64_t vhd_size(uint64_t size) {
  if (size > kLargestVhd)
    throw Error(HYPER_UNSUPPORTED, "the disk is too large for a VHD",
                std::to_string(size) + " bytes; it holds 2040 GiB");
  return round_up(std::max<uint64_t>(size, 1), kMiB);
}

uint64_t VhdFixedWriter::finish(Op op) {
  const uint64_t end = RawWriter::finish(op);
  const auto bytes = footer(end, kFixed, uuid_);
  output_.write(op, end, bytes.data(), bytes.size());
  return end + bytes.size();
}

VhdDynamicWriter::VhdDynamicWriter(Output& output, uint64_t size, const Uuid& uuid)
    : output_(output),
      size_(vhd_size(size)),
      uuid_(uuid),
      table_(round_up(div_ceil(size_, kBlock) * 4, kSectorBytes) / 4, kUnused),
      end_(kTableAt + table_.size() * 4) {}

void VhdDynamicWriter::place(Op op, Workspace& space) {
  const Batch& batch = space.batch;
  if (batch.length == 0) return;
  constexpr uint64_t kGranules = kBlock / kGranule;
  uint64_t first = 0;
  while (first < kGranules && space.zero[first]) ++first;
  if (first == kGranules) return;
  static const std::vector<uint8_t> bitmap(kSectorBytes, 0xff);  // every sector is there
  store_be<uint32_t>(&table_[batch.guest / kBlock], static_cast<uint32_t>(end_ / kSectorBytes));
  output_.write(op, end_, bitmap.data(), bitmap.size());
  end_ += bitmap.size();
  if (!output_.random()) {
    space.writes.push_back({end_, space.plain.data(), kBlock});
  } else {
    for (uint64_t i = first; i < kGranules;) {
      uint64_t stop = i;
      while (stop < kGranules && !space.zero[stop]) ++stop;
      if (stop != i)
        space.writes.push_back(
            {end_ + i * kGranule, space.plain.data() + i * kGranule, (stop - i) * kGranule});
      i = std::max(stop, i + 1);
    }
  }
  end_ += kBlock;
}

uint64_t VhdDynamicWriter::finish(Op op) {
  const auto foot = footer(size_, kDynamic, uuid_);
  std::vector<uint8_t> front(kTableAt + table_.size() * 4, 0);
  std::memcpy(front.data(), foot.data(), foot.size());
  uint8_t* header = front.data() + kHeaderAt;
  // NOLINTNEXTLINE(bugprone-not-null-terminated-result): a magic, no text
  std::memcpy(header, "cxsparse", 8);
  store_be<uint64_t>(header + 8, UINT64_MAX);
  store_be<uint64_t>(header + 16, kTableAt);
  store_be<uint32_t>(header + 24, 0x00010000);
  store_be<uint32_t>(header + 28, static_cast<uint32_t>(div_ceil(size_, kBlock)));
  store_be<uint32_t>(header + 32, static_cast<uint32_t>(kBlock));
  store_be<uint32_t>(header + 36, checksum(header, 1024));
  std::memcpy(front.data() + kTableAt, table_.data(), table_.size() * 4);
  output_.write(op, 0, front.data(), front.size());
  output_.write(op, end_, foot.data(), foot.size());
  return end_ + foot.size();
}

}  // namespace hyper::disk
