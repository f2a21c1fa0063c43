// SPDX-License-Identifier: Apache-2.0
#include "core/disk/local_sources.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <hyper/source.hpp>
#include <hyper/sparse_runs.hpp>
#include <optional>

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
    // Several readers in turns look random to the kernel: advise it of what comes.
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
      const hyper::SparseRuns::Run run =
          runs_.at(offset, length_, [this](uint64_t at, bool data) -> std::optional<uint64_t> {
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

  hyper::FileRange locate(hyper::Op) override { return {path_, 0, length_}; }

  std::unique_ptr<hyper::Source> sibling(hyper::Op, const std::string& name) override {
    if (name.empty() || name.find('/') != std::string::npos || name == "." || name == "..")
      throw hyper::Error(HYPER_AUTH, "'" + name + "' is not in the directory of " + path_);
    const std::string path = (std::filesystem::path(path_).parent_path() / name).string();
    Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd.valid()) throw hyper::errno_error(errno, "open " + path);
    return std::make_unique<FileSource>(path, std::move(fd), "");
  }

 private:
  std::string path_, format_;
  Fd fd_;
  uint64_t length_ = 0;
  hyper::SparseRuns runs_;
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

std::unique_ptr<hyper::Source> file_source(const std::string& path, const std::string& format) {
  const std::string absolute = std::filesystem::absolute(path).lexically_normal().string();
  // Without O_NONBLOCK a FIFO would block here for ever.
  Fd fd(::open(absolute.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) throw hyper::errno_error(errno, "open " + path);
  return std::make_unique<FileSource>(absolute, std::move(fd), format);
}

std::unique_ptr<SourceHandle> open_file_source(const std::string& path, const std::string& format) {
  static_cast<void>(host_table());
  auto handle = std::make_unique<SourceHandle>();
  try {
    hyper::export_source(file_source(path, format), handle->out());
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
