// SPDX-License-Identifier: Apache-2.0
#include "core/plan/plan_read.hpp"

#include <algorithm>
#include <charconv>

#include "core/plan/destination_url.hpp"
#include "core/plan/plan_rules.hpp"

namespace hyperhost {
namespace {

using plan_rules::Setting;

void read(const ConfigValue* value, std::string& into) {
  if (value != nullptr && value->string() != nullptr) into = *value->string();
}
void read(const ConfigValue* value, std::filesystem::path& into) {
  if (value != nullptr && value->string() != nullptr) into = *value->string();
}
void read(const ConfigValue* value, bool& into) {
  if (value != nullptr && value->boolean() != nullptr) into = *value->boolean();
}
void read(const ConfigValue* value, int64_t& into) {
  if (value != nullptr && value->integer() != nullptr) into = *value->integer();
}
void read(const ConfigValue* value, uint64_t& into) {
  if (value != nullptr && value->integer() != nullptr && *value->integer() >= 0) {
    into = static_cast<uint64_t>(*value->integer());
  }
}
void read(const ConfigValue* value, uint32_t& into) {
  if (value != nullptr && value->integer() != nullptr && *value->integer() >= 0 &&
      *value->integer() <= UINT32_MAX) {
    into = static_cast<uint32_t>(*value->integer());
  }
}
void read(const ConfigValue* value, std::chrono::nanoseconds& into) {
  if (value != nullptr && value->integer() != nullptr) {
    into = std::chrono::nanoseconds(*value->integer());
  }
}
void read(const ConfigValue* value, std::vector<std::string>& into) {
  if (value == nullptr || value->sequence() == nullptr) return;
  for (const ConfigValue& item : *value->sequence()) {
    if (item.string() != nullptr) into.push_back(*item.string());
  }
}
void read(const ConfigValue* value, std::optional<ConfigValue>& into) {
  if (value != nullptr && value->reference() != nullptr) into = *value;
}

template <typename Enum>
void read(const ConfigValue* value, const char* (*name)(Enum), std::initializer_list<Enum> all,
          Enum& into) {
  if (value == nullptr || value->string() == nullptr) return;
  for (const Enum one : all) {
    if (*value->string() == name(one)) into = one;
  }
}

/// process, none, or {memory: SIZE, confine: HOW} of a process
void read_isolation(const ConfigValue* value, PluginSpec& spec) {
  read(value, spec.isolation);
  if (value == nullptr || value->members() == nullptr) return;
  spec.isolation = "process";
  read(value->find("memory"), spec.worker_memory);
  read(value->find("confine"), spec.confine);
}

/// {plugin: NAME, OPTION: …}
PluginSpec flat_plugin(const ConfigValue& value, const std::string& pointer) {
  PluginSpec spec;
  read(value.find("plugin"), spec.plugin);
  spec.options = value.members() != nullptr ? value : ConfigValue::mapping(value.mark());
  spec.options.erase("plugin");
  read_isolation(value.find("isolation"), spec);
  spec.options.erase("isolation");
  spec.pointer = pointer;
  spec.mark = value.find("plugin") != nullptr ? value.find("plugin")->mark() : value.mark();
  return spec;
}

/// The plan's upload with the migration's own keys instead; nothing where there is none.
std::optional<UploadSpec> upload(const ConfigValue& document, const ConfigValue* own,
                                 const std::string& own_pointer) {
  if (own != nullptr && own->boolean() != nullptr) return std::nullopt;
  const ConfigValue* shared = document.find("upload");
  if (shared == nullptr && own == nullptr) return std::nullopt;
  UploadSpec spec;
  const ConfigValue* storage = nullptr;
  std::string pointer;
  const ConfigValue* destination = nullptr;
  for (const ConfigValue* from : {shared, own}) {
    if (from == nullptr) continue;
    const std::string at = from == own ? own_pointer : "/upload";
    read(from->find("destination"), spec.destination);
    read(from->find("keep_local"), spec.keep_local);
    read(from->find("overwrite"), spec.overwrite);
    read(from->find("bandwidth_limit"), spec.bandwidth_limit);
    read(from->find("presign"), spec.presign);
    if (from->find("destination") != nullptr) {
      // Another scheme is another storage: the plan's own options would not fit it.
      if (destination != nullptr && destination->string() != nullptr &&
          scheme_of(spec.destination) != scheme_of(*destination->string()))
        storage = nullptr;
      destination = from->find("destination");
      spec.destination_mark = destination->mark();
      spec.destination_pointer = pointer_join(at, "destination");
    }
    if (from->find("storage") != nullptr) {
      storage = from->find("storage");
      pointer = pointer_join(at, "storage");
    } else if (storage == nullptr) {
      pointer = at;
    }
  }
  if (storage != nullptr) {
    spec.storage = flat_plugin(*storage, pointer);
  } else {
    const Mark mark = destination != nullptr ? destination->mark() : Mark{};
    spec.storage = {"", ConfigValue::mapping(mark), pointer, mark};
  }
  return spec;
}

/// The name that a text without patterns means: [*], [?] and [[] stand for the character itself.
std::optional<std::string> exact_name(const std::string& text) {
  constexpr std::string_view kWild = "*?[";
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool quoted = text[i] == '[' && i + 2 < text.size() && text[i + 2] == ']' &&
                        kWild.find(text[i + 1]) != std::string_view::npos;
    if (!quoted && kWild.find(text[i]) != std::string_view::npos) return std::nullopt;
    out += text[quoted ? i + 1 : i];
    if (quoted) i += 2;
  }
  return out;
}

/// What becomes of the VM's disks.
void read_conversion(const ConfigValue& document, size_t index, MigrationSpec& spec) {
  const auto at = [&](const char* name) {
    return plan_rules::setting(document, index, name).value;
  };
  read(at("convert"), spec.enable_conversion);
  const Setting format = plan_rules::setting(document, index, "target_format");
  read(format.value, spec.target_format);
  spec.target_format_pointer = format.pointer;
  if (format.value != nullptr) spec.target_format_mark = format.value->mark();
  spec.convert_options.output_format = spec.target_format;
  read(at("compression"), compression_name,
       {Compression::kNone, Compression::kZlib, Compression::kZstd, Compression::kKeep},
       spec.convert_options.compression);
  read(at("verify"), verify_name,
       {Verify::kNone, Verify::kTarget, Verify::kIndependent, Verify::kSource}, spec.verify_export);
  read(at("durability"), durability_name, {Durability::kNone, Durability::kFile}, spec.durability);
  if (const Setting level = plan_rules::setting(document, index, "compression_level");
      level.integer() != nullptr) {
    spec.convert_options.compression_level =
        static_cast<int>(std::clamp<int64_t>(*level.integer(), 1, 22));
  }
  if (const Setting size = plan_rules::setting(document, index, "cluster_size");
      size.integer() != nullptr) {
    spec.convert_options.cluster_size = static_cast<uint64_t>(*size.integer());
  }
  read(at("deterministic"), spec.convert_options.deterministic);
}

void read_machine(const ConfigValue* from, MachineSettings& machine) {
  if (from == nullptr) return;
  read(from->find("type"), machine.type);
  read(from->find("bus"), machine.bus);
  read(from->find("nic"), machine.nic);
  read(from->find("cpus"), machine.cpus);
  read(from->find("cpu_model"), machine.cpu_model);
  read(from->find("memory"), machine.memory_bytes);
  read(from->find("agent"), machine.agent);
}

void read_names(const ConfigValue* from, std::map<std::string, std::string>& into) {
  if (from == nullptr || from->members() == nullptr) return;
  for (const auto& member : *from->members()) read(&member.value, into[member.key]);
}

/// The machine that a section of the migration names, or else of the defaults.
void read_machine_of(const ConfigValue& document, size_t index, const char* section,
                     MachineSettings& machine) {
  const ConfigValue* from = plan_rules::setting(document, index, section).value;
  if (from != nullptr && from->members() != nullptr) read_machine(from->find("machine"), machine);
}

/// false, or {plugin, isolation, options, networks, storages, machine, name, start}: the
/// migration's keys over those of the defaults.
void read_target(const ConfigValue& document, size_t index, MigrationSpec& spec) {
  TargetSettings& target = spec.target;
  const ConfigValue* defaults = document.find("defaults");
  const ConfigValue& own = (*document.find("migrations")->sequence())[index];
  const std::pair<const ConfigValue*, std::string> places[] = {
      {defaults == nullptr ? nullptr : defaults->find("target"), "/defaults/target"},
      {own.find("target"), pointer_join(spec.pointer, "target")}};
  target.wanted = true;
  spec.target_plugin.options = ConfigValue::mapping(own.mark());
  spec.target_plugin.mark = own.mark();
  // What the guest was prepared for, and what was booted, is what is defined.
  for (const char* section : {"boot", "guest"})
    read_machine_of(document, index, section, target.machine);
  for (const auto& [from, pointer] : places) {
    if (from == nullptr) continue;
    target.wanted = from->members() != nullptr;
    target.by_default = false;
    if (!target.wanted) continue;
    const bool same_plugin = from->find("plugin") == nullptr && from->find("options") == nullptr;
    if (!same_plugin || spec.target_plugin.pointer.empty())
      spec.target_plugin = read_converter(*from, pointer);
    read_names(from->find("networks"), target.networks);
    read_names(from->find("storages"), target.storages);
    read_machine(from->find("machine"), target.machine);
    read(from->find("name"), target.name);
    read(from->find("start"), target.start);
  }
}

void read_guest_plugins(const ConfigValue& list, const std::string& pointer, MigrationSpec& spec) {
  std::size_t number = 0;
  for (const ConfigValue& one : *list.sequence())
    spec.guest_plugins.push_back(read_converter(one, pointer_join(pointer, number++)));
}

/// false, a list of plugins, or {plugin, isolation, options, machine, when, accept}, whose plugin
/// may be such a list.
void read_guest(const Setting& from, MigrationSpec& spec) {
  if (from.value == nullptr) return;
  if (from.value->sequence() != nullptr) {
    spec.guest.wanted = true;
    return read_guest_plugins(*from.value, from.pointer, spec);
  }
  if (from.value->members() == nullptr) return;
  std::string when = "before";
  read(from.value->find("when"), when);
  spec.guest.wanted = when != "off";
  read(from.value->find("accept"), spec.guest.accept);
  if (const ConfigValue* accept = from.value->find("accept"); accept && accept->sequence())
    for (const ConfigValue& one : *accept->sequence())
      if (one.string() != nullptr) spec.accept_marks.push_back(one.mark());
  const ConfigValue* plugin = from.value->find("plugin");
  if (plugin != nullptr && plugin->sequence() != nullptr)
    read_guest_plugins(*plugin, pointer_join(from.pointer, "plugin"), spec);
  else
    spec.guest_plugins = {read_converter(*from.value, from.pointer)};
}

/// false, or {plugin, isolation, options, require, timeout, network, on_failure, machine, traces}.
void read_boot(const Setting& from, MigrationSpec& spec) {
  if (from.value == nullptr || from.value->members() == nullptr) return;
  BootSettings& boot = spec.boot;
  boot.wanted = true;
  spec.boot_plugin = read_converter(*from.value, from.pointer);
  read(from.value->find("require"), boot_grade_name,
       {BootGrade::kLoader, BootGrade::kKernel, BootGrade::kLogin, BootGrade::kAgent,
        BootGrade::kTraces},
       boot.require);
  if (const ConfigValue* reader = from.value->find("traces"))
    spec.traces_plugin = read_converter(*reader, pointer_join(from.pointer, "traces"));
  read(from.value->find("timeout"), boot.timeout);
  std::string network, on_failure;
  read(from.value->find("network"), network);
  read(from.value->find("on_failure"), on_failure);
  boot.isolated_network = network == "isolated";
  boot.warn_only = on_failure == "warn";
}

MigrationSpec migration(const ConfigValue& document, size_t index, const Plan& plan) {
  const ConfigValue& own = (*document.find("migrations")->sequence())[index];
  const auto at = [&](const char* name) {
    return plan_rules::setting(document, index, name).value;
  };
  MigrationSpec spec;
  spec.mark = own.mark();
  spec.pointer = pointer_join("/migrations", index);
  read(own.find("vm"), spec.vm_name);
  read(own.find("provider"), spec.provider);
  if (const ConfigValue* options = own.find("provider_options")) spec.provider_options = *options;
  spec.plan_id = spec.provider + ":" + spec.vm_name;
  read(own.find("id"), spec.plan_id);
  if (const auto exact = exact_name(spec.vm_name))
    spec.vm_name = *exact;
  else
    spec.vm_is_pattern = true;
  read(own.find("exclude"), spec.exclude);
  if (const ConfigValue* chosen = own.find("converter")) {
    spec.converter = read_converter(*chosen, pointer_join(spec.pointer, "converter"));
  } else if (const ConfigValue* shared = document.find("converter")) {
    spec.converter = read_converter(*shared, "/converter");
  } else {
    spec.converter.options = ConfigValue::mapping(own.mark());
    spec.converter.mark = own.mark();
  }
  read_conversion(document, index, spec);
  read_guest(plan_rules::setting(document, index, "guest"), spec);
  read_boot(plan_rules::setting(document, index, "boot"), spec);
  read_target(document, index, spec);
  read_machine_of(document, index, "target", spec.guest.machine);
  read_machine_of(document, index, "guest", spec.guest.machine);
  spec.boot.machine = spec.guest.machine;
  read_machine_of(document, index, "boot", spec.boot.machine);
  read(at("export_manifest"), spec.export_manifest);
  read(at("parallel_disks"), spec.parallel_disks);
  read(at("max_parallel_disks"), spec.max_parallel_disks);
  if (!spec.parallel_disks) spec.max_parallel_disks = 1;
  read(at("overwrite"), spec.overwrite);
  read(at("priority"), spec.priority);
  std::string not_before, not_after, why;  // what is wrong with them is said by the rules
  read(at("not_before"), not_before);
  read(at("not_after"), not_after);
  spec.window = StartWindow::parse(not_before, not_after, why).value_or(StartWindow());
  read(own.find("depends_on"), spec.depends_on);
  const ConfigValue* defaults = document.find("defaults");
  for (const ConfigValue* from : {defaults, &own}) {
    const ConfigValue* tags = from != nullptr ? from->find("tags") : nullptr;
    if (tags == nullptr || tags->members() == nullptr) continue;
    for (const auto& member : *tags->members()) read(&member.value, spec.tags[member.key]);
  }
  if (const ConfigValue* disks = own.find("disks")) {
    read(disks->find("include"), spec.disks.include);
    read(disks->find("exclude"), spec.disks.exclude);
  }
  spec.output_dir = plan.output_dir;
  read(own.find("output_dir"), spec.output_dir);
  read(own.find("output_name"), spec.output_name);
  spec.upload = upload(document, own.find("upload"), pointer_join(spec.pointer, "upload"));
  return spec;
}

std::optional<ListenSpec> listener(const ConfigValue* value, const char* pointer) {
  if (value == nullptr) return std::nullopt;
  const ConfigValue* address = value->members() != nullptr ? value->find("listen") : value;
  if (address == nullptr || address->string() == nullptr) return std::nullopt;
  ListenSpec spec;
  spec.pointer = pointer;
  const std::string& text = *address->string();
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) return std::nullopt;
  spec.host = text.substr(0, colon);
  if (spec.host.starts_with('[') && spec.host.ends_with(']'))
    spec.host = spec.host.substr(1, spec.host.size() - 2);
  if (spec.host.empty()) spec.host = "127.0.0.1";  // ":8080" binds to loopback, as everything does
  const auto [stop, error] =
      std::from_chars(text.data() + colon + 1, text.data() + text.size(), spec.port);
  if (error != std::errc() || stop != text.data() + text.size())
    return std::nullopt;  // said by the rules
  read(value->find("token"), spec.token);
  if (const ConfigValue* tls = value->find("tls")) {
    spec.tls.emplace();
    read(tls->find("cert_file"), spec.tls->cert_file);
    read(tls->find("key_file"), spec.tls->key_file);
  }
  return spec;
}

