// SPDX-License-Identifier: Apache-2.0
#include "core/run/cleanup.hpp"

#include <algorithm>
#include <functional>
#include <map>

#include "core/migrate/target_disks.hpp"
#include "core/os/process_identity.hpp"
#include "core/plugin/format_catalog.hpp"
#include "core/state/host_entries.hpp"

namespace hyperhost {
namespace {

std::string member(const nlohmann::json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

class Cleaner {
 public:
  Cleaner(Journal& journal, Session& session, const CleanupPlaces& places,
          const std::shared_ptr<CancelSource>& cancel)
      : journal_(journal), session_(session), places_(places), cancel_(cancel) {}

  void undo(CleanupItem& item, bool dry_run) {
    if (item.entry.plugin == kHostEntries) return undo_own(item, dry_run);
    const auto ways = ways_for(item.entry);
    if (ways.empty()) {
      item.reason = "a plan that uses the plugin '" + item.entry.plugin + "' is needed";
      return;
    }
    if (dry_run) {
      item.state = CleanupState::kPending;
      return;
    }
    for (const Way& way : ways) {
      // An unreachable server is asked once, not for every entry.
      if (const auto failed = unreachable_.find(way.name); failed != unreachable_.end()) {
        item.state = CleanupState::kFailed;
        item.reason = failed->second;
        continue;
      }
      Operation op = session_.operation("cleanup", cancel_);
      std::function<bool(Operation&, const nlohmann::json&)> call;
      try {
        call = way.connect(op);
      } catch (const Error& failure) {
        unreachable_[way.name] = failure.what();
        item.state = CleanupState::kFailed;
        item.reason = failure.what();
        continue;
      }
      nlohmann::json entry = item.entry.what;
      entry["entry"] = item.entry.id;
      try {
        if (!call(op, entry)) continue;
        journal_.close_entry(item.entry.id);
        item.state = CleanupState::kUndone;
        item.reason.clear();
        return;
      } catch (const Error& failure) {
        item.state = CleanupState::kFailed;
        item.reason = failure.what();
        return;  // the place knows it, and could not
      }
    }
    if (item.state == CleanupState::kNoPlace)
      item.reason = "none of the plan's places is " + member(item.entry.what, "where");
  }

 private:
  void undo_own(CleanupItem& item, bool dry_run) {
    item.state = CleanupState::kPending;
    if (dry_run) return;
    try {
      undo_host_entry(item.entry);
      journal_.close_entry(item.entry.id);
      item.state = CleanupState::kUndone;
    } catch (const Error& failure) {
      item.state = CleanupState::kFailed;
      item.reason = failure.what();
    }
  }

  using Call = std::function<bool(Operation&, const nlohmann::json&)>;
  struct Way {
    std::string name;
    std::function<Call(Operation&)> connect;
  };

  static Call undo_in(StorageHandle& storage) {
    return [&storage](Operation& op, const nlohmann::json& what) { return storage.undo(op, what); };
  }

  std::vector<Way> ways_for(const JournalEntry& entry) {
    std::vector<Way> ways;
    for (const std::string& name : places_.providers)
      if (plugin_id(session_.provider_plugin(name)) == entry.plugin)
        ways.push_back({"provider " + name, [this, name](Operation& op) -> Call {
                          ProviderHandle& provider = session_.provider(name, op);
                          return [&provider](Operation& undo_op, const nlohmann::json& what) {
                            return provider.undo(undo_op, what);
                          };
                        }});
    for (std::size_t i = 0; i < places_.targets.size(); ++i)
      if (plugin_id(places_.targets[i].plugin) == entry.plugin)
        ways.push_back({"target " + std::to_string(i), [this, i](Operation& op) -> Call {
                          TargetHandle& target = session_.target(places_.targets[i], op);
                          return [&target](Operation& undo_op, const nlohmann::json& what) {
                            return undo_at_target(target, undo_op, what);
                          };
                        }});
    const std::string where = member(entry.what, "where");
    const bool to_directories =
        offers_of(session_.registry(), entry.plugin).destination("file") != nullptr;
    if (to_directories && !where.empty() && where.front() == '/') {
      ways.push_back({"directory " + where, [this, where, plugin = entry.plugin](Operation& op) {
                        return undo_in(session_.directory(plugin, where, op));
                      }});
      return ways;
    }
    for (std::size_t i = 0; i < places_.storages.size(); ++i)
      if (plugin_id(places_.storages[i].plugin) == entry.plugin)
        ways.push_back({"storage " + std::to_string(i), [this, i](Operation& op) {
                          return undo_in(session_.storage(places_.storages[i], op));
                        }});
    return ways;
  }

  Journal& journal_;
  Session& session_;
  const CleanupPlaces& places_;
  const std::shared_ptr<CancelSource> cancel_;
  std::map<std::string, std::string> unreachable_;
};

}  // namespace

const char* cleanup_state_name(CleanupState state) {
  switch (state) {
    case CleanupState::kUndone:
      return "undone";
    case CleanupState::kPending:
      return "pending";
    case CleanupState::kInUse:
      return "in use";
    case CleanupState::kUnseen:
      return "unseen";
    case CleanupState::kNoPlace:
      return "no place";
    case CleanupState::kFailed:
      break;
  }
  return "failed";
}

namespace {

/// A rerun cannot continue with what was removed.
void forget_resume_of(ResumeStore* store, const JournalEntry& entry) {
  const std::string ref = member(entry.what, "ref");
  if (store == nullptr || ref.empty()) return;
  const std::string quoted = nlohmann::json(ref).dump();
  for (const ResumeRecord& record : store->resume_records(""))
    if (!record.disk.empty() && record.token.dump().find(quoted) != std::string::npos)
      store->forget_resume(record.target, record.disk);
}

/// The oldest first; what stands at a target the other way round, since a machine uses its disks.
std::vector<CleanupItem*> in_order(std::vector<CleanupItem>& items, const CleanupPlaces& places) {
  std::vector<CleanupItem*> out;
  for (CleanupItem& item : items) out.push_back(&item);
  const auto at_target =
      std::stable_partition(out.begin(), out.end(), [&](const CleanupItem* item) {
        return std::none_of(places.targets.begin(), places.targets.end(),
                            [&](const PluginChoice& target) {
                              return plugin_id(target.plugin) == item->entry.plugin;
                            });
      });
  std::reverse(at_target, out.end());
  return out;
}

}  // namespace

std::vector<CleanupItem> clean_up(Journal& journal, Session& session, const CleanupPlaces& places,
                                  bool dry_run, bool force,
                                  const std::shared_ptr<CancelSource>& cancel) {
  std::vector<CleanupItem> items;
  journal.each_entry("", [&](const JournalEntry& entry) { items.push_back({entry, {}, {}}); });
  Cleaner cleaner(journal, session, places, cancel);
  for (CleanupItem* const one : in_order(items, places)) {
    CleanupItem& item = *one;
    item.state = CleanupState::kNoPlace;
    const ProcessState owner = process_state(item.entry.owner);
    if (owner == ProcessState::kAlive) {
      item.state = CleanupState::kInUse;
      item.reason = "by " + process_name(item.entry.owner);
    } else if (owner == ProcessState::kUnseen && !force) {
      item.state = CleanupState::kUnseen;
      item.reason = "written by " + process_name(item.entry.owner) +
                    ", which cannot be seen from here; --force if it is gone";
    } else if (cancel->cancelled()) {
      item.state = CleanupState::kFailed;
      item.reason = "not tried: interrupted";
    } else {
      cleaner.undo(item, dry_run);
      if (item.state == CleanupState::kUndone)
        forget_resume_of(session.services().resume_store.get(), item.entry);
    }
  }
  return items;
}

}  // namespace hyperhost
