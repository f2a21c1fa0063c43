// SPDX-License-Identifier: Apache-2.0
// The writable view of a disk: it reads as a disk that was written, and the disk below stays as it
// is; hostile ranges, a failing source, a full disk, threads, and files that are kept.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "core/block/overlay.hpp"
#include "core/disk/content.hpp"
#include "core/disk/local_sources.hpp"
#include "tests/support/bytes_source.hpp"

namespace hyperhost {
namespace {

using test::bytes_of;
using test::BytesTraits;
using test::pattern;
using test::source_of;

constexpr uint64_t kCluster = Overlay::kCluster;

class OverlayTest : public test::BlockTest {
 protected:
  std::string read(BlockDevice& device, uint64_t offset, uint64_t length) {
    std::string out(length, '?');
    device.read_at(plain_, offset, out.data(), length);
    return out;
  }
  std::vector<hyper_extent> extents(BlockDevice& device, uint64_t offset, uint64_t length) {
    std::vector<hyper_extent> out;
    device.extents(plain_, offset, length, [&](const hyper_extent& one) { out.push_back(one); });
    return out;
  }
  /// They cover the range, and what they call zero is zero.
  void check_extents(BlockDevice& device, const std::string& truth) {
    uint64_t at = 0;
    for (const hyper_extent& one : extents(device, 0, truth.size())) {
      ASSERT_EQ(one.offset, at);
      ASSERT_GT(one.length, 0u);
      ASSERT_LE(one.length, truth.size() - at);
      if (one.flags != 0) {
        ASSERT_EQ(truth.substr(at, one.length).find_first_not_of('\0'), std::string::npos);
      }
      at += one.length;
    }
    EXPECT_EQ(at, truth.size());
  }
};

hyper_st status_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const hyper::Error& error) {
    return error.status();
  } catch (const hyper::Reported& error) {
    return error.status();
  }
  return HYPER_OK;
}

Code code_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code();
  }
  return Code::kOk;
}

TEST_F(OverlayTest, ReadsWhatWasWrittenAndTheDiskBelowStays) {
  const std::string original = pattern(9 * kCluster + 777);
  const auto state = bytes_of(original);
  BytesTraits traits;
  traits.block_min = 512;
  traits.block_max = 96 << 10;
  traits.max_parallel = 1;
  const auto overlay = Overlay::scratch(source_of(state, traits), directory_);
  std::string truth = original;
  std::mt19937_64 random(7);
  for (int i = 0; i < 400; ++i) {
    const uint64_t offset = random() % truth.size();
    const uint64_t most = i % 10 == 0 ? truth.size() : 3000;
    const uint64_t length = std::min(1 + random() % most, truth.size() - offset);
    if (i % 3 == 0) {
      overlay->zero_at(plain_, offset, length);
      truth.replace(offset, length, length, '\0');
    } else {
      const std::string bytes = pattern(length, static_cast<uint32_t>(i));
      overlay->write_at(plain_, offset, bytes.data(), length);
      truth.replace(offset, length, bytes);
    }
    const uint64_t from = random() % truth.size();
    const uint64_t size = std::min<uint64_t>(random() % 200000, truth.size() - from);
    ASSERT_EQ(read(*overlay, from, size), truth.substr(from, size)) << "after " << i;
  }
  EXPECT_EQ(read(*overlay, 0, truth.size()), truth);
  EXPECT_EQ(state->bytes, original);
  check_extents(*overlay, truth);
  EXPECT_TRUE(std::filesystem::is_empty(directory_));  // no name that a kill could leave
}

TEST_F(OverlayTest, PiecesOfALongReadAreAligned) {
  const std::string original = pattern(3 * kCluster);
  BytesTraits traits;
  traits.block_min = 512;
  traits.block_max = 5000;  // no multiple
  const auto overlay = Overlay::scratch(source_of(bytes_of(original), traits), directory_);
  EXPECT_EQ(read(*overlay, 100, 2 * kCluster), original.substr(100, 2 * kCluster));
}

TEST_F(OverlayTest, TheMapOfAnEmptyDiskIsNoWork) {
  constexpr uint64_t kFar = uint64_t{1} << 45, kEnd = uint64_t{1} << 46;
  OverlayMap map;
  EXPECT_EQ(map.run(5, kEnd).end, kEnd);
  map.set(kFar + 3, Held::kData);
  EXPECT_EQ(map.run(5, kEnd).end, kFar + 3);
  EXPECT_EQ(map.run(5, kFar).end, kFar);
  EXPECT_EQ(map.run(kFar + 3, kEnd).end, kFar + 4);
  EXPECT_EQ(map.run(kFar + 4, kEnd).end, kEnd);
}

