// SPDX-License-Identifier: Apache-2.0
#include "hosts/hyperexport/export_plan.hpp"

#include <cstdlib>

namespace hyperhost {
namespace {

constexpr const char* kDefaultProvider = "vsphere";

std::string provider_of(const ExportFlags& flags) {
  if (!flags.provider.empty()) return flags.provider;
  return flags.path.empty() ? kDefaultProvider : "local-ovf";
}

/// KEY=VALUE under `prefix`; VALUE is YAML, and env:NAME or file:PATH is a secret.
PlanFlag option_flag(const std::string& flag, const std::string& prefix,
                     const std::string& argument) {
  const std::size_t equals = argument.find('=');
  if (equals == 0 || equals == std::string::npos)
    throw Error(Code::kConfig, flag + ": this is not KEY=VALUE", "",
                "e.g. " + flag + " path=/srv/exports");
  const std::string key = prefix + argument.substr(0, equals);
  const std::string value = argument.substr(equals + 1);
  if (is_secret_reference(value)) return secret_flag(flag, key, value);
  return {flag, key, value};
}

std::string percent_decoded(const std::string& text) {
  const auto digit = [](char c) {
    return c >= '0' && c <= '9'                     ? c - '0'
           : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                    : -1;
  };
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool code =
        text[i] == '%' && i + 2 < text.size() && digit(text[i + 1]) >= 0 && digit(text[i + 2]) >= 0;
    out += code ? static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2])) : text[i];
    if (code) i += 2;
  }
  return out;
}

/// https://USER:PASSWORD@HOST/sdk, as GOVC_URL may have it, in its parts. The password goes where
/// GOVC_PASSWORD would be, so that the plan only names it.
void split_login(std::string& endpoint, std::string& user) {
  const std::size_t scheme = endpoint.find("://");
  const std::size_t host = scheme == std::string::npos ? 0 : scheme + 3;
  const std::size_t at = endpoint.rfind('@', endpoint.find_first_of("/?#", host));
  if (at == std::string::npos || at < host) return;
  const std::string login = endpoint.substr(host, at - host);
  endpoint.erase(host, at + 1 - host);
  const std::size_t colon = login.find(':');
  if (user.empty()) user = percent_decoded(login.substr(0, colon));
  if (colon != std::string::npos)
    ::setenv("GOVC_PASSWORD", percent_decoded(login.substr(colon + 1)).c_str(), 0);
}

void add_source(const ExportFlags& flags, std::vector<PlanFlag>& plan) {
  const std::string provider = provider_of(flags);
  plan.push_back(text_flag("--provider", "providers.source.plugin", provider));
  const auto text = [&](const char* flag, const char* key, const std::string& value) {
    if (!value.empty())
      plan.push_back(text_flag(flag, "providers.source." + std::string(key), value));
  };
  if (!flags.path.empty()) text("--path", "path", absolute_path(flags.path));
  std::string endpoint = flags.endpoint, user = flags.username;
  split_login(endpoint, user);
  text("--endpoint", "endpoint", endpoint);
  text("--username", "username", user);
  if (!flags.password.empty())
    plan.push_back(secret_flag("--password", "providers.source.password", flags.password));
  else if (provider == kDefaultProvider && std::getenv("GOVC_PASSWORD") != nullptr)
    plan.push_back(secret_flag("--password", "providers.source.password", "env:GOVC_PASSWORD"));
  if (!flags.ca_file.empty()) text("--ca-file", "tls.ca_file", absolute_path(flags.ca_file));
  for (const std::string& option : flags.provider_options)
    plan.push_back(option_flag("--provider-option", "providers.source.", option));
}

