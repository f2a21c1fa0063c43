// SPDX-License-Identifier: Apache-2.0
#include "vm_index.hpp"

namespace hyper::vsphere {
namespace {
constexpr auto kKept = std::chrono::seconds(60);
constexpr auto kKeptForMissing = std::chrono::seconds(5);  // a VM may have been made just now
constexpr auto kIndexLook = std::chrono::milliseconds(50);
}  // namespace

std::shared_ptr<const VmIndex::Map> VmIndex::map(std::chrono::steady_clock::duration at_most,
                                                 const http::Cancel& cancel) {
  std::unique_lock lock(mutex_, std::defer_lock);
  // By the system's clock: ThreadSanitizer does not see a lock that waited by another one.
  while (!lock.try_lock_until(std::chrono::system_clock::now() + kIndexLook))
    pause(std::chrono::nanoseconds(0), cancel);
  if (map_ && std::chrono::steady_clock::now() - read_ <= at_most) return map_;
  auto made = std::make_shared<Map>();
  const auto began = std::chrono::steady_clock::now();
  retrieve_all(session_, {{"VirtualMachine", {"name", "parent", "parentVApp"}}},
               "cannot read the names of the VMs", cancel, [&](const Object& vm) {
                 Ref parent = ref_in(vm.at("parent"));
                 if (parent.empty()) parent = ref_in(vm.at("parentVApp"));
                 const std::string name = vm.text("name");
                 made->emplace(unescaped_name(name), Vm{vm.ref(), parent, name});
               });
  map_ = std::move(made);
  read_ = began;
  return map_;
}

std::vector<VmIndex::Vm> VmIndex::named(const std::string& name, const http::Cancel& cancel) {
  std::vector<Vm> out;
  for (const auto age : {kKept, kKeptForMissing}) {
    const auto all = map(age, cancel);
    const std::string plain = unescaped_name(name);
    for (const std::string& key : plain == name ? std::vector{name} : std::vector{name, plain}) {
      const auto [begin, end] = all->equal_range(key);
      for (auto at = begin; at != end; ++at)
        if (key == name || at->second.name == name) out.push_back(at->second);
    }
    if (!out.empty()) break;
  }
  return out;
}

}  // namespace hyper::vsphere
