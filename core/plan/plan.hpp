// SPDX-License-Identifier: Apache-2.0
// A plan: everything a run does, read from YAML, complete (every default filled in) and immutable.
// The text is configs/plan.schema.json's; the rules between keys are in plan_rules.cpp.
// Made once by load_plan/parse_plan and shared as shared_ptr<const Plan>: any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/diagnostic.hpp"
#include "core/config/config_value.hpp"
#include "core/plan/start_window.hpp"
#include "core/plan/webhook_type.hpp"

namespace hyperhost {

enum class Compression { kNone, kZlib, kZstd, kKeep };
/// Each level does what the ones before it do.
enum class Verify { kNone, kTarget, kIndependent, kSource };
enum class Durability { kNone, kFile };
/// As the plan spells them: "zstd", "independent", "file".
const char* compression_name(Compression compression);
const char* verify_name(Verify verify);
const char* durability_name(Durability durability);

/// A plugin by name, with its options as written: not validated yet, since only the registry
/// knows the plugin's schema (validate_options in schema.hpp with `pointer`).
struct PluginSpec {
  std::string plugin;          ///< an id, or ID@VERSION
  ConfigValue options;         ///< a mapping
  std::string pointer;         ///< of the options in the plan
  Mark mark;                   ///< where the plugin is named
  std::string isolation = {};  ///< "process", "none"; "" = the host's default
  uint64_t worker_memory = 0;  ///< of its process, at most; 0 = the host's limit
  std::string confine = {};    ///< its process: "auto", "required", "off"; "" = the host's default
};

struct ProviderSpec {
  std::string name;  ///< its key in the plan
  PluginSpec plugin;
};

struct UploadSpec {
  std::string destination;  ///< "s3://bucket/prefix"
  Mark destination_mark;
  std::string destination_pointer;
  PluginSpec storage;      ///< without a plugin where the plan names none: the destination decides
  bool keep_local = true;  ///< false: nothing that is uploaded and verified stays in output_dir
  bool overwrite = false;
  uint64_t bandwidth_limit = 0;         ///< bytes a second of each VM; 0 = no limit
  std::chrono::nanoseconds presign{0};  ///< how long URLs in the result are good for; 0 = none
};

struct DiskSelection {
  std::vector<std::string> include, exclude;  ///< at most one of them is not empty
  bool selects(std::string_view disk_id) const;
};

struct WebhookSpec {
  WebhookType type = WebhookType::kGeneric;
  ConfigValue url;  ///< a text or a reference: resolve_text
  bool on_start = false, on_complete = true, on_error = true, on_warning = false;
  std::chrono::nanoseconds timeout{0};
  uint32_t max_retries = 0;
  std::optional<ConfigValue> secret;  ///< of the signature: a reference
  std::string from;                   ///< email
  std::string username;               ///< email: of the login; slack, discord: the name shown
  std::string slack_channel;          ///< instead of the hook's own
  std::vector<std::string> to;        ///< email
  std::optional<ConfigValue> password;
  std::string pointer;
};

struct ConvertOptions {
  std::string output_format = "qcow2";
  Compression compression = Compression::kNone;
  std::optional<int> compression_level;  ///< fits `compression`
  std::optional<uint64_t> cluster_size;  ///< bytes; qcow2 only
  bool deterministic = false;
  bool enable_parallel = true;  ///< false: as parallel_disks: false
};

/// What the machine that a VM is for has.
struct MachineSettings {
  std::string type;  ///< "pc", "q35"; "" = q35 where the source has secure boot, else pc
  std::string bus = "virtio", nic = "virtio";
  uint32_t cpus = 0;          ///< 0 = as the source has them; the same below
  uint64_t memory_bytes = 0;  ///< 0 = as the source has it
  std::string cpu_model;      ///< as the target calls it; "" = its default
  bool agent = true;          ///< a channel for the QEMU guest agent
};

/// How a VM's guest is prepared for the machine that the VM is for.
struct GuestSettings {
  bool wanted = false;
  MachineSettings machine;
  std::vector<std::string> accept;  ///< rules whose errors do not keep the VM from being migrated
};

/// Each one needs the ones before it.
enum class BootGrade { kLoader, kKernel, kLogin, kAgent, kTraces };
/// "loader", "kernel", "login", "agent", "traces".
const char* boot_grade_name(BootGrade grade);

/// What the delivered VM has to show in a boot check.
struct BootSettings {
  bool wanted = false;
  BootGrade require = BootGrade::kLogin;
  std::chrono::nanoseconds timeout = std::chrono::minutes(15);
  bool isolated_network = false;  ///< network cards that reach nothing; false: none
  bool warn_only = false;         ///< a VM that does not boot is a warning
  MachineSettings machine;
};

/// Where a VM stands at the end, and what of its source becomes what there.
struct TargetSettings {
  bool wanted = false;
  bool by_default = true;  ///< the plan does not ask for it: without a plugin there is none
  MachineSettings machine;
  /// Source's name to target's; "*" stands for all others.
  std::map<std::string, std::string> networks, storages;
  std::string name = "{name}";  ///< of the machine there; {name} is the VM's own
  bool start = false;
};

/// What a plan says of a VM and its migration takes as it is. A new key of the plan that a stage
/// looks at is a member here.
struct MigrationSettings {
  std::string pointer;               ///< of its entry in the plan, "/migrations/0"; "" = no plan
  std::string vm_name;               ///< name, path or reference, as the provider understands it
  std::string provider;              ///< a name of Plan::providers or OrchestratorConfig::providers
  std::filesystem::path output_dir;  ///< absolute; gets the VM's directory
  std::string output_name;           ///< of the VM's directory and files; "" = the VM's name
  bool enable_conversion = true;     ///< false: the disks as they are delivered
  std::string target_format = "qcow2";
  ConvertOptions convert_options;
  DiskSelection disks;
  bool export_manifest = true;
  Verify verify_export = Verify::kTarget;
  Durability durability = Durability::kFile;
  bool overwrite = false;
  bool parallel_disks = true;
  uint32_t max_parallel_disks = 4;          ///< 1 where parallel_disks is false
  std::map<std::string, std::string> tags;  ///< into the manifest
  int64_t priority = 0;                     ///< higher first
  std::string plan_id;  ///< what depends_on of others names; a pattern's VMs share it
  std::vector<std::string> depends_on;  ///< all of them must have succeeded
  StartWindow window;
  GuestSettings guest;
  BootSettings boot;
  TargetSettings target;
};

/// One entry of `migrations`, complete. A pattern stands for as many VMs as match it.
struct MigrationSpec : MigrationSettings {
  bool vm_is_pattern = false;        ///< vm_name has *, ? or [ that do not stand for themselves
  std::vector<std::string> exclude;  ///< patterns: of the VMs that match, not these
  ConfigValue provider_options;      ///< as written, of this VM only; a mapping, or null
  PluginSpec converter;  ///< without a plugin where the plan names none: the preferred one
  std::vector<PluginSpec> guest_plugins;  ///< the same, in the order in which they prepare
  PluginSpec boot_plugin, target_plugin;  ///< the same
  /// Of boot.require: traces; nothing = the last one of guest_plugins.
  std::optional<PluginSpec> traces_plugin;
  std::vector<Mark> accept_marks;  ///< as guest.accept
  Mark target_format_mark;
  std::string target_format_pointer;
  std::optional<UploadSpec> upload;
  std::vector<WebhookSpec> webhooks;  ///< for this VM's news only, beside the plan's
  Mark mark;

