// SPDX-License-Identifier: Apache-2.0
// What stands at the target of one VM: its disks and its machine, in the VM's resume record and,
// until the VM is finished, in the journal, so that a killed run's are found again or undone. Used
// by the VM's thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "core/plugin/target_handle.hpp"

namespace hyperhost {

class ResumeLog;
struct DiskResult;
struct MigrationConfig;
struct VmRun;

class AtTarget {
 public:
  /// info: the target's. What an earlier run of the same VM noted is taken over.
  AtTarget(VmRun& run, TargetHandle& target, const nlohmann::json& info);

  /// Brings every disk of the VM to the target and compares it there: its "ref" and how it was
  /// "verified" for each. Empty where the target uses the disks where they are. Throws Error.
  const nlohmann::json& bring_disks();
  /// Notes the machine that define() has answered.
  void defined(const std::string& ref);
  /// This run or an earlier one that was ended wrote that file of the target into the VM's place.
  bool has_written(const std::string& file) const;
  /// Notes it: from here on, a file of that name is the VM's own.
  void writes(const std::string& file);

 private:
  nlohmann::json put(std::size_t index, const nlohmann::json& request);
  nlohmann::json import(std::size_t index, nlohmann::json request);
  std::string verified(const nlohmann::json& made, const DiskResult& disk, const std::string& sent);
  bool still_there(const nlohmann::json& made, const DiskResult& disk);
  void note(const char* kind, const std::string& ref);
  bool can(const char* ability) const;

  VmRun& run_;
  TargetHandle& target_;
  const nlohmann::json info_;
  /// {"disks": {ID: {"ref", "checksum", "digest", "verified"}}, "ref"?, "files": [NAME]}
  nlohmann::json made_;
};

/// What an earlier run that did not come to its end noted of the VM's target; null = nothing.
nlohmann::json earlier_at_target(const ResumeLog* log, const MigrationConfig& job);
/// Whether that has a file.
bool has_written(const nlohmann::json& made, const std::string& file);

/// The VM is finished: what stands at its target is meant to stay.
void settle_at_target(VmRun& run);

/// Undoes what a killed run of this VM left at its target, but for what its record speaks of.
void undo_orphans_at_target(VmRun& run);

/// Undoes the change of a journal entry: one of AtTarget's, or the plugin's own. False: it is of
/// another place.
bool undo_at_target(TargetHandle& target, Operation& op, const nlohmann::json& entry);

/// How the disks reach a target of that info: "place", "put" or "import". Throws Error where the
/// delivered disks fit none of its ways.
std::string way_of_disks(const nlohmann::json& info, const std::string& plugin, bool local_files,
                         bool urls);

}  // namespace hyperhost
