// SPDX-License-Identifier: Apache-2.0
#include "plugins/storage/local/local_storage.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <optional>

#include "plugins/storage/local/listing.hpp"
#include "plugins/storage/local/local_sink.hpp"
#include "plugins/storage/local/local_source.hpp"

namespace hyperhost::storage_local {
namespace {

using nlohmann::json;

std::string text_of(const json& document) {
  return document.dump(-1, ' ', false, json::error_handler_t::replace);
}

hyper::Error not_there(const std::string& path) {
  return hyper::Error(HYPER_NOTFOUND, "there is no file \"" + path + "\"");
}

/// What is under the place's name, without following a link; nullopt if nothing is.
std::optional<struct stat> look(const Place& place) {
  struct stat info {};
  if (!place.directory) return std::nullopt;
  if (::fstatat(place.directory.get(), place.name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0)
    return info;
  if (errno == ENOENT) return std::nullopt;
  throw hyper::errno_error(errno, "cannot look at \"" + place.path + "\"");
}

/// Whether what is there, or what a link there leads to, is neither a file nor a directory: a
/// device or a FIFO, which others hold by its name, must not be replaced by a file.
bool leads_to_special(const Place& place, const struct stat& found) {
  struct stat info = found;
  if (S_ISLNK(found.st_mode) && ::fstatat(place.directory.get(), place.name.c_str(), &info, 0) != 0)
    return false;  // leads nowhere
  return !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode);
}

uint64_t free_bytes(const struct statvfs& info) {
  uint64_t bytes = 0;
  return __builtin_mul_overflow(static_cast<uint64_t>(info.f_bavail),
                                static_cast<uint64_t>(info.f_frsize), &bytes)
             ? UINT64_MAX
             : bytes;
}

struct PutRequest {
  uint64_t expected_bytes = 0;
  SinkPolicy policy;
  std::string unfinished;  ///< not a new file but this one
  uint64_t resume_length = 0;
};

PutRequest parse_put(const std::string& text) {
  try {
    const json document = json::parse(text);
    PutRequest request;
    request.policy.key = document.at("key").get<std::string>();
    if (const auto token = document.find("resume"); token != document.end()) {
      request.unfinished = token->at("unfinished").get<std::string>();
      request.resume_length = document.at("resume_length").get<uint64_t>();
    }
    for (const char* name : {"length", "expected_bytes"}) {
      const auto found = document.find(name);
      if (found == document.end() || found->is_null()) continue;
      if (!found->is_number_unsigned())
        throw hyper::Error(HYPER_CONFIG, std::string("\"") + name + "\" is not a number of bytes");
      request.expected_bytes = std::max(request.expected_bytes, found->get<uint64_t>());
    }
    request.policy.overwrite = document.value("overwrite", false);
    const std::string durability = document.value("durability", "none");
    if (durability != "none" && durability != "file")
      throw hyper::Error(HYPER_CONFIG, "durability \"" + durability + "\" is not none or file");
    request.policy.durable = durability == "file";
    return request;
  } catch (const json::exception& error) {
    throw hyper::Error(HYPER_CONFIG, "the request to write a file is malformed", error.what());
  }
}

}  // namespace

std::unique_ptr<LocalStorage> LocalStorage::connect(const hyper::Doc& config, hyper::Op) {
  const std::string path = config.string("/path");
  if (path.empty())
    throw hyper::Error(HYPER_CONFIG, "the directory to write to is not given").at("/path");
  return std::make_unique<LocalStorage>(RootedDirectory(path));
}

std::string LocalStorage::info(hyper::Op) {
  const std::string at = root_.existing_ancestor();
  struct stat kind {};
  if (::stat(at.c_str(), &kind) != 0 || !S_ISDIR(kind.st_mode))
    throw hyper::Error(HYPER_CONFIG, "\"" + at + "\" is not a directory").at("/path");
  if (::faccessat(AT_FDCWD, at.c_str(), W_OK | X_OK, AT_EACCESS) != 0) {
    throw hyper::errno_error(errno, "the directory \"" + at + "\" cannot be written to")
        .at("/path")
        .hint("change its permissions or choose another path");
  }
  struct statvfs space {};
  if (::statvfs(at.c_str(), &space) != 0)
    throw hyper::errno_error(errno, "cannot see how much space is free at \"" + at + "\"");
  return text_of({{"location", root_.path()},
                  {"sink", {"random", "path", "readback", "append"}},
                  {"free_bytes", free_bytes(space)}});
}

std::unique_ptr<hyper::Sink> LocalStorage::put(hyper::Op op, const hyper::Doc& document) {
  const PutRequest request = parse_put(document.json());
  // Nothing is made, not even a directory, for a file that may not or cannot be written.
  const std::string& key = request.policy.key;
  const std::optional<struct stat> existing = look(root_.locate(key, false));
  const std::string shown = root_.path() + "/" + key;
  if (existing && S_ISDIR(existing->st_mode))
    throw hyper::Error(HYPER_EXISTS, "\"" + shown + "\" is a directory");
  if (existing && leads_to_special(root_.locate(key, false), *existing))
    throw hyper::Error(HYPER_EXISTS, "\"" + shown + "\" is a device or another special file")
        .hint("write to a file; a renamed file would take the device's place");
  if (existing && !request.policy.overwrite) {
    throw hyper::Error(HYPER_EXISTS, "\"" + shown + "\" exists")
        .hint("allow overwriting, choose another name, or move it away");
  }
  if (!request.unfinished.empty())
    return std::make_unique<LocalSink>(op, root_.locate(key, false), request.policy,
                                       request.unfinished, request.resume_length);
  struct statvfs space {};
  const std::string at = root_.existing_ancestor();
  if (::statvfs(at.c_str(), &space) != 0)
    throw hyper::errno_error(errno, "cannot see how much space is free at \"" + at + "\"");
  if (request.expected_bytes > free_bytes(space)) {
    throw hyper::Error(HYPER_NOSPACE, "\"" + shown + "\" may need " +
                                          std::to_string(request.expected_bytes) + " bytes, and " +
                                          std::to_string(free_bytes(space)) + " are free")
        .hint("free some space or choose another output directory");
  }
  return std::make_unique<LocalSink>(op, root_.locate(key, true), request.policy);
}

std::unique_ptr<hyper::Source> LocalStorage::get(hyper::Op, const std::string& key) {
  const Place place = root_.locate(key, false);
  if (!look(place)) throw not_there(place.path);
  // NONBLOCK: a FIFO somebody put there must not hang us before it is refused.
  UniqueFd fd(::openat(place.directory.get(), place.name.c_str(),
                       O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!fd && errno == ELOOP)
    throw hyper::Error(HYPER_AUTH, "\"" + place.path + "\" is a symbolic link and is not followed");
  if (!fd) throw hyper::errno_error(errno, "cannot open \"" + place.path + "\"");
  return std::make_unique<LocalSource>(std::move(fd), place.path);
}

std::string LocalStorage::stat(hyper::Op, const std::string& key) {
  const Place place = root_.locate(key, false);
  const std::optional<struct stat> info = look(place);
  return info && S_ISREG(info->st_mode) ? entry_json(key, place.path, *info) : std::string();
}

void LocalStorage::list(hyper::Op op, const std::string& prefix, const hyper::Emit& emit) {
  list_files(op, root_, prefix, emit);
}

void LocalStorage::remove(hyper::Op, const std::string& key) {
  const Place place = root_.locate(key, false);
  if (!look(place)) throw not_there(place.path);
  if (::unlinkat(place.directory.get(), place.name.c_str(), 0) != 0)
    throw hyper::errno_error(errno, "cannot remove \"" + place.path + "\"");
}

void LocalStorage::undo(hyper::Op, const hyper::Doc& entry) {
  if (!undo_sink(root_, entry.json())) throw hyper::Reported(HYPER_UNSUPPORTED);
}

}  // namespace hyperhost::storage_local
