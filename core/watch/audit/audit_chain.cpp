// SPDX-License-Identifier: Apache-2.0
#include "core/watch/audit/audit_chain.hpp"

#include <openssl/evp.h>

#include <array>
#include <nlohmann/json.hpp>

namespace hyperhost {
namespace {
using nlohmann::json;

bool is_hash(const json& value) {
  return value.is_string() && value.get_ref<const std::string&>().size() == 64;
}
}  // namespace

const std::string& audit_genesis() {
  static const std::string kZeros(64, '0');
  return kZeros;
}

std::string audit_hash(std::string_view line) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  EVP_Digest(line.data(), line.size(), digest.data(), &size, EVP_sha256(), nullptr);
  static constexpr char kHex[] = "0123456789abcdef";
  std::string hex;
  for (unsigned i = 0; i < size; ++i) {
    hex += kHex[digest[i] >> 4];
    hex += kHex[digest[i] & 15];
  }
  return hex;
}

std::string format_head(const AuditHead& head) {
  return json({{"seq", head.seq}, {"hash", head.hash}, {"first_seq", head.first_seq}}).dump() +
         "\n";
}

std::optional<AuditHead> parse_head(std::string_view text) {
  const json object = json::parse(text, nullptr, false);
  if (!object.is_object()) return std::nullopt;
  const json seq = object.value("seq", json()), hash = object.value("hash", json()),
             first = object.value("first_seq", json());
  if (!seq.is_number_unsigned() || !first.is_number_unsigned() || !is_hash(hash))
    return std::nullopt;
  return AuditHead{seq.get<uint64_t>(), hash.get<std::string>(), first.get<uint64_t>()};
}

std::filesystem::path audit_head_path(const std::filesystem::path& log) {
  return log.string() + ".head";
}

std::filesystem::path audit_file_path(const std::filesystem::path& log, unsigned number) {
  return number == 0 ? log : std::filesystem::path(log.string() + "." + std::to_string(number));
}

std::optional<AuditLink> parse_link(std::string_view line) {
  const json object = json::parse(line, nullptr, false);
  if (!object.is_object()) return std::nullopt;
  const json seq = object.value("seq", json()), prev = object.value("prev_hash", json());
  if (!seq.is_number_unsigned() || !is_hash(prev)) return std::nullopt;
  const json action = object.value("action", json());
  return AuditLink{seq.get<uint64_t>(), prev.get<std::string>(), action == "torn_line_closed",
                   action == "head_rebuilt"};
}

}  // namespace hyperhost
