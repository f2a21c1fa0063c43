// SPDX-License-Identifier: Apache-2.0
#include "catalog.hpp"

#include <algorithm>
#include <filesystem>
#include <set>

#include <hyper/error.hpp>

namespace hyper::ovf {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxFolders = 8;
constexpr std::size_t kMaxPackages = 20'000;
constexpr const char* kImageExtensions[] = {"vmdk", "qcow2", "img", "raw", "vhd", "vhdx", "vdi"};

bool is_image(const std::string& name) {
  return std::any_of(std::begin(kImageExtensions), std::end(kImageExtensions),
                     [&](const char* extension) { return has_extension(name, extension); });
}

/// The extents that a text VMDK names: parts of it, not disks. None if it is no text VMDK.
std::vector<std::string> extents_named_by(const std::string& path) {
  std::vector<std::string> out;
  try {
    const auto file = File::open(path);
    if (file->size() > kMaxVmdkDescriptor) return out;
    std::string text(file->size(), '\0');
    text.resize(file->read_some(0, text.data(), text.size()));
    if (!looks_like_vmdk_descriptor(text)) return out;
    for (VmdkExtent& extent : parse_vmdk_descriptor(text, path).extents)
      out.push_back(std::move(extent.file));
  } catch (const Error&) {
    // Said when the disk itself is looked at.
  }
  return out;
}

std::string joined(const std::vector<std::string>& items) {
  std::string out;
  for (const std::string& item : items) out += (out.empty() ? "" : ", ") + item;
  return out;
}

std::size_t distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t corner = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replace = corner + (a[i] != b[j]);
      corner = row[j + 1];
      row[j + 1] = std::min({replace, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row[b.size()];
}

}  // namespace

std::vector<std::string> near_names(const std::string& wanted,
                                    const std::vector<std::string>& names) {
  std::vector<std::pair<std::size_t, std::string>> ranked;
  const std::string low = lower(wanted.substr(0, 256));
  for (const std::string& name : names) {
    const std::string other = lower(name.substr(0, 256));
    const bool part = low.size() > 2 && other.find(low) != std::string::npos;
    const std::size_t far = part ? 1 : distance(low, other);
    if (far <= std::max<std::size_t>(2, low.size() / 3)) ranked.emplace_back(far, name);
  }
  std::sort(ranked.begin(), ranked.end());
  ranked.erase(std::unique(ranked.begin(), ranked.end()), ranked.end());
  std::vector<std::string> out;
  for (std::size_t i = 0; i < ranked.size() && i < 5; ++i) out.push_back(ranked[i].second);
  return out;
}

Catalog::Catalog(const std::string& path, bool recursive, bool verify_checksums)
    : path_(fs::absolute(path).lexically_normal().string()),
      recursive_(recursive),
      verify_(verify_checksums) {
  if (path_.size() > 1 && path_.back() == '/') path_.pop_back();
  std::error_code error;
  const fs::file_status status = fs::status(path_, error);
  if (status.type() == fs::file_type::not_found)
    throw Error(HYPER_NOTFOUND, "there is nothing at '" + path_ + "'")
        .at("/path")
        .hint("Give a directory of .ova, .ovf or disk images, or one of these.");
  if (error) throw errno_error(error.value(), "'" + path_ + "' cannot be examined").at("/path");
  directory_ = status.type() == fs::file_type::directory;
  if (!directory_) File::open(path_);  // readable, and a regular file
}

std::vector<Catalog::Entry> Catalog::scan(Op op) const {
  std::vector<Entry> out;
  if (directory_)
    scan_directory(op, path_, 0, out);
  else
    out.push_back({kind_of(path_), path_, base_name(path_)});
  return out;
}

void Catalog::scan_directory(Op op, const std::string& directory, int depth,
                             std::vector<Entry>& out) const {
  std::error_code error;
  std::vector<std::string> descriptors, images, directories;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    op.check_cancelled();
    const std::string path = it->path().string();
    const std::string name = base_name(path);
    std::error_code ignored;
    const fs::file_type type = it->symlink_status(ignored).type();
    if (type == fs::file_type::directory) directories.push_back(path);
    if (type != fs::file_type::regular || name.front() == '.') continue;  // links could lead out
    if (has_extension(name, "ova"))
      out.push_back({PackageKind::kArchive, path, path.substr(path_.size() + 1)});
    if (has_extension(name, "ovf")) descriptors.push_back(path);
    if (is_image(name)) images.push_back(path);
    if (out.size() + descriptors.size() + images.size() > kMaxPackages)
      throw Error(HYPER_CONFIG, "'" + path_ + "' holds more than " + std::to_string(kMaxPackages) +
                                    " packages and images")
          .at("/path")
          .hint("Give a directory further down.");
  }
  if (error)
    throw errno_error(error.value(), "the directory '" + directory + "' cannot be read")
        .at("/path");
  std::set<std::string> parts;  // files that belong to another one
  for (const std::string& path : descriptors) {
    out.push_back({PackageKind::kDescriptor, path, path.substr(path_.size() + 1)});
    try {
      for (std::string& name : references_of(path)) parts.insert(directory + "/" + name);
    } catch (const Error&) {
      // Said when the package itself is looked at.
    }
  }
  for (const std::string& path : images)
    if (has_extension(path, "vmdk"))
      for (const std::string& name : extents_named_by(path)) parts.insert(directory + "/" + name);
  for (const std::string& path : images)
    if (parts.count(path) == 0 && !has_extension(stem(path) + ".x", "ctk.x"))
      out.push_back({PackageKind::kImage, path, path.substr(path_.size() + 1)});
  if (recursive_ && depth < kMaxFolders)
    for (const std::string& inner : directories) scan_directory(op, inner, depth + 1, out);
  if (depth == 0)
    std::sort(out.begin(), out.end(),
              [](const Entry& a, const Entry& b) { return a.relative < b.relative; });
}

