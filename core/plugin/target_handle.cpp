// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/target_handle.hpp"

#include "core/plugin/handle_calls.hpp"

namespace hyperhost {

TargetHandle::TargetHandle(Plugin& plugin, const Options& options, Operation& op)
    : plugin_(plugin), table_(plugin.target()), opener_(op) {
  if (table_ == nullptr)
    throw Error(Code::kUnsupported,
                "plugin '" + plugin.id() + "' has no interface " HYPER_IFACE_TARGET);
  const auto lock = plugin_.enter();
  op.check(table_->connect(&op, 0, &options, &connection_), label(plugin_, "connect"));
}

TargetHandle::~TargetHandle() {
  const auto lock = plugin_.enter();
  with_closing_operation(opener_, [&](hyper_op* op) { table_->disconnect(connection_, op); });
}

template <class Optional>
Optional TargetHandle::offered(Optional slot, const char* name) const {
  if (slot == nullptr)
    throw Error(Code::kUnsupported, "plugin '" + plugin_.id() + "' has no " + name + "()");
  return slot;
}

nlohmann::json TargetHandle::info(Operation& op) {
  const auto lock = plugin_.enter();
  return answered(op, "target.info", label(plugin_, "info"), [&](hyper_emit emit, void* arg) {
    return table_->info(connection_, &op, 0, emit, arg);
  });
}

nlohmann::json TargetHandle::plan(Operation& op, const nlohmann::json& request) {
  const hyper_doc doc{request};
  const auto lock = plugin_.enter();
  return answered(op, "target.plan", label(plugin_, "plan"), [&](hyper_emit emit, void* arg) {
    return table_->plan(connection_, &op, 0, &doc, emit, arg);
  });
}

std::unique_ptr<SinkHandle> TargetHandle::put_disk(Operation& op, const nlohmann::json& request) {
  const auto slot = offered(table_->put_disk, "put_disk");
  const hyper_doc doc{request};
  const auto lock = plugin_.enter();
  auto sink = std::make_unique<SinkHandle>(plugin_);
  const std::string what = label(plugin_, "put_disk");
  op.check(sink->opened(&op, slot(connection_, &op, 0, &doc, sink->out())), what);
  sink->validate(what);
  sink->serialize();
  return sink;
}

nlohmann::json TargetHandle::import_disk(Operation& op, const nlohmann::json& request) {
  const auto slot = offered(table_->import_disk, "import_disk");
  const hyper_doc doc{request};
  const auto lock = plugin_.enter();
  return answered(
      op, "target.import", label(plugin_, "import_disk"),
      [&](hyper_emit emit, void* arg) { return slot(connection_, &op, 0, &doc, emit, arg); });
}

std::unique_ptr<SourceHandle> TargetHandle::get_disk(Operation& op, const std::string& ref) {
  const auto slot = offered(table_->get_disk, "get_disk");
  const auto lock = plugin_.enter();
  auto source = std::make_unique<SourceHandle>();
  const std::string what = label(plugin_, "get_disk");
  op.check(source->opened(&op, slot(connection_, &op, 0, ref.c_str(), source->out())), what);
  source->validate(what);
  source->serialize(plugin_);
  return source;
}

nlohmann::json TargetHandle::define(Operation& op, const nlohmann::json& request) {
  const hyper_doc doc{request};
  const auto lock = plugin_.enter();
  return answered(op, "target.result", label(plugin_, "define"), [&](hyper_emit emit, void* arg) {
    return table_->define(connection_, &op, 0, &doc, emit, arg);
  });
}

nlohmann::json TargetHandle::state(Operation& op, const std::string& ref) {
  const auto slot = offered(table_->state, "state");
  const auto lock = plugin_.enter();
  try {
    return answered(op, "target.state", label(plugin_, "state"), [&](hyper_emit emit, void* arg) {
      return slot(connection_, &op, 0, ref.c_str(), emit, arg);
    });
  } catch (const Error& failure) {
    if (failure.code() != Code::kNotFound) throw;
    return nullptr;
  }
}

void TargetHandle::call(Slot slot, const char* name, Operation& op, const nlohmann::json& request) {
  offered(slot, name);
  const hyper_doc doc{request};
  const auto lock = plugin_.enter();
  op.check(slot(connection_, &op, 0, &doc), label(plugin_, name));
}

void TargetHandle::start(Operation& op, const std::string& ref) {
  call(table_->start, "start", op, {{"ref", ref}});
}

void TargetHandle::stop(Operation& op, const std::string& ref, const char* how) {
  call(table_->stop, "stop", op, {{"ref", ref}, {"how", how}});
}

void TargetHandle::remove(Operation& op, const std::string& ref, const char* kind) {
  call(table_->remove, "remove", op, {{"ref", ref}, {"kind", kind}});
}

bool TargetHandle::undo(Operation& op, const nlohmann::json& entry) {
  return undone(plugin_, table_->undo, connection_, op, entry);
}

}  // namespace hyperhost
