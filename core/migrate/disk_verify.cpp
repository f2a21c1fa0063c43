// SPDX-License-Identifier: Apache-2.0
// DiskTransfer's proof: of what the source says about itself, and that the written image is the
// source, byte for byte as a guest reads it.
#include <algorithm>

#include "core/base/random_id.hpp"
#include "core/base/text.hpp"
#include "core/disk/content.hpp"
#include "core/disk/copy.hpp"
#include "core/disk/zero_claims.hpp"
#include "core/migrate/conversion_manager.hpp"
#include "core/migrate/disk_transfer.hpp"

namespace hyperhost {
namespace {

const std::string kRaw = "raw";

std::string hex_range(uint64_t offset, uint64_t length) {
  return "guest bytes " + std::to_string(offset) + " to " + std::to_string(offset + length - 1);
}

std::string seed_text(uint64_t seed) {
  std::string bytes;
  for (int shift = 56; shift >= 0; shift -= 8) bytes += static_cast<char>(seed >> shift & 0xff);
  return to_hex(bytes);
}

/// From now on it has neither extents nor memory to lend: every byte goes through read_at.
void ignore_extents(SourceHandle& source) {
  source.out()->flags &= ~(HYPER_SOURCE_EXTENTS | HYPER_SOURCE_BORROW);
}

bool rereadable(const std::shared_ptr<SourceHandle>& source) {
  return source != nullptr && source->can(HYPER_SOURCE_SEEK);
}

}  // namespace

/// What was read whole, for a copy of it, needs no proof: no extents were believed.
void DiskTransfer::check_zeros(const SourceHandle& delivered, const SourceHandle& source,
                               Operation& op) {
  if (!route_.converted || route_.disk.blank) return;
  const uint64_t seed = random_seed();
  const auto sample = [&](const SourceHandle& from, const std::string& plugin) {
    const ZeroClaims zeros = check_zero_claims(from, plugin, seed, op);
    if (zeros.places == 0) return;
    result_.zero_bytes += zeros.bytes;
    result_.zero_places += zeros.places;
    result_.zero_seed = seed_text(seed);
  };
  if (!must_stage(delivered)) sample(delivered, provider_text());
  if (!decoded_by_.empty() && !route_.needs_file)
    sample(source, "image reader '" + decoded_by_ + "'");
}

/// A raw disk is as long as its description says, but for the rest of its last sector.
void DiskTransfer::check_length(uint64_t bytes) const {
  const uint64_t capacity = route_.disk.capacity_bytes;
  if (capacity == 0 || (bytes <= capacity && capacity - bytes < 512)) return;
  throw Error(Code::kCorrupt, provider_text() + " delivers " + std::to_string(bytes) +
                                  " bytes of a raw disk, and its description says " +
                                  std::to_string(capacity));
}

/// What an earlier attempt wrote is of the source as it was then, and so is its part of the digest:
/// a sample of it is compared with the source as it is now.
void DiskTransfer::check_resumed(const SourceHandle& source, const SourceHandle& target,
                                 Operation& op) {
  const uint64_t end = std::min({result_.resumed_bytes, source.length(), target.length()});
  const auto differs = sample_difference(source, target, end, random_seed(), op);
  if (!differs) return;
  throw Error(Code::kCorrupt,
              "the source has changed since the attempt that this one continues, and " +
                  provider_text() + " does not say so",
              "guest byte " + std::to_string(*differs) + " is another one now",
              "run the plan again: the disk begins from the front");
}

void DiskTransfer::add_proof(const std::string& level) {
  auto& proven = result_.proven;
  if (std::find(proven.begin(), proven.end(), level) == proven.end()) proven.push_back(level);
}

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
  const bool independent = job_.verify_export >= Verify::kIndependent;
  const auto target = session_.images().open(
      written, result_.target_format,
      independent ? ReaderChoice{"", converter} : ReaderChoice{converter, ""}, op,
      result_.verified_by);
  if (target->length() != result_.virtual_size)
    throw Error(Code::kCorrupt,
                "verification failed: the written image has " + std::to_string(target->length()) +
                    " guest-visible bytes instead of " + std::to_string(result_.virtual_size));
  const uint64_t passes = job_.verify_export == Verify::kSource ? 2 : 1;
  const auto on_bytes = [&](uint64_t done) {
    on_progress_(Stage::kVerify, done, passes * result_.virtual_size, false);
  };
  // With the leaves from before the preparation in place of its own, it is the source's digest.
  const bool both = changes_ && changes_->size == target->length();
  const ContentDigests digests =
      both ? content_digests(*target, changes_->blocks, op, hardware_threads(), on_bytes)
           : ContentDigests{content_digest(*target, op, hardware_threads(), on_bytes), {}};
  const std::string& digest = digests.own;
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
  if (result_.resumed_bytes != 0 && rereadable(source)) check_resumed(*source_image(), *target, op);
  result_.source_digest = digests.other;
  add_proof("target");
  if (result_.verified_by != plugin_id(converter)) add_proof("independent");
  result_.verify_duration = std::chrono::steady_clock::now() - begin;
}

/// Reads the source once more, by one thread and without a word of its extents: what it lied about,
/// what its parallel reads mixed up and what changed meanwhile makes another digest. A stream is
/// staged, since its image cannot be read otherwise.
void DiskTransfer::verify_source(const OpenSource& open, const std::filesystem::path& directory,
                                 Operation& op) {
  if (route_.disk.blank) {
    add_proof("source");
    return;
  }
  if (result_.digest.empty())
    throw Error(Code::kUnsupported,
                "converter '" + job_.converter.plugin +
                    "' computes no digest that a second read could be compared with",
                "", "use verify: independent or another converter");
  const std::string& first = changes_ ? result_.source_digest : result_.digest;
  if (first.empty())
    throw Error(Code::kUnsupported, "the digest of the disk before its preparation is not known",
                "", "use verify: independent, or a store that can be read back");
  const auto begin = std::chrono::steady_clock::now();
  std::shared_ptr<SourceHandle> again = open();
  if (again->can(HYPER_SOURCE_SEEK)) {
    ignore_extents(*again);
  } else {
    const auto& place = job_.staging_dir.empty() ? directory : job_.staging_dir;
    again = stage_source(*again, place.string(), route_.file_name, op, [](uint64_t) {});
  }
  std::string reader;
  const auto image = session_.images().open(again, result_.source_format, {}, op, reader);
  if (image->length() != result_.virtual_size)
    throw Error(Code::kCorrupt,
                "the disk has " + std::to_string(image->length()) +
                    " guest-visible bytes when it is read a second time, instead of " +
                    std::to_string(result_.virtual_size),
                provider_text());
  ignore_extents(*image);
  const std::string digest = content_digest(*image, op, 1, [&](uint64_t done) {
    on_progress_(Stage::kVerify, result_.virtual_size + done, 2 * result_.virtual_size, false);
  });
  if (digest != first)
    throw Error(Code::kCorrupt,
                provider_text() + " delivers another content when it is read a second time",
                "first " + first + ", then " + digest +
                    ": its extents are wrong, its reads are not thread-safe, or the disk changed",
                "hyperhost plugins check looks for such faults");
  add_proof("source");
  result_.verify_duration += std::chrono::steady_clock::now() - begin;
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
