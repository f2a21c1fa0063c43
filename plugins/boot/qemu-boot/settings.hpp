// SPDX-License-Identifier: Apache-2.0
// The plugin's options (manifest.json) as values. Immutable once read.
#ifndef HYPERHOST_QEMU_BOOT_SETTINGS_HPP
#define HYPERHOST_QEMU_BOOT_SETTINGS_HPP

#include <hyper/op.hpp>
#include <string>
#include <vector>

namespace hyperhost::qemu_boot {

struct Settings {
  std::string qemu = "qemu-system-x86_64";
  std::string swtpm = "swtpm";
  std::string accel = "auto";  ///< "auto", "kvm", "tcg"
  uint64_t max_memory = 0;     ///< bytes of a guest, at most
  unsigned max_cpus = 2;
  unsigned parallel = 1;         ///< guests at once
  uint64_t max_written = 0;      ///< bytes that a guest may write
  uint64_t stop_timeout_ms = 0;  ///< for a guest to power off
  std::vector<std::string> expect;
};

Settings read_settings(const hyper::Doc& options);

}  // namespace hyperhost::qemu_boot

#endif