TEST_F(OverlayTest, IsAnOrdinarySource) {
  std::string truth = pattern(5 * kCluster);
  const std::shared_ptr<Overlay> overlay = Overlay::scratch(source_of(bytes_of(truth)), directory_);
  overlay->write_at(plain_, kCluster - 3, "abcdef", 6);
  truth.replace(kCluster - 3, 6, "abcdef");
  const auto source = open_block_source(overlay);
  source->validate("the view");
  EXPECT_TRUE(source->can(HYPER_SOURCE_SEEK | HYPER_SOURCE_EXTENTS));
  EXPECT_EQ(content_digest(*source, op_, 4), content_digest(*source_of(bytes_of(truth)), op_, 1));
  EXPECT_THROW(source->read_at(op_, truth.size() - 1, truth.data(), 2), Error);
}

TEST_F(OverlayTest, RefusesRangesBeyondTheDisk) {
  const auto state = bytes_of(pattern(3 * kCluster));
  const auto overlay = Overlay::scratch(source_of(state), directory_);
  char byte = 0;
  const uint64_t size = overlay->length();
  for (const auto& [offset, length] : std::vector<std::pair<uint64_t, uint64_t>>{
           {size, 1}, {size - 1, 2}, {UINT64_MAX, 1}, {1, UINT64_MAX}, {UINT64_MAX, UINT64_MAX}}) {
    const uint64_t at = offset, many = length;
    EXPECT_EQ(status_of([&] { overlay->read_at(plain_, at, &byte, many); }), HYPER_FAIL);
    EXPECT_EQ(status_of([&] { overlay->write_at(plain_, at, &byte, many); }), HYPER_FAIL);
    EXPECT_EQ(status_of([&] { overlay->zero_at(plain_, at, many); }), HYPER_FAIL);
    EXPECT_EQ(status_of([&] { extents(*overlay, at, many); }), HYPER_FAIL);
  }
  EXPECT_EQ(state->reads, 0);
  overlay->read_at(plain_, size, &byte, 0);
  overlay->write_at(plain_, size, &byte, 0);
  overlay->zero_at(plain_, size, 0);
  EXPECT_TRUE(extents(*overlay, size, 0).empty());
}

TEST_F(OverlayTest, AClusterWithoutWritesKeepsTheFlagsOfItsDisk) {
  BytesTraits traits;
  traits.flags = HYPER_SOURCE_SEEK | HYPER_SOURCE_EXTENTS;
  traits.max_parallel = 1;
  traits.extents = [](uint64_t offset, uint64_t length, const hyper::EmitExtent& emit) {
    const uint64_t hole = 4 * kCluster, end = offset + length;  // a hole from there on
    if (offset < hole) emit(offset, std::min(end, hole) - offset, 0);
    if (end > hole) emit(std::max(offset, hole), end - std::max(offset, hole), 3);
  };
  std::string truth = pattern(8 * kCluster);
  truth.replace(4 * kCluster, 4 * kCluster, 4 * kCluster, '\0');
  const auto overlay = Overlay::scratch(source_of(bytes_of(truth), traits), directory_);
  overlay->write_at(plain_, 5 * kCluster + 1, "x", 1);
  overlay->zero_at(plain_, kCluster, kCluster);
  const auto found = extents(*overlay, 0, truth.size());
  std::vector<std::pair<uint64_t, uint32_t>> got;
  for (const hyper_extent& one : found) got.emplace_back(one.length / kCluster, one.flags);
  const std::vector<std::pair<uint64_t, uint32_t>> wanted = {
      {1, 0}, {1, HYPER_EXTENT_ZERO}, {2, 0}, {1, 3}, {1, 0}, {2, 3}};
  EXPECT_EQ(got, wanted);
  std::vector<std::pair<uint64_t, uint64_t>> held;
  overlay->each_held([&](uint64_t at, uint64_t size) { held.emplace_back(at, size); });
  EXPECT_EQ(held, (std::vector<std::pair<uint64_t, uint64_t>>{{kCluster, kCluster},
                                                              {5 * kCluster, kCluster}}));
  // The callback may use the disk, although its source takes one call at a time.
  overlay->extents(plain_, 0, truth.size(), [&](const hyper_extent& one) {
    EXPECT_EQ(read(*overlay, one.offset, 1).size(), 1u);
  });
}

