// SPDX-License-Identifier: Apache-2.0
#include "core/migrate/conversion_manager.hpp"

#include <algorithm>
#include <atomic>
#include <thread>

#include "core/disk/content.hpp"
#include "core/disk/copy.hpp"
#include "core/disk/local_sources.hpp"
#include "core/migrate/resume_log.hpp"

namespace hyperhost {
namespace {

using Clock = std::chrono::steady_clock;

uint64_t answer_number(const nlohmann::json& answer, const char* key, const std::string& plugin) {
  const auto found = answer.find(key);
  if (found == answer.end() || !found->is_number_unsigned())
    throw Error(Code::kFail, "converter '" + plugin + "' did not say its " + key);
  return found->get<uint64_t>();
}

std::string hex_range(uint64_t offset, uint64_t length) {
  return "guest bytes " + std::to_string(offset) + " to " + std::to_string(offset + length - 1);
}

}  // namespace

unsigned hardware_threads() {
  return std::max(1u, std::thread::hardware_concurrency());
}

StorageHandle& ConversionManager::store_of(const MigrationConfig& config, const DiskRoute& route,
                                           Operation& op) {
  return route.direct_upload ? session_.storage(config.storage, op)
                             : session_.local_storage(config.output_dir, op);
}

std::unique_ptr<SinkHandle> ConversionManager::open_sink(const MigrationConfig& config,
                                                         const DiskRoute& route, Operation& op,
                                                         StorageHandle*& store,
                                                         const ResumeRecord* record,
                                                         uint64_t length) {
  nlohmann::json request = {{"key", route.key},
                            {"overwrite", config.overwrite},
                            {"durability", durability_name(config.durability)}};
  store = &store_of(config, route, op);
  if (route.direct_upload) {
    request["overwrite"] = config.upload_overwrite;
    request["expected_bytes"] = route.disk.capacity_bytes;
    request["adopt"] = config.export_manifest;  // what a killed run left without its manifest
    if (config.presign.count() != 0) request["presign_seconds"] = config.presign.count();
  }
  if (record != nullptr) {
    request["resume"] = record->token.value("sink", nlohmann::json::object());
    request["resume_length"] = length;
  }
  return store->put(op, request);
}

namespace {

/// What a store has acknowledged of a disk that goes straight there.
void watch_upload(const DiskRoute& route, SinkHandle& sink, const OnStageProgress& on_progress) {
  if (!route.direct_upload) return;
  const auto sent = std::make_shared<std::atomic<uint64_t>>(0);
  sink.watch([sent, on_progress](uint64_t bytes) {
    on_progress(Stage::kUpload, *sent += bytes, 0);  // how much there will be is not known yet
  });
}

}  // namespace

nlohmann::json ConversionManager::run_converter(const MigrationConfig& config,
                                                const DiskRoute& route, const SourceHandle& source,
                                                PendingDisk& disk, Operation& op, ResumeLog* log,
                                                nlohmann::json& token,
                                                const OnStageProgress& on_progress) {
  const std::string& id = route.disk.id;
  nlohmann::json request = route.request;
  request["source"]["format"] =
      source.format().empty() ? disk.result.source_format : source.format();
  if (!disk.decoded_by.empty())
    request["source"] = {{"format", "raw"}, {"length", source.length()}, {"access", {"seek"}}};
  if (source.can(HYPER_SOURCE_FILE) && !disk.decoded_by.empty())
    request["source"]["access"].push_back("file");
  ConverterHandle& converter = session_.converter(config.converter, op);
  const auto found = log == nullptr ? std::nullopt : log->disk(id);
  const nlohmann::json* state = found && found->phase == "writing" ? &found->state : nullptr;
  if (state != nullptr && state->value("length", nlohmann::json()).is_number_unsigned()) {
    try {
      disk.sink = open_sink(config, route, op, disk.store, &*found, (*state)["length"]);
    } catch (const Error& failure) {
      if (failure.code() != Code::kNotFound && failure.code() != Code::kConfig) throw;
      state = nullptr;
    }
  } else {
    state = nullptr;
  }
  if (!disk.sink) {
    if (log != nullptr) log->forget(id);
    disk.sink = open_sink(config, route, op, disk.store);
  }
  watch_upload(route, *disk.sink, on_progress);
  if (log != nullptr && disk.sink->can(HYPER_SINK_RESUME)) {
    token = disk.sink->keep(op);
    request["checkpoint"] = {{"interval_bytes", config.checkpoint_bytes},
                             {"interval_ms", std::chrono::duration_cast<std::chrono::milliseconds>(
                                                 config.checkpoint_interval)
                                                 .count()}};
    if (state != nullptr) request["checkpoint"]["state"] = *state;
    op.on_checkpoint([&token, log, id](const std::string& text) {
      log->writing(id, token, parse_object(text, "a checkpoint"));
    });
  }
  struct Reset {
    Operation& op;
    ~Reset() { op.on_checkpoint({}); }
  } reset{op};
  try {
    return converter.convert(op, request, source, *disk.sink);
  } catch (const Error& failure) {
    if (failure.code() != Code::kUnsupported || state == nullptr) throw;
  }
  // A state that this converter does not understand (of another version): from the front.
  disk.sink->drop(op);
  disk.sink.reset();
  log->forget(id);
  return run_converter(config, route, source, disk, op, log, token, on_progress);
}

std::optional<PendingDisk> ConversionManager::adopt(const MigrationConfig& config,
                                                    const DiskRoute& route, Operation& op,
                                                    ResumeLog& log,
                                                    const OnStageProgress& on_progress) {
  const auto record = log.disk(route.disk.id);
  if (!record || record->phase != "written") return std::nullopt;
  PendingDisk disk;
  try {
    disk.result = disk_result_from(record->result.at("disk"));
    disk.length = record->result.at("length").get<uint64_t>();
    disk.result.adopted = true;
    disk.key = route.key;
    if (record->token.value("sink", nlohmann::json()).is_object()) {
      disk.sink = open_sink(config, route, op, disk.store, &*record, disk.length);
      return disk;
    }
  } catch (const nlohmann::json::exception&) {
    log.forget(route.disk.id);
    return std::nullopt;
  } catch (const Error& failure) {
    if (failure.code() != Code::kNotFound && failure.code() != Code::kConfig &&
        failure.code() != Code::kExists && failure.code() != Code::kCorrupt)
      throw;
  }
  // It may have got its name before the end came. Whose file that is, its content tells.
  disk.store = &store_of(config, route, op);
  const nlohmann::json there = disk.store->stat(op, disk.key);
  if (!there.is_null() && there.value("bytes", nlohmann::json()) == disk.length) {
    disk.committed = true;
    disk.result.target_bytes = disk.length;
    disk.result.key = disk.key;
    disk.result.path = there.value("location", (config.output_dir / disk.key).string());
    if (disk.result.digest.empty()) return disk;
    try {
      verify(config, disk, disk.store->get(op, disk.key), nullptr, op, on_progress);
      return disk;
    } catch (const Error& failure) {
      if (failure.code() != Code::kCorrupt && failure.code() != Code::kUnsupported) throw;
    }
  }
  log.forget(route.disk.id);
  return std::nullopt;
}

void ConversionManager::discard(const MigrationConfig& config, const ResumeRecord& record,
                                Operation& op) {
  const nlohmann::json token =
      record.token.is_object() ? record.token.value("sink", nlohmann::json()) : nlohmann::json();
  if (!token.is_object()) return;
  try {
    DiskRoute route;  // of a disk that may not be wanted any more: its token says all
    route.key = record.token.at("place").at("key").get<std::string>();
    route.direct_upload = record.token.at("place").at("direct").get<bool>();
    StorageHandle* store = nullptr;
    const auto sink = open_sink(config, route, op, store, &record, 0);
    sink->drop(op);
  } catch (const nlohmann::json::exception&) {
    return;  // of nothing that can be found
  } catch (const Error& failure) {
    if (failure.code() == Code::kBusy) throw;  // somebody else's now
  }
}

std::shared_ptr<SourceHandle> ConversionManager::decode(const MigrationConfig& config,
                                                        const DiskRoute& route,
                                                        std::shared_ptr<SourceHandle> source,
                                                        const std::filesystem::path& staging,
                                                        PendingDisk& disk, Operation& op) {
  const ImageReaders& images = session_.images();
  DiskResult& result = disk.result;
  // A stream cannot be looked at before it is read; its converter finds the format out.
  if (result.source_format.empty() && source->can(HYPER_SOURCE_SEEK))
    result.source_format = images.detect(*source, route.disk.id, op);
  const std::string decoder = images.decoder_for(config.converter.plugin, result.source_format);
  if (decoder.empty()) return source;
  if (!source->can(HYPER_SOURCE_SEEK))
    throw Error(Code::kUnsupported, "the reader '" + decoder + "' needs to seek in this " +
                                        result.source_format +
                                        " image, and the source is a stream");
  std::shared_ptr<SourceHandle> image =
      images.open(source, result.source_format, {decoder, ""}, op, disk.decoded_by);
  if (route.needs_file) {
    const auto begin = Clock::now();
    image = stage_source(*image, staging.string(), route.file_name, op, [](uint64_t) {});
    result.staged = true;
    result.stage_duration += Clock::now() - begin;
  }
  result.notes.push_back("read by " + disk.decoded_by + " as " + result.source_format);
  return image;
}

PendingDisk ConversionManager::convert(const MigrationConfig& config, const DiskRoute& route,
                                       const std::shared_ptr<SourceHandle>& delivered,
                                       const std::filesystem::path& directory, Operation& op,
                                       const OnStageProgress& on_progress, ResumeLog* log) {
  if (log != nullptr && !log->resumable(route.disk.id)) log = nullptr;
  const std::string& converter_id = config.converter.plugin;
  PendingDisk disk;
  DiskResult& result = disk.result;
  result.id = route.disk.id;
  result.label = route.disk.label;
  result.type = route.disk.type;
  result.boot_order = route.disk.boot_order;
  // What comes may be another format than was described: a provider falls back to what works.
  result.source_format = route.disk.blank              ? "raw"
                         : delivered->format().empty() ? route.disk.format
                                                       : delivered->format();
  result.source_file = route.disk.file;
  result.target_format = route.target_format;
  result.staged = route.staged;
  result.notes = route.notes;

  // The source as the provider gives it stays open to the end: finish() needs it.
  std::shared_ptr<SourceHandle> source = delivered;
  const uint64_t export_total = route.disk.source_bytes.value_or(0);
  const auto& place = config.staging_dir.empty() ? directory : config.staging_dir;
  if (route.staged) {
    const auto begin = Clock::now();
    source = stage_source(*delivered, place.string(), route.file_name, op, [&](uint64_t bytes) {
      on_progress(Stage::kExport, bytes, export_total);
    });
    result.stage_duration = Clock::now() - begin;
  }
  if (route.converted && !route.disk.blank)
    source = decode(config, route, std::move(source), place, disk, op);

  disk.key = route.key;
  nlohmann::json token;
  // What is written stays where a later run can go on with it, and goes in any other case.
  struct Unfinished {
    const PendingDisk& disk;
    const DiskRoute& route;
    ResumeLog* log;
    Operation& op;
    bool over = false;
    void keep_or_drop(Code code) {
      over = true;
      if (!disk.sink || !disk.sink->can(HYPER_SINK_RESUME) || log == nullptr) return;
      if (log->disk(route.disk.id) && worth_keeping(code)) return;
      log->forget(route.disk.id);
      try {
        disk.sink->drop(op);
      } catch (const Error&) {
        // The journal has it; cleanup tries again.
      }
    }
    ~Unfinished() {
      if (!over) keep_or_drop(Code::kFail);
    }
  } unfinished{disk, route, log, op};
  try {
    const auto begin = Clock::now();
    if (!route.converted) {
      if (log != nullptr) log->forget(route.disk.id);
      disk.sink = open_sink(config, route, op, disk.store);
      watch_upload(route, *disk.sink, on_progress);
      if (log != nullptr && disk.sink->can(HYPER_SINK_RESUME)) token = disk.sink->keep(op);
      const CopyResult copied =
          copy_source(*source, *disk.sink, op, hardware_threads(),
                      [&](uint64_t bytes) { on_progress(Stage::kExport, bytes, export_total); });
      disk.length = copied.bytes;
      result.target_checksum = result.source_checksum = copied.checksum;
      result.virtual_size = route.disk.capacity_bytes;
    } else {
      op.on_progress([&](uint64_t done, uint64_t total) {
        on_progress(Stage::kConvert, done, total);
        if (!route.staged && total != 0 && export_total != 0)  // one pass: both move together
          on_progress(Stage::kExport,
                      static_cast<uint64_t>(static_cast<double>(done) / static_cast<double>(total) *
                                            static_cast<double>(export_total)),
                      export_total);
      });
      const nlohmann::json answer =
          run_converter(config, route, *source, disk, op, log, token, on_progress);
      op.on_progress({});
      result.resumed_bytes = answer.value("resumed_bytes", uint64_t{0});
      disk.length = answer_number(answer, "bytes_written", converter_id);
      result.virtual_size = answer_number(answer, "virtual_size", converter_id);
      if (const auto digest = answer.find("digest"); digest != answer.end() && digest->is_string())
        result.digest = digest->get<std::string>();
      for (const auto& note : answer.value("notes", nlohmann::json::array()))
        if (note.is_string()) result.notes.push_back(note.get<std::string>());
      // A VHD's size is whole MiB (Azure): its converter rounds up and says so in a note.
      const uint64_t grown = result.virtual_size - route.disk.capacity_bytes;
      const bool rounded = route.target_format == "vhd" && grown < (1u << 20);
      if (route.disk.capacity_bytes != 0 && grown != 0 && !rounded)
        throw Error(Code::kCorrupt, "the disk has " + std::to_string(result.virtual_size) +
                                        " guest-visible bytes and its description says " +
                                        std::to_string(route.disk.capacity_bytes));
    }
    result.convert_duration = Clock::now() - begin;

    const nlohmann::json finished = delivered->finish(op);
    const auto text = [&](const char* key) {
      const auto found = finished.find(key);
      return found != finished.end() && found->is_string() ? found->get<std::string>()
                                                           : std::string();
    };
    result.source_bytes = finished.value("bytes", nlohmann::json()).is_number_unsigned()
                              ? finished["bytes"].get<uint64_t>()
                              : export_total;
    if (!text("checksum").empty()) result.source_checksum = text("checksum");
    result.source_verified = text("verified");
    on_progress(Stage::kExport, result.source_bytes, result.source_bytes);

    if (route.converted && config.verify_export != Verify::kNone &&
        disk.sink->can(HYPER_SINK_READBACK)) {
      verify(config, disk, disk.sink->reopen(op, disk.length), source, op, on_progress);
    }
    if (log != nullptr) {
      const hyper_sink& table = disk.sink->table();
      if (config.durability == Durability::kFile && table.sync != nullptr)
        op.check(table.sync(table.ctx, &op, 0), "making the disk durable");
      log->written(route.disk.id, token, result, disk.length);
    }
    unfinished.over = true;
  } catch (const Error& failure) {
    unfinished.keep_or_drop(failure.code());
    throw;
  }
  return disk;
}

void ConversionManager::verify(const MigrationConfig& config, PendingDisk& disk,
                               const std::shared_ptr<SourceHandle>& written,
                               const std::shared_ptr<SourceHandle>& source, Operation& op,
                               const OnStageProgress& on_progress) {
  const auto begin = Clock::now();
  DiskResult& result = disk.result;
  const std::string& converter_id = config.converter.plugin;
  std::string source_reader;
  const bool rereadable = source != nullptr && source->can(HYPER_SOURCE_SEEK);
  const std::string source_format = disk.decoded_by.empty() ? result.source_format : "raw";
  if (result.digest.empty()) {
    if (!rereadable)
      throw Error(Code::kUnsupported,
                  "converter '" + converter_id + "' computes no digest and the source is a stream",
                  "the result cannot be compared with it", "use verify: none or another converter");
    const auto image = session_.images().open(source, source_format, {}, op, source_reader);
    result.digest = content_digest(*image, op, hardware_threads());
  }
  const bool independent = config.verify_export == Verify::kIndependent;
  const auto target = session_.images().open(
      written, result.target_format,
      independent ? ReaderChoice{"", converter_id} : ReaderChoice{converter_id, ""}, op,
      result.verified_by);
  if (target->length() != result.virtual_size)
    throw Error(Code::kCorrupt,
                "verification failed: the written image has " + std::to_string(target->length()) +
                    " guest-visible bytes instead of " + std::to_string(result.virtual_size));
  const std::string digest = content_digest(*target, op, hardware_threads(), [&](uint64_t done) {
    on_progress(Stage::kVerify, done, result.virtual_size);
  });
  if (digest != result.digest) {
    std::string where = "the source is a stream, so the place is not known";
    if (rereadable) {
      const auto image = session_.images().open(source, source_format, {}, op, source_reader);
      const auto difference = compare_content(*image, *target, op, hardware_threads(), false);
      where = difference
                  ? "first difference at " + hex_range(difference->offset, difference->length)
                  : "the source no longer reads as it did during the conversion";
    }
    throw Error(Code::kCorrupt, "verification failed: the written image differs from the source",
                where + "; source " + result.digest + ", written " + digest + ", read by " +
                    result.verified_by);
  }
  result.verify_duration = Clock::now() - begin;
}

void ConversionManager::commit(PendingDisk& disk, const std::filesystem::path& directory,
                               Operation& op) {
  const nlohmann::json committed = disk.sink->commit(op, disk.length);
  disk.sink.reset();
  disk.result.target_bytes = disk.length;
  if (const auto found = committed.find("checksum"); found != committed.end() && found->is_string())
    disk.result.set_stored_checksum(found->get<std::string>());
  const std::string file_name = disk.key.substr(disk.key.rfind('/') + 1);
  const auto location = committed.find("location");
  disk.result.path = location != committed.end() && location->is_string()
                         ? location->get<std::string>()
                         : (directory / file_name).string();
  disk.result.key = disk.key;
  disk.adopted = committed.value("adopted", nlohmann::json(false)) == true;
  if (const auto url = committed.find("url"); url != committed.end() && url->is_string())
    disk.result.url = url->get<std::string>();
}

void ConversionManager::verify_committed(const MigrationConfig& config, PendingDisk& disk,
                                         Operation& op, const OnStageProgress& on_progress) {
  if (!config.enable_conversion || config.verify_export == Verify::kNone ||
      !disk.result.verified_by.empty())
    return;
  try {
    verify(config, disk, disk.store->get(op, disk.key), nullptr, op, on_progress);
  } catch (const Error& failure) {
    if (failure.code() == Code::kCorrupt) disk.store->remove(op, disk.key);
    throw;
  }
}

}  // namespace hyperhost
