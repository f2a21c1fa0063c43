// SPDX-License-Identifier: Apache-2.0
#include "plugins/storage/local/local_sink.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <hyper/op.hpp>
#include <nlohmann/json.hpp>
#include <vector>

#include "plugins/storage/local/local_source.hpp"

namespace hyperhost::storage_local {
namespace {

constexpr uint64_t kChunk = 16u << 20;      // between two looks at cancel
constexpr uint64_t kWriteBack = 32u << 20;  // dirty bytes after which the kernel has to begin
constexpr uint64_t kHandover = 128u << 10;  // written while the next writer wakes up
constexpr uint64_t kLargest = INT64_MAX;    // off_t
constexpr const char* kEntryKind = "unfinished file";

/// The directory that `key` is relative to.
std::string root_of(const std::string& path, const std::string& key) {
  const std::string root = path.substr(0, path.size() - key.size() - 1);
  return root.empty() ? "/" : root;
}

}  // namespace

LocalSink::LocalSink(hyper::Op op, Place place, SinkPolicy policy)
    : place_(std::move(place)),
      policy_(std::move(policy)),
      temporary_name_(temporary_name(place_.name)),
      temporary_path_(place_.path.substr(0, place_.path.rfind('/') + 1) + temporary_name_) {
  if (hyper::Journal::kept(op))  // before the file is there: a power cut in between leaves nothing
    entry_ = hyper::Journal::open(op, nlohmann::json{{"plugin", "local"},
                                                     {"kind", kEntryKind},
                                                     {"where", root_of(place_.path, policy_.key)},
                                                     {"key", policy_.key},
                                                     {"ref", temporary_name_}}
                                          .dump());
  fd_ = UniqueFd(::openat(place_.directory.get(), temporary_name_.c_str(),
                          O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666));
  if (!fd_) {
    const int reason = errno;
    settle(op);
    throw failed(reason, "make");
  }
  static_cast<void>(::flock(fd_.get(), LOCK_EX | LOCK_NB));  // not every file system has locks
}

LocalSink::LocalSink(hyper::Op op, Place place, SinkPolicy policy, const std::string& temporary,
                     uint64_t length)
    : place_(std::move(place)),
      policy_(std::move(policy)),
      temporary_name_(temporary),
      temporary_path_(place_.path.substr(0, place_.path.rfind('/') + 1) + temporary_name_) {
  if (!is_temporary_name(temporary) || temporary.find('/') != std::string::npos)
    throw hyper::Error(HYPER_CONFIG, "\"" + temporary + "\" names no unfinished file");
  if (place_.directory)
    fd_ = UniqueFd(::openat(place_.directory.get(), temporary.c_str(),
                            O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat info {};
  if (!fd_ || ::fstat(fd_.get(), &info) != 0 || !S_ISREG(info.st_mode))
    throw hyper::Error(HYPER_NOTFOUND, "the unfinished file \"" + temporary_path_ + "\" is gone");
  kept_ = true;  // also when what follows fails: it is somebody's work
  if (::flock(fd_.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    throw hyper::Error(HYPER_BUSY,
                       "\"" + temporary_path_ + "\" is being written by another process");
  if (static_cast<uint64_t>(info.st_size) > length &&
      ::ftruncate(fd_.get(), static_cast<off_t>(length)) != 0)
    throw failed(errno, "cut");
  if (!hyper::Journal::kept(op)) return;
  hyper::Journal::each(op, "local", [&](const std::string& text) {
    const auto entry = nlohmann::json::parse(text, nullptr, false);
    if (entry.is_object() && entry.value("ref", "") == temporary_name_ &&
        entry.value("entry", nlohmann::json()).is_number_unsigned())
      entry_ = entry["entry"].get<uint64_t>();
  });
  nlohmann::json entry{{"plugin", "local"},
                       {"kind", kEntryKind},
                       {"where", root_of(place_.path, policy_.key)},
                       {"key", policy_.key},
                       {"ref", temporary_name_}};
  if (entry_)
    hyper::Journal::update(op, *entry_, entry.dump());  // it is this process's now
  else
    entry_ = hyper::Journal::open(op, entry.dump());
}

std::string LocalSink::keep(hyper::Op, bool on) {
  // After a power cut, a later run finds the file by its name.
  if (on && !kept_ && policy_.durable && ::fsync(place_.directory.get()) != 0)
    throw failed(errno, "make the temporary name durable of");
  kept_ = on;
  return on ? nlohmann::json{{"unfinished", temporary_name_}}.dump() : std::string();
}

LocalSink::~LocalSink() {
  close(hyper::Op(nullptr));
}

void LocalSink::close(hyper::Op op) {
  if (!fd_ || committed_ || kept_) return;
  ::unlinkat(place_.directory.get(), temporary_name_.c_str(), 0);
  fd_ = UniqueFd();
  settle(op);
}

void LocalSink::settle(hyper::Op op) noexcept {
  if (!entry_) return;
  try {
    hyper::Journal::close(op, *entry_);
  } catch (const std::exception&) {
    // Said already; an entry without a file is closed by the next cleanup.
  }
  entry_.reset();
}

const char* LocalSink::path() {
  // A program that writes by name (qemu) locks by itself, and on NFS our lock would be in its way.
  static_cast<void>(::flock(fd_.get(), LOCK_UN));
  return temporary_path_.c_str();
}

hyper::SinkTraits LocalSink::traits() const {
  hyper::SinkTraits traits;
  traits.flags = HYPER_SINK_RANDOM | HYPER_SINK_APPEND | HYPER_SINK_PATH | HYPER_SINK_READBACK |
                 HYPER_SINK_RESUME;
  traits.max_parallel = 64;
  return traits;
}

hyper::Error LocalSink::failed(int error_number, const std::string& doing) const {
  const std::string file = "\"" + place_.path + "\"";
  if (error_number == ENOSPC || error_number == EDQUOT) {
    hyper::Error error(HYPER_NOSPACE,
                       (error_number == ENOSPC ? "no space left on the file system to "
                                               : "the disk quota does not allow to ") +
                           doing + " " + file);
    error.native(error_number).hint("free some space or choose another output directory");
    return error;
  }
  if (error_number == EFBIG) {
    hyper::Error error(HYPER_NOSPACE,
                       "the file system or a limit of the process (ulimit -f) does "
                       "not allow " +
                           file + " to become this long");
    error.native(error_number).hint("choose another output directory");
    return error;
  }
  return hyper::errno_error(error_number, "cannot " + doing + " " + file);
}

void LocalSink::write_at(hyper::Op op, uint64_t offset, const void* buf, uint64_t len) {
  if (offset > kLargest || len > kLargest - offset) throw failed(EFBIG, "write");
  const auto* from = static_cast<const char*>(buf);
  const uint64_t total = len;
  while (len > 0) {
    op.check_cancelled();
    std::unique_lock turn(turn_, std::defer_lock);
    if (len > kHandover) turn.lock();
    const uint64_t now = std::min(len > kHandover ? len - kHandover : len, kChunk);
    const ssize_t put =
        ::pwrite(fd_.get(), from, static_cast<std::size_t>(now), static_cast<off_t>(offset));
    if (put < 0) {
      if (errno == EINTR) continue;
      throw failed(errno, "write");
    }
    from += put;
    offset += static_cast<uint64_t>(put);
    len -= static_cast<uint64_t>(put);
  }
  if (policy_.durable) start_write_back(total);
}

void LocalSink::start_write_back(uint64_t written) {
  const uint64_t before = unsynced_.fetch_add(written, std::memory_order_relaxed);
  // Only the writer that crosses a boundary asks, and a refusal costs nothing but a longer end.
  if (before / kWriteBack != (before + written) / kWriteBack)
    static_cast<void>(::sync_file_range(fd_.get(), 0, 0, SYNC_FILE_RANGE_WRITE));
}

void LocalSink::zero_at(hyper::Op op, uint64_t offset, uint64_t len) {
  if (offset > kLargest || len > kLargest - offset) throw failed(EFBIG, "write");
  // What lies beyond the end reads as zeros already.
  const uint64_t end = std::min(offset + len, size());
  if (offset >= end) return;
  if (::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                  static_cast<off_t>(end - offset)) == 0)
    return;
  if (errno != EOPNOTSUPP && errno != ENOSYS) throw failed(errno, "zero a range of");
  const std::vector<char> zeros(
      static_cast<std::size_t>(std::min<uint64_t>(end - offset, 1 << 20)));
  while (offset < end) {
    const uint64_t now = std::min<uint64_t>(zeros.size(), end - offset);
    write_at(op, offset, zeros.data(), now);
    offset += now;
  }
}

uint64_t LocalSink::size() const {
  struct stat info {};
  if (::fstat(fd_.get(), &info) != 0) throw failed(errno, "look at");
  return static_cast<uint64_t>(info.st_size);
}

void LocalSink::sync(hyper::Op) {
  if (::fdatasync(fd_.get()) != 0) throw failed(errno, "make durable");
}

void LocalSink::lengthen(uint64_t length) {
  const uint64_t now = size();
  if (now > length) {
    throw hyper::Error(HYPER_FAIL, "\"" + place_.path + "\" has " + std::to_string(now) +
                                       " bytes and would be cut to " + std::to_string(length));
  }
  if (length > kLargest) throw failed(EFBIG, "write");
  if (now != length && ::ftruncate(fd_.get(), static_cast<off_t>(length)) != 0)
    throw failed(errno, "lengthen");
}

std::unique_ptr<hyper::Source> LocalSink::reopen(hyper::Op, uint64_t length) {
  lengthen(length);  // the hole behind the last write is part of the object
  UniqueFd fd(
      ::openat(place_.directory.get(), temporary_name_.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) throw failed(errno, "read back");
  return std::make_unique<LocalSource>(std::move(fd), temporary_path_);
}

void LocalSink::take_name() {
  const int dir = place_.directory.get();
  const char* from = temporary_name_.c_str();
  const char* to = place_.name.c_str();
  if (policy_.overwrite) {
    if (::renameat(dir, from, dir, to) != 0) throw failed(errno, "replace");
    return;
  }
  if (::renameat2(dir, from, dir, to, RENAME_NOREPLACE) == 0) return;
  if (errno == EINVAL || errno == ENOSYS) {  // a file system without RENAME_NOREPLACE (NFS)
    if (::linkat(dir, from, dir, to, 0) == 0) {
      ::unlinkat(dir, from, 0);
      return;
    }
  }
  if (errno == EEXIST) {
    throw hyper::Error(HYPER_EXISTS,
                       "\"" + place_.path + "\" was made by somebody else in the meantime")
        .hint("nothing was replaced; allow overwriting or choose another name");
  }
  throw failed(errno, "give its name to");
}

std::string LocalSink::commit(hyper::Op op, uint64_t length) {
  if (committed_) throw hyper::Error(HYPER_FAIL, "\"" + place_.path + "\" is committed already");
  op.check_cancelled();
  // Another program may have replaced the file that path() names instead of writing into it.
  struct stat named {
  }, held{};
  if (::fstatat(place_.directory.get(), temporary_name_.c_str(), &named, AT_SYMLINK_NOFOLLOW) !=
          0 ||
      ::fstat(fd_.get(), &held) != 0)
    throw failed(errno, "find the unfinished file of");
  if (named.st_ino != held.st_ino || named.st_dev != held.st_dev)
    throw hyper::Error(HYPER_FAIL, "the unfinished file \"" + temporary_path_ +
                                       "\" was replaced by another program");
  lengthen(length);
  if (policy_.durable) sync(op);
  take_name();
  committed_ = true;
  if (policy_.durable && ::fsync(place_.directory.get()) != 0)
    throw failed(errno, "make the name durable of");
  settle(op);
  return nlohmann::json{{"location", place_.path}, {"bytes", length}}.dump(
      -1, ' ', false, nlohmann::json::error_handler_t::replace);
}

bool undo_sink(const RootedDirectory& root, const std::string& entry_json) {
  const auto entry = nlohmann::json::parse(entry_json, nullptr, false);
  const auto text = [&](const char* member) {
    const auto found = entry.is_object() ? entry.find(member) : entry.end();
    return found != entry.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  if (text("kind") != kEntryKind || text("where") != root.path()) return false;
  const std::string name = text("ref"), key = text("key");
  if (!is_temporary_name(name) || name.find('/') != std::string::npos)
    throw hyper::Error(HYPER_FAIL, "the journal entry names no unfinished file: \"" + name + "\"");
  const Place place = root.locate(key, false);
  if (!place.directory) return true;
  const int directory = place.directory.get();
  const std::string shown = place.path.substr(0, place.path.rfind('/') + 1) + name;
  const UniqueFd fd(
      ::openat(directory, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!fd && errno != ENOENT) throw hyper::errno_error(errno, "cannot open \"" + shown + "\"");
  if (fd) {
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
      throw hyper::Error(HYPER_BUSY, "\"" + shown + "\" is being written by another process");
    if (::unlinkat(directory, name.c_str(), 0) != 0)
      throw hyper::errno_error(errno, "cannot remove \"" + shown + "\"");
  }
  // A directory that was made for it alone; one with anything in it stays.
  if (const std::size_t slash = key.rfind('/'); slash != std::string::npos) {
    const Place parent = root.locate(key.substr(0, slash), false);
    if (parent.directory) ::unlinkat(parent.directory.get(), parent.name.c_str(), AT_REMOVEDIR);
  }
  return true;
}

}  // namespace hyperhost::storage_local
