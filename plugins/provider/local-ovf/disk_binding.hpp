// SPDX-License-Identifier: Apache-2.0
// Finds the bytes of a disk in a package: a file, its chunks, its extents, and what they are by
// content. Borrows the package; one thread.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "contents.hpp"

namespace hyper::ovf {

class DiskBinder {
 public:
  using ExpectedOf = std::function<std::optional<Expected>(const std::string& name)>;

  /// descriptor: its name in the package, "" for a bare image. expected_of: the manifest's entry
  /// for a file, if any.
  DiskBinder(const Package& package, std::string descriptor, ExpectedOf expected_of);

  /// Fills file, base, range, extras, expected, gzip, facts and capacity of a disk that the
  /// descriptor calls `described`. Throws HYPER_NOTFOUND, HYPER_AUTH, HYPER_UNSUPPORTED or
  /// HYPER_CORRUPT naming the file.
  void bind_reference(const OvfFile& file, const OvfDisk& described, Disk& disk,
                      std::vector<std::string>& warnings) const;
  /// The same for a file that is the disk.
  void bind_image(Piece piece, Disk& disk) const;

 private:
  Piece find_file(const std::string& href) const;
  Range chunks(const OvfFile& file) const;
  DiskFacts probe_range(const Disk& disk) const;
  DiskFacts probe_gzip(const Disk& disk, uint64_t capacity) const;
  void bind_extents(Disk& disk) const;
  void check_capacity(const OvfDisk& described, Disk& disk,
                      std::vector<std::string>& warnings) const;

  const Package& package_;
  const std::string descriptor_, base_;
  const ExpectedOf expected_of_;
};

}  // namespace hyper::ovf
