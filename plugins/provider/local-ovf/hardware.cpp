// SPDX-License-Identifier: Apache-2.0
#include "hardware.hpp"

#include <algorithm>
#include <limits>
#include <tuple>

#include <hyper/error.hpp>

#include "package.hpp"
#include "units.hpp"
#include "xml.hpp"

namespace hyper::ovf {
namespace {

/// CIM_ResourceAllocationSettingData.ResourceType.
enum Resource : uint64_t {
  kOther = 1,
  kProcessor = 3,
  kMemory = 4,
  kIde = 5,
  kScsi = 6,
  kEthernet = 10,
  kFloppy = 14,
  kCd = 15,
  kDvd = 16,
  kDisk = 17,
  kOtherStorage = 20,
  kUsbController = 23,
};

constexpr std::size_t kMaxItems = 4'000;
constexpr uint64_t kMaxMemory = uint64_t{1} << 56;

struct Item {
  uint64_t type = 0;
  std::string instance, parent, address, unit, subtype, label, host_resource, connection;
  std::string quantity, units, configuration, cores;
};

class Hardware {
 public:
  Hardware(const OvfDocument& document, const std::string& configuration, const std::string& label,
           OvfVm& vm)
      : document_(document), configuration_(configuration), label_(label), vm_(vm) {}

  void read(const pugi::xml_node& system) {
    pugi::xml_node virtualbox;
    std::vector<std::string> boot;
    std::size_t sections = 0;
    each_child(system, [&](const pugi::xml_node& node) {
      const std::string name = kind(node);
      // Alternatives: the specification lets the consumer choose, the first is the exporter's own.
      if (same(name, "VirtualHardwareSection") && sections++ == 0) section(node);
      if (same(name, "OperatingSystemSection")) read_operating_system(node, vm_);
      if (same(name, "Machine")) virtualbox = node;
      if (same(name, "BootOrderSection")) boot.push_back(attribute_or(node, "instanceId"));
    });
    if (sections == 0) warn("has no VirtualHardwareSection: CPUs, memory and disks are unknown");
    controllers();
    for (const Item& item : items_) device(item);
    if (virtualbox) read_virtualbox(virtualbox);
    order_drives(boot);
    if (vm_.cpus == 0) warn("does not tell the number of CPUs");
    if (vm_.memory == 0) warn("does not tell the size of the memory");
  }

 private:
  void warn(const std::string& what) { vm_.warnings.push_back("'" + label_ + "' " + what); }
  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(HYPER_CORRUPT,
                "the descriptor '" + label_ + "' gives the VM '" + vm_.name + "' " + what);
  }

  void section(const pugi::xml_node& node) {
    each_child(node, [&](const pugi::xml_node& inner) {
      const std::string name = kind(inner);
      if (same(name, "System")) {
        vm_.hardware = child_text(inner, "VirtualSystemType");
        return;
      }
      if (same(name, "Item") || same(name, "StorageItem") || same(name, "EthernetPortItem"))
        item(inner);
      if (same(name, "Config") || same(name, "ExtraConfig"))
        setting(attribute_or(inner, "key"), attribute_or(inner, "value"));
      if (same(name, "BiosType")) ovirt_bios(trimmed(inner.text().get()));
    });
  }

  void item(const pugi::xml_node& node) {
    const std::string bound = attribute_or(node, "bound");
    if (!bound.empty() && bound != "normal") return;
    Item out;
    out.configuration = attribute_or(node, "configuration");
    if (!out.configuration.empty() &&
        (" " + out.configuration + " ").find(" " + configuration_ + " ") == std::string::npos)
      return;
    const std::string type = child_text(node, "ResourceType");
    const auto number = parse_number(type);
    if (!number) return warn("has a hardware item of the unknown resource type '" + type + "'");
    out.type = *number;
    out.instance = child_text(node, "InstanceID");
    out.parent = child_text(node, "Parent");
    out.address = child_text(node, "Address");
    if (out.address.empty()) out.address = child_text(node, "MACAddress");  // oVirt
    out.unit = child_text(node, "AddressOnParent");
    out.subtype = child_text(node, "ResourceSubType");
    out.label = child_text(node, "ElementName");
    if (out.label.empty()) out.label = child_text(node, "Caption");  // OVF 0.9, oVirt
    out.host_resource = child_text(node, "HostResource");
    out.connection = child_text(node, "Connection");
    out.quantity = child_text(node, "VirtualQuantity");
    out.units = child_text(node, "AllocationUnits");
    out.cores = child_text(node, "CoresPerSocket");  // VMware
    // An item for the chosen configuration replaces the one of the same id for all of them.
    if (items_.size() == kMaxItems) refuse("an absurd number of hardware items");
    for (Item& other : items_) {
      if (out.instance.empty() || other.instance != out.instance || other.type != out.type)
        continue;
      if (other.configuration.empty() == out.configuration.empty()) continue;
      if (other.configuration.empty()) other = std::move(out);
      return;
    }
    items_.push_back(std::move(out));
  }

