// SPDX-License-Identifier: Apache-2.0
// A guest's files in memory. One thread.
#pragma once

#include <functional>
#include <map>
#include <set>

#include "plugins/guest/guestfs/guest_files.hpp"

namespace hyperhost::guestfs {

/// Files by path. Its programs list and make initramfs images as the real ones do: an image is the
/// text of the modules in it.
class MemoryGuest final : public GuestFiles {
 public:
  std::map<std::string, std::string> files;
  std::vector<std::string> commands;
  std::function<void(const std::vector<std::string>&)> on_run;
  uint64_t free = 1u << 30;

  bool is_file(const std::string& path) override { return files.count(path) != 0; }
  bool is_directory(const std::string& path) override {
    const auto at = files.lower_bound(path + "/");
    return at != files.end() && at->first.compare(0, path.size() + 1, path + "/") == 0;
  }
  std::optional<std::string> read(const std::string& path) override {
    const auto at = files.find(path);
    return at == files.end() ? std::nullopt : std::optional(at->second);
  }
  std::vector<std::string> list(const std::string& directory) override {
    std::set<std::string> names;
    for (const auto& [path, content] : files)
      if (path.compare(0, directory.size() + 1, directory + "/") == 0)
        names.insert(path.substr(directory.size() + 1,
                                 path.find('/', directory.size() + 1) - directory.size() - 1));
    return {names.begin(), names.end()};
  }
  std::string read_part(const std::string& path, uint64_t offset, uint64_t most) override {
    return files.at(path).substr(offset, most);
  }
  uint64_t size(const std::string& path) override { return files.at(path).size(); }
  uint64_t free_bytes(const std::string&) override { return free; }
  std::string digest(const std::string& path) override {
    return is_file(path) ? "sha256:" + files[path] : "";
  }
  void write(const std::string& path, const std::string& content) override {
    files[path] = content;
  }
  void remove(const std::string& path) override { files.erase(path); }
  void copy(const std::string& from, const std::string& to) override { files[to] = files.at(from); }
  std::string run(const std::vector<std::string>& command) override {
    std::string line;
    for (const std::string& word : command) line += (line.empty() ? "" : " ") + word;
    commands.push_back(line);
    if (command[0].compare(0, 2, "ls") == 0) return files.at(command[1]);
    if (on_run) on_run(command);
    return {};
  }
};

}  // namespace hyperhost::guestfs
