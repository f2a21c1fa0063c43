// SPDX-License-Identifier: Apache-2.0
#include "plugins/storage/local/local_source.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace hyperhost::storage_local {
namespace {
constexpr uint64_t kReadChunk = 16u << 20;  // between two looks at cancel
}

LocalSource::LocalSource(UniqueFd fd, std::string path)
    : fd_(std::move(fd)), path_(std::move(path)) {
  struct stat info {};
  if (::fstat(fd_.get(), &info) != 0)
    throw hyper::errno_error(errno, "cannot look at \"" + path_ + "\"");
  if (!S_ISREG(info.st_mode))
    throw hyper::Error(HYPER_UNSUPPORTED, "\"" + path_ + "\" is not a regular file");
  length_ = static_cast<uint64_t>(info.st_size);
}

hyper::SourceTraits LocalSource::traits() const {
  hyper::SourceTraits traits;
  traits.flags = HYPER_SOURCE_SEEK | HYPER_SOURCE_EXTENTS | HYPER_SOURCE_FILE;
  traits.length = length_;
  traits.max_parallel = 64;
  return traits;
}

void LocalSource::read_at(hyper::Op op, uint64_t offset, void* buf, uint64_t len) {
  auto* to = static_cast<char*>(buf);
  while (len > 0) {
    op.check_cancelled();
    const ssize_t got = ::pread(fd_.get(), to, static_cast<std::size_t>(std::min(len, kReadChunk)),
                                static_cast<off_t>(offset));
    if (got < 0) {
      if (errno == EINTR) continue;
      throw hyper::errno_error(errno,
                               "cannot read \"" + path_ + "\" at offset " + std::to_string(offset));
    }
    if (got == 0)
      throw hyper::Error(HYPER_CORRUPT, "\"" + path_ + "\" became shorter while it was read");
    to += got;
    offset += static_cast<uint64_t>(got);
    len -= static_cast<uint64_t>(got);
  }
}

void LocalSource::extents(hyper::Op op, uint64_t offset, uint64_t len,
                          const hyper::EmitExtent& emit) {
  if (offset > length_ || len > length_ - offset)
    throw hyper::Error(HYPER_FAIL, "extents beyond the end of the source");
  const uint64_t end = offset + len;
  while (offset < end) {
    op.check_cancelled();
    const hyper::SparseRuns::Run run =
        runs_.at(offset, length_, [this](uint64_t at, bool data) -> std::optional<uint64_t> {
          // lseek moves the descriptor's position, which nothing uses.
          const off_t found =
              ::lseek(fd_.get(), static_cast<off_t>(at), data ? SEEK_DATA : SEEK_HOLE);
          if (found >= 0) return static_cast<uint64_t>(found);
          return data && errno == ENXIO ? std::optional(length_) : std::nullopt;
        });
    const uint64_t until = std::min(run.end, end);
    emit(offset, until - offset, run.data ? 0 : HYPER_EXTENT_ZERO | HYPER_EXTENT_HOLE);
    offset = until;
  }
}

hyper::FileRange LocalSource::locate(hyper::Op) {
  return {path_, 0, length_};
}

}  // namespace hyperhost::storage_local
