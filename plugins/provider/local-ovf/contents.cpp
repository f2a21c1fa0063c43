// SPDX-License-Identifier: Apache-2.0
#include "contents.hpp"

#include <algorithm>
#include <cstring>
#include <set>

#include <hyper/error.hpp>

#include "disk_binding.hpp"
#include "units.hpp"

namespace hyper::ovf {
namespace {

constexpr std::size_t kMaxRemarks = 100;

std::string read_text(const Piece& piece, uint64_t limit) {
  if (piece.length > limit)
    throw Error(HYPER_CORRUPT, in_quotes(piece.name) + " in " + in_quotes(piece.file->path()) +
                                   " has " + std::to_string(piece.length) +
                                   " bytes, which is absurdly large");
  std::string text(piece.length, '\0');
  Range({piece}).read(0, text.data(), text.size());
  return text;
}

class Loader {
 public:
  Loader(PackageKind kind, const std::string& path, bool verify)
      : verify_(verify), out_(std::make_shared<Contents>()) {
    out_->kind = kind;
    out_->path = path;
  }

  std::shared_ptr<const Contents> load() {
    if (out_->kind == PackageKind::kImage) {
      image();
    } else {
      if (out_->kind == PackageKind::kArchive)
        open_archive();
      else
        open_directory();
      descriptor();
    }
    return out_;
  }

 private:
  // --- the descriptor and its manifest ---

  void open_archive() {
    out_->package = Package::open_archive(out_->path);
    const std::vector<std::string> names = out_->package->names("ovf");
    if (names.empty())
      throw Error(HYPER_CORRUPT, in_quotes(out_->path) + " has no .ovf descriptor in it");
    ovf_name_ = names.front();
    if (names.size() > 1)
      warn("the archive has several descriptors; the first one, " + in_quotes(ovf_name_) +
           ", counts");
    if (!out_->package->end_marker())
      warn("the archive has no end marker: it may have been cut off");
  }

  void open_directory() {
    const std::string directory = directory_part(out_->path);
    out_->package = Package::open_directory(
        directory.size() > 1 ? directory.substr(0, directory.size() - 1) : directory);
    ovf_name_ = base_name(out_->path);
  }

  void descriptor() {
    base_ = directory_part(ovf_name_);
    std::optional<Piece> piece = out_->package->find(ovf_name_);
    if (!piece) throw Error(HYPER_NOTFOUND, in_quotes(out_->path) + " is not there any more");
    const std::string text = read_text(*piece, kMaxDescriptorBytes);
    read_manifest();
    check_descriptor(text);
    ovf_ = parse_ovf(text, ovf_name_);
    warnings_.insert(warnings_.end(), ovf_.warnings.begin(), ovf_.warnings.end());
    for (OvfVm& vm : ovf_.vms) {
      if (vm.name.empty()) vm.name = stem(out_->path);
      out_->vms.push_back(bind(std::move(vm)));
    }
    note_missing_entries();
    for (Vm& vm : out_->vms) {
      vm.warnings.insert(vm.warnings.begin(), warnings_.begin(), warnings_.end());
      vm.notes.insert(vm.notes.begin(), notes_.begin(), notes_.end());
      shorten(vm.warnings);
      shorten(vm.notes);
    }
  }

  void read_manifest() {
    const std::string plain = ovf_name_.substr(0, ovf_name_.size() - 4);
    std::optional<Piece> piece;
    for (const char* extension : {".mf", ".MF"})
      if (!piece) piece = out_->package->find(plain + extension);
    if (!piece)
      if (const auto names = out_->package->names("mf"); names.size() == 1)
        piece = out_->package->find(names.front());
    if (out_->package->find(plain + ".cert"))
      notes_.push_back("the certificate " + in_quotes(base_name(plain) + ".cert") +
                       " is not checked");
    if (!piece) {
      notes_.push_back("no manifest (.mf): the files' checksums are not verified");
      return;
    }
    out_->manifest = piece->name;
    if (!verify_) {
      notes_.push_back("verify_checksums is false: the manifest " + in_quotes(piece->name) +
                       " is not used");
      return;
    }
    manifest_ = Manifest(read_text(*piece, kMaxManifestBytes), piece->name);
  }

