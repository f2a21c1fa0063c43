// SPDX-License-Identifier: Apache-2.0
#include "core/disk/local_sources.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <hyper/source.hpp>
#include <mutex>

#include "core/os/fd.hpp"

namespace hyperhost {
namespace {

constexpr uint64_t kAnnounceFrom = 256 * 1024;
constexpr uint64_t kAhead = 8 * 1024 * 1024;

class FileSource final : public hyper::Source {
 public:
  FileSource(std::string path, Fd fd, std::string format)
      : path_(std::move(path)), format_(std::move(format)), fd_(std::move(fd)) {
    struct stat status {};
    if (::fstat(fd_.get(), &status) != 0) throw hyper::errno_error(errno, "read " + path_);
    if (S_ISBLK(status.st_mode)) {
      const off_t end = ::lseek(fd_.get(), 0, SEEK_END);
      if (end < 0) throw hyper::errno_error(errno, "measure " + path_);
      length_ = static_cast<uint64_t>(end);
    } else if (S_ISREG(status.st_mode)) {
      length_ = static_cast<uint64_t>(status.st_size);
    } else {
      throw hyper::Error(HYPER_UNSUPPORTED, path_ + " is neither a file nor a block device");
    }
  }

  hyper::SourceTraits traits() const override {
    hyper::SourceTraits traits;
    traits.flags =
        HYPER_SOURCE_SEEK | HYPER_SOURCE_FILE | HYPER_SOURCE_EXTENTS | HYPER_SOURCE_SIBLING;
    traits.length = length_;
    traits.max_parallel = 64;
    traits.format = format_;
    return traits;
  }

  void read_at(hyper::Op, uint64_t offset, void* buffer, uint64_t length) override {
    auto* out = static_cast<char*>(buffer);
    // Several readers in turns look like no sequence to the kernel: it is told what comes.
    if (length >= kAnnounceFrom)
      ::posix_fadvise(fd_.get(), static_cast<off_t>(offset + kAhead), static_cast<off_t>(length),
                      POSIX_FADV_WILLNEED);
    while (length > 0) {
      const ssize_t got = ::pread(fd_.get(), out, length, static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw hyper::errno_error(errno, "read " + path_);
      if (got == 0) throw hyper::Error(HYPER_CORRUPT, path_ + " became shorter while it was read");
      out += got;
      offset += static_cast<uint64_t>(got);
      length -= static_cast<uint64_t>(got);
    }
  }

  void extents(hyper::Op op, uint64_t offset, uint64_t length,
               const hyper::EmitExtent& emit) override {
    const uint64_t end = offset + length;
    while (offset < end) {
      op.check_cancelled();
      const off_t data = in_known_data(offset)
                             ? static_cast<off_t>(offset)
                             : ::lseek(fd_.get(), static_cast<off_t>(offset), SEEK_DATA);
      if (data < 0 && errno != ENXIO) {  // not a file system that tells
        emit(offset, end - offset, 0);
        return;
      }
      const uint64_t begin = data < 0 ? end : std::min(static_cast<uint64_t>(data), end);
      emit(offset, begin - offset, HYPER_EXTENT_ZERO | HYPER_EXTENT_HOLE);
      if (begin == end) return;
      const uint64_t stop = std::min(data_end(begin), end);
      emit(begin, stop - begin, 0);
      offset = stop;
    }
  }

  hyper::FileRange locate() override { return {path_, 0, length_}; }

  std::unique_ptr<hyper::Source> sibling(hyper::Op, const std::string& name) override {
    if (name.empty() || name.find('/') != std::string::npos || name == "." || name == "..")
      throw hyper::Error(HYPER_AUTH, "'" + name + "' is not in the directory of " + path_);
    const std::string path = (std::filesystem::path(path_).parent_path() / name).string();
    Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd.valid()) throw hyper::errno_error(errno, "open " + path);
    return std::make_unique<FileSource>(path, std::move(fd), "");
  }

 private:
  bool in_known_data(uint64_t offset) {
    const std::lock_guard lock(known_mutex_);
    return offset >= known_begin_ && offset < known_end_;
  }

  /// Where the data at `begin` ends. The last answer is kept: the kernel walks to the next hole
  /// however far that is, and on some file systems page by page, while callers ask in windows.
  uint64_t data_end(uint64_t begin) {
    const std::lock_guard lock(known_mutex_);
    if (begin >= known_begin_ && begin < known_end_) return known_end_;
    const off_t hole = ::lseek(fd_.get(), static_cast<off_t>(begin), SEEK_HOLE);
    known_begin_ = begin;
    known_end_ = hole < 0 ? length_ : static_cast<uint64_t>(hole);
    return known_end_;
  }

  std::string path_, format_;
  Fd fd_;
  uint64_t length_ = 0;
  std::mutex known_mutex_;
  uint64_t known_begin_ = 0, known_end_ = 0;  ///< an extent of data
};

class BlankSource final : public hyper::Source {
 public:
  explicit BlankSource(uint64_t length) : length_(length) {}
  hyper::SourceTraits traits() const override {
    hyper::SourceTraits traits;
    traits.flags = HYPER_SOURCE_SEEK | HYPER_SOURCE_EXTENTS;
    traits.length = length_;
    traits.max_parallel = 64;
    traits.format = "raw";
    return traits;
  }
  void read_at(hyper::Op, uint64_t, void* buffer, uint64_t length) override {
    std::memset(buffer, 0, length);
  }
  void extents(hyper::Op, uint64_t offset, uint64_t length,
               const hyper::EmitExtent& emit) override {
    emit(offset, length, HYPER_EXTENT_ZERO | HYPER_EXTENT_HOLE);
  }

 private:
  uint64_t length_;
};

}  // namespace

std::unique_ptr<SourceHandle> open_file_source(const std::string& path, const std::string& format) {
  static_cast<void>(host_table());
  const std::string absolute = std::filesystem::absolute(path).lexically_normal().string();
  // Without O_NONBLOCK a FIFO would block here for ever.
  Fd fd(::open(absolute.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) throw errno_error(errno, "open " + path);
  auto handle = std::make_unique<SourceHandle>();
  try {
    hyper::export_source(std::make_unique<FileSource>(absolute, std::move(fd), format),
                         handle->out());
  } catch (const hyper::Error& error) {
    throw Error(static_cast<Code>(error.status()), error.what());
  }
  return handle;
}

std::unique_ptr<SourceHandle> open_blank_source(uint64_t length) {
  static_cast<void>(host_table());
  auto handle = std::make_unique<SourceHandle>();
  hyper::export_source(std::make_unique<BlankSource>(length), handle->out());
  return handle;
}

}  // namespace hyperhost
