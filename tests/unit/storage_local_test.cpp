// SPDX-License-Identifier: Apache-2.0
// The storage plugin "local", through its C table as the host sees it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>

#include "plugins/storage/local/local_storage.hpp"
#include "tests/support/qemu_test_host.hpp"

namespace {

using hyperhost::storage_local::LocalStorage;
using nlohmann::json;
using test_host::read_file;
using test_host::write_file;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

hyper_st collect(void* arg, const char* text, uint64_t len) noexcept {
  static_cast<std::vector<json>*>(arg)->push_back(json::parse(text, text + len));
  return HYPER_OK;
}

class StorageLocal : public ::testing::Test {
 protected:
  void SetUp() override { connect(directory_.path().string()); }
  void TearDown() override {
    if (connection_ != nullptr) table_->disconnect(connection_, operation_.raw());
  }

  void connect(const std::string& path) {
    if (connection_ != nullptr) table_->disconnect(connection_, operation_.raw());
    const test_host::Options options(json{{"path", path}});
    ASSERT_EQ(HYPER_OK, table_->connect(operation_.raw(), 0, options.raw(), &connection_));
  }
  /// An open sink that closes itself.
  struct OpenSink {
    OpenSink() { table.size = sizeof table; }
    ~OpenSink() { close(); }
    void close() {
      if (table.close != nullptr) table.close(table.ctx, nullptr);
      table.close = nullptr;
    }
    hyper_sink table{};
  };
  hyper_st put(json request, OpenSink& sink) {
    const hyper_doc document{std::move(request)};
    return table_->put(connection_, operation_.raw(), 0, &document, &sink.table);
  }
  hyper_st write(OpenSink& sink, uint64_t offset, const std::string& bytes) {
    return sink.table.write_at(sink.table.ctx, operation_.raw(), 0, offset, bytes.data(),
                               bytes.size());
  }
  hyper_st commit(OpenSink& sink, uint64_t length) {
    emitted_.clear();
    return sink.table.commit(sink.table.ctx, operation_.raw(), 0, length, collect, &emitted_);
  }
  hyper_st put_file(const std::string& key, const std::string& bytes, bool overwrite = false) {
    OpenSink sink;
    const hyper_st status = put({{"key", key}, {"overwrite", overwrite}}, sink);
    if (status != HYPER_OK) return status;
    if (const hyper_st written = write(sink, 0, bytes); written != HYPER_OK) return written;
    return commit(sink, bytes.size());
  }
  std::vector<std::string> list(const std::string& prefix) {
    emitted_.clear();
    EXPECT_EQ(HYPER_OK,
              table_->list(connection_, operation_.raw(), 0, prefix.c_str(), collect, &emitted_));
    std::vector<std::string> keys;
    for (const json& entry : emitted_) keys.push_back(entry.at("key"));
    return keys;
  }

