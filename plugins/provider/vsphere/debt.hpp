// SPDX-License-Identifier: Apache-2.0
// A change at the server that must be undone: an entry in the host's journal, written before the
// change and settled when the change is undone. One thread at a time.
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
  /// kind: "session", "snapshot", "lease", "power". Throws if the journal cannot be written; the
  /// caller must then not make the change.
  Debt(Session& session, const char* kind, const Ref& vm, const std::string& task_id, Op op,
       const nlohmann::ordered_json& more = {});
  /// Takes over the oldest entry of that kind that killed runs left open for that VM. Settles the
  /// others, which name the same change.
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
  /// An entry that is not settled stays open for cleanup.
  ~Debt() = default;

  void name(const std::string& ref, Op op) { note("ref", ref, op); }
  /// Adds a member to the entry.
  void note(const char* key, const std::string& value, Op op);
  void settle(Op op) noexcept;
  /// A member of the entry.
  std::string at(const char* key) const { return json_.value(key, std::string()); }
  bool flag(const char* key) const { return json_.value(key, nlohmann::ordered_json()) == true; }

 private:
  Debt(uint64_t entry, nlohmann::ordered_json json) : entry_(entry), json_(std::move(json)) {}

  uint64_t entry_ = 0;  // 0 = settled
  nlohmann::ordered_json json_;
};

/// The member `key` of each entry of that kind for that VM that killed runs left open.
std::vector<std::string> left_open(Session& session, const char* kind, const Ref& vm,
                                   const char* key, Op op);

/// Whether the journal's entry belongs to this server.
bool is_of(const Session& session, const nlohmann::ordered_json& entry);

}  // namespace hyper::vsphere

#endif
