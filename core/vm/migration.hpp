// SPDX-License-Identifier: Apache-2.0
// What one migration is asked to do (MigrationConfig) and what became of it (MigrationResult).
// Plain values; the fields keep the names of the system this one succeeds.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/base/diagnostic.hpp"
#include "core/events/event.hpp"
#include "core/plan/plan.hpp"
#include "core/plugin/operation.hpp"
#include "core/watch/webhook/webhook_config.hpp"

namespace hyperhost {

/// A plugin with its options: validated, defaults applied, secrets resolved.
struct PluginChoice {
  std::string plugin;
  Options options;
  /// Choices of one key share one instance or connection.
  std::string key() const { return plugin + "\n" + options.value().dump(); }
};

/// The job of one VM. Constant while it runs.
struct MigrationConfig : MigrationSettings {
  std::string task_id;  ///< made by the orchestrator where empty
  std::string vm_ref;   ///< by which the provider finds the VM; "" = by vm_name, which people read
  nlohmann::json provider_options;  ///< for this VM, validated; null = none
  std::string output_file;  ///< of a VM of one disk: its file, in output_dir itself; "" = by name
  bool digest = false;      ///< the content digest is wanted where nothing is verified, too
  std::filesystem::path staging_dir;  ///< "" = the VM's directory
  PluginChoice converter;
  /// A disk whose failure may pass is read once more after this time, before the VM fails; nothing
  /// = never.
  std::optional<std::chrono::nanoseconds> disk_retry;

  std::vector<PluginChoice> guest_plugins;  ///< of guest.wanted: one after the other, at least one
  PluginChoice boot_plugin;                 ///< of boot.wanted
  PluginChoice traces_plugin;               ///< of boot.require: the guest plugin that reads traces
  PluginChoice target_plugin;               ///< of target.wanted

  bool upload_to_cloud = false;
  std::string cloud_destination;
  PluginChoice storage;
  bool upload_overwrite = false;
  bool keep_local = true;
  uint64_t bandwidth_limit = 0;     ///< bytes a second of its uploads together; 0 = any
  std::chrono::seconds presign{0};  ///< how long URLs in the result are good for; 0 = none

  /// Whether this VM's events reach those observers that the orchestrator has.
  bool enable_progress = true, enable_metrics = true, enable_audit_logging = true;
  bool enable_webhooks = true;
  /// Hooks that get this VM's news only, beside the orchestrator's; where both enable webhooks.
  std::vector<WebhookConfig> webhook_configs;

  uint64_t checkpoint_bytes = 256u << 20;
  std::chrono::nanoseconds checkpoint_interval = std::chrono::seconds(10);
  bool fresh = false;  ///< resume nothing that an earlier run left
  /// Milliseconds since 1970: with `overwrite`, a VM that was finished since then is not done again
  /// (this run continues others that did not come to their end); 0 = it is.
  int64_t continues_since = 0;
  std::string user, ip_address;
};

/// What a provider's preflight and open_vm are asked with (hyper/provider.h).
inline nlohmann::json vm_request(const MigrationConfig& config, const std::string& ref,
                                 const std::string& task_id) {
  nlohmann::json request = {{"vm", ref}, {"task_id", task_id}};
  if (config.provider_options.is_object()) request["options"] = config.provider_options;
  return request;
}

struct DiskResult {
  std::string id, label, type;
  int boot_order = 999;
  std::string source_format, source_file;
  uint64_t source_bytes = 0;        ///< read, as the source says it
  std::string source_checksum;      ///< "sha256:…" of the source's bytes; may be empty
  std::string source_verified;      ///< what the source was checked against; may be empty
  std::string target_format, path;  ///< path: absolute, of the finished file
  std::string key;                  ///< of the object where it went straight into a store
  uint64_t target_bytes = 0;        ///< of the finished file
  std::string target_checksum;      ///< "sha256:…", where one was computed in passing
  std::string uploaded_to;          ///< the object's location where the file was uploaded
  std::string url;                  ///< presigned: whoever has it can read the object
  std::string stored_checksum;  ///< as the store keeps it: "sha256-parts:…", "crc32c:…", …
  uint64_t virtual_size = 0;
  std::string digest;       ///< content digest; empty with verify: none
  std::string verified_by;  ///< the plugin that re-read the result; empty if none
  /// Of a prepared guest: the digest of the disk before, which the same read gives; what was
  /// changed; and the name of the file that lists it, beside the disk.
  std::string source_digest;
  uint64_t changed_blocks = 0, changed_bytes = 0;
  std::string changes_file;
  /// What was proven, of "delivered", "target", "independent", "source" (docs/operations.md).
  std::vector<std::string> proven;
  /// What the source's extents call zero: how much, places of it that were read, by which seed.
  uint64_t zero_bytes = 0, zero_places = 0;
  std::string zero_seed;  ///< 16 hexadecimal digits; empty where nothing was sampled
  bool staged = false;
  uint64_t resumed_bytes = 0;  ///< guest bytes that an earlier attempt had written
  bool adopted = false;        ///< all of it was written by an earlier attempt
  std::chrono::nanoseconds convert_duration{0}, verify_duration{0}, stage_duration{0};
  std::vector<std::string> notes;

  void set_stored_checksum(const std::string& checksum) {
    stored_checksum = checksum;
    if (checksum.rfind("sha256:", 0) == 0) target_checksum = checksum;
  }
};

struct MigrationResult {
  std::string task_id, vm_name, provider;
  bool success = false;
  Outcome outcome = Outcome::kFailed;
  std::string error;      ///< one line; empty on success
  Diagnostic diagnostic;  ///< the same, in parts

  std::chrono::nanoseconds export_duration{0};  ///< opening the VM to the end of its last source
  std::vector<std::string> exported_files;      ///< what was read, as the source names it
  uint64_t export_size = 0;                     ///< bytes read from the source
  std::string manifest_path;

  std::chrono::nanoseconds conversion_duration{0};  ///< first converter's start to the last's end
  std::vector<std::string> converted_files;
  uint64_t conversion_size = 0;  ///< bytes of the finished files

  std::chrono::nanoseconds verify_duration{0};

  std::chrono::nanoseconds upload_duration{0};
  std::vector<std::string> uploaded_files;
  std::string manifest_url;  ///< presigned, where asked for
  uint64_t upload_size = 0;
  std::string cloud_destination;

  /// What may go wrong with it on its new machine (vm/finding.hpp): a list, empty or null =
  /// nothing.
  nlohmann::json findings{};
  nlohmann::json guest{};  ///< how the guest was prepared (preparation.cpp); null = it was not
  nlohmann::json boot{};   ///< what the boot check found (stages/boot.cpp); null = none
  std::chrono::nanoseconds boot_duration{0};
  nlohmann::json machine{};  ///< that the VM is for (migrate/machine.hpp); null = not known
  nlohmann::json target{};   ///< where it stands (stages/define.cpp); null = nowhere

  std::chrono::nanoseconds total_duration{0};
  uint64_t total_size = 0;  ///< guest-visible bytes of all disks
  WallClock::time_point start_time, end_time;

  std::vector<DiskResult> disks;
  std::vector<Diagnostic> warnings;
  uint32_t attempts = 1;
  bool already_done = false;  ///< by an earlier run; nothing was read or written
};

}  // namespace hyperhost
