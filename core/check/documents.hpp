// SPDX-License-Identifier: Apache-2.0
// What a plugin emits, against the schemas of the SDK; and the SHA-256 that some of it contains.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/check/run.hpp"
#include "core/check/test_disks.hpp"

namespace hyperhost::check {

/// name: of document_schema.hpp. call: what emitted it, e.g. "describe_vm()". {} is what a call
/// that emitted nothing gives: a finding only where members are required.
void expect_document(Run& run, const std::string& name, const nlohmann::json& document,
                     const std::string& call);

/// In hexadecimal digits.
std::string sha256_of(const Bytes& bytes);

}  // namespace hyperhost::check
