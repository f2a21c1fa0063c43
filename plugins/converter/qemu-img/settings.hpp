// SPDX-License-Identifier: Apache-2.0
// The plugin's options (manifest.json) as values. Immutable once read.
#ifndef HYPERHOST_QEMU_IMG_SETTINGS_HPP
#define HYPERHOST_QEMU_IMG_SETTINGS_HPP

#include <hyper/op.hpp>
#include <string>

namespace hyperhost::qemu_img {

struct Settings {
  std::string qemu_img = "qemu-img";
  std::string qemu_nbd = "qemu-nbd";
  std::string cache = "unsafe";
  bool out_of_order = true;
  int coroutines = 16;
  std::string subformat;      ///< "" = the format's usual one
  std::string preallocation;  ///< "" = off
  bool check_source = true;
};

/// Checks the values again: they end up as arguments of a program.
Settings read_settings(const hyper::Doc& config);

}  // namespace hyperhost::qemu_img

#endif