  test_host::TestHost host_;
  test_host::Operation operation_;
  test_host::TemporaryDirectory directory_;
  const hyper_storage* table_ =
      static_cast<const hyper_storage*>(hyper::Storage<LocalStorage>::table());
  void* connection_ = nullptr;
  std::vector<json> emitted_;
};

TEST_F(StorageLocal, InfoOfAMissingDirectoryNamesItsSpaceAndMakesNothing) {
  connect(directory_ / "a/b");
  ASSERT_EQ(HYPER_OK, table_->info(connection_, operation_.raw(), 0, collect, &emitted_));
  EXPECT_EQ(directory_ / "a/b", emitted_.at(0).at("location"));
  EXPECT_GT(emitted_.at(0).at("free_bytes"), 0);
  EXPECT_EQ(json({"random", "path", "readback", "append"}), emitted_.at(0).at("sink"));
  EXPECT_THAT(directory_.names(), IsEmpty());
}

TEST_F(StorageLocal, InfoFailsWhereAFileIsInTheWay) {
  write_file(directory_ / "file", "x");
  connect(directory_ / "file");
  EXPECT_EQ(HYPER_CONFIG, table_->info(connection_, operation_.raw(), 0, collect, &emitted_));
  EXPECT_EQ("/path", operation_.diags().at(0).path);
}

TEST_F(StorageLocal, CommitMakesTheFileAppearUnderItsNameAndNothingElse) {
  connect(directory_ / "new");
  OpenSink sink;
  ASSERT_EQ(HYPER_OK, put({{"key", "vm/disk.raw"}, {"durability", "file"}}, sink));
  ASSERT_EQ(HYPER_OK, write(sink, 3, "def"));
  ASSERT_EQ(HYPER_OK, write(sink, 0, "abc"));
  EXPECT_FALSE(std::filesystem::exists(directory_ / "new/vm/disk.raw"));
  const std::string part = sink.table.path(sink.table.ctx);
  EXPECT_EQ("abcdef", read_file(part));
  EXPECT_THAT(part, HasSubstr("/new/vm/.disk.raw.hyperhost-"));
  ASSERT_EQ(HYPER_OK, commit(sink, 10));
  EXPECT_EQ(std::string("abcdef\0\0\0\0", 10), read_file(directory_ / "new/vm/disk.raw"));
  EXPECT_EQ(directory_ / "new/vm/disk.raw", emitted_.at(0).at("location"));
  EXPECT_EQ(10, emitted_.at(0).at("bytes"));
  EXPECT_FALSE(std::filesystem::exists(part));
  sink.close();
  EXPECT_TRUE(std::filesystem::exists(directory_ / "new/vm/disk.raw"));
}

TEST_F(StorageLocal, CloseWithoutCommitLeavesNothing) {
  {
    OpenSink sink;
    ASSERT_EQ(HYPER_OK, put({{"key", "disk.raw"}}, sink));
    ASSERT_EQ(HYPER_OK, write(sink, 0, "abc"));
    EXPECT_THAT(directory_.names(), ::testing::SizeIs(1));
  }
  EXPECT_THAT(directory_.names(), IsEmpty());
}

TEST_F(StorageLocal, CommitNeverCutsOffWhatWasWritten) {
  OpenSink sink;
  ASSERT_EQ(HYPER_OK, put({{"key", "disk.raw"}}, sink));
  ASSERT_EQ(HYPER_OK, write(sink, 0, "abcdef"));
  EXPECT_EQ(HYPER_FAIL, commit(sink, 5));
  sink.close();
  EXPECT_THAT(directory_.names(), IsEmpty());
}

TEST_F(StorageLocal, ExistingFileIsRefusedUnlessOverwritten) {
  ASSERT_EQ(HYPER_OK, put_file("disk", "old"));
  EXPECT_EQ(HYPER_EXISTS, put_file("disk", "new"));
  EXPECT_EQ("old", read_file(directory_ / "disk"));
  EXPECT_THAT(operation_.text(), HasSubstr("disk\" exists"));
  EXPECT_EQ(HYPER_OK, put_file("disk", "new", true));
  EXPECT_EQ("new", read_file(directory_ / "disk"));
  EXPECT_THAT(directory_.names(), ElementsAre("disk"));
}

TEST_F(StorageLocal, DeviceOrFifoIsNeverReplaced) {
  const std::string fifo = directory_ / "fifo";
  ASSERT_EQ(0, ::mkfifo(fifo.c_str(), 0600));
  std::filesystem::create_symlink("fifo", directory_ / "link");
  for (const char* key : {"fifo", "link"}) {
    EXPECT_EQ(HYPER_EXISTS, put_file(key, "new", true)) << key;
    EXPECT_THAT(operation_.text(), HasSubstr("special file"));
  }
  EXPECT_TRUE(std::filesystem::is_fifo(fifo));
  EXPECT_THAT(directory_.names(), ::testing::UnorderedElementsAre("fifo", "link"));
}

TEST_F(StorageLocal, FileMadeInTheMeantimeIsNotClobbered) {
  OpenSink sink;
  ASSERT_EQ(HYPER_OK, put({{"key", "disk"}}, sink));
  ASSERT_EQ(HYPER_OK, write(sink, 0, "ours"));
  write_file(directory_ / "disk", "theirs");
  EXPECT_EQ(HYPER_EXISTS, commit(sink, 4));
  sink.close();
  EXPECT_EQ("theirs", read_file(directory_ / "disk"));
  EXPECT_THAT(directory_.names(), ElementsAre("disk"));
}

TEST_F(StorageLocal, ReplacedTemporaryFileIsNotCommitted) {
  OpenSink sink;
  ASSERT_EQ(HYPER_OK, put({{"key", "disk"}}, sink));
  const std::string part = sink.table.path(sink.table.ctx);
  std::filesystem::remove(part);
  write_file(part, "other");
  EXPECT_EQ(HYPER_FAIL, commit(sink, 5));
  EXPECT_FALSE(std::filesystem::exists(directory_ / "disk"));
}

TEST_F(StorageLocal, KeysThatLeadOutOrAreMalformedAreRefused) {
  for (const char* key : {"", "/etc/passwd", "../x", "a/../x", "a//b", "a/", ".", "a/./b", "a\nb",
                          ".disk.hyperhost-1-2.part"}) {
    EXPECT_EQ(HYPER_CONFIG, put_file(key, "x")) << key;
    emitted_.clear();
    EXPECT_EQ(HYPER_CONFIG, table_->stat(connection_, operation_.raw(), 0, key, collect, &emitted_))
        << key;
    EXPECT_EQ(HYPER_CONFIG, table_->remove(connection_, operation_.raw(), 0, key)) << key;
  }
  EXPECT_EQ(HYPER_CONFIG, put_file(std::string(256, 'a'), "x"));
  EXPECT_THAT(directory_.names(), IsEmpty());
}

TEST_F(StorageLocal, LinksInsideAreNotFollowed) {
  const test_host::TemporaryDirectory outside;
  write_file(outside / "secret", "s");
  std::filesystem::create_directory_symlink(outside.path(), directory_ / "way");
  std::filesystem::create_symlink(outside / "secret", directory_ / "link");
  EXPECT_EQ(HYPER_AUTH, put_file("way/x", "x"));
  EXPECT_EQ(HYPER_AUTH, table_->remove(connection_, operation_.raw(), 0, "way/secret"));
  hyper_source source{};
  source.size = sizeof source;
  EXPECT_EQ(HYPER_AUTH, table_->get(connection_, operation_.raw(), 0, "link", &source));
  EXPECT_EQ(HYPER_OK, put_file("link", "mine", true));  // replaces the link, not what it names
  EXPECT_EQ("s", read_file(outside / "secret"));
  EXPECT_THAT(outside.names(), ElementsAre("secret"));
}

TEST_F(StorageLocal, LongestNameHasATemporaryNameToo) {
  std::string name;
  while (name.size() + 2 <= 255) name += "ü";
  EXPECT_EQ(HYPER_OK, put_file(name, "x"));
  EXPECT_THAT(directory_.names(), ElementsAre(name));
}

TEST_F(StorageLocal, ZeroedRangesReadAsZeros) {
  OpenSink sink;
  ASSERT_EQ(HYPER_OK, put({{"key", "disk"}}, sink));
  ASSERT_EQ(HYPER_OK, write(sink, 0, std::string(100000, 'x')));
  ASSERT_EQ(HYPER_OK, sink.table.zero_at(sink.table.ctx, operation_.raw(), 0, 10, 99980));
  ASSERT_EQ(HYPER_OK, sink.table.zero_at(sink.table.ctx, operation_.raw(), 0, 99995, 1000000));
  ASSERT_EQ(HYPER_OK, commit(sink, 100000));
  EXPECT_EQ(
      std::string(10, 'x') + std::string(99980, '\0') + std::string(5, 'x') + std::string(5, '\0'),
      read_file(directory_ / "disk"));
}

TEST_F(StorageLocal, WritesMayComeFromManyThreads) {
  OpenSink sink;
  ASSERT_EQ(HYPER_OK, put({{"key", "disk"}, {"durability", "file"}}, sink));
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i)
      threads.emplace_back([&, i] {
        const std::string bytes(1 << 20, static_cast<char>('a' + i));
        for (uint64_t k = 0; k < 8; ++k)
          EXPECT_EQ(HYPER_OK, write(sink, (k * 8 + static_cast<uint64_t>(i)) << 20, bytes));
      });
  }
  ASSERT_EQ(HYPER_OK, commit(sink, 64u << 20));
  const std::string whole = read_file(directory_ / "disk");
  for (std::size_t mib = 0; mib < 64; ++mib)
    ASSERT_EQ(std::string::npos,
              whole.substr(mib << 20, 1 << 20).find_first_not_of(static_cast<char>('a' + mib % 8)));
}

