// SPDX-License-Identifier: Apache-2.0
// Limits how fast a provider's disk delivers: a filter over its source takes each byte from
// Bandwidth::sources() before it delivers the byte.
#pragma once

#include <memory>

#include "core/base/bandwidth.hpp"
#include "core/plugin/handles.hpp"

namespace hyperhost {

/// Returns the source itself if there is no limit. Otherwise the filter hides locate, because a
/// reader of the file would bypass the limit. in_place: locate stays, because the reader can only
/// read a file.
std::unique_ptr<SourceHandle> throttled(std::unique_ptr<SourceHandle> source,
                                        std::shared_ptr<Bandwidth> bandwidth, bool in_place);

}  // namespace hyperhost
