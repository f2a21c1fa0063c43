// SPDX-License-Identifier: Apache-2.0
// What a disk holds, from a few of its bytes: its partitions, and for each of them the kind of file
// system, volume or swap area, and what of its state decides about a boot elsewhere. Plain values.
// The bytes are a guest's and hostile: what makes no sense is left out, and nothing is trusted.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/structures/disk_bytes.hpp"

namespace hyperhost {

/// How an encrypted volume is opened.
enum class Seal {
  kNone,        ///< it is not encrypted, or nothing is known
  kKey,         ///< by a passphrase or a key file
  kClear,       ///< its key lies beside it: BitLocker whose protection is suspended
  kTpm,         ///< by the old machine's TPM, or by a passphrase
  kTpmAlone,    ///< by the old machine's TPM and in no other way
  kNetworkKey,  ///< by a server (Clevis with Tang), or by a passphrase
};

/// A partition, or a disk without partitions.
struct Volume {
  unsigned number = 0;  ///< of the partition, from 1; 0 = the whole disk
  uint64_t offset = 0, length = 0;
  std::string type;     ///< of the partition: "83", or a GUID in capitals
  bool active = false;  ///< marked as the one to boot, for a BIOS
  /// "ext4", "xfs", "btrfs", "ntfs", "vfat", "swap", "lvm", "raid", "luks1", "bitlocker" …; "" =
  /// not known
  std::string kind;
  bool dirty = false;       ///< it was not unmounted, or its journal was not replayed
  bool hibernated = false;  ///< it holds the memory of a suspended system
  Seal seal = Seal::kNone;
  uint64_t state_at = 0;             ///< where dirty, hibernated or seal stand, in bytes
  std::string state;                 ///< what stands there, for people
  std::vector<std::string> loaders;  ///< EFI programs below EFI/ of a FAT file system
  std::string fallback_loader;       ///< EFI/BOOT/BOOTX64.EFI where it is a program for x86-64
};

struct DiskStructure {
  std::string table;                  ///< "gpt", "mbr"; "" = none
  std::string boot_code;              ///< "grub", "other": what a BIOS starts; "" = nothing
  std::string boot_code_fault;        ///< why it does not start; "" = nothing is known against it
  std::vector<std::string> problems;  ///< of the partition table
  std::vector<Volume> volumes;
  uint64_t bytes_read = 0;  ///< as the guest sees them
  bool cut = false;         ///< the budget kept something from being looked at

  /// Something that is known here was found.
  bool known() const;
  bool has_type(const char* type) const;
};

inline constexpr const char* kEfiSystem = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
inline constexpr const char* kBiosBoot = "21686148-6449-6E6F-744E-656564454649";
inline constexpr const char* kLdmMetadata = "5808C8AA-7E8F-42E0-85D2-E1E90434CFB3";
inline constexpr const char* kLdmData = "AF9B60A0-1431-4F62-BC68-3311714A69AD";
inline constexpr const char* kLinuxRaid = "A19D880F-05FC-4D3B-A006-743F0F84911E";

/// Throws what the source throws, and nothing else.
DiskStructure read_structure(DiskBytes& disk);

nlohmann::json structure_json(const DiskStructure& structure);

}  // namespace hyperhost
