// SPDX-License-Identifier: Apache-2.0
// Undoes what killed runs left open in the journal: each entry is handed to the plugin that wrote
// it, at every place of a plan that uses that plugin. One thread.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/migrate/session.hpp"
#include "core/state/journal.hpp"

namespace hyperhost {

enum class CleanupState {
  kUndone,   ///< nothing of it is left; the entry is closed
  kPending,  ///< would be tried (dry run)
  kInUse,    ///< of a run that is going on
  kUnseen,   ///< of a run on another machine or in another container
  kNoPlace,  ///< no place of the plan knows it: a plan with its credentials is needed
  kFailed,   ///< tried, and still there
};
/// "undone", "pending", "in use", "unseen", "no place", "failed".
const char* cleanup_state_name(CleanupState state);

struct CleanupItem {
  JournalEntry entry;
  CleanupState state = CleanupState::kNoPlace;
  std::string reason;  ///< empty where the state says all
};

struct CleanupPlaces {
  std::vector<std::string> providers;  ///< names the session knows
  std::vector<PluginChoice> storages, targets;
};

/// The result is the oldest first. Entries of the local storage need no plan: they name their
/// directory. force: also those of runs that cannot be seen from here. Never throws for an entry or
/// a place.
std::vector<CleanupItem> clean_up(Journal& journal, Session& session, const CleanupPlaces& places,
                                  bool dry_run, bool force,
                                  const std::shared_ptr<CancelSource>& cancel);

}  // namespace hyperhost
