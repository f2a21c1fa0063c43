// SPDX-License-Identifier: Apache-2.0
// Reading properties of managed objects through the property collector: of one object, or of all of
// some types below a folder, page by page so that memory does not grow with the inventory.
#ifndef HYPERHOST_PLUGINS_VSPHERE_PROPERTIES_HPP
#define HYPERHOST_PLUGINS_VSPHERE_PROPERTIES_HPP

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "session.hpp"

namespace hyper::vsphere {

/// One object's properties, valid while the answer they are in lives.
class Object {
 public:
  explicit Object(pugi::xml_node node) : node_(node) {}
  Ref ref() const { return ref_in(child(node_, "obj")); }
  /// The <val> of a property; an empty node where it is not set.
  pugi::xml_node at(std::string_view path) const;
  std::string text(std::string_view path) const { return vsphere::text(at(path)); }
  /// The property could not be read; its fault's kind, or "". A property that this server does not
  /// know counts as one that is not set.
  std::string missing(std::string_view path) const;
  /// As at(); throws a Fault where the property could not be read: what is not known must not pass
  /// for what is not there.
  pugi::xml_node known(std::string_view path, const std::string& what) const;
  /// The text of a property that every such object has; throws where it did not come.
  std::string required(std::string_view path, const std::string& what) const;

 private:
  pugi::xml_node node_;
};

struct PropertySet {
  std::string type;
  std::vector<std::string> paths;
};

/// An object with the answer it is in.
struct Retrieved {
  Answer answer;
  Object object;
};

/// Throws a Fault: ManagedObjectNotFound … A property that this server does not know is left out.
Retrieved retrieve_one(Session& session, const Ref& ref, std::vector<std::string> paths,
                       const std::string& what, const http::Cancel& cancel);

/// Every object of those types below the root folder, each once. Throws HYPER_CORRUPT for a server
/// whose list does not end.
void retrieve_all(Session& session, const std::vector<PropertySet>& sets, const std::string& what,
                  const http::Cancel& cancel, const std::function<void(const Object&)>& on_object);

/// The error that a task ended with: its work was not done.
class TaskFailed : public Fault {
 public:
  explicit TaskFailed(Fault fault) : Fault(std::move(fault)) {}
};

/// Waits for a task's end: its info.result, or throws TaskFailed. Any other Fault says nothing of
/// the task.
Retrieved finished_task(Session& session, const Ref& task, const std::string& what,
                        const http::Cancel& cancel);

/// The same: its result if that is a reference, else none.
Ref wait_for_task(Session& session, const Ref& task, const std::string& what,
                  const http::Cancel& cancel);

/// Calls a method that returns a task, and waits for it.
Ref run_task(Session& session, const char* method, const Ref& self, const Args& args,
             const std::string& what, const http::Cancel& cancel);

/// f() again, with growing pauses, for as long as another operation is in its way.
template <class F>
auto while_busy(std::chrono::nanoseconds at_most, const http::Cancel& cancel, F f) {
  const auto until = std::chrono::steady_clock::now() + at_most;
  for (std::chrono::nanoseconds wait = std::chrono::milliseconds(250);; wait *= 2) {
    try {
      return f();
    } catch (const Fault& fault) {
      if (!fault.passing() || std::chrono::steady_clock::now() + wait > until) throw;
    }
    pause(wait, cancel);
  }
}

}  // namespace hyper::vsphere

#endif
