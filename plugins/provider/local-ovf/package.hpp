// SPDX-License-Identifier: Apache-2.0
// A package's files by name: the members of an .ova, or the files of a directory, and nothing
// beyond. Immutable once opened; any thread.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "file.hpp"

namespace hyper::ovf {

class Package {
 public:
  static std::shared_ptr<const Package> open_archive(const std::string& path);
  static std::shared_ptr<const Package> open_directory(const std::string& path);
  virtual ~Package() = default;

  /// The file of exactly this name. Throws where the name is taken by something that is no file.
  /// REQUIRES: check_inside(name).
  virtual std::optional<Piece> find(const std::string& name) const = 0;
  /// The names that end with the extension (any case), in the order of the archive. A directory
  /// is not searched: empty.
  virtual std::vector<std::string> names(const std::string& extension) const = 0;
  virtual bool archive() const = 0;
  virtual bool end_marker() const { return true; }
  const std::string& path() const { return path_; }  ///< of the archive or the directory

 protected:
  explicit Package(std::string path) : path_(std::move(path)) {}

 private:
  std::string path_;
};

/// A reference of a descriptor that lies in `base` ("" or "sub/"): the name as it is, else with
/// its percent-encoding undone. nullopt if there is no such file; throws HYPER_AUTH if it leads out
/// of the package.
std::optional<Piece> find_reference(const Package& package, const std::string& base,
                                    const std::string& href, const std::string& whose);

std::string percent_decoded(const std::string& text);
/// Ends with ".ext", in any case.
bool has_extension(const std::string& name, const std::string& extension);
std::string base_name(const std::string& path);
/// The base name without its last extension.
std::string stem(const std::string& path);
/// "" or everything up to and with the last slash.
std::string directory_part(const std::string& path);
std::string lower(std::string text);

}  // namespace hyper::ovf
