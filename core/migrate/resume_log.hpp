// SPDX-License-Identifier: Apache-2.0
// How far the disks of one VM have come, for this attempt and for a later one: what is unfinished,
// what is written, what is done. Order and promises: core/migrate/resume.md. Belongs to one VM's
// migration; its functions may be called by the threads of its disks. A store that fails is said
// once and costs the resumption, never the migration.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "core/migrate/session.hpp"
#include "core/state/resume_store.hpp"
#include "core/vm/migration.hpp"
#include "core/vm/route.hpp"

namespace hyperhost {

/// The record of a preparation has it as its disk; no disk has such an id.
constexpr const char* kPreparation = "/preparation";

class ResumeLog {
 public:
  /// What an earlier run left of the VM's target; null where no state is kept.
  static std::shared_ptr<ResumeLog> open(const MigrationConfig& config, const VmRoute& route,
                                         Session& session);

  /// The record of a disk that was asked for in the same way, of a source of the same content;
  /// nothing where there is none or it cannot be trusted after a reboot.
  std::optional<ResumeRecord> disk(const std::string& id) const;
  /// The same for the VM: "closing" once every disk has its name, "finished".
  std::optional<ResumeRecord> vm() const;
  /// The same for the preparation of the VM's guest: "prepared", with the views that it left. The
  /// disks of such a VM have records only as long as it has this one: they fit no other
  /// preparation.
  std::optional<ResumeRecord> prepared() const;
  /// Records of other wishes or contents: their unfinished objects are of no use.
  std::vector<ResumeRecord> stale() const;
  /// Why such a record is of no use, for the operator: "changed since: content, options".
  std::string why_stale(const ResumeRecord& record) const;
  /// The content of the source is known to be the same until its content_id changes.
  bool resumable(const std::string& disk_id) const;

  /// views: by disk {"where", "ref", "digest"}, of the overlay's file. outcomes: of the plugins.
  /// Before the threads of the disks begin. False, here and below: it is not kept.
  bool prepared(const nlohmann::json& views, const nlohmann::json& outcomes);
  bool writing(const std::string& disk_id, const nlohmann::json& token,
               const nlohmann::json& state);
  bool written(const std::string& disk_id, const nlohmann::json& token, const DiskResult& result,
               uint64_t length);
  bool closing();
  /// What stands at the target so far (target_disks.hpp); "closing" goes on.
  bool at_target(const nlohmann::json& made);
  /// What an earlier run noted there; null where it did not.
  nlohmann::json at_target() const;
  void finished(const MigrationResult& result);
  void forget();
  void forget(const std::string& disk_id);
  /// And the records of the disks that were written of it.
  void forget_preparation();

  /// Why the artifacts of a finished VM are not what was written; empty if they are. missing: some
  /// are gone.
  std::string check_artifacts(Session& session, Operation& op, bool& missing) const;
  /// What the finished VM's record says of it.
  void restore(MigrationResult& result) const;

 private:
  ResumeLog(std::shared_ptr<ResumeStore> store, std::shared_ptr<const HostClock> clock,
            const MigrationConfig& config)
      : store_(std::move(store)), clock_(std::move(clock)), config_(config) {}
  bool save(ResumeRecord record);
  bool trusted(const ResumeRecord& record) const;
  void want(const std::string& id, const nlohmann::json& wish);
  void want_preparation(const nlohmann::json& wish);
  /// Makes the records of the disks those of this preparation; "" = there is none.
  void bind_disks(const std::string& preparation);
  ResumeRecord fresh(const std::string& disk_id, const char* phase,
                     const nlohmann::json& token) const;

  const std::shared_ptr<ResumeStore> store_;
  const std::shared_ptr<const HostClock> clock_;
  const MigrationConfig config_;
  std::string target_, vm_fingerprint_;
  std::string manifest_key_;                         ///< empty where none is written
  std::map<std::string, std::string> fingerprints_;  ///< of resumable disks, and kPreparation
  std::map<std::string, nlohmann::json> wishes_;     ///< by disk: what its fingerprint is made of
  std::map<std::string, std::string> contents_;      ///< by disk: content_id; "" = not known
  std::map<std::string, nlohmann::json> places_;     ///< by disk: {"key", "direct"}
  std::map<std::string, nlohmann::json> inputs_;     ///< by disk: hash of each input of its print
  mutable std::mutex mutex_;
  std::map<std::string, ResumeRecord> records_;
  bool said_ = false;
};

/// Whether what was done so far may be of use to another run, by what ended this one.
bool worth_keeping(Code code);

}  // namespace hyperhost
