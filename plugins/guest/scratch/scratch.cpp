// SPDX-License-Identifier: Apache-2.0
#include "plugins/guest/scratch/scratch.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <hyper/error.hpp>

namespace hyperhost::guest {
namespace {

namespace fs = std::filesystem;

/// Locks the directory; -1 if it is not this user's, another owner lives, or it is gone meanwhile.
int locked(const std::string& path, int how) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  struct stat here {
  }, there{};
  if (fd < 0) return -1;
  if (::fstat(fd, &here) == 0 && here.st_uid == ::geteuid() && ::flock(fd, how) == 0 &&
      ::lstat(path.c_str(), &there) == 0 && here.st_ino == there.st_ino &&
      here.st_dev == there.st_dev)
    return fd;
  ::close(fd);
  return -1;
}

/// Removes what killed owners left. The lock is held until the directory is gone.
void sweep(const std::string& parent, const std::string& prefix) {
  std::error_code ignored;
  for (fs::directory_iterator one(parent, ignored), end; one != end; one.increment(ignored)) {
    if (ignored) return;
    if (one->path().filename().string().rfind(prefix, 0) != 0) continue;
    const int lock = locked(one->path().string(), LOCK_EX | LOCK_NB);
    if (lock < 0) continue;
    fs::remove_all(one->path(), ignored);
    ::close(lock);
  }
}

}  // namespace

std::string temporary_directory() {
  const char* set = std::getenv("TMPDIR");
  return set != nullptr && set[0] == '/' ? set : "/var/tmp";
}

Scratch::Scratch(const std::string& prefix, const std::string& parent) {
  sweep(parent, prefix);
  // Between its making and its locking another run may sweep it away.
  while (lock_ < 0) {
    path_ = parent + "/" + prefix + "XXXXXX";
    if (::mkdtemp(path_.data()) == nullptr)
      throw hyper::errno_error(errno, "a temporary directory cannot be made in " + parent);
    lock_ = locked(path_, LOCK_EX);
    if (lock_ < 0 && ::access(path_.c_str(), F_OK) == 0) {
      ::rmdir(path_.c_str());
      throw hyper::Error(HYPER_IO, "a temporary directory cannot be locked in " + parent);
    }
  }
}

Scratch::~Scratch() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
  ::close(lock_);
}

}  // namespace hyperhost::guest
