// SPDX-License-Identifier: Apache-2.0
#include "core/migrate/target_disks.hpp"

#include <algorithm>

#include "core/base/json_text.hpp"
#include "core/disk/content.hpp"
#include "core/disk/copy.hpp"
#include "core/disk/local_sources.hpp"
#include "core/migrate/target_request.hpp"
#include "core/migrate/vm_run.hpp"
#include "core/os/process_identity.hpp"
#include "core/state/journal.hpp"

namespace hyperhost {
namespace {

using Json = nlohmann::json;

// Kinds of journal entries that the host writes under the name of the target's plugin.
constexpr const char* kDiskEntry = "target-disk";
constexpr const char* kMachineEntry = "target-machine";

constexpr unsigned kMostWrites = 64;  // the target's sink says how many it takes

bool has(const Json& info, const char* list, const std::string& name) {
  const Json& names = info.value(list, Json::array());
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// As TargetHandle::remove has it; null for an entry of the plugin's own.
const char* what_of(const std::string& kind) {
  return kind == kDiskEntry ? "disk" : kind == kMachineEntry ? "machine" : nullptr;
}

/// The open entries of what runs of this VM did at its target.
std::vector<JournalEntry> entries_of(VmRun& run) {
  std::vector<JournalEntry> out;
  const auto& journal = run.session.services().journal;
  if (!journal || !run.job.target.wanted) return out;
  const std::string mark = target_mark(run.job, run.route);
  journal->each_entry(plugin_id(run.job.target_plugin.plugin), [&](const JournalEntry& entry) {
    if (text_of(entry.what, "mark") == mark) out.push_back(entry);
  });
  return out;
}

}  // namespace

std::string way_of_disks(const Json& info, const std::string& plugin, bool local_files, bool urls) {
  for (const Json& one : info.value("disks", Json::array())) {
    const auto way = one.get<std::string>();
    if (way == "place" || (way == "put" && local_files) ||
        (way == "import" && (local_files || urls)))
      return way;
  }
  throw Error(Code::kUnsupported,
              "the target '" + plugin + "' takes disks from files of this machine", "",
              "keep_local: true keeps them here");
}

Json earlier_at_target(const ResumeLog* log, const MigrationConfig& job) {
  if (log == nullptr || job.fresh) return nullptr;
  const Json made = log->at_target();
  return made.is_object() && made.value("disks", Json()).is_object() ? made : Json();
}

bool has_written(const Json& made, const std::string& file) {
  return made.is_object() && has(made, "files", file);
}

AtTarget::AtTarget(VmRun& run, TargetHandle& target, const Json& info)
    : run_(run), target_(target), info_(info), made_(earlier_at_target(run.resume(), run.job)) {
  if (made_.is_null()) made_ = {{"disks", Json::object()}, {"files", Json::array()}};
}

bool AtTarget::can(const char* ability) const {
  return has(info_, "can", ability);
}

/// In the journal first, then in the record; and the way back.
void AtTarget::note(const char* kind, const std::string& ref) {
  const auto& journal = run_.session.services().journal;
  uint64_t id = 0;
  if (journal) {
    id = journal->open_entry(target_.plugin().id(), {{"kind", kind},
                                                     {"where", text_of(info_, "location")},
                                                     {"ref", ref},
                                                     {"mark", target_mark(run_.job, run_.route)},
                                                     {"task_id", run_.task->task_id}});
  }
  run_.undo.push([kind, ref, id, &run = run_, &target = target_, journal] {
    Operation op = run.undoing();
    target.remove(op, ref, what_of(kind));
    if (journal) journal->close_entry(id);
  });
  if (ResumeLog* log = run_.resume()) log->at_target(made_);
}

/// What an earlier run brought there.
bool AtTarget::still_there(const Json& made, const DiskResult& disk) {
  if (text_of(made, "digest").empty() || text_of(made, "digest") != disk.digest || !can("readback"))
    return false;
  try {
    return target_.get_disk(run_.op, text_of(made, "ref"))->length() == disk.target_bytes;
  } catch (const Error& failure) {
    if (failure.code() != Code::kNotFound) throw;
    return false;
  }
}

/// How the disk at the target was compared with what was sent; "" = it could not be.
std::string AtTarget::verified(const Json& made, const DiskResult& disk, const std::string& sent) {
  const std::string there = text_of(made, "checksum");
  const std::string where = "disk " + disk.id + " at " + text_of(info_, "location");
  const auto comparable = [&](const std::string& mine) {
    return !mine.empty() && !there.empty() &&
           mine.substr(0, mine.find(':')) == there.substr(0, there.find(':'));
  };
  for (const std::string& mine : {sent, disk.target_checksum}) {
    if (!comparable(mine)) continue;
    if (mine != there)
      throw Error(Code::kCorrupt, where + " is not what was sent",
                  "its checksum is " + there + " instead of " + mine);
    if (!can("readback")) return "checksum";
  }
  if (!can("readback") || disk.digest.empty()) return {};
  std::string used;
  const auto image = run_.session.images().open(target_.get_disk(run_.op, text_of(made, "ref")),
                                                disk.target_format, {}, run_.op, used);
  if (content_digest(*image, run_.op, hardware_threads()) != disk.digest)
    throw Error(Code::kCorrupt, where + " does not hold what was sent");
  return "readback";
}

Json AtTarget::put(std::size_t index, const Json& request) {
  const DiskResult& disk = run_.result.disks[index];
  const auto source = open_file_source(disk.path, "raw");
  const auto sink = target_.put_disk(run_.op, request);
  const CopyResult copied = copy_source(*source, *sink, run_.op, kMostWrites);
  const Json answer = sink->commit(run_.op, copied.bytes);
  Json made = {{"ref", text_of(answer, "location")},
               {"checksum", text_of(answer, "checksum")},
               {"digest", disk.digest}};
  made_["disks"][disk.id] = made;
  note(kDiskEntry, text_of(made, "ref"));
  made_["disks"][disk.id]["verified"] = verified(made, disk, copied.checksum);
  return made_["disks"][disk.id];
}

Json AtTarget::import(std::size_t index, Json request) {
  const DiskResult& disk = run_.result.disks[index];
  if (!disk.url.empty())
    request["url"] = disk.url;
  else
    request["path"] = disk.path;
  const Json answer = target_.import_disk(run_.op, request);
  Json made = {{"ref", text_of(answer, "ref")},
               {"checksum", text_of(answer, "checksum")},
               {"digest", disk.digest}};
  made_["disks"][disk.id] = made;
  note(kDiskEntry, text_of(made, "ref"));
  made_["disks"][disk.id]["verified"] = verified(made, disk, {});
  return made_["disks"][disk.id];
}

const Json& AtTarget::bring_disks() {
  const auto& disks = run_.result.disks;
  const bool urls = std::all_of(disks.begin(), disks.end(),
                                [](const DiskResult& one) { return !one.url.empty(); });
  const bool local = std::all_of(disks.begin(), disks.end(), [](const DiskResult& one) {
    return !one.path.empty() && one.path.front() == '/';
  });
  const std::string way = way_of_disks(info_, target_.plugin().id(), local, urls);
  if (way == "place") return made_["disks"];
  const Json whole = target_request(run_.job, run_.route, &run_.result);
  for (std::size_t i = 0; i < disks.size(); ++i) {
    const DiskResult& disk = disks[i];
    run_.cancel->check();
    if (const auto earlier = made_["disks"].find(disk.id);
        earlier != made_["disks"].end() && still_there(*earlier, disk)) {
      if (text_of(*earlier, "verified").empty())
        (*earlier)["verified"] = verified(*earlier, disk, {});
      note(kDiskEntry, text_of(*earlier, "ref"));
      continue;
    }
    Json request = {{"name", whole["name"]},
                    {"mark", whole["mark"]},
                    {"task_id", run_.task->task_id},
                    {"disk", disk.id},
                    {"file_name", whole["disks"][i]["file"]},
                    {"format", disk.target_format},
                    {"length", disk.target_bytes},
                    {"virtual_size", disk.virtual_size}};
    const Json& planned = whole["machine"]["disks"][i];
    if (planned.contains("storage")) request["storage"] = planned["storage"];
    if (!disk.target_checksum.empty()) request["checksum"] = disk.target_checksum;
    run_.inform("disk " + disk.id + " goes to " + text_of(info_, "location"), "export");
    const Json made = way == "put" ? put(i, request) : import(i, std::move(request));
    if (text_of(made, "verified").empty() && run_.job.verify_export != Verify::kNone)
      run_.warn(Error(Code::kUnsupported, "disk " + disk.id + " cannot be compared at its target",
                      "the target gives neither a checksum nor the disk's bytes"),
                "export");
  }
  if (ResumeLog* log = run_.resume()) log->at_target(made_);
  return made_["disks"];
}

void AtTarget::defined(const std::string& ref) {
  made_["ref"] = ref;
  if (can("remove"))
    note(kMachineEntry, ref);
  else if (ResumeLog* log = run_.resume())
    log->at_target(made_);
}

bool AtTarget::has_written(const std::string& file) const {
  return hyperhost::has_written(made_, file);
}

void AtTarget::writes(const std::string& file) {
  if (has_written(file)) return;
  made_["files"].push_back(file);
  if (ResumeLog* log = run_.resume()) log->at_target(made_);
}

void settle_at_target(VmRun& run) {
  for (const JournalEntry& entry : entries_of(run))
    if (what_of(text_of(entry.what, "kind")) != nullptr)
      run.session.services().journal->close_entry(entry.id);
}

bool undo_at_target(TargetHandle& target, Operation& op, const Json& entry) {
  const char* what = what_of(text_of(entry, "kind"));
  if (what == nullptr) return target.undo(op, entry);
  if (text_of(target.info(op), "location") != text_of(entry, "where")) return false;
  target.remove(op, text_of(entry, "ref"), what);
  return true;
}

void undo_orphans_at_target(VmRun& run) {
  const ResumeLog* log = run.resume();
  const std::string kept = log == nullptr || run.job.fresh ? "" : log->at_target().dump();
  std::vector<JournalEntry> entries = entries_of(run);
  std::reverse(entries.begin(), entries.end());  // a machine before the disks that it uses
  for (const JournalEntry& entry : entries) {
    const std::string ref = Json(text_of(entry.what, "ref")).dump();
    const bool own = what_of(text_of(entry.what, "kind")) != nullptr;
    if (process_state(entry.owner) != ProcessState::kGone ||
        (own && kept.find(ref) != std::string::npos))
      continue;
    try {
      TargetHandle& target = run.session.target(run.job.target_plugin, run.op);
      if (undo_at_target(target, run.op, entry.what))
        run.session.services().journal->close_entry(entry.id);
    } catch (const Error& failure) {  // cleanup tries again
      run.warn(failure, "export");
    }
  }
}

}  // namespace hyperhost
