// SPDX-License-Identifier: Apache-2.0
// The plugin "qemu-img": hyper.converter/1 by qemu-img, hyper.image/1 by qemu-nbd.
#include <hyper/plugin.hpp>

#include "plugins/converter/qemu-img/qemu_converter.hpp"
#include "plugins/converter/qemu-img/qemu_image.hpp"

namespace {
struct QemuImg {
  using Interfaces = hyper::Interfaces<hyper::Converter<hyperhost::qemu_img::QemuConverter>,
                                       hyper::Image<hyperhost::qemu_img::QemuImage>>;
  static constexpr int32_t kThreads = HYPER_THREADS_PARALLEL;
};
}  // namespace

HYPER_PLUGIN(QemuImg)
