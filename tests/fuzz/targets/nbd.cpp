// SPDX-License-Identifier: Apache-2.0
// What a hostile NBD client sends: the bytes of one connection, to a writable and a read-only disk.
#include <sys/socket.h>

#include <array>
#include <cstring>
#include <thread>

#include "core/block/nbd_handshake.hpp"
#include "core/block/nbd_transmission.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {

using namespace hyperhost;

constexpr uint64_t kLength = 256u << 10;

/// Bytes in memory that hold the server to its promises.
class Memory final : public BlockDevice {
 public:
  explicit Memory(bool writable) : bytes_(kLength), writable_(writable) {}
  uint64_t length() const override { return kLength; }
  bool writable() const override { return writable_; }
  void read_at(hyper::Op, uint64_t offset, void* buffer, uint64_t length) override {
    within(offset, length);
    std::memcpy(buffer, bytes_.data() + offset, length);
  }
  void write_at(hyper::Op, uint64_t offset, const void* bytes, uint64_t length) override {
    within(offset, length);
    if (!writable_) fuzz::fail("a read-only disk is written to");
    std::memcpy(bytes_.data() + offset, bytes, length);
  }
  void zero_at(hyper::Op, uint64_t offset, uint64_t length) override {
    within(offset, length);
    if (!writable_) fuzz::fail("a read-only disk is written to");
    std::memset(bytes_.data() + offset, 0, length);
  }
  void flush(hyper::Op) override {}
  void extents(hyper::Op, uint64_t offset, uint64_t length, const OnExtent& on_extent) override {
    within(offset, length);
    for (const uint64_t end = offset + length; offset < end;) {
      const uint64_t next = std::min(end, (offset / 512 + 1) * 512);
      on_extent({offset, next - offset, offset / 512 % 2 == 0 ? 0 : HYPER_EXTENT_ZERO, 0});
      offset = next;
    }
  }

 private:
  static void within(uint64_t offset, uint64_t length) {
    if (offset > kLength || length > kLength - offset)
      fuzz::fail("the server leaves the disk for a client");
  }
  std::vector<char> bytes_;
  const bool writable_;
};

/// Sends the input, and reads what comes until the server leaves.
void play_client(int socket, const uint8_t* data, std::size_t size) {
  std::thread sender([&] {
    std::size_t sent = 0;
    while (sent < size) {
      const ssize_t put = ::send(socket, data + sent, size - sent, MSG_NOSIGNAL);
      if (put <= 0) break;
      sent += static_cast<std::size_t>(put);
    }
    ::shutdown(socket, SHUT_WR);
  });
  std::array<char, 65536> answer;
  while (::recv(socket, answer.data(), answer.size(), 0) > 0) {
  }
  sender.join();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) fuzz::fail("socketpair");
  const Fd client(ends[1]);
  std::thread player([&] { play_client(client.get(), data, size); });
  const auto stop = CancelSource::create();
  const std::vector<NbdExport> exports = {{"", "a disk", std::make_shared<Memory>(true)},
                                          {"frozen", "", std::make_shared<Memory>(false)}};
  try {
    NbdStream stream{Fd(ends[0]), *stop};
    const NbdAgreement agreed = NbdHandshake(stream, exports).run();
    NbdTransmission(stream, agreed, "fuzz", stop).run();
  } catch (const NbdEnd&) {  // how a connection ends
  }
  player.join();
  return 0;
}