TEST_F(StorageLocal, ReadBackBeforeCommitShowsBytesAndHoles) {
  OpenSink sink;
  ASSERT_EQ(HYPER_OK, put({{"key", "disk"}}, sink));
  ASSERT_EQ(HYPER_OK, write(sink, 1 << 20, std::string(4096, 'x')));
  hyper::OwnedSource back;
  ASSERT_EQ(HYPER_OK, sink.table.reopen(sink.table.ctx, operation_.raw(), 0, 2u << 20, back.out()));
  EXPECT_EQ(2u << 20, back.length());
  std::string bytes(4096, '?');
  back.read_at(operation_.op(), 1 << 20, bytes.data(), bytes.size());
  EXPECT_EQ(std::string(4096, 'x'), bytes);
  uint64_t at = 0, zero = 0;
  back.extents(operation_.op(), 0, back.length(), [&](const hyper_extent& extent) {
    EXPECT_EQ(at, extent.offset);
    at += extent.length;
    if ((extent.flags & HYPER_EXTENT_ZERO) != 0) zero += extent.length;
  });
  EXPECT_EQ(back.length(), at);
  EXPECT_EQ((2u << 20) - 4096, zero);
  EXPECT_EQ(sink.table.path(sink.table.ctx), back.locate(operation_.op()).path);
}

