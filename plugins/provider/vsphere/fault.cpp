// SPDX-License-Identifier: Apache-2.0
#include "fault.hpp"

#include <algorithm>
#include <iterator>

namespace hyper::vsphere {
namespace {

struct Known {
  const char* kind;
  hyper_st status;
  bool retry;
  const char* hint;
};

constexpr Known kKnown[] = {
    {"InvalidLogin", HYPER_AUTH, false,
     "Check username and password, and that the account is not locked: servers lock one after a "
     "few "
     "refused logins. The same password is not tried again for five minutes. A token may have "
     "expired."},
    {"NoPermission", HYPER_AUTH, false,
     "Give the user the privilege named here; the plugin's README lists all that are needed."},
    {"NotAuthenticated", HYPER_IO, true, "The session ended; the next try logs in again."},
    {"RestrictedVersion", HYPER_UNSUPPORTED, false,
     "The host's licence allows its API to be read only. Go through a vCenter server, or use "
     "another licence."},
    {"NotSupported", HYPER_UNSUPPORTED, false, ""},
    {"MethodNotFound", HYPER_UNSUPPORTED, false, ""},
    {"ManagedObjectNotFound", HYPER_NOTFOUND, false, "It was removed meanwhile."},
    {"TaskInProgress", HYPER_BUSY, true, "Another task works on this VM; wait for its end."},
    {"ConcurrentAccess", HYPER_BUSY, true, "Another client changes this VM at the moment."},
    {"FileLocked", HYPER_BUSY, true, "Another program (a backup?) has the disk open."},
    {"ResourceInUse", HYPER_BUSY, true, "Another program uses it at the moment."},
    {"InvalidState", HYPER_BUSY, true, "Another operation on this VM has to end first."},
    {"Timedout", HYPER_IO, true, ""},
    {"HostCommunication", HYPER_IO, true, "vCenter does not reach the ESXi host."},
    {"HostNotConnected", HYPER_IO, true, "vCenter does not reach the ESXi host."},
    {"HostNotReachable", HYPER_IO, true, "vCenter does not reach the ESXi host."},
    {"NoDiskSpace", HYPER_NOSPACE, false, "The VM's datastore is full."},
    {"InsufficientStorageSpace", HYPER_NOSPACE, false, "The VM's datastore is full."},
    {"InvalidPowerState", HYPER_FAIL, true, "The VM's power state changed meanwhile."},
    {"ToolsUnavailable", HYPER_FAIL, false,
     "VMware Tools do not run in the guest: shut it down by hand, or set shutdown_fallback: "
     "power-off."},
};

const Known* known(const std::string& kind) {
  const auto* found = std::find_if(std::begin(kKnown), std::end(kKnown),
                                   [&](const Known& one) { return kind == one.kind; });
  return found == std::end(kKnown) ? nullptr : found;
}

std::string detail_of(const std::string& kind, const std::string& message,
                      const std::string& more) {
  std::string out = kind.empty() ? std::string("unnamed fault") : shown_text(kind, 100);
  if (!message.empty()) out += ": " + shown_text(message, 1000);
  if (!more.empty()) out += " (" + shown_text(more, 300) + ")";
  return out;
}

/// The details of a fault beside its kind: the privilege, the property.
std::string particulars(const pugi::xml_node& fault) {
  std::string out;
  for (const char* name : {"privilegeId", "name", "property", "invalidProperty"}) {
    const std::string value = text(fault, name);
    if (!value.empty()) out += (out.empty() ? "" : ", ") + std::string(name) + " " + value;
  }
  return out;
}

}  // namespace

Fault::Fault(const std::string& what_failed, std::string kind, const std::string& message,
             const std::string& more)
    : Error(known(kind) == nullptr ? HYPER_FAIL : known(kind)->status, what_failed,
            detail_of(kind, message, more)),
      kind_(std::move(kind)) {
  const Known* entry = known(kind_);
  if (entry == nullptr) return;
  if (entry->hint[0] != '\0') hint(entry->hint);
  if (entry->retry) retryable();
}

bool Fault::passing() const {
  return status() == HYPER_BUSY;
}

Fault soap_fault(const std::string& what_failed, const pugi::xml_node& fault) {
  pugi::xml_node inner;
  each(child(fault, "detail"), "", [&](const pugi::xml_node& one) {
    if (!inner) inner = one;
  });
  std::string kind = xsi_type(inner);
  if (kind.empty() && inner) {  // <InvalidLoginFault> without a type
    kind = local_name(inner.name());
    if (kind.size() > 5 && kind.substr(kind.size() - 5) == "Fault") kind.resize(kind.size() - 5);
  }
  if (kind.empty()) kind = text(fault, "faultcode");
  return Fault(what_failed, kind, text(fault, "faultstring"), particulars(inner));
}

Fault method_fault(const std::string& what_failed, const pugi::xml_node& error) {
  const pugi::xml_node inner = child(error, "fault");
  return Fault(what_failed, xsi_type(inner), text(error, "localizedMessage"), particulars(inner));
}

}  // namespace hyper::vsphere
