// SPDX-License-Identifier: Apache-2.0
#include "core/run/bind_plan.hpp"

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "core/base/near_miss.hpp"
#include "core/config/schema.hpp"
#include "core/config/secret.hpp"
#include "core/migrate/memory_limit.hpp"
#include "core/migrate/prediction.hpp"
#include "core/migrate/session.hpp"
#include "core/migrate/structure_rules.hpp"
#include "core/plugin/answer_limit.hpp"
#include "core/plugin/format_catalog.hpp"
#include "core/run/bind_destination.hpp"
#include "core/run/watchers.hpp"

namespace hyperhost {
namespace {

class Binder {
 public:
  Binder(const Plan& plan, PluginRegistry& registry, BoundPlan& out)
      : plan_(plan), registry_(registry), formats_(registry), out_(out) {}

  /// Finds the plugin and completes its options; problems become diagnostics.
  std::optional<PluginChoice> bind(const PluginSpec& spec, const char* iface) {
    if (spec.plugin.empty()) return std::nullopt;  // of a draft; said already
    const PluginFile* file = registry_.find(spec.plugin);
    Plugin* plugin = nullptr;
    try {
      if (!spec.isolation.empty())
        registry_.isolate(plugin_id(spec.plugin), isolation_named(spec.isolation));
      if (spec.worker_memory != 0)
        registry_.limit_memory(plugin_id(spec.plugin), spec.worker_memory);
      if (!spec.confine.empty())
        registry_.confine(plugin_id(spec.plugin), confine_named(spec.confine));
      plugin = &registry_.load(spec.plugin);
    } catch (const Error& failure) {
      Diagnostic diagnostic = failure.diagnostic();
      diagnostic.where = spec.mark.where();
      if (diagnostic.path.empty()) diagnostic.path = spec.pointer;
      add(std::move(diagnostic));
      return std::nullopt;
    }
    const auto& interfaces = file->manifest["interfaces"];
    if (std::find(interfaces.begin(), interfaces.end(), iface) == interfaces.end()) {
      Diagnostic diagnostic;
      diagnostic.code = Code::kConfig;
      diagnostic.where = spec.mark.where();
      diagnostic.path = spec.pointer;
      diagnostic.summary = "plugin '" + spec.plugin + "' does not offer " + iface;
      std::string able;
      for (const std::string& id : registry_.ids_with(iface))
        able += (able.empty() ? "" : ", ") + id;
      diagnostic.hint = able.empty() ? "no plugin does" : "plugins that do: " + able;
      add(std::move(diagnostic));
      return std::nullopt;
    }
    const nlohmann::json schema =
        file->manifest.value("options", nlohmann::json{{"type", "object"}});
    OptionsResult options =
        validate_options(spec.options, schema, spec.pointer, {true, plan_.base_dir});
    for (Diagnostic& diagnostic : options.diagnostics) add(std::move(diagnostic));
    if (!options.ok) return std::nullopt;
    std::vector<Diagnostic> problems;
    auto resolved = resolve_secrets(options.options, spec.pointer, {plan_.base_dir}, problems);
    for (Diagnostic& diagnostic : problems) add(std::move(diagnostic));
    if (!resolved) return std::nullopt;
    PluginChoice choice{spec.plugin, Options(std::move(*resolved))};
    if (!plugin_agrees(*plugin, iface, choice, spec)) return std::nullopt;
    return choice;
  }

  /// The options that a migration sets for its own VM: those that the provider's schema marks.
  std::optional<nlohmann::json> bind_vm_options(const MigrationSpec& spec) {
    const auto provider = plan_.providers.find(spec.provider);
    const PluginFile* file = provider == plan_.providers.end()
                                 ? nullptr
                                 : registry_.find(provider->second.plugin.plugin);
    if (file == nullptr) return std::nullopt;  // said already
    nlohmann::json schema = {{"type", "object"},
                             {"additionalProperties", false},
                             {"properties", nlohmann::json::object()}};
    const nlohmann::json whole = file->manifest.value("options", nlohmann::json::object());
    const nlohmann::json known = whole.value("properties", nlohmann::json::object());
    for (auto [name, option] : known.items()) {
      if (!option.is_object() || !option.value("x-hyper-per-vm", false)) continue;
      schema["properties"][name] = option;
      schema["properties"][name].erase("default");  // the provider's own value is
    }
    const std::string pointer = spec.pointer + "/provider_options";
    OptionsResult options =
        validate_options(spec.provider_options, schema, pointer, {false, plan_.base_dir});
    for (Diagnostic& diagnostic : options.diagnostics) {
      const std::string name = diagnostic.path.substr(diagnostic.path.rfind('/') + 1);
      if (known.contains(name) && !schema["properties"].contains(name))
        diagnostic.summary = "'" + name + "' is the same for all VMs of provider '" +
                             spec.provider + "': set it there";
      add(std::move(diagnostic));
    }
    if (!options.ok) return std::nullopt;
    return options.options.to_json();
  }

