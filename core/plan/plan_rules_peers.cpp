// SPDX-License-Identifier: Apache-2.0
// The rules for those a plan talks to besides its sources: storage, listeners, webhooks.
#include <algorithm>
#include <charconv>
#include <string_view>

#include "core/plan/destination_url.hpp"
#include "core/plan/plan_rules.hpp"

namespace hyperhost::plan_rules {
namespace {

/// "scheme://user:password@host": whose password would be in the plan.
bool has_user_info(std::string_view url) {
  const size_t begin = url.find("://");
  if (begin == std::string_view::npos) return false;
  const std::string_view authority =
      url.substr(begin + 3, url.find_first_of("/?#", begin + 3) - begin - 3);
  return authority.find('@') != std::string_view::npos;
}

void check_destination(const ConfigValue* at, const std::string& pointer, const UploadSpec& upload,
                       const std::filesystem::path& output_dir, Findings& findings) {
  const Mark mark = at != nullptr ? at->mark() : Mark{};
  try {
    split_destination(upload.destination);
  } catch (const Error& failure) {
    if (!scheme_of(upload.destination).empty())  // the schema has said so
      findings.error(mark, pointer, failure.diagnostic().summary, failure.diagnostic().hint);
    return;
  }
  if (upload.destination.starts_with("file://")) {
    const std::string_view path = std::string_view(upload.destination).substr(7);
    if (!path.starts_with('/')) {
      findings.error(mark, pointer, "a file destination needs an absolute path",
                     "write file:///DIRECTORY, with three slashes");
    } else if ((std::filesystem::path(path) / "").lexically_normal() ==
               (output_dir / "").lexically_normal()) {
      findings.error(mark, pointer, "the destination is the output_dir itself",
                     "drop upload, or name another directory");
    }
  }
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

void check_listener(const ConfigValue& section, const char* key,
                    const std::optional<ListenSpec>& spec, Findings& findings) {
  const ConfigValue* value = section.find(key);
  if (value == nullptr) return;
  const ConfigValue* address = value->members() != nullptr ? value->find("listen") : value;
  if (address == nullptr || address->string() == nullptr) return;
  const std::string pointer = pointer_join("/observability", key);
  const std::string& text = *address->string();
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) return;  // the schema has said so
  int port = -1;
  std::from_chars(text.data() + colon + 1, text.data() + text.size(), port);
  if (port < 0 || port > 65535) {
    findings.error(address->mark(), pointer, "there is no such port",
                   "ports go from 1 to 65535; 0 takes any free one");
    return;
  }
  if (spec && !is_loopback(spec->host) && !spec->token && value->find("token") == nullptr) {
    findings.error(address->mark(), pointer, "an address that others can reach needs a token",
                   std::string(key) + ": {listen: '" + text +
                       "', token: {env: NAME}}, or listen on 127.0.0.1");
  }
}

struct HookRule {
  const char* key;
  std::vector<WebhookType> only;
};

void check_webhook(const ConfigValue& value, const WebhookSpec& hook, Findings& findings) {
  const auto at = [&](const char* key) { return pointer_join(hook.pointer, key); };
  const ConfigValue* type = value.find("type");
  if (type == nullptr || type->string() == nullptr ||
      *type->string() != webhook_type_name(hook.type))
    return;
  const std::string name = *type->string();
  static const HookRule kRules[] = {
      {"secret", {WebhookType::kGeneric}},
      {"from", {WebhookType::kEmail}},
      {"to", {WebhookType::kEmail}},
      {"username", {WebhookType::kEmail, WebhookType::kSlack, WebhookType::kDiscord}},
      {"password", {WebhookType::kEmail}},
      {"slack_channel", {WebhookType::kSlack}}};
  for (const HookRule& rule : kRules) {
    const ConfigValue* found = value.find(rule.key);
    if (found != nullptr &&
        std::find(rule.only.begin(), rule.only.end(), hook.type) == rule.only.end()) {
      findings.error(
          found->mark(), at(rule.key),
          "'" + std::string(rule.key) + "' has no meaning for a webhook of type " + name);
    }
  }
  const bool mail = hook.type == WebhookType::kEmail;
  for (const char* key : {"from", "to"}) {
    if (mail && value.find(key) == nullptr) {
      findings.error(value.mark(), hook.pointer, "the key '" + std::string(key) + "' is missing",
                     "a mail needs it");
    }
  }
  if (mail && (value.find("username") == nullptr) != (value.find("password") == nullptr)) {
    findings.error(value.mark(), hook.pointer, "username and password go together");
  }
  if (hook.timeout.count() == 0 && value.find("timeout") != nullptr &&
      value.find("timeout")->integer() != nullptr) {
    findings.error(value.find("timeout")->mark(), at("timeout"),
                   "a time-out of nothing lets no message through");
  }
  if (!hook.on_start && !hook.on_complete && !hook.on_error && !hook.on_warning) {
    findings.warning(value.mark(), hook.pointer, "this webhook is never notified of anything",
                     "set one of on_start, on_complete, on_error, on_warning");
  }
  const std::string* url = hook.url.string();
  if (url == nullptr) return;
  // Never show the address itself: what follows the host is often the secret.
  const bool web = url->starts_with("https://") || url->starts_with("http://");
  const bool smtp = url->starts_with("smtps://") || url->starts_with("smtp://");
  if (mail ? !smtp : !web) {
    findings.error(hook.url.mark(), at("url"),
                   "this is not an address for a webhook of type " + name,
                   mail ? "write smtp://HOST:PORT or smtps://HOST:PORT" : "write https://…");
  } else if (has_user_info(*url)) {
    findings.error(hook.url.mark(), at("url"),
                   "an address in the plan may not carry a user or password",
                   "write url: {env: NAME}");
  } else if (hook.type == WebhookType::kSlack || hook.type == WebhookType::kDiscord) {
    findings.warning(hook.url.mark(), at("url"),
                     "whoever knows the address of a " + name + " webhook can post to it",
                     "keep it out of the plan: url: {env: NAME}");
  }
}

}  // namespace

void check_uploads(const ConfigValue& document, const Plan& plan, Findings& findings) {
  const ConfigValue* shared = document.find("upload");
  const ConfigValue* migrations = document.find("migrations");
  if (migrations == nullptr || migrations->sequence() == nullptr) return;
  for (size_t i = 0; i < plan.migrations.size(); ++i) {
    const MigrationSpec& spec = plan.migrations[i];
    if (!spec.upload) continue;
    const ConfigValue* own = (*migrations->sequence())[i].find("upload");
    if (shared == nullptr && own != nullptr && own->find("destination") == nullptr) {
      findings.error(own->mark(), pointer_join(spec.pointer, "upload"),
                     "the key 'destination' is missing", "the plan has no upload to take it from");
      continue;
    }
    const bool own_destination = own != nullptr && own->find("destination") != nullptr;
    const ConfigValue* holder = own_destination ? own : shared;
    const std::string base = own_destination ? pointer_join(spec.pointer, "upload") : "/upload";
    if (holder != nullptr && holder->find("destination") != nullptr) {
      check_destination(holder->find("destination"), pointer_join(base, "destination"),
                        *spec.upload, spec.output_dir, findings);
    }
    constexpr std::chrono::hours kLongestUrl{7 * 24};  // of all three services
    const ConfigValue* presign = own != nullptr ? own->find("presign") : nullptr;
    const bool own_presign = presign != nullptr;
    if (!own_presign && shared != nullptr) presign = shared->find("presign");
    if (presign != nullptr && spec.upload->presign > kLongestUrl)
      findings.error(
          presign->mark(),
          pointer_join(own_presign ? pointer_join(spec.pointer, "upload") : "/upload", "presign"),
          "no store signs a URL for longer than 7 days", "write 7d or less");
    const Setting manifest = setting(document, i, "export_manifest");
    if (!manifest.is(false)) continue;
    if (!spec.upload->keep_local) {
      findings.error(
          manifest.value->mark(), manifest.pointer,
          "without a manifest and with keep_local: false nothing would say what was uploaded",
          "set export_manifest: true");
    } else {
      findings.warning(
          manifest.value->mark(), manifest.pointer,
          "without a manifest, the destination does not show whether the upload is complete",
          "set export_manifest: true");
    }
  }
}

void check_webhooks(const ConfigValue& section, const std::vector<WebhookSpec>& specs,
                    Findings& findings) {
  for (size_t i = 0; i < specs.size(); ++i)
    check_webhook((*section.find("webhooks")->sequence())[i], specs[i], findings);
}

void check_observability(const ConfigValue& document, const Plan& plan, Findings& findings) {
  for (size_t i = 0; i < plan.migrations.size(); ++i)
    check_webhooks((*document.find("migrations")->sequence())[i], plan.migrations[i].webhooks,
                   findings);
  const ConfigValue* section = document.find("observability");
  if (section == nullptr) return;
  const ObservabilitySpec& spec = plan.observability;
  check_listener(*section, "progress_api", spec.progress_api, findings);
  check_listener(*section, "metrics_api", spec.metrics_api, findings);
  if (spec.progress_api && spec.metrics_api && spec.progress_api->port != 0 &&
      spec.progress_api->port == spec.metrics_api->port &&
      spec.progress_api->host == spec.metrics_api->host) {
    findings.error(section->find("metrics_api")->mark(), "/observability/metrics_api",
                   "progress_api and metrics_api cannot share one address");
  }
  constexpr uint64_t kSmallestLog = 4096;
  if (spec.audit_log && section->find("audit_log")->find("max_size") != nullptr &&
      section->find("audit_log")->find("max_size")->integer() != nullptr &&
      spec.audit_log->max_size_bytes < kSmallestLog) {
    findings.error(section->find("audit_log")->find("max_size")->mark(),
                   "/observability/audit_log/max_size", "max_size must be at least 4KiB");
  }
  check_webhooks(*section, spec.webhooks, findings);
}

}  // namespace hyperhost::plan_rules