void add_webhook(const ExportFlags& flags, std::vector<PlanFlag>& plan) {
  if (flags.webhook_url.empty()) return;
  const std::string hook = "observability.webhooks[0].";
  plan.push_back(text_flag("--webhook-type", hook + "type", flags.webhook_type));
  plan.push_back(is_secret_reference(flags.webhook_url)
                     ? secret_flag("--webhook-url", hook + "url", flags.webhook_url)
                     : text_flag("--webhook-url", hook + "url", flags.webhook_url));
  if (!flags.webhook_secret.empty())
    plan.push_back(secret_flag("--webhook-secret", hook + "secret", flags.webhook_secret));
  const std::pair<const char*, bool> events[] = {{"start", flags.webhook_on_start},
                                                 {"complete", flags.webhook_on_complete},
                                                 {"error", flags.webhook_on_error},
                                                 {"warning", flags.webhook_on_warning}};
  for (const auto& [event, on] : events)
    plan.push_back(
        {std::string("--webhook-on-") + event, hook + "on_" + event, on ? "true" : "false"});
}

void add_source_flags(CLI::App& app, ExportFlags& flags) {
  const char* const group = "Source";
  app.add_option("--provider", flags.provider,
                 "The provider plugin (default: local-ovf with --path, else vsphere)")
      ->group(group);
  app.add_option("--path", flags.path, "local-ovf: an OVA, OVF or disk image, or a directory")
      ->group(group);
  app.add_option("--endpoint", flags.endpoint, "vsphere: https://HOST/sdk (default: $GOVC_URL)")
      ->envname("GOVC_URL")
      ->group(group);
  app.add_option("--username", flags.username, "vsphere: the login (default: $GOVC_USERNAME)")
      ->envname("GOVC_USERNAME")
      ->group(group);
  app.add_option("--password", flags.password,
                 "env:NAME or file:PATH (default: env:GOVC_PASSWORD where that is set)")
      ->group(group);
  app.add_option("--ca-file", flags.ca_file, "vsphere: PEM file of the certificate authority")
      ->group(group);
  app.add_option("--provider-option", flags.provider_options,
                 "KEY=VALUE, any other option of the plugin (repeatable); a secret as\n"
                 "KEY=env:NAME or KEY=file:PATH")
      ->take_all()
      ->allow_extra_args(false)
      ->group(group);
}

void add_target_flags(CLI::App& app, ExportFlags& flags) {
  const char* const group = "Target";
  app.add_option("-o,--output", flags.output, "The directory that gets the VM's directory")
      ->capture_default_str()
      ->group(group);
  app.add_option("--name", flags.name, "Instead of the VM's name, for its directory and files")
      ->group(group);
  app.add_flag("--convert", flags.convert,
               "Convert the disks (implied by --format, --converter, --compression); without it\n"
               "they are copied as delivered")
      ->group(group);
  app.add_option("--format", flags.format, "qcow2 (default), raw, vmdk, vhd, vhdx, vdi")
      ->group(group);
  app.add_option("--compression", flags.compression, "none, zlib, zstd, keep")->group(group);
  app.add_option("--converter", flags.converter, "The converter plugin (default: parallel-disk)")
      ->group(group);
  app.add_option("--verify", flags.verify,
                 "Re-read what was converted: none, target (default), independent")
      ->group(group);
  app.add_option("--disk", flags.disks, "Only this disk, by its id (repeatable)")
      ->take_all()
      ->allow_extra_args(false)
      ->group(group);
  app.add_flag("--manifest,!--no-manifest", flags.manifest, "Write manifest.json (default: on)")
      ->group(group);
  app.add_flag("--overwrite", flags.overwrite, "Replace what is already there")->group(group);
  app.add_option("--upload", flags.upload,
                 "Also to s3://BUCKET/PREFIX, azure://…, gs://… or file:///DIRECTORY")
      ->group(group);
  app.add_option("--storage-option", flags.storage_options,
                 "KEY=VALUE of the storage plugin (repeatable), secrets as above")
      ->take_all()
      ->allow_extra_args(false)
      ->group(group);
  app.add_flag("--keep-local,!--no-keep-local", flags.keep_local,
               "Keep what was uploaded here as well (default: on)")
      ->group(group);
}

