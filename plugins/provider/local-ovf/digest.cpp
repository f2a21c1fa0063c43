// SPDX-License-Identifier: Apache-2.0
#include "digest.hpp"

#include <openssl/evp.h>

#include <algorithm>
#include <utility>

#include <hyper/error.hpp>

#include "package.hpp"
#include "units.hpp"

namespace hyper::ovf {
namespace {

std::size_t hex_length(const std::string& algorithm) {
  if (algorithm == "sha1") return 40;
  if (algorithm == "sha256") return 64;
  if (algorithm == "sha384") return 96;
  if (algorithm == "sha512") return 128;
  return 0;
}

/// The name and digest of one line; false if it is no manifest line.
bool parse_line(const std::string& line, std::string& name, Expected& expected) {
  const std::size_t open = line.find('(');
  const std::size_t equals = line.rfind('=');
  if (open == std::string::npos || equals == std::string::npos) return false;
  const std::size_t close = line.rfind(')', equals);
  if (close == std::string::npos || close <= open + 1) return false;
  if (!trimmed(line.substr(close + 1, equals - close - 1)).empty()) return false;
  expected.algorithm = lower(trimmed(line.substr(0, open)));
  std::erase(expected.algorithm, '-');
  expected.hex = lower(trimmed(line.substr(equals + 1)));
  name = line.substr(open + 1, close - open - 1);
  if (name.rfind("./", 0) == 0) name.erase(0, 2);
  return hex_length(expected.algorithm) != 0 &&
         expected.hex.size() == hex_length(expected.algorithm) &&
         expected.hex.find_first_not_of("0123456789abcdef") == std::string::npos;
}

}  // namespace

void Digest::Free::operator()(void* context) const {
  EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(context));
}

Digest::Digest(const std::string& algorithm) : context_(EVP_MD_CTX_new()) {
  const EVP_MD* type = EVP_get_digestbyname(algorithm.c_str());
  if (!context_ || type == nullptr ||
      EVP_DigestInit_ex(static_cast<EVP_MD_CTX*>(context_.get()), type, nullptr) != 1)
    throw Error(HYPER_FAIL, "this machine's OpenSSL has no digest '" + algorithm + "'");
}

void Digest::update(const void* data, std::size_t len) {
  if (EVP_DigestUpdate(static_cast<EVP_MD_CTX*>(context_.get()), data, len) != 1)
    throw Error(HYPER_FAIL, "computing a digest failed");
}

std::string Digest::hex() {
  unsigned char bytes[EVP_MAX_MD_SIZE];
  unsigned int len = 0;
  if (EVP_DigestFinal_ex(static_cast<EVP_MD_CTX*>(context_.get()), bytes, &len) != 1)
    throw Error(HYPER_FAIL, "computing a digest failed");
  static const char digits[] = "0123456789abcdef";
  std::string out;
  for (unsigned int i = 0; i < len; ++i) {
    out += digits[bytes[i] >> 4];
    out += digits[bytes[i] & 15];
  }
  return out;
}

std::string Digest::of(const std::string& algorithm, const std::string& text) {
  Digest digest(algorithm);
  digest.update(text.data(), text.size());
  return digest.hex();
}

Manifest::Manifest(const std::string& text, std::string label) : label_(std::move(label)) {
  std::size_t number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = trimmed(text.substr(begin, end - begin));
    begin = end + 1;
    ++number;
    if (number == 1 && line.rfind("\xef\xbb\xbf", 0) == 0) line.erase(0, 3);
    if (line.empty()) continue;
    std::string name;
    Expected expected;
    if (!parse_line(line, name, expected))
      throw Error(HYPER_CORRUPT,
                  "line " + std::to_string(number) + " of the manifest '" + label_ +
                      "' is not a checksum like \"SHA256(disk.vmdk)= <64 hex digits>\"")
          .hint(
              "Restore the manifest, or remove it or set verify_checksums: false to read the "
              "package unchecked.");
    Expected& entry = entries_[name];
    if (entry.algorithm == expected.algorithm && entry.hex != expected.hex)
      throw Error(HYPER_CORRUPT, "the manifest '" + label_ + "' has two different checksums for '" +
                                     name + "' (line " + std::to_string(number) + ")");
    if (expected.hex.size() > entry.hex.size()) entry = expected;  // the stronger one counts
    if (name.find('%') != std::string::npos) decoded_.emplace(percent_decoded(name), name);
  }
}

std::optional<Expected> Manifest::find(const std::string& name) const {
  if (const auto found = entries_.find(name); found != entries_.end()) return found->second;
  if (const auto alias = decoded_.find(name); alias != decoded_.end())
    return entries_.at(alias->second);
  return std::nullopt;
}

}  // namespace hyper::ovf
