// SPDX-License-Identifier: Apache-2.0
#include "core/vm/vm_description.hpp"

#include <algorithm>
#include <set>

#include "core/base/diagnostic.hpp"

namespace hyperhost {
namespace {

class Reader {
 public:
  Reader(const nlohmann::json& object, std::string where, const std::string& provider)
      : object_(object), where_(std::move(where)), provider_(provider) {
    if (!object_.is_object()) bad("", "is not an object");
  }
  std::string text(const char* key, std::string otherwise = {}) const {
    const auto* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_string()) bad(key, "is not a string");
    return value->get<std::string>();
  }
  std::optional<uint64_t> number(const char* key, uint64_t limit) const {
    const auto* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_number_unsigned() || value->get<uint64_t>() > limit)
      bad(key, "is not a number from 0 to " + std::to_string(limit));
    return value->get<uint64_t>();
  }
  bool has(const char* key) const { return find(key) != nullptr; }
  const nlohmann::json* object(const char* key) const { return find(key); }
  bool flag(const char* key) const {
    const auto* value = find(key);
    if (value == nullptr) return false;
    if (!value->is_boolean()) bad(key, "is neither true nor false");
    return value->get<bool>();
  }
  const nlohmann::json& list(const char* key, std::size_t limit) const {
    static const nlohmann::json none = nlohmann::json::array();
    const auto* value = find(key);
    if (value == nullptr) return none;
    if (!value->is_array() || value->size() > limit)
      bad(key, "is not a list of at most " + std::to_string(limit));
    return *value;
  }
  [[noreturn]] void bad(const std::string& key, const std::string& why) const {
    throw Error(Code::kFail, "provider plugin '" + provider_ +
                                 "' describes a VM wrongly: " + where_ + "/" + key + " " + why);
  }

 private:
  const nlohmann::json* find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  const nlohmann::json& object_;
  const std::string where_;
  const std::string& provider_;
};

bool is_id(const std::string& text) {
  return !text.empty() && text.size() <= 128 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  });
}

constexpr uint64_t kMaxDisk = uint64_t{1} << 51;  // 2 PiB: 4096 of them still add up in 64 bits

/// ids: of the disks before.
DiskDescription read_disk(const Reader& disk, std::set<std::string>& ids) {
  DiskDescription made;
  made.id = disk.text("id");
  if (!is_id(made.id)) disk.bad("id", "is not of the form a-z A-Z 0-9 _ -");
  if (!ids.insert(made.id).second) disk.bad("id", "stands twice");
  made.label = disk.text("label");
  made.file = disk.text("file");
  made.format = disk.text("format");
  if (!made.format.empty() && (!is_id(made.format) || made.format.size() > 15))
    disk.bad("format", "is not a format's name");
  made.capacity_bytes = disk.number("capacity_bytes", kMaxDisk).value_or(0);
  made.source_bytes = disk.number("bytes", kMaxDisk);
  made.allocated_bytes = disk.number("allocated_bytes", kMaxDisk);
  for (const auto& access : disk.list("access", 32)) {
    made.seekable |= access == "seek";
    made.streamable |= access == "stream";
    made.local_file |= access == "file";
  }
  made.boot_order = static_cast<int>(disk.number("boot_order", 1u << 20).value_or(999));
  made.type = disk.text("type", "unknown");
  made.datastore = disk.text("datastore");
  made.controller = disk.text("controller");
  made.content_id = disk.text("content_id");
  made.blank = disk.flag("blank");
  made.mode = disk.text("mode");
  made.raw_mapping = disk.text("raw_mapping");
  made.multi_writer = disk.flag("multi_writer");
  if (disk.has("change_tracking")) made.change_tracking = disk.flag("change_tracking");
  return made;
}

std::vector<LeftDevice> left_devices(const Reader& vm, const char* list, const char* label,
                                     const std::string& provider) {
  std::vector<LeftDevice> out;
  for (const auto& item : vm.list(list, 4096)) {
    const Reader one(item, "/" + std::string(list) + "/" + std::to_string(out.size()), provider);
    out.push_back({one.text("kind"), one.text(label)});
  }
  return out;
}

ClusterSettings read_cluster(const Reader& cluster, const std::string& provider) {
  ClusterSettings out;
  for (const auto& [key, value] :
       {std::pair{"drs", &out.drs}, std::pair{"dpm", &out.dpm}, std::pair{"ha", &out.ha}})
    if (cluster.has(key)) *value = cluster.flag(key);
  for (const auto& item : cluster.list("rules", 1000)) {
    const Reader one(item, "/cluster_settings/rules/" + std::to_string(out.rules.size()), provider);
    out.rules.push_back(
        {one.text("kind"), one.text("name"), one.text("hosts"), one.flag("mandatory")});
  }
  return out;
}

