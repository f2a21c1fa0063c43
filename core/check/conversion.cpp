// SPDX-License-Identifier: Apache-2.0
#include "core/check/conversion.hpp"

#include <algorithm>
#include <atomic>
#include <filesystem>

#include "core/disk/content.hpp"
#include "core/disk/local_sources.hpp"

namespace hyperhost::check {
namespace {

constexpr uint64_t kMostRounding = 8u << 20;
constexpr const char* kFormats[] = {"raw", "qcow2", "vmdk", "vhd", "vhdx", "vdi"};

std::vector<Planned> plans(Run& run, ConverterHandle& converter, uint64_t size) {
  std::vector<Planned> out;
  for (const char* format : kFormats) {
    Operation op = operation(format);
    run.at(std::string("plan() from raw to ") + format);
    nlohmann::json plan;
    try {
      plan = converter.plan(op, conversion_request(format, size));
    } catch (const Error& error) {
      run.expect_error(std::string("plan() to ") + format, [&] { throw Error(error.diagnostic()); },
                       {Code::kUnsupported, Code::kConfig});
      continue;
    }
    out.push_back({format, plan["source"].get<std::string>(),
                   plan["sink"].get<std::vector<std::string>>(), plan.value("digest", false)});
  }
  return out;
}

std::string formats() {
  std::string out;
  for (const char* format : kFormats) out += (out.empty() ? "" : ", ") + std::string(format);
  return out;
}

}  // namespace

nlohmann::json conversion_request(const std::string& format, uint64_t size) {
  return {{"source", {{"format", "raw"}, {"length", size}, {"access", {"seek", "stream", "file"}}}},
          {"target", {{"format", format}, {"compression", "none"}, {"durability", "none"}}},
          {"virtual_size", size},
          {"digest", true}};
}

nlohmann::json Conversion::convert() {
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
  nlohmann::json request = conversion_request(plan_.format, guest_.size());
  request["source"]["access"] = {access};
  if (virtual_size != 0) request["virtual_size"] = virtual_size;
  if (!checkpoint.is_null()) {
    request["checkpoint"] = checkpoint;
    request["target"]["durability"] = "file";
  }
  if (!begin_with.empty()) sink_->begin_with(begin_with);
  run_.at(name());
  Operation op = operation("convert", cancel);
  if (!checkpoint.is_null()) op.on_checkpoint([this](const std::string& json) { save(json); });
  nlohmann::json result = converter_.convert(op, request, *from, sink_->handle());
  if (memory) memory->expect_all_released();
  return result;
}

/// What a state relies on must have reached the sink, and be durable, when it is saved.
void Conversion::save(const std::string& json) {
  const auto saved = nlohmann::json::parse(json, nullptr, false);
  const auto length = saved["length"].get<uint64_t>();
  Bytes bytes = sink_->durable();
  const std::size_t synced = bytes.size();
  // What was never written to a RANDOM sink reads as zeros, also behind its last byte.
  bool there = length <= bytes.size();
  if (sink.kind == "random" && length <= kMaxSink) {
    Bytes written = sink_->written();
    written.resize(length, 0);
    bytes.resize(std::max<std::size_t>(bytes.size(), length), 0);
    there = std::equal(written.begin(), written.end(), bytes.begin());
  }
  run_.expect(there, name() + " saves a state that relies on " + std::to_string(length) +
                         " bytes, and " + std::to_string(synced) + " were written and synced");
  bytes.resize(length, 0);
  durable = std::move(bytes);
  state = json;
}

void Conversion::expect_right() {
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

std::string Conversion::expected_digest() {
  TestSource memory(run_, expected_, {});
  Operation op = operation("digest");
  return content_digest(*memory.handle(), op, 1);
}

void Conversion::compare() {
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

OpenedConverter::OpenedConverter(Run& run, std::size_t size, unsigned seed)
    : guest(disk_bytes(size, seed)) {
  const Options options = run.options(HYPER_IFACE_CONVERTER);
  Plugin& plugin = run.plugin();
  run.at("open()");
  Operation op = operation("open");
  converter = std::make_unique<ConverterHandle>(plugin, options, op);
  planned = plans(run, *converter, guest.size());
  if (planned.empty()) run.skip("it converts raw disks to no format of " + formats());
}

Conversion OpenedConverter::conversion(Run& run, const Planned& plan) const {
  Conversion made(run, *converter, plan, guest);
  made.access = plan.source;
  made.sink.kind = plan.sinks.front();
  return made;
}

}  // namespace hyperhost::check
