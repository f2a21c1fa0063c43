// SPDX-License-Identifier: Apache-2.0
#include "core/check/test_disks.hpp"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <hyper/error.hpp>
#include <random>

#include "core/check/large_disk.hpp"

namespace hyperhost::check {
namespace {

constexpr std::size_t kCluster = 64 * 1024;

void put_be(Bytes& out, std::size_t at, uint64_t value, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i)
    out[at + i] = static_cast<unsigned char>(value >> (8 * (size - 1 - i)));
}

hyper_st failure(hyper_op* op, hyper_st code, const char* text) {
  hyper_diag diag{};
  diag.size = sizeof diag;
  diag.severity = HYPER_SEVERITY_ERROR;
  diag.code = code;
  diag.summary = text;
  return host_table()->report(op, &diag);
}

/// Counts the calls inside, and says when there are more than allowed.
class Entered {
 public:
  Entered(std::atomic<int>& inside, int most, Run& run, const char* what) : inside_(inside) {
    if (++inside_ > most)
      run.fail(std::string(what) + " is called by more threads at once than max_parallel allows");
  }
  ~Entered() { --inside_; }
  Entered(const Entered&) = delete;
  Entered& operator=(const Entered&) = delete;

 private:
  std::atomic<int>& inside_;
};

}  // namespace

Bytes disk_bytes(std::size_t size, unsigned seed) {
  Bytes out(size, 0);
  std::mt19937 random(seed);
  constexpr std::size_t kPiece = 48 * 1024;  // no multiple of a cluster
  for (std::size_t begin = 0, piece = 0; begin < size; begin += kPiece, ++piece) {
    const std::size_t end = std::min(size, begin + kPiece);
    if (piece % 4 >= 2) continue;  // zeros
    for (std::size_t at = begin; at < end; ++at)
      out[at] = static_cast<unsigned char>(piece % 4 == 0 ? random() : "hyperhost "[at % 10]);
  }
  return out;
}

Bytes qcow2_of(const Bytes& guest) {
  const std::size_t clusters = (guest.size() + kCluster - 1) / kCluster;
  // Header, refcount table, refcount block, L1, L2, then the clusters with data.
  Bytes out(5 * kCluster, 0);
  std::memcpy(out.data(), "QFI\xfb", 4);
  put_be(out, 4, 2, 4);
  put_be(out, 20, 16, 4);
  put_be(out, 24, guest.size(), 8);
  put_be(out, 36, 1, 4);
  put_be(out, 40, 3 * kCluster, 8);
  put_be(out, 48, 1 * kCluster, 8);
  put_be(out, 56, 1, 4);
  put_be(out, kCluster, 2 * kCluster, 8);
  constexpr uint64_t kCopied = uint64_t{1} << 63;
  put_be(out, 3 * kCluster, kCopied | (4 * kCluster), 8);
  for (std::size_t i = 0; i < clusters; ++i) {
    const auto begin = guest.begin() + static_cast<std::ptrdiff_t>(i * kCluster);
    const auto end =
        guest.begin() + static_cast<std::ptrdiff_t>(std::min(guest.size(), (i + 1) * kCluster));
    if (std::all_of(begin, end, [](unsigned char byte) { return byte == 0; })) continue;
    put_be(out, 4 * kCluster + 8 * i, kCopied | out.size(), 8);
    out.insert(out.end(), begin, end);
    out.resize((out.size() + kCluster - 1) / kCluster * kCluster, 0);
  }
  for (std::size_t i = 0; i < out.size() / kCluster; ++i) put_be(out, 2 * kCluster + 2 * i, 1, 2);
  return out;
}

std::string sha256_of(const Bytes& bytes) {
  std::array<unsigned char, 32> sum{};
  if (EVP_Digest(bytes.data(), bytes.size(), sum.data(), nullptr, EVP_sha256(), nullptr) != 1)
    throw Error(Code::kFail, "SHA-256 cannot be computed");
  std::string out;
  for (const unsigned char byte : sum) {
    out += "0123456789abcdef"[byte / 16];
    out += "0123456789abcdef"[byte % 16];
  }
  return out;
}

