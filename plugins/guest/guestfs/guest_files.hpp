// SPDX-License-Identifier: Apache-2.0
// The files of a guest, mounted as the guest mounts them. Paths are absolute in the guest, whose
// symbolic links never lead out of it. Content is hostile: reads are bounded. One thread.
#ifndef HYPERHOST_GUESTFS_GUEST_FILES_HPP
#define HYPERHOST_GUESTFS_GUEST_FILES_HPP

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace hyperhost::guestfs {

constexpr uint64_t kMostFileBytes = 8u << 20;  ///< read() refuses longer files
constexpr std::size_t kMostNames = 4096;       ///< list() refuses longer directories

class GuestFiles {
 public:
  virtual ~GuestFiles() = default;
  virtual bool is_file(const std::string& path) = 0;
  virtual bool is_directory(const std::string& path) = 0;
  /// nullopt: there is no such regular file. Throws hyper::Error where it cannot be read.
  virtual std::optional<std::string> read(const std::string& path) = 0;
  /// At most `most` bytes from `offset` on; fewer where the file ends. REQUIRES: a regular file.
  virtual std::string read_part(const std::string& path, uint64_t offset, uint64_t most) = 0;
  /// Names in order; empty if there is no such directory.
  virtual std::vector<std::string> list(const std::string& directory) = 0;
  virtual uint64_t size(const std::string& path) = 0;
  /// Of the file system that holds the path.
  virtual uint64_t free_bytes(const std::string& path) = 0;
  /// "sha256:…"; "" if there is no such file.
  virtual std::string digest(const std::string& path) = 0;

  /// Keeps owner and mode of a file that exists; makes missing directories.
  virtual void write(const std::string& path, const std::string& content) = 0;
  virtual void remove(const std::string& path) = 0;
  virtual void copy(const std::string& from, const std::string& to) = 0;
  /// Runs a program of the guest, in the guest. Throws hyper::Error with its messages if it fails.
  virtual std::string run(const std::vector<std::string>& command) = 0;
};

}  // namespace hyperhost::guestfs

#endif
