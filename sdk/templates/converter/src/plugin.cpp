// SPDX-License-Identifier: Apache-2.0
// The converter "acme": a disk in one format becomes a disk in another. As it stands, raw becomes
// raw, in one pass and in bounded memory; put your format into write(). Its table is at the end.
#include <algorithm>
#include <hyper/plugin.hpp>
#include <vector>

namespace {

/// One instance for a run of the host: convert() may be called for several disks at once.
class Converter final : public hyper::ConverterInstance {
 public:
  static std::unique_ptr<Converter> open(const hyper::Doc& options, hyper::Op) {
    return std::make_unique<Converter>(static_cast<uint64_t>(options.integer("/buffer", 1 << 20)));
  }
  explicit Converter(uint64_t buffer) : buffer_(buffer) {}

  /// No I/O: can this be done, and what does it need?
  std::string plan(hyper::Op, const hyper::Doc& request) override {
    const std::string from = request.string("/source/format");
    const std::string to = request.string("/target/format");
    if (from != "raw" || to != "raw")
      throw hyper::Error(HYPER_UNSUPPORTED, "it does not convert '" + from + "' to '" + to + "'")
          .hint("from raw to raw it does");
    if (request.string("/target/compression") != "none")
      throw hyper::Error(HYPER_UNSUPPORTED, "raw disks are not compressed");
    return hyper::DocBuilder()
        .set("/source", "stream")
        .set("/sink", {"random", "append"})
        .set("/passes", 1)
        .json();
  }

  std::string convert(hyper::Op op, const hyper::Doc& request, hyper::SourceRef source,
                      hyper::SinkRef sink) override {
    uint64_t done = 0;
    const auto write = [&](const void* data, uint64_t size) {
      sink.write_at(op, done, data, size);
      done += size;
      const uint64_t total = source.length();
      op.progress(done, total == HYPER_LENGTH_UNKNOWN ? 0 : total);
    };
    if (source.can(HYPER_SOURCE_STREAM)) {
      for (hyper::Span span = source.next(op); !span.empty();) {
        op.check_cancelled();
        write(span.data(), span.size());
        span = hyper::Span();  // given back before the next one is asked for
        span = source.next(op);
      }
    } else {
      // Whole blocks of the source, and no more of them than it reads at once.
      const uint64_t block = source.raw()->block_min, most = source.raw()->block_max;
      const uint64_t at_once = most == 0 ? buffer_ : std::min<uint64_t>(buffer_, most);
      std::vector<unsigned char> buffer(std::max(block, at_once / block * block));
      while (done < source.length()) {
        op.check_cancelled();
        const uint64_t size = std::min<uint64_t>(buffer.size(), source.length() - done);
        source.read_at(op, done, buffer.data(), size);
        write(buffer.data(), size);
      }
    }
    const auto expected = static_cast<uint64_t>(request.integer("/virtual_size"));
    if (expected != 0 && expected != done)
      throw hyper::Error(HYPER_CORRUPT, "the disk has " + std::to_string(done) + " bytes, not " +
                                            std::to_string(expected));
    return hyper::DocBuilder()
        .set("/virtual_size", done)
        .set("/bytes_written", done)
        .set("/bytes_read", done)
        .json();
  }

 private:
  const uint64_t buffer_;
};

struct Acme {
  using Interfaces = hyper::Interfaces<hyper::Converter<Converter>>;
  static constexpr int32_t kThreads = HYPER_THREADS_PARALLEL;
};

}  // namespace

HYPER_PLUGIN(Acme)
