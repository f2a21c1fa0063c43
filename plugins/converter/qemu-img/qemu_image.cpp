// SPDX-License-Identifier: Apache-2.0
#include "plugins/converter/qemu-img/qemu_image.hpp"

#include <nlohmann/json.hpp>

#include "plugins/converter/qemu-img/image_header.hpp"
#include "plugins/converter/qemu-img/image_query.hpp"
#include "plugins/converter/qemu-img/image_spec.hpp"
#include "plugins/converter/qemu-img/nbd_source.hpp"
#include "plugins/converter/qemu-img/settings.hpp"

namespace hyperhost::qemu_img {

std::string QemuImage::probe(const hyper::Doc& config, hyper::Op op, hyper::SourceRef source) {
  if (!source.can(HYPER_SOURCE_FILE)) return {};
  const FileView image(source.locate(op));
  const std::string format = detect_format(image);
  if (format.empty()) return {};
  nlohmann::json document{{"format", plain_format(format)}};
  // What is refused or damaged is still what it is; open() says what is wrong with it.
  try {
    static_cast<void>(admit_image(image, format));
  } catch (const hyper::Error&) {
    return document.dump();
  }
  const Tool tool(op, read_settings(config).qemu_img, "/qemu_img");
  const ImageInfo info = query_info(op, tool, image_spec(image, format), image.shown());
  document["virtual_size"] = info.virtual_size;
  if (!info.subformat.empty()) document["subformat"] = info.subformat;
  return document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::unique_ptr<hyper::Source> QemuImage::open(const hyper::Doc& config, hyper::Op op,
                                               hyper::SourceRef source, const hyper::Doc& request) {
  // Before the source is looked at: a host may ask with any source whether this can work at all.
  const Settings settings = read_settings(config);
  const Tool qemu_img(op, settings.qemu_img, "/qemu_img");
  const Tool qemu_nbd(op, settings.qemu_nbd, "/qemu_nbd");
  auto listener = std::make_unique<Listener>();
  if (!source.can(HYPER_SOURCE_FILE))
    throw hyper::Error(HYPER_UNSUPPORTED, "qemu-nbd reads local files only")
        .hint("let the host stage the image, or read it with the plugin parallel-disk");
  const FileView image(source.locate(op));
  const std::string wanted = request.string("/format");
  std::string format = qemu_format(wanted);
  if (!wanted.empty() && format.empty())
    throw hyper::Error(HYPER_UNSUPPORTED, "qemu-nbd is not used for the format \"" + wanted + "\"");
  if (format.empty()) format = qemu_format(source.format());
  if (format.empty()) format = detect_format(image);
  if (format.empty()) format = "raw";
  const HeaderFacts facts = admit_image(image, format);
  const std::string spec = image_spec(image, format);

  // qemu-nbd's own words go to the log only, so what it would fail at is found out here.
  const ImageInfo info = query_info(op, qemu_img, spec, image.shown());
  if (facts.check_first && settings.check_source) check_image(op, qemu_img, spec, format, image);
  return std::make_unique<NbdSource>(op, std::move(listener), qemu_nbd, spec, image.shown(),
                                     info.virtual_size);
}

}  // namespace hyperhost::qemu_img
