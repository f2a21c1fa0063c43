// SPDX-License-Identifier: Apache-2.0
#include "plugins/storage/local/listing.hpp"

#include <dirent.h>
#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

namespace hyperhost::storage_local {
namespace {

constexpr int kDeepest = 64;  // directories below each other

std::string utc(const struct timespec& time) {
  struct tm parts {};
  char text[32] = "";
  ::gmtime_r(&time.tv_sec, &parts);
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

struct CloseDir {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

std::vector<std::string> names_in(int directory, const std::string& shown) {
  UniqueFd own(::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const std::unique_ptr<DIR, CloseDir> stream(own ? ::fdopendir(own.get()) : nullptr);
  if (!stream) throw hyper::errno_error(errno, "cannot list the directory \"" + shown + "\"");
  static_cast<void>(own.release());
  std::vector<std::string> names;
  while (const struct dirent* entry = ::readdir(stream.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

class Walk {
 public:
  Walk(hyper::Op op, const std::string& prefix, const hyper::Emit& emit)
      : op_(op), prefix_(prefix), emit_(emit) {}

  /// base: the directory's key with a '/' behind it, or "".
  void enter(int directory, const std::string& base, const std::string& shown, int depth) const {
    for (const std::string& name : names_in(directory, shown)) {
      op_.check_cancelled();
      struct stat info {};
      if (::fstatat(directory, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
      const std::string key = base + name;
      if (S_ISREG(info.st_mode)) {
        if (key.compare(0, prefix_.size(), prefix_) == 0 && !is_temporary_name(name))
          emit_(entry_json(key, shown + "/" + name, info));
      } else if (S_ISDIR(info.st_mode) && depth < kDeepest && may_hold(key + "/")) {
        const UniqueFd below(
            ::openat(directory, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (below) enter(below.get(), key + "/", shown + "/" + name, depth + 1);
      }
    }
  }

 private:
  /// Whether a key in `directory` may begin with prefix_.
  bool may_hold(const std::string& directory) const {
    const std::size_t common = std::min(directory.size(), prefix_.size());
    return directory.compare(0, common, prefix_, 0, common) == 0;
  }

  hyper::Op op_;
  const std::string& prefix_;
  const hyper::Emit& emit_;
};

}  // namespace

std::string entry_json(const std::string& key, const std::string& location,
                       const struct stat& info) {
  // A name that is not UTF-8 (made by other programs) is shown with replacement characters.
  return nlohmann::json{{"key", key},
                        {"bytes", static_cast<uint64_t>(info.st_size)},
                        {"location", location},
                        {"modified", utc(info.st_mtim)}}
      .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void list_files(hyper::Op op, const RootedDirectory& root, const std::string& prefix,
                const hyper::Emit& emit) {
  const UniqueFd directory = root.open_root();
  if (directory) Walk(op, prefix, emit).enter(directory.get(), "", root.path(), 0);
}

}  // namespace hyperhost::storage_local