TEST_F(StorageLocal, GetStatListAndRemove) {
  ASSERT_EQ(HYPER_OK, put_file("vm/b", "bb"));
  ASSERT_EQ(HYPER_OK, put_file("vm/a", "a"));
  ASSERT_EQ(HYPER_OK, put_file("vm2/c", "ccc"));
  OpenSink unfinished;
  ASSERT_EQ(HYPER_OK, put({{"key", "vm/z"}}, unfinished));
  EXPECT_THAT(list(""), ElementsAre("vm/a", "vm/b", "vm2/c"));
  EXPECT_THAT(list("vm/"), ElementsAre("vm/a", "vm/b"));
  EXPECT_THAT(list("vm2/c"), ElementsAre("vm2/c"));
  EXPECT_THAT(list("nothing"), IsEmpty());
  emitted_.clear();
  ASSERT_EQ(HYPER_OK, table_->stat(connection_, operation_.raw(), 0, "vm/b", collect, &emitted_));
  EXPECT_EQ(2, emitted_.at(0).at("bytes"));
  EXPECT_THAT(emitted_.at(0).at("modified").get<std::string>(),
              ::testing::MatchesRegex("....-..-..T..:..:..Z"));
  hyper::OwnedSource source;
  ASSERT_EQ(HYPER_OK, table_->get(connection_, operation_.raw(), 0, "vm/b", source.out()));
  std::string bytes(2, '?');
  source.read_at(operation_.op(), 0, bytes.data(), 2);
  EXPECT_EQ("bb", bytes);
  EXPECT_EQ(HYPER_OK, table_->remove(connection_, operation_.raw(), 0, "vm/b"));
  EXPECT_THAT(operation_.diags(), IsEmpty());
  EXPECT_EQ(HYPER_NOTFOUND,
            table_->stat(connection_, operation_.raw(), 0, "vm/b", collect, &emitted_));
  EXPECT_THAT(operation_.diags(), IsEmpty());  // an expected outcome, not reported
  EXPECT_EQ(HYPER_NOTFOUND, table_->remove(connection_, operation_.raw(), 0, "vm/b"));
  EXPECT_EQ(1u, operation_.diags().size());
}

