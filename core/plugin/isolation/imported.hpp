// SPDX-License-Identifier: Apache-2.0
// The calling side of sources and sinks: tables whose functions call the other process. As
// thread-safe as the tables behind them.
#pragma once

#include <memory>

#include "core/plugin/isolation/peer.hpp"

namespace hyperhost::isolation {

// The payload carries the description of a table; the frame carries the object's number.
void write_source(PayloadWriter& out, const hyper_source& table);
void write_sink(PayloadWriter& out, const hyper_sink& table);
/// Fills a table whose functions call object `id` of the other side. The table keeps `peer`.
void import_source(std::shared_ptr<Peer> peer, uint64_t id, PayloadReader& description,
                   hyper_source* out);
void import_sink(std::shared_ptr<Peer> peer, uint64_t id, PayloadReader& description,
                 hyper_sink* out);

}  // namespace hyperhost::isolation
