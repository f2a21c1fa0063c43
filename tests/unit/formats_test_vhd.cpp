// SPDX-License-Identifier: Apache-2.0
// VHD, VHDX and VDI where qemu-img's own writing does not lead: sizes by creator, damaged copies,
// cleared bitmaps, differencing disks, and a VHDX whose log is to be replayed.
#include "format/bytes.hpp"
#include "format/vhdx_log.hpp"
#include "tests/support/formats_test_host.hpp"

namespace hyper::disk::test {
namespace {

using Bytes = std::vector<uint8_t>;

class Blocks : public ::testing::Test {
 protected:
  void SetUp() override {
    HYPER_NEED_QEMU_IMG();
    raw_ = pattern((5u << 20) + 512, 21);
    save(dir_ / "raw", raw_);
  }
  Bytes make(const std::string& options) {
    must("qemu-img convert -f raw -O " + options + " " + (dir_ / "raw").string() + " " +
         (dir_ / "d").string());
    return load(dir_ / "d");
  }
  static Bytes disk_of(const Bytes& file, const std::string& format) {
    const auto source = open_bytes(file);
    return read_disk(*open_image(test_op(), *source, format));
  }
  static hyper_st status_of(const Bytes& file, const std::string& format) {
    return error_of([&] { disk_of(file, format); }).status();
  }
  TempDir dir_;
  Bytes raw_;
};

void sign_footer(Bytes& file, uint64_t at) {
  put_be(file, at + 64, 0, 4);
  uint32_t sum = 0;
  for (uint64_t i = at; i < at + 512; ++i) sum += file[i];
  put_be(file, at + 64, ~sum, 4);
}

TEST_F(Blocks, VhdSizeIsByCreator) {
  const Bytes file = make("vpc");
  for (const char* creator : {"vpc ", "qemu", "qem2", "win ", "d2v ", "CTXS", "tap", "what"}) {
    Bytes other = file;
    for (const uint64_t at : {uint64_t{0}, other.size() - 512}) {
      std::memset(&other[at + 28], 0, 4);
      std::memcpy(&other[at + 28], creator, std::strlen(creator));
      put_be(other, at + 48, 5u << 20, 8);
      sign_footer(other, at);
    }
    save(dir_ / "c", other);
    std::string info;
    ASSERT_EQ(shell("qemu-img info -f vpc --output=json " + (dir_ / "c").string(), &info), 0);
    const auto source = open_bytes(other);
    const auto image = open_image(test_op(), *source, "vpc");
    EXPECT_NE(info.find("\"virtual-size\": " + std::to_string(image->virtual_size()) + ","),
              std::string::npos)
        << creator << info;
  }
}

TEST_F(Blocks, VhdFootersStandInForEachOther) {
  const Bytes file = make("vpc -o force_size=on");
  Bytes front = file, both = file;
  front[64] ^= 1;
  EXPECT_EQ(disk_of(front, "vhd"), raw_);
  std::memset(front.data(), 0, 512);
  EXPECT_EQ(disk_of(front, ""), raw_);
  both[64] ^= 1, both[both.size() - 512 + 64] ^= 1;
  EXPECT_EQ(status_of(both, "vhd"), HYPER_CORRUPT);
  Bytes child = file;
  put_be(child, 60, 4, 4);
  sign_footer(child, 0);
  EXPECT_EQ(status_of(child, ""), HYPER_UNSUPPORTED);
}

TEST_F(Blocks, VhdSectorsWithoutTheirBitAreZero) {
  Bytes file = make("vpc -o force_size=on");
  const uint64_t table = be64(&file[512 + 16]);
  const uint32_t block = be32(&file[table]);
  ASSERT_NE(block, 0xffffffffu);
  file[block * 512ull + 1] = 0xf7;  // sector 12
  Bytes expected = raw_;
  std::fill_n(expected.begin() + 12 * 512, 512, uint8_t{0});
  EXPECT_EQ(disk_of(file, ""), expected);
  put_be(file, table, file.size() / 512, 4);
  EXPECT_EQ(status_of(file, ""), HYPER_CORRUPT);
}

TEST_F(Blocks, VdiSpecialBlocks) {
  const Bytes file = make("vdi");
  const uint64_t table = le32(&file[0x154]);
  Bytes discarded = file, beyond = file, child = file;
  put_le(discarded, table, 0xfffffffe, 4);
  Bytes expected = raw_;
  std::fill_n(expected.begin(), 1u << 20, uint8_t{0});
  EXPECT_EQ(disk_of(discarded, ""), expected);
  put_le(beyond, table, 0x7fffffff, 4);
  EXPECT_EQ(status_of(beyond, ""), HYPER_CORRUPT);
  child[0x1b8] = 1;
  EXPECT_EQ(status_of(child, ""), HYPER_UNSUPPORTED);
}

void sign(Bytes& file, uint64_t at, uint64_t length) {
  put_le(file, at + 4, 0, 4);
  put_le(file, at + 4, crc32c(&file[at], length), 4);
}

TEST_F(Blocks, Crc32cIsCastagnolis) {
  EXPECT_EQ(crc32c(reinterpret_cast<const uint8_t*>("123456789"), 9), 0xe3069283u);
}

TEST_F(Blocks, VhdxCopiesStandInForEachOther) {
  Bytes file = make("vhdx");
  const uint64_t newer = le64(&file[65536 + 8]) > le64(&file[131072 + 8]) ? 65536 : 131072;
  file[newer] ^= 1;
  file[(192u << 10) + 20] ^= 1;
  EXPECT_EQ(disk_of(file, ""), raw_);
  file[(256u << 10) + 20] ^= 1;
  EXPECT_EQ(status_of(file, ""), HYPER_CORRUPT);
}

// The image as a crash leaves it: its block table's first sector never written, its second one
// full of rubbish, and both corrections in the log, in an entry that wraps around the ring's end
// and a second one that overrides it.
class DirtyVhdx : public Blocks {
 protected:
  void SetUp() override {
    Blocks::SetUp();
    std::filesystem::resize_file(dir_ / "raw", 600u << 20);
    clean_ = make("vhdx -o block_size=1M,log_size=1M");
    for (uint64_t i = 0; i < 2; ++i) {
      const uint64_t entry = (192u << 10) + 16 + i * 32;
      if (le32(&clean_[entry]) == 0x2dc27766) bat_ = le64(&clean_[entry + 16]);
    }
    ASSERT_NE(bat_, 0u);
    const uint64_t header = le64(&clean_[65536 + 8]) > le64(&clean_[131072 + 8]) ? 65536 : 131072;
    log_ = le64(&clean_[header + 72]);
    log_length_ = le32(&clean_[header + 68]);
    dirty_ = clean_;
    for (const uint64_t at : {uint64_t{65536}, uint64_t{131072}}) {
      std::memset(&dirty_[at + 48], 0x77, 16);
      sign(dirty_, at, 4096);
    }
    std::fill_n(dirty_.begin() + static_cast<std::ptrdiff_t>(bat_), 4096, uint8_t{0});
    for (uint64_t i = 4096; i < 8192; i += 8) put_le(dirty_, bat_ + i, (3u << 20) | 6, 8);
    pristine_ = dirty_;
    write_log(log_length_ - 4096, 4096);
  }

