// SPDX-License-Identifier: Apache-2.0
#include "writer/vmdk_stream.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "codec/deflate.hpp"
#include "engine/bytes.hpp"

namespace hyper::disk {
namespace {

constexpr uint64_t kVmdkSector = 512;
constexpr uint64_t kGrain = 64u << 10, kGrainsPerTable = 512;
constexpr uint64_t kMarkerHeader = 12;
constexpr uint64_t kDescriptorSectors = 20, kOverheadSectors = 128;
constexpr uint64_t kLargestVmdk = 62ull << 40;
constexpr uint32_t kTable = 1, kDirectory = 2, kFooter = 3;

class GrainTool : public Writer::Tool {
 public:
  explicit GrainTool(int level) : deflater(Packing::kZlib, level) {}
  Deflater deflater;
};

}  // namespace

VmdkStreamWriter::VmdkStreamWriter(Output& output, uint64_t size, int level, uint32_t cid)
    : output_(output),
      size_(round_up(std::min(size, kLargestVmdk + 1), kVmdkSector)),
      level_(level),
      cid_(cid),
      table_(kGrainsPerTable, 0) {
  if (size > kLargestVmdk)
    throw Error(HYPER_UNSUPPORTED, "the disk is too large for a VMDK",
                std::to_string(size) + " bytes; VMware's limit is 62 TiB");
  directory_.resize(div_ceil(div_ceil(size_, kGrain), kGrainsPerTable), 0);
}

std::unique_ptr<Writer::Tool> VmdkStreamWriter::make_tool() const {
  return std::make_unique<GrainTool>(level_);
}

// Marker, compressed grain and padding as they will lie in the file.
void VmdkStreamWriter::prepare(Workspace& space, Tool* tool) {
  const Batch& batch = space.batch;
  Deflater& deflater = static_cast<GrainTool*>(tool)->deflater;
  uint32_t used = 0;
  for (uint64_t i = 0; i < div_ceil(batch.length, kGrain); ++i) {
    bool zero = true;
    for (uint64_t n = 0; n < kGrain / kGranule; ++n)
      zero = zero && space.zero[i * (kGrain / kGranule) + n];
    if (zero) continue;
    uint8_t* marker = space.packed.data() + used;
    const std::size_t size = deflater.run(space.plain.data() + i * kGrain, kGrain,
                                          marker + kMarkerHeader, kGrain + kVmdkSector);
    if (size == 0) throw Error(HYPER_FAIL, "internal error: a grain cannot be compressed");
    store_le<uint64_t>(marker, (batch.guest + i * kGrain) / kVmdkSector);
    store_le<uint32_t>(marker + 8, static_cast<uint32_t>(size));
    const uint64_t whole = round_up(kMarkerHeader + size, kVmdkSector);
    std::memset(marker + kMarkerHeader + size, 0, whole - kMarkerHeader - size);
    space.packings.push_back({static_cast<uint32_t>(i), used, static_cast<uint32_t>(whole)});
    used += static_cast<uint32_t>(whole);
  }
}

void VmdkStreamWriter::place(Op op, Workspace& space) {
  begin(op);
  if (space.packings.empty()) return;
  const uint64_t first = space.batch.guest / kGrain;  // a batch lies within one table
  if (first / kGrainsPerTable != table_index_) {
    flush_table(op);
    table_index_ = first / kGrainsPerTable;
  }
  for (const Packed& packed : space.packings)
    table_[(first + packed.index) % kGrainsPerTable] = sector(end_ + packed.offset);
  table_used_ = true;
  const Packed& last = space.packings.back();
  const uint64_t length = last.offset + last.length;
  space.writes.push_back({end_, space.packed.data(), length});
  end_ += length;
}

uint32_t VmdkStreamWriter::sector(uint64_t offset) const {
  if (offset / kVmdkSector > UINT32_MAX)
    throw Error(HYPER_UNSUPPORTED, "a VMDK file cannot grow beyond 2 TiB");
  return static_cast<uint32_t>(offset / kVmdkSector);
}

std::vector<uint8_t> VmdkStreamWriter::header(uint64_t directory_sector) const {
  std::vector<uint8_t> out(kVmdkSector, 0);
  std::memcpy(&out[0], "KDMV", 4);
  store_le<uint32_t>(&out[4], 3);
  store_le<uint32_t>(&out[8], 0x30001);  // valid line ends, compressed grains, markers
  store_le<uint64_t>(&out[12], size_ / kVmdkSector);
  store_le<uint64_t>(&out[20], kGrain / kVmdkSector);
  store_le<uint64_t>(&out[28], 1);
  store_le<uint64_t>(&out[36], kDescriptorSectors);
  store_le<uint32_t>(&out[44], kGrainsPerTable);
  store_le<uint64_t>(&out[56], directory_sector);
  store_le<uint64_t>(&out[64], kOverheadSectors);
  std::memcpy(&out[73], "\n \r\n", 4);
  store_le<uint16_t>(&out[77], 1);
  return out;
}

void VmdkStreamWriter::begin(Op op) {
  if (end_ != 0) return;
  std::vector<uint8_t> front = header(UINT64_MAX);
  const uint64_t sectors = size_ / kVmdkSector;
  const uint64_t cylinders = std::min<uint64_t>(65535, sectors / (255 * 63));
  char text[1024];
  const int length = std::snprintf(
      text, sizeof text,
      "# Disk DescriptorFile\nversion=1\nCID=%08x\nparentCID=ffffffff\n"
      "createType=\"streamOptimized\"\n\n# Extent description\nRW %llu SPARSE \"disk.vmdk\"\n\n"
      "# The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"10\"\nddb.adapterType = "
      "\"lsilogic\"\n"
      "ddb.geometry.cylinders = \"%llu\"\nddb.geometry.heads = \"255\"\n"
      "ddb.geometry.sectors = \"63\"\n",
      cid_, static_cast<unsigned long long>(sectors), static_cast<unsigned long long>(cylinders));
  front.resize(kOverheadSectors * kVmdkSector, 0);
  std::memcpy(&front[kVmdkSector], text, static_cast<std::size_t>(length));
  append(op, front);
}

void VmdkStreamWriter::append(Op op, const std::vector<uint8_t>& bytes) {
  output_.write(op, end_, bytes.data(), bytes.size());
  end_ += bytes.size();
}

void VmdkStreamWriter::append_metadata(Op op, uint32_t type, const std::vector<uint8_t>& bytes) {
  std::vector<uint8_t> marker(kVmdkSector, 0);
  store_le<uint64_t>(&marker[0], bytes.size() / kVmdkSector);
  store_le<uint32_t>(&marker[12], type);
  append(op, marker);
  append(op, bytes);
}

void VmdkStreamWriter::flush_table(Op op) {
  if (!table_used_) return;
  std::vector<uint8_t> bytes(kGrainsPerTable * 4);
  std::memcpy(bytes.data(), table_.data(), bytes.size());
  append_metadata(op, kTable, bytes);
  directory_[table_index_] = sector(end_ - bytes.size());
  std::fill(table_.begin(), table_.end(), 0);
  table_used_ = false;
}

uint64_t VmdkStreamWriter::finish(Op op) {
  begin(op);
  flush_table(op);
  std::vector<uint8_t> bytes(std::max(kVmdkSector, round_up(directory_.size() * 4, kVmdkSector)));
  for (std::size_t i = 0; i < directory_.size(); ++i)
    store_le<uint32_t>(&bytes[i * 4], directory_[i]);
  append_metadata(op, kDirectory, bytes);
  append_metadata(op, kFooter, header(sector(end_ - bytes.size())));
  append(op, std::vector<uint8_t>(kVmdkSector, 0));  // the end-of-stream marker
  return end_;
}

}  // namespace hyper::disk
