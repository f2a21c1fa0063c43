// SPDX-License-Identifier: Apache-2.0
// Reads a disk as ranges of its flat file in the datastore (/folder), over several connections. It
// can read any range any number of times, and knows the unallocated areas if the server reports
// them. Only for a file that nothing writes to: a VM that is off, or the frozen base below this
// plugin's snapshot.
#ifndef HYPERHOST_PLUGINS_VSPHERE_DATASTORE_SOURCE_HPP
#define HYPERHOST_PLUGINS_VSPHERE_DATASTORE_SOURCE_HPP

#include <functional>
#include <hyper/source.hpp>
#include <optional>

#include "slots.hpp"
#include "vm_info.hpp"

namespace hyper::vsphere {

/// Why a disk cannot be read this way; nothing if it can.
std::optional<std::string> no_flat_file(const VmInfo& vm, const Disk& disk);

/// Whether `transport: auto` reads the VM's disks this way. A lease leaves out zeros. Ranges leave
/// out unallocated areas, if change tracking reports them, and can resume after a killed run.
/// Current hosts lock the files of a running VM. No export contains independent disks, and not
/// every server exports templates.
bool ranges_pay(const VmInfo& vm, const VmOptions& options);

class DatastoreSource final : public Source {
 public:
  struct Watch {
    /// Throws if the file has changed since the source was opened. at_end: makes every possible
    /// check. Otherwise it makes only the check that costs one call.
    std::function<void(Op, bool at_end)> check;
    /// Returns the error to throw after a range could not be read.
    std::function<Error(const Error&, Op)> failed;
  };

  /// Reads the first and the last sector. Throws if the server does not serve ranges, or if the
  /// file is locked, missing, or of another size than the disk. Calls watch.check at every
  /// check_interval (the option), after an error, and in finish(), on any thread.
  DatastoreSource(Session& session, const VmInfo& vm, const Disk& disk, const Ref& snapshot,
                  bool skip_unallocated, Watch watch, Op op);
  /// Keeps the slot until finish().
  void hold(HostSlots::Slot slot) { slot_ = std::move(slot); }

  /// Whether the server reported the allocated areas.
  bool areas_known() const { return areas_known_; }

  SourceTraits traits() const override;
  void read_at(Op op, uint64_t offset, void* buf, uint64_t len) override;
  void extents(Op op, uint64_t offset, uint64_t len, const EmitExtent& emit) override;
  std::string finish(Op op) override;

 private:
  struct Area {
    uint64_t begin, end;
  };
  std::string url(bool twice) const;
  void probe(Op op);
  void find_areas(const VmInfo& vm, const Disk& disk, const Ref& snapshot, Op op);
  std::optional<uint64_t> read(uint64_t offset, void* buf, uint64_t len, Op op);
  void check_now_and_then(Op op);

  Session& session_;
  const std::string what_, datacenter_, file_;
  const uint64_t capacity_;
  const Watch watch_;
  std::atomic<int64_t> next_check_;  // of the steady clock
  std::string url_;
  bool areas_known_ = false;
  std::vector<Area> areas_;  // allocated, ascending, not touching
  std::atomic<uint64_t> received_{0};
  HostSlots::Slot slot_;
};

}  // namespace hyper::vsphere

#endif
