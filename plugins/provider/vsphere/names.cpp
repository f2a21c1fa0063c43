// SPDX-License-Identifier: Apache-2.0
#include "names.hpp"

namespace hyper::vsphere {
namespace {
constexpr int kMaxDepth = 64;
}

std::string unescaped_name(const std::string& name) {
  std::string out;
  for (std::size_t i = 0; i < name.size(); ++i) {
    const std::string three = name.substr(i, 3);
    if (three == "%2f" || three == "%2F")
      out += '/';
    else if (three == "%5c" || three == "%5C")
      out += '\\';
    else if (three == "%25")
      out += '%';
    else {
      out += name[i];
      continue;
    }
    i += 2;
  }
  return out;
}

Names::Entry Names::entry_of(const Object& object) {
  Ref parent = ref_in(object.at("parent"));
  if (parent.empty()) parent = ref_in(object.at("parentFolder"));  // a vApp has this property
  return {object.text("name"), parent};
}

void Names::load_all(const http::Cancel& cancel) {
  std::vector<PropertySet> sets;
  for (const char* type : {"Folder", "Datacenter", "ComputeResource", "HostSystem", "Datastore"})
    sets.push_back({type, {"name", "parent"}});
  if (!session_.content().is_host()) sets.push_back({"VirtualApp", {"name", "parentFolder"}});
  std::map<std::string, Entry> read;
  retrieve_all(session_, sets, "cannot read the inventory", cancel,
               [&](const Object& object) { read[object.ref().id] = entry_of(object); });
  const std::lock_guard lock(mutex_);
  read.merge(entries_);
  entries_ = std::move(read);
}

Names::Entry Names::get(const Ref& ref, const http::Cancel& cancel) {
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = entries_.find(ref.id); found != entries_.end()) return found->second;
  }
  Entry entry;
  try {
    std::vector<std::string> paths = {"name"};
    if (ref.type == "VirtualApp") {
      paths.emplace_back("parentFolder");
    } else if (ref.type != "Network") {
      paths.emplace_back("parent");
    }
    const Retrieved got = retrieve_one(session_, ref, paths, "cannot read a name", cancel);
    entry = entry_of(got.object);
  } catch (const Fault&) {  // this user may not see it, or it is gone
  }
  const std::lock_guard lock(mutex_);
  return entries_[ref.id] = entry;
}

std::string Names::name(const Ref& ref, const http::Cancel& cancel) {
  return ref.empty() ? std::string() : get(ref, cancel).name;
}

std::string Names::path(const Ref& ref, const http::Cancel& cancel) {
  std::string out;
  Ref at = ref;
  for (int depth = 0; depth < kMaxDepth && !at.empty(); ++depth) {
    const Entry entry = get(at, cancel);
    if (at == session_.content().root_folder) break;
    out = "/" + entry.name + out;
    at = entry.parent;
  }
  return out;
}

Ref Names::ancestor(Ref ref, const std::string& type, const http::Cancel& cancel) {
  for (int depth = 0; depth < kMaxDepth && !ref.empty() && ref.type != type; ++depth)
    ref = get(ref, cancel).parent;
  return ref.type == type ? ref : Ref();
}

}  // namespace hyper::vsphere
