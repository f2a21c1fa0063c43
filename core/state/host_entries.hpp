// SPDX-License-Identifier: Apache-2.0
// What the host itself leaves in directories while it works, written down in the journal before
// it is there: the locks of a plan's run on its output directories and of a VM, staging files,
// overlays and sockets.
// One thread each.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "core/os/lock_file.hpp"
#include "core/state/journal.hpp"

namespace hyperhost {

/// The plugin id of the host's own journal entries.
constexpr const char* kHostEntries = "hyperhost";
constexpr const char* kLockEntry = "lock";
constexpr const char* kStagingEntry = "staging file";
constexpr const char* kStagingMark = ".hyperhost-stage-";
constexpr const char* kOverlayEntry = "overlay";
constexpr const char* kOverlayMark = ".hyperhost-overlay-";
constexpr const char* kSocketEntry = "socket";  ///< in a directory of its own
constexpr const char* kSocketName = "hyperhost.sock";
constexpr const char* kHandedEntry = "directory of a plugin's process";
constexpr const char* kHandedMark = ".hyperhost-guest-";

/// An entry that is closed by its destructor. journal: may be null, then it is none. One that a
/// killed run left of the same file is taken over.
class HostEntry {
 public:
  HostEntry(std::shared_ptr<Journal> journal, const std::string& kind, const std::string& directory,
            const std::string& name);
  ~HostEntry();
  HostEntry(const HostEntry&) = delete;
  HostEntry& operator=(const HostEntry&) = delete;
  /// Of the same file, of owners that may not be visible from here (another container): for one
  /// who holds the file.
  void close_others();
  /// The entry stays open: what it names stays, too.
  void leave() { left_ = true; }

 private:
  const std::shared_ptr<Journal> journal_;
  uint64_t id_ = 0;
  bool left_ = false;
};

/// The file of an overlay, written down before it has its name. Its destructor removes it, unless
/// it stays for a later run. Constructed for a file that is there, too: it takes that over.
class OverlayEntry {
 public:
  OverlayEntry(std::shared_ptr<Journal> journal, std::filesystem::path file);
  ~OverlayEntry();
  OverlayEntry(const OverlayEntry&) = delete;
  OverlayEntry& operator=(const OverlayEntry&) = delete;
  const std::filesystem::path& file() const { return file_; }
  void leave();

 private:
  const std::filesystem::path file_;
  HostEntry entry_;
  bool left_ = false;
};

class OutputLock {
 public:
  /// Of a plan's run. Throws Error(kBusy) where another run has it.
  OutputLock(std::shared_ptr<Journal> journal, const std::filesystem::path& directory,
             const std::string& plan_name, const std::string& user);
  /// Of one VM, whatever the plans are called that write it there. stem: of its files.
  static std::unique_ptr<OutputLock> of_vm(std::shared_ptr<Journal> journal,
                                           const std::filesystem::path& directory,
                                           const std::string& stem);

  const LockFile& file() const { return file_; }

 private:
  struct Named {
    std::string file, purpose;
  };
  OutputLock(std::shared_ptr<Journal> journal, const std::filesystem::path& directory,
             const Named& named);

  HostEntry entry_;  // outlives the file
  LockFile file_;
};

/// Removes what such an entry of a process that is gone names; throws Error(kBusy) where a lock is
/// held all the same.
void undo_host_entry(const JournalEntry& entry);

}  // namespace hyperhost
