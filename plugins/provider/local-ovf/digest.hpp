// SPDX-License-Identifier: Apache-2.0
// Message digests (OpenSSL) and the package manifest (.mf) that lists them. A Digest belongs to
// one thread at a time; a Manifest is immutable.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace hyper::ovf {

class Digest {
 public:
  /// algorithm: "sha1", "sha256", "sha384" or "sha512".
  explicit Digest(const std::string& algorithm);
  void update(const void* data, std::size_t len);
  std::string hex();  ///< lower case; ends the computation

  static std::string of(const std::string& algorithm, const std::string& text);

 private:
  struct Free {
    void operator()(void* context) const;
  };
  std::unique_ptr<void, Free> context_;
};

struct Expected {
  std::string algorithm;  ///< as Digest's
  std::string hex;        ///< lower case
};

constexpr uint64_t kMaxManifestBytes = 8u << 20;

/// The lines of an .mf: "SHA256(name)= hex", also "SHA1 (name) = hex", CR LF, any case.
class Manifest {
 public:
  Manifest() = default;
  /// Throws HYPER_CORRUPT with the line that is none of these. label: the file, for messages.
  Manifest(const std::string& text, std::string label);

  const std::string& label() const { return label_; }
  /// The entry for a file of this name, also where the manifest has it percent-encoded.
  std::optional<Expected> find(const std::string& name) const;

 private:
  std::string label_;
  std::map<std::string, Expected> entries_;
  std::map<std::string, std::string> decoded_;  // to the key in entries_, where they differ
};

}  // namespace hyper::ovf
