// SPDX-License-Identifier: Apache-2.0
#include "core/state/host_entries.hpp"

#include <unistd.h>

#include <cerrno>
#include <optional>
#include <vector>

#include "core/base/diagnostic.hpp"
#include "core/base/file_name.hpp"
#include "core/os/process_identity.hpp"

namespace hyperhost {

HostEntry::HostEntry(std::shared_ptr<Journal> journal, const std::string& kind,
                     const std::string& directory, const std::string& name)
    : journal_(std::move(journal)) {
  if (!journal_) return;
  const nlohmann::json what = {
      {"plugin", kHostEntries}, {"kind", kind}, {"where", directory}, {"ref", name}};
  journal_->each_entry(kHostEntries, [&](const JournalEntry& entry) {
    if (entry.what == what && process_state(entry.owner) == ProcessState::kGone) id_ = entry.id;
  });
  if (id_ == 0)
    id_ = journal_->open_entry(kHostEntries, what);
  else
    journal_->update_entry(id_, what);
}

void HostEntry::close_others() {
  if (!journal_) return;
  std::optional<nlohmann::json> own;
  std::vector<JournalEntry> entries;
  journal_->each_entry(kHostEntries, [&](const JournalEntry& entry) {
    if (entry.id == id_) own = entry.what;
    entries.push_back(entry);
  });
  for (const JournalEntry& entry : entries)
    if (entry.id != id_ && own && entry.what == *own) journal_->close_entry(entry.id);
}

HostEntry::~HostEntry() {
  if (!journal_ || left_) return;
  try {
    journal_->close_entry(id_);
  } catch (const std::exception&) {
    // The next run or cleanup finds the entry without a file.
  }
}

OverlayEntry::OverlayEntry(std::shared_ptr<Journal> journal, std::filesystem::path file)
    : file_(std::move(file)),
      entry_(std::move(journal), kOverlayEntry, file_.parent_path().string(),
             file_.filename().string()) {
  entry_.close_others();
}

OverlayEntry::~OverlayEntry() {
  if (!left_) ::unlink(file_.c_str());
}

void OverlayEntry::leave() {
  left_ = true;
  entry_.leave();
}

OutputLock::OutputLock(std::shared_ptr<Journal> journal, const std::filesystem::path& directory,
                       const std::string& plan_name, const std::string& user)
    : OutputLock(std::move(journal), directory,
                 {".hyperhost-" + safe_file_name(plan_name) + ".lock",
                  "a run of the plan '" + plan_name + "' by " + user}) {}

std::unique_ptr<OutputLock> OutputLock::of_vm(std::shared_ptr<Journal> journal,
                                              const std::filesystem::path& directory,
                                              const std::string& stem) {
  const Named named{".hyperhost-" + stem + ".vm-lock", "a migration of the VM '" + stem + "'"};
  return std::unique_ptr<OutputLock>(new OutputLock(std::move(journal), directory, named));
}

OutputLock::OutputLock(std::shared_ptr<Journal> journal, const std::filesystem::path& directory,
                       const Named& named)
    : entry_(std::move(journal), kLockEntry, directory.string(), named.file),
      file_((directory / named.file).string(), named.purpose) {
  entry_.close_others();
}

void undo_host_entry(const JournalEntry& entry) {
  const auto text = [&](const char* member) {
    const auto found = entry.what.find(member);
    return found != entry.what.end() && found->is_string() ? found->get<std::string>() : "";
  };
  const std::string kind = text("kind"), name = text("ref");
  const bool lock = kind == kLockEntry && name.rfind(".hyperhost-", 0) == 0;
  const bool staging = kind == kStagingEntry && !name.empty() && name.front() == '.' &&
                       name.find(kStagingMark) != std::string::npos;
  const bool overlay = kind == kOverlayEntry && !name.empty() && name.front() == '.' &&
                       name.find(kOverlayMark) != std::string::npos;
  const bool socket = kind == kSocketEntry && name == kSocketName;
  const bool handed = kind == kHandedEntry && name.rfind(kHandedMark, 0) == 0;
  if ((!lock && !staging && !overlay && !socket && !handed) || name.find('/') != std::string::npos)
    throw Error(Code::kFail, "the journal entry names no file of the host");
  const std::string path = text("where") + "/" + name;
  if (handed) {
    std::error_code error;
    std::filesystem::remove_all(path, error);
    if (error) throw errno_error(error.value(), "remove " + path);
    return;
  }
  if (lock && !remove_stale_lock(path))
    throw Error(Code::kBusy, "the lock is held by a process that lives");
  if (!lock && ::unlink(path.c_str()) != 0 && errno != ENOENT)
    throw errno_error(errno, "remove " + path);
  std::error_code ignored;  // a directory that was made for it alone
  if (!lock) std::filesystem::remove(text("where"), ignored);
}

}  // namespace hyperhost
