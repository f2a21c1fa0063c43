// SPDX-License-Identifier: Apache-2.0
// A provider's disk that delivers no faster than the run may read: a source wrapped so that each
// byte that comes out of it is taken from Bandwidth::sources() first.
#pragma once

#include <memory>

#include "core/base/bandwidth.hpp"
#include "core/plugin/handles.hpp"

namespace hyperhost {

/// The source itself where there is no limit. Otherwise locate is hidden, since whoever opens the
/// file reads past the limit; in_place: it stays, because its reader takes nothing but a file.
std::unique_ptr<SourceHandle> throttled(std::unique_ptr<SourceHandle> source,
                                        std::shared_ptr<Bandwidth> bandwidth, bool in_place);

}  // namespace hyperhost
