// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/compare_qemu.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "tests/fuzz/fuzz.hpp"

extern char** environ;

namespace fuzz {
namespace {

unsigned read_by_both = 0;

/// A directory of our own, removed at the end of the process.
class Place {
 public:
  Place() {
    const char* base = std::getenv("TMPDIR");
    path_ = std::string(base == nullptr ? "/var/tmp" : base) + "/hyperhost-fuzz.XXXXXX";
    if (::mkdtemp(path_.data()) == nullptr) fail("no directory for qemu-img's files");
  }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  ~Place() {
    ::unlink(image().c_str());
    ::unlink(guest().c_str());
    ::rmdir(path_.c_str());
  }
  std::string image() const { return path_ + "/image"; }
  std::string guest() const { return path_ + "/guest"; }

 private:
  std::string path_;
};

void write_image(const std::string& path, const SparseFile& file) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0 || ::ftruncate(fd, static_cast<off_t>(file.length())) != 0)
    fail("cannot write an image for qemu-img");
  std::vector<uint8_t> bytes(4096);
  for (uint64_t at = 0; at < file.length(); at += bytes.size()) {
    const uint64_t now = std::min<uint64_t>(bytes.size(), file.length() - at);
    file.read(at, bytes.data(), now);
    const bool zero =
        std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
    if (!zero &&
        ::pwrite(fd, bytes.data(), now, static_cast<off_t>(at)) != static_cast<ssize_t>(now))
      fail("cannot write an image for qemu-img");
  }
  ::close(fd);
}

/// Whether qemu-img reads the image without an error, within ten seconds.
bool qemu_reads(const char* qemu_img, const std::string& format, const Place& place) {
  const std::string from = place.image(), to = place.guest();
  const char* const argv[] = {"timeout",      "10", qemu_img, "convert",    "-q",       "-f",
                              format.c_str(), "-O", "raw",    from.c_str(), to.c_str(), nullptr};
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  ::posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  pid_t child = -1;
  const int error =
      ::posix_spawnp(&child, "timeout", &actions, nullptr, const_cast<char* const*>(argv), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) fail("cannot run qemu-img");
  int status = 0;
  while (::waitpid(child, &status, 0) != child)
    if (errno != EINTR) fail("cannot wait for qemu-img");  // libFuzzer's timer interrupts
  if (!WIFEXITED(status)) return false;
  if (WEXITSTATUS(status) == 127) {  // there is no such program
    const char* ci = std::getenv("CI");
    if (ci != nullptr && std::strcmp(ci, "true") == 0) fail("qemu-img is missing under CI");
    std::fprintf(stderr, "skipped: qemu-img is not installed\n");
    std::_Exit(77);
  }
  return WEXITSTATUS(status) == 0;
}

}  // namespace

void compare_with_qemu(const char* qemu_img, const char* format, const SparseFile& file,
                       const std::vector<uint8_t>& ours) {
  static const Place place;
  ::unlink(place.guest().c_str());
  write_image(place.image(), file);
  const std::string theirs_format = std::strcmp(format, "vhd") == 0 ? "vpc" : format;
  if (!qemu_reads(qemu_img, theirs_format, place)) return;
  const int fd = ::open(place.guest().c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status {};
  if (fd < 0 || ::fstat(fd, &status) != 0) fail("qemu-img left no file");
  std::vector<uint8_t> theirs(static_cast<std::size_t>(status.st_size));
  const ssize_t got = ::pread(fd, theirs.data(), theirs.size(), 0);
  ::close(fd);
  if (got != static_cast<ssize_t>(theirs.size())) fail("cannot read what qemu-img wrote");
  ++read_by_both;
  if (theirs.size() != ours.size())
    fail("qemu-img's disk has " + std::to_string(theirs.size()) + " bytes, ours " +
         std::to_string(ours.size()));
  const auto differs = std::mismatch(ours.begin(), ours.end(), theirs.begin());
  if (differs.first != ours.end())
    fail("qemu-img and our reader differ at guest offset " +
         std::to_string(differs.first - ours.begin()));
}

unsigned compared() {
  return read_by_both;
}

}  // namespace fuzz
