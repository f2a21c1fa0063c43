// SPDX-License-Identifier: Apache-2.0
// What virt-v2v writes, and what it means. Pure functions; any thread.
#ifndef HYPERHOST_VIRT_V2V_WORDS_HPP
#define HYPERHOST_VIRT_V2V_WORDS_HPP

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace hyperhost::virt_v2v {

/// What `virt-v2v-in-place --machine-readable` lists, a line each.
class Capabilities {
 public:
  void add_line(std::string_view line);
  bool has(const std::string& word) const { return words_.count(word) != 0; }
  /// "linux", "windows": of convert:….
  std::vector<std::string> families() const;

 private:
  std::set<std::string> words_;
};

/// Of its lines of text: warnings, the error at the end, and whether virtio's drivers are in.
/// Bounded.
class Messages {
 public:
  void add_line(std::string_view line);
  const std::vector<std::string>& warnings() const { return warnings_; }
  /// "" = none was written.
  const std::string& error() const { return error_; }
  /// Whether it wrote that the guest has virtio's drivers now; nothing: it wrote neither.
  std::optional<bool> has_virtio() const { return has_virtio_; }

 private:
  std::string* open_ = nullptr;  ///< that a further line belongs to
  std::vector<std::string> warnings_;
  std::string error_;
  std::optional<bool> has_virtio_;
};

/// What an error is about.
struct Meaning {
  const char* rule;
  const char* summary;
  const char* hint;
};
Meaning meaning_of(const std::string& error);

/// The phase of a line of progress: "[  12.3] Mapping filesystem data" → "Mapping filesystem data";
/// "" = it is none.
std::string phase_of(std::string_view line);

}  // namespace hyperhost::virt_v2v

#endif