TEST_F(OverlayTest, LyingExtentsAreRefused) {
  for (const int lie : {0, 1, 2}) {
    BytesTraits traits;
    traits.flags = HYPER_SOURCE_SEEK | HYPER_SOURCE_EXTENTS;
    traits.extents = [lie](uint64_t offset, uint64_t length, const hyper::EmitExtent& emit) {
      if (lie == 0) emit(offset + 1, length - 1, 0);  // a gap
      if (lie == 1) emit(offset, length + 1, 3);      // beyond the end
      if (lie == 2) emit(offset, length - 1, 3);      // too short
    };
    const auto overlay =
        Overlay::scratch(source_of(bytes_of(pattern(kCluster)), traits), directory_);
    EXPECT_NE(status_of([&] { extents(*overlay, 0, kCluster); }), HYPER_OK) << lie;
  }
}

TEST_F(OverlayTest, AFailureOfTheDiskBelowIsReportedAndChangesNothing) {
  const std::string original = pattern(4 * kCluster);
  const auto state = bytes_of(original);
  const auto overlay = Overlay::scratch(source_of(state), directory_);
  state->fail_at = kCluster + 100;
  char bytes[8] = "newdata";
  EXPECT_EQ(status_of([&] { read(*overlay, kCluster, 200); }), HYPER_IO);
  EXPECT_EQ(op_.diagnostics().back().summary, "a bad sector");
  EXPECT_EQ(status_of([&] { overlay->write_at(plain_, kCluster + 5, bytes, 7); }), HYPER_IO);
  EXPECT_EQ(status_of([&] { overlay->zero_at(plain_, kCluster + 5, 7); }), HYPER_IO);
  const std::string whole = pattern(kCluster, 9);
  overlay->write_at(plain_, kCluster, whole.data(), kCluster);  // needs nothing of the disk
  EXPECT_EQ(read(*overlay, kCluster, kCluster), whole);
  state->fail_at = UINT64_MAX;
  EXPECT_EQ(read(*overlay, 0, kCluster), original.substr(0, kCluster));
}

/// The files of this process cannot grow beyond a size while it lives.
class FileLimit {
 public:
  explicit FileLimit(uint64_t most) {
    handler_ = ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limit = before_;
    limit.rlim_cur = most;
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, handler_);
  }
  FileLimit(const FileLimit&) = delete;
  FileLimit& operator=(const FileLimit&) = delete;

 private:
  rlimit before_{};
  sighandler_t handler_;
};

TEST_F(OverlayTest, AFullDiskIsReportedAndWhatWasThereStays) {
  const std::string original = pattern(4 * kCluster);
  const auto overlay = Overlay::scratch(source_of(bytes_of(original)), directory_);
  const std::string bytes = pattern(2 * kCluster, 5);
  {
    const FileLimit limit(3 * kCluster);  // the last cluster has no place
    EXPECT_EQ(
        status_of([&] { overlay->write_at(plain_, 2 * kCluster, bytes.data(), 2 * kCluster); }),
        HYPER_NOSPACE);
    EXPECT_EQ(read(*overlay, 3 * kCluster, kCluster), original.substr(3 * kCluster));
  }
  overlay->write_at(plain_, 2 * kCluster, bytes.data(), 2 * kCluster);
  EXPECT_EQ(read(*overlay, 2 * kCluster, 2 * kCluster), bytes);
}

TEST_F(OverlayTest, ThreadsThatWriteOneClusterLoseNothing) {
  constexpr uint64_t kPiece = 1000;
  const std::string original = pattern(8 * kCluster);
  BytesTraits traits;
  traits.max_parallel = 1;
  const auto overlay = Overlay::scratch(source_of(bytes_of(original), traits), directory_);
  const std::string wanted = pattern(original.size(), 99);
  {
    std::vector<std::jthread> threads;
    for (uint64_t mine = 0; mine < 4; ++mine)
      threads.emplace_back([&, mine] {
        Operation op("thread", CancelSource::create());
        std::string buffer(2 * kPiece, '\0');
        for (uint64_t at = mine * kPiece; at < original.size(); at += 4 * kPiece) {
          const uint64_t size = std::min(kPiece, original.size() - at);
          overlay->write_at(hyper::Op(&op), at, wanted.data() + at, size);
          overlay->read_at(hyper::Op(&op), at, buffer.data(), size);
          ASSERT_EQ(buffer.substr(0, size), wanted.substr(at, size));
        }
      });
  }
  EXPECT_EQ(read(*overlay, 0, wanted.size()), wanted);
}

