// SPDX-License-Identifier: Apache-2.0
#include "core/run/watchers.hpp"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cerrno>

#include "core/config/secret.hpp"
#include "core/migrate/session.hpp"

namespace hyperhost {
namespace {

std::string resolved(const ConfigValue& value, const std::string& pointer,
                     const std::filesystem::path& base_dir) {
  std::vector<Diagnostic> problems;
  auto text = resolve_text(value, pointer, {base_dir}, problems);
  for (const Diagnostic& problem : problems) {
    if (problem.severity == Severity::kError) throw Error(problem);
    spdlog::warn("{}", to_string(problem));
  }
  if (!text) throw Error(Code::kConfig, pointer + " cannot be resolved");
  return *text;
}

/// Runs f; an Error from it names the plan's key.
template <class F>
void at(const std::string& pointer, F&& f) {
  try {
    f();
  } catch (const Error& failure) {
    Diagnostic diagnostic = failure.diagnostic();
    if (diagnostic.path.empty()) diagnostic.path = pointer;
    throw Error(diagnostic);
  }
}

std::chrono::milliseconds ms(std::chrono::nanoseconds duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration);
}

}  // namespace

HttpServerOptions Watchers::http_options(const ListenSpec& listen,
                                         const std::filesystem::path& base_dir) {
  HttpServerOptions options;
  const bool v6 = listen.host.find(':') != std::string::npos;
  options.address =
      (v6 ? "[" + listen.host + "]" : listen.host) + ":" + std::to_string(listen.port);
  if (listen.token)
    options.bearer_token = resolved(*listen.token, listen.pointer + "/token", base_dir);
  if (listen.tls) {
    options.tls_certificate_file = listen.tls->cert_file.string();
    options.tls_key_file = listen.tls->key_file.string();
  }
  options.on_access = [audit = orchestrator_.get_audit_logger()](const HttpAccess& access) {
    if (audit == nullptr) return;
    AuditRecord record;
    record.event_type = "api_access";
    record.ip_address = access.peer_ip;
    record.user_agent = access.user_agent;
    record.action = access.method;
    record.description = access.path;
    record.success = access.status < 400;
    record.status = record.success ? "completed" : "denied";
    record.details = {{"http_status", std::to_string(access.status)}};
    audit->log(record);
  };
  return options;
}

std::function<void(const HttpRequest&, const std::string&, uint64_t, uint64_t)>
Watchers::on_bandwidth() const {
  return [audit = orchestrator_.get_audit_logger()](const HttpRequest& request,
                                                    const std::string& task_id, uint64_t before,
                                                    uint64_t after) {
    spdlog::info("bandwidth limit of {}: {} bytes a second", task_id.empty() ? "all" : task_id,
                 after);
    if (audit == nullptr) return;
    AuditRecord record;
    record.event_type = "config_change";
    record.task_id = task_id;
    record.ip_address = request.peer_ip;
    record.user_agent = request.user_agent;
    record.action = "bandwidth_limit";
    record.description = "the bandwidth limit was changed over the progress API";
    record.success = true;
    record.status = "completed";
    record.changes = {{"bandwidth_limit", std::to_string(before) + " -> " + std::to_string(after)}};
    audit->log(record);
  };
}

WebhookConfig webhook_config(const WebhookSpec& hook, const std::filesystem::path& base_dir) {
  WebhookConfig config;
  config.type = hook.type;
  config.url = resolved(hook.url, hook.pointer + "/url", base_dir);
  config.on_start = hook.on_start;
  config.on_complete = hook.on_complete;
  config.on_error = hook.on_error;
  config.on_warning = hook.on_warning;
  config.timeout = ms(hook.timeout);
  config.max_attempts = hook.max_retries + 1;
  config.from = hook.from;
  config.to = hook.to;
  config.username = hook.username;
  config.channel = hook.slack_channel;
  if (hook.secret) config.secret = resolved(*hook.secret, hook.pointer + "/secret", base_dir);
  if (hook.password)
    config.password = resolved(*hook.password, hook.pointer + "/password", base_dir);
  return config;
}

