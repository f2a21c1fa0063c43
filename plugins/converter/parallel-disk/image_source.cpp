// SPDX-License-Identifier: Apache-2.0
#include "image_source.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <list>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <vector>

#include "codec/inflate.hpp"
#include "engine/batch.hpp"
#include "engine/limited_source.hpp"
#include "format/probe.hpp"
#include "reader/map_reader.hpp"

namespace hyper::disk {
namespace {

using nlohmann::json;

struct Unit {
  std::vector<uint8_t> bytes;
  uint64_t consumed = 0;  ///< compressed bytes of the file
};

/// The inflated units that were used last, for readers that read in small steps.
class UnitCache {
 public:
  /// Of which file, and where in it: files of a chain have units at the same guest offset.
  using Place = std::pair<const hyper_source*, uint64_t>;

  std::shared_ptr<const Unit> find(const Place& place) {
    const std::lock_guard lock(mutex_);
    for (auto at = units_.begin(); at != units_.end(); ++at) {
      if (at->first != place) continue;
      units_.splice(units_.begin(), units_, at);
      return at->second;
    }
    return nullptr;
  }
  void add(const Place& place, std::shared_ptr<const Unit> unit) {
    const std::lock_guard lock(mutex_);
    bytes_ += unit->bytes.size();
    units_.emplace_front(place, std::move(unit));
    while (bytes_ > kMost && units_.size() > 1) {
      bytes_ -= units_.back().second->bytes.size();
      units_.pop_back();
    }
  }

 private:
  static constexpr uint64_t kMost = 4u << 20;
  std::mutex mutex_;
  std::list<std::pair<Place, std::shared_ptr<const Unit>>> units_;
  uint64_t bytes_ = 0;
};

/// The guest ranges that were read once, so that reading them again does not count again.
class Seen {
 public:
  /// Whether none of [offset, offset + length) was there before; then it is from now on.
  bool add(uint64_t offset, uint64_t length) {
    const std::lock_guard lock(mutex_);
    auto next = ranges_.lower_bound(offset);
    if (next != ranges_.end() && next->first < offset + length) return false;
    const auto before = next == ranges_.begin() ? ranges_.end() : std::prev(next);
    if (before != ranges_.end() && before->second > offset) return false;
    const bool joins_next = next != ranges_.end() && next->first == offset + length;
    const bool joins_before = before != ranges_.end() && before->second == offset;
    if (!joins_next && !joins_before && ranges_.size() >= kMost) return false;
    const uint64_t end = joins_next ? next->second : offset + length;
    if (joins_next) ranges_.erase(next);
    if (joins_before)
      before->second = end;
    else
      ranges_.emplace(offset, end);
    return true;
  }

 private:
  static constexpr std::size_t kMost = 4096;  // reads all over the place are not followed further
  std::mutex mutex_;
  std::map<uint64_t, uint64_t> ranges_;  // begin to end; apart from each other
};

class ImageSource : public Source {
 public:
  ImageSource(Op op, const SourceRef& file, const std::string& format, bool allow_backing)
      : file_(limit_source(file)),
        map_(open_image(op, *file_, format, {.allowed = allow_backing})) {}

  SourceTraits traits() const override {
    SourceTraits traits;
    traits.flags = HYPER_SOURCE_SEEK | HYPER_SOURCE_EXTENTS;
    traits.length = map_->virtual_size();
    traits.max_parallel = kMaxParallel;
    traits.format = "raw";
    return traits;
  }

  void read_at(Op op, uint64_t offset, void* buf, uint64_t len) override {
    auto* out = static_cast<uint8_t*>(buf);
    while (len != 0) {  // in steps, so that a list of pieces stays short
      const uint64_t now = std::min<uint64_t>(len, kStep);
      read_step(op, offset, out, now);
      offset += now;
      out += now;
      len -= now;
    }
  }

  void extents(Op op, uint64_t offset, uint64_t len, const EmitExtent& emit) override {
    struct {
      uint64_t offset = 0, length = 0;
      uint32_t flags = 0;
    } run;
    if (len == 0) return;
    map_->map(op, offset, len, [&](const Mapped& piece) {
      const uint32_t flags = piece.hole   ? HYPER_EXTENT_ZERO | HYPER_EXTENT_HOLE
                             : piece.zero ? HYPER_EXTENT_ZERO
                                          : 0;
      if (run.length != 0 && run.flags == flags) {
        run.length += piece.length;
        return;
      }
      emit(run.offset, run.length, run.flags);
      run.offset = piece.guest_offset;
      run.length = piece.length;
      run.flags = flags;
    });
    emit(run.offset, run.length, run.flags);
  }

