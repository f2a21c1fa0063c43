// SPDX-License-Identifier: Apache-2.0
#include "format/run_merger.hpp"

#include <algorithm>
#include <vector>

namespace hyper::disk {
namespace {

// Shorter runs are not worth asking the file system about.
constexpr uint64_t kAskFrom = 256u << 10;
// Asked in windows, as the answers are held until the source's call has returned.
constexpr uint64_t kAskAtOnce = 64u << 20;

bool joins(const Mapped& a, const Mapped& b) {
  if (a.guest_offset + a.length != b.guest_offset || a.zero != b.zero || a.hole != b.hole)
    return false;
  if (a.zero) return true;
  return a.codec == Codec::kNone && b.codec == Codec::kNone && a.file == b.file &&
         a.file_offset + a.length == b.file_offset;
}

Mapped part_of(const Mapped& run, uint64_t skip, uint64_t length, uint32_t flags) {
  Mapped part;
  part.guest_offset = run.guest_offset + skip;
  part.length = length;
  part.hole = (flags & HYPER_EXTENT_HOLE) != 0;
  part.zero = part.hole || (flags & HYPER_EXTENT_ZERO) != 0;
  if (!part.zero) {
    part.file = run.file;
    part.file_offset = run.file_offset + skip;
  }
  return part;
}

}  // namespace

void RunMerger::zeros(uint64_t guest, uint64_t length, bool hole) {
  Mapped run;
  run.guest_offset = guest;
  run.length = length;
  run.zero = true;
  run.hole = hole;
  add(run);
}

void RunMerger::bytes(uint64_t guest, uint64_t length, const SourceRef& file,
                      uint64_t file_offset) {
  Mapped run;
  run.guest_offset = guest;
  run.length = length;
  run.file = &file;
  run.file_offset = file_offset;
  add(run);
}

void RunMerger::unit(const Mapped& compressed) {
  add(compressed);
}

// Not settled again: the map it comes from has asked its file for holes.
void RunMerger::mapped(const Mapped& piece) {
  settle();
  pass_on(piece);
}

void RunMerger::finish() {
  settle();
  if (ready_) sink_(*ready_);
  ready_.reset();
}

void RunMerger::add(const Mapped& run) {
  if (run.length == 0) return;
  if (found_ && joins(*found_, run)) {
    found_->length += run.length;
  } else {
    settle();
    found_ = run;
  }
}

void RunMerger::settle() {
  if (!found_) return;
  const Mapped run = *found_;
  found_.reset();
  if (!run.zero && run.codec == Codec::kNone && run.length >= kAskFrom &&
      run.file->can(HYPER_SOURCE_EXTENTS))
    split_at_holes(run);
  else
    pass_on(run);
}

void RunMerger::pass_on(const Mapped& run) {
  if (ready_ && joins(*ready_, run)) {
    ready_->length += run.length;
    return;
  }
  if (ready_) sink_(*ready_);
  ready_ = run;
}

void RunMerger::split_at_holes(const Mapped& run) {
  std::vector<hyper_extent> extents;
  for (uint64_t done = 0; done < run.length;) {
    op_.check_cancelled();
    const uint64_t window = std::min(run.length - done, kAskAtOnce);
    const uint64_t from = run.file_offset + done;
    extents.clear();
    // Collected first: the sink may read the same source, whose calls must not nest.
    run.file->extents(op_, from, window, [&](const hyper_extent& e) { extents.push_back(e); });
    uint64_t covered = 0;
    for (const hyper_extent& extent : extents) {
      if (extent.offset != from + covered || extent.length > window - covered)
        throw Error(HYPER_FAIL, "the source's extents are not contiguous");
      pass_on(part_of(run, done + covered, extent.length, extent.flags));
      covered += extent.length;
    }
    if (covered != window) throw Error(HYPER_FAIL, "the source's extents leave a gap");
    done += window;
  }
}

void check_map_range(const ImageMap& map, uint64_t offset, uint64_t length) {
  if (offset > map.virtual_size() || length > map.virtual_size() - offset)
    throw Error(HYPER_FAIL, "a map was asked for beyond the end of the disk");
}

}  // namespace hyper::disk
