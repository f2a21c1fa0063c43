// SPDX-License-Identifier: Apache-2.0
// A fault of the server as a hyper::Error. Code decides by its kind (the fault's xsi:type), never
// by its text, which is translated.
#ifndef HYPERHOST_PLUGINS_VSPHERE_FAULT_HPP
#define HYPERHOST_PLUGINS_VSPHERE_FAULT_HPP

#include <hyper/error.hpp>
#include <string>

#include "xml.hpp"

namespace hyper::vsphere {

class Fault : public Error {
 public:
  /// what_failed: "cannot make a snapshot of 'web-01'".
  Fault(const std::string& what_failed, std::string kind, const std::string& message,
        const std::string& more = {});
  const std::string& kind() const { return kind_; }
  bool is(const char* kind) const { return kind_ == kind; }
  /// Whether another client holds the object at the moment.
  bool passing() const;

 private:
  std::string kind_;
};

/// From <soapenv:Fault>.
Fault soap_fault(const std::string& what_failed, const pugi::xml_node& fault);
/// From a LocalizedMethodFault (of a task or a lease).
Fault method_fault(const std::string& what_failed, const pugi::xml_node& error);

}  // namespace hyper::vsphere

#endif
