// SPDX-License-Identifier: Apache-2.0
#include "core/migrate/disk_transfer.hpp"

#include <algorithm>
#include <atomic>
#include <utility>

#include "core/base/json_text.hpp"
#include "core/disk/copy.hpp"
#include "core/migrate/conversion_manager.hpp"
#include "core/plugin/filter/counted_source.hpp"
#include "core/vm/result_json.hpp"

namespace hyperhost {
namespace {

using Instant = std::chrono::steady_clock;

uint64_t answer_number(const nlohmann::json& answer, const char* key, const std::string& plugin) {
  const auto found = answer.find(key);
  if (found == answer.end() || !found->is_number_unsigned())
    throw Error(Code::kFail, "converter '" + plugin + "' did not say its " + key);
  return found->get<uint64_t>();
}

StorageHandle& store_of(Session& session, const MigrationConfig& job, bool direct, Operation& op) {
  return direct ? session.storage(job.storage, op) : session.local_storage(job.output_dir, op);
}

}  // namespace

DiskTransfer::DiskTransfer(Session& session, const MigrationConfig& job, const DiskRoute& route,
                           const Ownership& own, ResumeLog* log, OnStageProgress on_progress)
    : session_(session),
      job_(job),
      route_(route),
      own_(own),
      log_(log),
      on_progress_(std::move(on_progress)) {}

StorageHandle& DiskTransfer::store(Operation& op) {
  return store_of(session_, job_, route_.direct_upload, op);
}

ResumeLog* DiskTransfer::log() const {
  return log_ != nullptr && log_->resumable(route_.disk.id) ? log_ : nullptr;
}

void DiskTransfer::open_sink(Operation& op, const ResumeRecord* record, uint64_t length) {
  nlohmann::json request = {{"key", route_.key},
                            {"overwrite", route_.direct_upload ? own_.objects : own_.files},
                            {"durability", durability_name(job_.durability)}};
  if (route_.direct_upload) {
    request["expected_bytes"] = route_.disk.capacity_bytes;
    request["adopt"] = job_.export_manifest;  // what a killed run left without its manifest
    if (job_.presign.count() != 0) request["presign_seconds"] = job_.presign.count();
  }
  if (record != nullptr) {
    request["resume"] = record->token.value("sink", nlohmann::json::object());
    request["resume_length"] = length;
  }
  sink_ = store(op).put(op, request);
  if (!route_.direct_upload) return;
  const auto sent = std::make_shared<std::atomic<uint64_t>>(0);
  sink_->watch([sent, report = on_progress_](uint64_t bytes) {
    report(Stage::kUpload, *sent += bytes, 0, false);  // how much there will be is not known yet
  });
}

void DiskTransfer::describe(const SourceHandle& delivered) {
  result_ = {};
  result_.id = route_.disk.id;
  result_.label = route_.disk.label;
  result_.type = route_.disk.type;
  result_.boot_order = route_.disk.boot_order;
  // The provider may deliver another format than it described: it falls back to what works.
  result_.source_format = route_.disk.blank            ? "raw"
                          : delivered.format().empty() ? route_.disk.format
                                                       : delivered.format();
  result_.source_file = route_.disk.file;
  result_.target_format = route_.target_format;
  result_.staged = route_.staged;
  result_.notes = route_.notes;
}

/// A provider may open a disk in another way than it described: it falls back to what works.
bool DiskTransfer::must_stage(const SourceHandle& delivered) const {
  if (route_.staged || !route_.converted || route_.disk.blank) return route_.staged;
  return (route_.need == "file" && !delivered.can(HYPER_SOURCE_FILE)) ||
         (route_.need == "seek" && !delivered.can(HYPER_SOURCE_SEEK));
}

std::string DiskTransfer::provider_text() const {
  return "provider '" + session_.provider_plugin(job_.provider) + "'";
}

std::shared_ptr<SourceHandle> DiskTransfer::staged(const std::shared_ptr<SourceHandle>& delivered,
                                                   const std::filesystem::path& directory,
                                                   Operation& op) {
  if (!must_stage(*delivered)) return delivered;
  if (!route_.staged)
    result_.notes.push_back("staged: " + provider_text() +
                            " opened the disk without the access that it had described");
  result_.staged = true;
  const auto begin = Instant::now();
  const auto& place = job_.staging_dir.empty() ? directory : job_.staging_dir;
  auto out = stage_source(*delivered, place.string(), route_.file_name, op, [&](uint64_t bytes) {
    report_read(bytes, route_.disk.source_bytes.value_or(0), false);
  });
  result_.stage_duration = Instant::now() - begin;
  return out;
}

std::shared_ptr<SourceHandle> DiskTransfer::decoded(std::shared_ptr<SourceHandle> source,
                                                    const std::filesystem::path& directory,
                                                    Operation& op) {
  decoded_by_.clear();
  if (!route_.converted || route_.disk.blank) return source;
  const ImageReaders& images = session_.images();
  // A stream cannot be looked at before it is read; its converter finds the format out.
  if (result_.source_format.empty() && source->can(HYPER_SOURCE_SEEK))
    result_.source_format = images.detect(*source, route_.disk.id, op);
  const std::string decoder = images.decoder_for(job_.converter.plugin, result_.source_format);
  if (decoder.empty()) return source;
  if (!source->can(HYPER_SOURCE_SEEK))
    throw Error(Code::kUnsupported, "the reader '" + decoder + "' needs to seek in this " +
                                        result_.source_format +
                                        " image, and the source is a stream");
  std::shared_ptr<SourceHandle> image =
      images.open(source, result_.source_format, {decoder, ""}, op, decoded_by_);
  if (route_.needs_file) image = as_file(image, directory, op);
  result_.notes.push_back("read by " + decoded_by_ + " as " + result_.source_format);
  return image;
}

std::shared_ptr<SourceHandle> DiskTransfer::as_file(const std::shared_ptr<SourceHandle>& image,
                                                    const std::filesystem::path& directory,
                                                    Operation& op) {
  const auto begin = Instant::now();
  const auto& place = job_.staging_dir.empty() ? directory : job_.staging_dir;
  auto out = stage_source(*image, place.string(), route_.file_name, op, [](uint64_t) {});
  result_.staged = true;
  result_.stage_duration += Instant::now() - begin;
  return out;
}

std::shared_ptr<SourceHandle> DiskTransfer::begin(const OpenSource& open) {
  std::shared_ptr<SourceHandle> delivered = open();
  describe(*delivered);
  token_ = nullptr;
  read_ = std::make_shared<ReadCount>();
  if (!route_.disk.blank) count_reads(*delivered, read_);
  return delivered;
}

void DiskTransfer::run(const OpenSource& open, const std::filesystem::path& directory,
                       Operation& op) {
  // `delivered` stays open until the result is verified: finish() needs it.
  std::shared_ptr<SourceHandle> delivered, source;
  if (view_) {
    delivered = std::exchange(delivered_, nullptr);
    source = viewed(directory, op);
  } else {
    delivered = begin(open);
    source = decoded(staged(delivered, directory, op), directory, op);
  }
  try {
    pass(delivered, *source, op);
    if (route_.converted && job_.verify_export != Verify::kNone && sink_->can(HYPER_SINK_READBACK))
      verify(sink_->reopen(op, length_), source, op);
    source.reset();
    delivered.reset();
    if (route_.converted && job_.verify_export == Verify::kSource)
      verify_source(open, directory, op);
    record_written(op);
  } catch (const Error& failure) {
    leave(failure.code(), op);
    throw;
  } catch (...) {
    leave(Code::kFail, op);
    throw;
  }
  written_ = true;
}

void DiskTransfer::pass(const std::shared_ptr<SourceHandle>& delivered, const SourceHandle& source,
                        Operation& op) {
  const auto begin = Instant::now();
  if (route_.converted)
    convert(source, op);
  else
    copy(source, op);
  result_.convert_duration = Instant::now() - begin;
  const uint64_t read = read_->bytes;
  check_zeros(*delivered, source, op);
  read_->bytes = read;  // a sample moves nothing
  finish_source(*delivered, op);
  result_.proven = {"delivered"};
}

void DiskTransfer::copy(const SourceHandle& source, Operation& op) {
  if (log() != nullptr) log()->forget(route_.disk.id);
  open_sink(op);
  if (log() != nullptr && sink_->can(HYPER_SINK_RESUME)) token_ = sink_->keep(op);
  const CopyResult copied = copy_source(
      source, *sink_, op, hardware_threads(),
      [&](uint64_t bytes) { report_read(bytes, route_.disk.source_bytes.value_or(0), false); });
  length_ = copied.bytes;
  result_.target_checksum = result_.source_checksum = copied.checksum;
  result_.virtual_size = route_.disk.capacity_bytes;
  if (result_.source_format == "raw") check_length(copied.bytes);
}

void DiskTransfer::report_read(uint64_t bytes, uint64_t total, bool adopted) {
  moved_bytes_ = bytes;
  on_progress_(Stage::kExport, bytes, total, adopted);
}

void DiskTransfer::report_pass(uint64_t done, uint64_t total) {
  const bool adopted = continued_.exchange(false);
  on_progress_(Stage::kConvert, done, total, adopted);
  const uint64_t export_total = route_.disk.bytes_to_read().value_or(0);
  if (route_.staged || total == 0 || export_total == 0) return;
  // What a pass reads moves with it. Where reads are not counted, by the same share.
  const auto share = static_cast<uint64_t>(static_cast<double>(done) / static_cast<double>(total) *
                                           static_cast<double>(export_total));
  const uint64_t read = read_->known();
  if (read == 0 || adopted)
    report_read(share, export_total, adopted);
  else
    report_read(std::min(adopted_read_ + read, export_total), export_total, false);
  if (adopted) adopted_read_ = share;
}

void DiskTransfer::convert(const SourceHandle& source, Operation& op) {
  op.on_progress([&](uint64_t done, uint64_t total) { report_pass(done, total); });
  const nlohmann::json answer = call_converter(source, op);
  op.on_progress({});
  const std::string& converter = job_.converter.plugin;
  result_.resumed_bytes = answer.value("resumed_bytes", uint64_t{0});
  length_ = answer_number(answer, "bytes_written", converter);
  result_.virtual_size = answer_number(answer, "virtual_size", converter);
  result_.digest = text_of(answer, "digest");
  for (const auto& note : answer.value("notes", nlohmann::json::array()))
    if (note.is_string()) result_.notes.push_back(note.get<std::string>());
  check_size();
}

void DiskTransfer::check_size() const {
  // A VHD's size is whole MiB (Azure): its converter rounds up and says so in a note.
  const uint64_t grown = result_.virtual_size - route_.disk.capacity_bytes;
  const bool rounded = route_.target_format == "vhd" && grown < (1u << 20);
  if (route_.disk.capacity_bytes != 0 && grown != 0 && !rounded)
    throw Error(Code::kCorrupt, "the disk has " + std::to_string(result_.virtual_size) +
                                    " guest-visible bytes and its description says " +
                                    std::to_string(route_.disk.capacity_bytes));
}

bool DiskTransfer::reopen_at_checkpoint(const ResumeRecord& record, Operation& op) {
  const auto length = record.state.find("length");
  if (record.phase != "writing" || length == record.state.end() || !length->is_number_unsigned())
    return false;
  try {
    open_sink(op, &record, length->get<uint64_t>());
    return true;
  } catch (const Error& failure) {
    if (failure.code() != Code::kNotFound && failure.code() != Code::kConfig) throw;
    return false;  // it is gone
  }
}

/// From the front, or from where the log says.
nlohmann::json DiskTransfer::call_converter(const SourceHandle& source, Operation& op) {
  const std::string& id = route_.disk.id;
  nlohmann::json request = route_.request;
  request["source"]["format"] = source.format().empty() ? result_.source_format : source.format();
  if (!source.can(HYPER_SOURCE_SEEK)) request["source"]["access"] = {"stream"};
  if (!decoded_by_.empty()) {
    request["source"] = {{"format", "raw"}, {"length", source.length()}, {"access", {"seek"}}};
    if (source.can(HYPER_SOURCE_FILE)) request["source"]["access"].push_back("file");
  }
  ConverterHandle& converter = session_.converter(job_.converter, op);
  const auto record = log() == nullptr ? std::nullopt : log()->disk(id);
  const bool resumed = record && reopen_at_checkpoint(*record, op);
  continued_ = resumed;
  adopted_read_ = 0;
  if (!resumed) {
    if (log() != nullptr) log()->forget(id);
    open_sink(op);
  }
  if (log() != nullptr && sink_->can(HYPER_SINK_RESUME)) {
    token_ = sink_->keep(op);
    const auto interval =
        std::chrono::duration_cast<std::chrono::milliseconds>(job_.checkpoint_interval);
    request["checkpoint"] = {{"interval_bytes", job_.checkpoint_bytes},
                             {"interval_ms", interval.count()}};
    if (resumed) request["checkpoint"]["state"] = record->state;
    op.on_checkpoint([this, id](const std::string& text) {
      log()->writing(id, token_, parse_object(text, "a checkpoint"));
    });
  }
  struct Reset {
    Operation& op;
    ~Reset() { op.on_checkpoint({}); }
  } reset{op};
  try {
    return converter.convert(op, request, source, *sink_);
  } catch (const Error& failure) {
    if (failure.code() != Code::kUnsupported || !resumed) throw;
  }
  // The converter does not understand the state (another version wrote it): from the front.
  sink_->drop(op);
  sink_.reset();
  log()->forget(id);
  return call_converter(source, op);
}

void DiskTransfer::finish_source(const SourceHandle& delivered, Operation& op) {
  const nlohmann::json finished = delivered.finish(op);
  const auto bytes = finished.find("bytes");
  result_.source_bytes = bytes != finished.end() && bytes->is_number_unsigned()
                             ? bytes->get<uint64_t>()
                             : route_.disk.source_bytes.value_or(0);
  if (const std::string checksum = text_of(finished, "checksum"); !checksum.empty())
    result_.source_checksum = checksum;
  result_.source_verified = text_of(finished, "verified");
  // A reader that opens the file by itself leaves out the holes.
  const uint64_t read = read_->known();
  moved_bytes_ = read != 0 ? adopted_read_ + read
                           : std::min(result_.source_bytes,
                                      route_.disk.allocated_bytes.value_or(result_.source_bytes));
  report_read(moved_bytes_, moved_bytes_, false);
}

void DiskTransfer::record_written(Operation& op) {
  if (log() == nullptr) return;
  const hyper_sink& table = sink_->table();
  if (job_.durability == Durability::kFile && table.sync != nullptr)
    op.check(table.sync(table.ctx, &op, 0), "making the disk durable");
  log()->written(route_.disk.id, token_, result_, length_);
}

/// What is written stays where a later run can continue with it, and goes in any other case.
void DiskTransfer::leave(Code why, Operation& op) {
  if (!sink_ || !sink_->can(HYPER_SINK_RESUME) || log() == nullptr) {
    sink_.reset();
    return;
  }
  if (!(log()->disk(route_.disk.id) && worth_keeping(why))) {
    log()->forget(route_.disk.id);
    try {
      sink_->drop(op);
    } catch (const Error&) {
      // The journal has it; cleanup tries again.
    }
  }
  sink_.reset();
}

void DiskTransfer::drop(Operation& op, bool keep) {
  const bool kept = keep && log() != nullptr && log()->disk(route_.disk.id);
  if (!kept && sink_ && sink_->can(HYPER_SINK_RESUME)) {
    try {
      sink_->drop(op);
    } catch (const Error&) {
      // The journal has it; cleanup tries again.
    }
  }
  sink_.reset();
  view_.reset();
  delivered_.reset();
  if (keep && view_file_ && log_ != nullptr && log_->prepared()) view_file_->leave();
  view_file_.reset();
}

bool DiskTransfer::adopt(Operation& op) {
  const DiskResult viewed = result_;
  if (!adopt_written(op)) {
    result_ = viewed;
    return false;
  }
  view_.reset();
  delivered_.reset();
  return true;
}

bool DiskTransfer::adopt_written(Operation& op) {
  const auto record = log() == nullptr ? std::nullopt : log()->disk(route_.disk.id);
  if (!record || record->phase != "written") return false;
  try {
    result_ = disk_result_from(record->result.at("disk"));
    length_ = record->result.at("length").get<uint64_t>();
    result_.adopted = true;
    if (record->token.value("sink", nlohmann::json()).is_object()) {
      open_sink(op, &*record, length_);
      return written_ = true;
    }
  } catch (const nlohmann::json::exception&) {
    log()->forget(route_.disk.id);
    return false;
  } catch (const Error& failure) {
    if (failure.code() != Code::kNotFound && failure.code() != Code::kConfig &&
        failure.code() != Code::kExists && failure.code() != Code::kCorrupt)
      throw;
  }
  // It may have got its name before the end came. Its content says whether it is this disk.
  const nlohmann::json there = store(op).stat(op, route_.key);
  if (!there.is_null() && there.value("bytes", nlohmann::json()) == length_) {
    result_.target_bytes = length_;
    result_.key = route_.key;
    result_.path = there.value("location", (job_.output_dir / route_.key).string());
    try {
      if (!result_.digest.empty()) verify(store(op).get(op, route_.key), nullptr, op);
      return written_ = named_ = true;
    } catch (const Error& failure) {
      if (failure.code() != Code::kCorrupt && failure.code() != Code::kUnsupported) throw;
    }
  }
  log()->forget(route_.disk.id);
  return false;
}

void DiskTransfer::commit(const std::filesystem::path& directory, Operation& op) {
  if (named_) return;
  const nlohmann::json committed = sink_->commit(op, length_);
  sink_.reset();
  named_ = true;
  result_.target_bytes = length_;
  if (const std::string checksum = text_of(committed, "checksum"); !checksum.empty())
    result_.set_stored_checksum(checksum);
  result_.path = text_of(committed, "location");
  if (result_.path.empty())
    result_.path = (directory / route_.key.substr(route_.key.rfind('/') + 1)).string();
  result_.key = route_.key;
  result_.url = text_of(committed, "url");
  found_there_ = committed.value("adopted", nlohmann::json(false)) == true;
}

void discard(Session& session, const MigrationConfig& job, const ResumeRecord& record,
             Operation& op) {
  const nlohmann::json token =
      record.token.is_object() ? record.token.value("sink", nlohmann::json()) : nlohmann::json();
  if (!token.is_object()) return;
  try {
    // Of a disk that may not be wanted any more: its token says all.
    const nlohmann::json& place = record.token.at("place");
    StorageHandle& store = store_of(session, job, place.at("direct").get<bool>(), op);
    const auto sink = store.put(op, {{"key", place.at("key").get<std::string>()},
                                     {"overwrite", true},
                                     {"durability", durability_name(job.durability)},
                                     {"resume", token},
                                     {"resume_length", 0}});
    sink->drop(op);
  } catch (const nlohmann::json::exception&) {
    return;  // of nothing that can be found
  } catch (const Error& failure) {
    if (failure.code() == Code::kBusy) throw;  // somebody else's now
  }
}

}  // namespace hyperhost
