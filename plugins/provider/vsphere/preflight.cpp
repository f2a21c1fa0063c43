// SPDX-License-Identifier: Apache-2.0
#include "preflight.hpp"

#include <algorithm>

#include "datastore_source.hpp"

namespace hyper::vsphere {
namespace {

constexpr auto kReach = std::chrono::seconds(5);

class Preflight {
 public:
  Preflight(Session& session, HostsTried& hosts, const VmInfo& vm, const VmOptions& options, Op op)
      : session_(session), hosts_(hosts), vm_(vm), options_(options), op_(op) {
    using Power = VmOptions::Power;
    changes_power_ = vm.power == "on" && options.power == Power::kShutdown;
    frozen_ = vm.power != "off" && !changes_power_;
  }

  bool run() {
    if (!vm_.connection.empty() && vm_.connection != "connected") {
      error(Error(HYPER_IO, "'" + vm_.name + "' is " + vm_.connection)
                .hint("vCenter cannot reach its host or its files: bring it back first."));
      return failed_;
    }
    power();
    for (const Disk& disk : vm_.disks) {
      if (const auto why = unfit(vm_, disk, frozen_)) error(*why, "/disk/" + disk.id);
      if (options_.transport == VmOptions::Transport::kDatastore)
        if (const auto why = no_flat_file(vm_, disk))
          error(Error(HYPER_UNSUPPORTED,
                      "the disk '" + disk.label + "' of '" + vm_.name +
                          "' cannot be read in its datastore",
                      *why)
                    .hint("transport: auto or lease exports it through the API."),
                "/disk/" + disk.id);
    }
    machine();
    refusals();
    tasks();
    privileges();
    datastore_privileges();
    reach_host();
    return failed_;
  }

 private:
  void error(Error finding, const std::string& place = {}) {
    failed_ = true;
    op_.report(finding.at("vm/" + vm_.name + place), HYPER_SEVERITY_ERROR);
  }
  void warn(const std::string& text, const std::string& hint, const std::string& place = {}) {
    op_.warn(Error(HYPER_OK, text).hint(hint).at("vm/" + vm_.name + place));
  }
  void note(const std::string& text) { op_.note(Error(HYPER_OK, text).at("vm/" + vm_.name)); }

  void power() {
    using Power = VmOptions::Power;
    if (vm_.power == "off") return;
    if (options_.power == Power::kRequireOff)
      return error(Error(HYPER_FAIL, "'" + vm_.name + "' is not powered off", "it is " + vm_.power)
                       .hint("Power it off, or choose power: shutdown or as-is."));
    if (vm_.power == "suspended") {
      if (options_.power == Power::kShutdown)
        return error(Error(HYPER_FAIL, "'" + vm_.name + "' is suspended and cannot be shut down")
                         .hint("Resume it, or choose power: as-is."));
      return warn("'" + vm_.name + "' is suspended: what is in its memory does not come along",
                  "Resume it and shut it down first.");
    }
    if (options_.power == Power::kShutdown) {
      if (vm_.tools == "guestToolsNotRunning" && !options_.power_off_at_last)
        error(Error(HYPER_FAIL, "the guest of '" + vm_.name + "' cannot be asked to shut down",
                    "VMware Tools do not run in it")
                  .hint("Shut it down by hand, or set shutdown_fallback: power-off."));
      return note("'" + vm_.name + "' will be shut down");
    }
    warn("'" + vm_.name + "' is running: a snapshot of it is read, what it writes later is not",
         "power: shutdown gives a final copy.");
    tools();
    if (options_.transport == VmOptions::Transport::kDatastore)
      warn("the files of '" + vm_.name +
               "' may be locked while it runs: current ESXi versions let "
               "nothing else read them",
           "transport: lease does not read them by itself.");
  }

  /// Without VMware Tools a snapshot of a running VM is as after a power cut.
  void tools() {
    using Quiesce = VmOptions::Quiesce;
    if (vm_.tools != "guestToolsNotRunning" || options_.quiesce == Quiesce::kNever) return;
    const std::string text = "VMware Tools do not run in '" + vm_.name + "'";
    if (options_.quiesce == Quiesce::kAlways)
      return error(Error(HYPER_FAIL, text, "quiesce: always needs them")
                       .hint("Start them, or choose another quiesce."));
    warn(text + ": its file systems are not settled before the snapshot",
         "Start them, or choose power: shutdown. quiesce: never accepts it.");
  }

