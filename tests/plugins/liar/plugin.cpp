// SPDX-License-Identifier: Apache-2.0
// A provider of one VM with one raw disk of known bytes, which breaks the promise that its option
// `way` names. Each is a fault that a real plugin could have, not an attack on the process.
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <hyper/plugin.hpp>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

namespace liar {

constexpr uint64_t kMiB = 1u << 20, kBlock = 64u << 10;

struct Ways {
  std::string way, hold;
  bool operator()(const char* name) const { return way == name; }
  bool big() const { return way == "beyond-4g" || way == "one-lie"; }
  uint64_t length() const {
    return big() ? 4096 * kMiB + 8 * kMiB : (*this)("changes") ? 64 * kMiB : 8 * kMiB;
  }
  void wait() const {
    struct stat there {};
    while (::stat(hold.c_str(), &there) == 0)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
};

/// Of every three blocks the last is zero; of a big disk there is data in its first and last
/// 8 MiB, and in one block in the middle.
bool has_data(const Ways& ways, uint64_t block) {
  if (block % 3 == 2) return false;
  const uint64_t at = block * kBlock;
  return !ways.big() || at < 8 * kMiB || at >= 4096 * kMiB || at == 2049 * kMiB;
}

bool claims_zero(const Ways& ways, uint64_t block) {
  if (!has_data(ways, block)) return true;
  const uint64_t at = block * kBlock;
  if (ways("zeros")) return block % 16 == 5;
  if (ways("beyond-4g")) return at >= 4096 * kMiB;  // what fits 32 bits is right
  return ways("one-lie") && at >= 2048 * kMiB && at < 4096 * kMiB;
}

class Disk : public hyper::Source {
 public:
  Disk(Ways ways, bool stream) : ways_(std::move(ways)), stream_(stream) {}
  hyper::SourceTraits traits() const override {
    hyper::SourceTraits traits;
    traits.flags = stream_ ? HYPER_SOURCE_STREAM : HYPER_SOURCE_SEEK;
    if (!stream_ && !ways_("racy")) traits.flags |= HYPER_SOURCE_EXTENTS;
    traits.length = stream_ ? HYPER_LENGTH_UNKNOWN : ways_.length();
    traits.format = "raw";
    traits.max_parallel = 4;
    return traits;
  }
  void read_at(hyper::Op, uint64_t offset, void* buf, uint64_t len) override {
    if (ways_("exit")) std::_Exit(0);
    if (ways_("crash")) std::abort();
    if (ways_("grow")) grow();
    if (ways_("racy")) offset = shared_position(offset);
    if (ways_("changes") && offset >= 56 * kMiB && !changed().exchange(true))
      throw hyper::Error(HYPER_BUSY, "the disk is being replaced").retryable();
    auto* out = static_cast<unsigned char*>(buf);
    for (uint64_t at = offset; at < offset + len;) {
      const uint64_t end = std::min(offset + len, (at / kBlock + 1) * kBlock);
      fill(out + (at - offset), at, end - at);
      at = end;
    }
  }
  std::pair<const void*, uint64_t> next(hyper::Op) override {
    const uint64_t length = ways_.length() - (ways_("short-stream") ? kMiB : 0);
    span_.resize(std::min(kBlock, length - at_));
    if (!span_.empty()) fill(span_.data(), at_, span_.size());
    at_ += span_.size();
    return {span_.data(), span_.size()};
  }
  void extents(hyper::Op, uint64_t offset, uint64_t len, const hyper::EmitExtent& emit) override {
    for (uint64_t at = offset, end = offset + len; at < end;) {
      const bool zero = claims_zero(ways_, at / kBlock);
      uint64_t stop = at;
      while (stop < end && claims_zero(ways_, stop / kBlock) == zero)
        stop = std::min(end, (stop / kBlock + 1) * kBlock);
      emit(at, stop - at, zero ? HYPER_EXTENT_ZERO : 0u);
      at = stop;
    }
  }

