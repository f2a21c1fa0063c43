// SPDX-License-Identifier: Apache-2.0
// hyperhost convert, compare, verify: single disks, without a plan.
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>

#include "core/base/units.hpp"
#include "core/block/change_list.hpp"
#include "core/disk/content.hpp"
#include "core/disk/local_sources.hpp"
#include "core/migrate/conversion_manager.hpp"
#include "core/plan/plan_read.hpp"
#include "core/run/bind_plan.hpp"
#include "core/vm/manifest.hpp"
#include "hosts/hyperhost/context.hpp"
#include "hosts/hyperhost/disk_screen.hpp"
#include "hosts/hyperhost/single_disk.hpp"
#include "hosts/hyperhost/table.hpp"

namespace hyperhost {
namespace {

constexpr const char* kAllowBacking =
    "Read a qcow2 overlay through its backing files, which lie beside it";

int convert(Context& context, SingleDiskOptions options) {
  if (const ConfigValue* converter = context.host_config().defaults.find("converter"))
    options.host_converter = read_converter(*converter, "/converter");
  const DiskResult disk = [&] {
    DiskScreen screen(context, std::filesystem::path(options.output).filename().string());
    return convert_single_disk(
        context.registry(), options, context.cancel(),
        [&](Stage stage, uint64_t done, uint64_t total) { screen.progress(stage, done, total); });
  }();
  if (context.json()) {
    context.print_json(
        {{"path", disk.path},
         {"format", disk.target_format},
         {"bytes", disk.target_bytes},
         {"virtual_size", disk.virtual_size},
         {"content_digest", disk.digest},
         {"verified_by", disk.verified_by},
         {"source_format", disk.source_format},
         {"source_bytes", disk.source_bytes},
         {"staged", disk.staged},
         {"convert_seconds", std::chrono::duration<double>(disk.convert_duration).count()},
         {"verify_seconds", std::chrono::duration<double>(disk.verify_duration).count()},
         {"notes", disk.notes}});
    return kExitOk;
  }
  std::cout << disk.path << ": " << disk.target_format << ", " << human_bytes(disk.virtual_size)
            << " in " << human_bytes(disk.target_bytes) << ", "
            << human_duration(disk.convert_duration) << ", "
            << human_rate(disk.virtual_size, disk.convert_duration) << "\n";
  if (!disk.digest.empty()) std::cout << disk.digest << "\n";
  if (!disk.verified_by.empty())
    std::cout << "verified in " << human_duration(disk.verify_duration) << " (re-read by "
              << disk.verified_by << ")\n";
  for (const std::string& note : disk.notes) std::cout << "note: " << note << "\n";
  return kExitOk;
}

/// Any image, as a guest sees it; a package is refused, it would be taken for a raw disk.
std::unique_ptr<SourceHandle> open_disk(Session& session, const std::string& path,
                                        const std::string& format, const std::string& reader,
                                        Operation& op, std::string& used) {
  if (path.empty()) throw Error(Code::kConfig, "the name of an image is empty");
  std::unique_ptr<SourceHandle> file = open_file_source(path, "");
  if (format.empty() && is_package(*file, op))
    throw Error(Code::kUnsupported, path + " is a package (OVA or OVF) and no disk image", "",
                "name the image itself; hyperhost convert takes a disk out of a package");
  const std::string known = format.empty() ? detect_format(session, *file, path, op) : format;
  return session.images().open(std::move(file), known, {reader, ""}, op, used);
}

int compare(Context& context, const std::string& a, const std::string& b, bool strict,
            bool backing) {
  Session session(context.registry(), {});
  Operation op("compare", context.cancel());
  if (backing) allow_backing(session, context.registry(), op);
  std::string reader_a, reader_b;
  const auto left = open_disk(session, a, "", "", op, reader_a);
  const auto right = open_disk(session, b, "", "", op, reader_b);
  const auto difference = compare_content(*left, *right, op, hardware_threads(), !strict);
  if (context.json()) {
    nlohmann::json out = {
        {"identical", !difference}, {"size_a", left->length()}, {"size_b", right->length()}};
    if (difference) {
      out["reason"] = difference->reason;
      out["offset"] = difference->offset;
      out["length"] = difference->length;
    }
    context.print_json(out);
  } else if (!difference) {
    std::cout << "identical\n";
  } else {
    std::cout << "different (" << difference->reason << "): first at guest byte "
              << difference->offset << ", " << difference->length << " bytes\n";
  }
  return difference ? kExitDiffers : kExitOk;
}

struct Checked {
  std::string path, digest, expected, reader, problem;
  std::string source_digest;  ///< of the disk before its guest was prepared; "" = not looked at
  uint64_t virtual_size = 0;
  bool unreadable = false;
};

/// The list of what a preparation changed; nothing where the guest was not prepared. Throws Error
/// if it is not this disk's.
std::optional<ChangeList> changes_of(const ManifestDisk& disk, const std::string& image) {
  if (disk.changes.empty()) return std::nullopt;
  const auto path = std::filesystem::path(image).parent_path() / disk.changes;
  ChangeList list = read_changes(path);
  const bool known = list.digest.empty() || list.digest == disk.digest;
  if (!known || list.size != disk.virtual_size || list.source_digest != disk.source_digest)
    throw Error(Code::kCorrupt, "the list of changes " + path.string() + " is not of this disk");
  return list;
}

/// disk: as its manifest has it; empty of an image without one.
Checked check_image(Session& session, const std::string& path, const ManifestDisk& disk,
                    const std::string& reader, Operation& op) {
  const std::string& expected = disk.digest;
  Checked out{path, "", expected, "", "", "", 0, false};
  const auto changes = changes_of(disk, path);
  const auto image = open_disk(session, path, disk.format, reader, op, out.reader);
  if (!reader.empty() && out.reader != reader)  // asked for as a second opinion, not as a wish
    throw Error(Code::kUnsupported, "'" + reader + "' cannot read " + path);
  out.virtual_size = image->length();
  if (changes) {
    const ContentDigests both = content_digests(*image, changes->blocks, op, hardware_threads());
    out.digest = both.own;
    out.source_digest = both.other;
  } else {
    out.digest = content_digest(*image, op, hardware_threads());
  }
  const uint64_t virtual_size = disk.virtual_size;
  if (virtual_size != 0 && virtual_size != out.virtual_size)
    out.problem = "it has " + std::to_string(out.virtual_size) +
                  " guest-visible bytes instead of " + std::to_string(virtual_size);
  else if (!expected.empty() && expected != out.digest)
    out.problem = "its content is not what the manifest records (" + expected + ")";
  else if (changes && !disk.source_digest.empty() && disk.source_digest != out.source_digest)
    out.problem = "without the changed blocks it is not the source that the manifest records (" +
                  disk.source_digest + ")";
  return out;
}

int verify(Context& context, const std::vector<std::string>& paths, const std::string& reader,
           bool backing) {
  Session session(context.registry(), {});
  Operation op("verify", context.cancel());
  if (backing) allow_backing(session, context.registry(), op);
  nlohmann::json list = nlohmann::json::array();
  const auto readers = context.registry().ids_with(HYPER_IFACE_IMAGE);
  if (!reader.empty() && std::find(readers.begin(), readers.end(), reader) == readers.end()) {
    std::string known;
    for (const std::string& id : readers) known += (known.empty() ? "" : ", ") + id;
    throw Error(Code::kConfig, "--reader: no plugin '" + reader + "' reads images", "",
                "these do: " + known);
  }
  int status = kExitOk;
  const auto tell = [&](const Checked& one) {
    if (one.unreadable)
      status = kExitFailed;
    else if (!one.problem.empty() && status == kExitOk)
      status = kExitDiffers;
    if (context.json()) {
      list.push_back({{"path", one.path},
                      {"content_digest", one.digest},
                      {"expected", one.expected},
                      {"virtual_size", one.virtual_size},
                      {"reader", one.reader},
                      {"ok", one.problem.empty()},
                      {"problem", one.problem}});
      if (!one.source_digest.empty()) list.back()["source_digest"] = one.source_digest;
    } else if (!one.unreadable) {
      std::cout << one.path << ": "
                << (!one.problem.empty()   ? "DIFFERENT: " + one.problem
                    : one.expected.empty() ? "read whole"
                                           : "verified")
                << "\n  " << one.digest << "\n";
      if (!one.source_digest.empty())
        std::cout << "  before its guest was prepared:\n  " << one.source_digest << "\n";
    }
  };
  // One that cannot be read does not keep the others from being looked at.
  const auto attempt = [&](const std::string& path, const std::string& expected,
                           const std::function<void()>& work) {
    try {
      work();
    } catch (const Error& failure) {
      if (failure.code() == Code::kCancelled || failure.code() == Code::kConfig) throw;
      if (!context.json()) context.print({failure.diagnostic()});
      tell({path, "", expected, "", to_string(failure.diagnostic()), "", 0, true});
    }
  };
  const auto check = [&](const std::string& path, const ManifestDisk& disk) {
    attempt(path, disk.digest, [&] { tell(check_image(session, path, disk, reader, op)); });
  };
  const auto check_manifest = [&](const std::string& path) {
    for (const ManifestDisk& disk : read_manifest(path, session.images().formats())) {
      // Beside the manifest first: a set that was moved or copied is meant where it is now.
      std::string at = disk.path;
      const auto beside =
          std::filesystem::path(path).parent_path() / std::filesystem::path(disk.path).filename();
      if (std::filesystem::exists(beside)) at = std::filesystem::absolute(beside).string();
      if (disk.digest.empty())
        throw Error(Code::kUnsupported, path + ": disk " + disk.id + " has no content digest",
                    "it was migrated with verify: none");
      check(at, disk);
    }
  };
  for (const std::string& path : paths) {
    if (std::filesystem::path(path).extension() == ".json")
      attempt(path, "", [&] { check_manifest(path); });
    else
      check(path, {});
  }
  if (context.json()) context.print_json({{"ok", status == kExitOk}, {"images", list}});
  return status;
}

void add_convert(CLI::App& app, Context& context, int& status) {
  auto options = std::make_shared<SingleDiskOptions>();
  auto cluster = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand(
      "convert", "Convert one disk image; formats are found out from the content");
  command->add_option("IN", options->input, "The disk image, or an OVA or OVF")->required();
  command->add_option("OUT", options->output, "The new image")->required();
  command->add_option(
      "-O,--format", options->format,
      "Of OUT, one that a plugin writes: qcow2, raw, vmdk, vhd, vhdx, vdi … (default: "
      "by OUT's extension)");
  command->add_option("-f,--source-format", options->source_format,
                      "Of IN, where it must not be guessed");
  command->add_option("--disk", options->disk, "Of a package with several: disk-0, disk-1 …");
  command->add_option("--compression", options->compression, "Of the data in OUT")
      ->check(CLI::IsMember({"none", "zlib", "zstd", "keep"}))
      ->capture_default_str();
  command->add_option("--compression-level", options->compression_level,
                      "1 to 9 (zlib), 1 to 22 (zstd); qemu-img ignores it");
  command->add_option("--cluster-size", *cluster, "qcow2: e.g. 64KiB, 2MiB");
  command->add_option("--converter", options->converter,
                      "The converter plugin (default: the first that can, by preference)");
  command
      ->add_option("--verify", options->verify,
                   "Re-read OUT and compare: none, target, independent; source: re-read IN, too")
      ->check(CLI::IsMember({"none", "target", "independent", "source"}))
      ->capture_default_str();
  command->add_flag("--no-digest", options->no_digest,
                    "Do not compute the content digest (implies --verify none)");
  command
      ->add_option("--durability", options->durability,
                   "file: OUT is on the disk before it gets its name")
      ->check(CLI::IsMember({"none", "file"}))
      ->capture_default_str();
  command->add_flag("--deterministic", options->deterministic,
                    "The same input gives the same bytes");
  command->add_flag("--overwrite", options->overwrite, "Replace OUT if it exists");
  command->add_flag("--allow-backing", options->allow_backing, kAllowBacking);
  add_progress_option(*command, context);
  command->footer(
      "Examples:\n"
      "  hyperhost convert disk.vmdk disk.qcow2\n"
      "  hyperhost convert disk.vmdk disk.qcow2 --compression keep\n"
      "  hyperhost convert vm.ova disk.qcow2 --disk disk-0\n"
      "  hyperhost convert disk.qcow2 disk.raw --verify independent\n"
      "  hyperhost convert disk.raw disk.vhdx --converter qemu-img");
  command->callback([options, cluster, &context, &status] {
    if (!cluster->empty()) {
      const auto size = parse_size(*cluster);
      if (!size)
        throw Error(Code::kConfig, "--cluster-size: '" + *cluster + "' is no size", "",
                    "e.g. 64KiB");
      options->cluster_size = *size;
    }
    status = convert(context, *options);
  });
}

}  // namespace

void add_disk_commands(CLI::App& app, Context& context, int& status) {
  add_convert(app, context, status);

  struct Pair {
    std::string a, b;
    bool strict = false, backing = false;
  };
  auto pair = std::make_shared<Pair>();
  CLI::App* command =
      app.add_subcommand("compare", "Compare what a guest would read from two disk images");
  command->add_option("A", pair->a, "A disk image of any format")->required();
  command->add_option("B", pair->b, "Another")->required();
  command->add_flag("--strict", pair->strict,
                    "Images of different size differ, even if the rest is zero");
  command->add_flag("--allow-backing", pair->backing, kAllowBacking);
  command->footer(
      "Exit status: 0 identical, 5 different, 1 one could not be read.\n\n"
      "Example:\n  hyperhost compare disk.vmdk disk.qcow2");
  command->callback([pair, &context, &status] {
    status = compare(context, pair->a, pair->b, pair->strict, pair->backing);
  });

  struct VerifyOptions {
    std::vector<std::string> paths;
    std::string reader;
    bool backing = false;
  };
  auto options = std::make_shared<VerifyOptions>();
  command =
      app.add_subcommand("verify", "Read finished images again and compare with their manifest");
  command
      ->add_option("MANIFEST|IMAGE", options->paths,
                   "manifest.json of a migration, or images to print the digest of")
      ->required();
  command->add_option("--reader", options->reader, "The plugin that reads, e.g. qemu-img");
  command->add_flag("--allow-backing", options->backing, kAllowBacking);
  command->footer(
      "Examples:\n  hyperhost verify out/web-01/manifest.json\n  hyperhost verify disk.qcow2 "
      "--reader qemu-img");
  command->callback([options, &context, &status] {
    status = verify(context, options->paths, options->reader, options->backing);
  });
}

}  // namespace hyperhost
