// SPDX-License-Identifier: Apache-2.0
#include "debt.hpp"

#include <vector>

namespace hyper::vsphere {
namespace {
std::string word(const nlohmann::ordered_json& entry, const char* key) {
  const auto found = entry.find(key);
  return found != entry.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::vector<nlohmann::ordered_json> abandoned(Session& session, const char* kind, const Ref& vm,
                                              Op op) {
  std::vector<nlohmann::ordered_json> out;
  if (!Journal::kept(op)) return out;
  Journal::each(op, "vsphere", [&](const std::string& text) {
    auto entry = nlohmann::ordered_json::parse(text, nullptr, false);
    if (entry.is_object() && word(entry, "kind") == kind && word(entry, "vm") == vm.id &&
        entry.value("abandoned", nlohmann::ordered_json()) == true && is_of(session, entry))
      out.push_back(std::move(entry));
  });
  return out;
}

/// The entry's number; what is left is what it was opened with.
uint64_t take_number(nlohmann::ordered_json& entry) {
  const auto number = entry["entry"].get<uint64_t>();
  entry.erase("entry");
  entry.erase("abandoned");
  return number;
}
}  // namespace

std::vector<std::string> left_open(Session& session, const char* kind, const Ref& vm,
                                   const char* key, Op op) {
  std::vector<std::string> out;
  for (const auto& entry : abandoned(session, kind, vm, op)) out.push_back(word(entry, key));
  return out;
}

std::vector<Debt> Debt::all_taken_over(Session& session, const char* kind, const Ref& vm, Op op) {
  std::vector<Debt> out;
  for (nlohmann::ordered_json& entry : abandoned(session, kind, vm, op)) {
    const uint64_t number = take_number(entry);
    Journal::update(op, number, entry.dump());
    out.push_back(Debt(number, std::move(entry)));
  }
  return out;
}

bool is_of(const Session& session, const nlohmann::ordered_json& entry) {
  const std::string& uuid = session.content().instance_uuid;
  const std::string server = word(entry, "server");
  return !uuid.empty() && !server.empty()
             ? server == uuid
             : word(entry, "where") == session.settings().endpoint.authority;
}

std::optional<Debt> Debt::taken_over(Session& session, const char* kind, const Ref& vm, Op op) {
  std::optional<Debt> first;
  for (nlohmann::ordered_json& entry : abandoned(session, kind, vm, op)) {
    const uint64_t number = take_number(entry);
    if (first) {
      Journal::close(op, number);
    } else {
      Journal::update(op, number, entry.dump());
      first = Debt(number, std::move(entry));
    }
  }
  return first;
}

Debt::Debt(Session& session, const char* kind, const Ref& vm, const std::string& task_id, Op op,
           const nlohmann::ordered_json& more)
    : json_({{"plugin", "vsphere"},
             {"kind", kind},
             {"where", session.settings().endpoint.authority},
             {"server", session.content().instance_uuid},
             {"vm", vm.id},
             {"ref", ""},
             {"task_id", task_id}}) {
  if (more.is_object()) json_.update(more);
  entry_ = Journal::open(op, json_.dump());
}

void Debt::note(const char* key, const std::string& value, Op op) {
  json_[key] = value;
  if (entry_ != 0) Journal::update(op, entry_, json_.dump());
}

void Debt::settle(Op op) noexcept {
  const uint64_t entry = std::exchange(entry_, 0);
  if (entry == 0) return;
  try {
    Journal::close(op, entry);
  } catch (...) {  // cleanup will find that nothing is left to undo
  }
}

}  // namespace hyper::vsphere
