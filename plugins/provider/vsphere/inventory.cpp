// SPDX-License-Identifier: Apache-2.0
#include "inventory.hpp"

#include <fnmatch.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "vm_info.hpp"

namespace hyper::vsphere {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kMaxCandidates = 20;

bool is_uuid(const std::string& text) {
  if (text.size() != 36) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? text[i] != '-' : std::isxdigit(static_cast<unsigned char>(text[i])) == 0)
      return false;
  }
  return true;
}

std::string vm_path(Names& names, const Object& vm, const http::Cancel& cancel) {
  Ref parent = ref_in(vm.at("parent"));
  if (parent.empty()) parent = ref_in(vm.at("parentVApp"));
  return names.path(parent, cancel) + "/" + vm.text("name");
}

bool wanted(const std::string& pattern, const std::string& name, const std::string& path) {
  if (pattern.empty()) return true;
  if (pattern.find('/') == std::string::npos) return fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
  return fnmatch(pattern.c_str(), path.c_str(), FNM_PATHNAME) == 0;
}

Ref found_by_search(Session& session, const char* method, const Args& args,
                    const http::Cancel& cancel) {
  const Answer answer =
      session.call(method, session.content().search_index, args, "cannot search", cancel);
  const Ref ref = ref_in(answer.value());
  return ref.type == "VirtualMachine" ? ref : Ref();
}

/// Whether there is a VM of that reference.
bool exists(Session& session, const Ref& ref, const http::Cancel& cancel) {
  try {
    retrieve_one(session, ref, {"name"}, "cannot look for a VM", cancel);
    return true;
  } catch (const Fault& fault) {
    if (fault.is("ManagedObjectNotFound") || fault.is("InvalidArgument")) return false;
    throw;
  }
}

/// The VMs of a BIOS or instance UUID.
std::vector<Ref> by_uuid(Session& session, const std::string& uuid, bool instance,
                         const http::Cancel& cancel) {
  Args args;
  args.text("uuid", uuid).flag("vmSearch", true).flag("instanceUuid", instance);
  std::vector<Ref> out;
  try {
    const Answer answer = session.call("FindAllByUuid", session.content().search_index, args,
                                       "cannot search", cancel);
    each(answer.response(), "returnval", [&](const pugi::xml_node& one) {
      if (const Ref ref = ref_in(one); ref.type == "VirtualMachine") out.push_back(ref);
    });
  } catch (const Fault& fault) {
    if (fault.status() != HYPER_UNSUPPORTED) throw;  // unsupported: an old host has only FindByUuid
    if (const Ref ref = found_by_search(session, "FindByUuid", args, cancel); !ref.empty())
      out.push_back(ref);
  }
  return out;
}

/// "/DC/vm/prod/web", or the VM's reference if its path cannot be read.
std::string shown(Session& session, Names& names, const Ref& ref, const http::Cancel& cancel) {
  try {
    const Retrieved got = retrieve_one(session, ref, {"name", "parent", "parentVApp"},
                                       "cannot look for a VM", cancel);
    return vm_path(names, got.object, cancel) + " (" + ref.id + ")";
  } catch (const Fault&) {
    return ref.id;
  }
}

[[noreturn]] void refuse_several(Session& session, Names& names, const std::string& wanted_vm,
                                 const std::vector<Ref>& found, const http::Cancel& cancel) {
  std::vector<std::string> paths;
  for (std::size_t i = 0; i < found.size() && i < kMaxCandidates; ++i)
    paths.push_back(shown(session, names, found[i], cancel));
  std::sort(paths.begin(), paths.end());
  std::string list;
  for (const std::string& path : paths) list += (list.empty() ? "" : ", ") + path;
  if (found.size() > kMaxCandidates) list += " …";
  throw Error(HYPER_CONFIG,
              "there are " + std::to_string(found.size()) + " VMs called '" + wanted_vm +
                  "', by name, UUID or reference",
              list)
      .hint("name it by its path");
}

}  // namespace

