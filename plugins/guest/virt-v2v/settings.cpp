// SPDX-License-Identifier: Apache-2.0
#include "plugins/guest/virt-v2v/settings.hpp"

namespace hyperhost::virt_v2v {

Settings read_settings(const hyper::Doc& options) {
  Settings settings;
  const auto path = [&](const char* option, std::string& into) {
    const std::string text = options.string(option);
    if (text.empty()) return;
    if (text.front() != '/')
      throw hyper::Error(HYPER_CONFIG, "the path is not absolute", text).at(option);
    into = text;
  };
  path("/virtio_win", settings.virtio_win);
  path("/virt_tools", settings.virt_tools);
  path("/scratch_dir", settings.scratch_dir);
  settings.program = options.string("/program");
  settings.emulate = options.string("/accel") == "tcg";
  const int64_t timeout = options.integer("/timeout_seconds", settings.timeout_s);
  if (timeout < 60 || timeout > 86400)
    throw hyper::Error(HYPER_CONFIG, "the time is not 60 to 86400 seconds").at("/timeout_seconds");
  settings.timeout_s = static_cast<int>(timeout);
  options.at("/keys").each_member("", [&](const std::string& id, const hyper::Doc& key) {
    // ID:file:PATH is how virt-v2v reads it.
    if (id.empty() || id.find(':') != std::string::npos)
      throw hyper::Error(HYPER_CONFIG, "a key's name is empty or has a colon", id).at("/keys");
    settings.keys[id] = key.string();
  });
  const std::string root = options.string("/root", settings.root);
  if (root != "first" && root != "single" && root.rfind("/dev/", 0) != 0)
    throw hyper::Error(HYPER_CONFIG, "root is none of first, single and /dev/…", root).at("/root");
  settings.root = root;
  return settings;
}

}  // namespace hyperhost::virt_v2v
