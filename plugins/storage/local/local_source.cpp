// SPDX-License-Identifier: Apache-2.0
#include "plugins/storage/local/local_source.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace hyperhost::storage_local {
namespace {
constexpr uint64_t kChunk = 16u << 20;  // between two looks at cancel
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
    const ssize_t got = ::pread(fd_.get(), to, static_cast<std::size_t>(std::min(len, kChunk)),
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
    // The position of the descriptor, which SEEK_DATA moves, is used by nobody.
    const off_t data = ::lseek(fd_.get(), static_cast<off_t>(offset), SEEK_DATA);
    uint64_t data_at = end;
    if (data >= 0)
      data_at = std::min(static_cast<uint64_t>(data), end);
    else if (errno != ENXIO)
      data_at = offset;  // a file system that cannot say: all data
    emit(offset, data_at - offset, HYPER_EXTENT_ZERO | HYPER_EXTENT_HOLE);
    offset = data_at;
    if (offset >= end) break;
    const off_t hole = ::lseek(fd_.get(), static_cast<off_t>(offset), SEEK_HOLE);
    const uint64_t hole_at =
        hole > static_cast<off_t>(offset) ? std::min(static_cast<uint64_t>(hole), end) : end;
    emit(offset, hole_at - offset, 0);
    offset = hole_at;
  }
}

hyper::FileRange LocalSource::locate() {
  return {path_, 0, length_};
}

}  // namespace hyperhost::storage_local
