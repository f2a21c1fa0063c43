// SPDX-License-Identifier: Apache-2.0
#include "tar_index.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>
#include <unordered_set>

#include <hyper/error.hpp>

namespace hyper::ovf {
namespace {

constexpr std::size_t kBlock = 512;
constexpr uint64_t kMaxExtendedHeader = 1u << 20;  // a pax header or a GNU long name
constexpr std::size_t kMaxName = 4096;
constexpr std::size_t kMaxMembers = 100'000;

using Block = std::array<unsigned char, kBlock>;

std::string text_field(const Block& block, std::size_t at, std::size_t len) {
  const auto* begin = reinterpret_cast<const char*>(block.data()) + at;
  return std::string(begin, strnlen(begin, len));
}

class Walk {
 public:
  explicit Walk(const File& file) : file_(file) {}

  TarIndex run() {
    while (pos_ < file_.size()) {
      Block block;
      const std::size_t got = file_.read_some(pos_, block.data(), kBlock);
      if (pos_ == 0) refuse_other_formats(block, got);
      if (got < kBlock) corrupt("ends in the middle of a tar header");
      if (std::all_of(block.begin(), block.end(), [](unsigned char c) { return c == 0; }))
        return std::move(index_);
      header(block);
    }
    if (pos_ == 0) corrupt("is empty");
    index_.end_marker = false;
    return std::move(index_);
  }

 private:
  [[noreturn]] void corrupt(const std::string& what) const {
    throw Error(HYPER_CORRUPT, "'" + file_.path() + "' " + what,
                "at byte " + std::to_string(pos_) + " of " + std::to_string(file_.size()))
        .hint("Copy or export the package again.");
  }
  [[noreturn]] void unsupported(const std::string& what) const {
    throw Error(HYPER_UNSUPPORTED, "'" + file_.path() + "' " + what)
        .hint(
            "Unpack the archive and give the directory, or pack it again with tar --format=ustar.");
  }

  void refuse_other_formats(const Block& block, std::size_t got) const {
    const auto starts = [&](std::string_view magic) {
      return got >= magic.size() && std::memcmp(block.data(), magic.data(), magic.size()) == 0;
    };
    const bool compressed = starts("\x1f\x8b") || starts("BZh") ||
                            starts(
                                "\xfd"
                                "7zXZ") ||
                            starts("\x28\xb5\x2f\xfd") || starts("PK\x03\x04");
    if (compressed)
      throw Error(HYPER_UNSUPPORTED,
                  "'" + file_.path() + "' is compressed as a whole, so it cannot be read in place")
          .hint("Decompress it first (gunzip, xz -d, unzip …).");
  }

  /// Octal digits, or base-256 where the first bit is set (GNU; sizes from 8 GiB).
  uint64_t number(const Block& block, std::size_t at, std::size_t len, const char* what) const {
    if ((block[at] & 0x80) != 0) {
      uint64_t value = block[at] & 0x7f;
      if (value == 0x7f) corrupt(std::string("has a tar header with a negative ") + what);
      for (std::size_t i = 1; i < len; ++i) {
        if ((value >> 55) != 0)
          corrupt(std::string("has a tar header whose ") + what + " is absurd");
        value = value << 8 | block[at + i];
      }
      return value;
    }
    uint64_t value = 0;
    std::size_t i = at;
    while (i < at + len && block[i] == ' ') ++i;
    for (; i < at + len && block[i] != 0 && block[i] != ' '; ++i) {
      if (block[i] < '0' || block[i] > '7')
        corrupt(std::string("has a tar header whose ") + what + " is no number");
      value = value * 8 + (block[i] - '0');  // at most 12 digits: no overflow
    }
    return value;
  }

  void check_sum(const Block& block) const {
    const uint64_t stored = number(block, 148, 8, "checksum");
    uint64_t sum = 0;
    int64_t signed_sum = 0;  // what some historic writers made
    for (std::size_t i = 0; i < kBlock; ++i) {
      const unsigned char c = i >= 148 && i < 156 ? ' ' : block[i];
      sum += c;
      signed_sum += static_cast<signed char>(c);
    }
    if (stored != sum && static_cast<int64_t>(stored) != signed_sum)
      corrupt(pos_ == 0 ? "is not a tar archive, or its first header is damaged"
                        : "has a damaged tar header (its checksum is wrong)");
  }

  std::string extended(uint64_t size, const char* what) {
    if (size > kMaxExtendedHeader) corrupt(std::string("has a ") + what + " of absurd size");
    std::string text(size, '\0');
    if (file_.read_some(pos_ + kBlock, text.data(), size) != size)
      corrupt(std::string("ends in the middle of a ") + what);
    return text;
  }

