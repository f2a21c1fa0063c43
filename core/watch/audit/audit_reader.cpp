// SPDX-License-Identifier: Apache-2.0
#include "core/watch/audit/audit_reader.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "core/base/timestamp.hpp"
#include "core/watch/audit/audit_file.hpp"

namespace hyperhost {
namespace {

using nlohmann::json;

struct LogPart {
  std::filesystem::path path;
  FileDescriptor file;
  uint64_t size = 0;
};

/// Opens every file of the log, oldest first.
std::vector<LogPart> open_parts(const std::filesystem::path& path) {
  std::vector<LogPart> parts;
  for (unsigned number = kAuditKeepLimit + 1; number-- > 0;) {
    LogPart part{audit_file_path(path, number), {}, 0};
    part.file = FileDescriptor(::open(part.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!part.file) {
      if (errno == ENOENT) continue;
      throw errno_error(errno, "cannot read the audit log " + part.path.string());
    }
    struct stat info {};
    if (::fstat(part.file.get(), &info) != 0 || !S_ISREG(info.st_mode))
      throw Error(Code::kConfig, "the audit log " + part.path.string() + " is not a regular file");
    part.size = static_cast<uint64_t>(info.st_size);
    parts.push_back(std::move(part));
  }
  return parts;
}

/// The log as it is at one moment, between two lines of any writer.
struct Snapshot {
  std::vector<LogPart> parts;
  std::optional<AuditHead> head;
};

Snapshot take_snapshot(const std::filesystem::path& path) {
  Snapshot snapshot;
  const FileDescriptor head(::open(audit_head_path(path).c_str(), O_RDONLY | O_CLOEXEC));
  std::optional<FileLock> lock;
  if (head) {
    lock.emplace(head.get(), LOCK_SH);
    std::array<char, 512> text{};
    const ssize_t got = ::pread(head.get(), text.data(), text.size(), 0);
    if (got > 0) snapshot.head = parse_head({text.data(), static_cast<size_t>(got)});
  }
  snapshot.parts = open_parts(path);
  if (snapshot.parts.empty())
    throw Error(Code::kNotFound, "there is no audit log at " + path.string());
  return snapshot;
}

/// Lines of one file up to the size it had in the snapshot.
class LineReader {
 public:
  explicit LineReader(const LogPart& part) : part_(part) {}

  /// False at the end. `overlong`: the line passed kAuditLineLimit and was dropped.
  bool next(std::string& line, bool& ended_by_newline, bool& overlong) {
    line.clear();
    overlong = ended_by_newline = false;
    while (true) {
      if (at_ == filled_ && !fill()) return !line.empty() || overlong;
      const char* begin = buffer_.data() + at_;
      const char* end = buffer_.data() + filled_;
      const char* newline = std::find(begin, end, '\n');
      if (line.size() + static_cast<size_t>(newline - begin) > kAuditLineLimit) {
        overlong = true;
        line.clear();
      }
      if (!overlong) line.append(begin, newline);
      at_ = static_cast<size_t>(newline - buffer_.data());
      if (newline == end) continue;
      ++at_;
      ended_by_newline = true;
      return true;
    }
  }

 private:
  bool fill() {
    const uint64_t want = std::min<uint64_t>(buffer_.size(), part_.size - offset_);
    ssize_t got = 0;
    do {
      got = ::pread(part_.file.get(), buffer_.data(), want, static_cast<off_t>(offset_));
    } while (got < 0 && errno == EINTR);
    if (got < 0) throw errno_error(errno, "cannot read the audit log " + part_.path.string());
    at_ = 0;
    filled_ = static_cast<size_t>(got);
    offset_ += filled_;
    return got > 0;
  }

  const LogPart& part_;
  std::vector<char> buffer_ = std::vector<char>(64 << 10);
  size_t at_ = 0, filled_ = 0;
  uint64_t offset_ = 0;
};

class Verifier {
 public:
  AuditVerdict run(const Snapshot& snapshot) {
    for (const LogPart& part : snapshot.parts) {
      part_ = &part;
      ++verdict_.files;
      LineReader reader(part);
      std::string line;
      bool complete = false, overlong = false;
      for (line_ = 1; reader.next(line, complete, overlong); ++line_) {
        ++verdict_.lines;
        check(line, overlong);
        complete_ = complete;
      }
    }
    finish(snapshot);
    return std::move(verdict_);
  }

 private:
  void fault(std::string message, bool whole_file = false) {
    if (++verdict_.fault_count <= 100)
      verdict_.faults.push_back({part_->path, whole_file ? 0 : line_, std::move(message)});
  }

  void check(const std::string& line, bool overlong) {
    const auto link = overlong ? std::nullopt : parse_link(line);
    if (!link) {
      // Excused only by a next line that was written to say so.
      if (torn_) fault("the line before is no audit entry");
      torn_ = true;
      torn_line_ = line_;
      torn_hash_ = overlong ? std::string{} : audit_hash(line);
      return;
    }
    std::string expected = torn_ ? torn_hash_ : last_.hash;
    if (torn_ && link->follows_torn_line && link->prev_hash == torn_hash_) {
      ++verdict_.torn_lines;
    } else if (torn_) {
      fault("line " + std::to_string(torn_line_) + " is no audit entry: it was edited or damaged");
      expected.clear();
    }
    if (!seen_) {
      verdict_.first_seq = link->seq;
      if (link->seq == 1 && link->prev_hash != audit_genesis())
        fault("the first line does not begin a chain");
    } else {
      if (link->seq != last_.seq + 1)
        fault("sequence number " + std::to_string(link->seq) + " follows " +
              std::to_string(last_.seq) + ": lines are missing, repeated or out of order");
      if (!expected.empty() && link->prev_hash != expected)
        fault("the line before was edited or removed: its SHA-256 is not the one this line names");
    }
    if (link->rebuilt_head)
      fault("the head file was missing before this line: lines may have been cut off here");
    torn_ = false;
    seen_ = true;
    before_last_ = link->prev_hash;
    last_.seq = link->seq;
    last_.hash = audit_hash(line);
  }

  void finish(const Snapshot& snapshot) {
    verdict_.last_seq = last_.seq;
    const auto& head = snapshot.head;
    if (!head) {
      fault("the file " + audit_head_path(snapshot.parts.back().path).string() +
                " is missing or damaged: lines cut off at the end would not be seen",
            true);
      return;
    }
    if (torn_ && complete_) fault("the last line is no audit entry: it was edited or damaged");
    if (torn_ && !complete_)
      ++verdict_.torn_lines;  // a writer stopped just now; the next closes it
    const bool same = head->seq == last_.seq && (!seen_ || head->hash == last_.hash);
    const bool head_one_behind = head->seq + 1 == last_.seq && head->hash == before_last_;
    if (!same && !head_one_behind)
      fault("the log ends with number " + std::to_string(last_.seq) + " but number " +
                std::to_string(head->seq) +
                " was the last one written: the last lines were edited or removed",
            true);
    if (seen_ && verdict_.first_seq != head->first_seq)
      fault("the log begins with number " + std::to_string(verdict_.first_seq) +
                " but should begin with " + std::to_string(head->first_seq) +
                ": the oldest lines were removed",
            true);
  }

  AuditVerdict verdict_;
  const LogPart* part_ = nullptr;
  uint64_t line_ = 0, torn_line_ = 0;
  bool seen_ = false, torn_ = false, complete_ = true;
  std::string torn_hash_, before_last_;
  AuditHead last_{0, audit_genesis(), 1};
};

bool matches(const AuditFilter& filter, const json& entry) {
  const auto text = [&](const char* key) {
    const auto it = entry.find(key);
    return it != entry.end() && it->is_string() ? it->get<std::string>() : std::string();
  };
  const auto same = [&](const char* key, const std::string& wanted) {
    return wanted.empty() || text(key) == wanted;
  };
  if (!same("task_id", filter.task_id) || !same("vm_name", filter.vm_name) ||
      !same("provider", filter.provider) || !same("user", filter.user))
    return false;
  if (!filter.types.empty() &&
      std::find(filter.types.begin(), filter.types.end(), text("event_type")) == filter.types.end())
    return false;
  if (filter.success) {
    const auto it = entry.find("success");
    if (it == entry.end() || !it->is_boolean() || it->get<bool>() != *filter.success) return false;
  }
  if (filter.since || filter.until) {
    const auto time = parse_timestamp(text("timestamp"));
    if (!time || (filter.since && *time < *filter.since) ||
        (filter.until && *time >= *filter.until))
      return false;
  }
  return true;
}

}  // namespace

AuditVerdict audit_verify(const std::filesystem::path& path) {
  return Verifier().run(take_snapshot(path));
}

uint64_t audit_query(const std::filesystem::path& path, const AuditFilter& filter,
                     const std::function<bool(const json&, std::string_view)>& each) {
  const Snapshot snapshot = take_snapshot(path);
  uint64_t found = 0;
  std::string line;
  bool complete = false, overlong = false;
  for (const LogPart& part : snapshot.parts) {
    LineReader reader(part);
    while (reader.next(line, complete, overlong)) {
      if (overlong) continue;
      const json entry = json::parse(line, nullptr, false);
      if (!entry.is_object() || !matches(filter, entry)) continue;
      ++found;
      if (!each(entry, line) || found == filter.limit) return found;
    }
  }
  return found;
}

bool audit_history_exists(const std::filesystem::path& path) {
  const auto parts = open_parts(path);
  return std::any_of(parts.begin(), parts.end(), [](const LogPart& part) { return part.size > 0; });
}

AuditHead audit_last_line(const std::filesystem::path& path) {
  AuditHead head{0, audit_genesis(), audit_first_seq(path).value_or(1)};
  auto parts = open_parts(path);
  std::string line;
  bool complete = false, overlong = false;
  for (auto part = parts.rbegin(); part != parts.rend() && head.seq == 0; ++part) {
    LineReader reader(*part);
    while (reader.next(line, complete, overlong)) {
      const auto link = overlong || !complete ? std::nullopt : parse_link(line);
      if (link) head.seq = link->seq, head.hash = audit_hash(line);
    }
  }
  return head;
}

std::optional<uint64_t> audit_first_seq(const std::filesystem::path& path) {
  std::string line;
  bool complete = false, overlong = false;
  for (const LogPart& part : open_parts(path)) {
    LineReader reader(part);
    while (reader.next(line, complete, overlong))
      if (const auto link = overlong ? std::nullopt : parse_link(line)) return link->seq;
  }
  return std::nullopt;
}

}  // namespace hyperhost
