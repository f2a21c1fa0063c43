// SPDX-License-Identifier: Apache-2.0
// The sources of VMs that a command line names: those of a plan, or one by flags (`list`,
// `describe`, `serve-disk`). One thread.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/migrate/session.hpp"
#include "core/vm/vm_description.hpp"
#include "hosts/hyperhost/context.hpp"
#include "hosts/hyperhost/source_flags.hpp"

namespace hyperhost {

struct InventoryOptions {
  std::string plan, vm;
  std::vector<std::string> words;  ///< [PLAN] [VM], as far as no flag says it
  SourceFlags source;
  std::vector<std::string> overrides;
};

/// Which of the words is the plan, and which the VM.
void sort_words(InventoryOptions& options, bool needs_vm);

/// --plan, --provider, --set and the flags of a source.
void add_source_options(CLI::App& command, InventoryOptions& options);

/// The session that the plan or the flags ask for.
class Inventory {
 public:
  Inventory(Context& context, const InventoryOptions& options, SessionServices services = {});

  Session& session() { return *session_; }
  const std::map<std::string, PluginChoice>& providers() const { return providers_; }
  /// The name of the only provider. Throws Error(kConfig) where there are several.
  const std::string& provider() const;
  /// What the plan's `defaults` say of guests; nothing where they ask for no preparation.
  const std::optional<MigrationConfig>& guests() const { return guests_; }

 private:
  std::map<std::string, PluginChoice> providers_;
  std::optional<MigrationConfig> guests_;
  std::unique_ptr<Session> session_;
};

/// Throws Error where a disk can only be streamed.
void check_seekable(const VmDescription& vm, const DiskDescription& disk);

}  // namespace hyperhost
