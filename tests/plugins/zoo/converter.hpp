// SPDX-License-Identifier: Apache-2.0
// From raw to raw, and an image format of four letters and the bytes behind them.
#pragma once

#include <chrono>
#include <hyper/plugin.hpp>
#include <thread>
#include <vector>

#include "bad.hpp"

namespace zoo {

class Converter : public hyper::ConverterInstance {
 public:
  static std::unique_ptr<Converter> open(hyper::Doc, hyper::Op) {
    return std::make_unique<Converter>();
  }
  std::string plan(hyper::Op, const hyper::Doc& request) override {
    if (request.string("/target/format") != "raw" ||
        request.string("/target/compression") != "none")
      throw hyper::Error(HYPER_UNSUPPORTED, "only raw");
    return bad("plan-no-sink") ? R"({"source": "stream"})"
                               : R"({"source": "stream", "sink": ["append", "random"]})";
  }
  std::string convert(hyper::Op op, const hyper::Doc& request, hyper::SourceRef from,
                      hyper::SinkRef to) override {
    uint64_t done = 0;
    const auto write = [&](const unsigned char* data, uint64_t size) {
      std::vector<unsigned char> copy(data, data + size);
      if (bad("corrupt") && done == 0) copy[77] ^= 1;
      to.write_at(op, done + (bad("gap-in-append") && done != 0 ? 1 : 0), copy.data(), copy.size());
      done += size;
      const uint64_t total = from.length();
      op.progress(bad("progress-back")     ? total - done
                  : bad("progress-beyond") ? done + total
                                           : done,
                  total);
    };
    if (from.can(HYPER_SOURCE_STREAM)) {
      while (true) {
        hyper_span span{};
        const hyper_st status = from.raw()->next(from.raw()->ctx, op.raw(), 0, &span);
        if (status != HYPER_OK && bad("swallow-errors")) break;
        if (status == HYPER_CANCELLED && bad("hang-on-cancel"))
          std::this_thread::sleep_for(std::chrono::seconds(3));
        hyper::check(status);
        if (span.len == 0) break;
        if (bad("use-after-release")) from.raw()->release(from.raw()->ctx, &span);
        write(static_cast<const unsigned char*>(span.data), span.len);
        if (!bad("keep-spans")) from.raw()->release(from.raw()->ctx, &span);
      }
    } else {
      std::vector<unsigned char> buffer(64 * 1024);
      while (done < from.length()) {
        const uint64_t size = std::min<uint64_t>(buffer.size(), from.length() - done);
        from.read_at(op, done, buffer.data(), size);
        write(buffer.data(), size);
      }
    }
    if (request.need_size("/virtual_size") != done)
      throw hyper::Error(HYPER_CORRUPT, "the disk has another size");
    if (bad("close-sink")) to.raw()->close(to.raw()->ctx, op.raw());
    if (bad("commit-sink"))
      static_cast<void>(to.raw()->commit(to.raw()->ctx, op.raw(), 0, done, nullptr, nullptr));
    return R"({"virtual_size": )" + std::to_string(done) + R"(, "bytes_written": )" +
           std::to_string(done) +
           (bad("wrong-digest")
                ? R"(, "digest": "hyper-tree-sha256:)" + std::string(64, '0') + "\"}"
                : std::string("}"));
  }
};

struct Image {
  static constexpr uint64_t kHead = 4;
  class Reader : public hyper::Source {
   public:
    explicit Reader(hyper::SourceRef file) : file_(file) {}
    hyper::SourceTraits traits() const override {
      hyper::SourceTraits traits;
      traits.flags = HYPER_SOURCE_SEEK | HYPER_SOURCE_EXTENTS;
      traits.length = file_.length() - kHead;
      traits.format = "raw";
      return traits;
    }
    void read_at(hyper::Op op, uint64_t offset, void* buf, uint64_t len) override {
      file_.read_at(op, offset + kHead, buf, len);
    }
    void extents(hyper::Op, uint64_t offset, uint64_t len, const hyper::EmitExtent& emit) override {
      emit(offset, len, 0);
    }

   private:
    hyper::SourceRef file_;
  };
  static std::string probe(hyper::Doc, hyper::Op op, hyper::SourceRef file) {
    if (bad("probe-crashes-on-empty") && file.length() == 0)
      *const_cast<volatile int*>(static_cast<int*>(nullptr)) = 1;
    char head[kHead] = "";
    if (file.length() < kHead) return {};
    file.read_at(op, 0, head, kHead);
    return std::memcmp(head, "ZOOI", kHead) == 0 ? R"({"format": "zoo"})" : std::string();
  }
  static std::unique_ptr<hyper::Source> open(hyper::Doc, hyper::Op, hyper::SourceRef file,
                                             const hyper::Doc&) {
    return std::make_unique<Reader>(file);
  }
};

}  // namespace zoo
