// SPDX-License-Identifier: Apache-2.0
#include "core/migrate/handed_directory.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>

#include "core/base/diagnostic.hpp"
#include "core/os/fd.hpp"
#include "core/plugin/isolation/confinement.hpp"

namespace hyperhost {
namespace {

constexpr off_t kMostBytes = off_t{64} << 20;

}  // namespace

HandedDirectory::HandedDirectory(std::shared_ptr<Journal> journal,
                                 const std::filesystem::path& near, uid_t user)
    : user_(user) {
  const std::filesystem::path parent = isolation::may_enter(near.string(), user)
                                           ? std::filesystem::absolute(near)
                                           : std::filesystem::path("/var/tmp");
  std::string path = (parent / kHandedMark).string() + "XXXXXX";
  if (::mkdtemp(path.data()) == nullptr) throw errno_error(errno, "make " + path);
  path_ = path;
  entry_ = std::make_unique<HostEntry>(std::move(journal), kHandedEntry, parent.string(),
                                       path_.filename().string());
  if (::lchown(path_.c_str(), user, static_cast<gid_t>(-1)) != 0) {
    const int failed = errno;
    ::rmdir(path_.c_str());
    throw errno_error(failed, "give " + path_.string() + " to the plugin's user");
  }
}

HandedDirectory::~HandedDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void HandedDirectory::take(const std::string& name, const std::filesystem::path& to) const {
  const std::string from = (path_ / name).string();
  const Fd file(::open(from.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat status {};
  // A link, a pipe, or another user's file is nothing that the plugin made for the host.
  if (!file.valid() || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode) ||
      status.st_uid != user_ || status.st_size > kMostBytes)
    return;
  std::error_code ignored;
  std::filesystem::remove(to, ignored);
  const Fd out(::open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!out.valid()) throw errno_error(errno, "write " + to.string());
  std::array<char, 65536> buffer{};
  ssize_t got = 0;
  for (off_t at = 0;
       at < kMostBytes && (got = ::read(file.get(), buffer.data(), buffer.size())) > 0; at += got)
    if (::write(out.get(), buffer.data(), static_cast<std::size_t>(got)) != got)
      throw errno_error(errno, "write " + to.string());
}

}  // namespace hyperhost
