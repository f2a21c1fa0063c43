// SPDX-License-Identifier: Apache-2.0
// hyperexport's flags, and the plan that they stand for. Plain values.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "core/plan/plan.hpp"
#include "hosts/hyperhost/source_flags.hpp"

namespace hyperhost {

struct ExportFlags {
  std::string vm, output = ".", name;
  SourceFlags source;  ///< where the VM is
  // What becomes of it.
  bool convert = false, manifest = true, overwrite = false;
  std::string format, compression, verify, converter;
  std::string prepare;     ///< "BUS[,PLUGIN…]", of the new machine; "" = the guest stays as it is
  std::string boot_check;  ///< how far the guest has to come; "" = no check
  std::vector<std::string> disks;
  // Where it goes.
  std::string upload;
  std::vector<std::string> storage_options;
  bool keep_local = true;
  // Who is notified.
  WatchFlags watch;
  std::string webhook_url, webhook_type = "generic", webhook_secret;
  bool webhook_on_start = false, webhook_on_complete = true, webhook_on_error = true;
  bool webhook_on_warning = false;
  std::string user;
  std::vector<std::string> overrides;
};

void add_export_flags(CLI::App& app, ExportFlags& flags);

/// The plan, each key with the flag it comes from. Throws Error for flags that contradict.
std::vector<PlanFlag> plan_of(const ExportFlags& flags);

/// Puts a message about that plan into the words of the flags.
void in_flags(Diagnostic& diagnostic);

}  // namespace hyperhost
