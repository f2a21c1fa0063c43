// SPDX-License-Identifier: Apache-2.0
// What is owed to the server: an entry in the host's journal, written before a change and settled
// once it is undone. One thread at a time.
#ifndef HYPERHOST_PLUGINS_VSPHERE_DEBT_HPP
#define HYPERHOST_PLUGINS_VSPHERE_DEBT_HPP

#include <hyper/op.hpp>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "session.hpp"

namespace hyper::vsphere {

class Debt {
 public:
  /// kind: "session", "snapshot", "lease", "power". Throws where the journal cannot be written:
  /// the change must not be made then.
  Debt(Session& session, const char* kind, const Ref& vm, const std::string& task_id, Op op,
       const nlohmann::ordered_json& more = {});
  /// Takes over what killed runs left open of that kind for that VM: the oldest, while the others,
  /// which say the same, are settled.
  static std::optional<Debt> taken_over(Session& session, const char* kind, const Ref& vm, Op op);
  /// Every entry of that kind for that VM that killed runs left open, the oldest first: this run's
  /// from now on.
  static std::vector<Debt> all_taken_over(Session& session, const char* kind, const Ref& vm, Op op);
  Debt(Debt&& other) noexcept : entry_(other.entry_), json_(std::move(other.json_)) {
    other.entry_ = 0;
  }
  Debt& operator=(Debt&& other) noexcept {
    entry_ = std::exchange(other.entry_, 0);
    json_ = std::move(other.json_);
    return *this;
  }
  /// Left open: for cleanup.
  ~Debt() = default;

  void name(const std::string& ref, Op op) { note("ref", ref, op); }
  /// Writes one more thing into the entry.
  void note(const char* key, const std::string& value, Op op);
  void settle(Op op) noexcept;
  /// What it was opened with.
  std::string at(const char* key) const { return json_.value(key, std::string()); }
  bool flag(const char* key) const { return json_.value(key, nlohmann::ordered_json()) == true; }

 private:
  Debt(uint64_t entry, nlohmann::ordered_json json) : entry_(entry), json_(std::move(json)) {}

  uint64_t entry_ = 0;  // 0 = settled
  nlohmann::ordered_json json_;
};

/// What killed runs left open of that kind for that VM: their entries' member `key`.
std::vector<std::string> left_open(Session& session, const char* kind, const Ref& vm,
                                   const char* key, Op op);

/// Whether the journal's entry speaks of this server.
bool is_of(const Session& session, const nlohmann::ordered_json& entry);

}  // namespace hyper::vsphere

#endif
