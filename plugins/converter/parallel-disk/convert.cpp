// SPDX-License-Identifier: Apache-2.0
#include "convert.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "codec/sha256.hpp"
#include "engine/bytes.hpp"
#include "engine/engine.hpp"
#include "engine/limited_source.hpp"
#include "engine/state.hpp"
#include "format/probe.hpp"
#include "reader/map_reader.hpp"
#include "reader/raw_stream.hpp"
#include "reader/vmdk_stream.hpp"
#include "request.hpp"
#include "writer/qcow2.hpp"
#include "writer/raw.hpp"
#include "writer/vhd.hpp"
#include "writer/vmdk_stream.hpp"

namespace hyper::disk {
namespace {

using nlohmann::json;

constexpr uint64_t kBaseMemory = 64u << 20, kThreadMemory = 8u << 20;
constexpr uint64_t kGrainKept = 64u << 10;  // VMware's, and the cluster size of kept ones

/// The image that is read, with what its reader needs to live.
struct Opened {
  std::unique_ptr<OwnedSource> limited;
  std::unique_ptr<ImageMap> map;
  std::unique_ptr<Reader> reader;
};

Opened open_source(Op op, const Request& request, const SourceRef& source, bool allow_backing) {
  Opened opened;
  const std::string format =
      request.source_format.empty() ? source.format() : request.source_format;
  if (source.can(HYPER_SOURCE_SEEK)) {
    opened.limited = limit_source(source);
    opened.map = open_image(op, *opened.limited, format, {.allowed = allow_backing});
    opened.reader = std::make_unique<MapReader>(*opened.map);
  } else if (format == "vmdk") {
    opened.reader = std::make_unique<VmdkStreamReader>(op, source);
  } else if (format == "raw") {
    uint64_t size = source.length();
    if (size == HYPER_LENGTH_UNKNOWN && request.virtual_size) size = *request.virtual_size;
    if (size == HYPER_LENGTH_UNKNOWN)
      throw Error(HYPER_UNSUPPORTED, "a raw stream of unknown length cannot be converted")
          .hint("name the disk's virtual_size");
    opened.reader = std::make_unique<RawStreamReader>(source, size);
  } else {
    throw Error(HYPER_UNSUPPORTED,
                "a stream of format '" + format + "' cannot be converted: only vmdk and raw can");
  }
  return opened;
}

struct Made {
  std::unique_ptr<Writer> writer;
  Qcow2Writer* keeping = nullptr;
  std::vector<std::string> notes;
};

/// Bytes for a name that images of the format carry: random, or with `deterministic` always those.
Uuid make_uuid(const Request& request, uint64_t size) {
  Uuid uuid{};
  if (!request.deterministic && ::getentropy(uuid.data(), uuid.size()) == 0) return uuid;
  const Hash256 hash = Sha256::hash({{"parallel-disk", 13}, {&size, sizeof size}});
  std::copy_n(hash.begin(), uuid.size(), uuid.begin());
  return uuid;
}

std::unique_ptr<Qcow2Writer> make_qcow2(const Request& request, bool strict_deflate, uint64_t size,
                                        Output& output, std::vector<std::string>& notes) {
  Qcow2Options options;
  options.cluster_bytes = request.cluster_bytes;
  options.level = request.level;
  if (request.compression == Compression::kZstd)
    options.packing = Packing::kZstd;
  else if (request.compression != Compression::kNone)
    options.packing = strict_deflate ? Packing::kRawDeflate4K : Packing::kRawDeflate;
  if (request.compression == Compression::kKeep) {
    options.keep = !strict_deflate && request.cluster_bytes == kGrainKept;
    if (strict_deflate)
      notes.emplace_back("recompressed: strict_deflate keeps no grains");
    else if (!options.keep)
      notes.emplace_back("recompressed: grains are kept in clusters of 64 KiB only");
  }
  return std::make_unique<Qcow2Writer>(output, size, options);
}

Made make_writer(const Request& request, bool strict_deflate, uint64_t size, Output& output) {
  Made made;
  if (request.target_format == "qcow2") {
    auto writer = make_qcow2(request, strict_deflate, size, output, made.notes);
    if (request.compression == Compression::kKeep) made.keeping = writer.get();
    made.writer = std::move(writer);
  } else if (request.target_format == "vmdk") {
    const Uuid uuid = make_uuid(request, size);
    made.writer = std::make_unique<VmdkStreamWriter>(output, size, request.level,
                                                     load_le<uint32_t>(uuid.data()) & 0x7fffffff);
  } else if (request.target_format == "vhd" && request.subformat == "fixed") {
    made.writer = std::make_unique<VhdFixedWriter>(output, size, make_uuid(request, size));
  } else if (request.target_format == "vhd") {
    made.writer = std::make_unique<VhdDynamicWriter>(output, size, make_uuid(request, size));
  } else {
    made.writer = std::make_unique<RawWriter>(output, size);
  }
  if (made.writer->virtual_size() != size)
    made.notes.push_back("the disk grew from " + std::to_string(size) + " to " +
                         std::to_string(made.writer->virtual_size()) +
                         " bytes, with zeros: the format's sizes are coarser");
  return made;
}

/// The state as JSON: {"kind", "guest", "length", "writer", "digest"}.
constexpr const char* kStateKind = "parallel-disk/1";

std::string state_json(const Position& position) {
  return json{{"kind", kStateKind},
              {"guest", position.guest},
              {"length", position.length},
              {"writer", to_base64(position.writer)},
              {"digest", to_base64(position.digest)}}
      .dump();
}

Position parse_state(const std::string& text) {
  const json state = json::parse(text, nullptr, false);
  Position position;
  const auto is = [&](const char* key, bool (json::*check)() const noexcept) {
    const auto at = state.find(key);
    return at != state.end() && ((*at).*check)();
  };
  if (!state.is_object() || !is("kind", &json::is_string) || state["kind"] != kStateKind ||
      !is("guest", &json::is_number_unsigned) || !is("length", &json::is_number_unsigned) ||
      !is("writer", &json::is_string) || !is("digest", &json::is_string) ||
      !from_base64(state["writer"].get_ref<const std::string&>(), position.writer) ||
      !from_base64(state["digest"].get_ref<const std::string&>(), position.digest))
    throw Error(HYPER_UNSUPPORTED, "the state of the interrupted conversion is not understood");
  position.guest = state["guest"];
  position.length = state["length"];
  return position;
}

Progressing progressing_of(const Request& request, const Output& output) {
  Progressing out;
  if (!request.checkpoint_state.empty()) out.from = parse_state(request.checkpoint_state);
  if (request.checkpoint_bytes == 0 || !output.random()) return out;
  out.checkpoints.interval_bytes = request.checkpoint_bytes;
  out.checkpoints.interval = std::chrono::milliseconds(
      request.checkpoint_ms == 0 ? uint64_t{24} * 3600 * 1000 : request.checkpoint_ms);
  if (request.durable) out.checkpoints.sync = [&output](Op op) { output.sync(op); };
  out.checkpoints.save = [](Op op, const Position& position) {
    return Checkpoint::save(op, state_json(position));
  };
  return out;
}

}  // namespace

std::unique_ptr<ParallelDisk> ParallelDisk::open(const Doc& config, Op) {
  const int64_t threads = config.integer("/threads", 0);
  const int64_t memory = config.integer("/memory", 0);
  if (threads < 0 || threads > 1024)
    throw Error(HYPER_CONFIG, "threads is out of range", "0 (all cores) to 1024").at("/threads");
  if (memory < 0) throw Error(HYPER_CONFIG, "memory is negative").at("/memory");
  const unsigned count = threads == 0 ? std::max(1u, std::thread::hardware_concurrency())
                                      : static_cast<unsigned>(threads);
  const uint64_t bytes =
      memory == 0 ? kBaseMemory + count * kThreadMemory : static_cast<uint64_t>(memory);
  // With all processors one more may be busy: when a worker turns to waiting or writing, the
  // kernel's scheduler leaves its processor idle for a while before it fetches a woken one from
  // another (5 to 10 % of the wall time).
  const unsigned busy = threads == 0 ? count + 1 : count;
  return std::unique_ptr<ParallelDisk>(new ParallelDisk(count, busy, bytes,
                                                        config.boolean("/strict_deflate", false),
                                                        config.boolean("/allow_backing", false)));
}

std::string ParallelDisk::plan(Op, const Doc& document) {
  const Request request = parse_request(document.json(), strict_deflate_);
  const std::string& format = request.source_format;
  static constexpr const char* kRead[] = {"raw", "qcow2", "vmdk", "vhd", "vhdx", "vdi"};
  if (!format.empty() && std::find(std::begin(kRead), std::end(kRead), format) == std::end(kRead))
    throw Error(HYPER_UNSUPPORTED, "this plugin does not read '" + format + "'")
        .hint("converter qemu-img may read it")
        .at("/source/format");
  const bool streams =
      format == "vmdk" || (format == "raw" && (request.source_length || request.virtual_size));
  const bool seekable =
      request.source_access.empty() || request.source_can("seek") || request.source_can("file");
  if (!seekable && !streams)
    throw Error(HYPER_UNSUPPORTED,
                "a source that cannot seek must be vmdk (streamOptimized) or raw of known length",
                format.empty() ? "its format is not known" : format);
  hyper_sink nowhere{};  // a writer is made only so that it refuses what it cannot write
  nowhere.flags = HYPER_SINK_RANDOM;
  nowhere.block_min = nowhere.max_parallel = 1;
  Output output{SinkRef(&nowhere)};
  const Made made =
      make_writer(request, strict_deflate_, request.virtual_size.value_or(1u << 20), output);
  json result;
  result["source"] = streams ? "stream" : "seek";
  if (request.target_format == "qcow2" ||
      (request.target_format == "vhd" && request.subformat == "dynamic"))
    result["sink"] = {"random", "parts"};
  else
    result["sink"] = {"random", "parts", "append"};
  result["digest"] = true;
  result["scratch_bytes"] = 0;
  result["passes"] = 1;
  if (!made.notes.empty()) result["notes"] = made.notes;
  return result.dump();
}

std::string ParallelDisk::convert(Op op, const Doc& document, SourceRef source, SinkRef sink) {
  const Request request = parse_request(document.json(), strict_deflate_);
  Opened opened = open_source(op, request, source, allow_backing_);
  const uint64_t size = opened.reader->virtual_size();
  if (request.virtual_size && *request.virtual_size != size)
    throw Error(HYPER_CORRUPT, "the disk has another size than its VM says",
                std::to_string(size) + " bytes, not " + std::to_string(*request.virtual_size))
        .hint("check that this is the right disk, whole and unchanged");
  Output output(sink);
  Made made = make_writer(request, strict_deflate_, size, output);
  const Outcome outcome = run_conversion(op, budget_, *opened.reader, *made.writer, output,
                                         request.digest, progressing_of(request, output));
  json result;
  result["virtual_size"] = made.writer->virtual_size();
  result["bytes_written"] = outcome.length;
  result["bytes_read"] = opened.reader->bytes_read();
  if (!outcome.digest.empty()) result["digest"] = outcome.digest;
  if (outcome.resumed_bytes != 0) result["resumed_bytes"] = outcome.resumed_bytes;
  if (made.keeping != nullptr)
    made.notes.push_back(std::to_string(made.keeping->kept()) +
                         " compressed grains kept as they are, the rest recompressed");
  if (opened.map)
    for (std::string& note : opened.map->notes()) made.notes.push_back(std::move(note));
  if (!made.notes.empty()) result["notes"] = made.notes;
  return result.dump();
}

}  // namespace hyper::disk
