// SPDX-License-Identifier: Apache-2.0
#include "core/check/provider_vms.hpp"

#include <algorithm>
#include <set>

namespace hyperhost::check {
namespace {

constexpr std::size_t kVms = 3, kDisks = 3;  // of each, that are looked at

}  // namespace

std::string text_of(const nlohmann::json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::vector<ListedVm> list_vms(Run& run, ProviderHandle& provider, const std::string& pattern) {
  std::vector<ListedVm> out;
  Operation op = operation("list");
  run.at("list_vms()");
  provider.list_vms(op, pattern, [&](const nlohmann::json& vm) {
    out.push_back({text_of(vm, "ref"), text_of(vm, "name"), vm});
  });
  return out;
}

std::vector<OpenedDisk> disks_of(Run& run, const nlohmann::json& vm, const std::string& name) {
  std::vector<OpenedDisk> out;
  std::set<std::string> seen;
  const std::string what = "the description of '" + name + "' (describe_vm())";
  for (const auto& disk : vm.value("disks", nlohmann::json::array())) {
    const std::string id = text_of(disk, "id");
    run.expect(seen.insert(id).second, what + ": the disk id '" + id + "' is there twice");
    const bool blank = disk.value("blank", nlohmann::json(false)) == true;
    if (!blank && disk.value("access", nlohmann::json::array()).empty())
      run.fail(what + ": the disk '" + id + "' has no access, and is not blank");
    if (!id.empty() && !blank) out.push_back({name, id, disk});
  }
  return out;
}

nlohmann::json describe_vm(Run& run, ProviderHandle& provider, const std::string& ref) {
  Operation op = operation(ref);
  run.at("describe_vm(\"" + ref + "\")");
  return provider.describe_vm(op, ref);
}

nlohmann::json vm_request(const std::string& ref) {
  return {{"vm", ref}, {"task_id", "hyperhost-check"}};
}

void close_vm(Run& run, ProviderVmHandle& vm, hyper_st outcome) {
  Operation op = operation("close");
  run.at("close_vm()");
  vm.close(op, outcome);
}

std::vector<ListedVm> some_vms(Run& run, ProviderHandle& provider) {
  auto vms = list_vms(run, provider, "");
  if (vms.empty()) run.skip("it lists no VM; give --options that lead to one");
  vms.resize(std::min(vms.size(), kVms));
  return vms;
}

void each_disk(Run& run, ProviderHandle& provider,
               const std::function<void(ProviderVmHandle&, const OpenedDisk&)>& f) {
  for (const ListedVm& listed : some_vms(run, provider)) {
    auto disks = disks_of(run, describe_vm(run, provider, listed.ref), listed.name);
    disks.resize(std::min(disks.size(), kDisks));
    Operation op = operation(listed.name);
    run.at("preflight(\"" + listed.ref + "\")");
    provider.preflight(op, vm_request(listed.ref));
    run.at("open_vm(\"" + listed.ref + "\")");
    const auto vm = provider.open_vm(op, vm_request(listed.ref));
    for (const OpenedDisk& disk : disks) f(*vm, disk);
    run.at("open_disk() of a disk that is not there");
    run.expect_error("open_disk(\"no-such-disk\")", [&] {
      Operation other = operation(listed.name);
      static_cast<void>(vm->open_disk(other, "no-such-disk", HYPER_OPEN_SEEK));
    });
    close_vm(run, *vm, HYPER_OK);
  }
}

OpenSource opener(ProviderVmHandle& vm, const std::string& disk) {
  return [&vm, disk](Operation& op, uint32_t flags) { return vm.open_disk(op, disk, flags); };
}

}  // namespace hyperhost::check
