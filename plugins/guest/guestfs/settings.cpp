// SPDX-License-Identifier: Apache-2.0
#include "plugins/guest/guestfs/settings.hpp"

namespace hyperhost::guestfs {
namespace {

int bounded(const hyper::Doc& options, const std::string& pointer, int otherwise, int least,
            int most) {
  const int64_t value = options.integer(pointer, otherwise);
  if (value < least || value > most)
    throw hyper::Error(HYPER_CONFIG, "an option is out of its bounds",
                       std::to_string(least) + " to " + std::to_string(most))
        .at(pointer);
  return static_cast<int>(value);
}

}  // namespace

Settings read_settings(const hyper::Doc& options) {
  Settings settings;
  settings.accel = options.string("/accel", settings.accel);
  if (settings.accel != "auto" && settings.accel != "kvm" && settings.accel != "tcg")
    throw hyper::Error(HYPER_CONFIG, "accel is none of auto, kvm and tcg").at("/accel");
  settings.memory_mib = bounded(options, "/memory_mib", settings.memory_mib, 512, 65536);
  settings.cpus = bounded(options, "/cpus", settings.cpus, 1, 64);
  settings.timeout_s = bounded(options, "/timeout_seconds", settings.timeout_s, 60, 86400);
  settings.remove_vmware_tools =
      options.boolean("/remove_vmware_tools", settings.remove_vmware_tools);
  settings.serial_console = options.boolean("/serial_console", settings.serial_console);
  settings.discard_hibernation =
      options.boolean("/discard_hibernation", settings.discard_hibernation);
  options.at("/keys").each_member(
      "", [&](const std::string& id, const hyper::Doc& key) { settings.keys[id] = key.string(); });
  settings.root = options.string("/root");
  return settings;
}

}  // namespace hyperhost::guestfs
