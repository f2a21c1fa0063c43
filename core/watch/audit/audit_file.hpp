// SPDX-License-Identifier: Apache-2.0
// The file under an AuditLogger: append under a lock between processes, chain, rotate, recover a
// torn last line. Owned by one AuditLogger, which serialises its calls.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/watch/audit/audit_chain.hpp"
#include "core/watch/audit/audit_logger.hpp"

namespace hyperhost {

/// An open file descriptor; -1 = none.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(other.release()) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor();

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int release();

 private:
  int fd_ = -1;
};

/// flock() on an open file for as long as this lives. Gives up after two seconds with an Error:
/// a stopped process that holds the lock must not stop this one.
class FileLock {
 public:
  FileLock(int fd, int operation);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int fd_;
};

class AuditFile {
 public:
  AuditFile(std::filesystem::path path, uint64_t max_bytes, unsigned keep);

  /// Opens log and head and repairs what a crash left. Throws Error.
  void open();
  /// Completes `object` with event_id, seq and prev_hash, appends it and, when `sync`, waits
  /// until it is on the disk. Returns the line. Throws Error; unless only the sync
  /// failed, the log then has no part of it.
  std::string append(const nlohmann::ordered_json& object, bool sync);

 private:
  void open_files();
  void reopen_if_moved();
  void read_head();
  void adopt_tail();
  void rotate();
  std::string write_line(const nlohmann::ordered_json& object);
  void write_note(const char* action, const std::string& description);
  void store_head();

  const std::filesystem::path path_;
  const uint64_t max_bytes_;
  const unsigned keep_;
  FileDescriptor log_, head_file_;
  AuditHead head_;
  uint64_t expected_size_ = 0;
  bool known_ = false;  // the log's tail is the line head_ describes
};

}  // namespace hyperhost