  /// Of a migration that names none: the preferred one that writes its format.
  std::string default_converter(const MigrationSpec& spec) {
    const auto writers = formats_.writers(spec.target_format);
    if (!writers.empty()) return writers.front();
    try {
      return registry_.default_for(HYPER_IFACE_CONVERTER);
    } catch (const Error& failure) {
      add(failure.diagnostic());
      return {};
    }
  }

  /// Whether the converter's manifest lists the format that it is to write.
  void check_target(const MigrationSpec& spec, const std::string& converter) {
    if (!spec.enable_conversion || spec.target_format.empty() ||
        offers_of(registry_, converter).writes(spec.target_format).value_or(true))
      return;
    std::string able;
    for (const std::string& id : formats_.writers(spec.target_format))
      able += (able.empty() ? "" : ", ") + id;
    Diagnostic diagnostic =
        able.empty() ? formats_.unknown_target(spec.target_format).diagnostic()
                     : Error(Code::kConfig,
                             "converter '" + converter + "' does not write " + spec.target_format,
                             "", "converters that do: " + able)
                           .diagnostic();
    diagnostic.where = spec.target_format_mark.where();
    diagnostic.path = spec.target_format_pointer;
    add(std::move(diagnostic));
  }

  /// The storage of an upload, with what its destination says.
  std::optional<PluginChoice> bind_storage(const UploadSpec& upload) {
    PluginSpec storage = upload.storage;
    try {
      place_storage(upload, registry_, storage);
    } catch (const Error& failure) {
      add(failure.diagnostic());
      return std::nullopt;
    }
    return bind(storage, HYPER_IFACE_STORAGE);
  }

  /// The plugins that prepare, boot and define the VM, where the plan wants them.
  void bind_drafts(const MigrationSpec& spec, MigrationConfig& config) {
    if (spec.guest.wanted)
      for (const PluginSpec& plugin : spec.guest_plugins)
        if (auto choice = bind_draft(plugin, HYPER_IFACE_GUEST))
          config.guest_plugins.push_back(std::move(*choice));
    if (spec.boot.wanted)
      if (auto choice = bind_draft(spec.boot_plugin, HYPER_IFACE_BOOT))
        config.boot_plugin = std::move(*choice);
    if (spec.boot.wanted && spec.boot.require == BootGrade::kTraces)
      if (auto choice = bind_draft(traces_reader(spec), HYPER_IFACE_GUEST))
        config.traces_plugin = std::move(*choice);
    if (spec.target.by_default)
      bind_default_target(spec, config);
    else if (config.target.wanted)
      if (auto choice = bind_draft(spec.target_plugin, HYPER_IFACE_TARGET))
        config.target_plugin = std::move(*choice);
  }

  /// Where the plan does not ask for a target and none can be had, the disks are all there is.
  void bind_default_target(const MigrationSpec& spec, MigrationConfig& config) {
    std::optional<PluginChoice> choice;
    BoundPlan unasked;
    if (spec.export_manifest && !registry_.ids_with(HYPER_IFACE_TARGET).empty())
      choice = Binder(plan_, registry_, unasked).bind_draft(spec.target_plugin, HYPER_IFACE_TARGET);
    for (Diagnostic& why : unasked.diagnostics) {
      if (choice) break;
      why.severity = Severity::kInfo;
      add(std::move(why));
    }
    config.target.wanted = choice.has_value();
    if (choice) config.target_plugin = std::move(*choice);
  }

  /// The one that the plan names, the last one that prepares the guest, or the preferred one.
  static PluginSpec traces_reader(const MigrationSpec& spec) {
    if (spec.traces_plugin) return *spec.traces_plugin;
    if (!spec.guest_plugins.empty()) return spec.guest_plugins.back();
    PluginSpec preferred;
    preferred.options = ConfigValue::mapping(spec.mark);
    preferred.mark = spec.mark;
    return preferred;
  }

