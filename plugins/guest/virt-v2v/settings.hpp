// SPDX-License-Identifier: Apache-2.0
// The plugin's options. Plain values.
#ifndef HYPERHOST_VIRT_V2V_SETTINGS_HPP
#define HYPERHOST_VIRT_V2V_SETTINGS_HPP

#include <hyper/doc.hpp>
#include <map>
#include <string>

namespace hyperhost::virt_v2v {

struct Settings {
  std::string program, scratch_dir;  ///< empty: looked for; chosen
  std::string virtio_win = "/usr/share/virtio-win", virt_tools = "/usr/share/virt-tools";
  bool emulate = false;
  int timeout_s = 7200;
  std::map<std::string, std::string> keys;  ///< passphrases, by what --key calls the disk
  std::string root = "first";
};

/// Throws hyper::Error(HYPER_CONFIG).
Settings read_settings(const hyper::Doc& options);

}  // namespace hyperhost::virt_v2v

#endif
