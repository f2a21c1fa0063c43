// SPDX-License-Identifier: Apache-2.0
// The calling side of sources, sinks and blocks: tables whose functions call the other process. As
// thread-safe as the tables behind them.
#pragma once

#include <hyper/draft/block.h>

#include <memory>

#include "core/plugin/isolation/peer.hpp"

namespace hyperhost::isolation {

// The payload carries the description of a table; the frame carries the object's number.
void write_source(PayloadWriter& out, const hyper_source& table);
void write_sink(PayloadWriter& out, const hyper_sink& table);
void write_block(PayloadWriter& out, const hyper_block& table);
/// Fills a table whose functions call object `id` of the other side. The table keeps `peer`.
void import_source(std::shared_ptr<Peer> peer, uint64_t id, PayloadReader& description,
                   hyper_source* out);
void import_sink(std::shared_ptr<Peer> peer, uint64_t id, PayloadReader& description,
                 hyper_sink* out);
/// A block has no close(): forget_block() ends it here.
hyper_block import_block(std::shared_ptr<Peer> peer, uint64_t id, PayloadReader& description);
void forget_block(hyper_block& table);

}  // namespace hyperhost::isolation