WebhookSpec webhook(const ConfigValue& value, std::string pointer) {
  WebhookSpec spec;
  spec.pointer = std::move(pointer);
  read(value.find("type"), webhook_type_name,
       {WebhookType::kSlack, WebhookType::kDiscord, WebhookType::kGeneric, WebhookType::kEmail},
       spec.type);
  if (const ConfigValue* url = value.find("url")) spec.url = *url;
  read(value.find("on_start"), spec.on_start);
  read(value.find("on_complete"), spec.on_complete);
  read(value.find("on_error"), spec.on_error);
  read(value.find("on_warning"), spec.on_warning);
  read(value.find("timeout"), spec.timeout);
  read(value.find("max_retries"), spec.max_retries);
  read(value.find("secret"), spec.secret);
  read(value.find("from"), spec.from);
  read(value.find("to"), spec.to);
  read(value.find("username"), spec.username);
  read(value.find("slack_channel"), spec.slack_channel);
  read(value.find("password"), spec.password);
  return spec;
}

void read_webhooks(const ConfigValue& section, const std::string& pointer,
                   std::vector<WebhookSpec>& out) {
  const ConfigValue* hooks = section.find("webhooks");
  if (hooks == nullptr || hooks->sequence() == nullptr) return;
  for (size_t i = 0; i < hooks->sequence()->size(); ++i)
    out.push_back(
        webhook((*hooks->sequence())[i], pointer_join(pointer_join(pointer, "webhooks"), i)));
}