  /// Rules that a plan accepts exist: in the host's table, or in a guest plugin's manifest.
  void check_accepted(const MigrationSpec& spec, const MigrationConfig& config) {
    std::vector<std::string> known;
    for (const PredictionRule& rule : prediction_rules()) known.emplace_back(rule.id);
    const auto is_own_group = [&](const std::string& id) {
      const std::string group = id.substr(0, id.find('.') + 1);
      return std::any_of(known.begin(), known.end(),
                         [&](const std::string& one) { return one.rfind(group, 0) == 0; });
    };
    std::vector<std::string> all = known;
    for (const StructureRule& rule : structure_rules()) all.emplace_back(rule.id);
    // A plugin that could not be loaded, or does not say.
    bool any = config.guest_plugins.size() < spec.guest_plugins.size() && spec.guest.wanted;
    for (const PluginChoice& choice : config.guest_plugins) {
      const PluginFile* file = registry_.find(choice.plugin);
      const nlohmann::json rules =
          file != nullptr ? file->manifest.value("rules", nlohmann::json()) : nlohmann::json();
      any = any || !rules.is_array();
      for (const auto& rule : rules)
        if (rule.is_string()) all.push_back(rule.get<std::string>());
    }
    for (std::size_t i = 0; i < spec.guest.accept.size() && i < spec.accept_marks.size(); ++i) {
      const std::string& id = spec.guest.accept[i];
      if (std::find(all.begin(), all.end(), id) != all.end() || (any && !is_own_group(id)))
        continue;
      Diagnostic diagnostic;
      diagnostic.code = Code::kConfig;
      diagnostic.where = spec.accept_marks[i].where();
      diagnostic.path = spec.pointer + "/guest/accept";
      diagnostic.summary = "there is no rule '" + id + "' to accept";
      diagnostic.hint = suggest(id, all);
      add(std::move(diagnostic));
    }
  }

  /// The plugin of a draft's kind: the one that the plan names, or the preferred one.
  std::optional<PluginChoice> bind_draft(PluginSpec wanted, const char* iface) {
    try {
      if (wanted.plugin.empty()) wanted.plugin = registry_.default_for(iface);
    } catch (const Error& failure) {
      add(failure.diagnostic());
      return std::nullopt;
    }
    return bind(wanted, iface);
  }

  const FormatCatalog& formats() const { return formats_; }

  void add(Diagnostic diagnostic) {
    // One mistake under `defaults` would be said again for each migration that inherits it.
    const std::string text = to_string(diagnostic);
    if (std::find(said_.begin(), said_.end(), text) != said_.end()) return;
    said_.push_back(text);
    failed_ = failed_ || diagnostic.severity == Severity::kError;
    out_.diagnostics.push_back(std::move(diagnostic));
  }
  bool failed() const { return failed_; }

 private:
  bool plugin_agrees(Plugin& plugin, const char* iface, const PluginChoice& choice,
                     const PluginSpec& spec) {
    Operation op("plugin " + plugin.id(), CancelSource::create());
    const hyper_st status = plugin.validate(iface, choice.options, op);
    bool error = false;
    for (Diagnostic diagnostic : op.diagnostics()) {
      diagnostic.path = spec.pointer + diagnostic.path;
      diagnostic.where = spec.mark.where();
      error = error || diagnostic.severity == Severity::kError;
      add(std::move(diagnostic));
    }
    if (status == HYPER_OK || error) return status == HYPER_OK && !error;
    Diagnostic diagnostic;
    diagnostic.code = Code::kConfig;
    diagnostic.where = spec.mark.where();
    diagnostic.path = spec.pointer;
    diagnostic.summary = "plugin '" + plugin.id() + "' refuses these options and gave no reason";
    add(std::move(diagnostic));
    return false;
  }

