// SPDX-License-Identifier: Apache-2.0
// Which file system a guest means by a device name of its old machine. "/dev/sda1" and
// "/dev/disk/by-path/…" depend on the bus and change with it; UUIDs do not. Immutable but for
// learn(). Any thread after that.
#ifndef HYPERHOST_GUESTFS_TEXT_DEVICE_NAMES_HPP
#define HYPERHOST_GUESTFS_TEXT_DEVICE_NAMES_HPP

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hyperhost::guestfs {

/// A whole disk or a partition, as it was found on the VM's disks.
struct BlockDevice {
  unsigned disk = 0;       ///< counted from 0, in the source's order
  unsigned partition = 0;  ///< 0 = the whole disk
  std::string node;        ///< where this process finds it
  std::string type;        ///< "ext4", "swap", "crypto_LUKS"; "" = unknown
  std::string uuid, label, partition_uuid;
};

/// A name that depends on the machine.
struct MachineName {
  enum class Kind { kOrder, kPath, kId } kind = Kind::kOrder;
  unsigned disk = 0;       ///< kOrder: "sdb" → 1
  std::string place;       ///< kPath, kId: the name without its partition
  unsigned partition = 0;  ///< 0 = the whole disk
};

/// The name taken apart; nullopt if the name does not depend on the machine (UUID=, LVM, md,
/// device mapper) or names no disk (sr0, loop0).
std::optional<MachineName> machine_name(std::string_view name);

/// The rule that such a name breaks: "linux.fstab" → "linux.fstab-by-path", "-by-id" or "-device".
std::string rule_of(std::string_view subject, MachineName::Kind kind);

class DeviceNames {
 public:
  DeviceNames(std::vector<BlockDevice> devices, unsigned disks)
      : devices_(std::move(devices)), disks_(disks) {}

  /// Notes every by-path and by-id name in a file of the guest. Disks have such names in the order
  /// of their places, so that find() needs to see them all first.
  void learn(std::string_view text);

  /// The device that the name meant on the old machine. nullopt: it is not known for certain.
  std::optional<BlockDevice> find(std::string_view name) const;
  /// "UUID=…" for the device of a name; "" with the reason in `why`.
  std::string stable(std::string_view name, std::string& why) const;

  const std::vector<BlockDevice>& devices() const { return devices_; }

 private:
  std::optional<unsigned> disk_at(const MachineName& name) const;
  std::vector<BlockDevice> devices_;
  unsigned disks_;
  std::vector<std::string> paths_, ids_;  ///< places, in order
};

}  // namespace hyperhost::guestfs

#endif
