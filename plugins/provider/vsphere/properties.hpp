// SPDX-License-Identifier: Apache-2.0
// Reads properties of managed objects through the property collector: of one object, or of all
// objects of some types below a folder, page by page, so that memory does not grow with the
// inventory.
#ifndef HYPERHOST_PLUGINS_VSPHERE_PROPERTIES_HPP
#define HYPERHOST_PLUGINS_VSPHERE_PROPERTIES_HPP

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "session.hpp"

namespace hyper::vsphere {

/// One object's properties, valid as long as the answer that contains them.
class Object {
 public:
  explicit Object(pugi::xml_node node) : node_(node) {}
  Ref ref() const { return ref_in(child(node_, "obj")); }
  /// The <val> of a property; an empty node if the property is not set.
  pugi::xml_node at(std::string_view path) const;
  std::string text(std::string_view path) const { return vsphere::text(at(path)); }
  /// The kind of the fault with which a property could not be read; "" if it could. A property that
  /// this server does not know counts as not set.
  std::string missing(std::string_view path) const;
  /// As at(), but throws a Fault if the property could not be read: an unknown value must not count
  /// as a missing one.
  pugi::xml_node known(std::string_view path, const std::string& what) const;
  /// The text of a property that every such object has. Throws if the answer does not have it.
  std::string required(std::string_view path, const std::string& what) const;

 private:
  pugi::xml_node node_;
};

struct PropertySet {
  std::string type;
  std::vector<std::string> paths;
};

/// An object with the answer that contains it.
struct Retrieved {
  Answer answer;
  Object object;
};

/// Throws a Fault (ManagedObjectNotFound …). It leaves out a property that this server does not
/// know.
Retrieved retrieve_one(Session& session, const Ref& ref, std::vector<std::string> paths,
                       const std::string& what, const http::Cancel& cancel);

/// Calls on_object once for every object of those types below the root folder. Throws HYPER_CORRUPT
/// if the server's list does not end.
void retrieve_all(Session& session, const std::vector<PropertySet>& sets, const std::string& what,
                  const http::Cancel& cancel, const std::function<void(const Object&)>& on_object);

/// The error with which a task ended. The task did not do its work.
class TaskFailed : public Fault {
 public:
  explicit TaskFailed(Fault fault) : Fault(std::move(fault)) {}
};

/// Waits for the end of a task and returns its info.result, or throws TaskFailed. Any other Fault
/// says nothing about the task.
Retrieved finished_task(Session& session, const Ref& task, const std::string& what,
                        const http::Cancel& cancel);

/// As finished_task; returns the result if it is a reference, else an empty one.
Ref wait_for_task(Session& session, const Ref& task, const std::string& what,
                  const http::Cancel& cancel);

/// Calls a method that returns a task, and waits for it.
Ref run_task(Session& session, const char* method, const Ref& self, const Args& args,
             const std::string& what, const http::Cancel& cancel);

/// Calls f() again, with growing pauses, while another operation blocks it.
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
