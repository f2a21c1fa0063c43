// SPDX-License-Identifier: Apache-2.0
// hyper.converter/1: what plan() promises convert() does, bytes stay what they are, failures and
// cancel are passed on.
#include <atomic>
#include <chrono>
#include <filesystem>
#include <thread>

#include "core/check/run.hpp"
#include "core/check/test_disks.hpp"
#include "core/disk/content.hpp"
#include "core/disk/local_sources.hpp"

namespace hyperhost::check {
namespace {

constexpr uint64_t kMostRounding = 8u << 20;
constexpr const char* kFormats[] = {"raw", "qcow2", "vmdk", "vhd", "vhdx", "vdi"};

struct Planned {
  std::string format, source;
  std::vector<std::string> sinks;
  bool digest = false;
};

nlohmann::json request_of(const std::string& format, uint64_t size) {
  return {{"source", {{"format", "raw"}, {"length", size}, {"access", {"seek", "stream", "file"}}}},
          {"target", {{"format", format}, {"compression", "none"}, {"durability", "none"}}},
          {"virtual_size", size},
          {"digest", true}};
}

std::vector<Planned> plans(Run& run, ConverterHandle& converter, uint64_t size) {
  std::vector<Planned> out;
  for (const char* format : kFormats) {
    Operation op = operation(format);
    run.at(std::string("plan() from raw to ") + format);
    nlohmann::json plan;
    try {
      plan = converter.plan(op, request_of(format, size));
    } catch (const Error& error) {
      run.expect_error(std::string("plan() to ") + format, [&] { throw Error(error.diagnostic()); },
                       {Code::kUnsupported, Code::kConfig});
      continue;
    }
    Planned planned{format, plan.value("source", ""), {}, plan.value("digest", false)};
    run.expect(planned.source == "stream" || planned.source == "seek" || planned.source == "file",
               std::string("plan() to ") + format + ": source is none of stream, seek, file");
    for (const auto& kind : plan.value("sink", nlohmann::json::array()))
      if (kind == "random" || kind == "parts" || kind == "append" || kind == "path")
        planned.sinks.push_back(kind.get<std::string>());
    run.expect(!planned.sinks.empty(), std::string("plan() to ") + format +
                                           ": sink names none of random, parts, append, path");
    if (!planned.sinks.empty()) out.push_back(std::move(planned));
  }
  return out;
}

/// One conversion of known bytes, with everything around it.
class Conversion {
 public:
  Conversion(Run& run, ConverterHandle& converter, const Planned& plan, const Bytes& guest)
      : run_(run), converter_(converter), plan_(plan), guest_(guest) {}

  std::string access;  ///< how the source may be read: seek, stream, file
  SourceSetup source;
  SinkSetup sink;
  std::shared_ptr<CancelSource> cancel;
  uint64_t virtual_size = 0;  ///< 0 = what it is

  std::string name() const {
    return "convert() from raw (" + access + ") to " + plan_.format + " (" + sink.kind + ")";
  }

  nlohmann::json convert() {
    static std::atomic<int> count{0};
    const std::string base = run_.scratch() + "/convert-" + std::to_string(++count);
    image_ = base + ".image";
    std::unique_ptr<TestSource> memory;
    std::shared_ptr<SourceHandle> from;
    if (access == "file") {
      write_file(base + ".raw", guest_);
      from = open_file_source(base + ".raw", "raw");
    } else {
      source.flags =
          access == "stream" ? HYPER_SOURCE_STREAM : HYPER_SOURCE_SEEK | HYPER_SOURCE_EXTENTS;
      memory = std::make_unique<TestSource>(run_, guest_, source);
      from = memory->handle();
    }
    sink_ = std::make_unique<TestSink>(run_, converter_.plugin(), sink, base + ".part");
    nlohmann::json request = request_of(plan_.format, guest_.size());
    request["source"]["access"] = {access};
    if (virtual_size != 0) request["virtual_size"] = virtual_size;
    run_.at(name());
    Operation op = operation("convert", cancel);
    nlohmann::json result = converter_.convert(op, request, *from, sink_->handle());
    if (memory) memory->expect_all_released();
    return result;
  }

  void expect_right() {
    nlohmann::json result;
    try {
      result = convert();
    } catch (const Error& error) {
      run_.fail(name() + " fails: " + error.what());
      return;
    }
    // Some formats know whole cylinders only: a little larger, and zero there.
    const uint64_t size = result.value("virtual_size", uint64_t{0});
    run_.require(size >= guest_.size() && size - guest_.size() < kMostRounding,
                 name() + ": virtual_size is not the disk's size");
    expected_ = guest_;
    expected_.resize(size, 0);
    const uint64_t written = result.value("bytes_written", uint64_t{0});
    run_.require(written != 0, name() + ": bytes_written is missing");
    sink_->write_to(image_, written);
    const auto digest = result.value("digest", nlohmann::json());
    if (digest.is_string())
      run_.expect(digest.get<std::string>() == expected_digest(),
                  name() + ": its digest is not that of the disk");
    else if (plan_.digest)
      run_.fail(name() + ": plan() promised a digest and there is none");
    compare();
    std::filesystem::remove(image_);
  }

 private:
  std::string expected_digest() {
    TestSource memory(run_, expected_, {});
    Operation op = operation("digest");
    return content_digest(*memory.handle(), op, 1);
  }

