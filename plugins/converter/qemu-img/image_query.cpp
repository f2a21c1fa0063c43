// SPDX-License-Identifier: Apache-2.0
#include "plugins/converter/qemu-img/image_query.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace hyperhost::qemu_img {
namespace {
// Exit statuses of `qemu-img check` (qemu-img(1)).
constexpr int kFailed = 1, kCorrupt = 2, kLeaks = 3, kNoSuchCheck = 63;

/// Where in the file the bytes end that a line of `qemu-img map --output=json` names; 0 if nowhere.
uint64_t mapped_end(std::string_view line) {
  const std::size_t begin = line.find('{'), end = line.rfind('}');
  if (begin == std::string_view::npos || end == std::string_view::npos) return 0;
  const auto extent = nlohmann::json::parse(line.substr(begin, end - begin + 1), nullptr, false);
  const auto number = [&](const char* key) -> uint64_t {
    const auto found = extent.find(key);
    return found != extent.end() && found->is_number_unsigned() ? found->get<uint64_t>() : 0;
  };
  if (!extent.is_object() || !extent.value("data", false) || !extent.contains("offset")) return 0;
  return number("offset") + number("length");
}

/// What was cut off behind the last cluster's beginning is no error to qemu-img check: an image may
/// end there, behind its last compressed bytes, its last subcluster or the end of the disk. Only
/// where it does, the map is asked whether the guest sees bytes that are gone.
void check_end(hyper::Op op, const Tool& tool, const std::string& spec, const FileView& image,
               const std::string& checked) {
  const auto report = nlohmann::json::parse(checked, nullptr, false);
  if (!report.is_object() || report.value("image-end-offset", uint64_t{0}) <= image.length())
    return;
  uint64_t end = 0;
  const Outcome outcome =
      tool.run(op, {"map", "--output=json", "--", spec},
               [&](std::string_view line) { end = std::max(end, mapped_end(line)); });
  if (!outcome.ok()) throw error_of(outcome, "qemu-img", "mapping " + image.shown());
  if (end > image.length())
    throw hyper::Error(HYPER_CORRUPT,
                       image.shown() + " is truncated: it has " + std::to_string(image.length()) +
                           " bytes and its last cluster reaches to " + std::to_string(end))
        .hint("get the file again and compare its checksum");
}

}  // namespace

ImageInfo query_info(hyper::Op op, const Tool& tool, const std::string& spec,
                     const std::string& shown) {
  const Outcome outcome = tool.run(op, {"info", "--output=json", "--", spec});
  if (!outcome.ok()) throw error_of(outcome, "qemu-img", "opening " + shown);
  try {
    const auto document = nlohmann::json::parse(outcome.out);
    if (document.contains("backing-filename") || document.contains("full-backing-filename"))
      throw hyper::Error(HYPER_UNSUPPORTED, shown + " names a backing file and is refused");
    ImageInfo info;
    info.virtual_size = document.at("virtual-size").get<uint64_t>();
    const auto specific = document.find("format-specific");
    if (specific != document.end() && specific->contains("data"))
      info.subformat = specific->at("data").value("create-type", "");
    return info;
  } catch (const nlohmann::json::exception& error) {
    throw hyper::Error(HYPER_FAIL, "cannot understand what qemu-img says of " + shown,
                       error.what());
  }
}

void check_image(hyper::Op op, const Tool& tool, const std::string& spec, const std::string& format,
                 const FileView& image) {
  const std::string shown = image.shown();
  const bool qcow2 = format == "qcow2";
  const Outcome outcome = tool.run(op, {"check", qcow2 ? "--output=json" : "-q", "--", spec});
  if (outcome.ok() || outcome.status == kLeaks || outcome.status == kNoSuchCheck) {
    if (qcow2) check_end(op, tool, spec, image, outcome.out);
    return;
  }
  // The VMDK driver calls a table that points beyond the end of the file a failed check.
  const std::string said = outcome.err + outcome.out;
  if (outcome.status == kCorrupt ||
      (outcome.status == kFailed && said.find("ERROR: cluster offset") != std::string::npos)) {
    throw hyper::Error(
        HYPER_CORRUPT,
        shown + " is damaged or truncated: qemu-img check finds errors in its tables",
        said.substr(0, 4096))
        .native(outcome.status)
        .hint("get the file again and compare its checksum");
  }
  throw error_of(outcome, "qemu-img", "checking " + shown);
}

}  // namespace hyperhost::qemu_img