TEST_F(StorageLocal, ExpectedBytesBeyondTheFreeSpaceAreRefusedBeforeAnythingIsMade) {
  OpenSink sink;
  EXPECT_EQ(HYPER_NOSPACE, put({{"key", "vm/disk"}, {"expected_bytes", uint64_t{1} << 60}}, sink));
  EXPECT_THAT(operation_.text(), HasSubstr("are free"));
  EXPECT_THAT(directory_.names(), IsEmpty());
}

TEST_F(StorageLocal, MalformedRequestIsAConfigError) {
  OpenSink sink;
  EXPECT_EQ(HYPER_CONFIG, put({{"key", 5}}, sink));
  EXPECT_EQ(HYPER_CONFIG, put({{"key", "a"}, {"expected_bytes", -1}}, sink));
  EXPECT_EQ(HYPER_CONFIG, put({{"key", "a"}, {"durability", "maybe"}}, sink));
}

TEST_F(StorageLocal, CancelStopsAWrite) {
  OpenSink sink;
  ASSERT_EQ(HYPER_OK, put({{"key", "disk"}}, sink));
  operation_.cancel();
  EXPECT_EQ(HYPER_CANCELLED, write(sink, 0, "abc"));
  EXPECT_EQ(HYPER_CANCELLED, commit(sink, 3));
  sink.close();
  EXPECT_THAT(directory_.names(), IsEmpty());
}

TEST_F(StorageLocal, FullFileSystemIsOneClearMessageAndLeavesNothing) {
  const std::string small = directory_ / "small";
  std::filesystem::create_directory(small);
  if (::mount("tmpfs", small.c_str(), "tmpfs", 0, "size=1m") != 0)
    SKIP_OR_FAIL("mounting a small tmpfs needs root");
  connect(small);
  {
    OpenSink sink;
    EXPECT_EQ(HYPER_OK, put({{"key", "disk"}}, sink));
    EXPECT_EQ(HYPER_NOSPACE, write(sink, 0, std::string(2 << 20, 'x')));
  }
  EXPECT_TRUE(std::filesystem::is_empty(small));
  ::umount(small.c_str());
  ASSERT_EQ(1u, operation_.diags().size());
  EXPECT_THAT(operation_.diags()[0].summary, HasSubstr("no space left"));
  EXPECT_THAT(operation_.diags()[0].summary, HasSubstr("small/disk"));
  EXPECT_THAT(operation_.diags()[0].hint, HasSubstr("free some space"));
}

TEST_F(StorageLocal, FileSizeLimitIsOneClearMessage) {
  struct rlimit before {};
  ASSERT_EQ(0, ::getrlimit(RLIMIT_FSIZE, &before));
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit limit = {1 << 20, before.rlim_max};
  ASSERT_EQ(0, ::setrlimit(RLIMIT_FSIZE, &limit));
  {
    OpenSink sink;
    EXPECT_EQ(HYPER_OK, put({{"key", "disk"}}, sink));
    EXPECT_EQ(HYPER_NOSPACE, write(sink, 0, std::string(2 << 20, 'x')));
  }
  ASSERT_EQ(0, ::setrlimit(RLIMIT_FSIZE, &before));
  ::signal(SIGXFSZ, handler);
  EXPECT_THAT(operation_.text(), HasSubstr("ulimit -f"));
  EXPECT_THAT(directory_.names(), IsEmpty());
}

}  // namespace
