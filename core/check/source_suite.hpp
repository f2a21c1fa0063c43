// SPDX-License-Identifier: Apache-2.0
// What holds for every hyper_source, whatever opened it: reads equal each other however they are
// made, extents tell the truth, spans come back, cancel is heard. Runs in a case's process.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/check/run.hpp"
#include "core/check/test_disks.hpp"

namespace hyperhost::check {

/// Opens the same source again; flags: HYPER_OPEN_SEEK or HYPER_OPEN_STREAM.
using OpenSource = std::function<std::unique_ptr<SourceHandle>(Operation&, uint32_t flags)>;

/// expected: what it must read as, where that is known. what: how findings call it. twice: it may
/// be open several times at once, and is.
void check_source(Run& run, const std::string& what, const OpenSource& open,
                  const Bytes* expected = nullptr, bool twice = false);

/// Reads until the end or 20 s, cancelled after a moment: every call returns within 2 s of it.
void check_source_cancel(Run& run, const std::string& what, const OpenSource& open);

}  // namespace hyperhost::check
