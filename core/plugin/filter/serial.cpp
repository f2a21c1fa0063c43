// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/filter/serial.hpp"

#include <hyper/filter.hpp>
#include <utility>

namespace hyperhost {
namespace {

template <class Self, class Table>
struct Serial : hyper::Filter<Self, Table> {
  explicit Serial(std::shared_ptr<SerialGate> way_in) : gate(std::move(way_in)) {}
  auto enter() { return gate->enter(); }
  const std::shared_ptr<SerialGate> gate;
};

struct SerialSource final : Serial<SerialSource, hyper_source> {
  using Serial::Serial;
  void change(hyper_source& table) {
    table.max_parallel = 1;
    replace<&SerialSource::sibling>(table.sibling);
  }
  hyper_st sibling(hyper_op* op, uint32_t flags, const char* name, hyper_source* out) {
    const auto held = enter();
    return open_over(
        out,
        [&](hyper_source* opened) { return below().sibling(below().ctx, op, flags, name, opened); },
        gate);
  }
};

struct SerialSink final : Serial<SerialSink, hyper_sink> {
  using Serial::Serial;
  void change(hyper_sink& table) {
    table.max_parallel = 1;
    replace<&SerialSink::reopen>(table.reopen);
  }
  hyper_st reopen(hyper_op* op, uint32_t flags, uint64_t length, hyper_source* out) {
    const auto held = enter();
    return SerialSource::open_over(
        out,
        [&](hyper_source* opened) {
          return below().reopen(below().ctx, op, flags, length, opened);
        },
        gate);
  }
};

}  // namespace

SerialGate::SerialGate(const Plugin& plugin, std::shared_ptr<SerialGate> reads_from)
    : plugin_(plugin), reads_from_(std::move(reads_from)) {}

SerialGate::OwnUse::OwnUse(const Plugin& user, const std::shared_ptr<SerialGate>& gate)
    : gate_(gate && &gate->plugin_ == &user ? gate.get() : nullptr) {
  if (gate_ != nullptr) ++gate_->own_uses_;
}

SerialGate::OwnUse::~OwnUse() {
  if (gate_ != nullptr) --gate_->own_uses_;
}

SerialGate::Entered SerialGate::enter() const {
  return {own_uses_ != 0 ? std::unique_lock<std::recursive_mutex>() : plugin_.enter(),
          OwnUse(plugin_, reads_from_)};
}

hyper_source serialized(const hyper_source& table, std::shared_ptr<SerialGate> gate) {
  return SerialSource::over(table, std::move(gate));
}

hyper_sink serialized(const hyper_sink& table, std::shared_ptr<SerialGate> gate) {
  return SerialSink::over(table, std::move(gate));
}

}  // namespace hyperhost
