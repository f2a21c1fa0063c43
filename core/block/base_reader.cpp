// SPDX-License-Identifier: Apache-2.0
#include "core/block/base_reader.hpp"

#include <algorithm>
#include <cstring>

namespace hyperhost {
namespace {

constexpr uint32_t kMostCalls = 1024;

class Turn {
 public:
  explicit Turn(std::counting_semaphore<>& calls) : calls_(calls) { calls_.acquire(); }
  ~Turn() { calls_.release(); }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  std::counting_semaphore<>& calls_;
};

}  // namespace

BaseReader::BaseReader(std::shared_ptr<SourceHandle> source)
    : source_(std::move(source)),
      calls_(static_cast<std::ptrdiff_t>(
          std::clamp(source_->table().max_parallel, uint32_t{1}, kMostCalls))) {}

void BaseReader::read_pieces(hyper::Op op, uint64_t offset, unsigned char* out, uint64_t length) {
  const hyper_source& table = source_->table();
  // Its pieces, too, are multiples of the smallest block.
  const uint64_t block = std::max<uint64_t>(table.block_min, 1);
  const uint64_t most =
      table.block_max == 0 ? length : std::max(block, table.block_max - table.block_max % block);
  const Turn turn(calls_);
  while (length > 0) {
    const uint64_t piece = std::min(most, length);
    hyper::check(table.read_at(table.ctx, op.raw(), 0, offset, out, piece));
    out += piece;
    offset += piece;
    length -= piece;
  }
}

void BaseReader::read(hyper::Op op, uint64_t offset, void* buffer, uint64_t length) {
  const uint64_t block = std::max<uint64_t>(source_->table().block_min, 1);
  const uint64_t end = offset + length;
  const uint64_t first = offset - offset % block;
  const uint64_t beyond = end % block == 0 ? 0 : block - end % block;
  const uint64_t last = end + std::min(beyond, this->length() - end);
  if (first == offset && last == end)
    return read_pieces(op, offset, static_cast<unsigned char*>(buffer), length);
  std::vector<unsigned char> aligned(last - first);
  read_pieces(op, first, aligned.data(), aligned.size());
  std::memcpy(buffer, aligned.data() + (offset - first), length);
}

std::vector<hyper_extent> BaseReader::extents(hyper::Op op, uint64_t offset, uint64_t length) {
  std::vector<hyper_extent> out;
  if (length == 0) return out;
  if (!source_->can(HYPER_SOURCE_EXTENTS)) {
    out.push_back({offset, length, 0, 0});
    return out;
  }
  const uint64_t end = offset + length;
  uint64_t expected = offset;
  const auto take = [&](const hyper_extent& extent) {
    if (extent.offset != expected || extent.length == 0 || extent.length > end - expected)
      throw hyper::Error(HYPER_FAIL, "the reader's extents have gaps or overlap");
    expected += extent.length;
    if (!out.empty() && out.back().flags == extent.flags)
      out.back().length += extent.length;
    else
      out.push_back({extent.offset, extent.length, extent.flags, 0});
  };
  const Turn turn(calls_);
  hyper::SourceRef(&source_->table()).extents(op, offset, length, take);
  if (expected != end) throw hyper::Error(HYPER_FAIL, "the reader's extents have gaps or overlap");
  return out;
}

}  // namespace hyperhost
