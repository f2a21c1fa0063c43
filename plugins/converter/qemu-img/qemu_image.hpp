// SPDX-License-Identifier: Apache-2.0
// hyper.image/1: what is in an image, as QEMU sees it. probe() by qemu-img info, open() by a
// qemu-nbd of its own. Only for sources that are local files. Stateless; any thread.
#ifndef HYPERHOST_QEMU_IMG_QEMU_IMAGE_HPP
#define HYPERHOST_QEMU_IMG_QEMU_IMAGE_HPP

#include <hyper/interfaces.hpp>
#include <memory>
#include <string>

namespace hyperhost::qemu_img {

struct QemuImage {
  static std::string probe(const hyper::Doc& config, hyper::Op op, hyper::SourceRef source);
  static std::unique_ptr<hyper::Source> open(const hyper::Doc& config, hyper::Op op,
                                             hyper::SourceRef source, const hyper::Doc& request);
};

}  // namespace hyperhost::qemu_img

#endif