 private:
  static constexpr uint32_t kMaxParallel = 16;
  static constexpr uint64_t kStep = 4u << 20;

  void read_step(Op op, uint64_t offset, uint8_t* out, uint64_t len) {
    std::vector<Mapped> pieces;
    map_->map(op, offset, len, [&](const Mapped& piece) { pieces.push_back(piece); });
    const bool first = seen_.add(offset, len);
    for (const Mapped& piece : pieces) {
      uint8_t* to = out + (piece.guest_offset - offset);
      if (piece.zero) {
        std::memset(to, 0, piece.length);
      } else if (piece.codec == Codec::kNone) {
        inputs_.of(op, *piece.file).read(op, piece.file_offset, to, piece.length);
        if (first) consumed_ += piece.length;
      } else {
        const auto unit = inflate(op, piece);
        std::memcpy(to, unit->bytes.data() + (piece.guest_offset - piece.unit_offset),
                    piece.length);
        if (first && piece.guest_offset == piece.unit_offset) consumed_ += unit->consumed;
      }
    }
    // As MapReader has it: an image that lies would be read for as long as it claims.
    if (consumed_ > inputs_.length()) refuse_amount();
  }

  std::shared_ptr<const Unit> inflate(Op op, const Mapped& piece) {
    const UnitCache::Place place(piece.file->raw(), piece.file_offset);
    if (auto unit = cache_.find(place)) return unit;
    if (piece.unit_length > kLargestUnit)
      throw Error(HYPER_UNSUPPORTED, "the image's compressed blocks are larger than 2 MiB");
    const Input& input = inputs_.of(op, *piece.file);
    std::vector<uint8_t> packed(piece.file_length);
    if (piece.file_offset < input.length())
      packed.resize(std::min(piece.file_length, input.length() - piece.file_offset));
    input.read(op, piece.file_offset, packed.data(), packed.size());
    // The disk's last unit may hold a whole grain or only what the disk has left.
    const bool last = piece.unit_offset + piece.unit_length >= map_->virtual_size();
    auto unit = std::make_shared<Unit>();
    unit->bytes.resize(last ? kLargestUnit : piece.unit_length);
    Inflater inflater;
    const auto done = inflater.run(piece.codec, packed.data(), packed.size(), unit->bytes.data(),
                                   unit->bytes.size());
    const uint64_t need = last ? map_->virtual_size() - piece.unit_offset : piece.unit_length;
    if (!done || done->produced < need)
      throw Error(HYPER_CORRUPT, "the image is damaged",
                  "the compressed block at file offset " + std::to_string(piece.file_offset) +
                      " (guest offset " + std::to_string(piece.unit_offset) +
                      ") cannot be inflated");
    unit->bytes.resize(std::max<uint64_t>(need, 1));
    unit->bytes.shrink_to_fit();
    unit->consumed = done->consumed;
    cache_.add(place, unit);
    return unit;
  }

  std::unique_ptr<OwnedSource> file_;
  std::unique_ptr<ImageMap> map_;
  Inputs inputs_;
  UnitCache cache_;
  Seen seen_;
  std::atomic<uint64_t> consumed_{0};  // bytes of the files that were seen as guest bytes
};

}  // namespace

std::string ImageReader::probe(const Doc& config, Op op, SourceRef source) {
  const std::string format = detect_format(op, source);
  if (format == "qed" || format == "parallels" || format == "qcow") return {};
  const ImageInfo info =
      probe_image(op, source, {.allowed = config.boolean("/allow_backing", false)});
  json result = {{"format", info.format}, {"virtual_size", info.virtual_size}};
  if (!info.subformat.empty()) result["subformat"] = info.subformat;
  return result.dump();
}

std::unique_ptr<Source> ImageReader::open(const Doc& config, Op op, SourceRef source,
                                          const Doc& request) {
  const std::string format = request.string("/format", source.format());
  return std::make_unique<ImageSource>(op, source, format, config.boolean("/allow_backing", false));
}

}  // namespace hyper::disk