TEST_F(OverlayTest, ALargeDiskCostsWhatIsWritten) {
  constexpr uint64_t kSize = uint64_t{4} << 40;
  const auto overlay = Overlay::scratch(open_blank_source(kSize), directory_);
  overlay->write_at(plain_, kSize - 5, "hello", 5);
  EXPECT_EQ(read(*overlay, kSize - 7, 7), std::string("\0\0hello", 7));
  EXPECT_EQ(extents(*overlay, kSize - (uint64_t{1} << 30), uint64_t{1} << 30).back().flags, 0u);
}

TEST_F(OverlayTest, AKeepableOneHasNoNameUntilItIsKept) {
  const std::string original = pattern(5 * kCluster + 99);
  const auto state = bytes_of(original);
  const auto file = directory_ / "later.overlay";
  std::string truth = original, digest;
  const auto put = [&](Overlay& overlay, uint64_t offset, const std::string& bytes) {
    overlay.write_at(plain_, offset, bytes.data(), bytes.size());
    truth.replace(offset, bytes.size(), bytes);
  };
  {
    const auto overlay = Overlay::keepable(source_of(state), directory_, op_);
    put(*overlay, kCluster - 2, "over the edge");
    overlay->zero_at(plain_, 2 * kCluster, kCluster);
    truth.replace(2 * kCluster, kCluster, kCluster, '\0');
    put(*overlay, truth.size() - 3, "end");
    overlay->flush(plain_);
    EXPECT_TRUE(std::filesystem::is_empty(directory_));
    overlay->keep(file);
    digest = overlay->digest(op_);
    EXPECT_EQ(read(*overlay, 0, truth.size()), truth);
    EXPECT_EQ(code_of([&] { Overlay::kept(source_of(state), file, op_); }), Code::kBusy);
  }
  {
    const auto overlay = Overlay::kept(source_of(state), file, op_);
    EXPECT_EQ(read(*overlay, 0, truth.size()), truth);
    EXPECT_EQ(overlay->digest(op_), digest);
    put(*overlay, 3 * kCluster, "!");
    EXPECT_NE(overlay->digest(op_), digest);
  }
  const auto gone = directory_ / "gone";
  const auto overlay = Overlay::keepable(source_of(state), directory_, op_);
  EXPECT_NE(code_of([&] { overlay->keep(gone / "it"); }), Code::kOk);
  EXPECT_NE(code_of([&] { overlay->keep(file); }), Code::kOk);
  EXPECT_EQ(read(*overlay, 0, original.size()), original);
}

