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
/// The table of a run: a line a VM, totals, then what each came to: its manifest and the digests of
/// its disks or what failed, and what was warned of.
std::string summary_text(const std::vector<MigrationResult>& results);
/// A line for each webhook that could not deliver everything.
std::string webhooks_text(const std::vector<WebhookStats>& hooks);
/// The plan of a run, disk by disk (--dry-run, validate).
std::string route_text(const VmRoute& route);
int exit_status(const std::vector<MigrationResult>& results);

}  // namespace hyperhost