void list_vms(Session& session, Names& names, const std::string& pattern, Op op, const Emit& emit) {
  names.load_all(op);
  retrieve_all(
      session,
      {{"VirtualMachine",
        {"name", "parent", "parentVApp", "runtime.powerState", "runtime.host", "datastore",
         "config.template", "config.instanceUuid", "guest.toolsRunningStatus",
         "summary.config.numCpu", "summary.config.memorySizeMB", "summary.config.numVirtualDisks",
         "summary.config.guestFullName", "summary.storage.committed"}}},
      "cannot list the VMs", op, [&](const Object& vm) {
        op.check_cancelled();
        std::string name = unescaped_name(vm.text("name"));
        std::string path = vm_path(names, vm, op);
        if (name.empty()) path += name = vm.ref().id;  // this user may not read it
        if (!wanted(pattern, name, path)) return;
        const Ref host = ref_in(vm.at("runtime.host"));
        Ref folder = ref_in(vm.at("parent"));
        if (folder.empty()) folder = ref_in(vm.at("parentVApp"));
        const std::string datacenter = names.path(names.ancestor(folder, "Datacenter", op), op);
        Json out = {{"ref", vm.ref().id},
                    {"name", name},
                    {"path", path},
                    {"power_state", power_word(vm.text("runtime.powerState"))},
                    {"disks", number(vm.at("summary.config.numVirtualDisks"), "")},
                    {"bytes", number(vm.at("summary.storage.committed"), "")},
                    {"datacenter", datacenter.empty() ? "" : datacenter.substr(1)},
                    {"folder", names.path(folder, op)},
                    {"host", names.name(host, op)},
                    {"guest_os", vm.text("summary.config.guestFullName")},
                    {"tools", vm.text("guest.toolsRunningStatus")},
                    {"cpu", number(vm.at("summary.config.numCpu"), "")},
                    {"memory_bytes", number(vm.at("summary.config.memorySizeMB"), "") << 20},
                    {"instance_uuid", vm.text("config.instanceUuid")},
                    {"template", vm.text("config.template") == "true"}};
        const Ref compute = host.empty() ? Ref() : names.parent(host, op);
        if (compute.type == "ClusterComputeResource") out["cluster"] = names.name(compute, op);
        out["datastores"] = Json::array();
        each(vm.at("datastore"), "ManagedObjectReference", [&](const pugi::xml_node& store) {
          out["datastores"].push_back(unescaped_name(names.name(ref_in(store), op)));
        });
        emit(out.dump(-1, ' ', false, Json::error_handler_t::replace));
      });
}

Ref find_vm(Session& session, Names& names, VmIndex& index, const std::string& wanted_vm,
            const http::Cancel& cancel) {
  std::vector<Ref> found;
  const auto add = [&](const Ref& ref) {
    if (std::find(found.begin(), found.end(), ref) == found.end()) found.push_back(ref);
  };
  if (wanted_vm.find('/') != std::string::npos) {
    Args args;
    args.text("inventoryPath", wanted_vm);
    Ref ref = found_by_search(session, "FindByInventoryPath", args, cancel);
    if (!ref.empty()) return ref;
  } else if (is_uuid(wanted_vm)) {
    // A copied VM may have the BIOS UUID of its original.
    for (const bool instance : {true, false})
      for (const Ref& ref : by_uuid(session, wanted_vm, instance, cancel)) add(ref);
  } else if (const Ref ref{"VirtualMachine", wanted_vm}; exists(session, ref, cancel)) {
    add(ref);
  }
  for (const VmIndex::Vm& vm : index.named(wanted_vm, cancel)) add(vm.ref);
  if (found.size() > 1) refuse_several(session, names, wanted_vm, found, cancel);
  if (found.empty())
    throw Error(HYPER_NOTFOUND,
                "there is no VM '" + wanted_vm + "' at " + session.settings().endpoint.authority)
        .hint("hyperhost list shows what this user may see");
  return found[0];
}

Ref described_vm(Session& session, Names& names, VmIndex& index, const std::string& wanted_vm,
                 const http::Cancel& cancel) {
  if (Ref ref{"VirtualMachine", wanted_vm}; exists(session, ref, cancel)) return ref;
  return find_vm(session, names, index, wanted_vm, cancel);
}

}  // namespace hyper::vsphere
