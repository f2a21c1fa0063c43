// SPDX-License-Identifier: Apache-2.0
#include "plugins/converter/qemu-img/file_view.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace hyperhost::qemu_img {

FileView::FileView(hyper::FileRange range) : range_(std::move(range)) {
  if (range_.path.empty() || range_.path.front() != '/')
    throw hyper::Error(HYPER_FAIL, "the source's path \"" + range_.path + "\" is not absolute");
  // NONBLOCK: a FIFO must not hang us before it is refused.
  fd_ = ::open(range_.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd_ < 0) throw hyper::errno_error(errno, "cannot open \"" + range_.path + "\"");
  struct stat info {};
  const bool known = ::fstat(fd_, &info) == 0;
  block_device_ = known && S_ISBLK(info.st_mode);
  const off_t end = ::lseek(fd_, 0, SEEK_END);
  if (!known || (!S_ISREG(info.st_mode) && !block_device_) || end < 0) {
    ::close(fd_);
    throw hyper::Error(HYPER_UNSUPPORTED,
                       "\"" + range_.path + "\" is neither a regular file nor a block device");
  }
  file_length_ = static_cast<uint64_t>(end);
  if (range_.offset > file_length_ || range_.length > file_length_ - range_.offset) {
    ::close(fd_);
    throw hyper::Error(HYPER_CORRUPT, "\"" + range_.path + "\" is shorter than it should be",
                       std::to_string(file_length_) + " bytes, and " +
                           std::to_string(range_.length) + " at offset " +
                           std::to_string(range_.offset) + " are expected");
  }
}

FileView::~FileView() {
  ::close(fd_);
}

std::string FileView::shown() const {
  std::string text = "\"" + range_.path + "\"";
  if (!whole())
    text += " (" + std::to_string(range_.length) + " bytes at offset " +
            std::to_string(range_.offset) + ")";
  return text;
}

std::vector<unsigned char> FileView::read_file(uint64_t at, std::size_t len) const {
  std::vector<unsigned char> bytes(len);
  std::size_t have = 0;
  while (have < len) {
    const ssize_t got =
        ::pread(fd_, bytes.data() + have, len - have, static_cast<off_t>(at + have));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw hyper::errno_error(errno, "cannot read \"" + range_.path + "\"");
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
  }
  bytes.resize(have);
  return bytes;
}

std::vector<unsigned char> FileView::read(uint64_t at, std::size_t len) const {
  if (at >= range_.length) return {};
  return read_file(range_.offset + at,
                   static_cast<std::size_t>(std::min<uint64_t>(len, range_.length - at)));
}

bool FileView::zeros_behind(uint64_t length) const {
  if (length <= range_.length) return true;
  const std::vector<unsigned char> tail =
      read_file(range_.offset + range_.length, static_cast<std::size_t>(length - range_.length));
  return std::all_of(tail.begin(), tail.end(), [](unsigned char byte) { return byte == 0; });
}

hyper::FileRange whole_file(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0)
    throw hyper::errno_error(errno, "cannot find \"" + path + "\"");
  if (!S_ISREG(info.st_mode))
    throw hyper::Error(HYPER_AUTH,
                       "\"" + path + "\" is a link or no regular file and is not followed");
  return {path, 0, static_cast<uint64_t>(info.st_size)};
}

}  // namespace hyperhost::qemu_img
