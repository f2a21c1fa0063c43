// SPDX-License-Identifier: Apache-2.0
#include "plugins/converter/qemu-img/qemu_converter.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "plugins/converter/qemu-img/conversion_request.hpp"
#include "plugins/converter/qemu-img/image_header.hpp"
#include "plugins/converter/qemu-img/image_query.hpp"
#include "plugins/converter/qemu-img/image_spec.hpp"
#include "plugins/converter/qemu-img/vmdk_descriptor.hpp"

namespace hyperhost::qemu_img {
namespace {

/// "    (12.34/100%)" of `convert -p`, in bytes of total; nothing for other lines.
void report_progress(hyper::Op op, std::string_view line, uint64_t total) {
  const std::size_t open = line.find('(');
  if (open == std::string_view::npos || line.find("/100%)") == std::string_view::npos) return;
  const double percent = std::strtod(std::string(line.substr(open + 1)).c_str(), nullptr);
  const double share = std::clamp(percent / 100.0, 0.0, 1.0);
  op.progress(std::min(total, static_cast<uint64_t>(share * static_cast<double>(total))), total,
              "convert");
}

std::string text_of(const nlohmann::json& document) {
  return document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// The image just written, looked at from outside: intact and of the source's size.
void check_target(hyper::Op op, const Tool& tool, const FileView& target,
                  const ConversionRequest& request, uint64_t virtual_size,
                  std::vector<std::string>& notes) {
  const std::string spec = image_spec(target, request.target_format);
  if (request.checkable) check_image(op, tool, spec, request.target_format, target);
  const uint64_t size = query_info(op, tool, spec, target.shown()).virtual_size;
  const std::string sizes =
      std::to_string(size) + " bytes instead of " + std::to_string(virtual_size);
  if (size < virtual_size)
    throw hyper::Error(HYPER_CORRUPT, target.shown() + " came out with a disk of " + sizes);
  if (size > virtual_size)
    notes.push_back("the format rounds sizes up: the target's disk has " + sizes);
}

uint64_t file_length(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0)
    throw hyper::errno_error(errno, "cannot look at the file just written, \"" + path + "\"");
  return static_cast<uint64_t>(info.st_size);
}

}  // namespace

std::unique_ptr<QemuConverter> QemuConverter::open(const hyper::Doc& config, hyper::Op op) {
  Settings settings = read_settings(config);
  Tool tool(op, settings.qemu_img, "/qemu_img");
  return std::make_unique<QemuConverter>(std::move(settings), std::move(tool));
}

std::string QemuConverter::plan(hyper::Op, const hyper::Doc& asked) {
  const ConversionRequest request = parse_request(asked.json(), settings_);
  nlohmann::json document{{"source", "file"}, {"sink", {"path"}}, {"digest", false}, {"passes", 1}};
  if (!request.notes.empty()) document["notes"] = request.notes;
  return text_of(document);
}

std::string QemuConverter::convert(hyper::Op op, const hyper::Doc& asked, hyper::SourceRef source,
                                   hyper::SinkRef sink) {
  ConversionRequest request = parse_request(asked.json(), settings_);
  if (!source.can(HYPER_SOURCE_FILE))
    throw hyper::Error(HYPER_UNSUPPORTED, "qemu-img reads local files only")
        .hint("let the host stage the disk first");
  if (!sink.can(HYPER_SINK_PATH))
    throw hyper::Error(HYPER_UNSUPPORTED, "qemu-img writes local files only");

  const FileView image(source.locate(op));
  std::string format = request.source_format;
  if (format.empty()) format = qemu_format(source.format());
  if (format.empty()) format = detect_format(image);
  if (format.empty()) format = "raw";
  const HeaderFacts facts = admit_image(image, format);
  const std::string spec = image_spec(image, format);
  const uint64_t virtual_size = query_info(op, tool_, spec, image.shown()).virtual_size;
  if (request.virtual_size && *request.virtual_size != virtual_size) {
    throw hyper::Error(HYPER_CORRUPT, image.shown() + " holds a disk of " +
                                          std::to_string(virtual_size) + " bytes, and " +
                                          std::to_string(*request.virtual_size) + " are announced");
  }
  if (facts.check_first && settings_.check_source) check_image(op, tool_, spec, format, image);

  const std::string target = sink.path();
  if (target.empty() || target.front() != '/')
    throw hyper::Error(HYPER_FAIL, "the sink's path is not absolute");
  std::vector<std::string> arguments{"convert", "-p", "-O", request.target_format};
  arguments.insert(arguments.end(), request.arguments.begin(), request.arguments.end());
  arguments.insert(arguments.end(),
                   {"-t", settings_.cache, "-m", std::to_string(settings_.coroutines)});
  if (settings_.cache == "none") arguments.insert(arguments.end(), {"-T", "none"});
  // Reading qcow2 into raw is fastest in order (measured).
  if (request.may_reorder && !(format == "qcow2" && request.target_format == "raw"))
    arguments.emplace_back("-W");
  arguments.insert(arguments.end(), {"--", spec, target});
  op.progress(0, virtual_size, "convert");
  const Outcome outcome = tool_.run(op, arguments, [&](std::string_view line) {
    report_progress(op, line, virtual_size);
  });
  if (!outcome.ok()) throw error_of(outcome, "qemu-img", "converting " + image.shown());

  if (request.target_format == "vmdk") neutralise_vmdk_name(target);
  check_target(op, tool_, FileView(whole_file(target)), request, virtual_size, request.notes);
  op.progress(virtual_size, virtual_size, "convert");
  nlohmann::json result{{"virtual_size", virtual_size}, {"bytes_written", file_length(target)}};
  if (!request.notes.empty()) result["notes"] = request.notes;
  return text_of(result);
}

}  // namespace hyperhost::qemu_img
