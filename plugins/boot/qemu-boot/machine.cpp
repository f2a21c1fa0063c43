// SPDX-License-Identifier: Apache-2.0
#include "plugins/boot/qemu-boot/machine.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <regex>

namespace hyperhost::qemu_boot {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

bool one_of(const std::string& text, std::initializer_list<const char*> names) {
  return std::any_of(names.begin(), names.end(), [&](const char* name) { return text == name; });
}

[[noreturn]] void cannot(const std::string& what, const std::string& hint = {}) {
  hyper::Error error(HYPER_UNSUPPORTED, what);
  if (!hint.empty()) error.hint(hint);
  throw error;
}

std::string shown(uint64_t bytes) {
  return std::to_string(bytes / kMiB) + " MiB";
}

void read_disks(const hyper::Doc& machine, Machine& out) {
  bool chosen = false;
  machine.each("/disks", [&](const hyper::Doc& disk) {
    const std::string bus = disk.string("/bus", "virtio");
    if (!one_of(bus, {"virtio", "scsi", "sata", "ide"}))
      cannot("the disk bus '" + bus + "' is none that qemu-boot builds",
             "it builds virtio, scsi, sata and ide");
    if (disk.boolean("/boot") && !chosen) {
      out.boot_disk = out.buses.size();
      chosen = true;
    }
    out.buses.push_back(bus);
  });
  const auto count = [&](const char* bus) {
    return std::count(out.buses.begin(), out.buses.end(), bus);
  };
  if (count("ide") > 4) cannot("a machine has at most 4 disks on ide");
  if (count("sata") > 6) cannot("qemu-boot builds machines with at most 6 disks on sata");
  if (count("virtio") > 24)
    cannot("qemu-boot builds machines with at most 24 disks on virtio", "bus: scsi takes more");
  if (out.buses.empty()) cannot("the machine has no disk");
  if (count("ide") > 0 && out.type != "pc")
    cannot("a q35 machine has no ide disks", "use bus: sata, or machine type pc");
}

void read_nics(const hyper::Doc& request, Machine& out) {
  if (request.string("/network", "none") != "isolated") return;
  static const std::regex mac_pattern("^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$");
  request.each("/machine/nics", [&](const hyper::Doc& nic) {
    Nic made{nic.string("/mac"), nic.string("/model", "virtio")};
    if (!one_of(made.model, {"virtio", "e1000", "e1000e", "vmxnet3", "rtl8139"}))
      cannot("the network card '" + made.model + "' is none that qemu-boot builds",
             "it builds virtio, e1000, e1000e, vmxnet3 and rtl8139");
    if (!std::regex_match(made.mac, mac_pattern)) made.mac.clear();
    if (out.nics.size() < 8) out.nics.push_back(std::move(made));
  });
}

/// In -drive a comma ends an option, and two stand for one.
std::string quoted(std::string text) {
  for (std::size_t at = 0; (at = text.find(',', at)) != std::string::npos; at += 2)
    text.insert(at, ",");
  return text;
}

void add_disks(const Machine& machine, const std::vector<nlohmann::json>& disks,
               std::vector<std::string>& out) {
  const auto uses = [&](const char* bus) {
    return std::find(machine.buses.begin(), machine.buses.end(), bus) != machine.buses.end();
  };
  const auto add = [&](const std::string& option, const std::string& value) {
    out.push_back(option);
    out.push_back(value);
  };
  if (uses("scsi")) add("-device", "virtio-scsi-pci,id=scsi");
  if (uses("sata")) add("-device", "ich9-ahci,id=sata");
  std::size_t sata = 0, ide = 0;
  for (std::size_t i = 0; i < disks.size(); ++i) {
    const std::string number = std::to_string(i);
    // snapshot=on: QEMU writes into a file of its own, which has no name any more.
    add("-drive", "if=none,id=d" + number + (machine.keeps_writes ? "" : ",snapshot=on") +
                      ",file=" + quoted("json:" + disks[i].dump()));
    const std::string& bus = machine.buses[i];
    std::string device = bus == "virtio" ? "virtio-blk-pci"
                         : bus == "scsi" ? "scsi-hd,bus=scsi.0"
                         : bus == "sata" ? "ide-hd,bus=sata." + std::to_string(sata++)
                                         : "";
    if (bus == "ide") {
      device = "ide-hd,bus=ide." + std::to_string(ide / 2) + ",unit=" + std::to_string(ide % 2);
      ++ide;
    }
    device += ",drive=d" + number;
    if (i == machine.boot_disk) device += ",bootindex=0";
    add("-device", device);
  }
}

void add_nics(const Machine& machine, std::vector<std::string>& out) {
  for (std::size_t i = 0; i < machine.nics.size(); ++i) {
    const Nic& nic = machine.nics[i];
    const std::string id = "n" + std::to_string(i);
    // restrict: the guest gets an address, and reaches nothing.
    out.insert(out.end(), {"-netdev", "user,id=" + id + ",restrict=on"});
    out.insert(out.end(),
               {"-device", (nic.model == "virtio" ? "virtio-net-pci" : nic.model) + ",netdev=" +
                               id + (nic.mac.empty() ? "" : ",mac=" + nic.mac) + ",romfile="});
  }
}

/// What secure boot asks of a machine.
void read_secure_boot(const hyper::Doc& machine, Machine& out) {
  if (!machine.boolean("/secure_boot")) return;
  if (!out.uefi) {
    out.notes.emplace_back("secure boot is off in the check: the machine has no UEFI");
    return;
  }
  out.secure_boot = true;
  if (out.type == "q35") return;
  out.type = "q35";
  out.notes.emplace_back("secure boot needs a q35 machine, so that of the check is one");
}

/// A firmware of a description that QEMU's packages install, where it fits the machine.
std::optional<UefiFirmware> fitting(const nlohmann::json& described, const Machine& machine) {
  if (!described.is_object()) return std::nullopt;
  const auto text = described.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  const auto has = [&](const char* feature) {
    const auto features = described.value("features", nlohmann::json::array());
    return std::find(features.begin(), features.end(), feature) != features.end();
  };
  if (machine.secure_boot ? !has("secure-boot") || !has("enrolled-keys")
                          : has("secure-boot") || has("requires-smm"))
    return std::nullopt;
  if (text.find("\"uefi\"") == std::string::npos || text.find("x86_64") == std::string::npos ||
      text.find(machine.type == "q35" ? "pc-q35" : "pc-i440fx") == std::string::npos)
    return std::nullopt;
  const auto image = [&](const char* name) -> FirmwareImage {
    const nlohmann::json::json_pointer at(std::string("/mapping/") + name);
    if (!described.contains(at) || !described.at(at).is_object()) return {};
    return {described.at(at).value("filename", ""), described.at(at).value("format", "raw")};
  };
  UefiFirmware found{image("executable"), image("nvram-template"), has("requires-smm")};
  std::error_code ignored;
  if (!std::filesystem::exists(found.code.path, ignored) ||
      !std::filesystem::exists(found.variables.path, ignored))
    return std::nullopt;
  return found;
}

void add_uefi(const UefiFirmware& firmware, std::vector<std::string>& out) {
  if (firmware.smm) {
    // The variables can be written in system management mode only, which a suspend would lose.
    out.insert(out.end(), {"-global", "driver=cfi.pflash01,property=secure,value=on"});
    out.insert(out.end(), {"-global", "ICH9-LPC.disable_s3=1"});
  }
  out.insert(out.end(), {"-drive", "if=pflash,unit=0,readonly=on,format=" + firmware.code.format +
                                       ",file=" + quoted(firmware.code.path)});
  out.insert(out.end(),
             {"-drive", "if=pflash,unit=1,snapshot=on,format=" + firmware.variables.format +
                            ",file=" + quoted(firmware.variables.path)});
}

}  // namespace

