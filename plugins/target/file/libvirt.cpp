// SPDX-License-Identifier: Apache-2.0
// The domain as libvirt's schema (domain.rng) has it.
#include <algorithm>
#include <map>

#include "plugins/target/file/render.hpp"
#include "plugins/target/file/text.hpp"

namespace hyperhost::file_target {
namespace {

using Attributes = XmlWriter::Attributes;

/// "vda" … "vdz", "vdaa" …
std::string device_name(const std::string& prefix, std::size_t number) {
  std::string letters;
  for (std::size_t left = number + 1; left > 0; left = (left - 1) / 26)
    letters.insert(letters.begin(), static_cast<char>('a' + (left - 1) % 26));
  return prefix + letters;
}

std::string driver_type(const std::string& format) {
  static const std::map<std::string, std::string> kTypes = {
      {"raw", "raw"}, {"qcow2", "qcow2"}, {"vmdk", "vmdk"}, {"vdi", "vdi"}, {"vhd", "vpc"}};
  const auto found = kTypes.find(format);
  if (found == kTypes.end())
    throw hyper::Error(HYPER_UNSUPPORTED, "libvirt takes no disks of the format " + format);
  return found->second;
}

void write_os(XmlWriter& out, const Machine& machine) {
  out.open("os", machine.uefi ? Attributes{{"firmware", "efi"}} : Attributes{});
  out.text("type", "hvm", {{"arch", machine.arch}, {"machine", machine.type}});
  if (machine.uefi) {
    const char* secure = machine.secure_boot ? "yes" : "no";
    out.open("firmware");
    out.empty("feature", {{"enabled", secure}, {"name", "enrolled-keys"}});
    out.empty("feature", {{"enabled", secure}, {"name", "secure-boot"}});
    out.close();
  }
  out.close();
}

/// stimer needs synic, and synic needs vpindex.
void write_features(XmlWriter& out, const Machine& machine) {
  out.open("features");
  out.empty("acpi");
  out.empty("apic");
  if (machine.hyperv) {
    out.open("hyperv");
    for (const char* name : {"relaxed", "vapic"}) out.empty(name, {{"state", "on"}});
    out.empty("spinlocks", {{"state", "on"}, {"retries", "8191"}});
    for (const char* name : {"vpindex", "synic", "stimer"}) out.empty(name, {{"state", "on"}});
    out.close();
  }
  if (machine.secure_boot) out.empty("smm", {{"state", "on"}});
  out.close();
}

void write_cpu(XmlWriter& out, const Machine& machine, const LibvirtHost& host) {
  const std::string& model = machine.cpu_model;
  const bool mode =
      model.empty() || model == "host-model" || model == "host-passthrough" || model == "maximum";
  if (mode)
    out.open("cpu", {{"mode", !model.empty()        ? model
                              : host.type == "qemu" ? "maximum"
                                                    : "host-model"}});
  else
    out.open("cpu", {{"mode", "custom"}, {"match", "exact"}});
  if (!mode) out.text("model", model, {{"fallback", "forbid"}});
  out.empty("topology", {{"sockets", std::to_string(machine.sockets)},
                         {"cores", std::to_string(machine.cores)},
                         {"threads", std::to_string(machine.threads)}});
  out.close();
}

void write_clock(XmlWriter& out, const Machine& machine) {
  out.open("clock", {{"offset", machine.local_time ? "localtime" : "utc"}});
  out.empty("timer", {{"name", "rtc"}, {"tickpolicy", "catchup"}});
  out.empty("timer", {{"name", "pit"}, {"tickpolicy", "delay"}});
  out.empty("timer", {{"name", "hpet"}, {"present", "no"}});
  if (machine.hyperv) out.empty("timer", {{"name", "hypervclock"}, {"present", "yes"}});
  out.close();
}

void write_disks(XmlWriter& out, const Machine& machine) {
  const std::vector<std::size_t> order = boot_order(machine);
  std::map<std::string, std::size_t> used;
  bool scsi = false;
  for (std::size_t i = 0; i < machine.disks.size(); ++i) {
    const Disk& disk = machine.disks[i];
    const std::string prefix = disk.bus == "virtio" ? "vd" : disk.bus == "ide" ? "hd" : "sd";
    scsi = scsi || disk.bus == "scsi";
    const std::size_t slash = disk.ref.find('/');  // of POOL/VOLUME
    out.open("disk", {{"type", disk.ref.empty() ? "file" : "volume"}, {"device", "disk"}});
    out.empty("driver", {{"name", "qemu"}, {"type", driver_type(disk.format)}});
    if (!disk.ref.empty())
      out.empty("source", {{"pool", disk.ref.substr(0, slash)},
                           {"volume", disk.ref.substr(std::min(slash, disk.ref.size() - 1) + 1)}});
    else
      out.empty("source",
                {{"file", disk.path.empty() ? "/var/lib/libvirt/images/" + disk.file : disk.path}});
    out.empty("target", {{"dev", device_name(prefix, used[prefix]++)}, {"bus", disk.bus}});
    out.empty("boot", {{"order", std::to_string(order[i] + 1)}});
    out.close();
  }
  if (scsi) out.empty("controller", {{"type", "scsi"}, {"index", "0"}, {"model", "virtio-scsi"}});
}

void write_nics(XmlWriter& out, const Machine& machine) {
  for (const Nic& nic : machine.nics) {
    out.open("interface", {{"type", nic.user ? "user" : nic.bridge ? "bridge" : "network"}});
    if (!nic.mac.empty()) out.empty("mac", {{"address", nic.mac}});
    if (nic.bridge)
      out.empty("source", {{"bridge", nic.network}});
    else if (!nic.user)
      out.empty("source", {{"network", nic.network.empty() ? "default" : nic.network}});
    out.empty("model", {{"type", nic.model}});
    out.close();
  }
}

void write_devices(XmlWriter& out, const Machine& machine) {
  out.open("devices");
  write_disks(out, machine);
  write_nics(out, machine);
  out.empty("serial", {{"type", "pty"}});
  if (machine.agent) {
    out.open("channel", {{"type", "unix"}});
    out.empty("target", {{"type", "virtio"}, {"name", "org.qemu.guest_agent.0"}});
    out.close();
  }
  out.empty("input", {{"type", "tablet"}, {"bus", "usb"}});
  if (machine.tpm) {
    out.open("tpm", {{"model", "tpm-crb"}});
    out.empty("backend", {{"type", "emulator"}, {"version", "2.0"}});
    out.close();
  }
  out.empty("graphics", {{"type", "vnc"}, {"autoport", "yes"}, {"listen", "127.0.0.1"}});
  out.open("video");
  out.empty("model", {{"type", "vga"}});
  out.close();
  out.open("rng", {{"model", "virtio"}});
  out.text("backend", "/dev/urandom", {{"model", "random"}});
  out.close();
  out.close();
}

}  // namespace

std::string domain_name(std::string name) {
  for (char& c : name)
    if (c == '/' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '-';
  return name;
}

Rendered libvirt_domain(const Machine& machine, const LibvirtHost& host) {
  XmlWriter out;
  out.open("domain", {{"type", host.type}});
  out.text("name", domain_name(machine.name));
  if (!machine.uuid.empty()) out.text("uuid", machine.uuid);
  out.text("description", "Migrated from " + machine.vm + " by hyperhost");
  out.open("metadata");
  out.empty("hyperhost:vm", {{"xmlns:hyperhost", "urn:hyperhost:vm:1"}, {"mark", machine.mark}});
  out.close();
  out.text("memory", std::to_string(memory_mib(machine)), {{"unit", "MiB"}});
  out.text("vcpu", std::to_string(machine.cpus));
  write_os(out, machine);
  write_features(out, machine);
  write_cpu(out, machine, host);
  write_clock(out, machine);
  out.text("on_poweroff", "destroy");
  out.text("on_reboot", "restart");
  out.text("on_crash", "destroy");
  write_devices(out, machine);
  out.close();
  return {"libvirt.xml", "application/xml", out.done()};
}

}  // namespace hyperhost::file_target
