// SPDX-License-Identifier: Apache-2.0
// What a hostile worker sends to the host: frames about a source, a sink, an emitter and a disk
// that it was lent. Input: frames of 15 bytes, each followed by its payload: verb, object, emit,
// the length of the payload (1 byte each), a and b (4 bytes each, little endian), flags, memory, an
// operation.
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>

#include "core/base/diagnostic.hpp"
#include "core/plugin/isolation/call.hpp"
#include "core/plugin/isolation/crossing.hpp"
#include "core/plugin/isolation/imported.hpp"
#include "core/plugin/isolation/offered.hpp"
#include "core/plugin/operation.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {

using namespace hyperhost::isolation;

constexpr uint64_t kLength = 64u << 10;

hyper_source lent_source() {
  hyper_source table{};
  table.size = sizeof table;
  table.flags =
      HYPER_SOURCE_SEEK | HYPER_SOURCE_STREAM | HYPER_SOURCE_EXTENTS | HYPER_SOURCE_SIBLING;
  table.length = kLength;
  table.max_parallel = 4;
  table.read_at = [](void*, hyper_op*, uint32_t, uint64_t offset, void* buffer,
                     uint64_t len) noexcept -> hyper_st {
    if (offset > kLength || len > kLength - offset)
      fuzz::fail("the host reads beyond the end for a worker");
    std::memset(buffer, 's', len);
    return HYPER_OK;
  };
  table.next = [](void*, hyper_op*, uint32_t, hyper_span* span) noexcept -> hyper_st {
    static const char bytes[100] = {};
    span->data = bytes;
    span->len = sizeof bytes;
    return HYPER_OK;
  };
  table.release = [](void*, hyper_span*) noexcept {};
  table.extents = [](void*, hyper_op*, uint32_t, uint64_t offset, uint64_t len,
                     hyper_emit_extent emit, void* arg) noexcept -> hyper_st {
    hyper_extent extent{};
    extent.offset = offset;
    extent.length = len;
    return emit(arg, &extent);
  };
  table.sibling = [](void*, hyper_op*, uint32_t, const char*,
                     hyper_source* out) noexcept -> hyper_st {
    *out = lent_source();
    return HYPER_OK;
  };
  table.close = [](void*, hyper_op*) noexcept {};
  return table;
}

hyper_sink lent_sink() {
  hyper_sink table{};
  table.size = sizeof table;
  table.flags = HYPER_SINK_RANDOM | HYPER_SINK_READBACK | HYPER_SINK_RESUME;
  table.max_parallel = 4;
  table.write_at = [](void*, hyper_op*, uint32_t, uint64_t, const void* bytes,
                      uint64_t len) noexcept -> hyper_st {
    volatile unsigned char sum = 0;
    for (uint64_t i = 0; i < len; ++i)
      sum = static_cast<unsigned char>(sum + static_cast<const unsigned char*>(bytes)[i]);
    return HYPER_OK;
  };
  table.zero_at = [](void*, hyper_op*, uint32_t, uint64_t, uint64_t) noexcept -> hyper_st {
    return HYPER_OK;
  };
  table.sync = [](void*, hyper_op*, uint32_t) noexcept -> hyper_st { return HYPER_OK; };
  table.reopen = [](void*, hyper_op*, uint32_t, uint64_t, hyper_source* out) noexcept -> hyper_st {
    *out = lent_source();
    return HYPER_OK;
  };
  table.commit = [](void*, hyper_op*, uint32_t, uint64_t, hyper_emit emit,
                    void* arg) noexcept -> hyper_st { return emit(arg, "{}", 2); };
  table.keep = [](void*, hyper_op*, uint32_t, int32_t, hyper_emit emit,
                  void* arg) noexcept -> hyper_st { return emit(arg, "{}", 2); };
  table.close = [](void*, hyper_op*) noexcept {};
  return table;
}