  // Entry 5 spoils the first sector and zeroes the second; entry 6 behind it mends the first.
  void write_log(uint64_t first, uint64_t second) {
    dirty_ = pristine_;
    const Bytes sector(clean_.begin() + static_cast<std::ptrdiff_t>(bat_),
                       clean_.begin() + static_cast<std::ptrdiff_t>(bat_) + 4096);
    write_entry(49152, 4, 49152, Bytes(4096, 0xee), false);  // of the past
    write_entry(first, 5, first, Bytes(4096, 0x46), true);
    write_entry(second, 6, first, sector, false);
  }

  // One data descriptor for the table's first sector; one that zeroes its second.
  void write_entry(uint64_t at, uint64_t sequence, uint64_t tail, const Bytes& sector, bool zero) {
    Bytes entry(8192);
    std::memcpy(entry.data(), "loge", 4);
    put_le(entry, 8, entry.size(), 4);
    put_le(entry, 12, tail, 4);
    put_le(entry, 16, sequence, 8);
    put_le(entry, 24, zero ? 2 : 1, 4);
    std::memset(&entry[32], 0x77, 16);
    put_le(entry, 48, dirty_.size(), 8);
    put_le(entry, 56, dirty_.size(), 8);
    std::memcpy(&entry[64], "desc", 4);
    std::memcpy(&entry[68], &sector[4092], 4);
    std::memcpy(&entry[72], &sector[0], 8);
    put_le(entry, 80, bat_, 8);
    put_le(entry, 88, sequence, 8);
    if (zero) {
      std::memcpy(&entry[96], "zero", 4);
      put_le(entry, 104, 4096, 8);
      put_le(entry, 112, bat_ + 4096, 8);
      put_le(entry, 120, sequence, 8);
    }
    std::memcpy(&entry[4096], "data", 4);
    put_le(entry, 4100, sequence >> 32, 4);
    std::memcpy(&entry[4104], &sector[8], 4084);
    put_le(entry, 8188, sequence, 4);
    sign(entry, 0, entry.size());
    for (uint64_t i = 0; i < entry.size(); ++i) dirty_[log_ + (at + i) % log_length_] = entry[i];
  }

