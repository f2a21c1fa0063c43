// SPDX-License-Identifier: Apache-2.0
// The machine of a request (hyper/draft/guest.h) as QEMU's arguments. Plain values; every text of
// the request that becomes an argument is from a fixed list, a number or JSON.
#ifndef HYPERHOST_QEMU_BOOT_MACHINE_HPP
#define HYPERHOST_QEMU_BOOT_MACHINE_HPP

#include <hyper/op.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "plugins/boot/qemu-boot/settings.hpp"

namespace hyperhost::qemu_boot {

struct Nic {
  std::string mac, model;
};

struct Machine {
  std::string type = "pc";  ///< "pc", "q35"
  bool uefi = false;
  bool secure_boot = false;  ///< the firmware starts only what the usual keys have signed
  bool tpm = false;
  uint64_t memory = 0;  ///< bytes
  unsigned cpus = 1;
  bool local_time = false;
  std::vector<std::string> buses;  ///< of each disk: "virtio", "scsi", "sata", "ide"
  std::size_t boot_disk = 0;       ///< index of the disk that is booted
  bool keeps_writes = false;       ///< the disks take what the guest writes; else QEMU drops it
  bool counted_clock = false;      ///< an emulated guest's clock counts its instructions
  std::vector<Nic> nics;           ///< empty with `network: none`
  std::vector<std::string> notes;  ///< what differs from what was asked for
};

/// Reads the request's "machine", within the limits of the settings. Throws hyper::Error
/// (HYPER_UNSUPPORTED) for a machine that cannot be started here.
Machine read_machine(const hyper::Doc& request, const Settings& settings);

/// An image of the firmware, and QEMU's name of its format.
struct FirmwareImage {
  std::string path, format;
};
/// Firmware for UEFI: code and the template of its variables.
struct UefiFirmware {
  FirmwareImage code, variables;
  bool smm = false;  ///< the code needs system management mode
};
/// The first that fits the machine, of QEMU's descriptions below `directories`. With secure boot:
/// one whose variables hold the usual keys; else one without secure boot. Throws hyper::Error if
/// there is none.
UefiFirmware find_uefi(const std::vector<std::string>& directories, const Machine& machine);

/// find_uefi() where this system keeps the descriptions.
UefiFirmware installed_uefi(const Machine& machine);

/// All arguments but the program's name. disks: a node of QEMU's block layer for each disk.
/// tpm: the socket of the program that is the machine's TPM; "" = it has none. QMP is descriptor 3.
std::vector<std::string> arguments_of(const Machine& machine, const std::string& accel,
                                      const std::vector<nlohmann::json>& disks,
                                      const std::string& tpm = {});

}  // namespace hyperhost::qemu_boot

#endif
