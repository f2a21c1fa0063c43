// SPDX-License-Identifier: Apache-2.0
#include "plugins/converter/qemu-img/settings.hpp"

namespace hyperhost::qemu_img {

Settings read_settings(const hyper::Doc& config) {
  Settings settings;
  settings.qemu_img = config.string("/qemu_img", settings.qemu_img);
  settings.qemu_nbd = config.string("/qemu_nbd", settings.qemu_nbd);
  settings.cache = config.string("/cache", settings.cache);
  settings.out_of_order = config.boolean("/out_of_order", settings.out_of_order);
  const int64_t coroutines = config.integer("/coroutines", settings.coroutines);
  settings.subformat = config.string("/subformat");
  settings.preallocation = config.string("/preallocation");
  settings.check_source = config.boolean("/check_source", settings.check_source);

  if (settings.cache != "unsafe" && settings.cache != "writeback" && settings.cache != "none")
    throw hyper::Error(HYPER_CONFIG, "cache is none of unsafe, writeback and none").at("/cache");
  if (coroutines < 1 || coroutines > 16)
    throw hyper::Error(HYPER_CONFIG, "coroutines is not a number from 1 to 16").at("/coroutines");
  settings.coroutines = static_cast<int>(coroutines);
  return settings;
}

}  // namespace hyperhost::qemu_img
