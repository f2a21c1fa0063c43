// SPDX-License-Identifier: Apache-2.0
#include "properties.hpp"

#include <algorithm>

namespace hyper::vsphere {
namespace {

constexpr uint64_t kPage = 200;

void add_set(Args& args, const PropertySet& set) {
  args.open("propSet").text("type", set.type);
  for (const std::string& path : set.paths) args.text("pathSet", path);
  args.close("propSet");
}

/// A view of everything below the root folder; gone with this object.
class ContainerView {
 public:
  ContainerView(Session& session, const std::vector<PropertySet>& sets, const std::string& what,
                const http::Cancel& cancel)
      : session_(session) {
    Args args;
    args.ref("container", session.content().root_folder);
    for (const PropertySet& set : sets) args.text("type", set.type);
    args.flag("recursive", true);
    view_ = ref_in(
        session.call("CreateContainerView", session.content().view_manager, args, what, cancel)
            .value());
  }
  ~ContainerView() {
    try {
      session_.call("DestroyView", view_, {}, "cannot end a view", http::Cancel::never());
    } catch (...) {  // it ends with the session
    }
  }
  ContainerView(const ContainerView&) = delete;
  ContainerView& operator=(const ContainerView&) = delete;
  const Ref& ref() const { return view_; }

 private:
  Session& session_;
  Ref view_;
};

}  // namespace

pugi::xml_node Object::at(std::string_view path) const {
  pugi::xml_node out;
  each(node_, "propSet", [&](const pugi::xml_node& set) {
    if (!out && vsphere::text(set, "name") == path) out = child(set, "val");
  });
  return out;
}

std::string Object::missing(std::string_view path) const {
  std::string out;
  each(node_, "missingSet", [&](const pugi::xml_node& set) {
    if (vsphere::text(set, "path") == path) out = xsi_type(descend(set, "fault/fault"));
  });
  return out;
}

Retrieved retrieve_one(Session& session, const Ref& ref, std::vector<std::string> paths,
                       const std::string& what, const http::Cancel& cancel) {
  for (;;) {
    Args args;
    args.open("specSet");
    add_set(args, {ref.type, paths});
    args.open("objectSet").ref("obj", ref).flag("skip", false).close("objectSet");
    args.close("specSet").open("options").close("options");
    try {
      Answer answer = session.call("RetrievePropertiesEx", session.content().property_collector,
                                   args, what, cancel);
      const pugi::xml_node object = child(answer.value(), "objects");
      if (!object) throw Fault(what, "ManagedObjectNotFound", "", ref.id);
      return {std::move(answer), Object(object)};
    } catch (const Fault& fault) {
      // An older server: without the property it does not know.
      const std::size_t name = fault.detail().rfind("(name ");
      if (!fault.is("InvalidProperty") || name == std::string::npos) throw;
      const std::string unknown = fault.detail().substr(name + 6, fault.detail().size() - name - 7);
      const auto found = std::find(paths.begin(), paths.end(), unknown);
      if (found == paths.end() || paths.size() == 1) throw;
      paths.erase(found);
    }
  }
}

void retrieve_all(Session& session, const std::vector<PropertySet>& sets, const std::string& what,
                  const http::Cancel& cancel, const std::function<void(const Object&)>& on_object) {
  const ContainerView view(session, sets, what, cancel);
  Args args;
  args.open("specSet");
  for (const PropertySet& set : sets) add_set(args, set);
  args.open("objectSet").ref("obj", view.ref()).flag("skip", true);
  args.open("selectSet", "TraversalSpec")
      .text("name", "view")
      .text("type", "ContainerView")
      .text("path", "view")
      .flag("skip", false)
      .close("selectSet");
  args.close("objectSet").close("specSet");
  args.open("options").number("maxObjects", kPage).close("options");
  const Ref& collector = session.content().property_collector;
  std::string token;
  do {
    Args more;
    more.text("token", token);
    const Answer answer =
        session.call(token.empty() ? "RetrievePropertiesEx" : "ContinueRetrievePropertiesEx",
                     collector, token.empty() ? args : more, what, cancel);
    token = text(answer.value(), "token");
    try {
      each(answer.value(), "objects",
           [&](const pugi::xml_node& object) { on_object(Object(object)); });
    } catch (...) {
      if (!token.empty()) {
        try {
          Args end;
          end.text("token", token);
          session.call("CancelRetrievePropertiesEx", collector, end, what, http::Cancel::never());
        } catch (...) {  // it ends with the session
        }
      }
      throw;
    }
  } while (!token.empty());
}

Retrieved finished_task(Session& session, const Ref& task, const std::string& what,
                        const http::Cancel& cancel) {
  std::chrono::nanoseconds wait = std::chrono::milliseconds(100);
  for (;;) {
    Retrieved got =
        retrieve_one(session, task, {"info.state", "info.error", "info.result"}, what, cancel);
    const std::string state = got.object.text("info.state");
    if (state == "success") return got;
    if (state == "error") throw method_fault(what, got.object.at("info.error"));
    if (state != "running" && state != "queued")
      throw Error(HYPER_CORRUPT, what, "the server does not tell how its task is doing");
    pause(wait, cancel);
    wait = std::min<std::chrono::nanoseconds>(wait * 3 / 2, std::chrono::seconds(2));
  }
}

Ref wait_for_task(Session& session, const Ref& task, const std::string& what,
                  const http::Cancel& cancel) {
  return ref_in(finished_task(session, task, what, cancel).object.at("info.result"));
}

Ref run_task(Session& session, const char* method, const Ref& self, const Args& args,
             const std::string& what, const http::Cancel& cancel) {
  const Answer answer = session.call(method, self, args, what, cancel);
  return wait_for_task(session, ref_in(answer.value()), what, cancel);
}

}  // namespace hyper::vsphere
