// SPDX-License-Identifier: Apache-2.0
#include "core/watch/audit/audit_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "core/base/random_id.hpp"
#include "core/base/timestamp.hpp"
#include "core/watch/audit/audit_reader.hpp"

namespace hyperhost {
namespace {

// The head is rewritten in place, so it keeps one length and needs no new block when the disk is
// full.
constexpr size_t kHeadSize = 256;
constexpr mode_t kMode = 0640;

FileDescriptor open_file(const std::filesystem::path& path, int flags) {
  const bool existed = ::access(path.c_str(), F_OK) == 0;
  FileDescriptor file(::open(path.c_str(), flags | O_CREAT | O_CLOEXEC | O_NONBLOCK, kMode));
  if (!file) throw errno_error(errno, "cannot open the audit log " + path.string());
  struct stat info {};
  if (::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode))
    throw Error(Code::kConfig, "the audit log " + path.string() + " is not a regular file");
  if (!existed) ::fchmod(file.get(), kMode);  // whatever the umask took
  return file;
}

uint64_t size_of(const FileDescriptor& file) {
  struct stat info {};
  return ::fstat(file.get(), &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
}

/// All of `text` or an errno.
int write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    text.remove_prefix(static_cast<size_t>(written));
  }
  return 0;
}

/// The last `limit` bytes at most.
std::string read_tail(const FileDescriptor& file, size_t limit) {
  const uint64_t size = size_of(file);
  std::string tail(static_cast<size_t>(std::min<uint64_t>(size, limit)), '\0');
  const ssize_t got =
      ::pread(file.get(), tail.data(), tail.size(), static_cast<off_t>(size - tail.size()));
  tail.resize(got > 0 ? static_cast<size_t>(got) : 0);
  return tail;
}

}  // namespace

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = other.release();
  }
  return *this;
}
FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) ::close(fd_);
}
int FileDescriptor::release() {
  const int fd = fd_;
  fd_ = -1;
  return fd;
}

FileLock::FileLock(int fd, int operation) : fd_(fd) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  while (::flock(fd, operation | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR)
      throw errno_error(errno, "cannot lock the audit log");
    if (std::chrono::steady_clock::now() > deadline)
      throw Error(Code::kBusy, "another process has kept the audit log locked for two seconds");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}
FileLock::~FileLock() {
  ::flock(fd_, LOCK_UN);
}

AuditFile::AuditFile(std::filesystem::path path, uint64_t max_bytes, unsigned keep)
    : path_(std::move(path)), max_bytes_(max_bytes), keep_(keep) {}

void AuditFile::open_files() {
  head_file_ = open_file(audit_head_path(path_), O_RDWR);
  log_ = open_file(path_, O_RDWR | O_APPEND);
}

void AuditFile::open() {
  open_files();
  FileLock lock(head_file_.get(), LOCK_EX);
  reopen_if_moved();
  read_head();
}

void AuditFile::reopen_if_moved() {
  struct stat by_name {
  }, by_fd{};
  if (::stat(path_.c_str(), &by_name) == 0 && ::fstat(log_.get(), &by_fd) == 0 &&
      by_name.st_ino == by_fd.st_ino && by_name.st_dev == by_fd.st_dev)
    return;
  log_ = open_file(path_, O_RDWR | O_APPEND);  // rotated by another process
  known_ = false;
}

void AuditFile::read_head() {
  std::string text(kHeadSize, '\0');
  const ssize_t got = ::pread(head_file_.get(), text.data(), text.size(), 0);
  text.resize(got > 0 ? static_cast<size_t>(got) : 0);
  const auto head = parse_head(text);
  if (known_ && head && head->seq == head_.seq && size_of(log_) == expected_size_) return;
  if (head) {
    head_ = *head;
    adopt_tail();
  } else {
    const bool history = audit_history_exists(path_);
    head_ = {0, audit_genesis(), 1};
    if (history) {
      // The log exists and its head does not: continue from its last line, and record that in the
      // log, since it is no longer known whether lines were cut off before this point.
      head_ = audit_last_line(path_);
      adopt_tail();
      write_note("head_rebuilt", "the file " + audit_head_path(path_).filename().string() +
                                     " was missing or damaged and was rebuilt");
    }
    store_head();
  }
  known_ = true;
  expected_size_ = size_of(log_);
}

