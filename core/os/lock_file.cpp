// SPDX-License-Identifier: Apache-2.0
#include "core/os/lock_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "core/base/diagnostic.hpp"
#include "core/os/process_identity.hpp"

namespace hyperhost {
namespace {

std::string first_line(int fd) {
  char text[512];
  const ssize_t size = ::pread(fd, text, sizeof text, 0);
  std::string out(text, size > 0 ? static_cast<std::size_t>(size) : 0);
  return out.substr(0, out.find('\n'));
}

/// The file under the name is the one that is open: not removed by its owner in between.
bool still_named(int fd, const std::string& path) {
  struct stat held {
  }, named{};
  return ::fstat(fd, &held) == 0 && ::lstat(path.c_str(), &named) == 0 &&
         held.st_ino == named.st_ino && held.st_dev == named.st_dev;
}

/// Writing to it can change no other file: a regular file without a second name, of this user or
/// root. A link planted in a directory that others may write to would be overwritten.
void check_harmless(int fd, const std::string& path) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) throw errno_error(errno, "examine the lock file " + path);
  const char* wrong = !S_ISREG(info.st_mode)                           ? "is not a regular file"
                      : info.st_nlink > 1                              ? "has a second name"
                      : info.st_uid != 0 && info.st_uid != ::geteuid() ? "belongs to another user"
                                                                       : nullptr;
  if (wrong != nullptr)
    throw Error(Code::kConfig, "the lock file " + path + " " + wrong, "",
                "remove it if no hyperhost uses this directory");
}

enum class Taken { kYes, kHeld, kNoLocks };

Taken lock(int fd) {
  if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return Taken::kYes;
  return errno == EWOULDBLOCK ? Taken::kHeld : Taken::kNoLocks;
}

}  // namespace

LockFile::LockFile(std::string path, const std::string& purpose) : path_(std::move(path)) {
  for (;;) {
    fd_ = Fd(::open(path_.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644));
    if (!fd_.valid()) throw errno_error(errno, "make the lock file " + path_);
    if (still_named(fd_.get(), path_)) check_harmless(fd_.get(), path_);
    const Taken taken = lock(fd_.get());
    const std::string owner = first_line(fd_.get());
    // Where the file system has no locks the owner's process decides.
    const bool held = taken == Taken::kHeld || (taken == Taken::kNoLocks && !owner.empty() &&
                                                process_state(owner) != ProcessState::kGone);
    if (held) {
      fd_.reset();  // it is not ours to remove
      throw Error(Code::kBusy, purpose + " is at work here already: " + process_name(owner),
                  "it holds " + path_,
                  taken == Taken::kHeld ? "wait for it, or stop it"
                                        : "remove the lock file if that process is gone");
    }
    if (!still_named(fd_.get(), path_)) continue;
    if (!owner.empty()) taken_over_from_ = process_name(owner);
    break;
  }
  const std::string text = this_process() + "\n" + purpose + "\n";
  if (::ftruncate(fd_.get(), 0) != 0 ||
      ::pwrite(fd_.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    const int reason = errno;
    ::unlink(path_.c_str());
    fd_.reset();
    throw errno_error(reason, "write the lock file " + path_);
  }
}

LockFile::~LockFile() {
  if (fd_.valid()) ::unlink(path_.c_str());
}

bool remove_stale_lock(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!fd.valid()) return errno == ENOENT;
  const Taken taken = lock(fd.get());
  if (taken == Taken::kHeld) return false;
  if (taken == Taken::kNoLocks && process_state(first_line(fd.get())) != ProcessState::kGone)
    return false;
  return ::unlink(path.c_str()) == 0 || errno == ENOENT;
}

}  // namespace hyperhost
