// SPDX-License-Identifier: Apache-2.0
// The calling side: tables of sources and sinks whose functions ask the other process. Thread-safe
// as the tables are.
#pragma once

#include <memory>

#include "core/plugin/isolation/peer.hpp"

namespace hyperhost::isolation {

// Descriptions travel as payload; the object's number in the frame.
void write_source(PayloadWriter& out, const hyper_source& table);
void write_sink(PayloadWriter& out, const hyper_sink& table);
/// Fills a table whose functions ask the other side about object `id`. `keep` lives as long.
void import_source(std::shared_ptr<Peer> peer, uint64_t id, PayloadReader& description,
                   hyper_source* out);
void import_sink(std::shared_ptr<Peer> peer, uint64_t id, PayloadReader& description,
                 hyper_sink* out);

}  // namespace hyperhost::isolation