/// Brings head_ in line with the end of the log after a crash: a line whose head was not written
/// is adopted; a torn line is closed and recorded. Anything else is left for audit_verify to find.
void AuditFile::adopt_tail() {
  // A few kilobytes hold the last line nearly always; this runs at each turn of two processes.
  std::string tail = read_tail(log_, 8192);
  if (tail.size() < 2 || tail.rfind('\n', tail.size() - 2) == std::string::npos)
    tail = read_tail(log_, kAuditLineLimit);
  if (tail.empty()) return;
  const bool torn = tail.back() != '\n';
  if (!torn) tail.pop_back();
  const size_t line_start = tail.rfind('\n');
  const std::string line = line_start == std::string::npos ? tail : tail.substr(line_start + 1);
  const auto link = parse_link(line);
  if (link && link->seq == head_.seq + 1 && link->prev_hash == head_.hash) {
    if (torn) {
      if (const int error = write_all(log_.get(), "\n"); error != 0)
        throw errno_error(error, "cannot write the audit log " + path_.string());
    }
    head_.seq = link->seq;
    head_.hash = audit_hash(line);
    store_head();
  } else if (torn) {
    if (const int error = write_all(log_.get(), "\n"); error != 0)
      throw errno_error(error, "cannot write the audit log " + path_.string());
    head_.hash = audit_hash(line);
    write_note("torn_line_closed", "the line before was cut short when a writer stopped (" +
                                       std::to_string(line.size()) + " bytes)");
  }
}

void AuditFile::write_note(const char* action, const std::string& description) {
  AuditRecord note;
  note.event_type = "warning";
  note.action = action;
  note.status = "warning";
  note.description = description;
  note.success = false;
  write_line(audit_json(note));
}

std::string AuditFile::write_line(const nlohmann::ordered_json& object) {
  nlohmann::ordered_json complete;
  complete["event_id"] = random_id();
  complete.update(object);
  complete["seq"] = head_.seq + 1;
  complete["prev_hash"] = head_.hash;
  std::string line = complete.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  const uint64_t before = size_of(log_);
  if (const int error = write_all(log_.get(), line + "\n"); error != 0) {
    known_ = false;
    // Take the part that was written back; if that fails too, the next writer closes the torn line.
    if (::ftruncate(log_.get(), static_cast<off_t>(before)) != 0) expected_size_ = 0;
    throw errno_error(error, "cannot write the audit log " + path_.string());
  }
  ++head_.seq;
  head_.hash = audit_hash(line);
  store_head();
  expected_size_ = before + line.size() + 1;
  return line;
}

void AuditFile::store_head() {
  std::string text = format_head(head_);
  text.resize(std::max(text.size(), kHeadSize), ' ');
  if (::pwrite(head_file_.get(), text.data(), text.size(), 0) !=
      static_cast<ssize_t>(text.size())) {
    known_ = false;
    throw errno_error(errno, "cannot write " + audit_head_path(path_).string());
  }
}

void AuditFile::rotate() {
  ::fsync(log_.get());
  std::error_code ignored;
  for (unsigned number = keep_; number-- > 0;) {
    const auto from = audit_file_path(path_, number);
    if (!std::filesystem::exists(from, ignored)) continue;
    const auto to = audit_file_path(path_, number + 1);
    if (::rename(from.c_str(), to.c_str()) != 0)
      throw errno_error(errno, "cannot rotate the audit log " + from.string());
  }
  for (unsigned number = keep_ + 1; number <= kAuditKeepLimit; ++number)  // keep was lowered
    if (!std::filesystem::remove(audit_file_path(path_, number), ignored)) break;
  log_ = open_file(path_, O_RDWR | O_APPEND);
  if (const auto first = audit_first_seq(path_)) head_.first_seq = *first;
  store_head();
  expected_size_ = 0;
}

std::string AuditFile::append(const nlohmann::ordered_json& object, bool sync) {
  if (!log_ || !head_file_) open_files();
  FileLock lock(head_file_.get(), LOCK_EX);
  reopen_if_moved();
  read_head();
  // Room for what write_line adds: event_id, seq and prev_hash.
  constexpr uint64_t kAdded = 200;
  const uint64_t length =
      object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).size() + kAdded;
  const bool full = size_of(log_) > 0 && size_of(log_) + length > max_bytes_;
  if (full) rotate();
  std::string line = write_line(object);
  if (sync && ::fdatasync(log_.get()) != 0)
    throw errno_error(errno, "cannot bring the audit log " + path_.string() + " to the disk");
  return line;
}

}  // namespace hyperhost