  /// pax records: "LENGTH KEY=VALUE\n", LENGTH counting the whole record.
  void pax_records(const std::string& text) {
    for (std::size_t at = 0; at < text.size();) {
      if (text[at] == '\0') break;
      std::size_t length = 0;
      const auto [end, error] =
          std::from_chars(text.data() + at, text.data() + text.size(), length);
      const auto digits = static_cast<std::size_t>(end - text.data()) - at;
      if (error != std::errc() || length < digits + 3 || length > text.size() - at ||
          text[at + digits] != ' ' || text[at + length - 1] != '\n')
        corrupt("has a damaged pax header");
      const std::string record = text.substr(at + digits + 1, length - digits - 2);
      const std::size_t equals = record.find('=');
      if (equals == std::string::npos) corrupt("has a damaged pax header");
      pax_record(record.substr(0, equals), record.substr(equals + 1));
      at += length;
    }
  }

  void pax_record(const std::string& key, const std::string& value) {
    if (key == "path") long_name_ = value;
    if (key.rfind("GNU.sparse.", 0) == 0) unsupported("has a member stored in tar's sparse format");
    if (key == "size") {
      uint64_t size = 0;
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), size);
      if (error != std::errc() || end != value.data() + value.size())
        corrupt("has a pax header whose size is no number");
      pax_size_ = size;
    }
  }

  /// The next header: behind the data, which is padded to whole blocks.
  void advance(uint64_t size, const std::string& name) {
    const uint64_t room = file_.size() - pos_ - kBlock;
    if (size > room)
      corrupt("is truncated: its member '" + name + "' has " + std::to_string(size) +
              " bytes, of which " + std::to_string(room) + " are there");
    const uint64_t padded = size + (kBlock - size % kBlock) % kBlock;
    pos_ += kBlock + std::min(padded, room);
  }

  std::string member_name(const Block& block) const {
    std::string name;
    if (long_name_) {
      name = *long_name_;
    } else {
      name = text_field(block, 0, 100);
      const bool posix = std::memcmp(block.data() + 257, "ustar\0", 6) == 0;
      const std::string prefix = posix ? text_field(block, 345, 155) : std::string();
      if (!prefix.empty()) name = prefix + "/" + name;
    }
    while (name.rfind("./", 0) == 0) name.erase(0, name.find_first_not_of('/', 1));
    if (name.size() > kMaxName) corrupt("has a member with a name of absurd length");
    if (name.find('\0') != std::string::npos) corrupt("has a member with a NUL in its name");
    return name;
  }

  void header(const Block& block) {
    check_sum(block);
    const char type = static_cast<char>(block[156]);
    const uint64_t stored = number(block, 124, 12, "size");
    switch (type) {
      case 'L': {
        const std::string text = extended(stored, "GNU long name");
        long_name_ = text.substr(0, text.find('\0'));
        return advance(stored, "././@LongLink");
      }
      case 'x':
        pax_records(extended(stored, "pax header"));
        return advance(stored, "pax header");
      case 'K':  // a long link target
      case 'g':  // global pax records: nothing in them matters here
      case 'V':
        return advance(stored, "header");
      case 'S':
        unsupported("has a member stored in tar's sparse format");
      case 'M':
        unsupported("is a part of a multi-volume archive");
      default:
        break;
    }
    TarMember member;
    member.name = member_name(block);
    const bool no_data = type >= '2' && type <= '6';
    member.size = no_data ? 0 : pax_size_.value_or(stored);
    member.regular = type == '0' || type == '\0' || type == '7';
    if (type == '1' && member.size != 0) unsupported("has a hard link that carries data");
    member.offset = pos_ + kBlock;
    long_name_.reset();
    pax_size_.reset();
    advance(member.size, member.name);
    const bool directory = type == '5' || (!member.name.empty() && member.name.back() == '/');
    if (directory || member.name.empty()) return;
    if (index_.members.size() == kMaxMembers) corrupt("has more members than a package can have");
    if (!names_.insert(member.name).second) corrupt("has two members named '" + member.name + "'");
    index_.members.push_back(std::move(member));
  }

  const File& file_;
  uint64_t pos_ = 0;
  TarIndex index_;
  std::unordered_set<std::string> names_;
  std::optional<std::string> long_name_;
  std::optional<uint64_t> pax_size_;
};

}  // namespace

TarIndex index_tar(const File& file) {
  return Walk(file).run();
}

}  // namespace hyper::ovf
