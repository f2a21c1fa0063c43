// SPDX-License-Identifier: Apache-2.0
// The list of changed blocks: with it the digest of a disk is computed from what became of it, and
// a list that is damaged or lies is refused.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "core/block/change_list.hpp"
#include "tests/support/bytes_source.hpp"

namespace hyperhost {
namespace {

using test::bytes_of;
using test::BytesTraits;
using test::pattern;
using test::source_of;

constexpr uint64_t kMiB = 1 << 20;

using ChangesTest = test::BlockTest;

/// A disk with data, with zeros that its extents know and with zeros that they do not.
BytesTraits sparse_traits() {
  BytesTraits traits;
  traits.flags = HYPER_SOURCE_SEEK | HYPER_SOURCE_EXTENTS;
  traits.extents = [](uint64_t offset, uint64_t length, const hyper::EmitExtent& emit) {
    const uint64_t hole = 8 * kMiB, end = offset + length;
    if (offset < hole) emit(offset, std::min(end, hole) - offset, 0);
    if (end > hole) emit(std::max(offset, hole), end - std::max(offset, hole), 3);
  };
  return traits;
}

std::string sparse_disk() {
  std::string bytes = pattern(12 * kMiB + 300 * 512);
  bytes.replace(5 * kMiB, kMiB, kMiB, '\0');
  bytes.replace(8 * kMiB, bytes.size() - 8 * kMiB, bytes.size() - 8 * kMiB, '\0');
  return bytes;
}

TEST_F(ChangesTest, TheSourcesDigestComesFromTheDeliveredDiskAndTheList) {
  const std::string original = sparse_disk();
  const auto base = source_of(bytes_of(original), sparse_traits());
  const std::string before = content_digest(*base, op_, 2);
  const auto overlay = Overlay::scratch(base, directory_);
  const auto write = [&](uint64_t at, const std::string& bytes) {
    overlay->write_at(plain_, at, bytes.data(), bytes.size());
  };
  write(2 * kMiB - 3, "seven b");                   // two blocks
  write(9 * kMiB + 5, "in a hole");                 // was zero by its extents
  write(3 * kMiB, "here");                          // one block, in two places
  write(4 * kMiB - 9, "and there");                 //
  overlay->zero_at(plain_, 4 * kMiB, kMiB);         // becomes zero
  write(5 * kMiB, "was zero");                      // was zero, in data
  write(original.size() - 1, "!");                  // the last block, which is shorter
  write(7 * kMiB, original.substr(7 * kMiB, 100));  // the same again: no change
  const auto changed = changed_blocks(*overlay, op_);
  std::vector<uint64_t> numbers;
  for (const BlockLeaf& one : changed) numbers.push_back(one.block);
  EXPECT_EQ(numbers, (std::vector<uint64_t>{1, 2, 3, 4, 5, 9, 12}));
  const auto delivered = open_block_source(overlay);
  for (const unsigned threads : {1u, 4u}) {
    const ContentDigests both = content_digests(*delivered, changed, op_, threads);
    EXPECT_EQ(both.own, content_digest(*delivered, op_, 1));
    EXPECT_EQ(both.other, before);
    EXPECT_NE(both.own, both.other);
  }
  EXPECT_EQ(content_digests(*delivered, {}, op_, 2).other, content_digest(*delivered, op_, 1));
  ChangeList list{original.size(), before, "", changed};
  EXPECT_EQ(list.bytes(), 6 * kMiB + 300 * 512);
}

TEST_F(ChangesTest, ADiskThatWasNotWrittenHasNoChanges) {
  const auto overlay = Overlay::scratch(source_of(bytes_of(pattern(3 * kMiB))), directory_);
  EXPECT_TRUE(changed_blocks(*overlay, op_).empty());
}

ChangeList sample() {
  ChangeList out;
  out.size = 20 * kMiB + 512;
  out.source_digest = "hyper-tree-sha256:" + std::string(64, 'a');
  for (const uint64_t block : {0, 7, 20}) {
    BlockLeaf one{block, {}};
    one.leaf.fill(static_cast<uint8_t>(0x10 + block));
    out.blocks.push_back(one);
  }
  return out;
}

bool refused(const std::string& text) {
  try {
    parse_changes(text, "x.changes");
    return false;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kCorrupt);
    EXPECT_NE(std::string(error.what()).find("x.changes"), std::string::npos);
    return true;
  }
}

TEST_F(ChangesTest, AListSurvivesItsFile) {
  const ChangeList list = sample();
  std::ofstream(directory_ / "list") << format_changes(list);
  const ChangeList read = read_changes(directory_ / "list");
  EXPECT_EQ(read.size, list.size);
  EXPECT_EQ(read.source_digest, list.source_digest);
  EXPECT_EQ(read.digest, "");
  ASSERT_EQ(read.blocks.size(), list.blocks.size());
  for (std::size_t i = 0; i < read.blocks.size(); ++i) {
    EXPECT_EQ(read.blocks[i].block, list.blocks[i].block);
    EXPECT_EQ(read.blocks[i].leaf, list.blocks[i].leaf);
  }
  EXPECT_EQ(format_changes(read), format_changes(list));
  EXPECT_THROW(read_changes(directory_ / "absent"), Error);
  EXPECT_THROW(read_changes(directory_), Error);
}

TEST_F(ChangesTest, ADamagedListIsRefused) {
  const std::string text = format_changes(sample());
  ASSERT_FALSE(refused(text));
  for (std::size_t i = 0; i < text.size(); ++i) {
    EXPECT_TRUE(refused(text.substr(0, i))) << "cut at " << i;
    std::string other = text;
    other[i] = static_cast<char>(other[i] ^ 1);
    EXPECT_TRUE(refused(other)) << "another byte at " << i;
    EXPECT_TRUE(refused(text.substr(0, i) + "\n" + text.substr(i))) << "one more line at " << i;
  }
  EXPECT_TRUE(refused(text + "\n"));
  EXPECT_TRUE(refused(text + text));
}

/// Its checksum is right, but what it says is not.
TEST_F(ChangesTest, AListThatLiesIsRefused) {
  const auto written = [](const std::function<void(ChangeList&)>& change) {
    ChangeList list = sample();
    change(list);
    return format_changes(list);
  };
  EXPECT_TRUE(
      refused(written([](ChangeList& list) { std::swap(list.blocks[0], list.blocks[1]); })));
  EXPECT_TRUE(refused(written([](ChangeList& list) { list.blocks[1] = list.blocks[0]; })));
  EXPECT_TRUE(refused(written([](ChangeList& list) { list.blocks[2].block = 21; })));
  EXPECT_TRUE(refused(written([](ChangeList& list) { list.size = 0; })));
  EXPECT_TRUE(refused(written([](ChangeList& list) { list.blocks[2].block = UINT64_MAX; })));
  EXPECT_TRUE(refused(written([](ChangeList& list) { list.source_digest = "sha256:00"; })));
}

}  // namespace
}  // namespace hyperhost
