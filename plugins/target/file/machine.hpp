// SPDX-License-Identifier: Apache-2.0
// The machine and its delivered disks (target.request of the SDK's schemas) as values. Stateless.
#ifndef HYPERHOST_FILE_TARGET_MACHINE_HPP
#define HYPERHOST_FILE_TARGET_MACHINE_HPP

#include <cstdint>
#include <hyper/doc.hpp>
#include <string>
#include <vector>

namespace hyperhost::file_target {

struct Disk {
  std::string id, bus, format, file;
  std::string path;     ///< of its file on the machine that hyperhost ran on; "" = not there
  std::string object;   ///< where it was uploaded; "" = nowhere
  std::string storage;  ///< of the target, by the plan; "" = its default
  std::string ref;      ///< the target's name of it; "" = it is used where it is
  uint64_t virtual_size = 0;
  bool boot = false;
};

struct Nic {
  std::string mac, model;
  std::string network;  ///< of the target, by the plan; "" = the plan names none
  std::string source;   ///< the network at the source
  bool bridge = false;  ///< the plan names a bridge of the host: "bridge:NAME"
  bool user = false;    ///< the plan says "user:": through the emulator, which needs no privilege
};

struct Machine {
  std::string name, vm, mark;
  std::string arch, type, uuid, cpu_model, family, os_name, distro;
  bool uefi = false, secure_boot = false, tpm = false, local_time = false, agent = true,
       hyperv = false;
  uint64_t cpus = 1, sockets = 1, cores = 1, threads = 1, memory_bytes = 0;
  std::vector<Disk> disks;
  std::vector<Nic> nics;
};

/// Throws hyper::Error where a required member is missing or the machine is none that there are
/// files for.
Machine read_machine(const hyper::Doc& request);

/// Whole MiB, at least 1; 1 GiB where the source does not say.
uint64_t memory_mib(const Machine& machine);
/// Place of each disk among those of the machine in the order of booting: the boot disk first.
std::vector<std::size_t> boot_order(const Machine& machine);

}  // namespace hyperhost::file_target

#endif
