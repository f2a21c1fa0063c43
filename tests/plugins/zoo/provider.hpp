// SPDX-License-Identifier: Apache-2.0
// A VM with one disk of known bytes.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <hyper/plugin.hpp>
#include <thread>
#include <vector>

#include "bad.hpp"

namespace zoo {

inline unsigned char byte_at(uint64_t offset) {
  const uint64_t block = offset / 65536;
  return block % 3 == 1 ? 0 : static_cast<unsigned char>(1 + (offset * 31 + block) % 251);
}

class Disk : public hyper::Source {
 public:
  static constexpr uint64_t kLength = 2u << 20;
  hyper::SourceTraits traits() const override {
    hyper::SourceTraits traits;
    traits.flags =
        HYPER_SOURCE_SEEK | HYPER_SOURCE_STREAM | HYPER_SOURCE_EXTENTS | HYPER_SOURCE_SIBLING;
    traits.length = kLength;
    traits.format = "raw";
    traits.max_parallel = 2;
    return traits;
  }
  void read_at(hyper::Op op, uint64_t offset, void* buf, uint64_t len) override {
    if (bad("crash-in-read")) *const_cast<volatile int*>(static_cast<int*>(nullptr)) = 1;
    if (bad("hang-in-read")) std::this_thread::sleep_for(std::chrono::hours(1));
    if (bad("hold"))
      while (::access(std::getenv("HYPER_ZOO_HOLD"), F_OK) == 0)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    if (bad("slow")) std::this_thread::sleep_for(std::chrono::milliseconds(300));
    if (bad("ignore-cancel") && op.cancelled())
      std::this_thread::sleep_for(std::chrono::seconds(3));
    if (bad("fail-when-cancelled") && op.cancelled()) throw hyper::Error(HYPER_IO, "gone");
    auto* out = static_cast<unsigned char*>(buf);
    if (bad("short-read")) len -= std::min<uint64_t>(len, 1);
    for (uint64_t i = 0; i < len; ++i) out[i] = byte_at(offset + i);
    if (bad("write-past-end")) out[len] = 1;
    if (bad("write-before")) out[-1] = 1;
    if (bad("wrong-when-small") && len < 5000) out[0] ^= 1;
  }
  std::pair<const void*, uint64_t> next(hyper::Op op) override {
    if (bad("hang")) std::this_thread::sleep_for(std::chrono::hours(1));
    op.check_cancelled();
    const uint64_t length = bad("short-stream") ? kLength - 1 : kLength;
    const uint64_t len = std::min<uint64_t>(100'000, length - at_);
    span_.resize(len);
    for (uint64_t i = 0; i < len; ++i)
      span_[i] = byte_at(at_ + i + (bad("stream-differs") ? 1 : 0));
    at_ += len;
    return {span_.data(), len};
  }
  void extents(hyper::Op, uint64_t offset, uint64_t len, const hyper::EmitExtent& emit) override {
    for (const uint64_t end = offset + len; offset < end;) {
      const uint64_t stop = std::min(end, (offset / 65536 + 1) * 65536);
      const bool zero = offset / 65536 % 3 == 1 || bad("lie-about-zeros");
      if (!(bad("gap-in-extents") && zero))
        emit(offset, stop - offset, zero ? HYPER_EXTENT_ZERO : 0u);
      offset = stop;
    }
  }
  std::unique_ptr<hyper::Source> sibling(hyper::Op, const std::string& name) override {
    if (bad("open-any-sibling")) return std::make_unique<Disk>();
    throw hyper::Error(HYPER_NOTFOUND, "there is no '" + name + "'");
  }
  std::string finish(hyper::Op) override {
    if (bad("finish-fails")) throw hyper::Error(HYPER_CORRUPT, "the checksum differs");
    return {};
  }

 private:
  uint64_t at_ = 0;
  std::vector<unsigned char> span_;
};

class Vm : public hyper::ProviderVm {
 public:
  std::unique_ptr<hyper::Source> open_disk(hyper::Op, const std::string& id, uint32_t) override {
    if (id != "disk-0" && !bad("any-disk"))
      throw hyper::Error(HYPER_NOTFOUND, "no disk '" + id + "'");
    if (bad("leak-memory")) kept() = new Kept{kept(), {}};
    return std::make_unique<Disk>();
  }

 private:
  struct Kept {  // a list that only grows: not even a leak checker calls that a leak
    Kept* next;
    char bytes[1000];
  };
  static Kept*& kept() {
    static Kept* list = nullptr;
    return list;
  }
};

class Connection : public hyper::ProviderConnection {
 public:
  static std::unique_ptr<Connection> connect(const hyper::Doc& config, hyper::Op op) {
    if (bad("log-secret")) op.info("the password is " + config.string("/password"));
    if (bad("no-connection")) throw hyper::Error(HYPER_IO, "nothing listens at acme.example:443");
    if (bad("leak-descriptor")) static_cast<void>(::dup(0));
    return std::make_unique<Connection>();
  }
  void list_vms(hyper::Op, const char* pattern, const hyper::Emit& emit) override {
    if (bad("print")) std::puts("hello"), std::fflush(stdout);
    if (bad("exit")) std::exit(0);
    if (pattern != nullptr && std::string(pattern) != "demo" && !bad("ignore-pattern")) return;
    emit(bad("no-name") ? R"({"ref": "demo"})" : R"({"ref": "demo", "name": "demo", "disks": 1})");
  }
  std::string describe_vm(hyper::Op, const std::string& vm) override {
    if (vm != "demo" && bad("silent-error")) throw hyper::Reported(HYPER_NOTFOUND);
    if (vm != "demo")
      throw hyper::Error(bad("wrong-code") ? HYPER_FAIL : HYPER_NOTFOUND, "no VM '" + vm + "'");
    if (bad("no-json")) return "demo";
    return bad("bad-disk-id")
               ? R"({"name": "demo", "disks": [{"id": "../disk"}]})"
               : R"({"name": "demo", "disks": [{"id": "disk-0", "access": ["seek", "stream"]}]})";
  }
  std::unique_ptr<hyper::ProviderVm> open_vm(hyper::Op, const hyper::Doc& request) override {
    if (request.string("/vm") != "demo") throw hyper::Error(HYPER_NOTFOUND, "no such VM");
    return std::make_unique<Vm>();
  }
};

}  // namespace zoo
