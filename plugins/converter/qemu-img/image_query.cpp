// SPDX-License-Identifier: Apache-2.0
#include "plugins/converter/qemu-img/image_query.hpp"

#include <nlohmann/json.hpp>

namespace hyperhost::qemu_img {
namespace {
// Exit statuses of `qemu-img check` (qemu-img(1)).
constexpr int kFailed = 1, kCorrupt = 2, kLeaks = 3, kNoSuchCheck = 63;
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

void check_image(hyper::Op op, const Tool& tool, const std::string& spec,
                 const std::string& shown) {
  const Outcome outcome = tool.run(op, {"check", "-q", "--", spec});
  if (outcome.ok() || outcome.status == kLeaks || outcome.status == kNoSuchCheck) return;
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
