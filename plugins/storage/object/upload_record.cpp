// SPDX-License-Identifier: Apache-2.0
#include "plugins/storage/object/upload_record.hpp"

#include <unistd.h>

#include <ctime>
#include <fstream>
#include <mutex>
#include <set>
#include <sstream>

namespace hyper::object {
namespace {

using nlohmann::json;

/// Entries that sinks of this process hold: two of them must not take up the same upload.
std::mutex own_mutex;
std::set<uint64_t>& own_entries() {
  static std::set<uint64_t> entries;
  return entries;
}

/// "<pid>:<start time>" of a process; "" if there is none. The start time tells it from a later
/// process of the same number.
std::string process_mark(const std::string& pid) {
  std::ifstream file("/proc/" + pid + "/stat");
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return {};
  std::istringstream fields(text.substr(name_end + 1));
  std::string field;
  for (int i = 3; i <= 22; ++i) fields >> field;  // field 22: starttime
  return pid + ":" + field;
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

}  // namespace

UploadRecord::UploadRecord(Op op, const Service& service, const PutSpec& spec, json upload)
    : plugin_(service.plugin()),
      where_(service.where()),
      key_(spec.key),
      began_(utc_now()),
      owner_(process_mark(std::to_string(::getpid()))),
      part_size_(spec.part_size),
      upload_(std::move(upload)) {
  entry_ = Journal::open(op, text());
  const std::lock_guard lock(own_mutex);
  mine_ = own_entries().insert(entry_).second;
}

UploadRecord::UploadRecord(const std::string& entry_json) {
  try {
    const json entry = json::parse(entry_json);
    plugin_ = entry.at("plugin").get<std::string>();
    where_ = entry.at("where").get<std::string>();
    key_ = entry.at("ref").get<std::string>();
    began_ = entry.at("began").get<std::string>();
    owner_ = entry.value("owner", "");
    part_size_ = entry.at("part_size").get<uint64_t>();
    upload_ = entry.value("upload", json());
    entry_ = entry.at("entry").get<uint64_t>();
  } catch (const json::exception& error) {
    throw Error(HYPER_CONFIG, "a journal entry is not that of an upload", error.what());
  }
}

std::optional<UploadRecord> UploadRecord::left_behind(Op op, const Service& service,
                                                      const std::string& key) {
  std::vector<std::string> entries;
  Journal::each(op, service.plugin().c_str(),
                [&](const std::string& text) { entries.push_back(text); });
  std::optional<UploadRecord> found;
  for (const std::string& text : entries) {
    std::optional<UploadRecord> parsed;
    try {
      parsed.emplace(text);
    } catch (const Error&) {  // of another version; cleanup says what it is
      continue;
    }
    UploadRecord& record = *parsed;
    if (record.where_ != service.where() || record.key_ != key) continue;
    const std::string pid = record.owner_.substr(0, record.owner_.find(':'));
    const bool alive = !pid.empty() && process_mark(pid) == record.owner_;
    const std::lock_guard lock(own_mutex);
    const bool ours = alive && pid == std::to_string(::getpid());
    if (alive && (!ours || own_entries().count(record.entry_) != 0))
      throw Error(HYPER_BUSY, "process " + pid + " is uploading " + service.location(key))
          .hint("wait for it or stop it")
          .retryable();
    if (found) continue;  // the oldest; cleanup takes the others
    record.mine_ = own_entries().insert(record.entry_).second;
    found.emplace(std::move(record));
  }
  if (found) {
    found->owner_ = process_mark(std::to_string(::getpid()));
    Journal::update(op, found->entry_, found->text());
  }
  return found;
}

UploadRecord::UploadRecord(UploadRecord&& other) noexcept
    : plugin_(std::move(other.plugin_)),
      where_(std::move(other.where_)),
      key_(std::move(other.key_)),
      began_(std::move(other.began_)),
      owner_(std::move(other.owner_)),
      part_size_(other.part_size_),
      upload_(std::move(other.upload_)),
      entry_(other.entry_),
      mine_(std::exchange(other.mine_, false)) {}

UploadRecord::~UploadRecord() {
  if (!mine_) return;
  const std::lock_guard lock(own_mutex);
  own_entries().erase(entry_);
}

void UploadRecord::set_upload(Op op, json upload) {
  upload_ = std::move(upload);
  Journal::update(op, entry_, text());
}

void UploadRecord::close(Op op) {
  Journal::close(op, entry_);
}

std::string UploadRecord::text() const {
  return json{{"plugin", plugin_},       {"kind", "upload"},  {"where", where_}, {"ref", key_},
              {"part_size", part_size_}, {"upload", upload_}, {"began", began_}, {"owner", owner_}}
      .dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace hyper::object
