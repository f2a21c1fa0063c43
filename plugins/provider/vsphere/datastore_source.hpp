// SPDX-License-Identifier: Apache-2.0
// A disk as ranges of its flat file in the datastore (/folder), over several connections: readable
// anywhere, again and again, with the unallocated areas where the server tells them. Only for a
// file that nothing writes to: a VM that is off, or the frozen base below a snapshot of ours.
#ifndef HYPERHOST_PLUGINS_VSPHERE_DATASTORE_SOURCE_HPP
#define HYPERHOST_PLUGINS_VSPHERE_DATASTORE_SOURCE_HPP

#include <functional>
#include <hyper/source.hpp>
#include <optional>

#include "slots.hpp"
#include "vm_info.hpp"

namespace hyper::vsphere {

/// Why a disk cannot be read so; nothing if it can.
std::optional<std::string> no_flat_file(const VmInfo& vm, const Disk& disk);

/// Whether transport: auto reads the VM's disks so. A lease leaves out what is zero; ranges leave
/// out what is not allocated, where change tracking tells, and go on where a killed run ended. A
/// running VM's files are locked on current hosts. Independent disks are in no export, and not
/// every server exports templates.
bool ranges_pay(const VmInfo& vm, const VmOptions& options);

class DatastoreSource final : public Source {
 public:
  struct Watch {
    /// Throws where the file is not what it was when the source was opened. at_end: everything that
    /// can be known is asked for; else only what costs one call.
    std::function<void(Op, bool at_end)> check;
    /// A range could not be read: what is thrown then.
    std::function<Error(const Error&, Op)> failed;
  };

  /// Reads the first and the last sector: throws where the server does not do ranges, the file is
  /// locked, not there, or of another size than the disk. watch.check is called now and then (the
  /// option check_interval), after an error, and in finish(); any thread.
  DatastoreSource(Session& session, const VmInfo& vm, const Disk& disk, const Ref& snapshot,
                  bool skip_unallocated, Watch watch, Op op);
  /// Until finish().
  void hold(HostSlots::Slot slot) { slot_ = std::move(slot); }

  /// The server said which areas are allocated.
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
