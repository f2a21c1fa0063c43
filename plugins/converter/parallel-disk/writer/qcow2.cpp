// SPDX-License-Identifier: Apache-2.0
// The layout. Only the header has a fixed place, and it is written last; so whatever is given out
// can be appended, nothing is reserved for tables that may never be needed, and a sink of parts
// (an object store) gets its parts in order and the first one last:
//
//   header | data, each L2 table behind the data it describes, refcount blocks | L1 | … | table
//
// Batches are placed in guest order. Hence one L2 table is being filled at a time, and is written
// when the next one begins; a refcount block is written when space behind what it covers is given
// out. Memory does not grow with the disk but for 8 bytes per L2 table (512 MiB of data).
//
// Compressed clusters are packed byte by byte, as qemu does. A kept grain is a deflate stream
// wrapped in a zlib header and checksum, in a run of such grains that is written as it came: the
// entries point behind the headers.
#include "writer/qcow2.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "engine/bytes.hpp"

namespace hyper::disk {
namespace {

constexpr uint64_t kCopied = 1ull << 63;
constexpr uint64_t kCompressed = 1ull << 62;
constexpr uint64_t kLargestL1 = 32u << 20;  // bytes; qemu refuses more
constexpr uint64_t kSmallestCluster = 4096, kLargestCluster = 2u << 20;
constexpr uint64_t kHeaderLength = 112;
constexpr uint64_t kSector = 512;
constexpr uint64_t kZlibHeader = 2, kZlibTrailer = 4;

class DeflateTool : public Writer::Tool {
 public:
  DeflateTool(Packing packing, int level) : deflater(packing, level) {}
  Deflater deflater;
};

}  // namespace

Qcow2Writer::Qcow2Writer(Output& output, uint64_t size, const Qcow2Options& options)
    : output_(output),
      // QEMU counts whole sectors and would not show the guest what is behind the last one.
      size_(round_up(size, kSector)),
      options_(options),
      cluster_(options.cluster_bytes),
      end_(cluster_),
      l2_(cluster_ / 8, 0) {
  // Smaller ones would have several L2 tables in a batch, which are filled one after the other.
  if (cluster_ < kSmallestCluster || cluster_ > kLargestCluster || (cluster_ & (cluster_ - 1)) != 0)
    throw Error(HYPER_UNSUPPORTED, "the cluster size is none of 4 KiB, 8 KiB … 2 MiB",
                std::to_string(cluster_))
        .hint("qemu-img writes other cluster sizes")
        .at("/target/cluster_size");
  while ((uint64_t{1} << cluster_bits_) < cluster_) ++cluster_bits_;
  l1_entries_ = div_ceil(div_ceil(size_, cluster_), cluster_ / 8);
  if (l1_entries_ > kLargestL1 / 8)
    throw Error(HYPER_UNSUPPORTED, "the disk is too large for a qcow2 image of this cluster size",
                std::to_string(size) + " bytes")
        .hint("set a larger cluster_size, up to 2 MiB")
        .at("/target/cluster_size");
  count_reference(0);  // the header's
}

uint64_t Qcow2Writer::batch_bytes() const {
  return std::max<uint64_t>(1u << 20, cluster_);
}

std::unique_ptr<Writer::Tool> Qcow2Writer::make_tool() const {
  if (options_.packing == Packing::kNone) return nullptr;
  return std::make_unique<DeflateTool>(options_.packing, options_.level);
}

// A whole grain of the cluster's size whose bytes are at hand and begin with a plain zlib header.
bool Qcow2Writer::keeps(const Piece& piece) const {
  if (!options_.keep || piece.codec != Codec::kZlib || piece.bytes == nullptr) return false;
  if (piece.unit_length != cluster_ || piece.length != cluster_) return false;
  if (piece.unit_offset != piece.guest_offset || piece.guest_offset % cluster_ != 0) return false;
  if (piece.file_length <= kZlibHeader + kZlibTrailer || piece.file_length > 2 * cluster_ - kSector)
    return false;
  const unsigned method = piece.bytes[0], flags = piece.bytes[1];
  return (method & 0x0f) == 8 && (method >> 4) <= 7 && (flags & 0x20) == 0 &&
         (method * 256 + flags) % 31 == 0;
}

bool Qcow2Writer::needs_plain(const Batch& batch) const {
  if (!options_.keep) return true;
  return !std::all_of(batch.pieces.begin(), batch.pieces.end(),
                      [this](const Piece& piece) { return keeps(piece); });
}

bool Qcow2Writer::zero_cluster(const Workspace& space, uint64_t index) const {
  for (uint64_t i = 0; i < cluster_ / kGranule; ++i)
    if (!space.zero[index * (cluster_ / kGranule) + i]) return false;
  return true;
}

void Qcow2Writer::prepare(Workspace& space, Tool* tool) {
  if (tool == nullptr || !space.has_plain) return;
  const Batch& batch = space.batch;
  Deflater& deflater = static_cast<DeflateTool*>(tool)->deflater;
  std::vector<bool> skip(batch_bytes() / cluster_, false);
  for (const Piece& piece : batch.pieces)
    if (keeps(piece)) skip[(piece.guest_offset - batch.guest) / cluster_] = true;
  uint32_t used = 0;
  for (uint64_t i = 0; i < div_ceil(batch.length, cluster_); ++i) {
    if (skip[i] || zero_cluster(space, i)) continue;
    const std::size_t size =
        deflater.run(space.plain.data() + i * cluster_, cluster_, space.packed.data() + used,
                     std::min<std::size_t>(cluster_ - 1, space.packed.size() - used));
    if (size == 0) continue;  // it does not shrink: stored as it is
    space.packings.push_back({static_cast<uint32_t>(i), used, static_cast<uint32_t>(size)});
    used += static_cast<uint32_t>(size);
  }
}

void Qcow2Writer::place(Op op, Workspace& space) {
  if (space.batch.length == 0) return;
  if (options_.keep) place_kept(op, space);
  place_packed(op, space);
  if (space.has_plain) place_plain(op, space);
  flush_refcounts(op);
}

void Qcow2Writer::place_kept(Op op, Workspace& space) {
  const std::vector<Piece>& pieces = space.batch.pieces;
  for (std::size_t i = 0; i < pieces.size();) {
    if (!keeps(pieces[i])) {
      ++i;
      continue;
    }
    // A run of grains that lie closely behind each other, with their markers and padding.
    std::size_t last = i;
    const auto end_of = [&](std::size_t n) { return pieces[n].bytes + pieces[n].file_length; };
    while (last + 1 < pieces.size() && keeps(pieces[last + 1]) &&
           pieces[last + 1].bytes >= end_of(last) &&
           pieces[last + 1].bytes - end_of(last) <= static_cast<std::ptrdiff_t>(2 * kSector))
      ++last;
    const uint8_t* start = pieces[i].bytes;
    const uint64_t length = static_cast<uint64_t>(end_of(last) - start);
    const uint64_t offset = allocate_bytes(op, length);
    space.writes.push_back({offset, start, length});
    for (; i <= last; ++i) {
      const uint64_t at = offset + static_cast<uint64_t>(pieces[i].bytes - start) + kZlibHeader;
      set_entry(op, pieces[i].guest_offset,
                compressed_entry(at, pieces[i].file_length - kZlibHeader - kZlibTrailer));
      ++kept_;
    }
  }
}

void Qcow2Writer::place_packed(Op op, Workspace& space) {
  for (const Packed& packed : space.packings) {
    const uint64_t offset = allocate_bytes(op, packed.length);
    const uint8_t* data = space.packed.data() + packed.offset;
    Write* last = space.writes.empty() ? nullptr : &space.writes.back();
    if (last != nullptr && last->offset + last->length == offset &&
        last->data + last->length == data)
      last->length += packed.length;
    else
      space.writes.push_back({offset, data, packed.length});
    set_entry(op, space.batch.guest + packed.index * cluster_,
              compressed_entry(offset, packed.length));
  }
}

void Qcow2Writer::place_plain(Op op, Workspace& space) {
  const Batch& batch = space.batch;
  std::vector<bool> done(batch_bytes() / cluster_, false);
  for (const Packed& packed : space.packings) done[packed.index] = true;
  for (const Piece& piece : batch.pieces)
    if (keeps(piece)) done[(piece.guest_offset - batch.guest) / cluster_] = true;
  const uint64_t clusters = div_ceil(batch.length, cluster_);
  for (uint64_t i = 0; i < clusters; ++i) done[i] = done[i] || zero_cluster(space, i);
  for (uint64_t i = 0; i < clusters;) {
    if (done[i]) {
      ++i;
      continue;
    }
    uint64_t stop = i;
    while (stop < clusters && !done[stop]) ++stop;
    const uint64_t offset = allocate_clusters(op, stop - i);
    space.writes.push_back({offset, space.plain.data() + i * cluster_, (stop - i) * cluster_});
    for (uint64_t n = i; n < stop; ++n) {
      const uint64_t cluster = offset + (n - i) * cluster_;
      set_entry(op, batch.guest + n * cluster_, cluster | kCopied);
      count_reference(cluster >> cluster_bits_);
    }
    i = stop;
  }
}

void Qcow2Writer::set_entry(Op op, uint64_t guest, uint64_t entry) {
  const uint64_t number = guest >> cluster_bits_;
  const uint64_t index = number / l2_.size();
  if (index != l2_index_) {
    flush_l2(op);
    l2_index_ = index;
  }
  store_be<uint64_t>(&l2_[number % l2_.size()], entry);
  l2_used_ = true;
}

void Qcow2Writer::flush_l2(Op op) {
  if (!l2_used_) return;
  const uint64_t offset = allocate_clusters(op, 1);
  count_reference(offset >> cluster_bits_);
  output_.write(op, offset, l2_.data(), cluster_);
  l1_[l2_index_] = offset;
  std::fill(l2_.begin(), l2_.end(), 0);
  l2_used_ = false;
}

/// Counts the host clusters that the compressed one touches, in whole sectors as qemu does.
uint64_t Qcow2Writer::compressed_entry(uint64_t offset, uint64_t length) {
  const uint64_t first = offset / kSector, last = (offset + length - 1) / kSector;
  for (uint64_t c = first * kSector >> cluster_bits_; c <= last * kSector >> cluster_bits_; ++c)
    count_reference(c);
  return kCompressed | (last - first) << (62 - (cluster_bits_ - 8)) | offset;
}

uint64_t Qcow2Writer::allocate_clusters(Op, uint64_t count) {
  const uint64_t offset = end_;
  end_ += count * cluster_;
  return offset;
}

uint64_t Qcow2Writer::allocate_bytes(Op op, uint64_t length) {
  if (pack_end_ != end_ && length > pack_end_ - pack_) {  // cannot grow: start a new one
    output_.skip(op, pack_, pack_end_ - pack_);
    pack_ = pack_end_ = end_;
  }
  if (length > pack_end_ - pack_) {
    end_ += round_up(length - (pack_end_ - pack_), cluster_);
    pack_end_ = end_;
  }
  const uint64_t offset = pack_;
  pack_ += length;
  return offset;
}

void Qcow2Writer::count_reference(uint64_t cluster, uint64_t times) {
  const uint64_t each = cluster_ / sizeof(uint16_t);
  std::vector<uint16_t>& block = refcounts_[cluster / each];
  if (block.empty()) block.resize(each, 0);
  block[cluster % each] = static_cast<uint16_t>(block[cluster % each] + times);
}

void Qcow2Writer::write_refcount_block(Op op, uint64_t index, uint64_t offset) {
  std::vector<uint16_t> block = std::move(refcounts_[index]);
  refcounts_.erase(index);
  for (uint16_t& count : block) count = swap_bytes(count);
  output_.write(op, offset, block.data(), cluster_);
  refcount_blocks_[index] = offset;
}

void Qcow2Writer::flush_refcounts(Op op) {
  const uint64_t covers = cluster_ / sizeof(uint16_t) * cluster_;
  // Behind `settled` counts may still change: in clusters opened for packing, and in new ones.
  const uint64_t settled = pack_ < pack_end_ ? std::min(pack_ / cluster_ * cluster_, end_) : end_;
  while (!refcounts_.empty()) {
    const uint64_t index = refcounts_.begin()->first;
    if ((index + 1) * covers > settled) return;
    const uint64_t offset = allocate_clusters(op, 1);
    count_reference(offset >> cluster_bits_);
    write_refcount_block(op, index, offset);
  }
}

bool Qcow2Writer::save(uint64_t, StateWriter& state, uint64_t& length) const {
  if (!output_.random()) return false;  // parts that are not full yet are nowhere
  length = end_;
  for (const uint64_t value :
       {size_, cluster_, end_, pack_, pack_end_, kept_, l2_index_, uint64_t{l2_used_},
        uint64_t{l1_.size()}, uint64_t{refcounts_.size()}, uint64_t{refcount_blocks_.size()}})
    state.number(value);
  for (const auto& [index, offset] : l1_) {
    state.number(index);
    state.number(offset);
  }
  if (l2_used_) state.blob(l2_.data(), cluster_);
  for (const auto& [index, block] : refcounts_) {
    state.number(index);
    state.blob(block.data(), block.size() * sizeof(uint16_t));
  }
  for (const auto& [index, offset] : refcount_blocks_) {
    state.number(index);
    state.number(offset);
  }
  return true;
}

bool Qcow2Writer::restore(uint64_t guest, StateReader& state) {
  if (!output_.random() || state.number() != size_ || state.number() != cluster_) return false;
  end_ = state.number();
  pack_ = state.number();
  pack_end_ = state.number();
  kept_ = state.number();
  l2_index_ = state.number();
  l2_used_ = state.number() != 0;
  const uint64_t l1 = state.number(), counts = state.number(), blocks = state.number();
  if (end_ % cluster_ != 0 || pack_ > pack_end_ || pack_end_ > end_ || guest > size_ ||
      l1 > l1_entries_ || l2_index_ > l1_entries_)
    return false;
  l1_.clear();
  refcounts_.clear();
  refcount_blocks_.clear();
  for (uint64_t i = 0; state.ok() && i < l1; ++i) {
    const uint64_t index = state.number();
    if (index >= l1_entries_) return false;
    l1_[index] = state.number();
  }
  if (l2_used_) state.blob(l2_.data(), cluster_);
  for (uint64_t i = 0; state.ok() && i < counts; ++i) {
    std::vector<uint16_t>& block = refcounts_[state.number()];
    block.resize(cluster_ / sizeof(uint16_t));
    state.blob(block.data(), cluster_);
  }
  for (uint64_t i = 0; state.ok() && i < blocks; ++i) {
    const uint64_t index = state.number();
    refcount_blocks_[index] = state.number();
  }
  return state.at_end();
}

uint64_t Qcow2Writer::finish(Op op) {
  flush_l2(op);
  if (pack_ < pack_end_) output_.skip(op, pack_, pack_end_ - pack_);

  // L1: written in pieces, so that a huge disk's mostly empty one needs no memory.
  const uint64_t l1_clusters = std::max<uint64_t>(1, div_ceil(l1_entries_ * 8, cluster_));
  const uint64_t l1_offset = allocate_clusters(op, l1_clusters);
  for (uint64_t i = 0; i < l1_clusters; ++i) {
    count_reference((l1_offset >> cluster_bits_) + i);
    const uint64_t first = i * (cluster_ / 8);
    auto from = l1_.lower_bound(first);
    if (from == l1_.end() || from->first >= first + cluster_ / 8) {
      output_.skip(op, l1_offset + i * cluster_, cluster_);
      continue;
    }
    std::vector<uint64_t> entries(cluster_ / 8, 0);
    for (; from != l1_.end() && from->first < first + cluster_ / 8; ++from)
      store_be<uint64_t>(&entries[from->first - first], from->second | kCopied);
    output_.write(op, l1_offset + i * cluster_, entries.data(), cluster_);
  }

  // The refcount blocks and their table count themselves too: grow until all fits.
  const uint64_t each = cluster_ / sizeof(uint16_t);
  uint64_t blocks = 0, table_clusters = 1;
  for (;;) {
    const uint64_t total = (end_ >> cluster_bits_) + blocks + table_clusters;
    const uint64_t all_blocks = div_ceil(total, each);
    const uint64_t need_blocks = all_blocks - refcount_blocks_.size();
    const uint64_t need_table = div_ceil(all_blocks * 8, cluster_);
    if (need_blocks <= blocks && need_table <= table_clusters) break;
    blocks = std::max(blocks, need_blocks);
    table_clusters = std::max(table_clusters, need_table);
  }
  const uint64_t table_offset = allocate_clusters(op, table_clusters);
  const uint64_t blocks_offset = allocate_clusters(op, blocks);
  for (uint64_t c = table_offset; c < end_; c += cluster_) count_reference(c >> cluster_bits_);
  uint64_t next = blocks_offset;
  for (uint64_t index = 0; index < div_ceil(end_ >> cluster_bits_, each); ++index) {
    if (refcount_blocks_.contains(index)) continue;
    if (!refcounts_.contains(index)) refcounts_[index].resize(each, 0);
    write_refcount_block(op, index, next);
    next += cluster_;
  }
  if (next < end_) output_.skip(op, next, end_ - next);
  std::vector<uint64_t> table(table_clusters * cluster_ / 8, 0);
  for (const auto& [index, offset] : refcount_blocks_) store_be<uint64_t>(&table[index], offset);
  output_.write(op, table_offset, table.data(), table_clusters * cluster_);

  std::vector<uint8_t> header(cluster_, 0);
  std::memcpy(header.data(), "QFI\xfb", 4);
  store_be<uint32_t>(&header[4], 3);
  store_be<uint32_t>(&header[20], cluster_bits_);
  store_be<uint64_t>(&header[24], size_);
  store_be<uint32_t>(&header[36], static_cast<uint32_t>(l1_entries_));
  store_be<uint64_t>(&header[40], l1_offset);
  store_be<uint64_t>(&header[48], table_offset);
  store_be<uint32_t>(&header[56], static_cast<uint32_t>(table_clusters));
  store_be<uint32_t>(&header[96], 4);  // refcounts of 2^4 bits
  store_be<uint32_t>(&header[100], kHeaderLength);
  if (options_.packing == Packing::kZstd) {
    store_be<uint64_t>(&header[72], 1u << 3);  // incompatible: compression type
    header[104] = 1;
  }
  output_.write(op, 0, header.data(), cluster_);
  return end_;
}

}  // namespace hyper::disk
