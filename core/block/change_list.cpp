// SPDX-License-Identifier: Apache-2.0
#include "core/block/change_list.hpp"

#include <openssl/evp.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <fstream>
#include <optional>

#include "core/base/text.hpp"

namespace hyperhost {
namespace {

constexpr uint64_t kBlock = hyper::kDigestBlock;
constexpr std::string_view kFirstLine = "hyperhost-changes/1";
constexpr std::string_view kDigestMark = "hyper-tree-sha256:";
constexpr uint64_t kMostFile = 256 << 20;

uint64_t blocks_of(uint64_t size) {
  return size / kBlock + (size % kBlock == 0 ? 0 : 1);
}

std::string sha256_text(std::string_view text) {
  unsigned char digest[32];
  if (EVP_Digest(text.data(), text.size(), digest, nullptr, EVP_sha256(), nullptr) != 1)
    throw Error(Code::kFail, "SHA-256 is not available in this OpenSSL");
  return to_hex(std::string_view(reinterpret_cast<const char*>(digest), sizeof digest));
}

bool is_hex(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::optional<uint64_t> number_of_text(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty() ||
      (text.size() > 1 && text.front() == '0'))
    return std::nullopt;
  return value;
}

unsigned nibble(char digit) {
  return static_cast<unsigned>(digit <= '9' ? digit - '0' : digit - 'a' + 10);
}

/// The lines of a list, one after another.
class ChangeReader {
 public:
  ChangeReader(std::string_view text, const std::string& name) : text_(text), name_(name) {}

  [[noreturn]] void refuse(const std::string& why) const {
    throw Error(Code::kCorrupt, "the list of changes " + name_ + " is damaged",
                "line " + std::to_string(line_) + ": " + why);
  }
  /// What stands in front of the line that comes next.
  std::string_view before() const { return text_.substr(0, at_); }
  std::string_view line() {
    const std::size_t end = text_.find('\n', at_);
    ++line_;
    if (end == std::string_view::npos) refuse("it ends too early");
    const std::string_view out = text_.substr(at_, end - at_);
    at_ = end + 1;
    return out;
  }
  /// The rest of a line that begins with `word` and a space.
  std::string_view member(std::string_view word) {
    const std::string_view all = line();
    if (all.size() <= word.size() || all.substr(0, word.size()) != word || all[word.size()] != ' ')
      refuse("it does not begin with '" + std::string(word) + "'");
    return all.substr(word.size() + 1);
  }
  std::string digest(std::string_view word) {
    const std::string_view text = member(word);
    if (text == "-") return {};
    if (text.substr(0, kDigestMark.size()) != kDigestMark ||
        !is_hex(text.substr(kDigestMark.size())))
      refuse("it is no content digest");
    return std::string(text);
  }
  bool ended() const { return at_ == text_.size(); }

