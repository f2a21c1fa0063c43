// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/isolation/confinement.hpp"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <net/if.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string_view>

#include "core/base/diagnostic.hpp"
#include "core/os/fd.hpp"

namespace hyperhost::isolation {
namespace {

constexpr const char* kKvm = "/dev/kvm";

/// The group kvm, where it may open the device. A number that is another group's here, as in some
/// containers, would give the worker that group's files.
std::optional<gid_t> kvm_group() {
  struct stat device {};
  group found{}, *result = nullptr;
  char text[4096];
  if (::stat(kKvm, &device) != 0 || (device.st_mode & 0060) != 0060 ||
      ::getgrgid_r(device.st_gid, &found, text, sizeof text, &result) != 0 || result == nullptr ||
      std::string_view(found.gr_name) != "kvm")
    return std::nullopt;
  return device.st_gid;
}

std::string failure(const char* what) {
  return std::string(what) + ": " + std::strerror(errno);
}

bool write_file(const char* path, const std::string& text) {
  const Fd file(::open(path, O_WRONLY | O_CLOEXEC));
  return file.valid() &&
         ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

/// A user namespace in which this user is itself, with a network namespace. Changes nothing where
/// the system forbids one of them.
std::string own_namespaces() {
  const std::string user = std::to_string(::geteuid()), group = std::to_string(::getegid());
  const auto itself = [](const std::string& id) { return id + " " + id + " 1"; };
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) return failure("a network of its own");
  // The files below belong to root while the process may not be looked into.
  const int dumpable = ::prctl(PR_GET_DUMPABLE);
  ::prctl(PR_SET_DUMPABLE, 1);
  const bool mapped = write_file("/proc/self/uid_map", itself(user)) &&
                      write_file("/proc/self/setgroups", "deny") &&
                      write_file("/proc/self/gid_map", itself(group));
  std::string problem = mapped ? "" : failure("its user in a namespace of its own");
  ::prctl(PR_SET_DUMPABLE, dumpable == 1 ? 1 : 0);
  return problem;
}

/// So that programs of this process reach each other on 127.0.0.1. Without it they only do not.
void raise_loopback() {
  const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::memcpy(request.ifr_name, "lo", 3);
  if (!socket.valid() || ::ioctl(socket.get(), SIOCGIFFLAGS, &request) != 0) return;
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
  static_cast<void>(::ioctl(socket.get(), SIOCSIFFLAGS, &request));
}

std::string become(const WorkerUser& user) {
  if (::setgroups(user.groups.size(), user.groups.data()) != 0 ||
      ::setresgid(user.group, user.group, user.group) != 0 ||
      ::setresuid(user.user, user.user, user.user) != 0)
    return failure("an unprivileged user");
  // What names root's directories is of no use to another user.
  ::setenv("HOME", "/", 1);
  for (const char* name :
       {"XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"})
    ::unsetenv(name);
  for (const char* name : {"TMPDIR", "TMP", "TEMP"})
    if (const char* place = std::getenv(name);
        place != nullptr && ::access(place, W_OK | X_OK) != 0)
      ::unsetenv(name);
  return "";
}

void drop_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};
  static_cast<void>(::syscall(SYS_capset, &header, none));
}

template <class Number>
bool take_number(std::string_view& text, Number& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  if (!text.empty()) text.remove_prefix(1);
  return true;
}

}  // namespace

std::optional<WorkerUser> worker_user(const std::string& name) {
  if (::geteuid() != 0 || name == "root") return std::nullopt;
  passwd found{}, *result = nullptr;
  char text[4096];
  if (::getpwnam_r(name.c_str(), &found, text, sizeof text, &result) != 0 || result == nullptr)
    throw Error(Code::kConfig, "there is no user '" + name + "' for processes that work on guests",
                "", "isolation: {user: NAME} in hyperhost.yaml names another");
  if (found.pw_uid == 0) return std::nullopt;
  WorkerUser out{found.pw_uid, found.pw_gid, {}};
  if (const auto kvm = kvm_group()) out.groups.push_back(*kvm);
  return out;
}

bool may_enter(const std::string& directory, uid_t user) {
  std::error_code error;
  std::filesystem::path at = std::filesystem::canonical(directory, error);
  if (error) return false;
  for (;; at = at.parent_path()) {
    struct stat status {};
    if (::stat(at.c_str(), &status) != 0 ||
        (status.st_mode & (status.st_uid == user ? S_IXUSR : S_IXOTH)) == 0)
      return false;
    if (!at.has_relative_path()) return true;
  }
}

std::vector<std::string> arguments_of(const Confinement& confinement) {
  if (!confinement.wanted) return {};
  std::vector<std::string> out{"--confined"};
  if (!confinement.user) return out;
  std::string user =
      std::to_string(confinement.user->user) + ":" + std::to_string(confinement.user->group);
  for (const gid_t group : confinement.user->groups) user += "," + std::to_string(group);
  out.insert(out.end(), {"--user", user});
  return out;
}

Confinement confinement_of(bool wanted, const std::string& user) {
  Confinement out;
  out.wanted = wanted;
  if (user.empty()) return out;
  WorkerUser read;
  std::string_view rest = user;
  bool good = take_number(rest, read.user) && take_number(rest, read.group);
  for (gid_t group = 0; good && !rest.empty();)
    if ((good = take_number(rest, group))) read.groups.push_back(group);
  if (!good) throw Error(Code::kConfig, "'" + user + "' names no user and groups by number");
  out.user = read;
  return out;
}

std::vector<std::string> confine(const Confinement& confinement) {
  std::vector<std::string> kept;
  if (!confinement.wanted) return kept;
  const int parent = ::getppid();
  const auto keep = [&](const std::string& problem) {
    if (!problem.empty()) kept.push_back(problem);
    return problem.empty();
  };
  bool apart = ::unshare(CLONE_NEWNET) == 0;
  if (apart) raise_loopback();
  if (confinement.user) static_cast<void>(keep(become(*confinement.user)));
  if (!apart && keep(own_namespaces())) {
    raise_loopback();
    apart = true;
  }
  if (::geteuid() != 0) drop_capabilities();
  // A change of user or rights takes back what ends this process with its parent.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(0);
  return kept;
}

}  // namespace hyperhost::isolation