  /// Name of the VM's directory and the front of its files' names: output_name or the VM's own
  /// name (as the provider knows it, without folders), made safe.
  std::string file_stem(std::string_view name) const;
  /// output_dir / file_stem(name)
  std::filesystem::path vm_directory(std::string_view name) const;
};

struct BatchSpec {
  uint32_t max_parallel = 1;
  bool continue_on_error = true;
  uint32_t max_retries = 2;
  std::chrono::nanoseconds retry_delay{0}, max_retry_delay{0};
  std::chrono::nanoseconds answer_timeout{0};  ///< of a provider that lists, describes; 0 = none
  uint64_t bandwidth_limit = 0;         ///< bytes a second of all uploads together; 0 = no limit
  uint64_t source_bandwidth_limit = 0;  ///< the same of what all providers' disks deliver
  uint64_t memory_limit = 0;            ///< bytes of all converters together; 0 = no limit
  bool cancel_on_error = false;         ///< where continue_on_error is off
  uint32_t max_parallel_disks = 0;      ///< 0 = no limit; the same below
  uint32_t per_provider = 0, per_host = 0, per_datastore = 0;
  std::chrono::nanoseconds checkpoint_interval{0};
  uint64_t checkpoint_bytes = 0;
};

struct TlsSpec {
  std::filesystem::path cert_file, key_file;
};

struct ListenSpec {
  std::string host;                  ///< "127.0.0.1", "::1" (no brackets), "localhost"; never empty
  uint16_t port = 0;                 ///< 0: any free one
  std::optional<ConfigValue> token;  ///< a reference: resolve_text in secret.hpp
  std::optional<TlsSpec> tls;
  std::string pointer;
};

struct AuditLogSpec {
  std::filesystem::path path;
  bool required = false;
  uint64_t max_size_bytes = 0;
  uint32_t keep = 0;
  bool fsync = true;                 ///< after every event
  std::vector<std::string> copy_to;  ///< "syslog", "journald"
};

struct ObservabilitySpec {
  std::optional<ListenSpec> progress_api, metrics_api;
  std::optional<AuditLogSpec> audit_log;
  std::vector<WebhookSpec> webhooks;
};

struct Plan {
  std::string name, user;
  std::string ip_address;          ///< of the user, for the audit log; "" = this machine
  std::string source;              ///< the file's name, for messages
  std::filesystem::path base_dir;  ///< of relative paths; absolute
  std::vector<std::filesystem::path> plugin_dirs;
  std::map<std::string, ProviderSpec> providers;
  std::filesystem::path output_dir;
  std::optional<std::filesystem::path> staging_dir;
  BatchSpec batch;
  ObservabilitySpec observability;
  std::vector<MigrationSpec> migrations;  ///< in the plan's order; not empty
  ConfigValue document;  ///< the completed tree, secrets as references: safe to print as JSON
};

/// A command-line flag that stands for a key of the plan.
struct PlanFlag {
  std::string flag;   ///< "--format", as messages name the place
  std::string key;    ///< "defaults.target_format", as --set takes it
  std::string value;  ///< YAML
};

struct PlanOptions {
  std::vector<std::string> overrides;  ///< --set KEY=VALUE, in order
  std::filesystem::path base_dir;      ///< default: the file's directory, or the working directory
  std::vector<PlanFlag> flags{};       ///< applied before the overrides, in order
  bool only_sources = false;  ///< `migrations` and `output_dir` are not looked at, nor missed
  /// What this host says where the plan says nothing: {"converter", "storage": {SCHEME: …}}, as
  /// host_config.hpp reads it.
  ConfigValue host_defaults = ConfigValue::mapping();
};

struct PlanResult {
  std::shared_ptr<const Plan> plan;     ///< null when there is any error
  std::vector<Diagnostic> diagnostics;  ///< errors and warnings, by position
  /// A plan with errors as far as it could be read: only to find what else is wrong with it and to
  /// write its failure into the audit log it asks for. Members may be empty.
  std::shared_ptr<const Plan> draft;
};

/// Never throws for what is in the file, the file system or the overrides.
PlanResult load_plan(const std::filesystem::path& file, const PlanOptions& options = {});
/// `source` names the text in messages; a plan without a name takes its stem.
PlanResult parse_plan(std::string_view text, const std::string& source,
                      const PlanOptions& options = {});

/// The text of configs/plan.schema.json this library was built with.
std::string_view plan_schema_text();
/// The same, parsed once.
const nlohmann::json& plan_schema();

}  // namespace hyperhost
