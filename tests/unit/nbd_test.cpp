// SPDX-License-Identifier: Apache-2.0
// The NBD server: libnbd as its client, and clients that break the protocol.
#include <gtest/gtest.h>
#include <libnbd.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <filesystem>
#include <future>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/block/block_table.hpp"
#include "core/block/nbd_protocol.hpp"
#include "core/block/nbd_server.hpp"
#include "core/block/nbd_socket.hpp"
#include "core/block/overlay.hpp"
#include "core/os/loopback.hpp"
#include "tests/support/bytes_source.hpp"

namespace hyperhost {
namespace {

using test::bytes_of;
using test::BytesState;
using test::BytesTraits;
using test::pattern;
using test::source_of;

constexpr uint64_t kCluster = Overlay::kCluster;

/// libnbd's handle. Failures of calls are in what().
class Client {
 public:
  Client() : nbd_(nbd_create()) {}
  ~Client() { nbd_close(nbd_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  nbd_handle* operator*() const { return nbd_; }

 private:
  nbd_handle* const nbd_;
};

class NbdTest : public test::BlockTest {
 protected:
  // Made before any thread, as programs do: ThreadSanitizer does not see how spdlog makes it once.
  NbdTest() { static_cast<void>(spdlog::default_logger_raw()); }

  /// A writable disk "" over `state`, the same read-only as "frozen".
  void serve(const std::shared_ptr<BytesState>& state, BytesTraits traits = {}) {
    overlay_ = Overlay::scratch(source_of(state, traits), directory_);
    socket_ = NbdSocket::at(directory_ / "disk sock");
    server_ = std::make_unique<NbdServer>(
        socket_->take(),
        std::vector<NbdExport>{{"", "the disk", overlay_},
                               {"frozen", "", read_only_device(source_of(state, traits))}},
        cancel_);
  }
  void connect(const Client& client, const std::string& name = "") {
    ASSERT_EQ(nbd_add_meta_context(*client, LIBNBD_CONTEXT_BASE_ALLOCATION), 0);
    ASSERT_EQ(nbd_connect_uri(*client, socket_->uri(name).c_str()), 0) << nbd_get_error();
  }
  /// A socket without a client's manners.
  Fd plain() {
    Fd out(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socket_->path().string().copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::connect(out.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    return out;
  }
  /// The same behind its handshake: an old client, with simple replies.
  Fd transmitting(const std::string& name = "") {
    Fd out = plain();
    char answer[18];
    EXPECT_EQ(::recv(out.get(), answer, 18, MSG_WAITALL), 18);
    const auto size = static_cast<uint32_t>(name.size());
    send(out, NbdMessage().u32(nbd::kFixedNewstyle | nbd::kNoZeroes).bytes() +
                  NbdMessage().u64(nbd::kOptionMagic).u32(1).u32(size).text(name).bytes());
    EXPECT_EQ(::recv(out.get(), answer, 10, MSG_WAITALL), 10);
    return out;
  }
  /// False once the server has left.
  static bool send(const Fd& client, const std::string& bytes) {
    std::size_t sent = 0;
    while (sent < bytes.size()) {
      const ssize_t put =
          ::send(client.get(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (put <= 0) return false;
      sent += static_cast<std::size_t>(put);
    }
    return true;
  }
  static std::string request(uint16_t flags, uint16_t type, uint64_t offset, uint32_t length) {
    return NbdMessage()
        .u32(nbd::kRequestMagic)
        .u16(flags)
        .u16(type)
        .u64(1)
        .u64(offset)
        .u32(length)
        .bytes();
  }
  /// The error of a simple reply; the data behind it is dropped.
  static uint32_t error_of(const Fd& client, std::size_t data = 0) {
    std::string reply(16 + data, '\0');
    EXPECT_EQ(::recv(client.get(), reply.data(), reply.size(), MSG_WAITALL),
              static_cast<ssize_t>(reply.size()));
    uint32_t error = 0;
    for (std::size_t i = 4; i < 8; ++i) error = error << 8 | static_cast<unsigned char>(reply[i]);
    return error;
  }
  /// Name and description of each export.
  static std::vector<std::pair<std::string, std::string>> exports_of(const NbdSocket& socket) {
    const Client client;
    std::vector<std::pair<std::string, std::string>> names;
    const auto note = [](void* data, const char* name, const char* about) {
      static_cast<decltype(names)*>(data)->emplace_back(name, about);
      return 0;
    };
    EXPECT_EQ(nbd_set_opt_mode(*client, true), 0);
    EXPECT_EQ(nbd_connect_unix(*client, socket.path().c_str()), 0) << nbd_get_error();
    EXPECT_GE(nbd_opt_list(*client, {note, &names, nullptr}), 0) << nbd_get_error();
    EXPECT_EQ(nbd_opt_abort(*client), 0);
    return names;
  }
  /// The server is well: a new client can read.
  void check_alive() {
    const Client client;
    connect(client);
    char byte = 0;
    EXPECT_EQ(nbd_pread(*client, &byte, 1, 0, 0), 0) << nbd_get_error();
  }

  const std::shared_ptr<CancelSource> cancel_ = CancelSource::create();
  std::shared_ptr<Overlay> overlay_;
  std::unique_ptr<NbdSocket> socket_;
  std::unique_ptr<NbdServer> server_;
};

TEST_F(NbdTest, OffersWhatItDoesAndNoTrim) {
  serve(bytes_of(pattern(10 * kCluster + 5)));
  const Client client;
  connect(client);
  EXPECT_EQ(nbd_get_size(*client), static_cast<int64_t>(10 * kCluster + 5));
  EXPECT_EQ(nbd_is_read_only(*client), 0);
  EXPECT_EQ(nbd_can_trim(*client), 0);
  EXPECT_EQ(nbd_can_zero(*client), 1);
  EXPECT_EQ(nbd_can_fua(*client), 1);
  EXPECT_EQ(nbd_can_flush(*client), 1);
  EXPECT_EQ(nbd_can_df(*client), 1);
  EXPECT_EQ(nbd_can_multi_conn(*client), 1);
  EXPECT_EQ(nbd_can_cache(*client), 0);
  EXPECT_EQ(nbd_get_structured_replies_negotiated(*client), 1);
  EXPECT_EQ(nbd_can_meta_context(*client, LIBNBD_CONTEXT_BASE_ALLOCATION), 1);
  EXPECT_EQ(nbd_get_block_size(*client, LIBNBD_SIZE_MINIMUM), 1);
  EXPECT_EQ(nbd_get_block_size(*client, LIBNBD_SIZE_MAXIMUM), 32 << 20);
  struct stat status {};
  ASSERT_EQ(::stat(socket_->path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);

  const Client frozen;
  connect(frozen, "frozen");
  EXPECT_EQ(nbd_is_read_only(*frozen), 1);
  EXPECT_EQ(nbd_can_zero(*frozen), 0);
}

TEST_F(NbdTest, ListsItsExports) {
  serve(bytes_of(pattern(1000)));
  const std::vector<std::pair<std::string, std::string>> wanted = {{"", "the disk"},
                                                                   {"frozen", ""}};
  EXPECT_EQ(exports_of(*socket_), wanted);
  const Client client;
  ASSERT_EQ(nbd_set_opt_mode(*client, true), 0);
  ASSERT_EQ(nbd_connect_unix(*client, socket_->path().c_str()), 0) << nbd_get_error();
  std::vector<std::string> contexts;
  const auto note_context = [](void* data, const char* name) {
    static_cast<std::vector<std::string>*>(data)->emplace_back(name);
    return 0;
  };
  ASSERT_EQ(nbd_opt_list_meta_context(*client, {note_context, &contexts, nullptr}), 1);
  EXPECT_EQ(contexts, std::vector<std::string>{"base:allocation"});
  ASSERT_EQ(nbd_set_export_name(*client, "nothing of the kind"), 0);
  EXPECT_EQ(nbd_opt_info(*client), -1);
  EXPECT_EQ(nbd_get_errno(), ENOENT);
  ASSERT_EQ(nbd_set_export_name(*client, "frozen"), 0);
  EXPECT_EQ(nbd_opt_info(*client), 0) << nbd_get_error();
  EXPECT_EQ(nbd_get_size(*client), 1000);
  EXPECT_EQ(nbd_opt_abort(*client), 0);
}

/// A VM may be called anything.
TEST_F(NbdTest, DescriptionsAreStringsOfTheProtocol) {
  const auto disk = read_only_device(source_of(bytes_of(pattern(1000))));
  std::string accents = "e";
  for (int i = 0; i < 3000; ++i) accents += "\u00e9";
  socket_ = NbdSocket::at(directory_ / "disk sock");
  server_ = std::make_unique<NbdServer>(socket_->take(),
                                        std::vector<NbdExport>{
                                            {"long", accents, disk},
                                            {"bytes", "Caf\xe9 au lait", disk},
                                            {"nul", std::string("one\0two", 7), disk},
                                        },
                                        cancel_);
  const std::vector<std::pair<std::string, std::string>> wanted = {
      {"long", accents.substr(0, 255)}, {"bytes", "Caf"}, {"nul", "one"}};
  EXPECT_EQ(exports_of(*socket_), wanted);
}

TEST_F(NbdTest, ReadsAndWritesOfAnySize) {
  const std::string original = pattern((33 << 20) + 17);
  const auto state = bytes_of(original);
  std::string truth = original;
  serve(state);
  const Client client;
  connect(client);
  std::string buffer(32 << 20, '\0');  // what every client may ask for, in several pieces
  ASSERT_EQ(nbd_pread(*client, buffer.data(), buffer.size(), 3, 0), 0) << nbd_get_error();
  EXPECT_TRUE(buffer == truth.substr(3, buffer.size()));
  const std::string bytes = pattern((5 << 20) + 333, 4);
  ASSERT_EQ(nbd_pwrite(*client, bytes.data(), bytes.size(), 77777, LIBNBD_CMD_FLAG_FUA), 0);
  truth.replace(77777, bytes.size(), bytes);
  ASSERT_EQ(nbd_zero(*client, 3 << 20, 100, LIBNBD_CMD_FLAG_NO_HOLE | LIBNBD_CMD_FLAG_FUA), 0);
  truth.replace(100, 3 << 20, 3 << 20, '\0');
  ASSERT_EQ(nbd_flush(*client, 0), 0);
  std::string all(truth.size(), '\0');
  const std::size_t half = 20 << 20;
  ASSERT_EQ(nbd_pread(*client, all.data(), half, 0, 0), 0);
  ASSERT_EQ(nbd_pread(*client, all.data() + half, all.size() - half, half, 0), 0);
  EXPECT_TRUE(all == truth);
  EXPECT_EQ(nbd_shutdown(*client, 0), 0);
  EXPECT_TRUE(state->bytes == original);
}

TEST_F(NbdTest, SimpleRepliesAreForOldClients) {
  const auto state = bytes_of(pattern(3 << 20));
  serve(state);
  const Client client;
  ASSERT_EQ(nbd_set_request_structured_replies(*client, false), 0);
  ASSERT_EQ(nbd_connect_uri(*client, socket_->uri("").c_str()), 0) << nbd_get_error();
  EXPECT_EQ(nbd_can_df(*client), 0);
  std::string buffer(3 << 20, '\0');
  ASSERT_EQ(nbd_pread(*client, buffer.data(), buffer.size(), 0, 0), 0) << nbd_get_error();
  EXPECT_TRUE(buffer == state->bytes);
  state->fail_at = 100;
  EXPECT_EQ(nbd_pread(*client, buffer.data(), 512, 0, 0), -1);
  EXPECT_EQ(nbd_get_errno(), EIO);
  EXPECT_EQ(nbd_pread(*client, buffer.data(), 512, 4096, 0), 0);  // the connection goes on
  state->fail_at = (2 << 20) + 5;  // behind the beginning of the answer: nothing but an end is left
  EXPECT_EQ(nbd_pread(*client, buffer.data(), buffer.size(), 0, 0), -1);
  EXPECT_EQ(nbd_aio_is_ready(*client), 0);
  check_alive();
}

TEST_F(NbdTest, AClientOfTheOldHandshakeIsServed) {
  serve(bytes_of(pattern(5000)));
  const Fd client = plain();
  char greeting[18];
  ASSERT_EQ(::recv(client.get(), greeting, sizeof greeting, MSG_WAITALL), 18);
  const std::string hello =
      NbdMessage().u32(nbd::kFixedNewstyle).bytes() +
      NbdMessage().u64(nbd::kOptionMagic).u32(1).u32(6).text("frozen").bytes();
  ASSERT_EQ(::send(client.get(), hello.data(), hello.size(), 0),
            static_cast<ssize_t>(hello.size()));
  char answer[8 + 2 + 124];
  ASSERT_EQ(::recv(client.get(), answer, sizeof answer, MSG_WAITALL),
            static_cast<ssize_t>(sizeof answer));
  EXPECT_EQ(static_cast<unsigned char>(answer[6]) << 8 | static_cast<unsigned char>(answer[7]),
            5000);
  const std::string read =
      NbdMessage().u32(nbd::kRequestMagic).u16(0).u16(0).u64(7).u64(10).u32(20).bytes();
  ASSERT_EQ(::send(client.get(), read.data(), read.size(), 0), static_cast<ssize_t>(read.size()));
  char reply[16 + 20];
  ASSERT_EQ(::recv(client.get(), reply, sizeof reply, MSG_WAITALL), 36);
  EXPECT_EQ(std::string(reply + 16, 20), pattern(5000).substr(10, 20));
}

TEST_F(NbdTest, ExtentsAreThoseOfTheView) {
  BytesTraits traits;
  traits.flags = HYPER_SOURCE_SEEK | HYPER_SOURCE_EXTENTS;
  traits.extents = [](uint64_t offset, uint64_t length, const hyper::EmitExtent& emit) {
    emit(offset, length, HYPER_EXTENT_ZERO | HYPER_EXTENT_HOLE);
  };
  serve(bytes_of(std::string(64 * kCluster, '\0')), traits);
  const Client client;
  connect(client);
  ASSERT_EQ(nbd_pwrite(*client, "x", 1, 3 * kCluster, 0), 0);
  ASSERT_EQ(nbd_zero(*client, kCluster, 8 * kCluster, LIBNBD_CMD_FLAG_NO_HOLE), 0);
  std::vector<uint32_t> found;
  const auto note = [](void* data, const char*, uint64_t, uint32_t* entries, size_t count, int*) {
    static_cast<std::vector<uint32_t>*>(data)->assign(entries, entries + count);
    return 0;
  };
  const nbd_extent_callback extents{note, &found, nullptr};
  ASSERT_EQ(nbd_block_status(*client, 64 * kCluster, 0, extents, 0), 0) << nbd_get_error();
  const uint32_t unit = kCluster;
  EXPECT_EQ(found,
            (std::vector<uint32_t>{3 * unit, 3, unit, 0, 4 * unit, 3, unit, 2, 55 * unit, 3}));
  ASSERT_EQ(nbd_block_status(*client, 10 * kCluster, kCluster, extents, LIBNBD_CMD_FLAG_REQ_ONE),
            0);
  EXPECT_EQ(found, (std::vector<uint32_t>{2 * unit, 3}));
}

/// A request as libnbd would not send it, and the error that it gets. The connection stays.
TEST_F(NbdTest, RequestsBeyondTheirBoundsAreRefused) {
  serve(bytes_of(pattern(10 * kCluster)));
  for (const char* name : {"", "frozen"}) {
    const Client client;
    connect(client, name);
    ASSERT_EQ(nbd_set_strict_mode(*client, 0), 0);
    char bytes[512] = "";
    const auto fails = [&](int error, int result) {
      EXPECT_EQ(result, -1);
      EXPECT_EQ(nbd_get_errno(), error) << nbd_get_error();
    };
    const uint64_t size = 10 * kCluster;
    fails(EINVAL, nbd_pread(*client, bytes, 512, size - 100, 0));
    fails(EINVAL, nbd_pread(*client, bytes, 512, UINT64_MAX - 100, 0));
    fails(EINVAL, nbd_pread(*client, bytes, 0, 0, 0));
    const bool frozen = *name != '\0';
    fails(frozen ? EPERM : ENOSPC, nbd_pwrite(*client, bytes, 512, size - 100, 0));
    fails(frozen ? EPERM : ENOSPC, nbd_pwrite(*client, bytes, 512, UINT64_MAX - 1, 0));
    fails(frozen ? EPERM : ENOSPC, nbd_zero(*client, 512, size - 100, 0));
    fails(frozen ? EPERM : ENOSPC, nbd_zero(*client, 512, UINT64_MAX - 100, 0));
    fails(EINVAL, nbd_zero(*client, 512, 0, LIBNBD_CMD_FLAG_FAST_ZERO));
    fails(EINVAL, nbd_trim(*client, 512, 0, 0));
    fails(EINVAL, nbd_cache(*client, 512, 0, 0));
    if (frozen) fails(EPERM, nbd_pwrite(*client, bytes, 512, 0, 0));
    EXPECT_EQ(nbd_pread(*client, bytes, 512, size - 512, 0), 0);
    EXPECT_EQ(std::string(bytes, 512), pattern(size).substr(size - 512));
  }
  const Client client;
  connect(client);
  std::string large(2 << 20, '\0');
  ASSERT_EQ(nbd_set_strict_mode(*client, 0), 0);
  EXPECT_EQ(nbd_pread(*client, large.data(), 600 << 10, 0, LIBNBD_CMD_FLAG_DF), 0);
}

/// Some clients set it on all requests, and the protocol allows that.
TEST_F(NbdTest, FuaIsAllowedWithEveryRequest) {
  serve(bytes_of(pattern(10 * kCluster)));
  const Fd client = transmitting();
  send(client, request(nbd::kFlagFua, nbd::kCmdRead, 100, 50));
  EXPECT_EQ(error_of(client, 50), 0u);
  send(client, request(nbd::kFlagFua, nbd::kCmdFlush, 0, 0));
  EXPECT_EQ(error_of(client), 0u);
  send(client, request(nbd::kFlagFua, nbd::kCmdWrite, 100, 3) + "abc");
  EXPECT_EQ(error_of(client), 0u);
  send(client, request(nbd::kFlagFua | nbd::kFlagNoHole, nbd::kCmdWriteZeroes, 100, 3));
  EXPECT_EQ(error_of(client), 0u);
  send(client, request(nbd::kFlagReqOne, nbd::kCmdWrite, 100, 3) + "abc");
  EXPECT_EQ(error_of(client), nbd::kEinval);
  const Fd reader = transmitting("frozen");
  send(reader, request(nbd::kFlagFua, nbd::kCmdWrite, 100, 3) + "abc");
  EXPECT_EQ(error_of(reader), nbd::kEperm);
}

TEST_F(NbdTest, FailuresOfTheDiskReachTheClient) {
  const auto state = bytes_of(pattern(40 * kCluster));
  serve(state);
  const Client client;
  connect(client);
  std::string buffer(30 * kCluster, '\0');
  state->fail_at = 25 * kCluster;
  EXPECT_EQ(nbd_pread(*client, buffer.data(), buffer.size(), 0, 0), -1);  // in the second piece
  EXPECT_EQ(nbd_get_errno(), EIO);
  EXPECT_EQ(nbd_pwrite(*client, "x", 1, 25 * kCluster + 1, 0), -1);
  EXPECT_EQ(nbd_get_errno(), EIO);
  EXPECT_EQ(nbd_pread(*client, buffer.data(), 10 * kCluster, 0, 0), 0) << nbd_get_error();
  EXPECT_EQ(buffer.substr(0, 10 * kCluster), state->bytes.substr(0, 10 * kCluster));
}

TEST_F(NbdTest, SeveralClientsSeeOneDisk) {
  serve(bytes_of(std::string(64 * kCluster, 'o')));
  const std::string truth = pattern(64 * kCluster, 3);
  {
    std::vector<std::jthread> clients;
    for (uint64_t mine = 0; mine < 4; ++mine)
      clients.emplace_back([&, mine] {
        const Client client;
        connect(client);
        for (uint64_t at = mine * 5000; at < truth.size(); at += 4 * 5000) {
          const uint64_t size = std::min<uint64_t>(5000, truth.size() - at);
          ASSERT_EQ(nbd_pwrite(*client, truth.data() + at, size, at, 0), 0) << nbd_get_error();
        }
        ASSERT_EQ(nbd_flush(*client, 0), 0);
      });
  }
  const Client client;
  connect(client);
  std::string buffer(truth.size(), '\0');
  ASSERT_EQ(nbd_pread(*client, buffer.data(), buffer.size(), 0, 0), 0);
  EXPECT_TRUE(buffer == truth);
}

TEST_F(NbdTest, ClientsThatBreakTheProtocolHarmNoOther) {
  serve(bytes_of(pattern(10 * kCluster)));
  const std::string flags = NbdMessage().u32(3).bytes();
  const auto option = [](uint32_t number, uint32_t size, const std::string& data) {
    return NbdMessage().u64(nbd::kOptionMagic).u32(number).u32(size).text(data).bytes();
  };
  const std::string go = option(7, 6, std::string(6, '\0'));
  std::string many = flags;
  for (int i = 0; i < 200; ++i) many += option(99, 0, "");
  const std::vector<std::string> attacks = {
      "",                                                          // nothing at all
      "GET / HTTP/1.1\r\nHost: x\r\n\r\n",                         // another protocol
      NbdMessage().u32(0xffffffff).bytes(),                        // flags that there are not
      flags + "IHAVEOPX" + std::string(8, '\0'),                   // a bad magic
      flags + option(7, 0xffffffff, "x"),                          // an option of 4 GiB
      flags + option(7, 100, "x"),                                 // an end in the middle
      flags + option(7, 4, NbdMessage().u32(0xfffffff0).bytes()),  // a name longer than its option
      flags + option(10, 12, NbdMessage().u32(0).u32(0xffffffff).u32(5).bytes()),
      flags + option(1, 300, std::string(300, 'n')),           // an export that is not there
      many,                                                    // options without end
      flags + go + "no request at all, 28 bytes....",          //
      flags + go + request(0, nbd::kCmdWrite, 0, 0xffffffff),  // a write of 4 GiB
      flags + go + request(0, nbd::kCmdWrite, 0, 1000) + "too few",
      flags + go + request(0, nbd::kCmdRead, 0, 1 << 20),  // an answer that is not read
      flags + go + request(0, nbd::kCmdRead, 0, 1 << 20).substr(0, 10),
      flags + go + request(0, 0xffff, 0, 0),  // a command that there is not
  };
  for (std::size_t i = 0; i < attacks.size(); ++i) {
    Fd client = plain();
    static_cast<void>(::send(client.get(), attacks[i].data(), attacks[i].size(), MSG_NOSIGNAL));
    client.reset();
    check_alive();
    if (HasFailure()) FAIL() << "after attack " << i;
  }
}

TEST_F(NbdTest, TheEndOfTheServerEndsItsClients) {
  serve(bytes_of(pattern(kCluster)));
  const Fd idle = plain();  // has not even said its flags
  const Client client;
  connect(client);
  server_.reset();
  char byte = 0;
  EXPECT_EQ(nbd_pread(*client, &byte, 1, 0, 0), -1);
  char greeting[18];
  ASSERT_EQ(::recv(idle.get(), greeting, sizeof greeting, MSG_WAITALL), 18);
  EXPECT_EQ(::recv(idle.get(), greeting, sizeof greeting, 0), 0);
}

TEST_F(NbdTest, AClientThatNeverReadsHoldsNoOtherAndNoServer) {
  serve(bytes_of(pattern(2 << 20)));
  const Fd client = transmitting();
  std::string many;
  for (int i = 0; i < 64; ++i) many += request(0, nbd::kCmdRead, 0, 2 << 20);
  ASSERT_TRUE(send(client, many));
  char byte = 0;
  ASSERT_EQ(::recv(client.get(), &byte, 1, MSG_PEEK), 1);  // the server answers, and is stuck
  check_alive();
  server_.reset();
}

TEST_F(NbdTest, AClientThatAlwaysSendsDoesNotHoldTheServer) {
  serve(bytes_of(pattern(kCluster)));
  const Fd client = transmitting();
  std::string many;
  for (int i = 0; i < 1000; ++i) many += request(0, nbd::kCmdFlush, 0, 0);
  std::promise<void> answered;
  const std::jthread sender([&] {
    while (send(client, many)) {
    }
  });
  const std::jthread reader([&] {
    char answers[4096];
    bool first = true;
    while (::recv(client.get(), answers, sizeof answers, 0) > 0)
      if (std::exchange(first, false)) answered.set_value();
  });
  answered.get_future().wait();
  server_.reset();
}

TEST_F(NbdTest, TooManyClientsAreTurnedAway) {
  serve(bytes_of(pattern(kCluster)));
  std::vector<Fd> clients;
  char greeting[18];
  for (unsigned i = 0; i < NbdServer::kMostClients; ++i) {
    clients.push_back(plain());
    ASSERT_EQ(::recv(clients.back().get(), greeting, sizeof greeting, MSG_WAITALL), 18);
  }
  const Fd further = plain();
  EXPECT_EQ(::recv(further.get(), greeting, sizeof greeting, MSG_WAITALL), 0);
}

TEST_F(NbdTest, OnceEndsWithTheLastClient) {
  serve(bytes_of(pattern(kCluster)));
  std::future<void> ended = std::async(std::launch::async, [&] { server_->wait(true); });
  {
    const Fd no_client = plain();  // leaves without an export: it does not count
  }
  {
    const Client first, second;
    connect(first);
    connect(second);
    EXPECT_EQ(ended.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  }
  ended.get();
  ended = std::async(std::launch::async, [&] { server_->wait(false); });
  cancel_->cancel();
  ended.get();
}

TEST_F(NbdTest, APluginLendsItsDiskToAProgram) {
  const std::string original = pattern(3 * kCluster);
  const auto overlay = Overlay::scratch(source_of(bytes_of(original)), directory_);
  Operation op("plugin", cancel_);
  std::string socket;
  {
    BlockTable lent("disk-0", overlay, op);
    const hyper_block block = lent.table();
    EXPECT_STREQ(block.id, "disk-0");
    EXPECT_EQ(block.length, original.size());
    EXPECT_EQ(block.flags, HYPER_BLOCK_WRITE | HYPER_BLOCK_EXTENTS | HYPER_BLOCK_ATTACH);
    ASSERT_EQ(block.write_at(block.ctx, &op, 0, 5, "direct", 6), HYPER_OK);
    ASSERT_EQ(block.zero_at(block.ctx, &op, 0, 100, 10), HYPER_OK);
    ASSERT_EQ(block.flush(block.ctx, &op, 0), HYPER_OK);
    EXPECT_EQ(block.write_at(block.ctx, &op, 0, original.size(), "x", 1), HYPER_FAIL);
    EXPECT_EQ(block.write_at(block.ctx, &op, 8, 0, "x", 1), HYPER_UNSUPPORTED);
    nlohmann::json answer;
    const hyper_emit take = [](void* out, const char* json, uint64_t length) noexcept -> hyper_st {
      *static_cast<nlohmann::json*>(out) = nlohmann::json::parse(std::string(json, length));
      return HYPER_OK;
    };
    const auto attach = [&](int32_t how) {
      return block.attach(block.ctx, &op, 0, how, take, &answer);
    };
    EXPECT_EQ(attach(HYPER_ATTACH_QCOW2), HYPER_UNSUPPORTED);
    EXPECT_EQ(attach(HYPER_ATTACH_NBD_TCP), HYPER_UNSUPPORTED);
    const hyper_emit refuse = [](void*, const char*, uint64_t) noexcept -> hyper_st {
      return HYPER_NOSPACE;
    };
    EXPECT_EQ(block.attach(block.ctx, &op, 0, HYPER_ATTACH_NBD_UNIX, refuse, nullptr),
              HYPER_NOSPACE);
    ASSERT_EQ(attach(HYPER_ATTACH_NBD_UNIX), HYPER_OK);
    EXPECT_EQ(attach(HYPER_ATTACH_NBD_UNIX), HYPER_BUSY);
    socket = answer.at("socket");
    const Client client;
    ASSERT_EQ(nbd_connect_uri(*client, answer.at("uri").get<std::string>().c_str()), 0);
    char bytes[6] = "";
    ASSERT_EQ(nbd_pread(*client, bytes, 6, 5, 0), 0);
    EXPECT_EQ(std::string(bytes, 6), "direct");
    ASSERT_EQ(nbd_pwrite(*client, "served", 6, kCluster, 0), 0);
    ASSERT_EQ(block.read_at(block.ctx, &op, 0, kCluster, bytes, 6), HYPER_OK);
    EXPECT_EQ(std::string(bytes, 6), "served");
    ASSERT_EQ(block.detach(block.ctx, &op, 0), HYPER_OK);
    EXPECT_FALSE(std::filesystem::exists(socket));
    EXPECT_EQ(nbd_pread(*client, bytes, 6, 5, 0), -1);
    ASSERT_EQ(attach(HYPER_ATTACH_NBD_UNIX), HYPER_OK);
    socket = answer.at("socket");
    EXPECT_TRUE(std::filesystem::exists(socket));
  }
  EXPECT_FALSE(std::filesystem::exists(socket));  // the end of the call detaches
  BlockTable frozen("disk-1", read_only_device(source_of(bytes_of(original))), op);
  const hyper_block block = frozen.table();
  EXPECT_EQ(block.flags & HYPER_BLOCK_WRITE, 0u);
  EXPECT_EQ(block.write_at(block.ctx, &op, 0, 0, "x", 1), HYPER_AUTH);
}

TEST_F(NbdTest, APluginMayHaveADiskOnAPortForOneClientAtATime) {
  const std::string original = pattern(kCluster);
  Operation op("plugin", cancel_);
  BlockTable lent("disk-0", read_only_device(source_of(bytes_of(original))), op,
                  BlockPlace{std::nullopt, listen_on_loopback});
  const hyper_block block = lent.table();
  nlohmann::json answer;
  const hyper_emit take = [](void* out, const char* json, uint64_t length) noexcept -> hyper_st {
    *static_cast<nlohmann::json*>(out) = nlohmann::json::parse(std::string(json, length));
    return HYPER_OK;
  };
  ASSERT_EQ(block.attach(block.ctx, &op, 0, HYPER_ATTACH_NBD_TCP, take, &answer), HYPER_OK);
  EXPECT_EQ(answer.at("host"), "127.0.0.1");
  const std::string uri = answer.at("uri");
  EXPECT_EQ(uri, "nbd://127.0.0.1:" + std::to_string(answer.at("port").get<int>()) + "/");
  std::future<int> second;
  char bytes[8] = "";
  {
    const Client first;
    ASSERT_EQ(nbd_connect_uri(*first, uri.c_str()), 0);
    EXPECT_EQ(nbd_can_multi_conn(*first), 0);
    second = std::async(std::launch::async, [&] {
      const Client waits;  // until the first one is gone
      return nbd_connect_uri(*waits, uri.c_str());
    });
    ASSERT_EQ(nbd_pread(*first, bytes, 8, 100, 0), 0);
    EXPECT_EQ(std::string(bytes, 8), original.substr(100, 8));
    EXPECT_EQ(second.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
    nbd_shutdown(*first, 0);
  }
  EXPECT_EQ(second.get(), 0);
  const Client last;
  ASSERT_EQ(nbd_connect_uri(*last, uri.c_str()), 0);
  ASSERT_EQ(block.detach(block.ctx, &op, 0), HYPER_OK);
  EXPECT_EQ(nbd_pread(*last, bytes, 8, 100, 0), -1);
  const Client late;
  EXPECT_EQ(nbd_connect_uri(*late, uri.c_str()), -1);
}

TEST_F(NbdTest, SocketsAreOwnedAndGo) {
  const auto path = directory_ / "a socket";
  {
    const auto socket = NbdSocket::at(path);
    EXPECT_EQ(socket->uri("x y/ü"),
              "nbd+unix:///x%20y/%C3%BC?socket=" + directory_.string() + "/a%20socket");
    EXPECT_THROW(NbdSocket::at(path), Error);
    EXPECT_TRUE(std::filesystem::exists(path));  // the refused one takes nothing away
  }
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_THROW(NbdSocket::at(directory_ / std::string(200, 'n')), Error);
  std::filesystem::path own;
  {
    const auto socket = NbdSocket::anywhere(nullptr);
    own = socket->path().parent_path();
    struct stat status {};
    ASSERT_EQ(::stat(own.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0700u);
  }
  EXPECT_FALSE(std::filesystem::exists(own));
  uint16_t port = 0;
  const Fd loopback = listen_on_loopback(port);
  EXPECT_NE(port, 0);
  EXPECT_THROW(listen_on_loopback(port), Error);
}

}  // namespace
}  // namespace hyperhost