Machine read_machine(const hyper::Doc& request, const Settings& settings) {
  const hyper::Doc machine = request.at("/machine");
  Machine out;
  const std::string arch = machine.string("/arch", "x86_64");
  if (arch != "x86_64") cannot("qemu-boot starts x86_64 machines, and this one is " + arch);
  out.type = machine.string("/machine", "pc");
  if (!one_of(out.type, {"pc", "q35"}))
    cannot("the machine type '" + out.type + "' is none that qemu-boot builds",
           "it builds pc and q35");
  const std::string firmware = machine.string("/firmware", "bios");
  if (!one_of(firmware, {"bios", "uefi"}))
    cannot("qemu-boot starts machines with BIOS or UEFI, and this one has '" + firmware + "'");
  out.uefi = firmware == "uefi";
  read_secure_boot(machine, out);
  out.tpm = machine.boolean("/tpm");

  const auto memory = static_cast<uint64_t>(std::max<int64_t>(0, machine.integer("/memory_bytes")));
  constexpr uint64_t kUsual = 1024 * kMiB, kLeast = 64 * kMiB;
  out.memory = std::max(kLeast, std::min(memory == 0 ? kUsual : memory, settings.max_memory));
  if (memory > out.memory)
    out.notes.push_back("the machine of the check has " + shown(out.memory) + " of memory, not " +
                        shown(memory));
  const int64_t cpus = machine.integer("/cpu/count", 1);
  out.cpus = static_cast<unsigned>(std::clamp<int64_t>(cpus, 1, settings.max_cpus));
  out.local_time = machine.string("/os/family") == "windows";
  read_disks(machine, out);
  read_nics(request, out);
  return out;
}