Catalog::Vms Catalog::vms_of(const Entry& entry) {
  const Stamp stamp = File::open(entry.path)->stamp();
  {
    const std::lock_guard lock(mutex_);
    const auto found = known_.find(entry.path);
    if (found != known_.end() && found->second.first == stamp) return found->second.second;
  }
  const auto contents = load_contents(entry.kind, entry.path, verify_);
  Vms out;
  for (const Vm& vm : contents->vms) {
    Listed listed;
    listed.index = out.size();
    listed.name = vm.ovf.name;
    listed.id = vm.ovf.id;
    listed.path = entry.path;
    listed.kind = entry.kind;
    listed.disks = vm.disks.size();
    listed.bytes = vm.bytes();
    const std::string part = vm.ovf.id.empty() ? std::to_string(listed.index) : vm.ovf.id;
    listed.ref = entry.relative + (contents->vms.size() > 1 ? "#" + part : "");
    out.push_back(std::move(listed));
  }
  const std::lock_guard lock(mutex_);
  known_[entry.path] = {stamp, out};
  return out;
}

void Catalog::list(Op op, const std::function<void(const Listed&)>& on_vm) {
  for (const Entry& entry : scan(op)) {
    op.check_cancelled();
    Vms vms;
    try {
      vms = vms_of(entry);
    } catch (const Error& error) {
      if (!directory_) throw;
      op.warn(error);
    }
    for (const Listed& listed : vms) on_vm(listed);
  }
}

Listed Catalog::find(Op op, const std::string& vm) {
  constexpr std::size_t kTiers = 4;
  std::vector<Listed> matches[kTiers];
  std::vector<std::string> names, unreadable;
  for (const Entry& entry : scan(op)) {
    op.check_cancelled();
    try {
      for (const Listed& listed : vms_of(entry)) {
        names.push_back(listed.name);
        if (vm == listed.ref || vm == listed.path)
          matches[0].push_back(listed);
        else if (vm == base_name(listed.path))
          matches[1].push_back(listed);
        else if (vm == listed.name)
          matches[2].push_back(listed);
        else if (vm == stem(listed.path) || vm == listed.id)
          matches[3].push_back(listed);
      }
    } catch (const Error& error) {
      const bool meant = vm == entry.relative || vm == entry.path || vm == base_name(entry.path) ||
                         vm == stem(entry.path);
      if (!directory_ || meant) throw;
      unreadable.push_back("'" + entry.relative + "' cannot be read (" + error.summary() + ")");
    }
  }
  for (const std::vector<Listed>& found : matches) {
    if (found.size() == 1) return found.front();
    if (found.empty()) continue;
    std::vector<std::string> refs;
    for (const Listed& listed : found) refs.push_back(listed.ref);
    throw Error(
        HYPER_CONFIG,
        "'" + vm + "' is the name of " + std::to_string(found.size()) + " VMs in '" + path_ + "'",
        "candidates: " + joined(refs))
        .hint("Name one of the candidates instead.");
  }
  std::vector<std::string> detail = near_names(vm, names);
  std::string text = detail.empty() ? "" : "near names: " + joined(detail);
  if (!unreadable.empty()) text += (text.empty() ? "" : "; ") + joined(unreadable);
  Error error(HYPER_NOTFOUND, "there is no VM '" + vm + "' in '" + path_ + "'", text);
  error.hint(names.empty() && directory_ && !recursive_
                 ? "The directory itself holds no packages; recursive: true also looks below it."
                 : "'hyperhost list' shows the names.");
  throw error;
}

std::pair<std::shared_ptr<const Contents>, const Vm*> Catalog::load(const Listed& listed) const {
  auto contents = load_contents(listed.kind, listed.path, verify_);
  if (listed.index >= contents->vms.size() || contents->vms[listed.index].ovf.id != listed.id)
    throw Error(HYPER_CORRUPT, "'" + listed.path + "' was changed while it was being read");
  const Vm* vm = &contents->vms[listed.index];
  return {std::move(contents), vm};
}

}  // namespace hyper::ovf
