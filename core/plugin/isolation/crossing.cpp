// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/isolation/crossing.hpp"

#include "core/plugin/documents.hpp"

namespace hyperhost::isolation {

void Arguments::put(const char* text) {
  const uint32_t given = text != nullptr ? 1 : 0;
  call_.arguments().bytes(&given, sizeof given).text(text == nullptr ? "" : text);
}

void Arguments::put(const hyper_doc* document) {
  call_.arguments().text(document == nullptr ? std::string() : document->json.dump());
}

void Arguments::put(const hyper_source* source) {
  lendings_.source.emplace(to_.peer, *source);
  put(lendings_.source->id());
  write_source(call_.arguments(), *source);
}

void Arguments::put(const hyper_sink* sink) {
  lendings_.sink.emplace(to_.peer, *sink);
  put(lendings_.sink->id());
  write_sink(call_.arguments(), *sink);
}

void Arguments::put(uint32_t count) {
  call_.arguments().bytes(&count, sizeof count);
  for (uint32_t i = 0; i < count; ++i) {
    const auto& lent = lendings_.blocks.emplace_back(to_.peer, blocks_[i]);
    put(lent.id());
    write_block(call_.arguments(), blocks_[i]);
  }
  call_.arguments().bytes(&count, sizeof count);  // the argument after the blocks
}

void Arguments::take(hyper_source* source) {
  PayloadReader description(call_.lane(), call_.answer);
  import_source(to_.peer, call_.answer.object, description, source);
}

void Arguments::take(hyper_sink* sink) {
  PayloadReader description(call_.lane(), call_.answer);
  import_sink(to_.peer, call_.answer.object, description, sink);
}

hyper_doc document_in(Incoming& call) {
  const std::string text = call.in.text();
  if (call.peer.is_host()) {
    auto parsed = parse_document(text);
    return hyper_doc{parsed ? std::move(*parsed) : nlohmann::json()};
  }
  auto value = nlohmann::json::parse(text, nullptr, false);
  return hyper_doc{value.is_discarded() ? nlohmann::json::object() : std::move(value)};
}

std::shared_ptr<OfferedSource> new_source() {
  auto made = std::make_shared<OfferedSource>();
  made->table.size = sizeof made->table;
  return made;
}

hyper_st offer(Incoming& call, const std::shared_ptr<OfferedSource>& opened, hyper_st status) {
  if (status != HYPER_OK) {
    opened->table = {};
    return status;
  }
  opened->owned = true;
  PayloadWriter out(call.lane);
  write_source(out, opened->table);
  call.answer.payload = out.size();
  call.answer.object = call.peer.add(opened);
  if (call.through != nullptr) call.through->add(call.answer.object, opened);
  return HYPER_OK;
}

hyper_st Received<hyper_sink*>::end(Incoming& call, hyper_st status) {
  if (status != HYPER_OK) {
    opened->table = {};
    return status;
  }
  opened->owned = true;
  PayloadWriter out(call.lane);
  write_sink(out, opened->table);
  call.answer.payload = out.size();
  call.answer.object = call.peer.add(opened);
  return HYPER_OK;
}

hyper_st Received<void**>::end(Incoming& call, hyper_st status) {
  if (status != HYPER_OK) return status;
  auto made = std::make_shared<Held>();
  made->self = self;
  call.answer.object = call.peer.add(std::move(made));
  return HYPER_OK;
}

namespace {
/// Only a worker imports tables this way, and its peer is never destroyed.
std::shared_ptr<Peer> not_owned(Peer& peer) {
  return {std::shared_ptr<void>(), &peer};
}
}  // namespace

template <>
HostTable<hyper_source>::HostTable(Incoming& call) {
  table_.size = sizeof table_;
  const auto id = call.in.pod<uint64_t>();
  import_source(not_owned(call.peer), id, call.in, &table_);
}

template <>
HostTable<hyper_sink>::HostTable(Incoming& call) {
  table_.size = sizeof table_;
  const auto id = call.in.pod<uint64_t>();
  import_sink(not_owned(call.peer), id, call.in, &table_);
}

HostBlocks::HostBlocks(Incoming& call) {
  for (auto left = call.in.pod<uint32_t>(); left > 0; --left) {
    const auto id = call.in.pod<uint64_t>();
    tables_.push_back(import_block(not_owned(call.peer), id, call.in));
  }
}

HostBlocks::~HostBlocks() {
  for (hyper_block& table : tables_) forget_block(table);
}

}  // namespace hyperhost::isolation
