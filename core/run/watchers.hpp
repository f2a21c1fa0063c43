// SPDX-License-Identifier: Apache-2.0
// What a plan's `observability` asks for beside the audit log: the progress API with its dashboard,
// the metrics endpoint, webhooks. Started before a run and stopped after it, by the owner's thread.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/plan/plan.hpp"
#include "core/run/orchestrator.hpp"
#include "core/watch/http/metrics_server.hpp"
#include "core/watch/http/progress_api_server.hpp"
#include "core/watch/webhook/webhook_manager.hpp"

namespace hyperhost {

/// A hook of the plan with its secrets resolved. Throws Error. base_dir: of relative {file: PATH}.
WebhookConfig webhook_config(const WebhookSpec& hook, const std::filesystem::path& base_dir);

class Watchers {
 public:
  /// Binds and starts. Throws Error with the plan's key in its path: an address that is taken, a
  /// token or URL that cannot be resolved. base_dir: of relative {file: PATH}.
  Watchers(const ObservabilitySpec& spec, const std::filesystem::path& base_dir,
           MigrationOrchestrator& orchestrator);
  /// Delivers what is queued (ten seconds at most), gives streams their last state, stops.
  ~Watchers();
  Watchers(const Watchers&) = delete;
  Watchers& operator=(const Watchers&) = delete;
  /// What would keep it from starting, as far as that shows without binding or sending anything.
  static std::vector<Diagnostic> check(const ObservabilitySpec& spec,
                                       const std::filesystem::path& base_dir);
  /// Delivers what webhooks have queued (ten seconds at most); from then on they get nothing
  /// and webhook_stats() is final. The servers still answer.
  void finish();

  /// Keeps the metrics up until a Prometheus that scrapes them has seen the run's end: its interval
  /// at most, not at all where none scrapes.
  void wait_for_scrape(const CancelSource& cancel) const;

  /// "progress API and dashboard: http://127.0.0.1:8080" …, for the log.
  std::vector<std::string> describe() const;
  std::vector<WebhookStats> webhook_stats() const;

 private:
  std::function<void(const HttpRequest&, const std::string&, uint64_t, uint64_t)> on_bandwidth()
      const;
  HttpServerOptions http_options(const ListenSpec& listen, const std::filesystem::path& base_dir);

  MigrationOrchestrator& orchestrator_;
  std::unique_ptr<ProgressApiServer> progress_;
  std::unique_ptr<MetricsServer> metrics_;
};

}  // namespace hyperhost
