// SPDX-License-Identifier: Apache-2.0
// A package as read: its VMs, each disk bound to the bytes it lies in, and what is to be checked.
// Holds the files open. Immutable once loaded; any thread.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "digest.hpp"
#include "disk_probe.hpp"
#include "file.hpp"
#include "ovf_model.hpp"
#include "package.hpp"

namespace hyper::ovf {

enum class PackageKind { kArchive, kDescriptor, kImage };

/// A hard disk, bound.
struct Disk {
  std::string id;  ///< "disk-0" …
  std::string label, controller, ovf_id;
  std::string file;  ///< name in the package; "" = blank
  std::string base;  ///< directory within the package that `file` lies in: "" or "sub/"
  unsigned boot_order = 0;
  bool blank = false, gzip = false;
  uint64_t capacity = 0;
  DiskFacts facts;
  Range range;   ///< the file, or its chunks
  Range extras;  ///< the extents of a VMDK that is a text descriptor
  std::vector<std::optional<Expected>> expected;  ///< per piece of range, then of extras

  bool in_place() const;  ///< other programs can read it from its file
};

struct Attachment {
  std::string kind, file;
  uint64_t bytes = 0;
};

struct Vm {
  OvfVm ovf;
  std::vector<Disk> disks;
  std::vector<Attachment> attachments;
  std::vector<std::string> warnings, notes;

  uint64_t bytes() const;  ///< of all its disks' files
};

struct Contents {
  PackageKind kind = PackageKind::kImage;
  std::string path;  ///< absolute: of the .ova, the .ovf or the image
  std::shared_ptr<const Package> package;
  std::string manifest;  ///< the manifest's name; "" = none
  std::vector<Vm> vms;
};

/// Throws hyper::Error naming the package and what is wrong with it.
std::shared_ptr<const Contents> load_contents(PackageKind kind, const std::string& path,
                                              bool verify_checksums);

/// By extension, else by content. Throws if the file cannot be read.
PackageKind kind_of(const std::string& path);

/// The names a descriptor refers to, as written and with percent-encoding undone.
std::vector<std::string> references_of(const std::string& ovf_path);

/// Changes whenever a byte of the disk may have changed: which files it lies in, when they were
/// last changed, and where in them. REQUIRES: !disk.blank.
std::string content_id(const Disk& disk);

/// The description of sdk/README.md ("hyper.provider/1", describe_vm).
std::string describe(const Contents& contents, const Vm& vm, const std::string& ref);

}  // namespace hyper::ovf