  // All that is not zero, and that the rest is.
  static void expect_same(const Bytes& file, const Bytes& raw) {
    const auto source = open_bytes(file);
    const auto image = open_image(test_op(), *source, "");
    ASSERT_EQ(image->virtual_size(), 600u << 20);
    uint64_t data = 0;
    for (const Mapped& piece : pieces_of(*image, 0, image->virtual_size())) {
      if (piece.guest_offset + piece.length <= raw.size()) {
        ASSERT_EQ(std::memcmp(bytes_of(piece).data(), &raw[piece.guest_offset], piece.length), 0);
      } else {
        // It crosses the source's end, or lies behind it and is zero.
        Mapped head = piece;
        head.length = raw.size() - std::min<uint64_t>(raw.size(), piece.guest_offset);
        const Bytes bytes = bytes_of(head);
        ASSERT_TRUE(piece.zero || head.length != 0) << piece.guest_offset;
        ASSERT_TRUE(std::equal(bytes.begin(), bytes.end(),
                               raw.end() - static_cast<std::ptrdiff_t>(head.length)));
      }
      data += piece.zero ? 0 : piece.length;
    }
    EXPECT_EQ(data, 6u << 20);
  }

  Bytes clean_, pristine_, dirty_;
  uint64_t bat_ = 0, log_ = 0, log_length_ = 0;
};

TEST_F(DirtyVhdx, ReplaysItsLog) {
  expect_same(clean_, raw_);
  expect_same(dirty_, raw_);
}

TEST_F(DirtyVhdx, ReplaysAsQemuDoes) {
  // QEMU 7.2 looks for the latest beginning of a sequence, so it misses one that wraps around.
  write_log(0, 8192);
  expect_same(dirty_, raw_);
  save(dir_ / "dirty", dirty_);
  must("qemu-img check -f vhdx -r all " + (dir_ / "dirty").string());
  must("qemu-img compare -f vhdx -F raw " + (dir_ / "dirty").string() + " " +
       (dir_ / "raw").string());
  expect_same(load(dir_ / "dirty"), raw_);
}

TEST_F(DirtyVhdx, BrokenLogsAreRefused) {
  Bytes torn = dirty_;
  torn[log_ + 4096 + 100] ^= 1;          // the newest entry: it was not finished …
  torn[log_ + log_length_ - 4096] ^= 1;  // … and so was the one before it
  torn[log_ + 49152] ^= 1;
  EXPECT_EQ(status_of(torn, ""), HYPER_CORRUPT);
  Bytes gap = dirty_;
  gap[log_ + log_length_ - 4000] ^= 1;  // the one the newest builds upon
  EXPECT_EQ(status_of(gap, ""), HYPER_CORRUPT);
  Bytes cut = dirty_;
  cut.resize(cut.size() - (1u << 20));
  EXPECT_EQ(status_of(cut, ""), HYPER_CORRUPT);
}

TEST_F(DirtyVhdx, LogsThatLieAreRefusedOrHarmless) {
  std::mt19937 random(8);
  const uint64_t numbers[] = {0,
                              1,
                              2,
                              4096,
                              8192,
                              196608,
                              1u << 20,
                              0x7fffffff,
                              0xfffff000,
                              0xffffffff,
                              1ull << 62,
                              1ull << 63,
                              ~0ull,
                              ~0ull - 4095,
                              log_length_,
                              bat_,
                              dirty_.size()};
  for (int i = 0; i < 80; ++i) {
    const Bytes before(dirty_.begin() + static_cast<std::ptrdiff_t>(log_),
                       dirty_.begin() + static_cast<std::ptrdiff_t>(log_ + log_length_));
    const bool newest = random() % 2 == 0;
    if (!newest) write_log(0, 8192);  // both in one piece
    const uint64_t entry = log_ + (newest ? 4096 : 0);
    const uint64_t field = entry + 8 + random() % 30 * 4;
    put_le(dirty_, field, numbers[random() % std::size(numbers)], random() % 2 == 0 ? 4 : 8);
    sign(dirty_, entry, 8192);
    const auto source = open_bytes(dirty_);
    const hyper_st status = error_of([&] {
                              const auto image = open_image(test_op(), *source, "");
                              pieces_of(*image, 0, image->virtual_size());
                            }).status();
    EXPECT_TRUE(status == HYPER_OK || status == HYPER_CORRUPT || status == HYPER_UNSUPPORTED);
    std::copy(before.begin(), before.end(), dirty_.begin() + static_cast<std::ptrdiff_t>(log_));
  }
}

TEST_F(DirtyVhdx, LogThatChangesContentIsRefused) {
  const uint64_t block = le64(&clean_[bat_]) & ~0xfffffull;
  const uint64_t table = bat_;
  const Bytes sector(clean_.begin() + static_cast<std::ptrdiff_t>(bat_),
                     clean_.begin() + static_cast<std::ptrdiff_t>(bat_) + 4096);
  write_entry(4096, 6, 4096, sector, false);
  bat_ = block;
  write_entry(12288, 7, 4096, sector, false);
  bat_ = table;
  EXPECT_EQ(status_of(dirty_, ""), HYPER_UNSUPPORTED);
}

}  // namespace
}  // namespace hyper::disk::test
