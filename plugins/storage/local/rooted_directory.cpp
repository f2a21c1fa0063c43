// SPDX-License-Identifier: Apache-2.0
#include "plugins/storage/local/rooted_directory.hpp"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <hyper/error.hpp>

namespace hyperhost::storage_local {
namespace {

constexpr std::size_t kNameMax = 255;
constexpr std::string_view kMark = ".hyperhost-";
constexpr std::string_view kSuffix = ".part";
constexpr int kDirectory = O_RDONLY | O_DIRECTORY | O_CLOEXEC;

[[noreturn]] void bad_key(const std::string& key, const std::string& why) {
  throw hyper::Error(HYPER_CONFIG, "the key \"" + key + "\" " + why)
      .hint("use a relative path with '/' between its parts");
}

hyper::Error open_failed(const std::string& path) {
  if (errno == ELOOP || errno == ENOTDIR) {
    return hyper::Error(
        HYPER_AUTH, "\"" + path + "\" is a symbolic link or not a directory and is not followed");
  }
  return hyper::errno_error(errno, "cannot open the directory \"" + path + "\"");
}

/// Opens `name` in `parent`, making it if asked. An empty descriptor if it is not there.
UniqueFd enter(int parent, const std::string& name, bool create, int extra,
               const std::string& shown) {
  UniqueFd fd(::openat(parent, name.c_str(), kDirectory | extra));
  if (fd) return fd;
  if (errno != ENOENT) throw open_failed(shown);
  if (!create) return UniqueFd();
  if (::mkdirat(parent, name.c_str(), 0777) != 0) {
    if (errno != EEXIST)
      throw hyper::errno_error(errno, "cannot make the directory \"" + shown + "\"");
  } else if (::fsync(parent) != 0) {  // a file in it is only as durable as its directory
    throw hyper::errno_error(errno, "cannot make the directory \"" + shown + "\" durable");
  }
  UniqueFd made(::openat(parent, name.c_str(), kDirectory | extra));
  if (!made) throw open_failed(shown);
  return made;
}

}  // namespace

std::vector<std::string> split_key(const std::string& key) {
  if (key.empty()) bad_key(key, "is empty");
  if (key.front() == '/') bad_key(key, "is absolute");
  if (std::any_of(key.begin(), key.end(),
                  [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }))
    bad_key(key, "holds a control character");
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= key.size();) {
    const std::size_t end = std::min(key.find('/', begin), key.size());
    std::string part = key.substr(begin, end - begin);
    if (part.empty()) bad_key(key, "has an empty part");
    if (part == "." || part == "..") bad_key(key, "has a part \"" + part + "\"");
    if (part.size() > kNameMax) bad_key(key, "has a part longer than 255 bytes");
    parts.push_back(std::move(part));
    begin = end + 1;
  }
  if (is_temporary_name(parts.back())) bad_key(key, "is a name reserved for unfinished files");
  return parts;
}

std::string temporary_name(const std::string& name) {
  std::uint64_t random = 0;
  if (::getrandom(&random, sizeof random, 0) != static_cast<ssize_t>(sizeof random))
    throw hyper::errno_error(errno, "cannot get random bytes for a temporary name");
  char tail[64];
  std::snprintf(tail, sizeof tail, "%ld-%016llx", static_cast<long>(::getpid()),
                static_cast<unsigned long long>(random));
  const std::size_t fixed = 1 + kMark.size() + std::string_view(tail).size() + kSuffix.size();
  std::size_t keep = std::min(name.size(), kNameMax - fixed);
  // Not in the middle of a UTF-8 sequence: other programs may insist on valid names.
  while (keep < name.size() && keep > 0 && (static_cast<unsigned char>(name[keep]) & 0xC0u) == 0x80)
    --keep;
  return "." + name.substr(0, keep) + std::string(kMark) + tail + std::string(kSuffix);
}

bool is_temporary_name(std::string_view name) {
  return name.size() > kMark.size() + kSuffix.size() && name.front() == '.' &&
         name.find(kMark) != std::string_view::npos &&
         name.substr(name.size() - kSuffix.size()) == kSuffix;
}

RootedDirectory::RootedDirectory(const std::string& path)
    : path_(std::filesystem::absolute(path).lexically_normal().string()) {
  while (path_.size() > 1 && path_.back() == '/') path_.pop_back();
}

UniqueFd RootedDirectory::open_root() const {
  UniqueFd fd(::open(path_.c_str(), kDirectory));
  if (!fd && errno != ENOENT)
    throw hyper::errno_error(errno, "cannot open the directory \"" + path_ + "\"").at("/path");
  return fd;
}

Place RootedDirectory::locate(const std::string& key, bool create) const {
  std::vector<std::string> parts = split_key(key);
  Place place{UniqueFd(), parts.back(), (path_ == "/" ? "" : path_) + "/" + key};
  parts.pop_back();
  place.directory = open_root();
  if (!place.directory) {
    if (!create) return place;
    // From the nearest ancestor down; links are followed here, this is the root's own path.
    std::string shown = existing_ancestor();
    UniqueFd at(::open(shown.c_str(), kDirectory));
    if (!at) throw open_failed(shown);
    for (const auto& part : std::filesystem::path(path_).lexically_relative(shown)) {
      shown += (shown == "/" ? "" : "/") + part.string();
      at = enter(at.get(), part.string(), true, 0, shown);
    }
    place.directory = std::move(at);
  }
  std::string shown = path_;
  for (const std::string& part : parts) {
    shown += "/" + part;
    place.directory = enter(place.directory.get(), part, create, O_NOFOLLOW, shown);
    if (!place.directory) return place;
  }
  return place;
}

std::string RootedDirectory::existing_ancestor() const {
  std::filesystem::path at = path_;
  std::error_code ignored;
  while (at != at.root_path() && !std::filesystem::exists(at, ignored)) at = at.parent_path();
  return at.string();
}

}  // namespace hyperhost::storage_local