  const Plan& plan_;
  PluginRegistry& registry_;
  const FormatCatalog formats_;
  BoundPlan& out_;
  std::vector<std::string> said_;
  bool failed_ = false;
};

MigrationConfig config_of(const MigrationSpec& spec, const Plan& plan) {
  MigrationConfig config;
  static_cast<MigrationSettings&>(config) = spec;
  config.staging_dir = plan.staging_dir.value_or(std::filesystem::path());
  if (plan.batch.max_retries > 0) config.disk_retry = plan.batch.retry_delay;
  config.checkpoint_bytes = plan.batch.checkpoint_bytes;
  config.checkpoint_interval = plan.batch.checkpoint_interval;
  config.user = plan.user;
  config.ip_address = plan.ip_address;
  return config;
}

}  // namespace

BoundPlan bind_plan(const Plan& plan, PluginRegistry& registry,
                    const std::optional<std::string>& converter) {
  BoundPlan out;
  Binder binder(plan, registry, out);
  for (const auto& [name, provider] : plan.providers)
    if (auto choice = binder.bind(provider.plugin, HYPER_IFACE_PROVIDER))
      out.orchestrator.providers[name] = std::move(*choice);
  for (const MigrationSpec& spec : plan.migrations) {
    MigrationConfig config = config_of(spec, plan);
    config.target_format = config.convert_options.output_format =
        binder.formats().canonical(spec.target_format);
    PluginSpec wanted = spec.converter;
    if (wanted.plugin.empty()) wanted.plugin = binder.default_converter(spec);
    if (converter && wanted.plugin != *converter) {
      wanted.plugin = *converter;
      wanted.options =
          ConfigValue::mapping(Mark{std::make_shared<const std::string>("--converter"), 0, 0});
      wanted.mark = wanted.options.mark();
      wanted.pointer.clear();
    }
    binder.check_target(spec, wanted.plugin);
    if (auto choice = binder.bind(wanted, HYPER_IFACE_CONVERTER))
      config.converter = std::move(*choice);
    binder.bind_drafts(spec, config);
    binder.check_accepted(spec, config);
    if (spec.provider_options.members() != nullptr)
      if (auto options = binder.bind_vm_options(spec))
        config.provider_options = std::move(*options);
    if (spec.upload) {
      config.upload_to_cloud = true;
      config.cloud_destination = spec.upload->destination;
      config.keep_local = spec.upload->keep_local;
      config.upload_overwrite = spec.upload->overwrite;
      config.bandwidth_limit = spec.upload->bandwidth_limit;
      config.presign = std::chrono::ceil<std::chrono::seconds>(spec.upload->presign);
      if (auto choice = binder.bind_storage(*spec.upload)) config.storage = std::move(*choice);
    }
    for (const WebhookSpec& hook : spec.webhooks) {
      try {
        config.webhook_configs.push_back(webhook_config(hook, plan.base_dir));
        out.orchestrator.enable_webhooks = true;
      } catch (const Error& failure) {
        Diagnostic diagnostic = failure.diagnostic();
        if (diagnostic.path.empty()) diagnostic.path = hook.pointer;
        binder.add(std::move(diagnostic));
      }
    }
    out.migrations.push_back(std::move(config));
    out.specs.push_back(&spec);
  }
  if (!binder.failed())
    for (Diagnostic& diagnostic : share_memory(plan, registry, out.migrations))
      binder.add(std::move(diagnostic));
  out.orchestrator.user = plan.user;
  out.orchestrator.plan_name = plan.name;
  out.orchestrator.bandwidth_limit = plan.batch.bandwidth_limit;
  out.orchestrator.source_bandwidth_limit = plan.batch.source_bandwidth_limit;
  if (const auto& audit = plan.observability.audit_log) {
    out.orchestrator.enable_audit_logging = true;
    out.orchestrator.audit = audit_options(*audit);
  }
  const BatchSpec& batch = plan.batch;
  out.batch = {batch.max_parallel,       batch.continue_on_error, batch.max_retries,
               batch.retry_delay,        batch.max_retry_delay,   batch.cancel_on_error,
               batch.max_parallel_disks, batch.per_provider,      batch.per_host,
               batch.per_datastore};
  out.ok = !binder.failed();
  return out;
}

namespace {

/// Replaces patterns by what they match.
class Expansion {
 public:
  Expansion(MigrationOrchestrator& orchestrator, const std::shared_ptr<CancelSource>& cancel)
      : orchestrator_(orchestrator), cancel_(cancel) {}

  /// name: of the VM, without folders.
  void add(MigrationConfig config, const MigrationSpec* spec, const std::string& name) {
    const std::string shown = config.vm_ref.empty() || config.vm_ref == config.vm_name
                                  ? "'" + config.vm_name + "'"
                                  : "'" + config.vm_name + "' (" + config.vm_ref + ")";
    const auto [found, fresh] = directories_.try_emplace(spec->vm_directory(name), shown);
    if (!fresh) {
      Diagnostic& diagnostic = problem(*spec, Code::kConfig);
      diagnostic.summary =
          shown + " and " + found->second + " would share the directory " + found->first.string();
      diagnostic.hint = "give one of them an output_name or another output_dir";
      return;
    }
    migrations.push_back(std::move(config));
    specs.push_back(spec);
  }

