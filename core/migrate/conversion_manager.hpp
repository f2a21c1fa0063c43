// SPDX-License-Identifier: Apache-2.0
// Takes one disk from its source through a converter into a sink and proves the result, up to but
// not including the commit: the VM's disks get their names together. Used by several threads at
// once, one call a disk.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "core/migrate/session.hpp"
#include "core/state/resume_store.hpp"
#include "core/vm/migration.hpp"
#include "core/vm/route.hpp"

namespace hyperhost {

class ResumeLog;

/// A disk that is written and verified but has no name yet. Without it, it goes or, where an
/// earlier or later run may use it, stays under its temporary name.
struct PendingDisk {
  DiskResult result;
  bool committed = false;  ///< by an earlier attempt: it has its name already
  std::unique_ptr<SinkHandle> sink;
  uint64_t length = 0;
  std::string key;
  StorageHandle* store = nullptr;
  bool adopted = false;  ///< committed as what was there before: not this run's to remove
};

/// stage, done, total: see event::DiskProgress. Any thread.
using OnStageProgress = std::function<void(Stage stage, uint64_t done, uint64_t total)>;

class ConversionManager {
 public:
  explicit ConversionManager(Session& session) : session_(session) {}

  /// delivered: the disk as its provider opened it. directory: where a staged copy goes unless
  /// the configuration says another place. log: goes on where an earlier attempt was interrupted,
  /// and notes how far it is; may be null. Throws Error; nothing is left behind then but what log
  /// speaks of.
  PendingDisk convert(const MigrationConfig& config, const DiskRoute& route,
                      const std::shared_ptr<SourceHandle>& delivered,
                      const std::filesystem::path& directory, Operation& op,
                      const OnStageProgress& on_progress, ResumeLog* log = nullptr);

  /// The disk that an earlier attempt has written whole, if log says so and it is there.
  std::optional<PendingDisk> adopt(const MigrationConfig& config, const DiskRoute& route,
                                   Operation& op, ResumeLog& log,
                                   const OnStageProgress& on_progress);
  /// Removes the unfinished object of a record.
  void discard(const MigrationConfig& config, const ResumeRecord& record, Operation& op);

  /// After the commit, for a store whose sinks cannot be read back before it: reads the object and
  /// compares; removes it and throws if it differs.
  void verify_committed(const MigrationConfig& config, PendingDisk& disk, Operation& op,
                        const OnStageProgress& on_progress);

  /// Commits: the file has its name and result its path and size afterwards.
  void commit(PendingDisk& disk, const std::filesystem::path& directory, Operation& op);

 private:
  StorageHandle& store_of(const MigrationConfig& config, const DiskRoute& route, Operation& op);
  std::unique_ptr<SinkHandle> open_sink(const MigrationConfig& config, const DiskRoute& route,
                                        Operation& op, StorageHandle*& store,
                                        const ResumeRecord* record = nullptr, uint64_t length = 0);
  /// The converter's part: from the front, or from where the log says.
  nlohmann::json run_converter(const MigrationConfig& config, const DiskRoute& route,
                               const SourceHandle& source, PendingDisk& disk, Operation& op,
                               ResumeLog* log, nlohmann::json& token,
                               const OnStageProgress& on_progress);
  void verify(const MigrationConfig& config, PendingDisk& disk,
              const std::shared_ptr<SourceHandle>& written,
              const std::shared_ptr<SourceHandle>& source, Operation& op,
              const OnStageProgress& on_progress);

  Session& session_;
};

/// Guest-visible bytes of `file`, by the first of the session's readers that knows it. `first` and
/// `except` as for Session::find_reader. used: the reader's plugin id.
std::unique_ptr<SourceHandle> open_image(Session& session,
                                         const std::shared_ptr<SourceHandle>& file,
                                         const std::string& format, const std::string& first,
                                         const std::string& except, Operation& op,
                                         std::string& used);

/// Throws unless another plugin than `converter` can re-read images here: asked before a disk is
/// converted, because a missing program would be noticed behind hours of work.
void require_independent_reader(Session& session, const std::string& converter, Operation& op);

/// Threads for hashing and copying: what the machine has.
unsigned hardware_threads();

}  // namespace hyperhost
