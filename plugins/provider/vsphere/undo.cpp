// SPDX-License-Identifier: Apache-2.0
// Undoes the changes of a killed run that its journal entries name: sessions (and the leases that
// end with them), leases, snapshots, power states. It touches nothing that an entry does not name.
#include <nlohmann/json.hpp>

#include "connection.hpp"
#include "debt.hpp"
#include "power.hpp"
#include "snapshot.hpp"

namespace hyper::vsphere {
namespace {

/// Ends the session of that fingerprint. Succeeds also if the session has ended already.
void end_session(Session& session, const std::string& fingerprint, Op op) {
  const Ref& manager = session.content().session_manager;
  const std::string what = "cannot list the server's sessions";
  Retrieved got = retrieve_one(session, manager, {"sessionList"}, what, op);
  std::string why = got.object.missing("sessionList");
  if (why.empty() && !child(got.object.at("sessionList"), "UserSession")) {
    // The list should contain this session: some servers send an empty list after it has ended.
    session.call("CurrentTime", {"ServiceInstance", "ServiceInstance"}, {}, what, op);
    got = retrieve_one(session, manager, {"sessionList"}, what, op);
    why = got.object.missing("sessionList");
    if (why.empty() && !child(got.object.at("sessionList"), "UserSession"))
      throw Error(HYPER_CORRUPT, what, "its list is empty").retryable();
  }
  if (!why.empty()) {
    op.note(Error(HYPER_OK,
                  "a killed run's session may be left; it ends by itself after half an hour", why)
                .hint("With the privilege Sessions.TerminateSession it would be ended now."));
    return;
  }
  each(got.object.at("sessionList"), "UserSession", [&](const pugi::xml_node& one) {
    const std::string key = text(one, "key");
    if (fingerprint_of(key) != fingerprint) return;
    Args args;
    args.text("sessionId", key);
    try {
      session.call("TerminateSession", manager, args, "cannot end a killed run's session", op);
    } catch (const Fault& fault) {
      if (!fault.is("NotFound") && !fault.is("ManagedObjectNotFound")) throw;
    }
  });
}

void end_lease(Session& session, const std::string& ref, Op op) {
  if (ref.empty()) return;  // the run never learned the reference; it ends with its session
  try {
    session.call("HttpNfcLeaseAbort", {"HttpNfcLease", ref}, {}, "cannot end a lease", op);
  } catch (const Fault& fault) {
    // The lease is gone, belongs to another session (which has ended), or is complete.
    if (!fault.is("ManagedObjectNotFound") && !fault.is("InvalidState") &&
        !fault.is("NotAuthenticated"))
      throw;
  }
}

}  // namespace

void Connection::undo(Op op, const Doc& document) {
  const auto entry = nlohmann::ordered_json::parse(document.json(), nullptr, false);
  if (!entry.is_object()) throw Error(HYPER_CORRUPT, "this journal entry is no JSON object");
  const auto field = [&](const char* key) {
    const auto found = entry.find(key);
    return found != entry.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  if (!is_of(session_, entry)) throw Reported(HYPER_UNSUPPORTED);

  const std::string kind = field("kind");
  const Ref vm{"VirtualMachine", field("vm")};
  try {
    if (kind == "session") {
      end_session(session_, field("ref"), op);
    } else if (kind == "lease") {
      end_lease(session_, field("ref"), op);
    } else if (kind == "snapshot") {
      // Only a snapshot of this plugin: its name is the one for the entry's task.
      if (field("name").empty() || field("name") != snapshot_name(field("task_id")))
        throw Error(HYPER_CORRUPT, "this journal entry names no snapshot of ours");
      // A creation continues after its run was killed. The tree is right when the creation has
      // ended.
      if (field("ref").empty()) wait_for_creation(session_, vm, {"Task", field("task")}, op);
      remove_snapshot(session_, vm, field("ref"), field("name"), op);
    } else if (kind == "power") {
      if (entry.value("restore", nlohmann::ordered_json()) == true && field("was") == "on")
        power_on(session_, vm, op);
    } else {
      throw Error(HYPER_UNSUPPORTED, "this journal entry is of an unknown kind", kind);
    }
  } catch (const Fault& fault) {
    if (!fault.is("ManagedObjectNotFound")) throw;  // the VM is gone, and the change with it
  }
}

}  // namespace hyper::vsphere
