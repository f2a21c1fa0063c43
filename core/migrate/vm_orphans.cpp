// SPDX-License-Identifier: Apache-2.0
// Unfinished objects of a VM that a killed run left and that no record speaks of.
#include <algorithm>
#include <set>

#include "core/base/json_text.hpp"
#include "core/migrate/target_disks.hpp"
#include "core/migrate/vm_run.hpp"
#include "core/os/process_identity.hpp"
#include "core/state/host_entries.hpp"

namespace hyperhost {
namespace {

/// A file of one of the VM's disks: kind and mark are those of kStagingEntry, or of kOverlayEntry.
bool is_file_of(const VmRun& run, const JournalEntry& entry, const char* kind, const char* mark) {
  const auto& directory = run.job.staging_dir.empty() ? run.route.directory : run.job.staging_dir;
  if (entry.plugin != kHostEntries || text_of(entry.what, "kind") != kind ||
      text_of(entry.what, "where") != directory.string())
    return false;
  const std::string ref = text_of(entry.what, "ref");
  return std::any_of(run.route.disks.begin(), run.route.disks.end(), [&](const DiskRoute& disk) {
    return ref.rfind("." + disk.file_name + mark, 0) == 0;
  });
}

/// What a killed run made for a plugin's programs, whichever VM's it was: the socket of a disk, in
/// a directory of its own, or a directory that they wrote to.
bool is_for_programs(const JournalEntry& entry) {
  const std::string kind = text_of(entry.what, "kind");
  return entry.plugin == kHostEntries && (kind == kSocketEntry || kind == kHandedEntry);
}

/// The plugin that wrote it undoes it, at each place of the job that it may be of.
bool undo_where_it_is(VmRun& run, const JournalEntry& entry) {
  std::vector<StorageHandle*> places;
  if (entry.plugin == plugin_id(run.session.registry().storage_for("file")) &&
      text_of(entry.what, "where") == run.job.output_dir.string())
    places.push_back(&run.local());
  if (run.job.upload_to_cloud && entry.plugin == plugin_id(run.job.storage.plugin))
    places.push_back(&run.store());
  return std::any_of(places.begin(), places.end(),
                     [&](StorageHandle* place) { return place->undo(run.op, entry.what); });
}

/// Files that a target answered, of this run or of one that was killed.
std::set<std::string> files_of_target(const VmRun& run) {
  std::set<std::string> out;
  for (const nlohmann::json& made : {earlier_at_target(run.resume(), run.job), run.result.target})
    if (made.is_object())
      for (const nlohmann::json& name : made.value("files", nlohmann::json::array()))
        out.insert(run.route.stem + "/" + name.get<std::string>());
  return out;
}

/// An object has its name, and a kill came before the end of its upload's entry. The plugin finds
/// such an entry when its key is put again, and closes it.
void close_entries_of_objects(VmRun& run) {
  const std::string plugin = run.job.upload_to_cloud ? plugin_id(run.job.storage.plugin) : "";
  if (plugin.empty()) return;
  std::set<std::string> keys;
  run.session.services().journal->each_entry(plugin, [&](const JournalEntry& entry) {
    if (process_state(entry.owner) != ProcessState::kGone) return;
    const std::string ref = text_of(entry.what, "ref");
    for (const DiskRoute& disk : run.route.disks)
      if (ref.ends_with(disk.key)) keys.insert(disk.key);
    if (ref.ends_with(run.manifest_key())) keys.insert(run.manifest_key());
    for (const std::string& key : files_of_target(run))
      if (ref.ends_with(key)) keys.insert(key);
  });
  for (const std::string& key : keys) {
    try {
      run.store().put(run.op, {{"key", key},
                               {"overwrite", false},
                               {"adopt", true},
                               {"durability", durability_name(run.job.durability)}});
    } catch (const Error& failure) {  // the VM is done all the same
      run.warn(failure, "upload");
    }
  }
}

}  // namespace

void VmRun::remove_orphans(bool finished) {
  const auto& journal = session.services().journal;
  if (!journal || !route.resume) return;
  std::set<std::string> keys = files_of_target(*this), wanted;
  keys.insert(manifest_key());
  for (const DiskRoute& disk : route.disks) {
    keys.insert(disk.key);
    if (const auto record = route.resume->disk(disk.disk.id)) wanted.insert(record->token.dump());
  }
  const auto prepared = route.resume->prepared();
  const std::string views = prepared ? prepared->token.dump() : "";
  std::vector<JournalEntry> orphans;
  journal->each_entry("", [&](const JournalEntry& entry) {
    const std::string ref = text_of(entry.what, "ref");
    const bool object = keys.contains(text_of(entry.what, "key")) && !ref.empty() &&
                        std::none_of(wanted.begin(), wanted.end(), [&](const std::string& token) {
                          return token.find(ref) != std::string::npos;
                        });
    const bool view = is_file_of(*this, entry, kOverlayEntry, kOverlayMark) &&
                      views.find(ref) == std::string::npos;
    const bool staged = is_file_of(*this, entry, kStagingEntry, kStagingMark);
    if ((object || view || staged || is_for_programs(entry)) &&
        process_state(entry.owner) == ProcessState::kGone)
      orphans.push_back(entry);
  });
  for (const JournalEntry& entry : orphans) {
    try {
      if (entry.plugin == kHostEntries)
        undo_host_entry(entry);
      else if (!undo_where_it_is(*this, entry))
        continue;
      journal->close_entry(entry.id);
    } catch (const Error& failure) {
      warn(failure, "export");
    }
  }
  if (finished) close_entries_of_objects(*this);
  undo_orphans_at_target(*this);
}

}  // namespace hyperhost