  void setting(const std::string& key, const std::string& value) {
    if (same(key, "firmware")) vm_.firmware = same(value, "efi") ? "uefi" : "bios";
    if (same(key, "uefi.secureBoot.enabled") || same(key, "bootOptions.efiSecureBootEnabled"))
      vm_.secure_boot = vm_.secure_boot || same(value, "true");
    if (same(key, "cpuHotAddEnabled") || same(key, "cpuHotRemoveEnabled"))
      vm_.cpu_hot_add = vm_.cpu_hot_add || same(value, "true");
    if (same(key, "memoryHotAddEnabled")) vm_.memory_hot_add = same(value, "true");
    if (same(key, "disk.EnableUUID")) vm_.disk_uuid = same(value, "true") || value == "1";
    if (same(key, "nvram")) {
      const std::string file = resource("file", value);
      if (!file.empty()) vm_.attachments.push_back({"nvram", file});
    }
  }

  /// oVirt: 1 = i440fx BIOS, 2 = Q35 BIOS, 3 = Q35 UEFI, 4 = Q35 UEFI with secure boot.
  void ovirt_bios(const std::string& type) {
    if (type == "3" || type == "4") vm_.firmware = "uefi";
    if (type == "4") vm_.secure_boot = true;
  }

  /// "ovf:/disk/vmdisk1", "/disk/vmdisk1": "vmdisk1"; "" if it is no reference of that kind.
  static std::string resource(const std::string& what, const std::string& text) {
    const std::string mark = what + "/";
    std::size_t at = text.rfind("ovf:", 0) == 0 ? 4 : 0;
    if (at < text.size() && text[at] == '/') ++at;
    return text.compare(at, mark.size(), mark) == 0 ? text.substr(at + mark.size()) : std::string();
  }

  uint64_t quantity(const Item& item, const char* what) const {
    const auto number = parse_number(item.quantity);
    if (!number) refuse(std::string(what) + " '" + item.quantity + "', which is no whole number");
    return *number;
  }

  void controllers() {
    std::map<std::string, unsigned> counts;
    for (const Item& item : items_) {
      std::string bus;
      const std::string subtype = lower(item.subtype);
      if (item.type == kIde) bus = "ide";
      if (item.type == kScsi) bus = "scsi";
      if (item.type == kOtherStorage)
        bus = subtype.find("nvm") != std::string::npos      ? "nvme"
              : subtype.find("virtio") != std::string::npos ? "virtio"
                                                            : "sata";
      if (bus.empty()) continue;
      const unsigned count = counts[bus]++;
      // Address is the bus number where it is a small number (VMware, VirtualBox).
      const auto address = parse_number(item.address);
      const uint64_t number = address && *address < 64 ? *address : count;
      controllers_[item.instance] = {bus + std::to_string(number), controllers_.size()};
      const std::string& id = controllers_[item.instance].first;
      if (std::none_of(vm_.controllers.begin(), vm_.controllers.end(),
                       [&](const OvfController& other) { return other.id == id; }))
        vm_.controllers.push_back({id, item.subtype});
    }
  }

