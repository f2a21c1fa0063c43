// SPDX-License-Identifier: Apache-2.0
// VmMigration's dealings with other attempts: what it takes over from earlier ones, and what it
// leaves to later ones. The order of things is in resume.md.
#include <algorithm>
#include <filesystem>
#include <set>

#include "core/migrate/resume_log.hpp"
#include "core/migrate/vm_migration.hpp"
#include "core/os/process_identity.hpp"
#include "core/state/host_entries.hpp"
#include "core/state/journal.hpp"

namespace hyperhost {

void VmMigration::take_over() {
  pending_.resize(route_.disks.size());
  ready_.assign(route_.disks.size(), false);
  ResumeLog* log = route_.resume.get();
  if (log == nullptr) return;
  if (config_.fresh) {
    for (const DiskRoute& route : route_.disks)
      if (const auto record = log->disk(route.disk.id)) conversions_.discard(config_, *record, op_);
    for (const ResumeRecord& record : log->stale()) conversions_.discard(config_, record, op_);
    log->forget();
  } else {
    for (const ResumeRecord& record : log->stale()) {
      conversions_.discard(config_, record, op_);
      log->forget(record.disk);
    }
    if (const auto vm = log->vm(); vm && vm->phase == "closing") {
      // What is at the destination is this VM's own, as far as it came.
      config_.upload_overwrite = true;
    }
    for (std::size_t i = 0; i < route_.disks.size(); ++i) {
      const std::string& id = route_.disks[i].disk.id;
      auto adopted = conversions_.adopt(config_, route_.disks[i], op_, *log,
                                        [&](Stage stage, uint64_t done, uint64_t total) {
                                          stages_.progress(stage, id, done, total);
                                        });
      if (!adopted) continue;
      pending_[i] = std::move(*adopted);
      ready_[i] = true;
    }
  }
  remove_orphans();
}

// Unfinished objects of this VM that a killed run left and that no record speaks of.
void VmMigration::remove_orphans() {
  const auto& journal = session_.services().journal;
  if (!journal || !route_.resume) return;
  std::set<std::string> keys{route_.stem + "/manifest.json"}, wanted;
  for (const DiskRoute& route : route_.disks) {
    keys.insert(route.key);
    if (const auto record = route_.resume->disk(route.disk.id)) wanted.insert(record->token.dump());
  }
  const auto& staging = config_.staging_dir.empty() ? route_.directory : config_.staging_dir;
  const auto text = [](const JournalEntry& entry, const char* member) {
    const auto found = entry.what.find(member);
    return found != entry.what.end() && found->is_string() ? found->get<std::string>() : "";
  };
  std::vector<JournalEntry> owed;
  journal->each_entry("", [&](const JournalEntry& entry) {
    const std::string ref = text(entry, "ref");
    const bool staged =
        entry.plugin == kHostEntries && text(entry, "kind") == kStagingEntry &&
        text(entry, "where") == staging.string() &&
        std::any_of(route_.disks.begin(), route_.disks.end(), [&](const DiskRoute& route) {
          return ref.rfind("." + route.file_name + kStagingMark, 0) == 0;
        });
    const bool object = keys.contains(text(entry, "key")) && !ref.empty() &&
                        std::none_of(wanted.begin(), wanted.end(), [&](const std::string& token) {
                          return token.find(ref) != std::string::npos;
                        });
    if ((staged || object) && process_state(entry.owner) == ProcessState::kGone)
      owed.push_back(entry);
  });
  for (const JournalEntry& entry : owed) {
    try {
      if (entry.plugin == kHostEntries) {
        undo_host_entry(entry);
        journal->close_entry(entry.id);
        continue;
      }
      std::vector<StorageHandle*> places;
      if (entry.plugin == "local" && text(entry, "where") == config_.output_dir.string())
        places.push_back(&session_.local_storage(config_.output_dir, op_));
      if (config_.upload_to_cloud && entry.plugin == plugin_id(config_.storage.plugin))
        places.push_back(&session_.storage(config_.storage, op_));
      for (StorageHandle* place : places)
        if (place->undo(op_, entry.what)) {
          journal->close_entry(entry.id);
          break;
        }
    } catch (const Error& failure) {
      Diagnostic diagnostic = failure.diagnostic();
      diagnostic.severity = Severity::kWarning;
      notice(diagnostic, "export");
    }
  }
}

// From here on what has this VM's names at the destination is its own: it was not there before.
void VmMigration::claim_destination() {
  ResumeLog* log = route_.resume.get();
  if (log == nullptr) return;
  if (const auto vm = log->vm(); vm && vm->phase == "closing" && !config_.fresh) {
    config_.overwrite = true;
    return;
  }
  if (config_.upload_to_cloud && !config_.upload_overwrite) {
    StorageHandle& store = session_.storage(config_.storage, op_);
    std::vector<std::string> keys;
    for (const PendingDisk& disk : pending_)
      if (disk.store != &store) keys.push_back(disk.key);
    if (config_.export_manifest) keys.push_back(route_.stem + "/manifest.json");
    for (const std::string& key : keys)
      if (!store.stat(op_, key).is_null())
        throw Error(Code::kExists, key + " exists at " + config_.cloud_destination, "",
                    "remove it, choose another destination, or set upload.overwrite: true");
  }
  log->closing();
}

// Written disks stay under their temporary names where a later run may take them over.
void VmMigration::drop_pending(bool keep) {
  ResumeLog* log = route_.resume.get();
  Operation op = session_.operation(route_.vm.name, CancelSource::create());
  for (PendingDisk& disk : pending_) {
    const bool kept = keep && log != nullptr && log->disk(disk.result.id);
    if (kept || !disk.sink || !disk.sink->can(HYPER_SINK_RESUME)) continue;
    try {
      disk.sink->drop(op);
    } catch (const Error&) {
      // The journal has it; cleanup tries again.
    }
  }
  pending_.clear();
}

void VmMigration::undo(bool keep) {
  ResumeLog* log = route_.resume.get();
  const bool something =
      log != nullptr &&
      std::any_of(route_.disks.begin(), route_.disks.end(),
                  [&](const DiskRoute& route) { return log->disk(route.disk.id).has_value(); });
  drop_pending(keep);
  if (keep && something) {
    Diagnostic kept;
    kept.severity = Severity::kInfo;
    kept.code = Code::kOk;
    kept.summary = "what is done so far is kept: run the plan again to go on from there";
    kept.hint = "hyperhost cleanup removes it";
    notice(kept, "convert");
    return;
  }
  Operation op = session_.operation(route_.vm.name, CancelSource::create());
  for (auto it = committed_.rbegin(); it != committed_.rend(); ++it) {
    try {
      it->first->remove(op, it->second);
    } catch (const Error& failure) {
      Diagnostic diagnostic = failure.diagnostic();
      diagnostic.severity = Severity::kWarning;
      notice(diagnostic, "convert");
    }
  }
  committed_.clear();
  if (log != nullptr) {
    for (const DiskRoute& route : route_.disks)
      if (const auto record = log->disk(route.disk.id)) {
        try {
          conversions_.discard(config_, *record, op);
        } catch (const Error&) {
          // The journal has it; cleanup tries again.
        }
      }
    log->forget();
  }
  std::error_code ignored;  // only an empty directory goes
  std::filesystem::remove(route_.directory, ignored);
}

}  // namespace hyperhost
