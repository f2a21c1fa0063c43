// SPDX-License-Identifier: Apache-2.0
// One disk on its way from a source through a converter into a sink, verified, and then given its
// name. An object lives as long as its VM's run and knows how far its disk is; passes over the disk
// come and go. Owned by VmRun; one thread at a time.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "core/block/change_list.hpp"
#include "core/migrate/resume_log.hpp"
#include "core/migrate/session.hpp"
#include "core/state/host_entries.hpp"
#include "core/vm/migration.hpp"
#include "core/vm/route.hpp"

namespace hyperhost {

/// stage, done, total: see event::DiskProgress. adopted: `done` was done by an earlier run. Any
/// thread.
using OnStageProgress =
    std::function<void(Stage stage, uint64_t done, uint64_t total, bool adopted)>;

/// What a run may replace at its targets: what the plan allows, and what is the run's own because
/// an earlier run of the same job made it.
struct Ownership {
  bool files = false;    ///< in output_dir
  bool objects = false;  ///< in the store
};

struct ReadCount;

class DiskTransfer {
 public:
  /// All outlive it. log: may be null, then nothing is resumed and nothing recorded.
  DiskTransfer(Session& session, const MigrationConfig& job, const DiskRoute& route,
               const Ownership& own, ResumeLog* log, OnStageProgress on_progress);
  DiskTransfer(const DiskTransfer&) = delete;
  DiskTransfer& operator=(const DiskTransfer&) = delete;

  /// Takes over a disk that an earlier attempt has written whole. False: there is none, or it
  /// cannot be used.
  bool adopt(Operation& op);
  /// Opens the disk as its provider delivers it.
  using OpenSource = std::function<std::shared_ptr<SourceHandle>()>;
  /// Opens the disk as its guest sees it, under an overlay that takes what a preparation writes;
  /// run() then reads this view. directory: as there, of the overlay's file. keepable: keep_view()
  /// may follow.
  std::shared_ptr<Overlay> open_view(const OpenSource& open, const std::filesystem::path& directory,
                                     bool keepable, Operation& op);
  /// Keeps the view of a preparation that has succeeded for a later run; returns what finds it
  /// again. It goes with this object or with drop(), unless a later run can use it.
  nlohmann::json keep_view(const std::filesystem::path& directory, Operation& op);
  /// Opens the view that an earlier run kept. False: it is not what that run has written.
  bool adopt_view(const OpenSource& open, const std::filesystem::path& directory,
                  const nlohmann::json& kept, Operation& op);
  /// After the preparation: notes which blocks it changed.
  void take_changes(Operation& op);
  /// The list of changes as its file has it; "" = the disk was not prepared.
  std::string changes_text() const;
  /// One pass: reads what `open` opens, writes the sink, verifies. directory: where a staged copy
  /// goes unless the job says another place. On error everything written is removed, except what
  /// the log recorded for a later resume.
  void run(const OpenSource& open, const std::filesystem::path& directory, Operation& op);
  /// Gives the object its name, unless it has it; the result has its path and size afterwards.
  void commit(const std::filesystem::path& directory, Operation& op);
  /// After the commit, for a store whose sinks cannot be read back before it: reads the object and
  /// compares. Removes it and throws if it differs.
  void verify_named(Operation& op);
  /// Removes what is written and has no name; where `keep`, only what no later run can use.
  void drop(Operation& op, bool keep);

  /// Removes the file of a view that was kept; false: there is none.
  bool drop_view();

  bool written() const { return written_; }
  const DiskRoute& route() const { return route_; }
  const DiskResult& result() const { return result_; }
  /// What came from the source so far, as far as it was counted; at the end, else what the source
  /// says that it has without its holes.
  uint64_t moved_bytes() const { return moved_bytes_; }
  uint64_t length() const { return length_; }  ///< of the finished object
  StorageHandle& store(Operation& op);
  /// It was there before this run, the same: not this run's to remove.
  bool found_there() const { return found_there_; }

