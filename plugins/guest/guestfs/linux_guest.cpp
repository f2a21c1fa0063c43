// SPDX-License-Identifier: Apache-2.0
#include "plugins/guest/guestfs/linux_guest.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "plugins/guest/guestfs/text/mount_tables.hpp"

namespace hyperhost::guestfs {
namespace {

constexpr const char* kEspType = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
constexpr std::size_t kBootCode = 440;

bool begins(const std::string& text, const std::string& with) {
  return text.compare(0, with.size(), with) == 0;
}

/// Places that hold what a preparation reads, writes or runs.
bool wanted_place(const std::string& place) {
  for (const char* one : {"/boot", "/efi", "/usr", "/var", "/opt", "/etc"})
    if (place == one || begins(place, std::string(one) + "/")) return true;
  return false;
}

}  // namespace

LinuxGuest::LinuxGuest(Appliance& appliance, const Settings& settings) : appliance_(appliance) {
  unlock(settings.keys);
  find_devices();
  find_root(settings.root);
  find_firmware();
}

std::string LinuxGuest::blkid(const std::string& device, const char* key) {
  char** found = guestfs_blkid(appliance_.handle(), device.c_str());
  if (found == nullptr) return {};
  const auto pairs = appliance_.pairs(found);
  const auto one = pairs.find(key);
  return one == pairs.end() ? std::string() : one->second;
}

void LinuxGuest::unlock(const std::map<std::string, std::string>& keys) {
  guestfs_h* g = appliance_.handle();
  unsigned number = 0;
  for (const auto& [device, type] : appliance_.pairs(guestfs_list_filesystems(g))) {
    if (type != "crypto_LUKS") continue;
    const std::string uuid = blkid(device, "UUID");
    std::string key;
    for (const std::string& id : {uuid, device, std::string("all")})
      if (const auto found = keys.find(id); key.empty() && found != keys.end()) key = found->second;
    if (key.empty())
      throw hyper::Error(HYPER_AUTH, "a disk of the guest is encrypted and no key is known for it",
                         "LUKS " + uuid)
          .rule("crypt.luks")
          .hint("Give its passphrase in the plugin's option keys.");
    const std::string name = "hyperhost" + std::to_string(number++);
    if (guestfs_cryptsetup_open(g, device.c_str(), key.c_str(), name.c_str(), -1) != 0)
      throw hyper::Error(HYPER_AUTH, "an encrypted disk of the guest does not open with its key",
                         "LUKS " + uuid)
          .rule("crypt.luks");
  }
  if (number == 0) return;
  appliance_.need(guestfs_lvm_scan(g, 1) == 0);
}

void LinuxGuest::find_devices() {
  guestfs_h* g = appliance_.handle();
  std::vector<BlockDevice> devices;
  const auto add = [&](const std::string& node, unsigned disk, unsigned partition) {
    BlockDevice device{disk, partition, node, {}, {}, {}, {}};
    if (char** found = guestfs_blkid(g, node.c_str())) {
      auto pairs = appliance_.pairs(found);
      device.type = pairs["TYPE"];
      device.uuid = pairs["UUID"];
      device.label = pairs["LABEL"];
      device.partition_uuid = pairs["PART_ENTRY_UUID"];
    }
    if (device.type == "swsuspend") suspended_.push_back(node);
    devices.push_back(std::move(device));
  };
  const std::vector<std::string> disks = appliance_.words(guestfs_list_devices(g));
  for (unsigned i = 0; i < disks.size(); ++i) add(disks[i], i, 0);
  for (const std::string& node : appliance_.words(guestfs_list_partitions(g))) {
    const std::string disk = appliance_.text(guestfs_part_to_dev(g, node.c_str()));
    const int number = guestfs_part_to_partnum(g, node.c_str());
    const auto at = std::find(disks.begin(), disks.end(), disk);
    if (number > 0 && at != disks.end())
      add(node, static_cast<unsigned>(at - disks.begin()), static_cast<unsigned>(number));
  }
  for (const std::string& node : appliance_.words(guestfs_lvs(g)))
    if (blkid(node, "TYPE") == "swsuspend") suspended_.push_back(node);
  disks_ = static_cast<unsigned>(disks.size());
  names_ = DeviceNames(std::move(devices), disks_);
}

void LinuxGuest::find_root(const std::string& wanted) {
  guestfs_h* g = appliance_.handle();
  std::vector<std::string> roots = appliance_.words(guestfs_inspect_os(g));
  if (!wanted.empty())
    roots.erase(std::remove_if(roots.begin(), roots.end(),
                               [&](const std::string& one) { return one != wanted; }),
                roots.end());
  std::string other;
  for (const std::string& root : roots) {
    const std::string type = appliance_.text(guestfs_inspect_get_type(g, root.c_str()));
    if (type != "linux") {
      other = type;
      continue;
    }
    root_ = root;
    distro_ = appliance_.text(guestfs_inspect_get_distro(g, root.c_str()));
    arch_ = appliance_.text(guestfs_inspect_get_arch(g, root.c_str()));
    version_ = std::to_string(guestfs_inspect_get_major_version(g, root.c_str())) + "." +
               std::to_string(guestfs_inspect_get_minor_version(g, root.c_str()));
    return;
  }
  if (!other.empty())
    throw hyper::Error(HYPER_UNSUPPORTED, "this plugin prepares Linux only",
                       "the guest is " + other)
        .rule("guest.family");
  throw hyper::Error(HYPER_UNSUPPORTED, "no operating system was found on the disks")
      .rule("guest.no-system");
}

void LinuxGuest::find_firmware() {
  guestfs_h* g = appliance_.handle();
  for (const BlockDevice& device : names_.devices()) {
    if (device.partition != 0) {
      const std::string disk = appliance_.text(guestfs_part_to_dev(g, device.node.c_str()));
      char* type = guestfs_part_get_gpt_type(g, disk.c_str(), static_cast<int>(device.partition));
      const bool gpt_esp = type != nullptr && strcasecmp(type, kEspType) == 0;
      std::free(type);
      const bool mbr_esp =
          type == nullptr &&
          guestfs_part_get_mbr_id(g, disk.c_str(), static_cast<int>(device.partition)) == 0xef;
      if ((gpt_esp || mbr_esp) && esp_node_.empty()) {
        esp_node_ = device.node;
        boot_disk_ = device.disk;
      }
      continue;
    }
    size_t length = 0;
    char* code = guestfs_pread_device(g, device.node.c_str(), kBootCode, 0, &length);
    if (code == nullptr) continue;
    const bool any = std::any_of(code, code + length, [](char c) { return c != 0; });
    std::free(code);
    if (any && !mbr_code_) {
      mbr_code_ = true;
      if (esp_node_.empty()) boot_disk_ = device.disk;
    }
  }
}

std::string LinuxGuest::firmware() const {
  if (!esp_node_.empty() && !mbr_code_) return "uefi";
  if (esp_node_.empty() && mbr_code_) return "bios";
  return "unknown";
}

void LinuxGuest::check_hibernation(Bench& bench, bool discard) {
  for (const std::string& swap : suspended_) {
    if (!discard) {
      const Finding finding{Finding::Severity::kError, "linux.hibernated",
                            "The guest is hibernated and cannot continue on another machine", swap,
                            "Start and shut down the guest, or set discard_hibernation."};
      if (bench.writes())
        throw hyper::Error(HYPER_UNSUPPORTED, finding.summary, finding.evidence)
            .rule(finding.rule)
            .hint(finding.hint);
      bench.found(finding);
      continue;
    }
    if (!bench.writes()) continue;
    // The UUID stays: fstab and resume= name it.
    const std::string uuid = blkid(swap, "UUID"), label = blkid(swap, "LABEL");
    struct guestfs_mkswap_opts_argv options {};
    if (!uuid.empty()) options.bitmask |= GUESTFS_MKSWAP_OPTS_UUID_BITMASK;
    if (!label.empty()) options.bitmask |= GUESTFS_MKSWAP_OPTS_LABEL_BITMASK;
    options.uuid = uuid.c_str();
    options.label = label.c_str();
    appliance_.need(guestfs_mkswap_opts_argv(appliance_.handle(), swap.c_str(), &options) == 0);
    bench.did({"linux.hibernated", "The saved state is given up", swap, {}, {}});
  }
}

/// Where the appliance has what the guest calls so; "" if it has nothing of the kind.
std::string LinuxGuest::node_of(const std::string& name) {
  guestfs_h* g = appliance_.handle();
  if (const auto device = names_.find(name)) return device->node;
  if (machine_name(name)) return {};
  const auto behind = [&](const std::string& prefix) {
    return begins(name, prefix) ? name.substr(prefix.size()) : std::string();
  };
  std::string value;
  for (const char* prefix : {"UUID=", "/dev/disk/by-uuid/"})
    if (value.empty()) value = behind(prefix);
  value.erase(std::remove(value.begin(), value.end(), '"'), value.end());
  char* found = nullptr;
  if (!value.empty()) {
    found = guestfs_findfs_uuid(g, value.c_str());
  } else if (value = behind("LABEL=") + behind("/dev/disk/by-label/"); !value.empty()) {
    value.erase(std::remove(value.begin(), value.end(), '"'), value.end());
    found = guestfs_findfs_label(g, value.c_str());
  } else if (value = behind("PARTUUID=") + behind("/dev/disk/by-partuuid/"); !value.empty()) {
    for (const BlockDevice& device : names_.devices())
      if (device.partition_uuid == value) return device.node;
    return {};
  } else {
    return begins(name, "/dev/mapper/") || begins(name, "/dev/md") ||
                   std::count(name.begin(), name.end(), '/') == 3
               ? name
               : std::string();
  }
  if (found == nullptr) return {};
  return appliance_.text(found);
}

void LinuxGuest::mount(Bench& bench, bool discard_hibernation) {
  check_hibernation(bench, discard_hibernation);
  guestfs_h* g = appliance_.handle();
  if (begins(blkid(root_, "TYPE"), "ext"))
    if (char** found = guestfs_tune2fs_l(g, root_.c_str()))
      needs_recovery_ = appliance_.pairs(found)["Filesystem features"].find("needs_recovery") !=
                        std::string::npos;
  if (guestfs_mount(g, root_.c_str(), "/") != 0)
    throw hyper::Error(HYPER_FAIL, "the guest's root file system cannot be mounted",
                       appliance_.last_error())
        .rule("fs.dirty")
        .hint("Shut the guest down cleanly, or check the file system, before the migration.");
  mounts_["/"] = root_;
  mount_others(bench);
  mount_esp();
}

void LinuxGuest::mount_others(Bench& bench) {
  const std::string fstab = appliance_.read("/etc/fstab").value_or("");
  names_.learn(fstab);
  std::vector<Mount> mounts = mounts_of(fstab);
  std::sort(mounts.begin(), mounts.end(),
            [](const Mount& a, const Mount& b) { return a.place.size() < b.place.size(); });
  for (const Mount& one : mounts) {
    if (!wanted_place(one.place) || one.place.find("..") != std::string::npos ||
        one.type == "tmpfs" || one.type == "none" || begins(one.type, "nfs") ||
        one.type == "overlay" || mounts_.count(one.place) != 0)
      continue;
    const std::string node = node_of(one.device);
    const std::string subvolume = mount_option(one.options, "subvol");
    const std::string options = subvolume.empty() ? "" : "subvol=" + subvolume;
    if (!node.empty() && appliance_.is_directory(one.place) &&
        guestfs_mount_options(appliance_.handle(), options.c_str(), node.c_str(),
                              one.place.c_str()) == 0) {
      mounts_[one.place] = node;
      continue;
    }
    bench.found(
        {Finding::Severity::kWarning,
         "linux.mount",
         "A file system cannot be mounted",
         one.device + " at " + one.place + (node.empty() ? "" : ": " + appliance_.last_error()),
         {}});
    // Without it the wrong files would be changed.
    if (bench.writes() && one.options.find("nofail") == std::string::npos &&
        one.options.find("noauto") == std::string::npos)
      throw hyper::Error(HYPER_FAIL, "a file system of the guest cannot be mounted",
                         one.device + " at " + one.place)
          .rule("linux.mount");
  }
}

void LinuxGuest::mount_esp() {
  for (const char* place : {"/boot/efi", "/efi", "/boot"})
    if (mounts_.count(place) != 0 &&
        (mounts_[place] == esp_node_ || appliance_.is_directory(std::string(place) + "/EFI"))) {
      esp_ = place;
      return;
    }
  if (esp_node_.empty()) return;
  for (const char* place : {"/boot/efi", "/efi", "/mnt"})
    if (mounts_.count(place) == 0 && appliance_.is_directory(place)) {
      appliance_.need(guestfs_mount(appliance_.handle(), esp_node_.c_str(), place) == 0);
      mounts_[place] = esp_node_;
      esp_ = place;
      return;
    }
}

}  // namespace hyperhost::guestfs