void write_file(const std::string& path, const Bytes& bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(reinterpret_cast<const char*>(bytes.data()),
            static_cast<std::streamsize>(bytes.size()));
  out.close();
  if (!out) throw errno_error(errno, "write " + path);
}

void write_sample_disks(const std::string& directory) {
  if (std::filesystem::exists(directory + "/disk.raw")) return;
  const Bytes guest = disk_bytes(3u << 20);
  write_file(directory + "/disk.raw", guest);
  write_file(directory + "/disk.qcow2", qcow2_of(guest));
  write_large_disk(directory + "/large.raw");
}

// --- source -------------------------------------------------------------------------------------

struct TestSource::State {
  Run& run;
  Bytes bytes;
  SourceSetup setup;
  std::atomic<int> inside{0};
  std::mutex mutex;
  std::size_t at = 0;         // of next()
  std::set<const void*> out;  // spans not given back, by token
  bool closed = false;

  void expect_blocks(uint64_t offset, uint64_t len) const {
    const auto odd = [&](uint64_t number) { return number % setup.block_min != 0; };
    const std::string call =
        "read_at(" + std::to_string(offset) + ", " + std::to_string(len) + ") of its source is ";
    if (odd(offset) || (odd(len) && offset + len != bytes.size()))
      run.fail(call + "no multiple of its block_min, " + std::to_string(setup.block_min));
    if (setup.block_max != 0 && len > setup.block_max)
      run.fail(call + "longer than its block_max, " + std::to_string(setup.block_max));
  }

  hyper_st ready(hyper_op* op, uint64_t offset, uint64_t len) const {
    if (setup.delay_us != 0) host_table()->sleep(op, setup.delay_us * 1000);
    if (host_table()->cancelled(op) != 0) return HYPER_CANCELLED;
    if (setup.fails_at >= offset && setup.fails_at - offset < len)
      return failure(op, HYPER_IO, "the test's disk cannot be read here");
    return HYPER_OK;
  }

  hyper_st list_extents(hyper_op* op, uint64_t offset, uint64_t len, hyper_emit_extent emit,
                        void* arg) const {
    if (const hyper_st status = ready(op, 0, 0); status != HYPER_OK) return status;
    if (offset > bytes.size() || len > bytes.size() - offset)
      return failure(op, HYPER_FAIL, "extents beyond the end of the source");
    const auto is_zero = [&](uint64_t from, uint64_t to) {
      return std::all_of(bytes.begin() + static_cast<std::ptrdiff_t>(from),
                         bytes.begin() + static_cast<std::ptrdiff_t>(to),
                         [](unsigned char byte) { return byte == 0; });
    };
    constexpr uint64_t kStep = 4096;
    for (const uint64_t end = offset + len; offset < end;) {
      uint64_t stop = std::min(end, offset + kStep);
      const bool zero = is_zero(offset, stop);
      while (stop < end && is_zero(stop, std::min(end, stop + kStep)) == zero)
        stop = std::min(end, stop + kStep);
      const hyper_extent extent{offset, stop - offset, zero ? HYPER_EXTENT_ZERO : 0u, 0};
      if (const hyper_st status = emit(arg, &extent); status != HYPER_OK) return status;
      offset = stop;
    }
    return HYPER_OK;
  }
};

