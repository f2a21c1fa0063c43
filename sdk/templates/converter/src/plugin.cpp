// SPDX-License-Identifier: Apache-2.0
// The converter "acme": a disk in one format becomes a disk in another. As it stands, raw becomes
// raw, in one pass and in bounded memory; put your format into write(). Its table is at the end.
#include <algorithm>
#include <hyper/plugin.hpp>
#include <vector>

namespace {

/// The text of a member, and whether a request has one: enough for "format". A JSON library does
/// as well: plugins may use what they like.
std::string text_after(const std::string& json, const std::string& object, const std::string& key) {
  const std::size_t from = json.find("\"" + object + "\"");
  const std::size_t at = from == std::string::npos ? from : json.find("\"" + key + "\"", from);
  if (at == std::string::npos) return {};
  const std::size_t begin = json.find('"', at + key.size() + 2);
  if (begin == std::string::npos) return {};
  return json.substr(begin + 1, json.find('"', begin + 1) - begin - 1);
}

uint64_t number_of(const std::string& json, const std::string& key) {
  const std::size_t at = json.find("\"" + key + "\"");
  const std::size_t digits = at == std::string::npos ? at : json.find_first_of("0123456789", at);
  return digits == std::string::npos ? 0 : std::stoull(json.substr(digits, 19));
}

/// One instance for a run of the host: convert() may be called for several disks at once.
class Converter final : public hyper::ConverterInstance {
 public:
  static std::unique_ptr<Converter> open(hyper::Config config, hyper::Op) {
    return std::make_unique<Converter>(static_cast<uint64_t>(config.integer("/buffer", 1 << 20)));
  }
  explicit Converter(uint64_t buffer) : buffer_(buffer) {}

  /// No I/O: can this be done, and what does it need?
  std::string plan(hyper::Op, const std::string& request) override {
    const std::string from = text_after(request, "source", "format");
    const std::string to = text_after(request, "target", "format");
    if (from != "raw" || to != "raw")
      throw hyper::Error(HYPER_UNSUPPORTED, "it does not convert '" + from + "' to '" + to + "'")
          .hint("from raw to raw it does");
    if (text_after(request, "target", "compression") != "none")
      throw hyper::Error(HYPER_UNSUPPORTED, "raw disks are not compressed");
    return R"({"source": "stream", "sink": ["random", "append"], "passes": 1})";
  }

  std::string convert(hyper::Op op, const std::string& request, hyper::SourceRef source,
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
      std::vector<unsigned char> buffer(buffer_);
      while (done < source.length()) {
        op.check_cancelled();
        const uint64_t size = std::min<uint64_t>(buffer.size(), source.length() - done);
        source.read_at(op, done, buffer.data(), size);
        write(buffer.data(), size);
      }
    }
    const uint64_t expected = number_of(request, "virtual_size");
    if (expected != 0 && expected != done)
      throw hyper::Error(HYPER_CORRUPT, "the disk has " + std::to_string(done) + " bytes, not " +
                                            std::to_string(expected));
    const std::string bytes = std::to_string(done);
    return R"({"virtual_size": )" + bytes + R"(, "bytes_written": )" + bytes +
           R"(, "bytes_read": )" + bytes + "}";
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
