// SPDX-License-Identifier: Apache-2.0
#include "core/migrate/structure_rules.hpp"

#include <algorithm>

namespace hyperhost {
namespace {

const StructureRule kRules[] = {
    {"boot.no-loader", Severity::kError, "boot sectors, EFI system partitions; firmware",
     "The disks hold no boot loader", "source",
     "It does not boot from its disks, at the source neither"},
    {"boot.firmware-differs", Severity::kError, "boot sectors, EFI system partitions; firmware",
     "The disks do not hold a boot loader for the described firmware", "target",
     "Give the new machine the firmware that its disks are for"},
    {"boot.efi-fallback", Severity::kError, "EFI/BOOT/BOOTX64.EFI; firmware",
     "Only a boot entry in the old machine's firmware names the boot loader", "guest",
     "guest: in the plan copies the loader of a Linux guest there"},
    {"crypt.tpm-sealed", Severity::kError, "tokens of LUKS2, protectors of BitLocker",
     "The old machine's TPM opens an encrypted disk, and does not come along", "guest",
     "Have a passphrase or the recovery key at hand, or take the TPM's protector away first"},
    {"crypt.luks", Severity::kWarning, "headers of LUKS", "A disk of the guest is encrypted",
     "guest", "A preparation needs its key, and a boot whoever types the passphrase"},
    {"crypt.bitlocker", Severity::kWarning, "headers of BitLocker",
     "A disk of the guest is encrypted by BitLocker", "guest",
     "Have the recovery key at hand, or suspend the protection first"},
    {"linux.hibernated", Severity::kError, "swap areas",
     "The guest is hibernated and cannot continue on another machine", "guest",
     "Start and shut down the guest at the source"},
    {"win.hibernated", Severity::kError, "hiberfil.sys",
     "The guest is hibernated, or Windows has Fast Startup", "guest",
     "Shut it down at the source: shutdown /s /t 0 in Windows"},
    {"win.dynamic-disk", Severity::kError, "types of partitions",
     "Windows manages the disk as a dynamic disk, which no guest plugin changes", "guest",
     "Migrate it without a preparation, its drivers installed before"},
    {"fs.unsupported", Severity::kWarning, "superblocks", "No guest plugin reads this file system",
     "guest", "Its guest is not prepared"},
    {"fs.dirty", Severity::kWarning, "superblocks, NTFS's $Volume",
     "A file system was not unmounted", "guest",
     "Shut the guest down cleanly, or check the file system, before the migration"},
    {"boot.partition-table", Severity::kWarning, "partition tables",
     "The partition table is not whole", "guest", "Repair it at the source"},
    {"fs.unknown", Severity::kInfo, "the first 72 KiB",
     "No disk holds a boot sector, a partition table or a file system that is known here", "", ""},
    {"fs.in-part", Severity::kInfo, "", "The disk has more structures than are looked at", "", ""},
};

const StructureRule& rule_of(const std::string& id) {
  return *std::find_if(std::begin(kRules), std::end(kRules),
                       [&](const StructureRule& one) { return one.id == id; });
}

std::string place_of(const Volume& volume) {
  return (volume.number == 0 ? "the whole disk" : "partition " + std::to_string(volume.number)) +
         (volume.kind.empty() ? "" : ", " + volume.kind);
}

std::string state_of(const Volume& volume) {
  return place_of(volume) + (volume.state.empty() ? "" : ": " + volume.state) +
         (volume.state_at == 0 ? "" : ", at byte " + std::to_string(volume.state_at));
}

bool is_one_of(const std::string& kind, std::initializer_list<const char*> kinds) {
  return std::any_of(kinds.begin(), kinds.end(), [&](const char* one) { return kind == one; });
}

/// What all disks together have for a firmware to start.
struct Loaders {
  std::string bios, bios_fault;  ///< where, and what is wrong with it
  std::string fallback;
  std::string efi_disk, efi;  ///< the first program elsewhere on an EFI system partition
};

class Finder {
 public:
  Finder(const PredictionInput& input, const std::vector<DiskStructure>& structures)
      : input_(input), structures_(structures) {}

  std::vector<VmFinding> run() {
    const bool known = std::any_of(structures_.begin(), structures_.end(),
                                   [](const DiskStructure& one) { return one.known(); });
    const bool cut = std::any_of(structures_.begin(), structures_.end(),
                                 [](const DiskStructure& one) { return one.cut; });
    if (!known && !structures_.empty()) add("fs.unknown", "", "");
    // A disk that is left out, or looked at in part, may have what the others lack.
    if (known && !cut && input_.disks.size() == input_.vm.disks.size()) find_loader();
    for (std::size_t i = 0; i < structures_.size(); ++i)
      find_in_disk(input_.disks[i].disk.id, structures_[i]);
    const auto order = [](const VmFinding& one) { return &rule_of(one.rule); };
    std::stable_sort(out_.begin(), out_.end(),
                     [&](const VmFinding& a, const VmFinding& b) { return order(a) < order(b); });
    return std::move(out_);
  }