TestSource::TestSource(Run& run, Bytes bytes, SourceSetup setup)
    : state_(new State{run, std::move(bytes), std::move(setup), {}, {}, 0, {}, false}),
      handle_(std::make_shared<SourceHandle>()) {
  hyper_source& table = *handle_->out();
  table.flags = state_->setup.flags;
  table.ctx = state_.get();
  table.length = state_->bytes.size();
  table.block_min = state_->setup.block_min;
  table.block_max = state_->setup.block_max;
  table.block_pref = 256 * 1024;
  table.max_parallel = 2;
  state_->setup.format.copy(table.format, sizeof table.format - 1);
  table.read_at = [](void* ctx, hyper_op* op, uint32_t, uint64_t offset, void* buf,
                     uint64_t len) noexcept -> hyper_st {
    State& self = *static_cast<State*>(ctx);
    const Entered entered(self.inside, 2, self.run, "read_at() of its source");
    if (offset > self.bytes.size() || len > self.bytes.size() - offset) {
      self.run.note("it reads beyond the end of its source (offset " + std::to_string(offset) +
                    ", length " + std::to_string(len) + ")");
      return failure(op, HYPER_FAIL, "read beyond the end of the source");
    }
    self.expect_blocks(offset, len);
    const hyper_st status = self.ready(op, offset, len);
    if (status == HYPER_OK) std::memcpy(buf, self.bytes.data() + offset, len);
    return status;
  };
  table.next = [](void* ctx, hyper_op* op, uint32_t, hyper_span* out) noexcept -> hyper_st {
    State& self = *static_cast<State*>(ctx);
    const Entered entered(self.inside, 1, self.run, "next() of its source");
    const std::lock_guard lock(self.mutex);
    if (!self.out.empty()) self.run.fail("it calls next() before it released the span it has");
    const std::size_t len = std::min<std::size_t>(100'003, self.bytes.size() - self.at);
    const hyper_st status = self.ready(op, self.at, len);
    if (status != HYPER_OK) return status;
    // A copy of its own: a reader that keeps the pointer after release() reads freed memory.
    auto* copy = len == 0 ? nullptr : new unsigned char[len];
    if (copy != nullptr) std::memcpy(copy, self.bytes.data() + self.at, len);
    *out = hyper_span{copy, len, self.at, copy};
    if (copy != nullptr) self.out.insert(copy);
    self.at += len;
    return HYPER_OK;
  };
  table.release = [](void* ctx, hyper_span* span) noexcept {
    State& self = *static_cast<State*>(ctx);
    const std::lock_guard lock(self.mutex);
    if (span->len == 0) return;
    if (self.out.erase(span->token) == 0) {
      self.run.fail("it releases a span twice, or one that it never got");
      return;
    }
    delete[] static_cast<unsigned char*>(span->token);
  };
  table.extents = [](void* ctx, hyper_op* op, uint32_t, uint64_t offset, uint64_t len,
                     hyper_emit_extent emit, void* arg) noexcept -> hyper_st {
    return static_cast<State*>(ctx)->list_extents(op, offset, len, emit, arg);
  };
  table.finish = [](void* ctx, hyper_op*, uint32_t, hyper_emit, void*) noexcept -> hyper_st {
    static_cast<State*>(ctx)->run.fail("it calls finish() of a source that it does not own");
    return HYPER_OK;
  };
  table.close = [](void* ctx, hyper_op*) noexcept { static_cast<State*>(ctx)->closed = true; };
}

TestSource::~TestSource() {
  if (state_->closed) state_->run.fail("it closes a source that it does not own");
  handle_.reset();
  for (const void* left : state_->out) delete[] static_cast<const unsigned char*>(left);
}

void TestSource::expect_all_released() {
  const std::lock_guard lock(state_->mutex);
  state_->run.expect(state_->out.empty(), "it does not release every span of its source");
}

// --- sink ---------------------------------------------------------------------------------------

struct TestSink::State {
  Run& run;
  SinkSetup setup;
  std::string path;
  std::mutex mutex;
  Bytes bytes;
  Bytes durable;  // as the last sync() left them
  std::set<uint64_t> parts;
  std::atomic<int> inside{0}, closes{0};
  static constexpr uint64_t kPart = 1u << 20;

  hyper_st write(hyper_op* op, uint64_t offset, const void* buf, uint64_t len) {
    if (host_table()->cancelled(op) != 0) return HYPER_CANCELLED;
    if (setup.fails_at >= offset && setup.fails_at - offset < len)
      return failure(op, HYPER_NOSPACE, "the test's sink is full");
    if (offset > kMaxSink || len > kMaxSink - offset) {
      run.fail("it writes at an offset that no test asks for: " + std::to_string(offset));
      return failure(op, HYPER_NOSPACE, "no room");
    }
    const std::lock_guard lock(mutex);
    if (setup.kind == "parts") {
      if (offset % kPart != 0 || len == 0 || len > kPart)
        run.fail("a write that is no whole part: offset " + std::to_string(offset) + ", length " +
                 std::to_string(len) + ", parts of " + std::to_string(kPart));
      else if (!parts.insert(offset / kPart).second)
        run.fail("part " + std::to_string(offset / kPart) + " is written twice");
    }
    if (setup.kind == "append" && offset != bytes.size())
      run.fail("an append at " + std::to_string(offset) + " after " + std::to_string(bytes.size()) +
               " bytes");
    if (bytes.size() < offset + len) bytes.resize(offset + len, 0);
    if (buf == nullptr)
      std::memset(bytes.data() + offset, 0, len);
    else
      std::memcpy(bytes.data() + offset, buf, len);
    return HYPER_OK;
  }
};

TestSink::TestSink(Run& run, const Plugin& plugin, SinkSetup setup, std::string path)
    : state_(new State{run, std::move(setup), std::move(path), {}, {}, {}, {}, {}, {}}),
      handle_(plugin) {
  const std::string& kind = state_->setup.kind;
  hyper_sink& table = *handle_.out();
  table.ctx = state_.get();
  table.flags = kind == "random"   ? HYPER_SINK_RANDOM
                : kind == "parts"  ? HYPER_SINK_PARTS
                : kind == "append" ? HYPER_SINK_APPEND
                                   : HYPER_SINK_PATH;
  table.part_size = kind == "parts" ? State::kPart : 0;
  table.block_min = 1;
  table.max_parallel = kind == "append" ? 1 : 4;
  table.write_at = [](void* ctx, hyper_op* op, uint32_t, uint64_t offset, const void* buf,
                      uint64_t len) noexcept {
    State& self = *static_cast<State*>(ctx);
    const Entered entered(self.inside, self.setup.kind == "append" ? 1 : 4, self.run,
                          "write_at() of its sink");
    return self.write(op, offset, buf, len);
  };
  table.zero_at = [](void* ctx, hyper_op* op, uint32_t, uint64_t offset, uint64_t len) noexcept {
    State& self = *static_cast<State*>(ctx);
    if (self.setup.kind != "random") self.run.fail("zero_at() of a sink that has no random writes");
    return self.write(op, offset, nullptr, len);
  };
  table.path = [](void* ctx) noexcept -> const char* {
    return static_cast<State*>(ctx)->path.c_str();
  };
  table.sync = [](void* ctx, hyper_op*, uint32_t) noexcept -> hyper_st {
    State& self = *static_cast<State*>(ctx);
    const std::lock_guard lock(self.mutex);
    self.durable = self.bytes;
    return HYPER_OK;
  };
  table.commit = [](void* ctx, hyper_op* op, uint32_t, uint64_t, hyper_emit,
                    void*) noexcept -> hyper_st {
    static_cast<State*>(ctx)->run.fail("it commits a sink that it does not own");
    return failure(op, HYPER_FAIL, "not yours to commit");
  };
  table.close = [](void* ctx, hyper_op*) noexcept { static_cast<State*>(ctx)->closes++; };
  if (kind == "path") write_file(state_->path, {});
}

TestSink::~TestSink() {
  if (state_->closes != 0) state_->run.fail("it closes a sink that it does not own");
}

Bytes TestSink::written() {
  const std::lock_guard lock(state_->mutex);
  return state_->bytes;
}

Bytes TestSink::durable() {
  const std::lock_guard lock(state_->mutex);
  return state_->durable;
}

void TestSink::begin_with(Bytes bytes) {
  const std::lock_guard lock(state_->mutex);
  state_->bytes = std::move(bytes);
}

void TestSink::write_to(const std::string& path, uint64_t length) {
  if (state_->setup.kind == "path") {
    std::filesystem::copy_file(state_->path, path,
                               std::filesystem::copy_options::overwrite_existing);
    state_->run.require(std::filesystem::file_size(path) <= length,
                        "bytes_written is less than what it wrote");
    std::filesystem::resize_file(path, length);
    return;
  }
  const std::lock_guard lock(state_->mutex);
  state_->run.require(length <= kMaxSink && length >= state_->bytes.size(),
                      "bytes_written (" + std::to_string(length) +
                          ") is less than what it wrote (" + std::to_string(state_->bytes.size()) +
                          ")");
  Bytes bytes = state_->bytes;
  bytes.resize(length, 0);
  write_file(path, bytes);
}

}  // namespace hyperhost::check
