// SPDX-License-Identifier: Apache-2.0
#include "plugins/guest/virt-v2v/command.hpp"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <map>

#include "plugins/guest/scratch/scratch.hpp"

namespace hyperhost::virt_v2v {
namespace {

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&apos;";
        break;
      default:
        if (static_cast<unsigned char>(c) >= 0x20) out += c;  // XML has no others
    }
  return out;
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

/// libvirt's name for the bus of the source's controller.
std::string source_bus(const std::string& controller) {
  const std::string text = lower(controller);
  if (text.find("ide") == 0 || text.find("virtualide") == 0) return "ide";
  if (text.find("sata") != std::string::npos || text.find("ahci") != std::string::npos)
    return "sata";
  if (text.find("virtio") == 0) return "virtio";
  return "scsi";
}

/// "sda", "sdab", "hdc" …, the n-th of a bus.
std::string device_name(const std::string& bus, std::size_t n) {
  std::string letters;
  for (++n; n > 0; n = (n - 1) / 26)
    letters.insert(letters.begin(), static_cast<char>('a' + (n - 1) % 26));
  return (bus == "ide" ? "hd" : bus == "virtio" ? "vd" : "sd") + letters;
}

}  // namespace

std::string key_file(const std::string& directory, std::size_t n) {
  return directory + "/key-" + std::to_string(n);
}

std::vector<std::string> inherited_environment() {
  std::vector<std::string> out;
  for (char** one = environ; *one != nullptr; ++one) {
    const std::string variable = *one;
    for (const char* name : {"PATH=", "LIBGUESTFS_", "SUPERMIN_KERNEL=", "SUPERMIN_MODULES="})
      if (variable.rfind(name, 0) == 0) out.push_back(variable);
  }
  return out;
}

std::vector<std::string> command_line(const Settings& settings, const Program& program,
                                      const std::string& directory,
                                      const std::vector<std::string>& environment) {
  // setpriv: where timeout is killed, virt-v2v goes with it.
  std::vector<std::string> out = {"timeout", "--kill-after=10",  std::to_string(settings.timeout_s),
                                  "setpriv", "--pdeathsig=KILL", "env",
                                  "-i"};
  std::map<std::string, std::string> variables = {
      {"LC_ALL", "C"},
      {"HOME", directory},
      {"TMPDIR", directory},
      {"VIRT_V2V_TMPDIR", directory},
      {"LIBGUESTFS_CACHEDIR", guest::temporary_directory()},
      {"LIBGUESTFS_BACKEND", "direct"},
      {"PATH", "/usr/local/bin:/usr/bin:/bin"},
      {"VIRTIO_WIN", settings.virtio_win},
      {"VIRT_TOOLS_DATA_DIR", settings.virt_tools}};
  for (const std::string& one : environment)
    variables[one.substr(0, one.find('='))] =
        one.substr(std::min(one.find('='), one.size() - 1) + 1);
  if (settings.emulate) variables["LIBGUESTFS_BACKEND_SETTINGS"] = "force_tcg";
  for (const auto& [name, value] : variables) out.push_back(name + "=" + value);
  out.push_back(program.path);
  // --root: the default asks, and there is no terminal.
  out.insert(out.end(), {"--machine-readable", "--root", settings.root});
  if (program.no_fstrim) out.emplace_back("--no-fstrim");
  std::size_t number = 0;
  for (const auto& [id, key] : settings.keys)
    out.insert(out.end(), {"--key", id + ":file:" + key_file(directory, number++)});
  out.insert(out.end(), {"-i", "libvirtxml", directory + "/domain.xml"});
  return out;
}

std::string command_text(const std::vector<std::string>& arguments) {
  std::string out;
  for (const std::string& argument : arguments) {
    const bool plain =
        !argument.empty() && argument.find_first_not_of(
                                 "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                 "_-./:=,+@%") == std::string::npos;
    out += out.empty() ? "" : " ";
    if (plain) {
      out += argument;
      continue;
    }
    out += '\'';
    for (const char c : argument) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
    out += '\'';
  }
  return out;
}

std::string domain_xml(const hyper::Doc& request, const std::vector<DomainDisk>& disks) {
  std::map<std::string, std::string> controllers;
  request.each("/vm/disks", [&](const hyper::Doc& disk) {
    controllers[disk.string("/id")] = disk.string("/controller");
  });
  const uint64_t memory = static_cast<uint64_t>(
      std::max<int64_t>(request.integer("/machine/memory_bytes", 0), int64_t{1} << 30));
  const std::string firmware = request.string("/machine/firmware", "unknown");
  std::string out =
      "<domain type='kvm'>\n  <name>" + escaped(request.string("/vm/name", "guest")) +
      "</name>\n  <memory unit='KiB'>" + std::to_string(memory >> 10) + "</memory>\n  <vcpu>" +
      std::to_string(std::max<int64_t>(request.integer("/machine/cpu/count", 1), 1)) +
      "</vcpu>\n  <os" +
      (firmware == "uefi"   ? " firmware='efi'"
       : firmware == "bios" ? " firmware='bios'"
                            : "") +
      "><type arch='x86_64'>hvm</type></os>\n  <features><acpi/></features>\n  <devices>\n";
  std::map<std::string, std::size_t> count;
  for (const DomainDisk& disk : disks) {
    const std::string bus = source_bus(controllers[disk.id]);
    // Names follow the disks over all buses that share a letter.
    const std::string kind = bus == "sata" ? "scsi" : bus;
    out +=
        "    <disk type='file' device='disk'>\n"
        "      <driver name='qemu' type='qcow2'/>\n"
        "      <source file='" +
        escaped(disk.path) + "'/>\n      <target dev='" + device_name(bus, count[kind]++) +
        "' bus='" + bus + "'/>\n    </disk>\n";
  }
  request.each("/vm/nics", [&](const hyper::Doc& nic) {
    const std::string mac = nic.string("/mac"), network = nic.string("/network");
    out += "    <interface type='network'>\n      <source network='" +
           escaped(network.empty() ? "none" : network) + "'/>\n";
    if (!mac.empty()) out += "      <mac address='" + escaped(mac) + "'/>\n";
    out += "    </interface>\n";
  });
  return out + "  </devices>\n</domain>\n";
}

}  // namespace hyperhost::virt_v2v
