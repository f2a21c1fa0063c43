// SPDX-License-Identifier: Apache-2.0
#include "hosts/hyperexport/export_plan.hpp"

#include <sstream>

namespace hyperhost {
namespace {

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
  app.add_option("--converter", flags.converter,
                 "The converter plugin (default: the preferred one that writes the format)")
      ->group(group);
  app.add_option("--verify", flags.verify,
                 "Read what was converted again: none, target (default), independent, source")
      ->group(group);
  app.add_option(
         "--prepare", flags.prepare,
         "BUS[,PLUGIN…]: prepare the guest before the copy for disks on this bus (virtio, scsi,\n"
         "sata, ide), with these plugins in turn (default: the preferred one)")
      ->group(group);
  app.add_option("--boot-check", flags.boot_check,
                 "Boot the result once; it has to come to its loader, kernel, login or agent")
      ->check(CLI::IsMember({"loader", "kernel", "login", "agent", "traces"}))
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
  CLI::Option* url =
      app.add_option("--webhook-url", flags.webhook_url,
                     "Notify this address; env:NAME or file:PATH where the address is a secret")
          ->group(group);
  app.add_option("--webhook-type", flags.webhook_type, "slack, discord or generic")
      ->check(CLI::IsMember({"slack", "discord", "generic"}))
      ->capture_default_str()
      ->needs(url)
      ->group(group);
  app.add_option("--webhook-secret", flags.webhook_secret,
                 "Signs generic messages: env:NAME or file:PATH")
      ->needs(url)
      ->group(group);
  app.add_flag("--webhook-on-start", flags.webhook_on_start, "Notify when it starts (default: off)")
      ->needs(url)
      ->group(group);
  app.add_flag("--webhook-on-complete,!--no-webhook-on-complete", flags.webhook_on_complete,
               "Notify when it is complete (default: on)")
      ->needs(url)
      ->group(group);
  app.add_flag("--webhook-on-error,!--no-webhook-on-error", flags.webhook_on_error,
               "Notify when it has failed (default: on)")
      ->needs(url)
      ->group(group);
  app.add_flag("--webhook-on-warning", flags.webhook_on_warning,
               "Notify about warnings (default: off)")
      ->needs(url)
      ->group(group);
  app.add_option("--user", flags.user, "The user in the audit log (default: the login)")
      ->group(group);
}

}  // namespace

namespace {

/// BUS[,PLUGIN…]
void add_preparation(const std::string& prepare, std::vector<PlanFlag>& plan) {
  std::istringstream words(prepare);
  std::string word;
  if (!std::getline(words, word, ',')) return;
  plan.push_back(text_flag("--prepare", "defaults.guest.machine.bus", word));
  for (std::size_t number = 0; std::getline(words, word, ','); ++number)
    plan.push_back(
        text_flag("--prepare", "defaults.guest.plugin[" + std::to_string(number) + "]", word));
}

}  // namespace

void add_export_flags(CLI::App& app, ExportFlags& flags) {
  app.add_option("--vm", flags.vm, "The VM: its name, inventory path or id")->required();
  app.add_option("--provider", flags.source.provider,
                 "The provider plugin (default: local-ovf with --path, else vsphere)")
      ->group("Source");
  add_source_flags(app, flags.source);
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
  add_source(flags.source, plan);
  text("--converter", "converter", flags.converter);
  plan.push_back(text_flag("--output", "output_dir", absolute_path(flags.output)));
  plan.push_back({"--convert", "defaults.convert", convert ? "true" : "false"});
  text("--format", "defaults.target_format", flags.format);
  text("--compression", "defaults.compression", flags.compression);
  text("--verify", "defaults.verify", flags.verify);
  add_preparation(flags.prepare, plan);
  text("--boot-check", "defaults.boot.require", flags.boot_check);
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

namespace {

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  for (std::size_t at = text.find(from); at != std::string::npos;
       at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

}  // namespace

void in_flags(Diagnostic& diagnostic) {
  name_missing_flag(diagnostic);
  if (diagnostic.path.rfind('/', 0) == 0) diagnostic.path.clear();
  // Longer ones first: they hold the shorter.
  static const std::pair<const char*, const char*> kWords[] = {
      {"set upload: {overwrite: true}", "add --set upload.overwrite=true"},
      {"set upload.overwrite: true", "add --set upload.overwrite=true"},
      {"set overwrite: true", "add --overwrite"},
      {"overwrite: true", "--overwrite"},
      {"export_manifest: false", "--no-manifest"},
      {"set export_manifest: true", "drop --no-manifest"},
      {"keep_local: false", "--no-keep-local"},
      {"set compression: none", "drop --compression"},
      {"target_format: qcow2", "--format qcow2"},
      {"verify: independent", "--verify independent"},
      {"verify: none", "--verify none"},
      {"target_format", "--format"},
      {"output_dir", "--output"},
      {"output_name", "--name"},
      {"the plan", "the command line"}};
  for (std::string* text : {&diagnostic.summary, &diagnostic.detail, &diagnostic.hint})
    for (const auto& [key, flag] : kWords) replace_all(*text, key, flag);
}

}  // namespace hyperhost