Watchers::Watchers(const ObservabilitySpec& spec, const std::filesystem::path& base_dir,
                   MigrationOrchestrator& orchestrator)
    : orchestrator_(orchestrator) {
  std::vector<WebhookConfig> hooks;
  for (const WebhookSpec& hook : spec.webhooks)
    at(hook.pointer, [&] { hooks.push_back(webhook_config(hook, base_dir)); });
  if (spec.progress_api && orchestrator.get_progress_tracker() != nullptr)
    at(spec.progress_api->pointer, [&] {
      progress_ = std::make_unique<ProgressApiServer>(
          *orchestrator.get_progress_tracker(),
          ProgressApiServer::Options{http_options(*spec.progress_api, base_dir),
                                     [] { return true; }, orchestrator.session().bandwidth(),
                                     on_bandwidth()});
    });
  if (spec.metrics_api && orchestrator.get_metrics_collector() != nullptr)
    at(spec.metrics_api->pointer, [&] {
      metrics_ = std::make_unique<MetricsServer>(*orchestrator.get_metrics_collector(),
                                                 http_options(*spec.metrics_api, base_dir));
    });
  if (!hooks.empty())
    at("/observability/webhooks", [&] { orchestrator.add_webhooks(std::move(hooks)); });
  if (progress_) progress_->start();
  if (metrics_) metrics_->start();
}

namespace {

bool can_write(const std::filesystem::path& path) {
  return ::access(path.c_str(), W_OK) == 0;
}

/// Whether the audit log can be opened, as far as that shows without making it.
std::optional<Diagnostic> check_audit_log(const AuditLogSpec& log) {
  std::error_code ignored;
  std::filesystem::path place = log.path;
  // The log, else its directory, else what that is made in.
  for (int i = 0; i < 2 && !std::filesystem::exists(place, ignored); ++i)
    place = place.parent_path();
  if (can_write(place)) return std::nullopt;
  Diagnostic diagnostic =
      errno_error(errno, "the audit log " + log.path.string() + " cannot be written").diagnostic();
  diagnostic.severity = log.required ? Severity::kError : Severity::kWarning;
  diagnostic.path = "/observability/audit_log/path";
  diagnostic.detail = place.string() + ": " + diagnostic.detail;
  if (!log.required)
    diagnostic.hint = "VMs are migrated without it, unless audit_log has required: true";
  return diagnostic;
}

}  // namespace

std::vector<Diagnostic> Watchers::check(const ObservabilitySpec& spec,
                                        const std::filesystem::path& base_dir) {
  std::vector<Diagnostic> problems;
  const auto try_it = [&](const std::string& pointer, const auto& f) {
    try {
      at(pointer, f);
    } catch (const Error& failure) {
      problems.push_back(failure.diagnostic());
    }
  };
  if (spec.audit_log)
    if (auto problem = check_audit_log(*spec.audit_log)) problems.push_back(std::move(*problem));
  for (const WebhookSpec& hook : spec.webhooks)
    try_it(hook.pointer, [&] { webhook_config(hook, base_dir); });
  for (const auto* listen : {&spec.progress_api, &spec.metrics_api})
    if (*listen && (*listen)->token)
      try_it((*listen)->pointer,
             [&] { resolved(*(*listen)->token, (*listen)->pointer + "/token", base_dir); });
  return problems;
}

void Watchers::finish() {
  orchestrator_.finish_webhooks();
}

void Watchers::wait_for_scrape(const CancelSource& cancel) const {
  if (!metrics_) return;
  const auto wait = metrics_->next_scrape();
  if (wait.count() == 0 || cancel.cancelled()) return;
  spdlog::info("waiting for Prometheus to fetch the last figures, {} s at most",
               std::chrono::ceil<std::chrono::seconds>(wait).count());
  metrics_->wait_for_scrape(cancel);
}

Watchers::~Watchers() {
  finish();
  if (progress_) progress_->stop();
  if (metrics_) metrics_->stop();
}

std::vector<std::string> Watchers::describe() const {
  std::vector<std::string> lines;
  if (progress_) lines.push_back("progress API and dashboard: " + progress_->url());
  if (metrics_) lines.push_back("metrics: " + metrics_->url() + "/metrics");
  return lines;
}

std::vector<WebhookStats> Watchers::webhook_stats() const {
  const WebhookManager* webhooks = orchestrator_.get_webhook_manager();
  return webhooks != nullptr ? webhooks->stats() : std::vector<WebhookStats>();
}

}  // namespace hyperhost