  void device(const Item& item) {
    switch (item.type) {
      case kProcessor: {
        const uint64_t cpus = quantity(item, "the number of CPUs");
        if (cpus > 4096) refuse("'" + item.quantity + "' CPUs");
        vm_.cpus += cpus;
        if (const auto cores = parse_number(item.cores); cores && *cores <= 4096)
          vm_.cores_per_socket = *cores;
        break;
      }
      case kOther:
        vm_.tpm = vm_.tpm || lower(item.subtype).find("vtpm") != std::string::npos;
        break;
      case kUsbController:
        vm_.usb_controllers.push_back(item.label);
        break;
      case kMemory:
        return memory(item);
      case kEthernet:
        return nic(item);
      case kDisk:
        return drive(item);
      case kCd:
      case kDvd:
      case kFloppy:
        return medium(item);
      default:
        break;
    }
  }

  void memory(const Item& item) {
    const uint64_t number = quantity(item, "the memory size");
    const auto unit = item.units.empty() ? uint64_t{1} << 20 : parse_byte_unit(item.units);
    if (!unit) refuse("memory counted in '" + item.units + "', which is no unit of bytes");
    uint64_t bytes = 0;
    if (__builtin_mul_overflow(number, *unit, &bytes) ||
        __builtin_add_overflow(vm_.memory, bytes, &vm_.memory) || vm_.memory > kMaxMemory)
      refuse("the memory size '" + item.quantity + "' in units of '" + item.units +
             "', which is impossible");
  }

  void nic(const Item& item) {
    OvfNic out{normal_mac(item.address), item.connection, item.subtype};
    if (!item.address.empty() && out.mac.empty())
      warn("has a network adapter with the address '" + item.address +
           "', which is no MAC address");
    vm_.nics.push_back(std::move(out));
  }

  void drive(const Item& item) {
    OvfDrive out;
    out.disk_id = resource("disk", item.host_resource);
    out.file_id = resource("file", item.host_resource);
    if (out.disk_id.empty() && out.file_id.empty()) {
      // oVirt writes "imageId/diskId" or the bare id.
      for (const auto& [id, disk] : document_.disks)
        if (id == item.host_resource || id == base_name(item.host_resource) ||
            id == item.host_resource.substr(0, item.host_resource.find('/')))
          out.disk_id = id;
    }
    if (out.disk_id.empty() && out.file_id.empty())
      return warn("has the disk '" + item.label + "' without a reference to its content: left out");
    if (!out.disk_id.empty() && document_.disks.count(out.disk_id) == 0)
      refuse("the disk '" + out.disk_id + "', which its DiskSection does not have");
    if (!out.file_id.empty() && document_.files.count(out.file_id) == 0)
      refuse("the disk file '" + out.file_id + "', which its References do not have");
    out.label = item.label;
    std::size_t controller = std::numeric_limits<std::size_t>::max();
    const auto number = parse_number(item.unit);
    if (const auto found = controllers_.find(item.parent); found != controllers_.end()) {
      controller = found->second.second;
      out.controller = found->second.first + ":" + (number ? std::to_string(*number) : "0");
    }
    places_.push_back({item.instance, controller, number.value_or(0)});
    vm_.drives.push_back(std::move(out));
  }

  /// A CD or floppy with a medium in it; VirtualBox lists ISO files among the disks.
  void medium(const Item& item) {
    std::string file = resource("file", item.host_resource);
    const auto disk = document_.disks.find(resource("disk", item.host_resource));
    if (file.empty() && disk != document_.disks.end()) file = disk->second.file_id;
    if (!file.empty()) vm_.attachments.push_back({item.type == kFloppy ? "other" : "iso", file});
  }

  void read_virtualbox(const pugi::xml_node& machine) {
    const pugi::xml_node firmware = descendant(machine, "Firmware");
    if (lower(attribute_or(firmware, "type")).rfind("efi", 0) == 0) vm_.firmware = "uefi";
    if (same(attribute_or(descendant(machine, "SecureBoot"), "enabled"), "true"))
      vm_.secure_boot = true;
    vm_.uuid = attribute_or(machine, "uuid");
    std::erase_if(vm_.uuid, [](char c) { return c == '{' || c == '}'; });
    const std::string tpm =
        lower(attribute_or(descendant(machine, "TrustedPlatformModule"), "type"));
    vm_.tpm = vm_.tpm || (!tpm.empty() && tpm != "none");
    std::vector<std::string> macs;
    each_child(descendant(machine, "Network"), [&](const pugi::xml_node& adapter) {
      if (same(kind(adapter), "Adapter") && same(attribute_or(adapter, "enabled"), "true"))
        macs.push_back(normal_mac(attribute_or(adapter, "MACAddress")));
    });
    for (std::size_t i = 0; i < vm_.nics.size() && macs.size() == vm_.nics.size(); ++i)
      if (vm_.nics[i].mac.empty()) vm_.nics[i].mac = macs[i];
  }

