// SPDX-License-Identifier: Apache-2.0
// DiskTransfer's proof that the written image is the source, byte for byte as a guest reads it.
#include "core/disk/content.hpp"
#include "core/migrate/conversion_manager.hpp"
#include "core/migrate/disk_transfer.hpp"

namespace hyperhost {
namespace {

const std::string kRaw = "raw";

std::string hex_range(uint64_t offset, uint64_t length) {
  return "guest bytes " + std::to_string(offset) + " to " + std::to_string(offset + length - 1);
}

bool rereadable(const std::shared_ptr<SourceHandle>& source) {
  return source != nullptr && source->can(HYPER_SOURCE_SEEK);
}

}  // namespace

void DiskTransfer::verify(const std::shared_ptr<SourceHandle>& written,
                          const std::shared_ptr<SourceHandle>& source, Operation& op) {
  const auto begin = std::chrono::steady_clock::now();
  const std::string& converter = job_.converter.plugin;
  const auto source_image = [&] {
    std::string reader;
    const std::string& format = decoded_by_.empty() ? result_.source_format : kRaw;
    return session_.images().open(source, format, {}, op, reader);
  };
  if (result_.digest.empty()) {
    if (!rereadable(source))
      throw Error(Code::kUnsupported,
                  "converter '" + converter + "' computes no digest and the source is a stream",
                  "the result cannot be compared with it", "use verify: none or another converter");
    result_.digest = content_digest(*source_image(), op, hardware_threads());
  }
  const bool independent = job_.verify_export == Verify::kIndependent;
  const auto target = session_.images().open(
      written, result_.target_format,
      independent ? ReaderChoice{"", converter} : ReaderChoice{converter, ""}, op,
      result_.verified_by);
  if (target->length() != result_.virtual_size)
    throw Error(Code::kCorrupt,
                "verification failed: the written image has " + std::to_string(target->length()) +
                    " guest-visible bytes instead of " + std::to_string(result_.virtual_size));
  const std::string digest = content_digest(*target, op, hardware_threads(), [&](uint64_t done) {
    on_progress_(Stage::kVerify, done, result_.virtual_size, false);
  });
  if (digest != result_.digest) {
    std::string where = "the source is a stream, so the place is not known";
    if (rereadable(source)) {
      const auto difference =
          compare_content(*source_image(), *target, op, hardware_threads(), false);
      where = difference
                  ? "first difference at " + hex_range(difference->offset, difference->length)
                  : "the source no longer reads as it did during the conversion";
    }
    throw Error(Code::kCorrupt, "verification failed: the written image differs from the source",
                where + "; source " + result_.digest + ", written " + digest + ", read by " +
                    result_.verified_by);
  }
  result_.verify_duration = std::chrono::steady_clock::now() - begin;
}

void DiskTransfer::verify_named(Operation& op) {
  if (!job_.enable_conversion || job_.verify_export == Verify::kNone ||
      !result_.verified_by.empty())
    return;
  try {
    verify(store(op).get(op, route_.key), nullptr, op);
  } catch (const Error& failure) {
    if (failure.code() == Code::kCorrupt) store(op).remove(op, route_.key);
    throw;
  }
}

}  // namespace hyperhost