 private:
  struct Token;
  /// Null where the disk has no records: nothing of it is resumed then.
  ResumeLog* log() const;
  std::shared_ptr<SourceHandle> begin(const OpenSource& open);
  /// Below its view.
  std::shared_ptr<SourceHandle> open_image(const OpenSource& open,
                                           const std::filesystem::path& directory, Operation& op);
  void describe(const SourceHandle& delivered);
  /// The view of a prepared disk as the converter gets it.
  std::shared_ptr<SourceHandle> viewed(const std::filesystem::path& directory, Operation& op);
  /// A raw disk as a file, for a converter that reads nothing else.
  std::shared_ptr<SourceHandle> as_file(const std::shared_ptr<SourceHandle>& image,
                                        const std::filesystem::path& directory, Operation& op);
  bool adopt_written(Operation& op);
  bool must_stage(const SourceHandle& delivered) const;
  std::shared_ptr<SourceHandle> staged(const std::shared_ptr<SourceHandle>& delivered,
                                       const std::filesystem::path& directory, Operation& op);
  /// The source as the converter gets it: a format that it does not read becomes a raw disk.
  std::shared_ptr<SourceHandle> decoded(std::shared_ptr<SourceHandle> source,
                                        const std::filesystem::path& directory, Operation& op);
  void pass(const std::shared_ptr<SourceHandle>& delivered, const SourceHandle& source,
            Operation& op);
  void open_sink(Operation& op, const ResumeRecord* record = nullptr, uint64_t length = 0);
  void copy(const SourceHandle& source, Operation& op);
  void convert(const SourceHandle& source, Operation& op);
  /// True: the sink continues where the record's checkpoint was taken.
  bool reopen_at_checkpoint(const ResumeRecord& record, Operation& op);
  nlohmann::json call_converter(const SourceHandle& source, Operation& op);
  std::string provider_text() const;
  /// Of a conversion: its guest bytes, and what came from the source meanwhile.
  void report_pass(uint64_t done, uint64_t total);
  void report_read(uint64_t bytes, uint64_t total, bool adopted);
  void check_size() const;
  void check_length(uint64_t bytes) const;
  void check_zeros(const SourceHandle& delivered, const SourceHandle& source, Operation& op);
  void finish_source(const SourceHandle& delivered, Operation& op);
  void verify(const std::shared_ptr<SourceHandle>& written,
              const std::shared_ptr<SourceHandle>& source, Operation& op);
  void check_resumed(const SourceHandle& source, const SourceHandle& target, Operation& op);
  void add_proof(const std::string& level);
  void verify_source(const OpenSource& open, const std::filesystem::path& directory, Operation& op);
  void record_written(Operation& op);
  void leave(Code why, Operation& op);

  Session& session_;
  const MigrationConfig& job_;
  const DiskRoute& route_;
  const Ownership& own_;
  ResumeLog* const log_;
  const OnStageProgress on_progress_;
  DiskResult result_;
  std::unique_ptr<SinkHandle> sink_;
  nlohmann::json token_;    ///< of sink_, where it is kept; null otherwise
  std::string decoded_by_;  ///< the reader that made the source a raw disk; "" = none did
  uint64_t length_ = 0;
  /// Of the delivered source; not known where its reader opens the file by itself.
  std::shared_ptr<ReadCount> read_;
  std::atomic<bool> continued_{false};  ///< the pass began at a checkpoint, not reported yet
  /// What an earlier run had read of it, by the checkpoint's share.
  std::atomic<uint64_t> adopted_read_{0};
  std::atomic<uint64_t> moved_bytes_{0};
  std::shared_ptr<SourceHandle> delivered_;  ///< below view_
  std::shared_ptr<Overlay> view_;            ///< from its opening to the pass
  std::unique_ptr<OverlayEntry> view_file_;  ///< of a view that is kept
  std::optional<ChangeList> changes_;        ///< of a prepared disk
  bool written_ = false, named_ = false, found_there_ = false;
};

/// Removes the views that the record of a preparation speaks of.
void discard_views(Session& session, const ResumeRecord& record);
/// Removes the unfinished object that a record speaks of. Throws Error(kBusy) where another process
/// writes it.
void discard(Session& session, const MigrationConfig& job, const ResumeRecord& record,
             Operation& op);

}  // namespace hyperhost
