// SPDX-License-Identifier: Apache-2.0
// Flags that name where VMs are, without a plan: of hyperexport, and of `list` and `describe`. Each
// becomes keys of the provider "source" in a plan. Plain values.
#pragma once

#include <string>
#include <vector>

#include "hosts/hyperhost/plan_flags.hpp"

namespace hyperhost {

struct SourceFlags {
  std::string provider, path, endpoint, username, password, ca_file;
  std::vector<std::string> options;

  /// Whether a flag says where the VMs are. Environment variables only complete what flags begin.
  bool given() const {
    return !path.empty() || !endpoint.empty() || !username.empty() || !options.empty();
  }
};

/// Without --provider, whose meaning differs between programs.
void add_source_flags(CLI::App& app, SourceFlags& flags);

/// The provider "source" of a plan; GOVC_URL, GOVC_USERNAME, GOVC_PASSWORD and GOVC_INSECURE stand
/// in for what a vSphere source leaves out. Throws Error for flags that contradict.
void add_source(const SourceFlags& flags, std::vector<PlanFlag>& plan);

/// "the key 'endpoint' is missing" of that provider: becomes the flag that gives it.
void name_missing_flag(Diagnostic& diagnostic);

/// KEY=VALUE under `prefix`; VALUE is YAML, and env:NAME or file:PATH is a secret.
PlanFlag option_flag(const std::string& flag, const std::string& prefix,
                     const std::string& argument);

}  // namespace hyperhost
