// SPDX-License-Identifier: Apache-2.0
// What outlives a run: one SQLite database (WAL, synchronous=FULL) in the state directory. Its
// schema is versioned; a file from a newer program or a damaged one is refused by name.
// Thread-safe; several processes may have it open.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>

#include "core/state/journal.hpp"

struct sqlite3;

namespace hyperhost {

/// HYPERHOST_STATE_DIR; else /var/lib/hyperhost for root and $XDG_STATE_HOME/hyperhost
/// (~/.local/state/hyperhost) for others.
std::filesystem::path default_state_dir();

class StateStore final : public Journal {
 public:
  /// Makes the directory (mode 0700) and the database where missing. Throws Error.
  static std::shared_ptr<StateStore> open(const std::filesystem::path& directory);
  ~StateStore() override;

  uint64_t open_entry(const std::string& plugin, const nlohmann::json& what) override;
  void update_entry(uint64_t id, const nlohmann::json& what) override;
  void close_entry(uint64_t id) override;
  void each_entry(const std::string& plugin,
                  const std::function<void(const JournalEntry&)>& on_entry) override;

 private:
  StateStore(const std::filesystem::path& file, sqlite3* db) : file_(file), db_(db) {}
  void migrate();

  const std::filesystem::path file_;
  sqlite3* db_;
  std::mutex mutex_;
};

}  // namespace hyperhost