void read_observability(const ConfigValue& section, ObservabilitySpec& spec) {
  spec.progress_api = listener(section.find("progress_api"), "/observability/progress_api");
  spec.metrics_api = listener(section.find("metrics_api"), "/observability/metrics_api");
  if (const ConfigValue* log = section.find("audit_log");
      log != nullptr && log->members() != nullptr) {
    AuditLogSpec& audit = spec.audit_log.emplace();
    read(log->find("path"), audit.path);
    read(log->find("required"), audit.required);
    read(log->find("max_size"), audit.max_size_bytes);
    read(log->find("keep"), audit.keep);
    read(log->find("copy_to"), audit.copy_to);
    const ConfigValue* fsync = log->find("fsync");
    audit.fsync = fsync == nullptr || fsync->string() == nullptr || *fsync->string() != "never";
  }
  read_webhooks(section, "/observability", spec.webhooks);
}

}  // namespace

PluginSpec read_converter(const ConfigValue& value, const std::string& pointer) {
  PluginSpec spec;
  spec.mark = value.mark();
  spec.pointer = pointer;
  spec.options = ConfigValue::mapping(value.mark());
  if (value.string() != nullptr) {
    spec.plugin = *value.string();
    return spec;
  }
  read(value.find("plugin"), spec.plugin);
  read_isolation(value.find("isolation"), spec);
  if (value.find("plugin") != nullptr) spec.mark = value.find("plugin")->mark();
  spec.pointer = pointer_join(pointer, "options");
  if (const ConfigValue* options = value.find("options");
      options != nullptr && options->members() != nullptr) {
    spec.options = *options;
  }
  return spec;
}