void add_telling_flags(CLI::App& app, ExportFlags& flags) {
  const char* const group = "Watching";
  add_watch_flags(app, flags.watch);
  app.add_option("--webhook-url", flags.webhook_url,
                 "Tell this address; env:NAME or file:PATH where the address is a secret")
      ->group(group);
  app.add_option("--webhook-type", flags.webhook_type, "slack, discord or generic")
      ->check(CLI::IsMember({"slack", "discord", "generic"}))
      ->capture_default_str()
      ->group(group);
  app.add_option("--webhook-secret", flags.webhook_secret,
                 "Signs generic messages: env:NAME or file:PATH")
      ->group(group);
  app.add_flag("--webhook-on-start", flags.webhook_on_start, "Tell when it starts (default: off)")
      ->group(group);
  app.add_flag("--webhook-on-complete,!--no-webhook-on-complete", flags.webhook_on_complete,
               "Tell when it is complete (default: on)")
      ->group(group);
  app.add_flag("--webhook-on-error,!--no-webhook-on-error", flags.webhook_on_error,
               "Tell when it has failed (default: on)")
      ->group(group);
  app.add_flag("--webhook-on-warning", flags.webhook_on_warning, "Tell about warnings")
      ->group(group);
  app.add_option("--user", flags.user, "The user in the audit log (default: the login)")
      ->group(group);
}

}  // namespace

void add_export_flags(CLI::App& app, ExportFlags& flags) {
  app.add_option("--vm", flags.vm, "The VM: its name, inventory path or id")->required();
  add_source_flags(app, flags);
  add_target_flags(app, flags);
  add_telling_flags(app, flags);
  app.add_option("--set", flags.overrides,
                 "KEY=VALUE over the plan, e.g. --set batch.max_retries=0 (repeatable)")
      ->take_all()
      ->allow_extra_args(false);
}

std::vector<PlanFlag> plan_of(const ExportFlags& flags) {
  std::vector<PlanFlag> plan;
  const auto text = [&](const char* flag, const char* key, const std::string& value) {
    if (!value.empty()) plan.push_back(text_flag(flag, key, value));
  };
  const bool convert = flags.convert || !flags.format.empty() || !flags.converter.empty() ||
                       !flags.compression.empty();
  if (!convert && !flags.verify.empty() && flags.verify != "none")
    throw Error(Code::kConfig, "--verify compares what was converted, and nothing is", "",
                "add --convert, or drop --verify");
  text("--user", "user", flags.user);
  add_source(flags, plan);
  text("--converter", "converter", flags.converter);
  plan.push_back(text_flag("--output", "output_dir", absolute_path(flags.output)));
  plan.push_back({"--convert", "defaults.convert", convert ? "true" : "false"});
  text("--format", "defaults.target_format", flags.format);
  text("--compression", "defaults.compression", flags.compression);
  text("--verify", "defaults.verify", flags.verify);
  plan.push_back({"--manifest", "defaults.export_manifest", flags.manifest ? "true" : "false"});
  if (flags.overwrite) plan.push_back({"--overwrite", "defaults.overwrite", "true"});
  text("--upload", "upload.destination", flags.upload);
  if (flags.upload.empty() && !flags.storage_options.empty())
    throw Error(Code::kConfig, "--storage-option needs --upload DESTINATION beside it");
  for (const std::string& option : flags.storage_options)
    plan.push_back(option_flag("--storage-option", "upload.storage.", option));
  if (!flags.upload.empty() && !flags.keep_local)
    plan.push_back({"--keep-local", "upload.keep_local", "false"});
  add_plan_flags(flags.watch, plan);
  add_webhook(flags, plan);
  text("--vm", "migrations[0].vm", flags.vm);
  plan.push_back({"--vm", "migrations[0].provider", "source"});
  text("--name", "migrations[0].output_name", flags.name);
  for (std::size_t i = 0; i < flags.disks.size(); ++i)
    plan.push_back(text_flag("--disk", "migrations[0].disks.include[" + std::to_string(i) + "]",
                             flags.disks[i]));
  return plan;
}

}  // namespace hyperhost
