// SPDX-License-Identifier: Apache-2.0
// The table of rules. Many have their meaning from Forklift's validation of vSphere VMs. An error
// keeps the guest from being what it was, or from booting; a warning is something to do or to
// check; a note says what does not come along.
#include <algorithm>
#include <map>

#include "core/base/units.hpp"
#include "core/migrate/prediction.hpp"

namespace hyperhost {
namespace {

using In = PredictionInput;

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr std::size_t kMostDisks = 165;  // KubeVirt's
constexpr const char* kNoScsi[] = {"ide", "sata", "ahci", "nvme", "virtio"};

std::string joined(const std::vector<std::string>& texts) {
  std::string out;
  for (const std::string& text : texts) out += (out.empty() ? "" : ", ") + text;
  return out;
}

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

/// What the VM has of a kind of device, each by its label.
void find_devices(const In& in, const char* kind, const FoundBy& found) {
  for (const LeftDevice& device : in.vm.devices)
    if (device.kind == kind) found("", device.label.empty() ? device.kind : device.label);
}

bool begins(const std::string& text, std::initializer_list<const char*> words) {
  return std::any_of(words.begin(), words.end(),
                     [&](const char* word) { return text.rfind(word, 0) == 0; });
}

/// As Kubernetes names things (RFC 1123): KubeVirt's VMs need such a name.
bool is_dns_name(const std::string& name) {
  const auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  if (name.empty() || name.size() > 63) return false;
  for (std::size_t i = 0; i < name.size(); ++i) {
    if (plain(name[i])) continue;
    // A dot or a hyphen stands between two others; hyphens may follow one another.
    if (name[i] != '.' && name[i] != '-') return false;
    if (i == 0 || i + 1 == name.size()) return false;
    if (name[i] == '.' && !(plain(name[i - 1]) && plain(name[i + 1]))) return false;
  }
  return true;
}

/// The guest's operating system in lower case, as the source calls it.
std::string guest_os(const In& in) {
  return lower(in.vm.guest_os.empty() ? in.vm.os_version : in.vm.guest_os);
}

/// Systems that no guest plugin here and no virt-v2v prepares.
void find_foreign_guest(const In& in, const FoundBy& found) {
  if (in.vm.os_hint != "unknown") return;
  const std::string os = guest_os(in);
  for (const char* family :
       {"freebsd", "openbsd", "netbsd", "solaris", "darwin", "macos", "mac os", "netware", "os2",
        "openserver", "unixware", "ecomstation", "vmkernel", "dos", "haiku", "aix", "qnx"})
    if (os.find(family) != std::string::npos) return found("", in.vm.guest_os);
}

/// Systems older than virtio's drivers: their kernels have none, and virtio-win has none for them.
void find_old_guest(const In& in, const FoundBy& found) {
  const std::string& bus = in.guest.machine.bus;
  if (bus != "virtio" && bus != "scsi") return;
  const std::string os = guest_os(in);
  if (begins(os, {"win31",
                  "win95",
                  "win98",
                  "winme",
                  "winnt",
                  "win2000",
                  "winxp",
                  "winnet",
                  "winvista",
                  "windows xp",
                  "windows 2000",
                  "windows vista",
                  "windows server 2003",
                  "microsoft windows xp",
                  "microsoft windows 2000",
                  "microsoft windows vista",
                  "microsoft windows server 2003",
                  "rhel2",
                  "rhel3",
                  "rhel4",
                  "redhat",
                  "suseguest",
                  "sles9",
                  "sles8",
                  "debian4",
                  "other24xlinux"}))
    found("", in.vm.guest_os + ", and the machine's disks are at " + bus);
}

void find_small_free_space(const In& in, const FoundBy& found) {
  if (!in.guest.wanted) return;
  for (const GuestDisk& disk : in.vm.guest_disks) {
    if (!disk.free_bytes) continue;
    const std::string path = lower(disk.path);
    const bool system = path == "/" || path == "c:" || path == "c:\\" || path == "c:/";
    const uint64_t needed = (system ? 100 : path == "/boot" ? 50 : 10) * kMiB;
    if (*disk.free_bytes < needed)
      found("", disk.path + " has " + bytes_text(*disk.free_bytes) + " free of the " +
                    bytes_text(needed) + " that a preparation needs");
  }
}

/// Serial numbers are SCSI's alone.
void find_serials(const In& in, const FoundBy& found) {
  if (!in.vm.disk_uuid) return;
  for (const DiskRoute& one : in.disks) {
    const std::string place = lower(one.disk.controller);
    if (std::none_of(std::begin(kNoScsi), std::end(kNoScsi),
                     [&](const char* bus) { return place.find(bus) != std::string::npos; }))
      return found("", "");
  }
}

/// Buses that hold a few disks only.
void find_full_bus(const In& in, const FoundBy& found) {
  const std::string& bus = in.guest.machine.bus;
  const std::size_t most = bus == "ide" ? 4 : bus == "sata" ? 6 : SIZE_MAX;
  if (in.disks.size() > most)
    found("", std::to_string(in.disks.size()) + " disks, and " + bus + " holds " +
                  std::to_string(most));
}

void find_same_macs(const In& in, const FoundBy& found) {
  std::map<std::string, std::string> seen;
  for (const NicDescription& nic : in.vm.nics) {
    if (nic.mac.empty()) continue;
    const auto [first, fresh] = seen.try_emplace(lower(nic.mac), nic.id);
    if (!fresh) found("", first->second + " and " + nic.id + " have " + nic.mac);
  }
}

/// A rule of the cluster in words: "licences: must run on the hosts 'rack 2'".
std::string cluster_rule_text(const ClusterRule& rule) {
  const std::string verb = rule.mandatory ? "must" : "should";
  const std::string what = rule.kind == "run-on" ? verb + " run on the hosts '" + rule.hosts + "'"
                           : rule.kind == "keep-off"
                               ? verb + " not run on the hosts '" + rule.hosts + "'"
                           : rule.kind == "together" ? "together with other VMs"
                                                     : "apart from other VMs";
  return (rule.name.empty() ? "a rule" : rule.name) + ": " + what;
}

/// The cluster's rules of these kinds.
void find_cluster_rules(const In& in, const FoundBy& found,
                        std::initializer_list<const char*> kinds) {
  for (const ClusterRule& rule : in.vm.cluster_settings.rules)
    if (std::find(kinds.begin(), kinds.end(), rule.kind) != kinds.end())
      found("", cluster_rule_text(rule));
}

/// Calls found() for each NIC of which it is true.
template <class F>
void find_nics(const In& in, const FoundBy& found, F&& is) {
  std::vector<std::string> names;
  for (const NicDescription& nic : in.vm.nics)
    if (is(nic)) names.push_back(nic.id);
  if (!names.empty()) found("", joined(names));
}

void when(bool so, const FoundBy& found, const std::string& evidence) {
  if (so) found("", evidence);
}

const PredictionRule kMachineRules[] = {
    {"vm.passthrough", Severity::kError, "devices (passthrough)",
     "A device of the source's host does not come along", "source",
     "Take it away at the source, or give the target one like it",
     [](const In& in, const FoundBy& found) { find_devices(in, "passthrough", found); }},
    {"vm.sriov", Severity::kWarning, "nics (sriov)",
     "A network card is a function of one of the host", "target",
     "The target gives it an emulated card, whose driver the guest needs",
     [](const In& in, const FoundBy& found) {
       find_nics(in, found, [](const NicDescription& nic) { return nic.sriov; });
     }},
    {"vm.usb", Severity::kWarning, "devices (usb)", "A USB device does not come along", "target",
     "Connect it at the target",
     [](const In& in, const FoundBy& found) { find_devices(in, "usb", found); }},
    {"vm.usb-controller", Severity::kInfo, "devices (usb-controller)",
     "A USB controller does not come along", "target", "",
     [](const In& in, const FoundBy& found) { find_devices(in, "usb-controller", found); }},
    {"vm.tpm", Severity::kWarning, "vtpm", "It has a virtual TPM, whose secrets cannot be exported",
     "guest", "Have the recovery keys (BitLocker, LUKS) at hand, or suspend the protection first",
     [](const In& in, const FoundBy& found) { when(in.vm.tpm, found, ""); }},
    {"vm.secure-boot", Severity::kWarning, "secure_boot",
     "It boots with Secure Boot, whose enrolled keys do not come along", "target",
     "The target's firmware needs the keys that sign the guest's boot loader",
     [](const In& in, const FoundBy& found) { when(in.vm.secure_boot, found, ""); }},
    {"vm.nvram", Severity::kWarning, "firmware",
     "It boots by EFI, and its NVRAM (boot entries, enrolled keys) stays behind", "target",
     "The target starts \\EFI\\BOOT\\BOOTX64.EFI of the boot disk, or its entry is made again "
     "there",
     [](const In& in, const FoundBy& found) { when(in.vm.firmware == "uefi", found, ""); }},
    {"vm.firmware", Severity::kInfo, "firmware", "The source does not say its firmware", "target",
     "", [](const In& in, const FoundBy& found) { when(in.vm.firmware == "unknown", found, ""); }},
    {"vm.snapshot", Severity::kWarning, "snapshots",
     "It has snapshots; the current state is migrated, without them", "source",
     "Remove those that are not needed: reading through them is slow",
     [](const In& in, const FoundBy& found) {
       when(!in.vm.snapshots.empty(), found,
            std::to_string(in.vm.snapshots.size()) + ": " + joined(in.vm.snapshots));
     }},
    {"vm.consolidation", Severity::kWarning, "consolidation_needed", "Its disks need consolidation",
     "source", "Consolidate them: reading them is slow",
     [](const In& in, const FoundBy& found) { when(in.vm.consolidation_needed, found, ""); }},
    {"vm.fault-tolerance", Severity::kWarning, "fault_tolerance",
     "It is protected by Fault Tolerance, which may refuse snapshots and exports", "source",
     "Turn Fault Tolerance off for the time of the migration",
     [](const In& in, const FoundBy& found) { when(in.vm.fault_tolerance, found, ""); }},
    {"vm.drs", Severity::kInfo, "cluster_settings (drs)",
     "DRS of its cluster places it by the hosts' load, which does not come along", "target", "",
     [](const In& in, const FoundBy& found) {
       when(in.vm.cluster_settings.drs.value_or(false), found, in.vm.cluster);
     }},
    {"vm.dpm", Severity::kInfo, "cluster_settings (dpm)",
     "DPM of its cluster powers hosts off and on by their load, which does not come along",
     "target", "",
     [](const In& in, const FoundBy& found) {
       when(in.vm.cluster_settings.dpm.value_or(false), found, in.vm.cluster);
     }},
    {"vm.ha", Severity::kWarning, "cluster_settings (ha)",
     "HA of its cluster restarts it after a host's failure, which does not come along", "target",
     "Have the target restart it, if it must not stay down",
     [](const In& in, const FoundBy& found) {
       when(in.vm.cluster_settings.ha.value_or(false), found, in.vm.cluster);
     }},
    {"vm.host-affinity", Severity::kWarning, "cluster_settings (rules)",
     "A rule of its cluster ties it to hosts, and does not come along", "target",
     "Give the target such a rule, if licences or devices ask for it",
     [](const In& in, const FoundBy& found) {
       find_cluster_rules(in, found, {"run-on", "keep-off"});
     }},
    {"vm.vm-affinity", Severity::kWarning, "cluster_settings (rules)",
     "A rule of its cluster keeps it with other VMs or apart from them, and does not come along",
     "target", "Give the target such a rule",
     [](const In& in, const FoundBy& found) {
       find_cluster_rules(in, found, {"together", "apart"});
     }},
    {"vm.guest-os", Severity::kWarning, "guest_os, os_hint",
     "No plugin prepares this operating system for another machine", "guest",
     "The guest needs the new machine's drivers before it is migrated", find_foreign_guest},
    {"vm.guest-os-old", Severity::kWarning, "guest_os; bus",
     "This operating system is older than drivers for virtio", "target",
     "Choose bus: ide or sata for its machine", find_old_guest},
    {"vm.hot-add", Severity::kWarning, "cpu_hot_add, memory_hot_add",
     "CPUs or memory can be added while it runs, which does not come along", "target",
     "Set it at the target, if it is needed",
     [](const In& in, const FoundBy& found) {
       when(in.vm.cpu_hot_add || in.vm.memory_hot_add, found,
            !in.vm.memory_hot_add ? "CPUs"
            : in.vm.cpu_hot_add   ? "CPUs, memory"
                                  : "memory");
     }},
    {"vm.cpu-affinity", Severity::kWarning, "cpu_affinity",
     "It is bound to CPUs of its host, which does not come along", "target",
     "Set it at the target, if it is needed",
     [](const In& in, const FoundBy& found) { when(in.vm.cpu_affinity, found, ""); }},
    {"vm.numa-affinity", Severity::kWarning, "numa_affinity",
     "It is bound to memory nodes of its host, which does not come along", "target",
     "Set it at the target, if it is needed",
     [](const In& in, const FoundBy& found) { when(in.vm.numa_affinity, found, ""); }},
    {"vm.cpu-topology", Severity::kInfo, "cpu, cores_per_socket",
     "Its CPUs are no whole number of sockets", "target", "",
     [](const In& in, const FoundBy& found) {
       when(in.vm.cores_per_socket != 0 && in.vm.cpu % in.vm.cores_per_socket != 0, found,
            std::to_string(in.vm.cpu) + " CPUs, " + std::to_string(in.vm.cores_per_socket) +
                " in a socket");
     }},
    {"vm.change-tracking", Severity::kInfo, "change_tracking",
     "The source does not track its changed blocks", "source", "",
     [](const In& in, const FoundBy& found) {
       when(in.vm.change_tracking.has_value() && !*in.vm.change_tracking, found, "");
     }},
    {"vm.host-name", Severity::kWarning, "host_name", "The guest has no name of its own", "guest",
     "If its network gives it the name, see that the target's does, too",
     [](const In& in, const FoundBy& found) {
       if (!in.vm.host_name || in.vm.power_state != "on") return;
       when(in.vm.host_name->empty() || begins(*in.vm.host_name, {"localhost"}), found,
            *in.vm.host_name);
     }},
    {"vm.addresses", Severity::kWarning, "addresses",
     "The guest reports no network address, so that none can be compared afterwards", "guest",
     "See that its network and VMware Tools work, or know its addresses from elsewhere",
     [](const In& in, const FoundBy& found) {
       when(in.vm.power_state == "on" && in.vm.addresses && in.vm.addresses->empty(), found, "");
     }},
    {"vm.name", Severity::kInfo, "name",
     "Its name is no DNS name (RFC 1123), which KubeVirt asks for", "target", "",
     [](const In& in, const FoundBy& found) { when(!is_dns_name(in.vm.name), found, in.vm.name); }},
    {"vm.attachment", Severity::kInfo, "attachments", "A file of the VM is not migrated", "target",
     "",
     [](const In& in, const FoundBy& found) {
       for (const LeftDevice& file : in.vm.attachments) found("", file.kind + ": " + file.label);
     }},
};

const PredictionRule kDeviceRules[] = {
    {"disk.capacity", Severity::kError, "disks (blank, capacity_bytes)", "The disk has no size",
     "source", "Repair it at the source, or leave it out with disks",
     [](const In& in, const FoundBy& found) {
       for (const DiskRoute& one : in.disks)
         if (one.disk.blank && one.disk.capacity_bytes == 0) found(one.disk.id, "0 bytes");
     }},
    {"disk.free-space", Severity::kError, "guest_disks; only with guest",
     "A file system of the guest is too full to be prepared", "guest", "Make room in the guest",
     find_small_free_space},
    {"disk.independent", Severity::kWarning, "disks (mode)",
     "The disk is independent: no snapshot holds its state", "source",
     "Shut the VM down, or leave the disk out",
     [](const In& in, const FoundBy& found) {
       for (const DiskRoute& one : in.disks)
         if (begins(one.disk.mode, {"independent"})) found(one.disk.id, one.disk.mode);
     }},
    {"disk.rdm", Severity::kWarning, "disks (raw_mapping)",
     "The disk is a mapped device; it becomes an ordinary image", "source", "",
     [](const In& in, const FoundBy& found) {
       for (const DiskRoute& one : in.disks)
         if (!one.disk.raw_mapping.empty()) found(one.disk.id, one.disk.raw_mapping);
     }},
    {"disk.shared", Severity::kWarning, "disks (multi_writer)",
     "Several VMs may write the disk; each of them gets a copy of its own", "source",
     "Stop the others, and share one of the copies at the target",
     [](const In& in, const FoundBy& found) {
       for (const DiskRoute& one : in.disks)
         if (one.disk.multi_writer) found(one.disk.id, one.disk.controller);
     }},
    {"disk.change-tracking", Severity::kInfo, "disks (change_tracking)",
     "The source does not track the disk's changed blocks", "source", "",
     [](const In& in, const FoundBy& found) {
       for (const DiskRoute& one : in.disks)
         if (!one.disk.change_tracking.value_or(true)) found(one.disk.id, one.disk.controller);
     }},
    {"disk.nvme", Severity::kWarning, "disks (controller)",
     "The disk is at an NVMe controller: its guest calls it nvme0n1, and may do so by name",
     "guest", "guest: in the plan replaces such names in a Linux guest",
     [](const In& in, const FoundBy& found) {
       for (const DiskRoute& one : in.disks)
         if (lower(one.disk.controller).find("nvme") != std::string::npos)
           found(one.disk.id, one.disk.controller);
     }},
    {"disk.serial", Severity::kInfo, "disk_uuid, disks (controller)",
     "The guest sees serial numbers of its disks, which do not come along", "target", "",
     find_serials},
    {"disk.count", Severity::kWarning, "disks", "It has more disks than most targets take",
     "target", "",
     [](const In& in, const FoundBy& found) {
       when(in.disks.size() > kMostDisks, found, std::to_string(in.disks.size()));
     }},
    {"disk.bus", Severity::kWarning, "disks; bus", "The machine's bus does not hold all its disks",
     "target", "Choose bus: virtio or scsi for its machine", find_full_bus},
    {"nic.mac-twice", Severity::kWarning, "nics (mac)", "Two network cards have one address",
     "source", "Give one of them another address", find_same_macs},
    {"nic.mac", Severity::kInfo, "nics (mac)", "The network card's address is not fixed", "source",
     "",
     [](const In& in, const FoundBy& found) {
       find_nics(in, found, [](const NicDescription& nic) { return nic.mac.empty(); });
     }},
    {"nic.network", Severity::kInfo, "nics (network)", "The network card is not connected",
     "target", "",
     [](const In& in, const FoundBy& found) {
       find_nics(in, found, [](const NicDescription& nic) { return nic.network.empty(); });
     }},
};

}  // namespace

const std::vector<PredictionRule>& prediction_rules() {
  static const std::vector<PredictionRule> rules = [] {
    std::vector<PredictionRule> all(std::begin(kMachineRules), std::end(kMachineRules));
    all.insert(all.end(), std::begin(kDeviceRules), std::end(kDeviceRules));
    return all;
  }();
  return rules;
}

}  // namespace hyperhost