void read_plan(const ConfigValue& document, Plan& plan) {
  read(document.find("name"), plan.name);
  read(document.find("user"), plan.user);
  read(document.find("ip_address"), plan.ip_address);
  std::vector<std::string> plugin_dirs;
  read(document.find("plugin_dirs"), plugin_dirs);
  plan.plugin_dirs.assign(plugin_dirs.begin(), plugin_dirs.end());
  read(document.find("output_dir"), plan.output_dir);
  if (const ConfigValue* staging = document.find("staging_dir");
      staging != nullptr && staging->string() != nullptr) {
    plan.staging_dir = *staging->string();
  }
  if (const ConfigValue* providers = document.find("providers");
      providers != nullptr && providers->members() != nullptr) {
    for (const auto& member : *providers->members()) {
      plan.providers[member.key] = {
          member.key, flat_plugin(member.value, pointer_join("/providers", member.key))};
    }
  }
  if (const ConfigValue* batch = document.find("batch")) {
    read(batch->find("max_parallel"), plan.batch.max_parallel);
    read(batch->find("continue_on_error"), plan.batch.continue_on_error);
    read(batch->find("max_retries"), plan.batch.max_retries);
    read(batch->find("retry_delay"), plan.batch.retry_delay);
    read(batch->find("max_retry_delay"), plan.batch.max_retry_delay);
    read(batch->find("answer_timeout"), plan.batch.answer_timeout);
    read(batch->find("bandwidth_limit"), plan.batch.bandwidth_limit);
    read(batch->find("source_bandwidth_limit"), plan.batch.source_bandwidth_limit);
    read(batch->find("memory_limit"), plan.batch.memory_limit);
    const ConfigValue* on_error = batch->find("on_error");
    plan.batch.cancel_on_error =
        on_error != nullptr && on_error->string() != nullptr && *on_error->string() == "cancel";
    read(batch->find("max_parallel_disks"), plan.batch.max_parallel_disks);
    if (const ConfigValue* limits = batch->find("limits")) {
      read(limits->find("per_provider"), plan.batch.per_provider);
      read(limits->find("per_host"), plan.batch.per_host);
      read(limits->find("per_datastore"), plan.batch.per_datastore);
    }
    read(batch->find("checkpoint_interval"), plan.batch.checkpoint_interval);
    read(batch->find("checkpoint_bytes"), plan.batch.checkpoint_bytes);
    const ConfigValue* longest = batch->find("max_retry_delay");
    if (longest != nullptr && longest->implied()) {
      plan.batch.max_retry_delay = std::max(plan.batch.max_retry_delay, plan.batch.retry_delay);
    }
  }
  if (const ConfigValue* section = document.find("observability"))
    read_observability(*section, plan.observability);
  const ConfigValue* migrations = document.find("migrations");
  if (migrations == nullptr || migrations->sequence() == nullptr) return;
  for (size_t i = 0; i < migrations->sequence()->size(); ++i) {
    MigrationSpec spec = migration(document, i, plan);
    read_webhooks((*migrations->sequence())[i], spec.pointer, spec.webhooks);
    plan.migrations.push_back(std::move(spec));
  }
}

}  // namespace hyperhost
