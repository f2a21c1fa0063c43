// SPDX-License-Identifier: Apache-2.0
#include "core/os/file_trust.hpp"

#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <string_view>

namespace hyperhost {
namespace {

/// Debian makes such a group for each user.
bool trusted_group(gid_t group) {
  if (group == 0) return true;
  if (group != ::getegid()) return false;
  std::array<char, 16384> text;
  struct passwd user {};
  struct passwd* found_user = nullptr;
  if (::getpwuid_r(::geteuid(), &user, text.data(), text.size() / 2, &found_user) != 0 ||
      found_user == nullptr)
    return false;
  struct group entry {};
  struct group* found = nullptr;
  if (::getgrgid_r(group, &entry, text.data() + text.size() / 2, text.size() / 2, &found) != 0 ||
      found == nullptr || std::string_view(entry.gr_name) != user.pw_name)
    return false;
  for (char** member = entry.gr_mem; *member != nullptr; ++member)
    if (std::string_view(*member) != user.pw_name) return false;
  return true;
}

}  // namespace

std::string strangers(const struct stat& status, const std::string& path) {
  if ((status.st_mode & S_IWOTH) != 0)
    return path + " is writable by everybody (chmod o-w " + path + ")";
  if ((status.st_mode & S_IWGRP) != 0 && !trusted_group(status.st_gid))
    return path + " is writable by its group (chmod g-w " + path + ")";
  if (status.st_uid != 0 && status.st_uid != ::geteuid())
    return path + " belongs to neither root nor the user who runs this";
  return {};
}

}  // namespace hyperhost