  /// The manifest's entry for a file of the package.
  std::optional<Expected> expected_of(const std::string& name) {
    if (manifest_.label().empty()) return std::nullopt;
    auto found = manifest_.find(name);
    if (!found && name.rfind(base_, 0) == 0) found = manifest_.find(name.substr(base_.size()));
    if (!found) unlisted_.insert(name);
    return found;
  }

  void check_descriptor(const std::string& text) {
    const auto expected = expected_of(ovf_name_);
    if (!expected) return;
    const std::string hex = Digest::of(expected->algorithm, text);
    if (hex != expected->hex)
      throw Error(HYPER_CORRUPT,
                  "the checksum of the descriptor " + in_quotes(ovf_name_) +
                      " is not the one in the manifest " + in_quotes(manifest_.label()),
                  expected->algorithm + " of the file in " + in_quotes(out_->path) + " is " + hex +
                      ", the manifest says " + expected->hex)
          .hint(
              "The descriptor was changed after the package was made: export the package again, or "
              "set verify_checksums: false to read it as it is.");
  }

  void note_missing_entries() {
    for (const std::string& name : unlisted_)
      notes_.push_back("the manifest " + in_quotes(manifest_.label()) + " does not list " +
                       in_quotes(name) + ": its checksum is not verified");
  }

  static void shorten(std::vector<std::string>& remarks) {
    if (remarks.size() <= kMaxRemarks) return;
    const std::string more = "and " + std::to_string(remarks.size() - kMaxRemarks) + " more";
    remarks.resize(kMaxRemarks);
    remarks.push_back(more);
  }

  void warn(const std::string& text) { warnings_.push_back(text); }

  // --- binding a VM's disks to files ---

  DiskBinder binder() {
    return DiskBinder(*out_->package, ovf_name_,
                      [this](const std::string& name) { return expected_of(name); });
  }

  Vm bind(OvfVm ovf) {
    Vm vm;
    vm.warnings = ovf.warnings;
    for (const OvfDrive& drive : ovf.drives) vm.disks.push_back(bind_drive(drive, vm));
    for (const OvfAttachment& attachment : ovf.attachments)
      attach(vm, attachment.kind, ovf_.files.find(attachment.file_id));
    if (ovf_.vms.size() == 1) attach_the_rest(vm, ovf);
    vm.ovf = std::move(ovf);
    return vm;
  }

  Disk bind_drive(const OvfDrive& drive, Vm& vm) {
    Disk disk;
    disk.id = "disk-" + std::to_string(vm.disks.size());
    disk.ovf_id = drive.disk_id.empty() ? drive.file_id : drive.disk_id;
    disk.label = drive.label.empty() ? disk.ovf_id : drive.label;
    disk.controller = drive.controller;
    disk.boot_order = drive.boot_order;
    OvfDisk described;
    described.file_id = drive.file_id;
    if (!drive.disk_id.empty()) described = ovf_.disks.at(drive.disk_id);
    if (described.file_id.empty()) {
      disk.blank = true;
      disk.capacity = described.capacity;
      disk.facts.format = "raw";
      return disk;
    }
    const auto file = ovf_.files.find(described.file_id);
    if (file == ovf_.files.end())
      throw Error(HYPER_CORRUPT, "the disk " + in_quotes(described.id) + " in " +
                                     in_quotes(ovf_name_) + " refers to the file " +
                                     in_quotes(described.file_id) +
                                     ", which its References do not have");
    binder().bind_reference(file->second, described, disk, vm.warnings);
    return disk;
  }

  void attach(Vm& vm, const std::string& kind,
              std::map<std::string, OvfFile>::const_iterator file) {
    if (file == ovf_.files.end()) return;
    const std::string& href = file->second.href;
    const bool there = std::any_of(
        vm.attachments.begin(), vm.attachments.end(),
        [&](const Attachment& a) { return a.file == href || a.file == percent_decoded(href); });
    if (there) return;
    if (auto piece =
            find_reference(*out_->package, base_, href, "the descriptor " + in_quotes(ovf_name_)))
      vm.attachments.push_back({kind, piece->name, piece->length});
    else
      vm.warnings.push_back("the file " + in_quotes(href) + " (" + kind +
                            ") is not in the package");
  }

