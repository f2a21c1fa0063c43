// SPDX-License-Identifier: Apache-2.0
// Keeps the promise of HYPER_THREADS_SERIAL where one plugin calls another directly: a source of a
// serial plugin, wrapped so that each call into it holds that plugin's lock.
#pragma once

#include <memory>

#include "core/plugin/handles.hpp"

namespace hyperhost {

/// The source itself where its plugin takes parallel calls.
std::unique_ptr<SourceHandle> serialized(std::unique_ptr<SourceHandle> source,
                                         const Plugin& plugin);

}  // namespace hyperhost
