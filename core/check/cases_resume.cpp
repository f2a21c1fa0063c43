// SPDX-License-Identifier: Apache-2.0
// hyper.converter/1: states that a conversion saves, and one that continues from each of them.
#include <algorithm>

#include "core/check/conversion.hpp"

namespace hyperhost::check {
namespace {

constexpr uint64_t kDisk = 8u << 20;

nlohmann::json every(uint64_t bytes) {
  return {{"interval_bytes", bytes}, {"interval_ms", 0}};
}

/// A kind of sink that can be opened again with what is in it; "" = the plan has none.
std::string resumable(const Planned& plan) {
  for (const char* kind : {"random", "append"})
    if (std::find(plan.sinks.begin(), plan.sinks.end(), kind) != plan.sinks.end()) return kind;
  return {};
}

/// Stops at the sink's byte `at` and continues from the last state that was saved before.
/// False: it saved none.
bool interrupted(Run& run, const OpenedConverter& opened, const Planned& plan,
                 const std::string& kind, uint64_t at) {
  Conversion first = opened.conversion(run, plan);
  first.sink.kind = kind;
  first.checkpoint = every(1u << 20);
  first.source.fails_at = at;
  run.expect_error(first.name() + " of a disk that cannot be read",
                   [&] { static_cast<void>(first.convert()); }, {Code::kIo});
  if (first.state.empty()) return false;
  Conversion second = opened.conversion(run, plan);
  second.sink.kind = kind;
  second.checkpoint = every(1u << 20);
  second.checkpoint["state"] = nlohmann::json::parse(first.state);
  // Behind what the state relies on there is nothing: the host cut it off.
  second.begin_with = first.durable;
  run.at(second.name() + " from the state " + first.state.substr(0, 150));
  second.expect_right();
  return true;
}

}  // namespace

void case_converter_resume(Run& run) {
  const OpenedConverter opened(run, kDisk);
  bool saved = false;
  for (const Planned& plan : opened.planned) {
    const std::string kind = resumable(plan);
    if (plan.source == "file" || kind.empty()) continue;
    for (const uint64_t at : {kDisk / 3, kDisk - 4096})
      saved = interrupted(run, opened, plan, kind, at) || saved;
    if (!saved) continue;
    Conversion strange = opened.conversion(run, plan);
    strange.sink.kind = kind;
    strange.checkpoint = every(1u << 20);
    strange.checkpoint["state"] = {{"kind", "hyperhost-check/1"}, {"length", 512}, {"x", {1, 2}}};
    strange.begin_with = Bytes(512, 1);
    run.expect_error(strange.name() + " from a state that it never saved",
                     [&] { static_cast<void>(strange.convert()); }, {Code::kUnsupported});
    break;  // the states of one target are enough
  }
  if (!saved) run.note("it saves no states: an interrupted disk begins again");
}

}  // namespace hyperhost::check