  /// Files of the only VM that no drive, disk or medium uses.
  void attach_the_rest(Vm& vm, const OvfVm& ovf) {
    std::set<std::string> used;
    for (const auto& [id, disk] : ovf_.disks) used.insert(disk.file_id);
    for (const OvfDrive& drive : ovf.drives) used.insert(drive.file_id);
    for (const std::string& id : ovf_.file_order) {
      if (used.count(id) != 0) continue;
      const auto file = ovf_.files.find(id);
      const std::string& href = file->second.href;
      attach(vm,
             has_extension(href, "iso")     ? "iso"
             : has_extension(href, "nvram") ? "nvram"
                                            : "other",
             file);
    }
  }

  // --- a bare image ---

  void image() {
    open_directory();
    ovf_name_.clear();
    auto file = File::open(out_->path);
    const uint64_t size = file->size();
    if (size == 0) throw Error(HYPER_CORRUPT, in_quotes(out_->path) + " is empty");
    Disk disk;
    disk.id = "disk-0";
    disk.label = disk.ovf_id = stem(out_->path);
    binder().bind_image(Piece{std::move(file), 0, size, base_name(out_->path)}, disk);
    // Raw is what has no signature: under another format's name the signature is damaged, or the
    // end is cut off that has it, and the disk would be garbage.
    if (disk.facts.format == "raw")
      for (const char* format : {"vmdk", "qcow2", "vhd", "vhdx", "vdi"})
        if (has_extension(disk.file, format))
          throw Error(HYPER_CORRUPT, in_quotes(out_->path) + " is named as a " + format +
                                         " image and has no signature of one")
              .hint("Copy or export it again; if it is a raw disk, name it .raw or .img.");
    // Neither its content nor its name is known here: another plugin may read such images.
    if (disk.facts.format == "raw" && !has_extension(disk.file, "raw") &&
        !has_extension(disk.file, "img")) {
      disk.facts.format.clear();
      disk.facts.capacity = disk.capacity = 0;
    }
    Vm vm;
    vm.ovf.id = vm.ovf.name = stem(out_->path);
    vm.ovf.firmware = "unknown";
    vm.notes.push_back("a bare disk image: CPUs, memory, firmware and network are unknown");
    const bool raw_by_name = has_extension(disk.file, "raw");
    if (raw_by_name && disk.facts.format != "raw")
      vm.warnings.push_back(in_quotes(disk.file) + " is named as a raw image, but is " +
                            disk.facts.format);
    vm.disks.push_back(std::move(disk));
    out_->vms.push_back(std::move(vm));
  }

  bool verify_;
  std::shared_ptr<Contents> out_;
  std::string ovf_name_, base_;
  OvfDocument ovf_;
  Manifest manifest_;
  std::set<std::string> unlisted_;
  std::vector<std::string> warnings_, notes_;
};

}  // namespace

bool Disk::in_place() const {
  if (blank || gzip || range.pieces().size() != 1) return false;
  // A text descriptor's extents are looked for beside it, which in an archive is nowhere.
  const Piece& piece = range.pieces().front();
  return facts.extents.empty() || (piece.offset == 0 && piece.length == piece.file->size());
}

uint64_t Vm::bytes() const {
  uint64_t sum = 0;
  for (const Disk& disk : disks) sum += disk.range.size() + disk.extras.size();
  return sum;
}

std::shared_ptr<const Contents> load_contents(PackageKind kind, const std::string& path,
                                              bool verify_checksums) {
  return Loader(kind, path, verify_checksums).load();
}

PackageKind kind_of(const std::string& path) {
  if (has_extension(path, "ova")) return PackageKind::kArchive;
  if (has_extension(path, "ovf")) return PackageKind::kDescriptor;
  for (const char* extension : {"vmdk", "qcow2", "img", "raw", "vhd", "vhdx", "vdi"})
    if (has_extension(path, extension)) return PackageKind::kImage;
  char head[263] = {};
  const std::size_t got = File::open(path)->read_some(0, head, sizeof head);
  if (got == sizeof head && std::memcmp(head + 257, "ustar", 5) == 0) return PackageKind::kArchive;
  return PackageKind::kImage;
}

std::vector<std::string> references_of(const std::string& ovf_path) {
  const auto file = File::open(ovf_path);
  const std::string text =
      read_text({file, 0, file->size(), base_name(ovf_path)}, kMaxDescriptorBytes);
  std::vector<std::string> out;
  for (const auto& [id, reference] : parse_ovf(text, base_name(ovf_path)).files) {
    out.push_back(reference.href);
    out.push_back(percent_decoded(reference.href));
  }
  return out;
}

}  // namespace hyper::ovf
