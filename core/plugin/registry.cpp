// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/registry.hpp"

#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <regex>

#include <hyper/draft/boot.h>
#include <hyper/draft/guest.h>

#include "core/base/near_miss.hpp"
#include "core/os/file_trust.hpp"
#include "core/os/own_library.hpp"
#include "core/plugin/elf_section.hpp"
#include "core/plugin/isolation/isolated_plugin.hpp"

namespace hyperhost {
namespace fs = std::filesystem;
namespace {

/// Why this path is not safe for code that runs with this process's rights; empty = it is safe.
std::string unsafe(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return errno_error(errno, "look at " + path).what();
  return strangers(status, path);
}

constexpr const char* kBuiltIn = "built-in";
constexpr const char* kOtherPackages = "plugins.d";

/// Whether its code deals with guests: their file systems, and machines that run their programs.
bool runs_guests(const PluginFile& file) {
  const auto& names = file.manifest["interfaces"];
  return std::any_of(names.begin(), names.end(), [](const auto& name) {
    return name == HYPER_IFACE_GUEST || name == HYPER_IFACE_BOOT;
  });
}

/// It needs no network: the host serves it the disks.
bool only_runs_guests(const PluginFile& file) {
  const auto& names = file.manifest["interfaces"];
  return runs_guests(file) && std::none_of(names.begin(), names.end(), [](const auto& name) {
           return name == HYPER_IFACE_PROVIDER || name == HYPER_IFACE_STORAGE;
         });
}

/// Of a worker. The machines that a worker starts inherit its limit, and emulation takes 1 GiB more
/// than the machine has.
uint64_t half_of_memory(bool starts_machines) {
  const uint64_t kLeast = uint64_t{starts_machines ? 4U : 2U} << 30;
  const long pages = ::sysconf(_SC_PHYS_PAGES), size = ::sysconf(_SC_PAGESIZE);
  if (pages <= 0 || size <= 0) return kLeast;
  return std::max(kLeast, static_cast<uint64_t>(pages) * static_cast<uint64_t>(size) / 2);
}

/// "1.2" is 1.2, 1.2.0 and 1.2.9-rc1, not 1.20.0.
bool is_version(const std::string& version, const std::string& wanted) {
  return version.rfind(wanted, 0) == 0 &&
         (version.size() == wanted.size() ||
          std::string_view(".-+").find(version[wanted.size()]) != std::string_view::npos);
}

/// As unsafe(), for a directory and all directories above it: a user who may rename one of them can
/// replace it, unless the sticky bit (as on /tmp) reserves that to its owner.
std::string unsafe_directory(const std::string& path) {
  if (std::string reason = unsafe(path); !reason.empty()) return reason;
  std::error_code error;
  const fs::path real = fs::canonical(path, error);  // the target of a symbolic link counts
  if (error) return "look at " + path + ": " + error.message();
  for (fs::path above = real; above.has_relative_path();) {
    above = above.parent_path();
    struct stat status {};
    if (::stat(above.c_str(), &status) != 0)
      return errno_error(errno, "look at " + above.string()).what();
    // In a sticky directory as /tmp only an entry's owner renames it, or the directory's.
    if ((status.st_mode & S_ISVTX) != 0) status.st_mode &= ~(S_IWOTH | S_IWGRP);
    if (const std::string reason = strangers(status, above.string()); !reason.empty())
      return path + " lies in " + above.string() + "; " + reason;
  }
  return {};
}

/// Numbers of "1.2.3-rc1", for comparison; a pre-release sorts before its release.
std::array<uint64_t, 4> version_key(const std::string& version) {
  std::array<uint64_t, 4> key{0, 0, 0, 1};
  std::size_t part = 0;
  for (const char c : version) {
    if (c == '.' && part < 2)
      ++part;
    else if (c >= '0' && c <= '9' && key[part] < 1'000'000'000)
      key[part] = key[part] * 10 + static_cast<uint64_t>(c - '0');
    else if (c == '-') {
      key[3] = 0;
      break;
    } else
      break;
  }
  return key;
}

}  // namespace

std::string PluginRegistry::manifest_problem(const nlohmann::json& manifest) {
  static const std::regex id_pattern("^[a-z][a-z0-9-]{0,63}$");
  if (!manifest.is_object()) return "its manifest is not a JSON object";
  for (const char* key : {"id", "version"})
    if (!manifest.contains(key) || !manifest[key].is_string())
      return std::string("its manifest has no ") + key;
  if (!std::regex_match(manifest["id"].get<std::string>(), id_pattern))
    return "its manifest's id is not of the form a-z, 0-9, -";
  if (!manifest.contains("interfaces") || !manifest["interfaces"].is_array())
    return "its manifest names no interfaces";
  if (manifest.contains("options") && !manifest["options"].is_object())
    return "its manifest's options are not a JSON Schema";
  const auto abi = manifest.value("abi", nlohmann::json::object());
  if (!abi.is_object()) return "its manifest's abi is not an object";
  const auto number = [&](const char* key, uint64_t otherwise) {
    return abi.contains(key) && abi[key].is_number_unsigned() ? abi[key].get<uint64_t>()
                                                              : otherwise;
  };
  const uint64_t major = number("major", 1), minor = number("need_minor", 0);
  if (major != HYPER_ABI_MAJOR)
    return "it is built for plugin ABI " + std::to_string(major) + " and this host runs ABI " +
           std::to_string(HYPER_ABI_MAJOR);
  if (minor > HYPER_ABI_MINOR)
    return "it needs plugin ABI 1." + std::to_string(minor) + " and this host offers 1." +
           std::to_string(HYPER_ABI_MINOR);
  static const std::regex variable("^[A-Za-z_][A-Za-z0-9_]*[*]?$");
  if (manifest.contains("environment") && !manifest["environment"].is_array())
    return "its manifest's environment is not a list";
  for (const auto& name : manifest.value("environment", nlohmann::json::array()))
    if (!name.is_string() || !std::regex_match(name.get<std::string>(), variable))
      return "its manifest's environment names something that is no variable";
  Offers offers;
  return read_offers(manifest, offers);
}

std::vector<std::string> environment_of(const nlohmann::json& manifest) {
  std::vector<std::string> out;
  if (!manifest.is_object()) return out;
  for (const auto& name : manifest.value("environment", nlohmann::json::array()))
    if (name.is_string()) out.push_back(name.get<std::string>());
  return out;
}

std::string plugin_id(const std::string& reference) {
  return reference.substr(0, reference.find('@'));
}

Isolation isolation_named(const std::string& name) {
  return name == "none"      ? Isolation::kNone
         : name == "process" ? Isolation::kProcess
                             : Isolation::kAuto;
}

Confine confine_named(const std::string& name) {
  return name == "off" ? Confine::kOff : name == "required" ? Confine::kRequired : Confine::kAuto;
}

std::vector<SearchDir> PluginRegistry::search_path(std::vector<SearchDir> dirs,
                                                   const std::vector<SearchDir>& then) {
  if (const char* path = std::getenv("HYPERHOST_PLUGIN_PATH")) {
    std::string rest = path;
    while (!rest.empty()) {
      const std::size_t end = std::min(rest.find(':'), rest.size());
      if (end > 0) dirs.push_back({rest.substr(0, end), "HYPERHOST_PLUGIN_PATH", false});
      rest.erase(0, end + 1);
    }
  }
  dirs.insert(dirs.end(), then.begin(), then.end());
  std::error_code error;
  std::vector<fs::path> own;
  if (const fs::path program = fs::read_symlink("/proc/self/exe", error); !error)
    own.push_back(program.parent_path().parent_path() / "lib/hyperhost");
  if (const fs::path library = own_library_dir(); !library.empty())
    own.push_back(library / "hyperhost");
  for (const fs::path& place : own)
    dirs.push_back({(place / "plugins.d").string(), kOtherPackages, false});
  for (const fs::path& place : own) dirs.push_back({(place / "plugins").string(), kBuiltIn, false});
  return dirs;
}

PluginRegistry::PluginRegistry(const std::vector<SearchDir>& dirs) : dirs_(dirs) {
  for (const SearchDir& dir : dirs_) scan(dir);
  choose();
}

PluginRegistry::~PluginRegistry() = default;

void PluginRegistry::add(std::unique_ptr<Plugin> plugin, nlohmann::json manifest) {
  const std::string& id = plugin->id();
  std::string problem = manifest_problem(manifest);
  if (problem.empty() && manifest["id"] != id)
    problem = "its manifest says " + manifest["id"].dump();
  if (problem.empty() && find(id) != nullptr) problem = "there is a plugin of that id";
  if (!problem.empty()) throw Error(Code::kConfig, "the plugin '" + id + "' is not added", problem);
  PluginFile file{"memory:" + id, "memory", id,  manifest["version"].get<std::string>(),
                  nullptr,        "",       true};
  file.manifest = std::move(manifest);
  read_offers(file.manifest, file.offers);  // manifest_problem() found nothing wrong in it
  loaded_[file.path] = std::move(plugin);
  files_.push_back(std::move(file));
}

void PluginRegistry::scan(const SearchDir& dir) {
  std::error_code error;
  std::vector<std::string> paths;
  for (fs::directory_iterator it(dir.path, error), end; !error && it != end; it.increment(error))
    if (it->path().extension() == ".so") paths.push_back(it->path().string());
  if (error) {
    if (dir.required || error != std::errc::no_such_file_or_directory)
      files_.push_back({dir.path, dir.origin, "", "", nullptr,
                        "cannot read this plugin directory: " + error.message(), false});
    return;
  }
  std::sort(paths.begin(), paths.end());
  // The built-in directory lies in the program's own tree: a user who can move the tree can replace
  // the program too.
  const std::string dir_unsafe = paths.empty()            ? std::string()
                                 : dir.origin == kBuiltIn ? unsafe(dir.path)
                                                          : unsafe_directory(dir.path);
  for (const std::string& path : paths) {
    PluginFile file{path, dir.origin, "", "", nullptr, "", false};
    try {
      auto section = read_elf_section(path, HYPER_MANIFEST_SECTION);
      if (!section) {
        file.refusal = "it has no manifest (section " HYPER_MANIFEST_SECTION ")";
      } else {
        while (!section->empty() && section->back() == '\0') section->pop_back();
        file.manifest = nlohmann::json::parse(*section, nullptr, false);
        file.refusal = manifest_problem(file.manifest);
        if (file.refusal.empty()) read_offers(file.manifest, file.offers);
        if (file.manifest.is_object()) {
          file.id = file.manifest.value("id", nlohmann::json()).is_string()
                        ? file.manifest["id"].get<std::string>()
                        : "";
          file.version = file.manifest.value("version", nlohmann::json()).is_string()
                             ? file.manifest["version"].get<std::string>()
                             : "";
        } else {
          file.manifest = nullptr;
        }
      }
    } catch (const Error& failure) {
      file.refusal = failure.what();
    }
    for (const std::string& reason : {dir_unsafe, unsafe(path)})
      if (file.refusal.empty()) file.refusal = reason;
    files_.push_back(std::move(file));
  }
}

/// What came with hyperhost is not replaced by a file that calls itself the same.
bool PluginRegistry::better(const PluginFile& a, const PluginFile& b) {
  const bool own = a.origin == kBuiltIn;
  if (own != (b.origin == kBuiltIn)) return own;
  return version_key(b.version) < version_key(a.version);
}

void PluginRegistry::choose() {
  std::map<std::string, PluginFile*> best;
  for (PluginFile& file : files_) {
    if (!file.refusal.empty()) continue;
    PluginFile*& chosen = best[file.id];
    if (chosen == nullptr || better(file, *chosen)) chosen = &file;
  }
  for (PluginFile& file : files_) {
    if (!file.refusal.empty()) continue;
    file.chosen = best[file.id] == &file;
    file.superseded = !file.chosen;
    if (file.chosen) continue;
    const PluginFile& used = *best[file.id];
    file.shadows = used.origin == kBuiltIn && file.origin != kBuiltIn;
    file.refusal = file.shadows ? "'" + file.id + "' is a plugin of hyperhost's own; write " +
                                      file.id + "@" + file.version + " to use this one"
                                : "version " + used.version + " in " + used.path + " is used";
  }
}

const PluginFile* PluginRegistry::find(const std::string& reference) const {
  const std::string id = plugin_id(reference);
  if (id.size() == reference.size()) {
    for (const PluginFile& file : files_)
      if (file.chosen && file.id == id) return &file;
    return nullptr;
  }
  const std::string version = reference.substr(id.size() + 1);
  const PluginFile* best = nullptr;
  for (const PluginFile& file : files_) {
    if (file.id != id || !(file.chosen || file.superseded) || !is_version(file.version, version))
      continue;
    const auto newer = [&] {
      const auto mine = version_key(file.version), its = version_key(best->version);
      return its < mine || (its == mine && better(file, *best));
    };
    if (best == nullptr || newer()) best = &file;
  }
  return best;
}

void PluginRegistry::isolate(const std::string& id, Isolation isolation) {
  const std::lock_guard lock(mutex_);
  Isolation& decided = isolation_[id];
  decided = std::max(decided, isolation);
}

void PluginRegistry::confine(const std::string& id, Confine how) {
  const std::lock_guard lock(mutex_);
  Confine& decided = confine_.try_emplace(id, how).first->second;
  decided = std::max(decided, how);
}

Confine PluginRegistry::confine_of(const PluginFile& file) const {
  const auto decided = confine_.find(file.id);
  if (only_runs_guests(file)) return decided != confine_.end() ? decided->second : default_confine_;
  if (decided != confine_.end() && decided->second == Confine::kRequired)
    throw Error(Code::kConfig, "the process of plugin '" + file.id + "' cannot be confined",
                "it is no plugin that only prepares or boots guests", "leave confine out");
  return Confine::kOff;
}

void PluginRegistry::limit_memory(const std::string& id, uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  uint64_t& limit = memory_.try_emplace(id, default_memory_.value_or(0)).first->second;
  if (limit == 0 || bytes < limit) limit = bytes;
}

void PluginRegistry::memory_of(const std::string& id, uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  memory_[id] = bytes;
}

Isolation PluginRegistry::isolation_of(const PluginFile& file) const {
  const std::lock_guard lock(mutex_);
  const auto decided = isolation_.find(file.id);
  if (decided != isolation_.end() && decided->second != Isolation::kAuto) return decided->second;
  if (default_isolation_ != Isolation::kAuto) return default_isolation_;
  return file.origin == kBuiltIn && !runs_guests(file) ? Isolation::kNone : Isolation::kProcess;
}

std::vector<std::string> PluginRegistry::ids_with(const std::string& iface) const {
  std::vector<std::pair<int, std::string>> found;  // sorts with the most preferred first
  for (const PluginFile& file : files_) {
    if (!file.chosen) continue;
    const auto& names = file.manifest["interfaces"];
    if (std::find(names.begin(), names.end(), iface) != names.end())
      found.emplace_back(-file.offers.preference_of(iface), file.id);
  }
  std::sort(found.begin(), found.end());
  std::vector<std::string> ids;
  for (auto& [unused, id] : found) ids.push_back(std::move(id));
  return ids;
}

std::string PluginRegistry::default_for(const std::string& iface) const {
  const auto ids = ids_with(iface);
  if (ids.empty())
    throw Error(Code::kNotFound, "no plugin offers " + iface, "",
                "hyperhost plugins list shows what there is, and why one is not used");
  return ids.front();
}

std::string PluginRegistry::storage_for(const std::string& scheme) const {
  if (const auto found = preferred_storage_.find(scheme); found != preferred_storage_.end())
    return found->second;
  std::vector<std::string> claimants, forms;
  for (const PluginFile& file : files_) {
    if (!file.chosen) continue;
    if (file.offers.destination(scheme) != nullptr) claimants.push_back(file.id);
    for (const Destination& one : file.offers.destinations) forms.push_back(one.form);
  }
  if (claimants.size() == 1) return claimants.front();
  std::sort(claimants.begin(), claimants.end());
  std::sort(forms.begin(), forms.end());
  const auto list = [](const std::vector<std::string>& texts, const char* between) {
    std::string out;
    for (const std::string& text : texts) out += (out.empty() ? "" : between) + text;
    return out;
  };
  if (claimants.empty())
    throw Error(Code::kConfig, "no plugin stores to " + scheme + "://", "",
                forms.empty() ? "no plugin here stores anything" : "known: " + list(forms, ", "));
  throw Error(Code::kConfig,
              scheme + ":// is claimed by the plugins '" + list(claimants, "' and '") + "'", "",
              "name one in the plan, storage: {plugin: " + claimants.front() +
                  "}, or in hyperhost.yaml, storage: {" + scheme +
                  ": {plugin: " + claimants.front() + "}}");
}

Plugin& PluginRegistry::load(const std::string& reference) {
  const PluginFile* file = find(reference);
  if (file == nullptr) not_found(reference);
  const Isolation isolation = isolation_of(*file);
  const std::lock_guard lock(mutex_);
  if (const auto found = loaded_.find(file->path); found != loaded_.end()) return *found->second;
  const bool apart = isolation == Isolation::kProcess;
  spdlog::debug("loading plugin {} {} from {}{}", file->id, file->version, file->path,
                apart ? " in a process of its own" : "");
  if (file->shadows)
    spdlog::warn("plugin {} {} from {} is used instead of the one that came with hyperhost",
                 file->id, file->version, file->path);
  if (!apart) return *(loaded_[file->path] = Plugin::load(file->path, file->id));
  const auto limit = memory_.find(file->id);
  const uint64_t memory = limit != memory_.end() ? limit->second
                          : default_memory_      ? *default_memory_
                                                 : half_of_memory(runs_guests(*file));
  isolation::WorkerSettings settings{memory, environment_of(file->manifest), {}};
  if (const Confine how = confine_of(*file); how != Confine::kOff)
    settings.confinement = {true, how == Confine::kRequired,
                            isolation::worker_user(confined_user_)};
  return *(loaded_[file->path] =
               isolation::load_isolated(file->path, file->id, std::move(settings)));
}

void PluginRegistry::not_found(const std::string& reference) const {
  const std::string id = plugin_id(reference);
  std::string versions;
  for (const PluginFile& file : files_)
    if (file.id == id && (file.chosen || file.superseded))
      versions += (versions.empty() ? "" : ", ") + file.version;
  if (!versions.empty())
    throw Error(Code::kNotFound, "there is no plugin '" + reference + "'", "",
                "versions of " + id + " that there are: " + versions);
  for (const PluginFile& refused : files_)
    if (refused.id == id)
      throw Error(Code::kUnsupported, "plugin '" + id + "' (" + refused.path + ") is refused",
                  refused.refusal);
  std::vector<std::string> ids;
  for (const PluginFile& other : files_)
    if (other.chosen) ids.push_back(other.id);
  std::string where;
  for (const SearchDir& dir : dirs_) where += (where.empty() ? "" : ", ") + dir.path;
  throw Error(Code::kNotFound, "there is no plugin '" + id + "'", "looked in " + where,
              suggest(id, ids));
}

}  // namespace hyperhost
