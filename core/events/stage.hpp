// SPDX-License-Identifier: Apache-2.0
// The table of stages that watchers see. A row says all that events, progress, metrics, audit log
// and dashboard need to know of a stage. A stage of core/migrate reports one row or several: a
// transfer reports export, convert and verify. Constant values; any thread.
#pragma once

#include <compare>
#include <iterator>

namespace hyperhost {

struct StageRow {
  int order;                ///< in which stages are shown
  const char* name;         ///< "convert": events, JSON, the label of metrics
  const char* noun;         ///< "conversion": durations in metrics, actions in the audit log
  const char* doing;        ///< "converting": a task's status while it runs
  const char* member;       ///< "conversion_progress": of the progress JSON
  const char* done;         ///< "converted": hypersdk_bytes_converted_total
  const char* bytes_help;   ///< what its bytes are
  bool counts_guest_bytes;  ///< its total is known from the start: the disks' capacities
};

/// One row, cheap to copy. The row outlives every event that names it.
class Stage {
 public:
  static const Stage kExport, kConvert, kUpload, kVerify, kBoot;

  constexpr explicit Stage(const StageRow& row) : row_(&row) {}
  constexpr const StageRow& row() const { return *row_; }

  friend constexpr bool operator==(Stage a, Stage b) { return a.row_->order == b.row_->order; }
  friend constexpr auto operator<=>(Stage a, Stage b) { return a.row_->order <=> b.row_->order; }

 private:
  const StageRow* row_;
};

/// The rows of this product. Their number is nowhere else.
inline constexpr StageRow kStageTable[] = {
    {0, "export", "export", "exporting", "export_progress", "exported", "Bytes read from sources.",
     false},
    {1, "convert", "conversion", "converting", "conversion_progress", "converted",
     "Guest bytes converted.", true},
    {2, "upload", "upload", "uploading", "upload_progress", "uploaded",
     "Bytes a storage acknowledged.", false},
    {3, "verify", "verification", "verifying", "verify_progress", "verified",
     "Guest bytes read back and compared.", true},
    {4, "boot", "boot", "booting", "boot_progress", "booted",
     "Bytes that guests read in boot checks.", false},
};
inline constexpr Stage Stage::kExport{kStageTable[0]};
inline constexpr Stage Stage::kConvert{kStageTable[1]};
inline constexpr Stage Stage::kUpload{kStageTable[2]};
inline constexpr Stage Stage::kVerify{kStageTable[3]};
inline constexpr Stage Stage::kBoot{kStageTable[4]};

/// "export", "convert", "upload", "verify", "boot".
inline const char* stage_name(Stage stage) {
  return stage.row().name;
}

}  // namespace hyperhost
