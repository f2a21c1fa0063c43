// SPDX-License-Identifier: Apache-2.0
// hyper.converter/1 by `qemu-img convert`: reads a local file in place (a member of an archive as
// well), writes the sink's temporary file. Immutable; any number of conversions at once.
#ifndef HYPERHOST_QEMU_IMG_QEMU_CONVERTER_HPP
#define HYPERHOST_QEMU_IMG_QEMU_CONVERTER_HPP

#include <hyper/interfaces.hpp>
#include <memory>
#include <string>

#include "plugins/converter/qemu-img/settings.hpp"
#include "plugins/converter/qemu-img/tool.hpp"

namespace hyperhost::qemu_img {

class QemuConverter final : public hyper::ConverterInstance {
 public:
  /// Throws here, before anything is begun, if qemu-img is missing or too old.
  static std::unique_ptr<QemuConverter> open(const hyper::Doc& config, hyper::Op op);
  QemuConverter(Settings settings, Tool tool)
      : settings_(std::move(settings)), tool_(std::move(tool)) {}

  std::string plan(hyper::Op op, const hyper::Doc& asked) override;
  std::string convert(hyper::Op op, const hyper::Doc& asked, hyper::SourceRef source,
                      hyper::SinkRef sink) override;

 private:
  Settings settings_;
  Tool tool_;
};

}  // namespace hyperhost::qemu_img

#endif