/// What a prediction looks at, beyond what a migration needs.
void read_conditions(const Reader& vm, const std::string& provider, VmDescription& out) {
  out.power_state = vm.text("power_state", "unknown");
  out.consolidation_needed = vm.flag("consolidation_needed");
  out.fault_tolerance = vm.flag("fault_tolerance");
  out.cpu_hot_add = vm.flag("cpu_hot_add");
  out.memory_hot_add = vm.flag("memory_hot_add");
  out.cpu_affinity = vm.flag("cpu_affinity");
  out.numa_affinity = vm.flag("numa_affinity");
  out.disk_uuid = vm.flag("disk_uuid");
  if (vm.has("change_tracking")) out.change_tracking = vm.flag("change_tracking");
  if (vm.has("host_name")) out.host_name = vm.text("host_name");
  if (vm.has("addresses")) {
    out.addresses.emplace();
    for (const auto& address : vm.list("addresses", 4096))
      if (address.is_string()) out.addresses->push_back(address.get<std::string>());
  }
  if (const auto* cluster = vm.object("cluster_settings"))
    out.cluster_settings = read_cluster(Reader(*cluster, "/cluster_settings", provider), provider);
  out.devices = left_devices(vm, "devices", "label", provider);
  out.attachments = left_devices(vm, "attachments", "file", provider);
  for (const auto& item : vm.list("snapshots", 4096))
    out.snapshots.push_back(
        Reader(item, "/snapshots/" + std::to_string(out.snapshots.size()), provider).text("name"));
  for (const auto& item : vm.list("guest_disks", 4096)) {
    const Reader one(item, "/guest_disks/" + std::to_string(out.guest_disks.size()), provider);
    out.guest_disks.push_back({one.text("path"), one.number("free_bytes", UINT64_MAX)});
  }
}

std::vector<std::string> texts(const nlohmann::json& list) {
  std::vector<std::string> out;
  for (const auto& item : list) {
    if (item.is_string())
      out.push_back(item.get<std::string>());
    else if (item.is_object() && item.value("summary", nlohmann::json()).is_string())
      out.push_back(item["summary"].get<std::string>());
  }
  return out;
}

}  // namespace

uint64_t VmDescription::guest_bytes() const {
  uint64_t sum = 0;
  for (const DiskDescription& disk : disks) sum += disk.capacity_bytes;
  return sum;
}

VmDescription parse_vm_description(nlohmann::json document, const std::string& provider) {
  const Reader vm(document, "", provider);
  VmDescription out;
  out.name = vm.text("name");
  if (out.name.empty()) vm.bad("name", "is missing");
  out.ref = vm.text("ref", out.name);
  out.path = vm.text("path");
  out.datacenter = vm.text("datacenter");
  out.export_method = vm.text("export_method");
  out.host = vm.text("host");
  out.cluster = vm.text("cluster");
  out.guest_os = vm.text("guest_os");
  out.os_hint = vm.text("os_hint", "unknown");
  out.os_version = vm.text("os_version");
  out.firmware = vm.text("firmware", "unknown");
  out.secure_boot = vm.flag("secure_boot");
  out.tpm = vm.flag("vtpm");
  out.uuid = vm.text("uuid");
  out.instance_uuid = vm.text("instance_uuid");
  out.hardware = vm.text("hardware");
  out.cores_per_socket = static_cast<uint32_t>(vm.number("cores_per_socket", 1u << 20).value_or(0));
  out.cpu = static_cast<uint32_t>(vm.number("cpu", 1u << 20).value_or(0));
  out.memory_bytes = vm.number("memory_bytes", uint64_t{1} << 56).value_or(0);
  read_conditions(vm, provider, out);
  out.notes = texts(vm.list("notes", 1000));
  out.warnings = texts(vm.list("warnings", 1000));

  std::set<std::string> ids;
  std::size_t index = 0;
  for (const auto& item : vm.list("disks", 4096)) {
    out.disks.push_back(
        read_disk(Reader(item, "/disks/" + std::to_string(index++), provider), ids));
  }
  index = 0;
  for (const auto& item : vm.list("nics", 4096)) {
    const Reader nic(item, "/nics/" + std::to_string(index++), provider);
    out.nics.push_back({nic.text("id", "nic-" + std::to_string(index - 1)), nic.text("mac"),
                        nic.text("network"), nic.text("model"), nic.flag("sriov")});
  }
  index = 0;
  for (const auto& item : vm.list("controllers", 4096)) {
    const Reader controller(item, "/controllers/" + std::to_string(index++), provider);
    out.controllers.push_back({controller.text("id"), controller.text("type")});
  }
  out.document = std::move(document);
  return out;
}

}  // namespace hyperhost