  void expand(const MigrationConfig& original, const MigrationSpec* spec) {
    try {
      const std::set<std::string> left_out = excluded(*spec);
      std::size_t matches = 0;
      list(*spec, spec->vm_name, [&](const std::string& ref, const std::string& name) {
        ++matches;
        if (left_out.contains(ref)) return;
        MigrationConfig config = original;
        config.vm_name = name;
        config.vm_ref = ref;
        add(std::move(config), spec, name);
      });
      if (matches == 0)
        throw Error(Code::kNotFound,
                    "'" + spec->vm_name + "' matches no VM of provider '" + spec->provider + "'",
                    "",
                    "hyperhost list shows what there is; [[], [*] and [?] stand for the characters "
                    "themselves");
    } catch (const Error& failure) {
      Diagnostic& diagnostic = problem(*spec, failure.code());
      const std::string where = diagnostic.where, path = diagnostic.path;
      diagnostic = failure.diagnostic();
      diagnostic.where = where;
      diagnostic.path = path;
    }
  }

  std::vector<Diagnostic> problems;
  std::vector<MigrationConfig> migrations;
  std::vector<const MigrationSpec*> specs;

 private:
  Diagnostic& problem(const MigrationSpec& spec, Code code) {
    Diagnostic& diagnostic = problems.emplace_back();
    diagnostic.code = code;
    diagnostic.where = spec.mark.where();
    diagnostic.path = spec.pointer;
    return diagnostic;
  }

  void list(const MigrationSpec& spec, const std::string& pattern,
            const std::function<void(const std::string& ref, const std::string& name)>& each) {
    Session& session = orchestrator_.session();
    Operation op = session.operation("inventory", cancel_);
    try {
      within(session.services().answer_timeout, "provider '" + spec.provider + "'", op,
             [&](Operation& limited) {
               session.provider(spec.provider, limited)
                   .list_vms(limited, pattern, [&](const nlohmann::json& vm) {
                     const std::string name = vm.value("name", "");
                     const std::string ref = vm.value("ref", name);
                     if (!ref.empty()) each(ref, name.empty() ? ref : name);
                   });
             });
    } catch (const nlohmann::json::exception&) {
      throw Error(Code::kFail,
                  "provider '" + spec.provider + "' lists VMs whose name or ref is no text");
    }
  }

  /// The references of what `exclude` names. One that names nothing is a slip of the pen.
  std::set<std::string> excluded(const MigrationSpec& spec) {
    std::set<std::string> out;
    for (const std::string& pattern : spec.exclude) {
      std::size_t matches = 0;
      list(spec, pattern, [&](const std::string& ref, const std::string&) {
        ++matches;
        out.insert(ref);
      });
      if (matches != 0) continue;
      Diagnostic& diagnostic = problem(spec, Code::kNotFound);
      diagnostic.severity = Severity::kWarning;
      diagnostic.path += "/exclude";
      diagnostic.summary =
          "exclude '" + pattern + "' matches no VM of provider '" + spec.provider + "'";
    }
    return out;
  }

  MigrationOrchestrator& orchestrator_;
  const std::shared_ptr<CancelSource>& cancel_;
  std::map<std::filesystem::path, std::string> directories_;
};

}  // namespace

std::vector<Diagnostic> expand_patterns(BoundPlan& bound, MigrationOrchestrator& orchestrator,
                                        const std::shared_ptr<CancelSource>& cancel) {
  Expansion expansion(orchestrator, cancel);
  for (std::size_t i = 0; i < bound.migrations.size(); ++i) {
    const MigrationSpec* spec = bound.specs[i];
    if (spec->vm_is_pattern)
      expansion.expand(bound.migrations[i], spec);
    else
      expansion.add(bound.migrations[i], spec, spec->vm_name);
  }
  bound.migrations = std::move(expansion.migrations);
  bound.specs = std::move(expansion.specs);
  return std::move(expansion.problems);
}

AuditOptions audit_options(const AuditLogSpec& spec) {
  AuditOptions options;
  options.path = spec.path;
  options.required = spec.required;
  options.max_bytes = spec.max_size_bytes;
  options.keep = spec.keep;
  options.sync = spec.fsync ? AuditSync::kAlways : AuditSync::kNever;
  for (const std::string& copy : spec.copy_to)
    (copy == "syslog" ? options.to_syslog : options.to_journald) = true;
  return options;
}

}  // namespace hyperhost
