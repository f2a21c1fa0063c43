// SPDX-License-Identifier: Apache-2.0
#include "file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <limits>

#include <hyper/error.hpp>

namespace hyper::ovf {
namespace {

constexpr int kReadFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

constexpr std::size_t kAnnounceFrom = 256 * 1024;
constexpr uint64_t kAhead = 8 * 1024 * 1024;

Stamp stamp_of(const struct stat& info) {
  return {info.st_dev, info.st_ino, static_cast<uint64_t>(info.st_size),
          int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec,
          int64_t{info.st_ctim.tv_sec} * 1'000'000'000 + info.st_ctim.tv_nsec};
}

std::string absolute(const std::string& path) {
  return std::filesystem::absolute(path).lexically_normal().string();
}

[[noreturn]] void refuse_link(const std::string& path) {
  throw Error(HYPER_AUTH, "'" + path + "' is a symbolic link, which could lead out of the package")
      .hint("Put the file itself in its place.");
}

}  // namespace

Fd::~Fd() {
  if (fd_ >= 0) ::close(fd_);
}

File::File(int fd, std::string path) : fd_(fd), path_(std::move(path)) {
  struct stat info {};
  if (::fstat(fd_, &info) != 0) {
    const int error = errno;
    ::close(fd_);
    throw errno_error(error, "'" + path_ + "' cannot be examined");
  }
  if (!S_ISREG(info.st_mode)) {
    ::close(fd_);
    throw Error(HYPER_CONFIG, "'" + path_ + "' is not a regular file");
  }
  stamp_ = stamp_of(info);
  allocated_ = static_cast<uint64_t>(info.st_blocks) * 512;
}

File::~File() {
  ::close(fd_);
}

std::shared_ptr<const File> File::open(const std::string& path) {
  const int fd = ::open(path.c_str(), kReadFlags);
  if (fd < 0) throw errno_error(errno, "'" + path + "' cannot be opened for reading");
  return std::shared_ptr<const File>(new File(fd, absolute(path)));
}

std::shared_ptr<const File> File::open_beneath(int directory, const std::string& directory_path,
                                               const std::string& name) {
  Fd held;
  int at = directory;
  const std::string path = directory_path + "/" + name;
  for (std::size_t begin = 0;;) {
    const std::size_t slash = name.find('/', begin);
    const std::string part = name.substr(begin, slash - begin);
    const bool last = slash == std::string::npos;
    if (!last && (part.empty() || part == ".")) {
      begin = slash + 1;
      continue;
    }
    struct stat info {};
    if (::fstatat(at, part.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT || errno == ENOTDIR || errno == ENAMETOOLONG) return nullptr;
      throw errno_error(errno, "'" + path + "' cannot be examined");
    }
    if (S_ISLNK(info.st_mode)) refuse_link(path);
    if (last && !S_ISREG(info.st_mode))
      throw Error(HYPER_AUTH, "'" + path + "' is not a regular file");
    const int fd = ::openat(at, part.c_str(), kReadFlags | O_NOFOLLOW | (last ? 0 : O_DIRECTORY));
    if (fd < 0 && errno == ELOOP) refuse_link(path);
    if (fd < 0 && errno == ENOTDIR) return nullptr;
    if (fd < 0) throw errno_error(errno, "'" + path + "' cannot be opened for reading");
    if (last) return std::shared_ptr<const File>(new File(fd, absolute(path)));
    held = Fd(fd);
    at = held.get();
    begin = slash + 1;
  }
}

std::size_t File::read_some(uint64_t offset, void* buf, std::size_t len) const {
  std::size_t done = 0;
  // Several readers in turns look random to the kernel: advise it of what comes.
  if (len >= kAnnounceFrom && offset < stamp_.size)
    ::posix_fadvise(fd_, static_cast<off_t>(offset + kAhead), static_cast<off_t>(len),
                    POSIX_FADV_WILLNEED);
  while (done < len) {
    if (offset + done > static_cast<uint64_t>(std::numeric_limits<off_t>::max())) break;
    const ssize_t got =
        ::pread(fd_, static_cast<char*>(buf) + done, len - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0)
      throw errno_error(errno,
                        "reading '" + path_ + "' failed at byte " + std::to_string(offset + done));
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

SparseRuns::Run File::run_at(uint64_t offset) const {
  return runs_.at(offset, stamp_.size, [this](uint64_t at, bool data) -> std::optional<uint64_t> {
    const off_t found = ::lseek(fd_, static_cast<off_t>(at), data ? SEEK_DATA : SEEK_HOLE);
    if (found >= 0) return static_cast<uint64_t>(found);
    return data && errno == ENXIO ? std::optional(stamp_.size) : std::nullopt;
  });
}

void File::check_unchanged() const {
  struct stat now {
  }, there{};
  const bool same = ::fstat(fd_, &now) == 0 && stamp_of(now) == stamp_ &&
                    ::stat(path_.c_str(), &there) == 0 && stamp_of(there) == stamp_;
  if (!same)
    throw Error(HYPER_CORRUPT, "'" + path_ + "' was changed or replaced while it was being read")
        .hint("Run the migration again once nothing writes to the file any more.");
}

Range::Range(std::vector<Piece> pieces) : pieces_(std::move(pieces)) {
  for (const Piece& piece : pieces_) {
    starts_.push_back(size_);
    if (__builtin_add_overflow(size_, piece.length, &size_))
      throw Error(HYPER_CORRUPT, "the sizes of the files of '" + piece.name + "' overflow");
  }
}

std::pair<const Piece*, uint64_t> Range::at(uint64_t offset) const {
  const auto after = std::upper_bound(starts_.begin(), starts_.end(), offset);
  const auto index = static_cast<std::size_t>(after - starts_.begin()) - 1;
  return {&pieces_[index], starts_[index]};
}

void Range::read(uint64_t offset, void* buf, uint64_t len) const {
  auto* out = static_cast<char*>(buf);
  while (len != 0) {
    const auto [piece, start] = at(offset);
    const uint64_t inside = offset - start;
    const uint64_t here = std::min(len, piece->length - inside);
    if (piece->file->read_some(piece->offset + inside, out, here) != here)
      throw Error(HYPER_CORRUPT, "'" + piece->file->path() + "' ended while '" + piece->name +
                                     "' was being read: it became shorter");
    offset += here;
    out += here;
    len -= here;
  }
}

void Range::check_unchanged() const {
  const File* last = nullptr;  // the pieces of an archive share one file
  for (const Piece& piece : pieces_)
    if (piece.file.get() != last) (last = piece.file.get())->check_unchanged();
}

void check_inside(const std::string& name, const std::string& whose) {
  bool out = name.empty() || name.front() == '/' || name.find("://") != std::string::npos ||
             name.rfind("file:", 0) == 0;
  for (const char c : name) out = out || static_cast<unsigned char>(c) < 0x20;
  for (std::size_t begin = 0; begin <= name.size();) {
    const std::size_t slash = std::min(name.find('/', begin), name.size());
    out = out || name.compare(begin, slash - begin, "..") == 0;
    begin = slash + 1;
  }
  if (out)
    throw Error(HYPER_AUTH, whose + " refers to '" + name + "', which is not inside the package")
        .hint("A package must hold its files itself, under relative names without '..'.");
}

}  // namespace hyper::ovf
