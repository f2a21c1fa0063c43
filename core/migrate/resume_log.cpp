// SPDX-License-Identifier: Apache-2.0
#include "core/migrate/resume_log.hpp"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include "core/base/json_text.hpp"
#include "core/base/random_id.hpp"
#include "core/base/sha256.hpp"
#include "core/disk/content.hpp"
#include "core/disk/local_sources.hpp"
#include "core/migrate/conversion_manager.hpp"
#include "core/migrate/machine.hpp"
#include "core/migrate/memory_limit.hpp"
#include "core/os/process_identity.hpp"
#include "core/vm/result_json.hpp"

namespace hyperhost {
namespace {

using nlohmann::json;

json keys_of(const std::vector<PluginChoice>& plugins) {
  json out = json::array();
  for (const PluginChoice& one : plugins) out.push_back(one.key());
  return out;
}

/// What a preparation depends on.
json preparation_wish(const MigrationConfig& config, const VmRoute& route, Session& session) {
  json versions = json::array(), contents = json::object();
  for (const PluginChoice& one : config.guest_plugins) {
    const PluginFile* file = session.registry().find(one.plugin);
    versions.push_back(file == nullptr ? json() : file->manifest.value("version", json()));
  }
  for (const DiskRoute& disk : route.disks)
    contents[disk.disk.id] = {disk.disk.blank ? "blank" : disk.disk.content_id,
                              disk.disk.capacity_bytes};
  return {{"plugins", keys_of(config.guest_plugins)},
          {"versions", versions},
          {"vm", route.vm.document},
          {"machine", machine_of(config.guest.machine, config.target, route)},
          {"content", contents}};
}

/// What a local file is recognised by without reading it; null if it is not there.
json stamp_of(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return nullptr;
  return {{"inode", info.st_ino},
          {"bytes", info.st_size},
          {"modified", info.st_mtim.tv_sec},
          {"modified_ns", info.st_mtim.tv_nsec}};
}

/// Reads the finished disk again; empty if it is what the digest says.
std::string differs(Session& session, const DiskResult& disk, Operation& op) {
  if (disk.digest.empty()) return "was changed since";
  std::string used;
  const auto image =
      session.images().open(open_file_source(disk.path), disk.target_format, {}, op, used);
  return content_digest(*image, op, hardware_threads()) == disk.digest ? "" : "was changed since";
}

}  // namespace

bool worth_keeping(Code code) {
  switch (code) {
    case Code::kCorrupt:
    case Code::kConfig:
    case Code::kUnsupported:
    case Code::kExists:
      return false;
    default:
      return true;
  }
}

std::shared_ptr<ResumeLog> ResumeLog::open(const MigrationConfig& config, const VmRoute& route,
                                           Session& session) {
  const SessionServices& services = session.services();
  if (!services.resume_store) return nullptr;
  std::shared_ptr<ResumeLog> log(new ResumeLog(services.resume_store, services.clock, config));
  log->target_ = route.directory.string();
  if (config.upload_to_cloud) log->target_ += " -> " + config.cloud_destination;
  if (config.export_manifest) log->manifest_key_ = route.stem + "/manifest.json";
  json whole = {{"manifest", config.export_manifest}, {"keep_local", config.keep_local}};
  json options = config.converter.options.value();
  // How much memory it takes makes no other image: with another limit it goes on all the same.
  if (const auto memory = memory_option(session.registry(), config.converter.plugin))
    options[memory->name] = 0;
  for (const DiskRoute& disk : route.disks) {
    json wish = {{"provider", session.provider_plugin(config.provider)},
                 {"vm", route.vm.ref},
                 {"disk", disk.disk.id},
                 {"capacity", disk.disk.capacity_bytes},
                 {"converted", disk.converted},
                 {"converter", config.converter.plugin},
                 {"options", options},
                 {"request", disk.request},
                 {"verify", verify_name(config.verify_export)},
                 {"direct", disk.direct_upload},
                 {"key", disk.key}};
    if (const MachineSettings& machine = config.guest.machine; config.guest.wanted)
      wish["guest"] = {{"plugins", keys_of(config.guest_plugins)},
                       {"machine", {machine.type, machine.bus, machine.nic}}};
    whole["disks"].push_back(wish);
    const std::string content = disk.disk.blank ? "blank" : disk.disk.content_id;
    log->contents_[disk.disk.id] = content;
    wish["content"] = content;
    log->places_[disk.disk.id] = {{"key", disk.key}, {"direct", disk.direct_upload}};
    log->want(disk.disk.id, wish);
    if (!content.empty()) log->fingerprints_[disk.disk.id] = sha256_of(wish.dump());
  }
  log->vm_fingerprint_ = sha256_of(whole.dump());
  for (ResumeRecord& record : log->store_->resume_records(log->target_))
    log->records_[record.disk] = std::move(record);
  if (config.guest.wanted) log->want_preparation(preparation_wish(config, route, session));
  return log;
}

void ResumeLog::want(const std::string& id, const json& wish) {
  wishes_[id] = wish;
  // Hashes, since options may hold what is not to be stored.
  for (const auto& [name, value] : wish.items())
    inputs_[id][name] = sha256_of(value.dump()).substr(0, 16);
}

void ResumeLog::want_preparation(const json& wish) {
  want(kPreparation, wish);
  const bool known = std::all_of(contents_.begin(), contents_.end(),
                                 [](const auto& one) { return !one.second.empty(); });
  if (known) fingerprints_[kPreparation] = sha256_of(wish.dump());
  const auto record = prepared();
  bind_disks(record ? text_of(record->result, "id") : "");
}

void ResumeLog::bind_disks(const std::string& preparation) {
  for (const auto& [id, content] : contents_) {
    fingerprints_.erase(id);
    if (preparation.empty()) continue;
    json wish = wishes_[id];
    wish["preparation"] = preparation;
    want(id, wish);
    fingerprints_[id] = sha256_of(wish.dump());
  }
}

std::optional<ResumeRecord> ResumeLog::prepared() const {
  return disk(kPreparation);
}

/// Written without fsync (durability: none), a file is only as good as the page cache.
bool ResumeLog::trusted(const ResumeRecord& record) const {
  const std::string boot = text_of(record.token, "boot");
  return boot.empty() || boot == this_boot();
}

std::optional<ResumeRecord> ResumeLog::disk(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  const auto record = records_.find(id);
  const auto wanted = fingerprints_.find(id);
  if (record == records_.end() || wanted == fingerprints_.end() ||
      record->second.fingerprint != wanted->second || !trusted(record->second))
    return std::nullopt;
  return record->second;
}

std::optional<ResumeRecord> ResumeLog::vm() const {
  const std::lock_guard lock(mutex_);
  const auto record = records_.find("");
  if (record == records_.end() || record->second.fingerprint != vm_fingerprint_)
    return std::nullopt;
  // If either content is unknown, the source counts as unchanged.
  const auto then = record->second.result.find("contents");
  for (const auto& [disk, content] : contents_) {
    const std::string was =
        then == record->second.result.end() ? std::string() : text_of(*then, disk.c_str());
    if (!was.empty() && !content.empty() && was != content) return std::nullopt;
  }
  return record->second;
}

std::vector<ResumeRecord> ResumeLog::stale() const {
  const std::lock_guard lock(mutex_);
  std::vector<ResumeRecord> out;
  for (const auto& [id, record] : records_) {
    const auto wanted = fingerprints_.find(id);
    if (!id.empty() &&
        (wanted == fingerprints_.end() || record.fingerprint != wanted->second || !trusted(record)))
      out.push_back(record);
  }
  return out;
}

std::string ResumeLog::why_stale(const ResumeRecord& record) const {
  const auto inputs = inputs_.find(record.disk);
  if (inputs == inputs_.end()) return "the plan no longer takes this disk";
  if (!fingerprints_.contains(record.disk))
    return config_.guest.wanted && fingerprints_.contains(kPreparation)
               ? "its guest is prepared again"
               : "the source cannot say whether it has changed";
  if (!trusted(record)) return "its file was not made durable, and the machine was started since";
  const auto then = record.token.find("inputs");
  if (then == record.token.end() || !then->is_object()) return "another version wrote its record";
  std::string changed;
  for (const auto& [name, value] : inputs->second.items())
    if (then->value(name, json()) != value) changed += (changed.empty() ? "" : ", ") + name;
  return "changed since: " + changed;
}

bool ResumeLog::resumable(const std::string& disk_id) const {
  return fingerprints_.contains(disk_id);
}

bool ResumeLog::save(ResumeRecord record) {
  const std::lock_guard lock(mutex_);
  try {
    store_->save_resume(record);
  } catch (const std::exception& failure) {
    if (!std::exchange(said_, true))
      spdlog::warn("{}: a rerun will not be able to go on from here: {}", target_, failure.what());
    return false;
  }
  records_[record.disk] = std::move(record);
  return true;
}

ResumeRecord ResumeLog::fresh(const std::string& disk_id, const char* phase,
                              const nlohmann::json& token) const {
  ResumeRecord record;
  record.target = target_;
  record.disk = disk_id;
  record.phase = phase;
  record.fingerprint = disk_id.empty() ? vm_fingerprint_ : fingerprints_.at(disk_id);
  record.token = {{"sink", token}};
  if (const auto place = places_.find(disk_id); place != places_.end())
    record.token["place"] = place->second;
  if (const auto inputs = inputs_.find(disk_id); inputs != inputs_.end())
    record.token["inputs"] = inputs->second;
  if (config_.durability == Durability::kNone) record.token["boot"] = this_boot();
  return record;
}

bool ResumeLog::writing(const std::string& disk_id, const nlohmann::json& token,
                        const nlohmann::json& state) {
  ResumeRecord record = fresh(disk_id, "writing", token);
  record.state = state;
  return save(std::move(record));
}

bool ResumeLog::written(const std::string& disk_id, const nlohmann::json& token,
                        const DiskResult& result, uint64_t length) {
  ResumeRecord record = fresh(disk_id, "written", token);
  record.result = {{"disk", to_json(result)}, {"length", length}};
  return save(std::move(record));
}

bool ResumeLog::prepared(const json& views, const json& outcomes) {
  ResumeRecord record = fresh(kPreparation, "prepared", nullptr);
  record.token["views"] = views;
  const std::string id = random_id();
  record.result = {{"id", id}, {"outcomes", outcomes}};
  if (!save(std::move(record))) return false;
  bind_disks(id);
  return true;
}

bool ResumeLog::closing() {
  ResumeRecord record = fresh("", "closing", nullptr);
  record.result = {{"contents", contents_}};
  return save(std::move(record));
}

bool ResumeLog::at_target(const json& made) {
  ResumeRecord record = fresh("", "closing", nullptr);
  record.result = {{"contents", contents_}, {"target", made}};
  return save(std::move(record));
}

json ResumeLog::at_target() const {
  const auto record = vm();
  return record && record->phase == "closing" ? record->result.value("target", json()) : json();
}

void ResumeLog::finished(const MigrationResult& result) {
  ResumeRecord record = fresh("", "finished", nullptr);
  record.token = nullptr;  // its files are complete, whatever the next boot finds
  json disks = json::array(), artifacts = json::array();
  const bool local = !config_.upload_to_cloud || config_.keep_local;
  const auto add = [&](const std::string& path) {
    artifacts.push_back({{"path", path}, {"stamp", stamp_of(path)}});
  };
  for (const DiskResult& disk : result.disks) {
    disks.push_back(to_json(disk));
    if (local) add(disk.path);
  }
  if (local && config_.export_manifest) add(result.manifest_path);
  record.result = {{"disks", disks},
                   {"contents", contents_},
                   {"artifacts", artifacts},
                   {"task_id", result.task_id},
                   {"finished_at", std::chrono::duration_cast<std::chrono::milliseconds>(
                                       clock_->wall().time_since_epoch())
                                       .count()},
                   {"total_size", result.total_size},
                   {"manifest_path", result.manifest_path},
                   {"manifest_url", result.manifest_url},
                   {"uploaded_files", result.uploaded_files},
                   {"cloud_destination", result.cloud_destination}};
  if (!result.boot.is_null()) record.result["boot"] = result.boot;
  if (!result.guest.is_null()) record.result["guest"] = result.guest;
  if (!result.target.is_null()) record.result["target"] = result.target;
  if (!result.findings.empty()) record.result["findings"] = result.findings;
  const std::lock_guard lock(mutex_);
  try {
    store_->finish_resume(record);
    records_.clear();  // as there: nothing of its disks and views is wanted any more
    records_.emplace("", record);
  } catch (const std::exception& failure) {
    spdlog::warn("{}: a rerun will not know that it is finished: {}", target_, failure.what());
  }
}

void ResumeLog::forget() {
  if (config_.guest.wanted) bind_disks("");
  const std::lock_guard lock(mutex_);
  records_.clear();
  try {
    store_->forget_resume(target_);
  } catch (const std::exception& failure) {
    spdlog::warn("{}: {}", target_, failure.what());
  }
}

void ResumeLog::forget(const std::string& disk_id) {
  const std::lock_guard lock(mutex_);
  if (records_.erase(disk_id) == 0) return;
  try {
    store_->forget_resume(target_, disk_id);
  } catch (const std::exception& failure) {
    spdlog::warn("{}: {}", target_, failure.what());
  }
}

void ResumeLog::forget_preparation() {
  for (const auto& [id, content] : contents_) forget(id);
  forget(kPreparation);
  bind_disks("");
}

std::string ResumeLog::check_artifacts(Session& session, Operation& op, bool& missing) const {
  missing = false;
  const auto record = vm();
  if (!record || record->phase != "finished") return "not finished";
  const json& artifacts = record->result.at("artifacts");
  for (const json& artifact : artifacts) {
    const std::string path = text_of(artifact, "path");
    const json now = stamp_of(path);
    if (now.is_null()) {
      missing = true;
      return path + " is gone";
    }
    if (now == artifact.value("stamp", json())) continue;
    std::string why = "was changed since";
    for (const json& disk : record->result.at("disks"))
      if (text_of(disk, "path") == path) why = differs(session, disk_result_from(disk), op);
    if (path == text_of(record->result, "manifest_path")) why.clear();  // moved, copied back
    if (!why.empty()) return path + " " + why;
  }
  if (!config_.upload_to_cloud) return {};
  StorageHandle& store = session.storage(config_.storage, op);
  for (const json& one : record->result.at("disks")) {
    const DiskResult disk = disk_result_from(one);
    const json found = store.stat(op, disk.key);
    if (found.is_null()) {
      missing = true;
      return disk.key + " is gone from " + config_.cloud_destination;
    }
    if (found.value("bytes", json()) != disk.target_bytes)
      return disk.key + " at " + config_.cloud_destination + " was changed since";
  }
  // It says to others that the set is complete.
  if (!manifest_key_.empty() && store.stat(op, manifest_key_).is_null()) {
    missing = true;
    return manifest_key_ + " is gone from " + config_.cloud_destination;
  }
  return {};
}

void ResumeLog::restore(MigrationResult& result) const {
  const auto record = vm();
  if (!record) return;
  const json& saved = record->result;
  for (const json& disk : saved.at("disks")) {
    result.disks.push_back(disk_result_from(disk));
    result.converted_files.push_back(result.disks.back().path);
  }
  result.manifest_path = text_of(saved, "manifest_path");
  result.manifest_url = text_of(saved, "manifest_url");
  result.cloud_destination = text_of(saved, "cloud_destination");
  for (const json& file : saved.value("uploaded_files", json::array()))
    if (file.is_string()) result.uploaded_files.push_back(file.get<std::string>());
  result.boot = saved.value("boot", json());
  result.guest = saved.value("guest", json());
  result.target = saved.value("target", json());
  result.findings = saved.value("findings", json());
  result.already_done = true;
}

}  // namespace hyperhost