 private:
  void add(const char* id, const std::string& disk, std::string evidence,
           Severity most = Severity::kError) {
    const StructureRule& rule = rule_of(id);
    VmFinding one;
    one.rule = rule.id;
    one.severity = std::min(rule.severity, most);
    one.summary = rule.summary;
    one.disk = disk;
    one.evidence = std::move(evidence);
    one.fixable_by = rule.fixable_by;
    one.hint = rule.hint;
    out_.push_back(std::move(one));
  }

  Loaders loaders() const {
    Loaders out;
    for (std::size_t i = 0; i < structures_.size(); ++i) {
      const std::string& disk = input_.disks[i].disk.id;
      const DiskStructure& one = structures_[i];
      if (!one.boot_code.empty() && one.boot_code_fault.empty()) out.bios = disk;
      if (!one.boot_code_fault.empty()) out.bios_fault = disk + ": " + one.boot_code_fault;
      for (const Volume& volume : one.volumes) {
        if (!volume.fallback_loader.empty()) out.fallback = volume.fallback_loader;
        if (volume.loaders.empty() || !out.efi.empty()) continue;
        out.efi_disk = disk;
        out.efi = place_of(volume) + ": " + volume.loaders.front();
      }
    }
    return out;
  }

  void find_loader() {
    const Loaders has = loaders();
    const std::string& firmware = input_.vm.firmware;
    const bool any_efi = !has.fallback.empty() || !has.efi.empty();
    const std::string described = "described: " + firmware + ", found: ";
    if (firmware == "bios") {
      if (!has.bios.empty()) return;
      if (any_efi) return add("boot.firmware-differs", "", described + "uefi");
    } else {
      if (!has.fallback.empty() || (firmware != "uefi" && !has.bios.empty())) return;
      if (any_efi) return add("boot.efi-fallback", has.efi_disk, has.efi);
      if (!has.bios.empty()) return add("boot.firmware-differs", "", described + "bios");
    }
    add("boot.no-loader", "", has.bios_fault);
  }

  void find_in_disk(const std::string& disk, const DiskStructure& structure) {
    const bool dynamic = structure.has_type("42") || structure.has_type(kLdmMetadata) ||
                         structure.has_type(kLdmData);
    // A preparation cannot change it; without one, Windows finds its volumes again.
    if (dynamic)
      add("win.dynamic-disk", disk, structure.table,
          input_.guest.wanted && is_system(structure) ? Severity::kError : Severity::kWarning);
    for (const std::string& problem : structure.problems)
      add("boot.partition-table", disk, problem);
    for (const Volume& volume : structure.volumes) find_in_volume(disk, volume);
    if (structure.cut)
      add("fs.in-part", disk, std::to_string(structure.bytes_read) + " bytes were read");
  }

  static bool is_system(const DiskStructure& structure) {
    return !structure.boot_code.empty() || structure.has_type(kEfiSystem);
  }

  void find_in_volume(const std::string& disk, const Volume& volume) {
    const bool runs = input_.vm.power_state == "on";
    if (volume.seal == Seal::kTpmAlone) add("crypt.tpm-sealed", disk, state_of(volume));
    if (volume.seal == Seal::kTpm)
      add("crypt.tpm-sealed", disk, state_of(volume), Severity::kWarning);
    if (is_one_of(volume.kind, {"luks1", "luks2"})) add("crypt.luks", disk, state_of(volume));
    if (volume.kind == "bitlocker")
      add("crypt.bitlocker", disk, state_of(volume),
          volume.seal == Seal::kClear ? Severity::kInfo : Severity::kWarning);
    if (volume.hibernated)
      add(volume.kind == "ntfs" ? "win.hibernated" : "linux.hibernated", disk, state_of(volume));
    // A running guest's file systems are in use: that is no fault.
    if (volume.dirty)
      add("fs.dirty", disk, state_of(volume), runs ? Severity::kInfo : Severity::kWarning);
    if (is_one_of(volume.kind, {"zfs", "refs", "apfs", "hfsplus", "bcachefs"}))
      add("fs.unsupported", disk, place_of(volume));
    if (volume.kind == "xfs-v4") add("fs.unsupported", disk, state_of(volume), Severity::kInfo);
  }

  const PredictionInput& input_;
  const std::vector<DiskStructure>& structures_;
  std::vector<VmFinding> out_;
};

}  // namespace

const std::vector<StructureRule>& structure_rules() {
  static const std::vector<StructureRule> rules(std::begin(kRules), std::end(kRules));
  return rules;
}

std::vector<VmFinding> find_in_structures(const PredictionInput& input,
                                          const std::vector<DiskStructure>& structures) {
  return Finder(input, structures).run();
}

}  // namespace hyperhost
