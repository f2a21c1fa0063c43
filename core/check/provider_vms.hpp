// SPDX-License-Identifier: Apache-2.0
// The VMs of a connected provider, for the cases of hyper.provider/1: some of them, each described,
// opened and closed around what a case does with its disks. One thread.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/check/run.hpp"
#include "core/check/source_suite.hpp"

namespace hyperhost::check {

struct ListedVm {
  std::string ref, name;
  nlohmann::json summary;
};

struct OpenedDisk {
  std::string vm, id;          ///< names
  nlohmann::json description;  ///< the member of the VM's "disks"
  std::string name() const { return vm + "/" + id; }
};

/// A member that is a text; "" where it is none.
std::string text_of(const nlohmann::json& object, const char* key);

std::vector<ListedVm> list_vms(Run& run, ProviderHandle& provider, const std::string& pattern);

/// Findings where a description breaks its contract. Blank disks are left out.
std::vector<OpenedDisk> disks_of(Run& run, const nlohmann::json& description,
                                 const std::string& name);
nlohmann::json describe_vm(Run& run, ProviderHandle& provider, const std::string& ref);

nlohmann::json vm_request(const std::string& ref);
void close_vm(Run& run, ProviderVmHandle& vm, hyper_st outcome);

/// At most three VMs that `pattern` fits; ends the case as skipped where there is none.
std::vector<ListedVm> some_vms(Run& run, ProviderHandle& provider);
/// f for at most three disks of each of some_vms().
void each_disk(Run& run, ProviderHandle& provider,
               const std::function<void(ProviderVmHandle&, const OpenedDisk&)>& f);

OpenSource opener(ProviderVmHandle& vm, const std::string& disk);

}  // namespace hyperhost::check
