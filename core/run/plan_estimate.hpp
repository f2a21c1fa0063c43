// SPDX-License-Identifier: Apache-2.0
// What a plan will move, fill and take: summed over its VMs as preflight sees them. `validate`, the
// check of free space and the run share it. Plain values, made by the owner's thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/base/clock.hpp"
#include "core/run/orchestrator.hpp"
#include "core/state/run_state.hpp"
#include "core/vm/route.hpp"

namespace hyperhost {

/// One file system that the plan writes to.
struct PlaceEstimate {
  std::filesystem::path directory;     ///< the first of the plan's that lies on it
  std::size_t vms = 0;                 ///< that write there
  uint64_t least = 0, worst = 0;       ///< bytes, at the fullest moment of the run
  std::optional<uint64_t> free_bytes;  ///< nothing where the system does not say
};

struct PlanEstimate {
  std::size_t vms = 0, disks = 0;
  std::size_t done_before = 0;  ///< of the VMs: an earlier run finished them
  uint64_t guest_bytes = 0;     ///< of all VMs
  uint64_t todo_bytes = 0;      ///< of those that are not done before
  uint64_t move_bytes = 0;      ///< to be read at the source
  bool at_most = false;   ///< move_bytes counts whole disks, since their sources do not say what is
                          ///< allocated
  bool at_least = false;  ///< there are disks of unknown size, which are not counted
  std::vector<PlaceEstimate> places;
  /// How long the run may take while VMs run: nothing where there is nothing to go by.
  std::optional<std::chrono::nanoseconds> shortest, longest;
  std::string basis;      ///< "by 3 earlier runs on this host"
  std::size_t later = 0;  ///< of the VMs: their start windows are not open yet
  std::optional<WallClock::time_point> last_opens;  ///< the last of these windows

  nlohmann::json to_json() const;
};

class PlanEstimator {
 public:
  explicit PlanEstimator(const BatchOptions& batch, WallClock::time_point now = WallClock::now())
      : batch_(batch), now_(now) {}

  /// A VM that preflight has seen.
  void add(const MigrationConfig& job, const VmRoute& route);
  /// source_limit: bytes a second, 0 = any. state: whose earlier runs say how fast this host is;
  /// may be null.
  PlanEstimate result(uint64_t source_limit, uint64_t upload_limit, RunState* state) const;

 private:
  struct Place {
    PlaceEstimate sum;
    std::vector<uint64_t> passing;  ///< of each VM: what goes again when the VM is done
  };
  Place& place(const std::filesystem::path& directory);

  const BatchOptions batch_;
  const WallClock::time_point now_;
  PlanEstimate sum_;
  uint64_t upload_bytes_ = 0;
  std::map<uint64_t, Place> places_;  ///< by device
  std::vector<uint64_t> order_;       ///< of places_
};

/// What the sum over the VMs says that no VM says alone: a file system too small for them all (an
/// error), or perhaps too small (a warning).
std::vector<Diagnostic> space_findings(const PlanEstimate& estimate);

}  // namespace hyperhost
