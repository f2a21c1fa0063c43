// SPDX-License-Identifier: Apache-2.0
#include "plugins/guest/guestfs/text/nic_names.hpp"

#include <algorithm>
#include <cctype>
#include <map>
#include <set>
#include <tuple>

#include "plugins/guest/guestfs/text/edit.hpp"

namespace hyperhost::guestfs {
namespace {

std::string unquoted(std::string_view text) {
  std::string out = trimmed(text);
  if (out.size() >= 2 && (out.front() == '"' || out.front() == '\'') && out.back() == out.front())
    out = out.substr(1, out.size() - 2);
  return out;
}

bool listed(const std::vector<std::string>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

/// The sections of a keyfile: section → key → value, both in lower case. The last one wins.
std::map<std::string, std::map<std::string, std::string>> sections_of(std::string_view text) {
  std::map<std::string, std::map<std::string, std::string>> sections;
  std::string section;
  const auto lower = [](std::string value) {
    std::transform(value.begin(), value.end(), value.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return value;
  };
  for (const std::string& line : lines_of(text)) {
    const std::string one = trimmed(line);
    if (one.empty() || one.front() == '#' || one.front() == ';') continue;
    if (one.front() == '[' && one.back() == ']')
      section = lower(one.substr(1, one.size() - 2));
    else if (const std::size_t equal = one.find('='); equal != std::string::npos)
      sections[section][lower(trimmed(one.substr(0, equal)))] = unquoted(one.substr(equal + 1));
  }
  return sections;
}

void add(std::vector<NicUse>& uses, const std::string& name, const std::string& mac) {
  if (!name.empty() && !adapter_name(name)) return;
  if (name.empty() && mac.empty()) return;
  uses.push_back({name, mac});
}

/// Where the order of a name's kind places it. Names of several kinds have no common order.
struct Rank {
  std::string kind;
  unsigned long major, minor;
};
Rank rank_of(const std::string& name) {
  const std::size_t digits = name.find_first_of("0123456789");
  const std::string kind = name.substr(0, digits);
  const std::string rest = digits == std::string::npos ? "" : name.substr(digits);
  const bool plain = !rest.empty() && rest.size() <= 6 &&
                     rest.find_first_not_of("0123456789") == std::string::npos;
  if (!plain) return {name, 0, 0};
  const unsigned long value = std::stoul(rest);
  // VMware numbers the slots of its PCIe bridges so: 160, 192, 224, 256, then 161, 193 …
  if (kind == "ens" && value >= 32) return {kind, value % 32, value / 32};
  return {kind, value, 0};
}

}  // namespace

bool adapter_name(std::string_view name) {
  if (name.empty() || name.size() > 15 || name == "lo") return false;
  for (const char c : name)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '_' && c != '-') return false;
  for (const std::string_view other :
       {"bond", "br", "virbr", "docker", "veth", "tun", "tap", "wg", "dummy", "vlan", "team", "ppp",
        "vxlan", "sit", "ib", "wl", "can"})
    if (name.substr(0, other.size()) == other) return false;
  return true;
}

std::string mac_of(std::string_view text) {
  std::string mac;
  for (const char c : trimmed(text)) {
    if (c == '"' || c == '\'') continue;
    const char one =
        c == '-' ? ':' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    mac += one;
  }
  if (mac.size() != 17) return {};
  for (std::size_t i = 0; i < mac.size(); ++i)
    if (i % 3 == 2 ? mac[i] != ':' : std::isxdigit(static_cast<unsigned char>(mac[i])) == 0)
      return {};
  return mac;
}

std::vector<NicUse> ifupdown_nics(std::string_view interfaces) {
  std::vector<std::string> names, own;  // own: made by their own stanza, and no adapters
  std::string stanza;
  for (const std::string& line : lines_of(interfaces)) {
    std::vector<std::string> words = words_of(line);
    if (words.empty() || words.front().front() == '#') continue;
    const std::string key = words.front();
    words.erase(words.begin());
    if (key == "auto" || key.compare(0, 6, "allow-") == 0) {
      names.insert(names.end(), words.begin(), words.end());
    } else if (key == "iface" && !words.empty()) {
      stanza = words.front();
      names.push_back(stanza);
    } else if (key == "bridge_ports" || key == "bridge-ports" || key == "bond-slaves" ||
               key == "slaves" || key == "bond_slaves" || key == "vlan-raw-device" ||
               key == "vlan_raw_device") {
      own.push_back(stanza);
      names.insert(names.end(), words.begin(), words.end());
    }
  }
  std::vector<NicUse> uses;
  std::set<std::string> seen;
  for (std::string name : names) {
    if (listed(own, name)) continue;
    name = name.substr(0, name.find(':'));  // eth0:1 is an address of eth0
    if (listed(own, name)) continue;
    name = name.substr(0, name.find('.'));  // eth0.7 is a VLAN on eth0
    if (name != "none" && seen.insert(name).second) add(uses, name, "");
  }
  return uses;
}

std::vector<NicUse> netplan_nics(std::string_view yaml) {
  struct Nic {
    std::string name, match_name, mac;
  };
  std::vector<Nic> nics;
  std::vector<std::pair<std::size_t, std::string>> path;  // indentation and key
  for (const std::string& raw : lines_of(yaml)) {
    std::string line = raw.substr(0, raw.find(" #"));
    const std::size_t indent = line.find_first_not_of(' ');
    const std::string text = trimmed(line);
    if (text.empty() || text.front() == '#' || text.front() == '-') continue;
    const std::size_t colon = text.find(": ") != std::string::npos ? text.find(": ")
                              : text.back() == ':'                 ? text.size() - 1
                                                                   : std::string::npos;
    if (colon == std::string::npos) continue;
    while (!path.empty() && path.back().first >= indent) path.pop_back();
    path.emplace_back(indent, unquoted(text.substr(0, colon)));
    if (path.size() > 16) return {};
    if (path.size() < 3 || path[0].second != "network" || path[1].second != "ethernets") continue;
    if (path.size() == 3) nics.push_back({path[2].second, "", ""});
    const std::string value = unquoted(text.substr(colon + 1)), key = path.back().second;
    if (path.size() == 5 && path[3].second == "match" && key == "macaddress")
      nics.back().mac = mac_of(value);
    if (path.size() == 5 && path[3].second == "match" && key == "name")
      nics.back().match_name = value;
    if (path.size() == 4 && key == "set-name") nics.back().match_name = value;
  }
  std::vector<NicUse> uses;
  for (const Nic& nic : nics) {
    // With a match the id is only a label.
    const bool matched = !nic.mac.empty() || !nic.match_name.empty();
    add(uses, matched ? nic.match_name : nic.name, nic.mac);
  }
  return uses;
}

std::vector<NicUse> network_manager_nics(std::string_view keyfile) {
  auto sections = sections_of(keyfile);
  const std::string type = sections["connection"]["type"];
  if (type != "ethernet" && type != "802-3-ethernet") return {};
  std::string mac = mac_of(sections["ethernet"]["mac-address"]);
  if (mac.empty()) mac = mac_of(sections["802-3-ethernet"]["mac-address"]);
  std::vector<NicUse> uses;
  add(uses, sections["connection"]["interface-name"], mac);
  return uses;
}

std::vector<NicUse> networkd_nics(std::string_view network) {
  auto sections = sections_of(network);
  std::vector<NicUse> uses;
  const std::string mac = mac_of(sections["match"]["macaddress"]);
  const std::vector<std::string> names = words_of(sections["match"]["name"]);
  // A pattern ("en*") fits the new names as well as the old ones.
  for (const std::string& name : names)
    if (name.find_first_of("*?[!") == std::string::npos) add(uses, name, mac);
  if (names.empty()) add(uses, "", mac);
  return uses;
}

std::vector<NicUse> ifcfg_nics(std::string_view text, std::string_view file) {
  auto values = sections_of(text)[""];
  const std::string type = values["type"];
  if (!type.empty() && type != "Ethernet" && type != "ethernet") return {};
  std::string name = values["device"];
  if (name.empty()) name = file.substr(0, 6) == "ifcfg-" ? std::string(file.substr(6)) : "";
  name = name.substr(0, name.find_first_of(":."));
  std::vector<NicUse> uses;
  add(uses, name, mac_of(values["hwaddr"]));
  return uses;
}

NicPlan plan_nics(const std::vector<NicUse>& uses, const std::vector<std::string>& macs) {
  NicPlan plan;
  std::map<std::string, std::string> known;  // name → mac
  std::set<std::string> names;
  std::vector<std::string> free = macs;
  for (const NicUse& use : uses) {
    if (!use.name.empty()) names.insert(use.name);
    if (!use.name.empty() && !use.mac.empty()) known[use.name] = use.mac;
    if (!use.mac.empty()) free.erase(std::remove(free.begin(), free.end(), use.mac), free.end());
  }
  std::vector<std::string> rest;
  for (const std::string& name : names)
    if (known.count(name) == 0) rest.push_back(name);
  std::sort(rest.begin(), rest.end(), [](const std::string& a, const std::string& b) {
    const Rank left = rank_of(a), right = rank_of(b);
    return std::tie(left.kind, left.major, left.minor) <
           std::tie(right.kind, right.major, right.minor);
  });
  const bool one_kind = std::all_of(rest.begin(), rest.end(), [&](const std::string& name) {
    return rank_of(name).kind == rank_of(rest.front()).kind;
  });
  const bool macs_known = std::find(free.begin(), free.end(), "") == free.end();
  if (rest.size() == free.size() && macs_known && (one_kind || rest.size() == 1))
    for (std::size_t i = 0; i < rest.size(); ++i) known[rest[i]] = free[i];
  else
    plan.unknown = rest;
  for (const auto& [name, mac] : known) plan.names.push_back({name, mac});
  return plan;
}

std::string link_file(const NicName& nic) {
  return "# Keeps the adapter's name on another machine.\n[Match]\nMACAddress=" + nic.mac +
         "\nType=ether\n\n[Link]\nName=" + nic.name + "\n";
}

std::string udev_rule(const NicName& nic) {
  return "SUBSYSTEM==\"net\", ACTION==\"add\", DRIVERS==\"?*\", ATTR{address}==\"" + nic.mac +
         "\", ATTR{type}==\"1\", NAME=\"" + nic.name + "\"\n";
}

}  // namespace hyperhost::guestfs
