// SPDX-License-Identifier: Apache-2.0
// A file layer for tests, loaded in front of libc (LD_PRELOAD). Three things, by the environment:
//
//   HYPERHOST_FAULTY_SHADOW=DIR
//       What fsync made durable is kept in DIR: the content of a file as of its last fsync or
//       fdatasync (DIR/file-INODE), the names in a directory as of its last fsync (DIR/names-INODE,
//       a line "INODE NAME" each). After a SIGKILL the test makes from it what a power cut could
//       have left (power_cut.py).
//   HYPERHOST_FAULTY_ERRNO=N
//       Writes below HYPERHOST_FAULTY_UNDER fail with N once HYPERHOST_FAULTY_AFTER bytes were
//       written there.
//   HYPERHOST_FAULTY_SYNC=N
//       The first sync of a file below HYPERHOST_FAULTY_UNDER fails with N, as where the system
//       could not write what it held back.
//
// Only files below HYPERHOST_FAULTY_UNDER (directories, separated by colons) are looked at.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <vector>

namespace {

template <class F>
F real(const char* name) {
  return reinterpret_cast<F>(::dlsym(RTLD_NEXT, name));
}

const std::vector<std::string>& roots() {
  // Never destroyed: files are closed, and synced, after the statics are gone.
  static const std::vector<std::string>& list = *[] {
    auto* made = new std::vector<std::string>;
    std::vector<std::string>& out = *made;
    const char* text = std::getenv("HYPERHOST_FAULTY_UNDER");
    for (std::string rest = text == nullptr ? "" : text; !rest.empty();) {
      const std::size_t end = rest.find(':');
      out.push_back(rest.substr(0, end));
      rest = end == std::string::npos ? "" : rest.substr(end + 1);
    }
    return made;
  }();
  return list;
}

std::string path_of(int fd) {
  char link[64], path[PATH_MAX];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t size = ::readlink(link, path, sizeof path);
  return size > 0 ? std::string(path, static_cast<std::size_t>(size)) : std::string();
}

bool watched(int fd) {
  const std::string path = path_of(fd);
  for (const std::string& root : roots())
    if (path == root || path.rfind(root + "/", 0) == 0) return true;
  return false;
}

/// Data only, holes stay holes; under its name once it is whole.
void keep_file(int fd, const struct stat& info, const std::string& shadow) {
  const std::string name = shadow + "/file-" + std::to_string(info.st_ino);
  static std::atomic<unsigned> number{0};
  const std::string part =
      name + ".part-" + std::to_string(::getpid()) + "-" + std::to_string(++number);
  const int own = ::open(path_of(fd).c_str(), O_RDONLY | O_CLOEXEC);
  const int from = own >= 0 ? own : fd;
  const int to = ::open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (to < 0) std::abort();
  static const auto write = real<ssize_t (*)(int, const void*, size_t, off_t)>("pwrite64");
  std::vector<char> buffer(1 << 20);
  for (off_t at = 0; at < info.st_size;) {
    const off_t data = ::lseek(from, at, SEEK_DATA);
    if (data < 0) break;
    off_t hole = ::lseek(from, data, SEEK_HOLE);
    if (hole < 0) hole = info.st_size;
    for (at = data; at < hole;) {
      const ssize_t got = ::pread(from, buffer.data(),
                                  std::min(buffer.size(), static_cast<std::size_t>(hole - at)), at);
      if (got <= 0) break;
      if (write(to, buffer.data(), static_cast<std::size_t>(got), at) != got) std::abort();
      at += got;
    }
    at = hole;
  }
  if (::ftruncate(to, info.st_size) != 0) std::abort();
  ::close(to);
  if (own >= 0) ::close(own);
  if (::rename(part.c_str(), name.c_str()) != 0) std::abort();
}

void keep_names(int fd, const struct stat& info, const std::string& shadow) {
  const std::string name = shadow + "/names-" + std::to_string(info.st_ino);
  const std::string part = name + ".part-" + std::to_string(::getpid());
  DIR* directory = ::opendir(path_of(fd).c_str());
  std::FILE* out = std::fopen(part.c_str(), "w");
  if (directory == nullptr || out == nullptr) std::abort();
  while (const dirent* entry = ::readdir(directory))
    if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0)
      std::fprintf(out, "%llu %s\n", static_cast<unsigned long long>(entry->d_ino), entry->d_name);
  ::closedir(directory);
  std::fclose(out);
  if (::rename(part.c_str(), name.c_str()) != 0) std::abort();
}

void made_durable(int fd) {
  const char* shadow = std::getenv("HYPERHOST_FAULTY_SHADOW");
  struct stat info {};
  if (shadow == nullptr || ::fstat(fd, &info) != 0 || !watched(fd)) return;
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  if (S_ISDIR(info.st_mode))
    keep_names(fd, info, shadow);
  else if (S_ISREG(info.st_mode))
    keep_file(fd, info, shadow);
}

/// The errno that the write is to fail with; 0 = none.
int fault(int fd, size_t length) {
  static const char* number = std::getenv("HYPERHOST_FAULTY_ERRNO");
  if (number == nullptr || !watched(fd)) return 0;
  static const long long after = std::strtoll(std::getenv("HYPERHOST_FAULTY_AFTER"), nullptr, 10);
  static std::atomic<long long> written{0};
  if (written.fetch_add(static_cast<long long>(length)) < after) return 0;
  return static_cast<int>(std::strtol(number, nullptr, 10));
}

/// Whether this sync is the one that is to fail.
bool sync_fails(int fd) {
  static const char* number = std::getenv("HYPERHOST_FAULTY_SYNC");
  static std::atomic<bool> failed{false};
  struct stat info {};
  if (number == nullptr || ::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || !watched(fd) ||
      failed.exchange(true))
    return false;
  errno = static_cast<int>(std::strtol(number, nullptr, 10));
  return true;
}

}  // namespace

extern "C" {

// Failing before it, as if the power went just then, is what the SIGKILL of the test is for.
int fsync(int fd) {
  static const auto call = real<int (*)(int)>("fsync");
  if (sync_fails(fd)) return -1;
  const int status = call(fd);
  if (status == 0) made_durable(fd);
  return status;
}

int fdatasync(int fd) {
  static const auto call = real<int (*)(int)>("fdatasync");
  if (sync_fails(fd)) return -1;
  const int status = call(fd);
  if (status == 0) made_durable(fd);
  return status;
}

ssize_t pwrite64(int fd, const void* data, size_t length, off64_t offset) {
  static const auto call = real<ssize_t (*)(int, const void*, size_t, off64_t)>("pwrite64");
  if (const int error = fault(fd, length)) {
    errno = error;
    return -1;
  }
  return call(fd, data, length, offset);
}

ssize_t pwrite(int fd, const void* data, size_t length, off_t offset) {
  return pwrite64(fd, data, length, offset);
}

}  // extern "C"
