// SPDX-License-Identifier: Apache-2.0
#include "properties.hpp"

#include <algorithm>
#include <optional>
#include <set>

namespace hyper::vsphere {
namespace {

constexpr uint64_t kPage = 200;
constexpr std::size_t kMostObjects = 400'000;  // several times what a vCenter may have
constexpr int kListTries = 3;

void add_set(Args& args, const PropertySet& set) {
  args.open("propSet").text("type", set.type);
  for (const std::string& path : set.paths) args.text("pathSet", path);
  args.close("propSet");
}

/// A view of everything below the root folder. The destructor removes it.
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
      session_.call_in_session("DestroyView", view_, {}, "cannot end a view",
                               http::Cancel::never());
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
    if (vsphere::text(set, "path") != path) return;
    out = xsi_type(descend(set, "fault/fault"));
    if (out.empty()) out = "unnamed fault";
  });
  return out == "InvalidProperty" ? std::string() : out;
}

pugi::xml_node Object::known(std::string_view path, const std::string& what) const {
  if (const std::string kind = missing(path); !kind.empty())
    throw Fault(what, kind, "", "the property " + std::string(path) + " cannot be read");
  return at(path);
}

std::string Object::required(std::string_view path, const std::string& what) const {
  std::string out = vsphere::text(known(path, what));
  if (out.empty())
    throw Error(HYPER_CORRUPT, what, "the server does not send the property " + std::string(path))
        .retryable();
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
      // An older server: ask again without the property that it does not know.
      const std::size_t name = fault.detail().rfind("(name ");
      if (!fault.is("InvalidProperty") || name == std::string::npos) throw;
      const std::string unknown = fault.detail().substr(name + 6, fault.detail().size() - name - 7);
      const auto found = std::find(paths.begin(), paths.end(), unknown);
      if (found == paths.end() || paths.size() == 1) throw;
      paths.erase(found);
    }
  }
}

namespace {

/// Reads the pages of a view's properties. View and pages end with their session, so no call is
/// repeated in a new session. false: the session ended before the last page.
bool read_pages(Session& session, const std::vector<PropertySet>& sets, const std::string& what,
                const http::Cancel& cancel, std::set<std::string>& seen,
                const std::function<void(const Object&)>& on_object) {
  const ContainerView view(session, sets, what, cancel);
  const uint64_t generation = session.generation();
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
  std::set<std::string> sent;
  do {
    Args more;
    more.text("token", token);
    std::optional<Answer> answer;
    try {
      answer = session.call_in_session(
          token.empty() ? "RetrievePropertiesEx" : "ContinueRetrievePropertiesEx", collector,
          token.empty() ? args : more, what, cancel);
    } catch (const Fault& fault) {
      if (fault.is("NotAuthenticated") || session.generation() != generation) return false;
      throw;
    }
    token = text(answer->value(), "token");
    const std::size_t before = sent.size();
    try {
      each(answer->value(), "objects", [&](const pugi::xml_node& object) {
        const Object one(object);
        const std::string id = one.ref().id;
        sent.insert(id);
        if (seen.insert(id).second) on_object(one);
      });
      if (sent.size() > kMostObjects || (!token.empty() && sent.size() == before))
        throw Error(HYPER_CORRUPT, what,
                    "the server's list does not end: after " + std::to_string(sent.size()) +
                        " objects it still announces more");
    } catch (...) {
      if (!token.empty()) {
        try {
          Args end;
          end.text("token", token);
          session.call_in_session("CancelRetrievePropertiesEx", collector, end, what,
                                  http::Cancel::never());
        } catch (...) {  // it ends with the session
        }
      }
      throw;
    }
  } while (!token.empty());
  return true;
}

}  // namespace

void retrieve_all(Session& session, const std::vector<PropertySet>& sets, const std::string& what,
                  const http::Cancel& cancel, const std::function<void(const Object&)>& on_object) {
  std::set<std::string> seen;
  for (int tries = 1; !read_pages(session, sets, what, cancel, seen, on_object); ++tries)
    if (tries == kListTries)
      throw Error(HYPER_IO, what, "the session ended again and again while the server listed")
          .retryable();
}

Retrieved finished_task(Session& session, const Ref& task, const std::string& what,
                        const http::Cancel& cancel) {
  std::chrono::nanoseconds wait = std::chrono::milliseconds(100);
  for (;;) {
    Retrieved got =
        retrieve_one(session, task, {"info.state", "info.error", "info.result"}, what, cancel);
    const std::string state = got.object.required("info.state", what);
    if (state == "success") {
      static_cast<void>(got.object.known("info.result", what));
      return got;
    }
    if (state == "error") throw TaskFailed(method_fault(what, got.object.at("info.error")));
    if (state != "running" && state != "queued")
      throw Error(HYPER_CORRUPT, what, "the server gives its task an unknown state");
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