 private:
  const std::string_view text_;
  const std::string& name_;
  std::size_t at_ = 0, line_ = 0;
};

BlockLeaf block_of(std::string_view line, const ChangeReader& reader, uint64_t least,
                   uint64_t blocks) {
  const std::size_t space = line.find(' ');
  const auto block = number_of_text(line.substr(0, space));
  if (space == std::string_view::npos || !block) reader.refuse("it begins with no number");
  if (*block < least) reader.refuse("its block does not ascend");
  if (*block >= blocks) reader.refuse("its block lies behind the end of the disk");
  const std::string_view hex = line.substr(space + 1);
  if (!is_hex(hex)) reader.refuse("it has no SHA-256");
  BlockLeaf out{*block, {}};
  for (std::size_t i = 0; i < out.leaf.size(); ++i)
    out.leaf[i] = static_cast<uint8_t>(nibble(hex[2 * i]) << 4 | nibble(hex[2 * i + 1]));
  return out;
}

}  // namespace

uint64_t ChangeList::bytes() const {
  uint64_t out = blocks.size() * kBlock;
  if (!blocks.empty() && blocks.back().block + 1 == blocks_of(size) && size % kBlock != 0)
    out -= kBlock - size % kBlock;
  return out;
}

std::vector<BlockLeaf> changed_blocks(Overlay& view, Operation& op) {
  std::vector<BlockLeaf> out;
  std::vector<unsigned char> before(kBlock), after(kBlock);
  const auto compare = [&](uint64_t block) {
    op.cancel().check();
    const uint64_t offset = block * kBlock;
    const auto size = static_cast<std::size_t>(std::min(kBlock, view.length() - offset));
    try {
      view.read_base(hyper::Op(&op), offset, before.data(), size);
      view.read_at(hyper::Op(&op), offset, after.data(), size);
    } catch (const hyper::Reported& failure) {
      op.check(failure.status(), "read of the changed blocks");
    } catch (const hyper::Error& failure) {
      throw Error(static_cast<Code>(failure.status()), failure.summary(), failure.detail());
    }
    if (std::memcmp(before.data(), after.data(), size) != 0)
      out.push_back({block, content_leaf(before.data(), size)});
  };
  uint64_t next = 0;  // a block may have several runs
  view.each_held([&](uint64_t offset, uint64_t length) {
    for (next = std::max(next, offset / kBlock); next * kBlock < offset + length; ++next)
      compare(next);
  });
  return out;
}

std::string format_changes(const ChangeList& changes) {
  std::string out = std::string(kFirstLine) + "\nsize " + std::to_string(changes.size) +
                    "\nsource " + (changes.source_digest.empty() ? "-" : changes.source_digest) +
                    "\ndelivered " + (changes.digest.empty() ? "-" : changes.digest) + "\n";
  for (const BlockLeaf& one : changes.blocks)
    out +=
        std::to_string(one.block) + " " +
        to_hex(std::string_view(reinterpret_cast<const char*>(one.leaf.data()), one.leaf.size())) +
        "\n";
  return out + "end " + std::to_string(changes.blocks.size()) + " " + sha256_text(out) + "\n";
}

ChangeList parse_changes(std::string_view text, const std::string& name) {
  ChangeReader reader(text, name);
  if (reader.line() != kFirstLine) reader.refuse("it is none, or of another version");
  ChangeList out;
  const auto size = number_of_text(reader.member("size"));
  if (!size) reader.refuse("it has no number");
  out.size = *size;
  out.source_digest = reader.digest("source");
  out.digest = reader.digest("delivered");
  const uint64_t blocks = blocks_of(out.size);
  uint64_t least = 0;
  for (;;) {
    const std::string_view before = reader.before();
    const std::string_view line = reader.line();
    if (line.substr(0, 4) == "end ") {
      if (line.substr(4) != std::to_string(out.blocks.size()) + " " + sha256_text(before))
        reader.refuse("the number of blocks or the checksum is another one");
      if (!reader.ended()) reader.refuse("more follows");
      return out;
    }
    out.blocks.push_back(block_of(line, reader, least, blocks));
    least = out.blocks.back().block + 1;
  }
}

ChangeList read_changes(const std::filesystem::path& path) {
  std::error_code error;
  const bool regular = std::filesystem::is_regular_file(path, error);
  const std::uintmax_t size = regular ? std::filesystem::file_size(path, error) : 0;
  if (error || !regular)
    throw Error(Code::kNotFound, "cannot read the list of changes " + path.string(),
                error ? error.message() : "it is not a file");
  if (size > kMostFile)
    throw Error(Code::kCorrupt, "the list of changes " + path.string() + " is over 256 MiB");
  std::string text(static_cast<std::size_t>(size), '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file.read(text.data(), static_cast<std::streamsize>(text.size())))
    throw Error(Code::kIo, "cannot read the list of changes " + path.string());
  return parse_changes(text, path.string());
}

}  // namespace hyperhost
