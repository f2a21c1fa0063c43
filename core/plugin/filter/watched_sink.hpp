// SPDX-License-Identifier: Apache-2.0
// A sink that reports each write which the sink below has acknowledged.
#pragma once

#include <hyper/sink.h>

#include <functional>

namespace hyperhost {

/// on_written: the write's bytes; any thread; does not throw.
hyper_sink watched(const hyper_sink& table, std::function<void(uint64_t bytes)> on_written);

}  // namespace hyperhost