hyper_block lent_block() {
  const hyper_source source = lent_source();
  const hyper_sink sink = lent_sink();
  hyper_block table{};
  table.size = sizeof table;
  table.flags = HYPER_BLOCK_WRITE | HYPER_BLOCK_EXTENTS | HYPER_BLOCK_ATTACH;
  table.id = "disk-0";
  table.length = kLength;
  table.max_parallel = 4;
  table.read_at = source.read_at;
  table.write_at = sink.write_at;
  table.zero_at = sink.zero_at;
  table.flush = sink.sync;
  table.extents = source.extents;
  table.attach = [](void*, hyper_op*, uint32_t, int32_t, hyper_emit emit,
                    void* arg) noexcept -> hyper_st { return emit(arg, "{}", 2); };
  table.detach = [](void*, hyper_op*, uint32_t) noexcept -> hyper_st { return HYPER_OK; };
  return table;
}

/// The bytes of an input, one after another; zeros at its end.
class Bytes {
 public:
  Bytes(const uint8_t* data, std::size_t size) : data_(data), left_(size) {}
  bool empty() const { return left_ == 0; }
  uint64_t number(int width) {
    uint64_t value = 0;
    for (int i = 0; i < width && left_ != 0; ++i) {
      value |= uint64_t{*data_++} << (8 * i);
      --left_;
    }
    return value;
  }
  std::string text(std::size_t size) {
    std::string out(reinterpret_cast<const char*>(data_), std::min(size, left_));
    data_ += out.size();
    left_ -= out.size();
    return out;
  }

 private:
  const uint8_t* data_;
  std::size_t left_;
};

/// One frame that a worker sends, and the host's answer.
void exchange(Peer& peer, Lane& worker, Lane& host, Bytes& input) {
  Frame sent;
  sent.verb = static_cast<Verb>(input.number(1));
  sent.object = input.number(1);
  sent.emit = input.number(1);
  const std::string payload = input.text(input.number(1));
  sent.a = input.number(4);
  sent.b = input.number(4);
  sent.flags = input.number(1);
  sent.memory = input.number(1);
  sent.op = input.number(1);
  sent.payload = PayloadWriter(worker).bytes(payload.data(), payload.size()).size();
  worker.send(sent);
  const Frame request = host.receive();
  Frame answer;
  Incoming call(peer, request, host, nullptr, answer);
  if (serve_table(call)) return;
  // Not about a table: what the host's services read of it.
  PayloadReader reader(host, request);
  reader.text();
  reader.pod<uint64_t>();
  reader.text();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  hyperhost::host_table();  // an error is reported to it
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) fuzz::fail("socketpair");
  const hyperhost::Fd worker_end(ends[1]);
  Peer peer{hyperhost::Fd(ends[0]), true, [](const Frame&, Lane&) { return Frame(); }};
  // What the host asks of the worker in turn is not answered.
  peer.why_gone = [] { return std::make_pair(HYPER_IO, std::string("the worker is gone")); };
  peer.set_gone();
  auto [host, other] = Lane::create();
  Lane worker(std::move(other.first), std::move(other.second));
  const auto source = std::make_shared<OfferedSource>();
  source->table = lent_source();
  peer.add(source);
  const auto sink = std::make_shared<OfferedSink>();
  sink->table = lent_sink();
  peer.add(sink);
  const hyper_emit ignore = [](void*, const char*, uint64_t) noexcept -> hyper_st {
    return HYPER_OK;
  };
  peer.add(std::make_shared<OfferedEmit>(OfferedEmit{ignore, nullptr}));
  const auto block = std::make_shared<OfferedBlock>();
  block->table = lent_block();
  peer.add(block);
  Bytes input(data, size);
  for (int frames = 0; !input.empty() && frames < 64; ++frames) {
    try {
      exchange(peer, worker, *host, input);
    } catch (const hyperhost::Error&) {  // what the worker gets as an answer
    } catch (const PeerGone&) {
      break;
    }
  }
  source->opened.take_back(peer);
  sink->opened.take_back(peer);
  return 0;
}
