// SPDX-License-Identifier: Apache-2.0
// What opens an encrypted volume: the tokens of LUKS2, the protectors of BitLocker.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "core/structures/parts.hpp"

namespace hyperhost {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kMostJson = 256 << 10;
constexpr uint64_t kLuksHeader = 4096;

/// base64url without padding; up to the first character that is none.
std::string decoded(const std::string& text) {
  std::string out;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const int value = c >= 'A' && c <= 'Z'   ? c - 'A'
                      : c >= 'a' && c <= 'z' ? c - 'a' + 26
                      : c >= '0' && c <= '9' ? c - '0' + 52
                      : c == '-'             ? 62
                      : c == '_'             ? 63
                                             : -1;
    if (value < 0) break;
    bits = (bits << 6 | static_cast<uint32_t>(value)) & 0xffffff;
    count += 6;
    if (count >= 8) {
      count -= 8;
      out += static_cast<char>(bits >> count & 0xff);
    }
  }
  return out;
}

std::string text_at(const Json& object, const char* name) {
  const auto found = object.is_object() ? object.find(name) : object.end();
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

/// "tpm2", "tang", "sss": what a Clevis token is bound to.
std::string clevis_pin(const Json& token) {
  const auto jwe = token.find("jwe");
  if (jwe == token.end()) return {};
  const Json head = Json::parse(decoded(text_at(*jwe, "protected")), nullptr, false);
  if (!head.is_object() || !head.contains("clevis")) return {};
  return text_at(head["clevis"], "pin");
}

/// BitLocker's copies of its metadata are where the boot sector says.
constexpr uint64_t kFirstMetadata = 176;
constexpr uint64_t kMostMetadata = 64 << 10;

}  // namespace

void read_luks2(DiskBytes& disk, Volume& volume, const Bytes& head) {
  volume.seal = Seal::kKey;
  const uint64_t size = head.big(8, 8);
  if (size <= kLuksHeader) return;
  const Bytes area = read_in(disk, volume, kLuksHeader, std::min(size - kLuksHeader, kMostJson));
  std::string text = area.text(0, area.size());
  text.resize(std::min(text.size(), text.find('\0')));
  const Json document = Json::parse(text, nullptr, false);
  if (!document.is_object() || !document.contains("tokens")) return;
  std::set<std::string> sealed;
  for (const Json& token : document["tokens"]) {
    if (!token.is_object()) continue;
    const std::string type = text_at(token, "type");
    const std::string pin = type == "clevis" ? clevis_pin(token) : "";
    const bool tpm = type == "systemd-tpm2" || pin == "tpm2";
    if (!tpm && type != "clevis") continue;
    volume.state_at = volume.offset + kLuksHeader;
    volume.state += (volume.state.empty() ? "token " : ", ") + type;
    if (!tpm) {
      if (volume.seal == Seal::kKey) volume.seal = Seal::kNetworkKey;
      continue;
    }
    volume.seal = Seal::kTpm;
    const auto slots = token.find("keyslots");
    if (slots == token.end()) continue;
    for (const Json& slot : *slots)
      if (slot.is_string()) sealed.insert(slot.get<std::string>());
  }
  if (volume.seal != Seal::kTpm || !document.contains("keyslots")) return;
  const Json& slots = document["keyslots"];
  if (!slots.is_object() || slots.empty()) return;
  bool other = false;
  for (const auto& [name, slot] : slots.items()) other = other || !sealed.contains(name);
  if (!other) volume.seal = Seal::kTpmAlone;
}

void read_bitlocker(DiskBytes& disk, Volume& volume, const Bytes& head) {
  volume.seal = Seal::kKey;
  const uint64_t at = head.le64(kFirstMetadata);
  const Bytes block = read_in(disk, volume, at, kMostMetadata);
  if (!block.has(0, "-FVE-FS-")) return;
  volume.state_at = sum(volume.offset, at);
  constexpr uint64_t kHeader = 64, kDataHeader = 48;
  const uint64_t end = std::min<uint64_t>(
      block.size(), kHeader + std::min<uint64_t>(block.le32(kHeader), kMostMetadata));
  bool clear = false, tpm = false, other = false;
  for (uint64_t entry = kHeader + kDataHeader; entry + 8 <= end;) {
    const uint64_t size = block.le16(entry);
    if (size < 8) break;
    // A volume master key, and by what it is protected.
    if (block.le16(entry + 2) == 2 && block.le16(entry + 4) == 8) {
      const uint16_t by = block.le16(entry + 8 + 26);
      clear = clear || by == 0;
      tpm = tpm || (by & 0xff00) == 0x0100 || (by & 0xff00) == 0x0400 || (by & 0xff00) == 0x0500 ||
            (by & 0xff00) == 0x0600;
      other =
          other || (by & 0xff00) == 0x0200 || (by & 0xff00) == 0x0800 || (by & 0xff00) == 0x2000;
    }
    entry += size;
  }
  volume.state = clear ? "protection suspended" : tpm ? "protected by a TPM" : "";
  volume.seal = clear ? Seal::kClear : !tpm ? Seal::kKey : other ? Seal::kTpm : Seal::kTpmAlone;
}

}  // namespace hyperhost
