// SPDX-License-Identifier: Apache-2.0
// The end of a run, for people and for programs.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/vm/migration.hpp"
#include "core/vm/route.hpp"
#include "core/watch/webhook/webhook_manager.hpp"

namespace hyperhost {

nlohmann::json webhook_json(const WebhookStats& hook);
/// The end of a run, 80 columns wide: first what was not migrated, each VM with its error and what
/// to do; then a row for each VM that was, warnings, what webhooks lost, and one line of totals.
/// verbose: every VM, with its manifest and the digests of its disks.
std::string summary_text(const std::vector<MigrationResult>& results,
                         const std::vector<WebhookStats>& hooks, bool verbose);
/// A line for each webhook that could not deliver everything.
std::string webhooks_text(const std::vector<WebhookStats>& hooks);
/// The plan of a run, disk by disk (--dry-run, validate).
std::string route_text(const VmRoute& route);
int exit_status(const std::vector<MigrationResult>& results);

}  // namespace hyperhost
