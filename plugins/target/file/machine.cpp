// SPDX-License-Identifier: Apache-2.0
#include "plugins/target/file/machine.hpp"

#include <algorithm>
#include <numeric>
#include <regex>

namespace hyperhost::file_target {
namespace {

uint64_t count_of(const hyper::Doc& machine, const char* pointer) {
  return static_cast<uint64_t>(std::max<int64_t>(1, machine.integer(pointer, 1)));
}

/// The delivered disks, with what the machine says of each.
std::vector<Disk> read_disks(const hyper::Doc& request) {
  std::vector<Disk> out;
  request.each("/disks", [&](const hyper::Doc& disk) {
    Disk made;
    made.id = disk.need_string("/id");
    made.format = disk.need_string("/format");
    made.file = disk.string("/file", made.id + "." + made.format);
    made.path = disk.string("/path");
    made.object = disk.string("/object");
    made.ref = disk.string("/ref");
    made.virtual_size = static_cast<uint64_t>(std::max<int64_t>(0, disk.integer("/virtual_size")));
    request.each("/machine/disks", [&](const hyper::Doc& planned) {
      if (planned.string("/id") != made.id) return;
      made.bus = planned.string("/bus", "virtio");
      made.boot = planned.boolean("/boot");
      made.storage = planned.string("/storage");
    });
    if (made.bus.empty())
      throw hyper::Error(HYPER_CONFIG, "the machine has no disk '" + made.id + "'");
    out.push_back(std::move(made));
  });
  return out;
}

std::vector<Nic> read_nics(const hyper::Doc& machine) {
  static const std::regex mac_form("([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}");
  const std::string kBridge = "bridge:";
  std::vector<Nic> out;
  machine.each("/nics", [&](const hyper::Doc& nic) {
    Nic made{nic.string("/mac"), nic.string("/model", "virtio"), nic.string("/target_network"),
             nic.string("/network")};
    made.bridge = made.network.rfind(kBridge, 0) == 0;
    if (made.bridge) made.network.erase(0, kBridge.size());
    made.user = made.network == "user:";
    if (made.user) made.network.clear();
    if (!std::regex_match(made.mac, mac_form)) made.mac.clear();
    std::transform(made.mac.begin(), made.mac.end(), made.mac.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    out.push_back(std::move(made));
  });
  return out;
}

}  // namespace

Machine read_machine(const hyper::Doc& request) {
  const hyper::Doc machine = request.at("/machine");
  Machine out;
  out.name = request.need_string("/name");
  out.vm = request.string("/vm", out.name);
  out.mark = request.string("/mark");
  out.arch = machine.string("/arch", "x86_64");
  if (out.arch != "x86_64")
    throw hyper::Error(HYPER_UNSUPPORTED,
                       "files are written for x86_64 machines, and this one is " + out.arch);
  out.type = machine.string("/machine", "pc");
  out.uuid = machine.string("/uuid");
  out.uefi = machine.string("/firmware") == "uefi";
  out.secure_boot = out.uefi && machine.boolean("/secure_boot");
  out.tpm = machine.boolean("/tpm");
  out.local_time = machine.string("/clock") == "localtime";
  out.agent = machine.boolean("/agent", true);
  out.hyperv = machine.boolean("/hyperv");
  out.cpus = count_of(machine, "/cpu/count");
  out.sockets = count_of(machine, "/cpu/sockets");
  out.cores = count_of(machine, "/cpu/cores");
  out.threads = count_of(machine, "/cpu/threads");
  if (out.sockets * out.cores * out.threads != out.cpus) {
    out.sockets = out.threads = 1;
    out.cores = out.cpus;
  }
  out.cpu_model = machine.string("/cpu/model");
  out.memory_bytes = static_cast<uint64_t>(std::max<int64_t>(0, machine.integer("/memory_bytes")));
  out.family = machine.string("/os/family", "unknown");
  out.os_name = machine.string("/os/name");
  out.distro = machine.string("/os/distro");
  out.disks = read_disks(request);
  out.nics = read_nics(machine);
  if (out.disks.empty()) throw hyper::Error(HYPER_UNSUPPORTED, "the machine has no disk");
  return out;
}

uint64_t memory_mib(const Machine& machine) {
  constexpr uint64_t kMiB = uint64_t{1} << 20;
  return machine.memory_bytes == 0 ? 1024 : (machine.memory_bytes + kMiB - 1) / kMiB;
}

std::vector<std::size_t> boot_order(const Machine& machine) {
  std::vector<std::size_t> disks(machine.disks.size());
  std::iota(disks.begin(), disks.end(), 0);
  std::stable_sort(disks.begin(), disks.end(), [&](std::size_t a, std::size_t b) {
    return machine.disks[a].boot && !machine.disks[b].boot;
  });
  std::vector<std::size_t> place(disks.size());
  for (std::size_t i = 0; i < disks.size(); ++i) place[disks[i]] = i;
  return place;
}

}  // namespace hyperhost::file_target
