// SPDX-License-Identifier: Apache-2.0
// DiskTransfer's part of a preparation: the view that plugins write to, which is kept for a later
// run from the end of the preparation to the end of the VM.
#include <filesystem>
#include <utility>

#include "core/base/json_text.hpp"
#include "core/base/random_id.hpp"
#include "core/migrate/disk_transfer.hpp"

namespace hyperhost {
namespace {

/// Of a kept view, by what a record says of it.
std::filesystem::path view_file(const nlohmann::json& kept) {
  return std::filesystem::path(text_of(kept, "where")) / text_of(kept, "ref");
}

}  // namespace

std::shared_ptr<SourceHandle> DiskTransfer::open_image(const OpenSource& open,
                                                       const std::filesystem::path& directory,
                                                       Operation& op) {
  delivered_ = begin(open);
  decoded_by_.clear();
  std::shared_ptr<SourceHandle> disk = staged(delivered_, directory, op);
  if (route_.disk.blank) return disk;
  const ImageReaders& images = session_.images();
  if (result_.source_format.empty())
    result_.source_format = images.detect(*disk, route_.disk.id, op);
  return images.open(disk, result_.source_format, {}, op, decoded_by_);
}

std::shared_ptr<Overlay> DiskTransfer::open_view(const OpenSource& open,
                                                 const std::filesystem::path& directory,
                                                 bool keepable, Operation& op) {
  std::shared_ptr<SourceHandle> disk = open_image(open, directory, op);
  const auto& place = job_.staging_dir.empty() ? directory : job_.staging_dir;
  view_ = keepable ? Overlay::keepable(std::move(disk), place, op)
                   : Overlay::scratch(std::move(disk), place);
  return view_;
}

nlohmann::json DiskTransfer::keep_view(const std::filesystem::path& directory, Operation& op) {
  const auto& place = job_.staging_dir.empty() ? directory : job_.staging_dir;
  const std::string name = "." + route_.file_name + kOverlayMark + random_id();
  view_file_ = std::make_unique<OverlayEntry>(session_.services().journal, place / name);
  view_->keep(view_file_->file());
  return {{"where", place.string()}, {"ref", name}, {"digest", view_->digest(op)}};
}

bool DiskTransfer::adopt_view(const OpenSource& open, const std::filesystem::path& directory,
                              const nlohmann::json& kept, Operation& op) {
  std::shared_ptr<SourceHandle> disk = open_image(open, directory, op);
  const std::filesystem::path file = view_file(kept);
  std::error_code unreadable;
  if (!std::filesystem::exists(file, unreadable)) return false;
  view_file_ = std::make_unique<OverlayEntry>(session_.services().journal, file);
  try {
    view_ = Overlay::kept(std::move(disk), file, op);
  } catch (const Error& failure) {
    if (failure.code() != Code::kCorrupt && failure.code() != Code::kConfig &&
        failure.code() != Code::kUnsupported)
      throw;
    return false;
  }
  return view_->digest(op) == text_of(kept, "digest");
}

void DiskTransfer::take_changes(Operation& op) {
  changes_ = ChangeList{view_->length(), {}, {}, changed_blocks(*view_, op)};
  result_.changed_blocks = changes_->blocks.size();
  result_.changed_bytes = changes_->bytes();
  result_.changes_file = route_.file_name.substr(0, route_.file_name.rfind('.')) + ".changes";
}

std::string DiskTransfer::changes_text() const {
  if (!changes_) return {};
  ChangeList list = *changes_;
  list.source_digest = result_.source_digest;
  list.digest = result_.source_digest.empty() ? "" : result_.digest;
  return format_changes(list);
}

std::shared_ptr<SourceHandle> DiskTransfer::viewed(const std::filesystem::path& directory,
                                                   Operation& op) {
  std::shared_ptr<SourceHandle> image = open_block_source(std::exchange(view_, nullptr));
  if (route_.needs_file) image = as_file(image, directory, op);
  std::string plugins;
  for (const PluginChoice& one : job_.guest_plugins)
    plugins += (plugins.empty() ? "" : ", ") + one.plugin;
  result_.notes.push_back("prepared by " + plugins + ": " + std::to_string(result_.changed_blocks) +
                          " blocks of 1 MiB changed");
  return image;
}

bool DiskTransfer::drop_view() {
  view_.reset();
  return std::exchange(view_file_, nullptr) != nullptr;
}

void discard_views(Session& session, const ResumeRecord& record) {
  const nlohmann::json views =
      record.token.is_object() ? record.token.value("views", nlohmann::json()) : nlohmann::json();
  if (!views.is_object()) return;
  for (const nlohmann::json& kept : views) {
    if (text_of(kept, "ref").find(kOverlayMark) == std::string::npos) continue;
    const OverlayEntry removed(session.services().journal, view_file(kept));
  }
}

}  // namespace hyperhost