  void compare() {
    const std::string expected = expected_digest();
    Operation op = operation("read back");
    std::shared_ptr<SourceHandle> file = open_file_source(image_);
    if (plan_.format == "raw") {
      run_.expect(content_digest(*file, op, 1) == expected,
                  name() + ": what was written is not what was read");
      return;
    }
    for (const auto& reader : run_.readers()) {
      run_.at("reading the result of " + name() + " with " + reader->plugin().id());
      if (reader->probe(op, *file).is_null()) continue;
      const auto image = reader->open(op, file, plan_.format);
      run_.expect(image->length() == expected_.size(), name() + ": the image has another size");
      run_.expect(content_digest(*image, op, 1) == expected,
                  name() + ": what a guest reads is not what was read");
      return;
    }
    run_.note("no installed plugin reads " + plan_.format + ": that result was not read back");
  }

  Run& run_;
  ConverterHandle& converter_;
  const Planned& plan_;
  const Bytes& guest_;
  std::string image_;
  Bytes expected_;
  std::unique_ptr<TestSink> sink_;
};

/// Everything the cases need: an open converter and its plans.
struct Opened {
  explicit Opened(Run& run, std::size_t size) : guest(disk_bytes(size)) {
    const Options options = run.options(HYPER_IFACE_CONVERTER);
    Plugin& plugin = run.plugin();
    run.at("open()");
    Operation op = operation("open");
    converter = std::make_unique<ConverterHandle>(plugin, options, op);
    planned = plans(run, *converter, guest.size());
    if (planned.empty()) run.skip("it converts raw disks to no format of " + formats());
  }
  static std::string formats() {
    std::string out;
    for (const char* format : kFormats) out += (out.empty() ? "" : ", ") + std::string(format);
    return out;
  }
  Conversion conversion(Run& run, const Planned& plan) const {
    Conversion made(run, *converter, plan, guest);
    made.access = plan.source;
    made.sink.kind = plan.sinks.front();
    return made;
  }
  Bytes guest;
  std::unique_ptr<ConverterHandle> converter;
  std::vector<Planned> planned;
};

}  // namespace

void case_converter_plan(Run& run) {
  const Opened opened(run, 1u << 20);
  // Nonsense is refused with a reason.
  for (const char* request : {"{}", R"({"source": {}, "target": {"format": "no-such-format"}})"}) {
    run.at("plan(" + std::string(request) + ")");
    run.expect_error("plan(" + std::string(request) + ")", [&] {
      Operation op = operation("plan");
      static_cast<void>(opened.converter->plan(op, nlohmann::json::parse(request)));
    });
  }
}

void case_converter(Run& run) {
  const Opened opened(run, (5u << 20) + 3 * 512);
  bool first = true;
  for (const Planned& plan : opened.planned) {
    for (const std::string& kind : plan.sinks) {
      Conversion conversion = opened.conversion(run, plan);
      conversion.sink.kind = kind;
      conversion.expect_right();
      if (!first) break;  // every kind of sink once is enough
    }
    if (first && plan.source == "stream") {
      Conversion conversion = opened.conversion(run, plan);
      conversion.access = "seek";
      conversion.expect_right();
    }
    first = false;
  }
  // An empty disk and one of a single sector.
  for (const std::size_t size : {std::size_t{512}}) {
    const Opened small(run, size);
    small.conversion(run, small.planned.front()).expect_right();
  }
  // Several disks at once through one instance.
  if (opened.converter->plugin().serial()) return;
  std::vector<std::thread> threads;
  run.at("convert() of several disks at once");
  std::vector<Conversion> conversions;
  for (int i = 0; i < 3; ++i) conversions.push_back(opened.conversion(run, opened.planned.front()));
  for (Conversion& conversion : conversions)
    threads.emplace_back([&] {
      try {
        conversion.expect_right();
      } catch (const CaseEnded&) {
      } catch (const std::exception& error) {
        run.fail(error.what());
      }
    });
  for (std::thread& thread : threads) thread.join();
}

void case_converter_failures(Run& run) {
  const Opened opened(run, 4u << 20);
  for (const Planned& plan : opened.planned) {
    if (plan.source != "file") {
      Conversion conversion = opened.conversion(run, plan);
      conversion.source.fails_at = 2'000'000;
      run.expect_error(conversion.name() + " of a disk that cannot be read",
                       [&] { static_cast<void>(conversion.convert()); }, {Code::kIo});
    }
    if (plan.sinks.front() != "path") {
      Conversion conversion = opened.conversion(run, plan);
      conversion.sink.fails_at = 1'000'000;
      run.expect_error(conversion.name() + " into a full sink",
                       [&] { static_cast<void>(conversion.convert()); }, {Code::kNoSpace});
    }
    Conversion conversion = opened.conversion(run, plan);
    conversion.virtual_size = opened.guest.size() + (1u << 20);
    run.expect_error(conversion.name() + " of a disk that is shorter than its owner says",
                     [&] { static_cast<void>(conversion.convert()); });
    break;  // the ways of failing are those of one target
  }
}

void case_converter_cancel(Run& run) {
  const Opened opened(run, 16u << 20);
  const auto cancel = CancelSource::create();
  Conversion conversion = opened.conversion(run, opened.planned.front());
  conversion.cancel = cancel;
  conversion.source.delay_us =
      100'000;  // 16 s in all, for a converter that reads 100 KiB at a time
  std::chrono::steady_clock::time_point cancelled_at{};
  std::thread canceller([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(150));
    cancelled_at = std::chrono::steady_clock::now();
    cancel->cancel();
  });
  std::string wrong;
  try {
    static_cast<void>(conversion.convert());
    if (conversion.access != "file") wrong = "succeeds although it was cancelled";
  } catch (const Error& error) {
    if (error.code() != Code::kCancelled)
      wrong = "fails otherwise when it is cancelled: " + std::string(error.what());
  }
  canceller.join();
  run.expect(wrong.empty(), conversion.name() + " " + wrong);
  run.expect(std::chrono::steady_clock::now() - cancelled_at < std::chrono::seconds(2),
             conversion.name() + " continues for more than 2 s after the cancel");
}

}  // namespace hyperhost::check
