// SPDX-License-Identifier: Apache-2.0
// Bytes of a package where they lie: an open file, a piece of it, a row of pieces read as one.
// Everything here is immutable once made and may be used from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <hyper/sparse_runs.hpp>
#include <memory>
#include <string>
#include <vector>

namespace hyper::ovf {

/// What tells whether a file is still the one that was opened. A writer can restore the time of
/// modification (cp -p, rsync -t); the kernel alone sets the time of change (inode(7), st_ctim).
struct Stamp {
  uint64_t device = 0, inode = 0, size = 0;
  int64_t mtime_ns = 0, ctime_ns = 0;
  bool operator==(const Stamp&) const = default;
};

/// A regular file open for reading; closed by the destructor.
class File {
 public:
  /// Opens a path the operator named (links are followed). Throws hyper::Error.
  static std::shared_ptr<const File> open(const std::string& path);
  /// Opens `name` below the directory, following no link on the way. nullptr if it is not there;
  /// throws where a link, a directory or a device is in its place. REQUIRES: check_inside(name).
  static std::shared_ptr<const File> open_beneath(int directory, const std::string& directory_path,
                                                  const std::string& name);
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  const std::string& path() const { return path_; }  ///< absolute
  uint64_t size() const { return stamp_.size; }
  uint64_t allocated() const { return allocated_; }  ///< bytes on disk; less than size if sparse
  const Stamp& stamp() const { return stamp_; }
  int fd() const { return fd_; }
  /// Up to len bytes; fewer only at the end of the file.
  std::size_t read_some(uint64_t offset, void* buf, std::size_t len) const;
  /// The run of data, or the hole, that `offset` lies in. REQUIRES: offset < size().
  SparseRuns::Run run_at(uint64_t offset) const;
  /// Throws if the file, or what its path leads to, is not as it was when opened.
  void check_unchanged() const;

 private:
  File(int fd, std::string path);
  int fd_;
  std::string path_;
  Stamp stamp_;
  uint64_t allocated_ = 0;
  mutable SparseRuns runs_;
};

/// Owns a descriptor.
class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Fd& operator=(Fd&& other) noexcept {
    const int mine = fd_;
    fd_ = other.fd_;
    other.fd_ = mine;
    return *this;
  }
  ~Fd();
  int get() const { return fd_; }

 private:
  int fd_;
};

/// A run of bytes within a file: a whole file, or a member of an archive.
struct Piece {
  std::shared_ptr<const File> file;
  uint64_t offset = 0, length = 0;
  std::string name;  ///< in the package
};

/// Pieces read as one sequence of bytes.
class Range {
 public:
  Range() = default;
  explicit Range(std::vector<Piece> pieces);

  uint64_t size() const { return size_; }
  const std::vector<Piece>& pieces() const { return pieces_; }
  /// Fills buf whole or throws. REQUIRES: offset + len <= size().
  void read(uint64_t offset, void* buf, uint64_t len) const;
  /// The piece that holds `offset`, and where that piece begins. REQUIRES: offset < size().
  std::pair<const Piece*, uint64_t> at(uint64_t offset) const;
  void check_unchanged() const;

 private:
  std::vector<Piece> pieces_;
  std::vector<uint64_t> starts_;
  uint64_t size_ = 0;
};

/// Throws HYPER_AUTH if a name of a package leads out of it: absolute, with "..", or a URL.
void check_inside(const std::string& name, const std::string& whose);

}  // namespace hyper::ovf
