// SPDX-License-Identifier: Apache-2.0
// A directory for a plugin whose process is another user's (Plugin::user()): it may write there,
// and the host takes from it what it wants, trusting none of it. One thread.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <string>

#include "core/state/host_entries.hpp"

namespace hyperhost {

class HandedDirectory {
 public:
  /// In `near` where the user may get there, else in /var/tmp. It goes with the object; journal:
  /// may be null, else cleanup removes what a kill leaves.
  HandedDirectory(std::shared_ptr<Journal> journal, const std::filesystem::path& near, uid_t user);
  ~HandedDirectory();
  HandedDirectory(const HandedDirectory&) = delete;
  HandedDirectory& operator=(const HandedDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// Copies a file of the user's own, of at most 64 MiB, to a place of the host. Nothing happens if
  /// there is no such file.
  void take(const std::string& name, const std::filesystem::path& to) const;

 private:
  const uid_t user_;
  std::filesystem::path path_;
  std::unique_ptr<HostEntry> entry_;
};

}  // namespace hyperhost
