// SPDX-License-Identifier: Apache-2.0
// A filter over a sink that reports each write that the sink below has acknowledged.
#pragma once

#include <hyper/sink.h>

#include <functional>

namespace hyperhost {

/// on_written gets the number of bytes of the write, on any thread. It must not throw.
hyper_sink watched(const hyper_sink& table, std::function<void(uint64_t bytes)> on_written);

}  // namespace hyperhost
