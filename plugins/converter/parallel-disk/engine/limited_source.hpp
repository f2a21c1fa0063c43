// SPDX-License-Identifier: Apache-2.0
// A source that allows few calls at once, made safe for any number of threads: parsers read tables
// while workers read data. Its siblings are made so too.
#pragma once

#include <memory>

#include <hyper/source.hpp>

namespace hyper::disk {

/// `source` outlives what is returned.
std::unique_ptr<OwnedSource> limit_source(const SourceRef& source);

}  // namespace hyper::disk
