// SPDX-License-Identifier: Apache-2.0
#include "plugins/guest/guestfs/guest_plugin.hpp"

#include <algorithm>

#include "plugins/guest/guestfs/appliance.hpp"
#include "plugins/guest/guestfs/linux_guest.hpp"
#include "plugins/guest/guestfs/steps/steps.hpp"
#include "plugins/guest/guestfs/steps/traces.hpp"
#include "plugins/guest/guestfs/text/nic_names.hpp"

namespace hyperhost::guestfs {
namespace {

constexpr std::size_t kMostDisks = 128;

void check_disks(const std::vector<hyper::BlockRef>& disks, bool writable) {
  if (disks.empty() || disks.size() > kMostDisks)
    throw hyper::Error(HYPER_UNSUPPORTED, "the number of disks is not 1 to 128",
                       std::to_string(disks.size()));
  for (const hyper::BlockRef& disk : disks)
    if (writable && !disk.can(HYPER_BLOCK_WRITE))
      throw hyper::Error(HYPER_FAIL, "a disk cannot be written", disk.id());
}

std::vector<ServedDisk> served(const hyper::AttachedBlocks& attached, bool writable) {
  std::vector<ServedDisk> out;
  for (const auto& disk : attached.served()) out.push_back({disk.socket, disk.name, writable});
  return out;
}

/// What a request says of the new machine; the VM's description where it says nothing.
struct Machine {
  std::string bus, firmware;
  std::vector<std::string> macs;
};

Machine machine_of(const hyper::Doc& request) {
  Machine machine;
  machine.bus = request.string("/machine/disks/0/bus", "virtio");
  machine.firmware = request.string("/machine/firmware", request.string("/vm/firmware"));
  const char* nics = request.is_array("/machine/nics") ? "/machine/nics" : "/vm/nics";
  request.each(nics,
               [&](const hyper::Doc& nic) { machine.macs.push_back(mac_of(nic.string("/mac"))); });
  return machine;
}

/// The steps, in the order in which one relies on another. Returns whether the guest can drive the
/// machine's disks.
bool run_steps(Bench& bench, LinuxGuest& guest, const Machine& machine, const Settings& settings,
               hyper::Op op) {
  unsigned done = 0;
  const auto next = [&](const char* phase) {
    op.check_cancelled();
    op.progress(++done, 7, phase);
  };
  next("device names");
  const bool again = fix_device_names(bench, guest.names(), guest.esp());
  if (settings.serial_console && bench.writes()) add_serial_console(bench, guest.esp());
  next("network");
  keep_nic_names(bench, machine.macs);
  next("agents");
  if (settings.remove_vmware_tools) remove_vmware_tools(bench);
  next("initramfs");
  const bool drives = fix_initramfs(bench, modules_for(machine.bus), again, guest.esp());
  next("boot loader");
  const std::string firmware = machine.firmware == "bios" || machine.firmware == "uefi"
                                   ? machine.firmware
                                   : guest.firmware();
  if (firmware == "uefi" && !guest.esp().empty())
    add_fallback_loader(bench, guest.esp(), guest.distro());
  if (firmware != "unknown" && guest.firmware() != "unknown" && firmware != guest.firmware())
    bench.found({Finding::Severity::kError,
                 "boot.firmware-differs",
                 "The disks do not hold a boot loader for the described firmware",
                 "described: " + firmware + ", found: " + guest.firmware(),
                 {}});
  next("labels");
  relabel(bench);
  next("done");
  return drives;
}

int32_t severity_of(const Finding& finding) {
  switch (finding.severity) {
    case Finding::Severity::kNote:
      return HYPER_SEVERITY_INFO;
    case Finding::Severity::kWarning:
      return HYPER_SEVERITY_WARNING;
    case Finding::Severity::kError:
      break;
  }
  return HYPER_SEVERITY_ERROR;
}

void report(hyper::Op op, const Bench& bench, hyper::DocBuilder& answer) {
  answer.array("/findings");
  for (const Finding& finding : bench.findings()) {
    op.report(hyper::Error(HYPER_FAIL, finding.summary, finding.evidence)
                  .rule(finding.rule)
                  .hint(finding.hint),
              severity_of(finding));
    hyper::DocBuilder one;
    one.set("/rule", finding.rule)
        .set("/severity", finding.severity == Finding::Severity::kError     ? "error"
                          : finding.severity == Finding::Severity::kWarning ? "warning"
                                                                            : "note")
        .set("/summary", finding.summary)
        .set("/evidence", finding.evidence);
    if (finding.fixable) one.set("/fixable_by", "guestfs");
    if (!finding.hint.empty()) one.set("/hint", finding.hint);
    answer.append("/findings", one);
  }
}

void describe_caps(hyper::DocBuilder& to, const std::string& at, const Machine& machine,
                   bool drives) {
  to.object(at);
  if (drives) to.set(at + "/block", machine.bus);
}

hyper::DocBuilder described(const LinuxGuest& guest, const std::vector<hyper::BlockRef>& disks) {
  hyper::DocBuilder root;
  root.set("/os", "linux")
      .set("/root", guest.root())
      .set("/distro", guest.distro())
      .set("/version", guest.version())
      .set("/arch", guest.arch())
      .set("/firmware", guest.firmware())
      .set("/boot_disk", disks.at(guest.boot_disk()).id())
      .array("/mounts");
  for (const auto& [place, device] : guest.mounts()) {
    hyper::DocBuilder one;
    root.append("/mounts", one.set("/place", place).set("/device", device));
  }
  return root;
}

void describe_traces(hyper::DocBuilder& answer, const LinuxGuest& guest, const Traces& traces) {
  answer.object("/traces").array("/traces/boots").array("/traces/notes");
  for (const BootTrace& boot : traces.boots) {
    hyper::DocBuilder one;
    answer.append("/traces/boots", one.set("/id", boot.id).set("/evidence", boot.evidence));
  }
  for (const std::string& note : traces.notes) answer.append("/traces/notes", note);
  if (guest.needs_recovery())
    answer.append("/traces/notes", "its root file system was not unmounted (" + guest.root() + ")");
}

}  // namespace

std::unique_ptr<GuestPlugin> GuestPlugin::open(const hyper::Doc& options, hyper::Op) {
  return std::unique_ptr<GuestPlugin>(new GuestPlugin(read_settings(options)));
}

std::string GuestPlugin::plan(hyper::Op, const hyper::Doc& request) {
  const std::string family = request.string("/vm/os_hint", "unknown");
  if (family == "windows")
    throw hyper::Error(HYPER_UNSUPPORTED, "this plugin prepares Linux only").rule("guest.family");
  hyper::DocBuilder answer;
  answer.set("/families", {"linux"})
      .set("/steps", {"device names", "network", "agents", "initramfs", "boot loader", "labels"})
      .set("/programs/-/name", "libguestfs")
      .set("/programs/0/version", library_version())
      .set("/scratch_bytes", uint64_t{1} << 30)
      .set("/memory_bytes", (static_cast<uint64_t>(settings_.memory_mib) + 256) << 20)
      .set("/traces", true)
      .array("/notes");
  return answer.json();
}

std::string GuestPlugin::inspect(hyper::Op op, const hyper::Doc& request,
                                 const std::vector<hyper::BlockRef>& disks) {
  check_disks(disks, false);
  const hyper::AttachedBlocks attached(op, disks);
  Appliance appliance(op, settings_, served(attached, false));
  LinuxGuest guest(appliance, settings_);
  Bench bench(appliance, false);
  guest.mount(bench, settings_.discard_hibernation);
  hyper::DocBuilder answer, root = described(guest, disks);
  if (request.boolean("/traces")) {
    op.progress(1, 2, "records of boots");
    answer.array("/roots").append("/roots", root);
    describe_traces(answer, guest, read_traces(appliance));
  } else {
    const Machine machine = machine_of(request);
    const bool drives = run_steps(bench, guest, machine, settings_, op);
    describe_caps(root, "/caps", machine, drives);
    answer.array("/roots").append("/roots", root);
    report(op, bench, answer);
  }
  uint64_t bytes = 0;
  for (unsigned i = 0; i < disks.size(); ++i) bytes += appliance.bytes_read(i);
  answer.set("/bytes_read", bytes).set("/accel", appliance.accel());
  return answer.json();
}

std::string GuestPlugin::prepare(hyper::Op op, const hyper::Doc& request,
                                 const std::vector<hyper::BlockRef>& disks) {
  check_disks(disks, true);
  const hyper::AttachedBlocks attached(op, disks);
  Appliance appliance(op, settings_, served(attached, true));
  LinuxGuest guest(appliance, settings_);
  Bench bench(appliance, true);
  guest.mount(bench, settings_.discard_hibernation);
  const Machine machine = machine_of(request);
  const bool drives = run_steps(bench, guest, machine, settings_, op);

  hyper::DocBuilder answer;
  answer.array("/actions");
  for (const Action& action : bench.actions()) {
    hyper::DocBuilder one;
    one.set("/rule", action.rule).set("/what", action.what);
    if (!action.path.empty()) one.set("/path", action.path);
    if (!action.before.empty()) one.set("/before", action.before);
    if (!action.after.empty()) one.set("/after", action.after);
    answer.append("/actions", one);
  }
  answer.array("/files");
  for (const auto& [path, digests] : bench.changed_files()) {
    hyper::DocBuilder one;
    one.set("/path", path);
    digests.before.empty() ? one.set("/before", nullptr) : one.set("/before", digests.before);
    digests.after.empty() ? one.set("/after", nullptr) : one.set("/after", digests.after);
    answer.append("/files", one);
  }
  describe_caps(answer, "/caps", machine, drives);
  answer.set("/firstboot", 0)
      .set("/root", guest.root())
      .set("/accel", appliance.accel())
      .set("/distro", guest.distro());
  report(op, bench, answer);
  if (!drives)
    throw hyper::Error(HYPER_UNSUPPORTED, "the guest cannot be made to boot on the new machine")
        .rule("linux.no-driver");
  appliance.finish();
  return answer.json();
}

}  // namespace hyperhost::guestfs
