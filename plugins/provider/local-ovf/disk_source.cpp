// SPDX-License-Identifier: Apache-2.0
#include "disk_source.hpp"

#include <unistd.h>

#include <algorithm>

#include <nlohmann/json.hpp>

#include "checker.hpp"
#include "gzip_reader.hpp"

namespace hyper::ovf {
namespace {

constexpr std::size_t kBuffer = 1u << 20;
constexpr uint32_t kMaxParallel = 64;
constexpr uint64_t kTooMuchHole = uint64_t{4} << 30;
constexpr std::size_t kMostRuns = 100000;  // of one file, to be looked at before the first byte

/// Without an expected digest the bytes of gigabytes of holes are not hashed: that takes as long as
/// hashing data.
bool mostly_holes(const Range& range) {
  uint64_t holes = 0;
  for (const Piece& piece : range.pieces()) {
    if (piece.file->size() - std::min(piece.file->size(), piece.file->allocated()) < kTooMuchHole)
      continue;
    const uint64_t end = piece.offset + piece.length;
    std::size_t runs = 0;
    for (uint64_t at = piece.offset; at < end && runs < kMostRuns; ++runs) {
      const SparseRuns::Run run = piece.file->run_at(at);
      if (!run.data) holes += std::min(run.end, end) - at;
      at = run.end;
    }
  }
  return holes > kTooMuchHole;
}

std::unique_ptr<Checker> make_checker(const Contents& contents, const Disk& disk) {
  CheckPlan plan{disk.range, disk.extras, disk.expected, contents.manifest, true};
  const bool asked = std::any_of(disk.expected.begin(), disk.expected.end(),
                                 [](const auto& expected) { return expected.has_value(); });
  plan.total = asked || !mostly_holes(disk.range);
  return std::make_unique<Checker>(std::move(plan));
}

/// The checks at the end, and what finish() tells.
std::string complete(Op op, const Disk& disk, Checker* checker) {
  nlohmann::ordered_json out = {{"bytes", disk.range.size() + disk.extras.size()}};
  if (checker != nullptr) {
    const CheckOutcome outcome = checker->finish(op);
    if (!outcome.sha256.empty()) out["checksum"] = "sha256:" + outcome.sha256;
    if (!outcome.verified.empty()) out["verified"] = outcome.verified;
  }
  disk.range.check_unchanged();
  disk.extras.check_unchanged();
  return out.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

void emit_extents(const Range& range, uint64_t offset, uint64_t len, const EmitExtent& emit) {
  const uint64_t end = offset + len;
  while (offset < end) {
    const auto [piece, start] = range.at(offset);
    const uint64_t limit = std::min(end, start + piece->length);
    const uint64_t in_file = piece->offset + (offset - start);
    const SparseRuns::Run run = piece->file->run_at(in_file);
    const uint64_t until = std::min(limit, offset + (run.end - in_file));
    emit(offset, until - offset, run.data ? 0 : HYPER_EXTENT_ZERO | HYPER_EXTENT_HOLE);
    offset = until;
  }
}

/// Bytes that can be read anywhere, with or without a checker that watches.
class RangeSource : public Source {
 public:
  RangeSource(Range range, Checker* checker) : range_(std::move(range)), checker_(checker) {}

  SourceTraits traits() const override {
    SourceTraits out;
    out.flags = HYPER_SOURCE_SEEK | HYPER_SOURCE_STREAM | HYPER_SOURCE_EXTENTS;
    out.length = range_.size();
    out.max_parallel = kMaxParallel;
    return out;
  }

  void read_at(Op, uint64_t offset, void* buf, uint64_t len) override {
    if (checker_ != nullptr) checker_->start();
    range_.read(offset, buf, len);
  }

  std::pair<const void*, uint64_t> next(Op op) override {
    op.check_cancelled();
    const uint64_t len = std::min<uint64_t>(kBuffer, range_.size() - position_);
    if (len == 0) return {nullptr, 0};
    buffer_.resize(kBuffer);
    range_.read(position_, buffer_.data(), len);
    if (checker_ != nullptr) checker_->feed(buffer_.data(), len);
    position_ += len;
    return {buffer_.data(), len};
  }

  void extents(Op, uint64_t offset, uint64_t len, const EmitExtent& emit) override {
    if (offset > range_.size() || len > range_.size() - offset)
      throw Error(HYPER_FAIL, "extents asked beyond the end of the source");
    emit_extents(range_, offset, len, emit);
  }

  /// REQUIRES: one piece.
  FileRange locate(Op) override {
    if (checker_ != nullptr) checker_->start();
    const Piece& piece = range_.pieces().front();
    return {piece.file->path(), piece.offset, piece.length};
  }

 private:
  const Range range_;
  Checker* const checker_;
  uint64_t position_ = 0;
  std::vector<char> buffer_;
};

/// An extent of a VMDK. Its checksum is the business of the source that named it.
class ExtentSource final : public RangeSource {
 public:
  ExtentSource(std::shared_ptr<const Contents> contents, const Piece& piece)
      : RangeSource(Range({piece}), nullptr), contents_(std::move(contents)) {}

  SourceTraits traits() const override {
    SourceTraits out = RangeSource::traits();
    out.flags |= HYPER_SOURCE_FILE;
    return out;
  }

 private:
  const std::shared_ptr<const Contents> contents_;
};

class SeekSource final : public RangeSource {
 public:
  SeekSource(std::shared_ptr<const Contents> contents, const Disk& disk,
             std::unique_ptr<Checker> checker)
      : RangeSource(disk.range, checker.get()),
        contents_(std::move(contents)),
        disk_(disk),
        checker_(std::move(checker)) {}

  SourceTraits traits() const override {
    SourceTraits out = RangeSource::traits();
    if (disk_.in_place()) out.flags |= HYPER_SOURCE_FILE;
    if (!disk_.facts.extents.empty()) out.flags |= HYPER_SOURCE_SIBLING;
    out.format = disk_.facts.format;
    return out;
  }

  FileRange locate(Op op) override {
    if (!disk_.in_place()) unsupported();
    return RangeSource::locate(op);
  }

  std::unique_ptr<Source> sibling(Op, const std::string& name) override {
    check_inside(name, "the disk '" + disk_.file + "'");
    for (const Piece& piece : disk_.extras.pieces())
      if (piece.name == disk_.base + name) return std::make_unique<ExtentSource>(contents_, piece);
    throw Error(HYPER_NOTFOUND, "the disk '" + disk_.file + "' has no extent '" + name + "'");
  }

  std::string finish(Op op) override { return complete(op, disk_, checker_.get()); }

 private:
  const std::shared_ptr<const Contents> contents_;
  const Disk& disk_;  // of contents_
  const std::unique_ptr<Checker> checker_;
};

class GzipSource final : public Source {
 public:
  GzipSource(std::shared_ptr<const Contents> contents, const Disk& disk,
             std::unique_ptr<Checker> checker)
      : contents_(std::move(contents)),
        disk_(disk),
        checker_(std::move(checker)),
        buffer_(kBuffer),
        reader_(disk.range, limit_of(disk.capacity), [this](const void* data, std::size_t len) {
          if (checker_) checker_->feed(data, len);
        }) {}

  SourceTraits traits() const override {
    SourceTraits out;
    out.flags = HYPER_SOURCE_STREAM;
    out.format = disk_.facts.format;
    return out;
  }

  std::pair<const void*, uint64_t> next(Op op) override {
    op.check_cancelled();
    const std::size_t len = reader_.read(buffer_.data(), buffer_.size());
    at_end_ = len == 0;
    return {len == 0 ? nullptr : buffer_.data(), len};
  }

  /// Inflates what the reader left, so that gzip's own checksum is checked as well.
  std::string finish(Op op) override {
    while (!at_end_) next(op);
    return complete(op, disk_, checker_.get());
  }

 private:
  /// An image of incompressible data is a little larger than its disk; more is a bomb.
  static uint64_t limit_of(uint64_t capacity) {
    const uint64_t slack = capacity / 8 + (uint64_t{64} << 20);
    return capacity > UINT64_MAX - slack ? UINT64_MAX : capacity + slack;
  }

  const std::shared_ptr<const Contents> contents_;
  const Disk& disk_;  // of contents_
  const std::unique_ptr<Checker> checker_;
  std::vector<char> buffer_;
  GzipReader reader_;
  bool at_end_ = false;
};

}  // namespace

std::unique_ptr<Source> open_source(std::shared_ptr<const Contents> contents, const Disk& disk,
                                    bool verify) {
  std::unique_ptr<Checker> checker = verify ? make_checker(*contents, disk) : nullptr;
  if (disk.gzip) return std::make_unique<GzipSource>(std::move(contents), disk, std::move(checker));
  return std::make_unique<SeekSource>(std::move(contents), disk, std::move(checker));
}

}  // namespace hyper::ovf
