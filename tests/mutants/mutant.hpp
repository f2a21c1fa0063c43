// SPDX-License-Identifier: Apache-2.0
// Which fault this process has, by the variable HYPER_MUTANT; none: a plugin without one. The
// faults are those that authors make, in plugins as the templates begin them. mutants.py lists them
// with the case that finds each.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <hyper/plugin.hpp>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace mutants {

namespace fs = std::filesystem;

inline bool mutant(const char* name) {
  static const char* const wanted = std::getenv("HYPER_MUTANT");
  return wanted != nullptr && std::strcmp(wanted, name) == 0;
}

/// What only grows and is never a leak to a leak checker, since it can be reached.
inline void forget(std::size_t bytes) {
  static std::mutex mutex;
  static std::vector<char*> all = [] {
    std::vector<char*> made;
    made.reserve(1u << 16);
    return made;
  }();
  const std::lock_guard lock(mutex);
  all.push_back(new char[bytes]);
}

inline void forget_descriptor() {
  static_cast<void>(::open("/dev/null", O_RDONLY | O_CLOEXEC));
}

inline void leave_temporary_file(const char* name) {
  const char* directory = std::getenv("TMPDIR");
  const fs::path path = fs::path(directory == nullptr ? "/tmp" : directory) / name;
  const int fd = ::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  if (fd >= 0) ::close(fd);
}

/// Reads at the descriptor's own position: two threads disturb each other.
inline ssize_t seek_and_read(int fd, void* buf, uint64_t len, uint64_t offset) {
  if (::lseek(fd, static_cast<off_t>(offset), SEEK_SET) < 0) return -1;
  std::this_thread::yield();  // as between two requests of a protocol
  return ::read(fd, buf, len);
}

inline void read_all(int fd, hyper::Op op, uint64_t offset, void* buf, uint64_t len, bool racy) {
  for (auto* out = static_cast<char*>(buf); len > 0;) {
    op.check_cancelled();
    const ssize_t got = racy ? seek_and_read(fd, out, len, offset)
                             : ::pread(fd, out, len, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw hyper::errno_error(errno, "read a file");
    if (got == 0) throw hyper::Error(HYPER_CORRUPT, "the file became shorter");
    out += got;
    offset += static_cast<uint64_t>(got);
    len -= static_cast<uint64_t>(got);
  }
}

/// A file as a source. faults: those of a provider's disks; storages read without them.
class File : public hyper::Source {
 public:
  explicit File(const fs::path& path) : path_(path) {
    fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd_ < 0) throw hyper::errno_error(errno, "open " + path.string());
    struct stat info {};
    ::fstat(fd_, &info);
    length_ = static_cast<uint64_t>(info.st_size);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() override { ::close(fd_); }
  hyper::SourceTraits traits() const override {
    hyper::SourceTraits traits;
    traits.flags = HYPER_SOURCE_SEEK;
    traits.length = length_;
    traits.max_parallel = 8;
    return traits;
  }
  void read_at(hyper::Op op, uint64_t offset, void* buf, uint64_t len) override {
    read_all(fd_, op, offset, buf, len, false);
  }

 protected:
  const fs::path path_;
  int fd_ = -1;
  uint64_t length_ = 0;
};

}  // namespace mutants
