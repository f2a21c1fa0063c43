// SPDX-License-Identifier: Apache-2.0
#include "plugins/guest/virt-v2v/v2v_plugin.hpp"

#include <unistd.h>

#include <algorithm>

#include "plugins/guest/virt-v2v/conversion.hpp"

namespace hyperhost::virt_v2v {
namespace {

bool exists(const std::string& path) {
  return ::access(path.c_str(), R_OK) == 0;
}

std::string family_of(const hyper::Doc& request) {
  return request.string("/vm/os_hint", "unknown");
}

void add_finding(hyper::DocBuilder& answer, const char* rule, const char* severity,
                 const std::string& summary, const std::string& evidence,
                 const std::string& hint = {}) {
  hyper::DocBuilder one;
  one.set("/rule", rule).set("/severity", severity).set("/summary", summary);
  if (!evidence.empty()) one.set("/evidence", evidence);
  if (!hint.empty()) one.set("/hint", hint);
  answer.append("/findings", one);
}

std::string bus_of(const hyper::Doc& request) {
  return request.string("/machine/disks/0/bus", "virtio");
}

/// What virt-v2v warned of, and that it proves nothing.
void add_messages(hyper::DocBuilder& answer, const Messages& messages, const std::string& bus) {
  for (const std::string& warning : messages.warnings()) {
    // The host takes no trims, so that what is free stays as it is.
    const bool trim = warning.find("fstrim") != std::string::npos;
    add_finding(answer, "v2v.warning", trim ? "note" : "warning", "virt-v2v warns", warning);
  }
  if (messages.has_virtio() == false && (bus == "virtio" || bus == "scsi"))
    add_finding(answer, "v2v.no-drivers", "error", "The guest has got no drivers for virtio", bus,
                "choose another virtio_win, or bus: sata");
  add_finding(answer, "v2v.not-proven", "note",
              "virt-v2v's word is all there is: it does not start the guest", "",
              "boot: in the plan starts the guest once");
}

void check_disks(const std::vector<hyper::BlockRef>& disks) {
  if (disks.empty() || disks.size() > 128)
    throw hyper::Error(HYPER_UNSUPPORTED, "the number of disks is not 1 to 128",
                       std::to_string(disks.size()));
}

}  // namespace

void check_windows_files(const Settings& settings, const std::string& bus) {
  if (!exists(settings.virt_tools + "/rhsrvany.exe") &&
      !exists(settings.virt_tools + "/pvvxsvc.exe"))
    throw hyper::Error(HYPER_NOTFOUND,
                       "virt-v2v needs rhsrvany.exe or pvvxsvc.exe for the first start of Windows",
                       "neither is in " + settings.virt_tools)
        .at("/virt_tools")
        .rule("v2v.no-drivers")
        .hint(
            "virt_tools names the directory that has one; Fedora has it in the package "
            "virt-tools-win, mingw32-srvany");
  if ((bus == "virtio" || bus == "scsi") && !exists(settings.virtio_win) &&
      !exists(settings.virtio_win + ".iso"))
    throw hyper::Error(HYPER_NOTFOUND, "Windows needs virtio's drivers for this machine",
                       settings.virtio_win + " is not there")
        .at("/virtio_win")
        .rule("v2v.no-drivers")
        .hint("virtio_win names the directory or the ISO of virtio-win, or choose bus: sata");
}

std::unique_ptr<V2vPlugin> V2vPlugin::open(const hyper::Doc& options, hyper::Op) {
  return std::unique_ptr<V2vPlugin>(new V2vPlugin(read_settings(options)));
}

std::string V2vPlugin::plan(hyper::Op op, const hyper::Doc& request) {
  const Tools tools(op, settings_);
  const std::string family = family_of(request);
  const std::vector<std::string> families = tools.capabilities.families();
  if (family != "unknown" && std::find(families.begin(), families.end(), family) == families.end())
    throw hyper::Error(HYPER_UNSUPPORTED,
                       "virt-v2v " + tools.program.version + " converts no guest of this family",
                       family)
        .rule("guest.family");
  if (family == "windows") check_windows_files(settings_, bus_of(request));
  hyper::DocBuilder answer;
  answer.array("/families").array("/notes").array("/programs");
  for (const std::string& one : families) answer.append("/families", one);
  answer.set("/steps", {"overlay", "virt-v2v", "changes"})
      .set("/programs/-/name", "virt-v2v-in-place")
      .set("/programs/0/version", tools.program.version)
      .set("/scratch_bytes", uint64_t{1} << 30)
      .set("/memory_bytes", uint64_t{2560} << 20);
  answer.append("/notes",
                "it will run: " + command_text(command_line(settings_, tools.program, "DIRECTORY",
                                                            inherited_environment())));
  if (!tools.program.no_fstrim)
    answer.append("/notes", "virt-v2v " + tools.program.version +
                                " trims file systems, so that free blocks count as changed");
  return answer.json();
}

std::string V2vPlugin::inspect(hyper::Op op, const hyper::Doc& request,
                               const std::vector<hyper::BlockRef>& disks) {
  check_disks(disks);
  const Tools tools(op, settings_);
  Conversion conversion(op, settings_, tools, request, disks);
  hyper::DocBuilder answer;
  answer.array("/roots").array("/findings");
  if (conversion.run()) {
    hyper::DocBuilder root;
    root.set("/os", family_of(request)).array("/mounts");
    answer.append("/roots", root);
    add_messages(answer, conversion.messages(), bus_of(request));
    return answer.json();
  }
  const std::string& said = conversion.messages().error();
  if (said.empty()) throw conversion.error();
  const Meaning meaning = meaning_of(said);
  add_finding(answer, meaning.rule, "error", meaning.summary, said, meaning.hint);
  return answer.json();
}

std::string V2vPlugin::prepare(hyper::Op op, const hyper::Doc& request,
                               const std::vector<hyper::BlockRef>& disks) {
  check_disks(disks);
  const Tools tools(op, settings_);
  Conversion conversion(op, settings_, tools, request, disks);
  if (!conversion.run()) throw conversion.error();
  conversion.commit();
  hyper::DocBuilder answer, action;
  action.set("/rule", "v2v.convert")
      .set("/what", "virt-v2v-in-place " + tools.program.version + " converted the guest");
  answer.array("/actions").array("/findings").append("/actions", action);
  answer.object("/caps");
  if (conversion.messages().has_virtio() == true) answer.set("/caps/block", "virtio");
  add_messages(answer, conversion.messages(), bus_of(request));
  return answer.json();
}

}  // namespace hyperhost::virt_v2v
