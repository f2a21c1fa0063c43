// SPDX-License-Identifier: Apache-2.0
#include "plugins/guest/guestfs/text/boot_records.hpp"

#include <algorithm>
#include <cstring>
#include <optional>

namespace hyperhost::guestfs {
namespace {

constexpr std::size_t kMostTexts = 64, kLongestText = 200, kMostBoots = 10'000;

// The journal's format: https://systemd.io/JOURNAL_FILE_FORMAT. Everything is little-endian.
constexpr std::string_view kSignature = "LPKSHHRH";
constexpr uint32_t kCompact = 1u << 4;  // of the incompatible flags
constexpr std::size_t kFlagsAt = 12, kTailBootAt = 56, kHeaderSizeAt = 88, kTailObjectAt = 136;
constexpr uint8_t kData = 1, kEntry = 3;  // types of objects
constexpr uint8_t kCompressed = 7;        // flags of an object: xz, lz4, zstd
constexpr std::size_t kEntryTimeAt = 24, kEntryBootAt = 40, kEntryItemsAt = 64;

// MESSAGE_ID of "Failed to start …" and of "Failed with result …".
constexpr std::string_view kUnitFailed[] = {"MESSAGE_ID=be02cf6855d2428ba40df7e9d022f03d",
                                            "MESSAGE_ID=d9b373ed55a64feb8242e02dbe79a49c"};

template <class T>
T number(std::string_view bytes, std::size_t at) {
  T out = 0;
  if (at > bytes.size() || bytes.size() - at < sizeof out) return out;
  for (std::size_t i = sizeof out; i-- > 0;)
    out = static_cast<T>((out << 8) | static_cast<uint8_t>(bytes[at + i]));
  return out;
}

std::string hex_id(std::string_view bytes) {
  static const char* const kDigits = "0123456789abcdef";
  std::string out;
  for (const char c : bytes) {
    const auto byte = static_cast<uint8_t>(c);
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out.find_first_not_of('0') == std::string::npos ? std::string() : out;
}

std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, kLongestText)) out += c >= 0x20 && c < 0x7f ? c : '?';
  return out;
}

bool begins(std::string_view text, std::string_view with) {
  return text.substr(0, with.size()) == with;
}

/// A journal file's objects.
class Objects {
 public:
  explicit Objects(std::string_view file) : file_(file) {
    if (!begins(file, kSignature)) return;
    compact_ = (number<uint32_t>(file, kFlagsAt) & kCompact) != 0;
    first_ = number<uint64_t>(file, kHeaderSizeAt);
    last_ = number<uint64_t>(file, kTailObjectAt);
  }

  /// Calls on_entry with each entry's bytes.
  template <class F>
  void each_entry(F&& on_entry) const {
    for (uint64_t at = first_; at != 0 && at <= last_;) {
      const std::string_view object = object_at(at);
      if (object.empty()) return;
      if (type_of(object) == kEntry && object.size() >= kEntryItemsAt) on_entry(object);
      at += (object.size() + 7) / 8 * 8;
    }
  }

  /// Calls on_field with each field of an entry, "NAME=value", that is not compressed.
  template <class F>
  void each_field(std::string_view entry, F&& on_field) const {
    const std::size_t step = compact_ ? 4 : 16, payload = compact_ ? 72 : 64;
    for (std::size_t at = kEntryItemsAt; at + step <= entry.size(); at += step) {
      const uint64_t offset = compact_ ? number<uint32_t>(entry, at) : number<uint64_t>(entry, at);
      const std::string_view object = object_at(offset);
      if (object.size() > payload && type_of(object) == kData &&
          (static_cast<uint8_t>(object[1]) & kCompressed) == 0)
        on_field(object.substr(payload));
    }
  }

 private:
  static uint8_t type_of(std::string_view object) { return static_cast<uint8_t>(object[0]); }
  /// Empty: there is none.
  std::string_view object_at(uint64_t offset) const {
    constexpr std::size_t kObjectHeader = 16;
    if (offset == 0 || offset % 8 != 0 || offset >= file_.size()) return {};
    const std::string_view rest = file_.substr(static_cast<std::size_t>(offset));
    const auto size = number<uint64_t>(rest, 8);
    if (size < kObjectHeader || size > rest.size()) return {};
    return rest.substr(0, static_cast<std::size_t>(size));
  }

  const std::string_view file_;
  bool compact_ = false;
  uint64_t first_ = 0, last_ = 0;
};

/// What one entry says of the boot that it belongs to.
struct Said {
  std::string unit, identifier, message;
  bool failure = false;
};

Said read_entry(const Objects& objects, std::string_view entry) {
  Said out;
  objects.each_field(entry, [&](std::string_view field) {
    const auto take = [&](std::string_view name, std::string& to) {
      if (begins(field, name)) to = printable(field.substr(name.size()));
    };
    take("UNIT=", out.unit);
    take("SYSLOG_IDENTIFIER=", out.identifier);
    take("MESSAGE=", out.message);
    for (const std::string_view one : kUnitFailed) out.failure = out.failure || field == one;
  });
  return out;
}

void add_once(std::vector<std::string>& to, const std::string& text) {
  if (!text.empty() && to.size() < kMostTexts && std::find(to.begin(), to.end(), text) == to.end())
    to.push_back(text);
}

}  // namespace

std::string last_boot_id(std::string_view header) {
  if (header.size() < kJournalHeader || !begins(header, kSignature)) return {};
  return hex_id(header.substr(kTailBootAt, 16));
}

Journal read_journal(std::string_view file) {
  Journal out;
  const Objects objects(file);
  std::string current;
  objects.each_entry([&](std::string_view entry) {
    const std::string id = hex_id(entry.substr(kEntryBootAt, 16));
    if (id.empty()) return;
    if (out.boots.empty() || out.boots.back().id != id) {
      if (out.boots.size() >= kMostBoots) out.boots.erase(out.boots.begin());
      out.boots.push_back({id, number<uint64_t>(entry, kEntryTimeAt), 0});
      out.failed_units.clear();
      out.checks.clear();
    }
    ++out.boots.back().entries;
    const Said said = read_entry(objects, entry);
    if (said.failure) add_once(out.failed_units, said.unit);
    if (said.identifier == "systemd-fsck") add_once(out.checks, said.message);
  });
  return out;
}

std::vector<WtmpBoot> read_wtmp(std::string_view records) {
  // struct utmp of x86: the type, the host (of a boot, the kernel's release), the time.
  constexpr uint16_t kBootTime = 2;
  constexpr std::size_t kHostAt = 76, kHostBytes = 256, kSecondsAt = 340, kMicrosAt = 344;
  std::vector<WtmpBoot> out;
  for (std::size_t at = 0; at + kWtmpRecord <= records.size(); at += kWtmpRecord) {
    const std::string_view one = records.substr(at, kWtmpRecord);
    if (number<uint16_t>(one, 0) != kBootTime) continue;
    const std::string_view host = one.substr(kHostAt, kHostBytes);
    out.push_back({uint64_t{number<uint32_t>(one, kSecondsAt)} * 1'000'000 +
                       number<uint32_t>(one, kMicrosAt) % 1'000'000,
                   printable(host.substr(0, host.find('\0')))});
  }
  if (out.size() > kMostBoots) out.erase(out.begin(), out.end() - kMostBoots);
  return out;
}

}  // namespace hyperhost::guestfs
