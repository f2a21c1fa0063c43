// SPDX-License-Identifier: Apache-2.0
#include "plugins/guest/guestfs/text/device_names.hpp"

#include <algorithm>
#include <cctype>

namespace hyperhost::guestfs {
namespace {

constexpr unsigned kMostDisks = 4096, kMostPartitions = 128;
constexpr std::size_t kMostNames = 1000;  // of one guest; more come from a hostile file

bool digit(char c) {
  return c >= '0' && c <= '9';
}

/// A number that fills the text; nullopt for anything else, and beyond `most`.
std::optional<unsigned> number(std::string_view text, unsigned most) {
  if (text.empty() || text.size() > 6 || !std::all_of(text.begin(), text.end(), digit))
    return std::nullopt;
  unsigned value = 0;
  for (const char c : text) value = value * 10 + static_cast<unsigned>(c - '0');
  return value <= most ? std::optional(value) : std::nullopt;
}

/// "sdab12": letters count disks as digits of base 26 without a zero.
std::optional<MachineName> lettered(std::string_view name) {
  for (const std::string_view prefix : {"sd", "hd", "vd", "xvd"}) {
    if (name.substr(0, prefix.size()) != prefix) continue;
    std::string_view rest = name.substr(prefix.size());
    unsigned disk = 0;
    std::size_t letters = 0;
    for (; letters < rest.size() && rest[letters] >= 'a' && rest[letters] <= 'z'; ++letters) {
      if (letters == 3) return std::nullopt;
      disk = disk * 26 + static_cast<unsigned>(rest[letters] - 'a') + 1;
    }
    if (letters == 0) continue;
    rest.remove_prefix(letters);
    const auto partition = rest.empty() ? std::optional(0u) : number(rest, kMostPartitions);
    if (!partition || disk > kMostDisks) return std::nullopt;
    return MachineName{MachineName::Kind::kOrder, disk - 1, {}, *partition};
  }
  return std::nullopt;
}

/// "nvme0n1p2", "mmcblk0p1": a disk is a namespace of a controller, and a machine's disks are
/// the first namespaces of controllers in order, or all of one.
std::optional<MachineName> numbered(std::string_view name) {
  const bool nvme = name.substr(0, 4) == "nvme", card = name.substr(0, 6) == "mmcblk";
  if (!nvme && !card) return std::nullopt;
  name.remove_prefix(nvme ? 4 : 6);
  unsigned partition = 0;
  if (const std::size_t p = name.find('p'); p != std::string_view::npos) {
    const auto found = number(name.substr(p + 1), kMostPartitions);
    if (!found || *found == 0) return std::nullopt;
    partition = *found;
    name = name.substr(0, p);
  }
  const std::size_t n = nvme ? name.find('n') : std::string_view::npos;
  if (nvme && n == std::string_view::npos) return std::nullopt;
  const auto controller = number(name.substr(0, n), kMostDisks);
  const auto space = nvme ? number(name.substr(n + 1), kMostDisks) : std::optional(1u);
  if (!controller || !space || *space == 0) return std::nullopt;
  return MachineName{MachineName::Kind::kOrder, *controller + *space - 1, {}, partition};
}

bool stable_id(std::string_view id) {
  for (const std::string_view prefix : {"dm-", "md-", "lvm-", "raid-"})
    if (id.substr(0, prefix.size()) == prefix) return true;
  return false;
}

/// Numbers within names compare as numbers: "…-scsi-0:0:10:0" comes after "…-scsi-0:0:9:0".
bool before(std::string_view a, std::string_view b) {
  while (!a.empty() && !b.empty()) {
    if (digit(a.front()) && digit(b.front())) {
      const auto run = [](std::string_view& text) {
        std::size_t length = 0;
        while (length < text.size() && digit(text[length])) ++length;
        std::string_view found = text.substr(0, length);
        text.remove_prefix(length);
        while (found.size() > 1 && found.front() == '0') found.remove_prefix(1);
        return found;
      };
      const std::string_view left = run(a), right = run(b);
      if (left.size() != right.size()) return left.size() < right.size();
      if (left != right) return left < right;
    } else if (a.front() != b.front()) {
      return a.front() < b.front();
    } else {
      a.remove_prefix(1);
      b.remove_prefix(1);
    }
  }
  return a.empty() && !b.empty();
}

void insert(std::vector<std::string>& places, const std::string& place) {
  if (places.size() >= kMostNames) return;
  const auto at = std::lower_bound(places.begin(), places.end(), place, before);
  if (at == places.end() || *at != place) places.insert(at, place);
}

}  // namespace

std::optional<MachineName> machine_name(std::string_view name) {
  if (name.substr(0, 5) != "/dev/") return std::nullopt;
  name.remove_prefix(5);
  const bool path = name.substr(0, 13) == "disk/by-path/", id = name.substr(0, 11) == "disk/by-id/";
  if (!path && !id) {
    if (name.find('/') != std::string_view::npos) return std::nullopt;
    const auto found = lettered(name);
    return found ? found : numbered(name);
  }
  name.remove_prefix(path ? 13 : 11);
  if (name.empty() || name.find('/') != std::string_view::npos || (id && stable_id(name)))
    return std::nullopt;
  MachineName out{path ? MachineName::Kind::kPath : MachineName::Kind::kId, 0, std::string(name),
                  0};
  if (const std::size_t part = name.rfind("-part"); part != std::string_view::npos) {
    const auto found = number(name.substr(part + 5), kMostPartitions);
    if (!found || *found == 0) return std::nullopt;
    out.place = std::string(name.substr(0, part));
    out.partition = *found;
  }
  return out;
}

std::string rule_of(std::string_view subject, MachineName::Kind kind) {
  return std::string(subject) + (kind == MachineName::Kind::kPath ? "-by-path"
                                 : kind == MachineName::Kind::kId ? "-by-id"
                                                                  : "-device");
}

void DeviceNames::learn(std::string_view text) {
  for (const std::string_view folder : {"/dev/disk/by-path/", "/dev/disk/by-id/"}) {
    for (std::size_t at = text.find(folder); at != std::string_view::npos;
         at = text.find(folder, at + 1)) {
      const std::size_t end = text.find_first_of(" \t\r\n\"',;\\", at);
      const auto name = machine_name(
          text.substr(at, end == std::string_view::npos ? std::string_view::npos : end - at));
      if (name && name->kind == MachineName::Kind::kPath) insert(paths_, name->place);
      if (name && name->kind == MachineName::Kind::kId) insert(ids_, name->place);
    }
  }
}

std::optional<unsigned> DeviceNames::disk_at(const MachineName& name) const {
  if (name.kind == MachineName::Kind::kOrder) return name.disk;
  if (disks_ == 1) return 0;
  const auto& places = name.kind == MachineName::Kind::kPath ? paths_ : ids_;
  // Only all places together say which is which. Ids have no order at all.
  if (name.kind == MachineName::Kind::kPath && places.size() == disks_) {
    const auto at = std::lower_bound(places.begin(), places.end(), name.place, before);
    if (at != places.end() && *at == name.place) return static_cast<unsigned>(at - places.begin());
  }
  return std::nullopt;
}

std::optional<BlockDevice> DeviceNames::find(std::string_view text) const {
  const auto name = machine_name(text);
  if (!name) return std::nullopt;
  const auto disk = disk_at(*name);
  if (disk) {
    for (const BlockDevice& device : devices_)
      if (device.disk == *disk && device.partition == name->partition) return device;
    return std::nullopt;
  }
  // Several disks, whose order this name does not tell: it is certain if one disk alone has such a
  // partition.
  const BlockDevice* only = nullptr;
  for (const BlockDevice& device : devices_) {
    if (device.partition != name->partition || name->partition == 0) continue;
    if (only != nullptr) return std::nullopt;
    only = &device;
  }
  return only == nullptr ? std::nullopt : std::optional(*only);
}

std::string DeviceNames::stable(std::string_view name, std::string& why) const {
  const auto device = find(name);
  if (!device) {
    why = "no disk of the VM is known to have this name";
    return {};
  }
  // A UUID that two devices carry (a copied disk) says nothing.
  const auto unique = [&](auto member) {
    const std::string& value = (*device).*member;
    return !value.empty() &&
           std::count_if(devices_.begin(), devices_.end(),
                         [&](const BlockDevice& one) { return one.*member == value; }) == 1;
  };
  if (unique(&BlockDevice::uuid)) return "UUID=" + device->uuid;
  if (unique(&BlockDevice::partition_uuid)) return "PARTUUID=" + device->partition_uuid;
  why = "its file system has no UUID of its own";
  return {};
}

}  // namespace hyperhost::guestfs
