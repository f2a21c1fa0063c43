// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <hyper/sparse_runs.hpp>
#include <mutex>
#include <optional>

#include "engine/bytes.hpp"
#include "engine/input.hpp"
#include "format/probe.hpp"

namespace hyper::disk {
namespace {

class RawMap : public ImageMap {
 public:
  RawMap(Op op, const SourceRef& file) : file_(file) {
    if (!file.can(HYPER_SOURCE_FILE) || file.can(HYPER_SOURCE_EXTENTS)) return;
    const FileRange range = file.locate(op);
    fd_ = Descriptor(::open(range.path.c_str(), O_RDONLY | O_CLOEXEC));
    start_ = range.offset;
  }
  /// Whole sectors, as QEMU and every other virtual machine monitor has it: the rest is zeros.
  uint64_t virtual_size() const override { return round_up(file_.length(), 512); }
  std::string format() const override { return "raw"; }
  std::string subformat() const override { return {}; }

  void map(Op op, uint64_t offset, uint64_t length, const OnMapped& on_mapped) const override {
    const auto emit = [&](uint64_t at, uint64_t len, bool zero, bool hole) {
      if (len == 0) return;
      Mapped piece;
      piece.guest_offset = at;
      piece.length = len;
      piece.zero = zero;
      piece.hole = hole;
      if (!zero) {
        piece.file = &file_;
        piece.file_offset = at;
      }
      on_mapped(piece);
    };
    const uint64_t last = offset + length, end = std::min(last, file_.length());
    if (offset >= end) return emit(offset, length, true, true);
    if (file_.can(HYPER_SOURCE_EXTENTS)) {
      const std::lock_guard lock(mutex_);
      file_.extents(op, offset, end - offset, [&](const hyper_extent& extent) {
        emit(extent.offset, extent.length, (extent.flags & HYPER_EXTENT_ZERO) != 0,
             (extent.flags & HYPER_EXTENT_HOLE) != 0);
      });
      return emit(end, last - end, true, true);
    }
    while (offset < end) {
      op.check_cancelled();
      const SparseRuns::Run run =
          fd_.get() < 0 ? SparseRuns::Run{offset, end, true}
                        : runs_.at(offset, file_.length(), [this](uint64_t at, bool data) {
                            return seek(at, data ? SEEK_DATA : SEEK_HOLE);
                          });
      const uint64_t until = std::min(run.end, end);
      emit(offset, until - offset, !run.data, !run.data);
      offset = until;
    }
    emit(end, last - end, true, true);
  }

 private:
  std::optional<uint64_t> seek(uint64_t offset, int whence) const {
    const off_t at = ::lseek(fd_.get(), static_cast<off_t>(start_ + offset), whence);
    if (at < 0 && errno == ENXIO && whence == SEEK_DATA && whole()) return file_.length();
    if (at < 0) return std::nullopt;
    return std::max(static_cast<uint64_t>(at), start_ + offset) - start_;
  }

  /// Whether the file still reaches as far as it did: one that was cut short has no zeros there,
  /// so it is read, and found to be truncated.
  bool whole() const {
    struct stat info {};
    return ::fstat(fd_.get(), &info) == 0 &&
           static_cast<uint64_t>(info.st_size) >= start_ + file_.length();
  }

  SourceRef file_;
  Descriptor fd_;
  uint64_t start_ = 0;
  mutable SparseRuns runs_;
  mutable std::mutex mutex_;
};

}  // namespace

std::unique_ptr<ImageMap> open_raw(Op op, const SourceRef& file, const Backing&) {
  return std::make_unique<RawMap>(op, file);
}

}  // namespace hyper::disk
