// SPDX-License-Identifier: Apache-2.0
// The bytes of an image where they lie: a whole file, or a range of one (a member of an archive).
// For looking at headers before QEMU does. Owns its descriptor; one thread at a time.
#ifndef HYPERHOST_QEMU_IMG_FILE_VIEW_HPP
#define HYPERHOST_QEMU_IMG_FILE_VIEW_HPP

#include <cstdint>
#include <hyper/source.hpp>
#include <string>
#include <vector>

namespace hyperhost::qemu_img {

class FileView {
 public:
  /// Throws unless it is a regular file or a block device that holds the range.
  explicit FileView(hyper::FileRange range);
  FileView(const FileView&) = delete;
  FileView& operator=(const FileView&) = delete;
  ~FileView();

  const std::string& path() const { return range_.path; }
  uint64_t offset() const { return range_.offset; }
  uint64_t length() const { return range_.length; }
  uint64_t file_length() const { return file_length_; }
  bool whole() const { return range_.offset == 0 && range_.length == file_length_; }
  bool block_device() const { return block_device_; }
  /// For messages: the path, and the range where it is not the whole file.
  std::string shown() const;

  /// Up to len bytes at `at` of the range; fewer at its end.
  std::vector<unsigned char> read(uint64_t at, std::size_t len) const;
  /// The bytes between the range's end and `length` (both relative to its start) are zeros or
  /// beyond the end of the file.
  bool zeros_behind(uint64_t length) const;

 private:
  std::vector<unsigned char> read_file(uint64_t at, std::size_t len) const;

  hyper::FileRange range_;
  int fd_ = -1;
  uint64_t file_length_ = 0;
  bool block_device_ = false;
};

/// Whole file at `path`, not through a symbolic link.
hyper::FileRange whole_file(const std::string& path);

}  // namespace hyperhost::qemu_img

#endif
