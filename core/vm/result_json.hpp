// SPDX-License-Identifier: Apache-2.0
// A migration's result as JSON: what `run --output json` and `result` print, what the history
// stores, and what a later run reads back. One codec for all of them. Plain functions; any thread.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "core/vm/migration.hpp"

namespace hyperhost {

nlohmann::json to_json(const DiskResult& disk);
/// Throws Error(kCorrupt) for what is no such object. Members that are missing keep their defaults.
DiskResult disk_result_from(const nlohmann::json& json);

nlohmann::json to_json(const MigrationResult& result);

}  // namespace hyperhost
