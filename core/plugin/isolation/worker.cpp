// SPDX-License-Identifier: Apache-2.0
// A plugin here sees an ordinary host: operations and options are the core's own, made anew for
// each call; logs, reports, progress and the journal go to the host that asked.
#include "core/plugin/isolation/worker.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "core/plugin/isolation/call.hpp"
#include "core/plugin/isolation/imported.hpp"
#include "core/plugin/isolation/offered.hpp"
#include "core/plugin/isolation/sandbox.hpp"
#include "core/plugin/isolation/worker_host.hpp"
#include "core/plugin/plugin.hpp"

namespace hyperhost::isolation {
namespace {

// One conversation and one plugin a process. Never destroyed: a plugin that calls exit() must not
// make them end under the threads that are in them.
std::shared_ptr<Peer>& peer = *new std::shared_ptr<Peer>;
std::unique_ptr<Plugin>& plugin = *new std::unique_ptr<Plugin>;

/// A connection, an instance, a VM: the plugin's pointer, ended by the plugin.
struct Held {
  void* self = nullptr;
  std::function<void(void*, hyper_op*)> end;
};

std::shared_ptr<Held> held(const Frame& request) {
  auto found = peer->find<Held>(request.object);
  if (!found) throw Error(Code::kFail, "the host asked about something that is not there any more");
  return found;
}

Options document_from(PayloadReader& in) {
  auto value = nlohmann::json::parse(in.text(), nullptr, false);
  return Options(value.is_discarded() ? nlohmann::json::object() : std::move(value));
}

/// The end of a connection or an instance: forgotten first, so that it ends once.
void end_held(const Frame& request, hyper_op* op) {
  const auto found = held(request);
  peer->take_back(request.object, found);
  if (found->end) found->end(found->self, op);
}

hyper_st make(Frame& answer, hyper_st status, void* self,
              std::function<void(void*, hyper_op*)> end) {
  if (status != HYPER_OK) return status;
  auto made = std::make_shared<Held>();
  made->self = self;
  made->end = std::move(end);
  answer.object = peer->add(std::move(made));
  return HYPER_OK;
}

/// Describes a source that the plugin opened and keeps it under a number.
hyper_st give_source(Lane& lane, Frame& answer, hyper_st status,
                     const std::shared_ptr<OfferedSource>& opened) {
  if (status != HYPER_OK) {
    opened->table = {};  // whatever a failed opener wrote
    return status;
  }
  opened->owned = true;
  PayloadWriter out(lane);
  write_source(out, opened->table);
  answer.payload = out.size();
  answer.object = peer->add(opened);
  return HYPER_OK;
}

std::shared_ptr<OfferedSource> new_source() {
  auto made = std::make_shared<OfferedSource>();
  made->table.size = sizeof made->table;
  return made;
}

/// A source of the host's, for as long as this object lives.
struct HostSource {
  hyper_source table{};
  HostSource(uint64_t id, PayloadReader& in) {
    table.size = sizeof table;
    import_source(peer, id, in, &table);
  }
  ~HostSource() { table.close(table.ctx, nullptr); }
  HostSource(const HostSource&) = delete;
  HostSource& operator=(const HostSource&) = delete;
};
struct HostSink {
  hyper_sink table{};
  HostSink(uint64_t id, PayloadReader& in) {
    table.size = sizeof table;
    import_sink(peer, id, in, &table);
  }
  ~HostSink() { table.close(table.ctx, nullptr); }
  HostSink(const HostSink&) = delete;
  HostSink& operator=(const HostSink&) = delete;
};

hyper_st serve_provider(const Frame& request, Lane& lane, Operation* op, Frame& answer) {
  const hyper_provider* table = plugin->provider();
  if (table == nullptr) return HYPER_UNSUPPORTED;
  PayloadReader in(lane, request);
  const auto flags = static_cast<uint32_t>(request.flags);
  EmitBack back{*peer, request.emit};
  switch (request.verb) {
    case Verb::kProviderConnect: {
      const Options options = document_from(in);
      void* self = nullptr;
      const hyper_st status = table->connect(op, flags, &options, &self);
      return make(answer, status, self,
                  [table](void* made, hyper_op* by) { table->disconnect(made, by); });
    }
    case Verb::kListVms: {
      const bool all = request.a == 0;
      const std::string pattern = in.text();
      return table->list_vms(held(request)->self, op, flags, all ? nullptr : pattern.c_str(),
                             &EmitBack::emit, &back);
    }
    case Verb::kDescribeVm:
      return table->describe_vm(held(request)->self, op, flags, in.text().c_str(), &EmitBack::emit,
                                &back);
    case Verb::kPreflight: {
      const Options doc = document_from(in);
      return table->preflight == nullptr ? HYPER_OK
                                         : table->preflight(held(request)->self, op, flags, &doc);
    }
    case Verb::kOpenVm: {
      const Options doc = document_from(in);
      void* vm = nullptr;
      const hyper_st status = table->open_vm(held(request)->self, op, flags, &doc, &vm);
      return make(answer, status, vm, {});
    }
    case Verb::kOpenDisk: {
      auto opened = new_source();
      const hyper_st status =
          table->open_disk(held(request)->self, op, flags, in.text().c_str(), &opened->table);
      return give_source(lane, answer, status, opened);
    }
    case Verb::kCloseVm: {
      const auto vm = held(request);
      peer->remove(request.object);
      return table->close_vm(vm->self, op, static_cast<hyper_st>(static_cast<int64_t>(request.a)));
    }
    default:  // kProviderUndo
    {
      const Options doc = document_from(in);
      return table->undo == nullptr ? HYPER_UNSUPPORTED
                                    : table->undo(held(request)->self, op, flags, &doc);
    }
  }
}

hyper_st serve_converter(const Frame& request, Lane& lane, Operation* op, Frame& answer) {
  const hyper_converter* table = plugin->converter();
  if (table == nullptr) return HYPER_UNSUPPORTED;
  PayloadReader in(lane, request);
  const auto flags = static_cast<uint32_t>(request.flags);
  EmitBack back{*peer, request.emit};
  switch (request.verb) {
    case Verb::kConverterOpen: {
      // An instance may keep its options: they live as long as it does.
      auto options = std::make_shared<const Options>(document_from(in));
      void* self = nullptr;
      const hyper_st status = table->open(op, flags, options.get(), &self);
      return make(answer, status, self,
                  [table, options](void* made, hyper_op* by) { table->close(made, by); });
    }
    case Verb::kPlan: {
      const Options doc = document_from(in);
      return table->plan(held(request)->self, op, flags, &doc, &EmitBack::emit, &back);
    }
    default: {  // kConvert
      const Options doc = document_from(in);
      const HostSource source(request.a, in);
      const HostSink sink(request.b, in);
      return table->convert(held(request)->self, op, flags, &doc, &source.table, &sink.table,
                            &EmitBack::emit, &back);
    }
  }
}

hyper_st serve_image(const Frame& request, Lane& lane, Operation* op, Frame& answer) {
  const hyper_image* table = plugin->image();
  if (table == nullptr) return HYPER_UNSUPPORTED;
  PayloadReader in(lane, request);
  const auto flags = static_cast<uint32_t>(request.flags);
  EmitBack back{*peer, request.emit};
  auto options = std::make_shared<const Options>(document_from(in));
  const Options doc = document_from(in);
  auto source = std::make_shared<HostSource>(request.a, in);
  if (request.verb == Verb::kProbe)
    return table->probe(op, flags, options.get(), &source->table, &EmitBack::emit, &back);
  auto opened = new_source();
  // The image borrows the source: it goes first.
  opened->keep =
      std::make_shared<std::pair<std::shared_ptr<HostSource>, std::shared_ptr<const Options>>>(
          source, options);
  const hyper_st status =
      table->open(op, flags, options.get(), &source->table, &doc, &opened->table);
  return give_source(lane, answer, status, opened);
}

hyper_st serve_storage(const Frame& request, Lane& lane, Operation* op, Frame& answer) {
  const hyper_storage* table = plugin->storage();
  if (table == nullptr) return HYPER_UNSUPPORTED;
  PayloadReader in(lane, request);
  const auto flags = static_cast<uint32_t>(request.flags);
  EmitBack back{*peer, request.emit};
  switch (request.verb) {
    case Verb::kStorageConnect: {
      const Options options = document_from(in);
      void* self = nullptr;
      const hyper_st status = table->connect(op, flags, &options, &self);
      return make(answer, status, self,
                  [table](void* made, hyper_op* by) { table->disconnect(made, by); });
    }
    case Verb::kInfo:
      return table->info(held(request)->self, op, flags, &EmitBack::emit, &back);
    case Verb::kPut: {
      auto opened = std::make_shared<OfferedSink>();
      opened->table.size = sizeof opened->table;
      const Options doc = document_from(in);
      const hyper_st status = table->put(held(request)->self, op, flags, &doc, &opened->table);
      if (status != HYPER_OK) {
        opened->table = {};
        return status;
      }
      opened->owned = true;
      PayloadWriter out(lane);
      write_sink(out, opened->table);
      answer.payload = out.size();
      answer.object = peer->add(std::move(opened));
      return HYPER_OK;
    }
    case Verb::kGet: {
      auto opened = new_source();
      const hyper_st status =
          table->get(held(request)->self, op, flags, in.text().c_str(), &opened->table);
      return give_source(lane, answer, status, opened);
    }
    case Verb::kStat:
      return table->stat(held(request)->self, op, flags, in.text().c_str(), &EmitBack::emit, &back);
    case Verb::kList:
      return table->list(held(request)->self, op, flags, in.text().c_str(), &EmitBack::emit, &back);
    case Verb::kRemove:
      return table->remove(held(request)->self, op, flags, in.text().c_str());
    default:  // kStorageUndo
    {
      const Options doc = document_from(in);
      return table->undo == nullptr ? HYPER_UNSUPPORTED
                                    : table->undo(held(request)->self, op, flags, &doc);
    }
  }
}

/// Loads and starts it; what it is goes back as JSON.
hyper_st start(Lane& lane, Frame& answer, const std::string& file, const std::string& id,
               uint64_t memory) {
  limit_memory(memory);
  plugin = Plugin::load(file, id, worker_host(*peer));
  nlohmann::json interfaces = nlohmann::json::array();
  if (plugin->provider() != nullptr) interfaces.push_back(HYPER_IFACE_PROVIDER);
  if (plugin->image() != nullptr) interfaces.push_back(HYPER_IFACE_IMAGE);
  if (plugin->converter() != nullptr) interfaces.push_back(HYPER_IFACE_CONVERTER);
  if (plugin->storage() != nullptr) interfaces.push_back(HYPER_IFACE_STORAGE);
  const nlohmann::json facts = {
      {"version", plugin->version()}, {"serial", plugin->serial()}, {"interfaces", interfaces}};
  answer.payload = PayloadWriter(lane).text(facts.dump()).size();
  return HYPER_OK;
}

Frame serve_verb(const Frame& request, Lane& lane, Operation* op, const std::string& file,
                 const std::string& id) {
  Frame answer;
  if (request.verb == Verb::kStart) {
    answer.status = start(lane, answer, file, id, request.a);
    return answer;
  }
  if (!plugin) throw Error(Code::kFail, "the plugin is not started");
  if (serve_table(*peer, request, lane, op, answer)) return answer;
  if (request.verb == Verb::kStop) {
    plugin.reset();
  } else if (request.verb == Verb::kValidate) {
    PayloadReader in(lane, request);
    const std::string iface = in.text();
    const Options options = document_from(in);
    answer.status = plugin->validate(iface.c_str(), options, *op);
  } else if (request.verb >= Verb::kProviderConnect && request.verb <= Verb::kProviderUndo) {
    if (request.verb == Verb::kProviderDisconnect)
      end_held(request, op);
    else
      answer.status = serve_provider(request, lane, op, answer);
  } else if (request.verb >= Verb::kConverterOpen && request.verb <= Verb::kConvert) {
    if (request.verb == Verb::kConverterClose)
      end_held(request, op);
    else
      answer.status = serve_converter(request, lane, op, answer);
  } else if (request.verb == Verb::kProbe || request.verb == Verb::kImageOpen) {
    answer.status = serve_image(request, lane, op, answer);
  } else if (request.verb >= Verb::kStorageConnect && request.verb <= Verb::kStorageUndo) {
    if (request.verb == Verb::kStorageDisconnect)
      end_held(request, op);
    else
      answer.status = serve_storage(request, lane, op, answer);
  } else {
    throw Error(Code::kFail, "the host asked for something unknown");
  }
  return answer;
}

}  // namespace

int serve_plugin(const std::string& file, const std::string& id) {
  // The conversation moves away from where a plugin would read its input.
  Fd control(::fcntl(0, F_DUPFD_CLOEXEC, 3));
  const int null_fd = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (!control.valid() || null_fd < 0 || ::dup2(null_fd, 0) != 0) return 70;
  ::close(null_fd);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);  // write() fails with EFBIG instead
  const std::string dropped = drop_privileges();

  peer = std::make_shared<Peer>(std::move(control), false, [&](const Frame& request, Lane& lane) {
    // One for each call; its cancel comes over the control socket.
    WorkerOperation op(request.op, CancelSource::create());
    peer->enter_as(request.op, &op);
    const std::shared_ptr<void> left(nullptr, [&](void*) { peer->leave(request.op, &op); });
    try {
      return serve_verb(request, lane,
                        request.op == 0 && request.verb != Verb::kValidate ? nullptr : &op, file,
                        id);
    } catch (const Error& error) {
      Frame answer;
      answer.status = report_error(request.op == 0 ? nullptr : &op, error);
      return answer;
    }
  });
  static_cast<void>(worker_host(*peer));  // the proxies report to it
  peer->start();
  spdlog::debug("worker for {}: gave up {}", id, dropped.empty() ? "nothing" : dropped);
  peer->wait_until_gone();
  // The host is gone, or done with this plugin: what is undone is in the journal.
  ::_exit(0);
}

}  // namespace hyperhost::isolation
