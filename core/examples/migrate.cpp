// SPDX-License-Identifier: Apache-2.0
// A program that migrates VMs by itself:  migrate PROVIDER OUTPUT_DIR WEBHOOK_URL VM…
// The first VM goes alone, then all of them as a batch, with progress, metrics and a webhook.
#include <core/run/orchestrator.hpp>
#include <core/watch/http/metrics_server.hpp>
#include <core/watch/http/progress_api_server.hpp>
#include <iostream>
#include <nlohmann/json.hpp>

int main(int argc, char** argv) {
  if (argc < 5) return 2;
  hyperhost::OrchestratorConfig config;
  config.enable_audit_logging = true;
  config.audit.path = "audit.log";
  config.enable_webhooks = true;
  config.webhook_configs.emplace_back();
  config.webhook_configs.back().url = argv[3];
  hyperhost::MigrationOrchestrator orchestrator(config);

  auto& tracker = *orchestrator.get_progress_tracker();
  hyperhost::ProgressApiServer progress(tracker, ":0");  // any free port of this machine
  hyperhost::MetricsServer metrics(*orchestrator.get_metrics_collector(), ":0");
  progress.start();
  metrics.start();
  std::cout << "dashboard " << progress.url() << ", metrics " << metrics.url() << "/metrics\n";

  hyperhost::MigrationConfig migration;
  migration.vm_name = argv[4];
  migration.provider = argv[1];
  migration.output_dir = argv[2];
  migration.target_format = "qcow2";
  migration.user = "admin";
  const hyperhost::MigrationResult result = orchestrator.migrate(migration);
  std::cout << result.vm_name << (result.success ? " is migrated: " : " failed: ")
            << (result.success ? result.manifest_path : result.error) << "\n"
            << tracker.get_progress(result.task_id)->percentage << " %\n";

  std::vector<hyperhost::MigrationConfig> batch;
  for (int i = 4; i < argc; ++i) {
    batch.push_back(migration);
    batch.back().vm_name = argv[i];
    batch.back().output_dir = migration.output_dir / "batch";
  }
  for (const auto& one : orchestrator.migrate_batch(batch))
    std::cout << one.vm_name << (one.success ? " succeeded\n" : " failed: " + one.error + "\n");

  orchestrator.close();
  std::cout << orchestrator.get_metrics_collector()->get_stats()["migrations"].dump() << "\n";
  return result.success ? 0 : 1;
}