UefiFirmware find_uefi(const std::vector<std::string>& directories, const Machine& machine) {
  namespace fs = std::filesystem;
  for (const std::string& directory : directories) {
    std::error_code ignored;
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(directory, ignored))
      if (entry.path().extension() == ".json") files.push_back(entry.path());
    std::sort(files.begin(), files.end());  // their names begin with their rank
    for (const fs::path& file : files) {
      std::ifstream in(file);
      const auto described = nlohmann::json::parse(in, nullptr, false);
      if (const auto found = fitting(described, machine)) return *found;
    }
  }
  throw hyper::Error(HYPER_NOTFOUND,
                     machine.secure_boot
                         ? "there is no UEFI firmware with secure boot and its keys "
                           "for QEMU here"
                         : "there is no UEFI firmware for QEMU here")
      .hint("install it: apt-get install ovmf (Debian, Ubuntu), dnf install edk2-ovmf (Fedora)");
}

UefiFirmware installed_uefi(const Machine& machine) {
  return find_uefi({"/etc/qemu/firmware", "/usr/share/qemu/firmware"}, machine);
}

std::vector<std::string> arguments_of(const Machine& machine, const std::string& accel,
                                      const std::vector<nlohmann::json>& disks,
                                      const std::string& tpm) {
  std::optional<UefiFirmware> firmware;
  if (machine.uefi) firmware = installed_uefi(machine);
  std::vector<std::string> out{
      "-S", "-nodefaults", "-no-user-config", "-no-shutdown", "-display", "none", "-nic", "none"};
  const auto add = [&](const std::string& option, const std::string& value) {
    out.push_back(option);
    out.push_back(value);
  };
  add("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
  add("-machine", machine.type + (firmware && firmware->smm ? ",smm=on" : ""));
  add("-accel", accel);
  add("-cpu", accel == "kvm" ? "host" : "max");
  if (machine.counted_clock) add("-icount", "shift=auto");
  add("-m", std::to_string(machine.memory / kMiB));
  add("-smp", std::to_string(machine.cpus));
  add("-rtc", machine.local_time ? "base=localtime" : "base=utc");
  add("-chardev", "socket,id=qmp,fd=3,server=off");
  add("-mon", "chardev=qmp,mode=control");
  add("-chardev", "ringbuf,id=serial,size=4194304");
  add("-device", "isa-serial,chardev=serial");
  add("-chardev", "ringbuf,id=firmware,size=262144");
  add("-device", "isa-debugcon,iobase=0x402,chardev=firmware");
  // No kernel has a driver of its own for this one: a text console stays a text screen.
  add("-device", machine.uefi ? "VGA" : "isa-vga");
  add("-device", "pvpanic");
  add("-device", "virtio-serial-pci,id=ports");
  add("-device", "virtio-rng-pci");
  if (firmware) add_uefi(*firmware, out);
  if (!tpm.empty()) {
    add("-chardev", "socket,id=tpm,path=" + quoted(tpm));
    add("-tpmdev", "emulator,id=tpm0,chardev=tpm");
    add("-device", "tpm-crb,tpmdev=tpm0");
  }
  add_disks(machine, disks, out);
  add_nics(machine, out);
  return out;
}

}  // namespace hyperhost::qemu_boot