 private:
  void fill(unsigned char* out, uint64_t at, uint64_t len) const {
    const uint64_t block = at / kBlock;
    if (!has_data(ways_, block)) {
      std::fill(out, out + len, 0);
      return;
    }
    for (uint64_t i = 0; i < len; ++i)
      out[i] = static_cast<unsigned char>(1 + ((at + i) * 31 + block + changed()) % 251);
  }
  /// As lseek() and read() on one descriptor: of two readers one reads at the other's place.
  uint64_t shared_position(uint64_t offset) {
    position_ = offset;
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(50);
    while (position_ == offset && std::chrono::steady_clock::now() < until)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return position_;
  }
  static std::atomic<bool>& changed() {
    static std::atomic<bool> once{false};
    return once;
  }
  void grow() {
    // So that the failure can be reported: what a leak leaves of the process is chance.
    auto reserve = std::make_unique<std::vector<char>>(4 * kMiB, 'x');
    try {
      for (;;) leaked().push_back(std::vector<char>(16 * kMiB, 'x'));
    } catch (const std::bad_alloc&) {
      reserve.reset();
      throw;
    }
  }
  static std::vector<std::vector<char>>& leaked() {
    static std::vector<std::vector<char>> all;
    return all;
  }

  const Ways ways_;
  const bool stream_;
  std::atomic<uint64_t> position_{0};
  uint64_t at_ = 0;
  std::vector<unsigned char> span_;
};

class Vm : public hyper::ProviderVm {
 public:
  explicit Vm(Ways ways) : ways_(std::move(ways)) {}
  std::unique_ptr<hyper::Source> open_disk(hyper::Op, const std::string&, uint32_t flags) override {
    return std::make_unique<Disk>(
        ways_, ways_("short-stream") || ways_("access") || (flags & HYPER_OPEN_STREAM) != 0);
  }
  void close(hyper::Op, hyper_st) override {
    if (ways_("left-behind")) throw hyper::Error(HYPER_IO, "the snapshot could not be removed");
  }

 private:
  const Ways ways_;
};

class Connection : public hyper::ProviderConnection {
 public:
  static std::unique_ptr<Connection> connect(const hyper::Doc& options, hyper::Op) {
    return std::make_unique<Connection>(Ways{options.string("/way"), options.string("/hold")});
  }
  explicit Connection(Ways ways) : ways_(std::move(ways)) {}
  void list_vms(hyper::Op, const char*, const hyper::Emit& emit) override {
    emit(R"({"ref": "demo", "name": "demo", "disks": 1})");
  }
  std::string describe_vm(hyper::Op, const std::string& vm) override {
    if (vm != "demo") throw hyper::Error(HYPER_NOTFOUND, "no VM '" + vm + "'");
    if (ways_("hang-in-describe")) ways_.wait();
    if (ways_("environment"))
      throw hyper::Error(HYPER_NOTFOUND, "it sees " + seen("HOME") + seen("LIAR_HINT") +
                                             seen("OTHER_PLUGINS_PASSWORD") + seen("LC_ALL"));
    const bool stream = ways_("short-stream") || ways_("honest-stream");
    const std::string access = stream            ? R"("stream")"
                               : ways_("access") ? R"("seek", "extents", "file")"
                                                 : R"("seek", "extents", "stream")";
    return R"({"ref": "demo", "name": "demo", "disks": [{"id": "disk-0", "format": "raw", "capacity_bytes": )" +
           std::to_string(ways_.length()) + R"(, "content_id": "1", "access": [)" + access + "]}]}";
  }
  std::unique_ptr<hyper::ProviderVm> open_vm(hyper::Op, const hyper::Doc&) override {
    return std::make_unique<Vm>(ways_);
  }

 private:
  static std::string seen(const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : std::string(name) + "=" + value + ";";
  }
  const Ways ways_;
};

struct Liar {
  using Interfaces = hyper::Interfaces<hyper::Provider<Connection>>;
  static constexpr int32_t kThreads = HYPER_THREADS_PARALLEL;
};

}  // namespace liar

HYPER_PLUGIN(liar::Liar)