  void machine() {
    if (vm_.encrypted)
      error(Error(HYPER_UNSUPPORTED, "'" + vm_.name + "' is encrypted")
                .hint("Decrypt it first (VM storage policy), or exclude it."));
    if (vm_.is_template)
      note("'" + vm_.name +
           "' is a template: not every server exports one; a clone of it is a VM like others");
  }

  /// What vSphere makes no snapshot of, and what somebody else has forbidden.
  void refusals() {
    if (frozen_ && !vm_.passthrough.empty())
      error(Error(HYPER_UNSUPPORTED,
                  "'" + vm_.name + "' uses a device of its host: no snapshot of it can be made",
                  vm_.passthrough.front())
                .hint("Shut the VM down (power: shutdown), or take the device away."));
    std::vector<std::string> needed;
    if (frozen_) needed = {"CreateSnapshot_Task"};
    if (vm_.power == "off" && options_.transport != VmOptions::Transport::kDatastore)
      needed = {"ExportVm"};
    if (changes_power_ && !options_.power_off_at_last) needed.emplace_back("ShutdownGuest");
    for (const std::string& method : needed)
      if (std::find(vm_.disabled.begin(), vm_.disabled.end(), method) != vm_.disabled.end())
        warn("the server refuses " + method + " of '" + vm_.name + "' at the moment",
             "A backup product disables methods while it works, and sometimes leaves them so.");
  }

  void tasks() {
    for (const Ref& task : vm_.tasks) {
      try {
        const Retrieved got = retrieve_one(session_, task, {"info.state", "info.descriptionId"},
                                           "cannot read a task", op_);
        const std::string state = got.object.text("info.state");
        if (state != "running" && state != "queued") continue;
        warn("a task works on '" + vm_.name + "': " + got.object.text("info.descriptionId"),
             "The export waits for a minute, then fails: better begin when it has ended.");
      } catch (const Fault&) {  // it was removed meanwhile
      }
    }
  }

  std::vector<std::string> needed() const {
    std::vector<std::string> out;
    if (options_.transport != VmOptions::Transport::kDatastore) out.emplace_back("VApp.Export");
    if (frozen_)
      out.insert(out.end(),
                 {"VirtualMachine.State.CreateSnapshot", "VirtualMachine.State.RemoveSnapshot"});
    if (changes_power_) out.emplace_back("VirtualMachine.Interact.PowerOff");
    if (changes_power_ && options_.restore_power)
      out.emplace_back("VirtualMachine.Interact.PowerOn");
    return out;
  }

  /// Of those, what the user does not have on the entity: "a, b". "" also where the server does not
  /// say.
  std::string missing(const Ref& entity, const std::vector<std::string>& wanted) {
    const Ref& manager = session_.content().authorization_manager;
    if (manager.empty() || entity.empty() || session_.content().is_host() || wanted.empty())
      return {};
    Args args;
    args.ref("entity", entity).text("sessionId", session_.key());
    for (const std::string& privilege : wanted) args.text("privId", privilege);
    std::string out;
    try {
      const Answer answer =
          session_.call("HasPrivilegeOnEntities", manager, args, "cannot look up privileges", op_);
      each(answer.value(), "privAvailability", [&](const pugi::xml_node& one) {
        if (!flag(one, "isGranted")) out += (out.empty() ? "" : ", ") + text(one, "privId");
      });
    } catch (const Fault& fault) {
      op_.debug("privileges are not checked: " + fault.detail());
    }
    return out;
  }

  /// A warning: what a server truly asks for on a read of /folder differs between versions.
  void datastore_privileges() {
    const bool ranges =
        options_.transport == VmOptions::Transport::kDatastore ||
        (options_.transport == VmOptions::Transport::kAuto && ranges_pay(vm_, options_));
    if (!ranges) return;
    std::vector<Ref> stores;
    for (const Disk& disk : vm_.disks)
      if (std::find(stores.begin(), stores.end(), disk.datastore) == stores.end())
        stores.push_back(disk.datastore);
    for (const Ref& store : stores) {
      const std::string lacking = missing(store, {"Datastore.Browse", "Datastore.FileManagement"});
      if (lacking.empty()) continue;
      std::string name;
      for (const Disk& disk : vm_.disks)
        if (disk.datastore == store) name = disk.file.substr(0, disk.file.find(']') + 1);
      warn("reading the disks of '" + vm_.name + "' in the datastore " + name +
               " may be refused: missing privileges: " + lacking,
           "Give them on the datastore, or choose transport: lease.");
    }
  }