  /// By VMware's BootOrderSection, else by controller and unit.
  void order_drives(const std::vector<std::string>& boot) {
    std::vector<std::size_t> order(vm_.drives.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    const auto key = [&](std::size_t i) {
      const auto place = std::find(boot.begin(), boot.end(), places_[i].instance);
      return std::make_tuple(place - boot.begin(), places_[i].controller, places_[i].unit, i);
    };
    std::sort(order.begin(), order.end(), [&](auto a, auto b) { return key(a) < key(b); });
    for (std::size_t rank = 0; rank < order.size(); ++rank)
      vm_.drives[order[rank]].boot_order = static_cast<unsigned>(rank);
  }

  struct Place {
    std::string instance;
    std::size_t controller;
    uint64_t unit;
  };

  const OvfDocument& document_;
  const std::string& configuration_;
  const std::string& label_;
  OvfVm& vm_;
  std::vector<Item> items_;
  std::map<std::string, std::pair<std::string, std::size_t>> controllers_;  // by instance
  std::vector<Place> places_;                                               // of vm_.drives
};

/// CIM_OperatingSystem.OSType, where only the number is given.
std::string hint_of_cim(uint64_t id) {
  const auto in = [&](uint64_t from, uint64_t to) { return id >= from && id <= to; };
  if (in(15, 19) || id == 58 || id == 63 || id == 67 || in(69, 78) || id == 103 || id == 105 ||
      in(111, 117) || in(119, 124))
    return "windows";
  if (id == 36 || in(79, 80) || in(82, 87) || in(89, 102) || in(106, 109)) return "linux";
  return "unknown";
}

std::string hint_of_text(const std::string& text) {
  const std::string all = lower(text);
  if (all.rfind("win", 0) == 0 || all.find("windows") != std::string::npos) return "windows";
  for (const char* word :
       {"linux",  "debian", "ubuntu",   "rhel",   "redhat",  "red hat", "centos", "fedora",
        "suse",   "sles",   "oracle",   "ol_",    "alma",    "rocky",   "photon", "coreos",
        "gentoo", "arch",   "mandriva", "amazon", "asianux", "turbo",   "crxpod"})
    if (all.find(word) != std::string::npos) return "linux";
  return "unknown";
}

}  // namespace

std::string normal_mac(const std::string& text) {
  std::string digits;
  for (const char c : lower(text)) {
    if (c == ':' || c == '-' || c == '.') continue;
    if ((c < '0' || c > '9') && (c < 'a' || c > 'f')) return {};
    digits += c;
  }
  if (digits.size() != 12) return {};
  for (std::size_t at = 10; at > 0; at -= 2) digits.insert(at, ":");
  return digits;
}

void read_operating_system(const pugi::xml_node& section, OvfVm& vm) {
  const std::string vmware = attribute_or(section, "osType");
  const std::string virtualbox = child_text(section, "OSType");
  const std::string description = child_text(section, "Description");
  const std::string version = attribute_or(section, "version");
  vm.guest_os = !vmware.empty() ? vmware : !virtualbox.empty() ? virtualbox : description;
  vm.os_version = !version.empty() ? version : description;
  vm.os_hint = "unknown";
  for (const std::string& text : {vmware, virtualbox, description})
    if (vm.os_hint == "unknown" && !text.empty()) vm.os_hint = hint_of_text(text);
  const auto id = parse_number(attribute_or(section, "id"));
  if (vm.os_hint == "unknown" && id) vm.os_hint = hint_of_cim(*id);
}

void read_hardware(const pugi::xml_node& system, const OvfDocument& document,
                   const std::string& configuration, const std::string& label, OvfVm& vm) {
  Hardware(document, configuration, label, vm).read(system);
}

}  // namespace hyper::ovf
