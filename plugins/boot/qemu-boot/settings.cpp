// SPDX-License-Identifier: Apache-2.0
#include "plugins/boot/qemu-boot/settings.hpp"

#include <algorithm>

namespace hyperhost::qemu_boot {

Settings read_settings(const hyper::Doc& options) {
  Settings out;
  const auto size = [&](const char* name, int64_t otherwise) {
    return static_cast<uint64_t>(std::max<int64_t>(0, options.integer(name, otherwise)));
  };
  const auto count = [&](const char* name, int64_t otherwise) {
    return static_cast<unsigned>(std::clamp<int64_t>(options.integer(name, otherwise), 1, 64));
  };
  out.qemu = options.string("/qemu", out.qemu);
  out.swtpm = options.string("/swtpm", out.swtpm);
  out.accel = options.string("/accel", out.accel);
  out.max_memory = std::max<uint64_t>(size("/max_memory", int64_t{2} << 30), uint64_t{64} << 20);
  out.max_cpus = count("/max_cpus", 2);
  out.parallel = count("/parallel", 1);
  out.max_written = size("/max_written", int64_t{4} << 30);
  out.stop_timeout_ms = size("/stop_timeout", int64_t{60} * 1'000'000'000) / 1'000'000;
  options.each("/expect", [&](const hyper::Doc& one) { out.expect.push_back(one.string()); });
  return out;
}

}  // namespace hyperhost::qemu_boot