TEST_F(OverlayTest, AKeptFileHasWhatWasFlushed) {
  const std::string original = pattern(6 * kCluster + 10);
  const auto state = bytes_of(original);
  const auto file = directory_ / "kept.overlay";
  std::string truth = original;
  {
    const auto overlay = Overlay::kept(source_of(state), file, op_);
    overlay->write_at(plain_, kCluster + 7, "seven", 5);
    overlay->zero_at(plain_, 3 * kCluster, 2 * kCluster);
    overlay->write_at(plain_, truth.size() - 2, "ok", 2);
    overlay->flush(plain_);
    truth.replace(kCluster + 7, 5, "seven");
    truth.replace(3 * kCluster, 2 * kCluster, 2 * kCluster, '\0');
    truth.replace(truth.size() - 2, 2, "ok");
    EXPECT_EQ(code_of([&] { Overlay::kept(source_of(state), file, op_); }), Code::kBusy);
  }
  {
    const auto overlay = Overlay::kept(source_of(state), file, op_);
    EXPECT_EQ(read(*overlay, 0, truth.size()), truth);
    overlay->write_at(plain_, 3 * kCluster, "again", 5);
    overlay->flush(plain_);
    truth.replace(3 * kCluster, 5, "again");
  }
  EXPECT_EQ(read(*Overlay::kept(source_of(state), file, op_), 0, truth.size()), truth);
  struct stat status {};
  ASSERT_EQ(::stat(file.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST_F(OverlayTest, AKeptFileOfAnotherDiskOrADamagedOneIsRefused) {
  const std::string original = pattern(20 * kCluster);
  const auto state = bytes_of(original);
  const auto file = directory_ / "kept.overlay";
  Overlay::kept(source_of(state), file, op_)->write_at(plain_, 0, "x", 1);
  {
    const auto overlay = Overlay::kept(source_of(state), file, op_);
    overlay->write_at(plain_, 0, "x", 1);
    overlay->flush(plain_);
  }
  const auto open = [&](const std::string& bytes) {
    return code_of([&] { Overlay::kept(source_of(bytes_of(bytes)), file, op_); });
  };
  EXPECT_EQ(open(original), Code::kOk);
  std::string other = original;
  other.back() ^= 1;
  EXPECT_EQ(open(other), Code::kConfig);
  EXPECT_EQ(open(original.substr(kCluster)), Code::kConfig);

  const auto patched = [&](uint64_t at, char byte) {
    std::fstream edit(file, std::ios::in | std::ios::out | std::ios::binary);
    edit.seekg(static_cast<std::streamoff>(at));
    const char before = static_cast<char>(edit.get());
    edit.seekp(static_cast<std::streamoff>(at));
    edit.put(byte);
    edit.close();
    const Code code = open(original);
    std::fstream(file, std::ios::in | std::ios::out | std::ios::binary)
        .seekp(static_cast<std::streamoff>(at))
        .put(before);
    return code;
  };
  EXPECT_EQ(patched(0, 'h'), Code::kCorrupt);        // the magic
  EXPECT_EQ(patched(8, 2), Code::kUnsupported);      // the version
  EXPECT_EQ(patched(30, 0x55), Code::kCorrupt);      // the fingerprint without its checksum
  EXPECT_EQ(patched(4096, 3), Code::kCorrupt);       // a state that there is not
  EXPECT_EQ(patched(4096 + 10, 1), Code::kCorrupt);  // a cluster behind the end
  EXPECT_EQ(open(original), Code::kOk);
  std::filesystem::resize_file(file, std::filesystem::file_size(file) - 1);
  EXPECT_EQ(open(original), Code::kCorrupt);
}

TEST_F(OverlayTest, AFileWhoseCreationWasInterruptedIsTaken) {
  const std::string original = pattern(6 * kCluster);
  const auto file = directory_ / "kept.overlay";
  const auto open = [&] { return Overlay::kept(source_of(bytes_of(original)), file, op_); };
  std::ofstream{file};
  std::filesystem::resize_file(file, kCluster + original.size());  // a kill behind the first step
  {
    const auto overlay = open();
    overlay->write_at(plain_, 5, "five", 4);
    overlay->flush(plain_);
  }
  EXPECT_EQ(read(*open(), 5, 4), "five");
  // The same size, but something is in it.
  std::filesystem::resize_file(file, 0);
  std::filesystem::resize_file(file, kCluster + original.size());
  std::fstream(file, std::ios::in | std::ios::out | std::ios::binary).seekp(3 * kCluster).put('x');
  EXPECT_EQ(code_of(open), Code::kCorrupt);
  std::filesystem::resize_file(file, 0);
  std::filesystem::resize_file(file, 2 * kCluster + original.size());  // another size
  EXPECT_EQ(code_of(open), Code::kCorrupt);
}

TEST_F(OverlayTest, OnlyAnOverlayIsTakenForOne) {
  const auto state = bytes_of(pattern(kCluster));
  const auto file = directory_ / "precious.txt";
  std::ofstream(file) << std::string(5000, 'p');
  EXPECT_EQ(code_of([&] { Overlay::kept(source_of(state), file, op_); }), Code::kCorrupt);
  EXPECT_EQ(std::filesystem::file_size(file), 5000u);
  std::filesystem::create_symlink(file, directory_ / "link");
  EXPECT_NE(code_of([&] { Overlay::kept(source_of(state), directory_ / "link", op_); }), Code::kOk);
  EXPECT_NE(code_of([&] { Overlay::kept(source_of(state), directory_, op_); }), Code::kOk);
  EXPECT_NE(code_of([&] { Overlay::scratch(source_of(state), file); }), Code::kOk);
}

TEST_F(OverlayTest, ACancelEndsWhatTakesLong) {
  const auto overlay = Overlay::scratch(open_blank_source(uint64_t{1} << 40), directory_);
  op_.cancel().cancel();
  EXPECT_EQ(status_of([&] { overlay->zero_at(plain_, 0, uint64_t{1} << 40); }), HYPER_CANCELLED);
  EXPECT_EQ(status_of([&] { extents(*overlay, 0, uint64_t{1} << 40); }), HYPER_CANCELLED);
}

TEST_F(OverlayTest, ADiskWithoutAnOverlayRefusesWrites) {
  const std::string original = pattern(1000);
  const auto device = read_only_device(source_of(bytes_of(original)));
  EXPECT_FALSE(device->writable());
  EXPECT_EQ(read(*device, 5, 100), original.substr(5, 100));
  EXPECT_EQ(status_of([&] { device->write_at(plain_, 0, "x", 1); }), HYPER_AUTH);
  EXPECT_EQ(status_of([&] { device->zero_at(plain_, 0, 1); }), HYPER_AUTH);
  EXPECT_EQ(status_of([&] { read(*device, 999, 2); }), HYPER_FAIL);
}

}  // namespace
}  // namespace hyperhost