  void privileges() {
    const std::string lacking = missing(vm_.ref, needed());
    if (!lacking.empty())
      error(
          Error(HYPER_AUTH, "'" + session_.user() + "' may not export '" + vm_.name + "'",
                "missing privileges: " + lacking)
              .hint("Give them on the VM or a folder above it; the plugin's README has the list."));
  }

  /// Checks the connection to the ESXi host, which sends the data of a lease itself, on port 443.
  void reach_host() {
    if (session_.content().is_host() || vm_.host.empty()) return;
    std::string state, thumbprint, address;
    bool maintenance = false;
    try {
      const Retrieved got =
          retrieve_one(session_, vm_.host,
                       {"name", "runtime.connectionState", "runtime.inMaintenanceMode",
                        "summary.config.sslThumbprint"},
                       "cannot look at the host of '" + vm_.name + "'", op_);
      state = got.object.text("runtime.connectionState");
      maintenance = got.object.text("runtime.inMaintenanceMode") == "true";
      thumbprint = got.object.text("summary.config.sslThumbprint");
      address = got.object.text("name");
    } catch (const Fault& fault) {
      op_.debug("the host is not checked: " + fault.detail());
      return;
    }
    if (!state.empty() && state != "connected")
      return error(Error(HYPER_IO, "the host of '" + vm_.name + "', " + address + ", is " + state)
                       .hint("vCenter must reach it before anything can be exported."));
    if (maintenance)
      warn("the host of '" + vm_.name + "', " + address + ", is in maintenance mode",
           "It may be restarted at any time: begin when it has left that mode.");
    if (options_.transport == VmOptions::Transport::kDatastore) return;  // through vCenter
    const std::string why = hosts_.why(address, [&] { return try_host(address, thumbprint); });
    if (!why.empty())
      warn("the ESXi host " + address + " cannot be reached from here: " + why,
           "The disks are downloaded from it on port 443, unless vCenter passes them on: open the "
           "way and see that its name can be resolved.");
  }

  std::string try_host(const std::string& address, const std::string& thumbprint) {
    http::Settings settings = session_.settings().http;
    settings.connect_timeout = kReach;
    settings.tls.insecure = thumbprint.empty();  // no secret is sent, and no answer is trusted
    settings.tls.thumbprint = thumbprint;
    try {
      http::Client client(settings);
      http::Request request;
      request.url = "https://" + address + "/";
      request.stall_timeout = kReach;
      client.open(request, op_);
      return {};
    } catch (const Error& failure) {
      return failure.detail().empty() ? failure.summary() : failure.detail();
    }
  }

  Session& session_;
  HostsTried& hosts_;
  const VmInfo& vm_;
  const VmOptions& options_;
  Op op_;
  bool changes_power_ = false, frozen_ = false, failed_ = false;
};

}  // namespace

std::optional<Error> unfit(const VmInfo& vm, const Disk& disk, bool frozen) {
  const std::string what = "the disk '" + disk.label + "' of '" + vm.name + "'";
  if (disk.physical)
    return Error(HYPER_UNSUPPORTED, what + " is a raw mapping in physical mode")
        .hint("vSphere does not export it: exclude it, or map it in virtual mode.");
  if (disk.capacity == 0)
    return Error(HYPER_UNSUPPORTED, what + " has no size").hint("Repair it, or exclude it.");
  if (!disk.on_datastore())
    return Error(HYPER_UNSUPPORTED, what + " lies on no datastore")
        .hint("vSphere does not export it: exclude it, or move it to a datastore.");
  if (disk.encrypted)
    return Error(HYPER_UNSUPPORTED, what + " is encrypted")
        .hint("Decrypt it first, or exclude it.");
  if (frozen && disk.independent())
    return Error(HYPER_UNSUPPORTED, what + " is independent: snapshots leave it out")
        .hint("Shut the VM down (power: shutdown), make the disk dependent, or exclude it.");
  if (frozen && disk.bus_sharing)
    return Error(HYPER_UNSUPPORTED,
                 what +
                     " is on a controller that several VMs share (bus sharing): no snapshot of "
                     "it can be made")
        .hint("Shut all of them down, or exclude the disk.");
  if (frozen && disk.multi_writer())
    return Error(HYPER_UNSUPPORTED, what + " is shared by several VMs (multi-writer)")
        .hint("Shut all of them down, or exclude the disk.");
  return std::nullopt;
}

void check_vm(Session& session, HostsTried& hosts, const VmInfo& vm, const VmOptions& options,
              Op op) {
  if (Preflight(session, hosts, vm, options, op).run()) throw Reported(HYPER_FAIL);
}

}  // namespace hyper::vsphere
