// SPDX-License-Identifier: Apache-2.0
// The plugin sees an ordinary host. Operations and options are the core's own classes, made for
// each call. Logs, reports, progress and journal entries go to the host process.
#include "core/plugin/isolation/worker.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/plugin/isolation/crossing.hpp"
#include "core/plugin/isolation/sandbox.hpp"
#include "core/plugin/isolation/worker_host.hpp"
#include "core/plugin/plugin.hpp"

namespace hyperhost::isolation {
namespace {

// One conversation and one plugin per process. Never destroyed: if a plugin calls exit(), threads
// may still use them.
std::shared_ptr<Peer>& peer = *new std::shared_ptr<Peer>;
std::unique_ptr<Plugin>& plugin = *new std::unique_ptr<Plugin>;
// What confine() could not give up.
std::vector<std::string>& kept = *new std::vector<std::string>;

std::shared_ptr<Held> held(Incoming& call) {
  auto found = call.peer.find<Held>(call.request.object);
  if (!found) throw Error(Code::kFail, "the host asked about something that is not there any more");
  return found;
}

/// Opens a connection or an instance. An instance may use its options until close(), so they live
/// as long as it does.
template <auto kOpen, auto kClose, class Table>
hyper_st open_held(Incoming& call, const Table& table) {
  const auto options = std::make_shared<const hyper_doc>(document_in(call));
  auto made = std::make_shared<Held>();
  const hyper_st status = (table.*kOpen)(call.op, call.flags(), options.get(), &made->self);
  if (status != HYPER_OK) return status;
  made->end = [&table, options](void* self, hyper_op* op) { (table.*kClose)(self, op); };
  call.answer.object = call.peer.add(std::move(made));
  return HYPER_OK;
}

/// Ends a connection or an instance. It removes the number first, so that the object ends once.
hyper_st end_held(Incoming& call) {
  const auto found = held(call);
  call.peer.take_back(call.request.object, found);
  if (found->end) found->end(found->self, call.op);
  return HYPER_OK;
}

hyper_st close_vm(Incoming& call, const hyper_provider& table) {
  const auto vm = held(call);
  call.peer.remove(call.request.object);
  return table.close_vm(vm->self, call.op,
                        static_cast<hyper_st>(static_cast<int64_t>(call.request.a)));
}

hyper_st open_image(Incoming& call, const hyper_image& table) {
  struct Kept {
    hyper_doc options, request;
    std::optional<HostTable<hyper_source>> source;
  };
  const auto kept = std::make_shared<Kept>();
  kept->options = document_in(call);
  kept->request = document_in(call);
  kept->source.emplace(call);
  const auto opened = new_source();
  opened->keep = kept;  // the image borrows source and options: they end after it
  const hyper_st status = table.open(call.op, call.flags(), &kept->options, kept->source->get(),
                                     &kept->request, &opened->table);
  return offer(call, opened, status);
}

hyper_st validate(Incoming& call) {
  const Received<const char*> iface(call);
  const Options options(document_in(call).json);
  return plugin->validate(iface.get(), options, *static_cast<Operation*>(call.op));
}

/// Loads and starts the plugin. The answer has its version and interfaces as JSON.
hyper_st start(Lane& lane, Frame& answer, const std::string& file, const std::string& id,
               uint64_t memory) {
  limit_memory(memory);
  plugin = Plugin::load(file, id, worker_host(*peer));
  nlohmann::json interfaces = nlohmann::json::array();
  if (plugin->provider() != nullptr) interfaces.push_back(HYPER_IFACE_PROVIDER);
  if (plugin->image() != nullptr) interfaces.push_back(HYPER_IFACE_IMAGE);
  if (plugin->converter() != nullptr) interfaces.push_back(HYPER_IFACE_CONVERTER);
  if (plugin->storage() != nullptr) interfaces.push_back(HYPER_IFACE_STORAGE);
  if (plugin->guest() != nullptr) interfaces.push_back(HYPER_IFACE_GUEST);
  if (plugin->boot() != nullptr) interfaces.push_back(HYPER_IFACE_BOOT);
  if (plugin->target() != nullptr) interfaces.push_back(HYPER_IFACE_TARGET);
  const nlohmann::json facts = {
      {"version", plugin->version()},
      {"serial", plugin->serial()},
      {"interfaces", interfaces},
      {"prepares", plugin->guest() != nullptr && plugin->guest()->prepare != nullptr},
      {"kept", kept}};
  answer.payload = PayloadWriter(lane).text(facts.dump()).size();
  return HYPER_OK;
}

/// Serves a verb of the plugin's interfaces. False: the plugin does not have the interface, or
/// there is no such verb.
bool serve_interfaces(Incoming& call) {
  // The plugin's object must not end during the call.
  const auto self = [&call] {
    const auto found = held(call);
    return std::shared_ptr<void>(found, found->self);
  };
  const auto answer = [&call](hyper_st status) {
    call.answer.status = status;
    return true;
  };
  const hyper_provider* const provider = plugin->provider();
  const hyper_converter* const converter = plugin->converter();
  const hyper_image* const image = plugin->image();
  const hyper_storage* const storage = plugin->storage();
  const hyper_guest* const guest = plugin->guest();
  const hyper_boot* const boot = plugin->boot();
  const hyper_target* const target = plugin->target();
  switch (call.request.verb) {
    case Verb::kProviderConnect:
      using P = hyper_provider;
      return provider && answer(open_held<&P::connect, &P::disconnect>(call, *provider));
    case Verb::kConverterOpen:
      using C = hyper_converter;
      return converter && answer(open_held<&C::open, &C::close>(call, *converter));
    case Verb::kStorageConnect:
      using S = hyper_storage;
      return storage && answer(open_held<&S::connect, &S::disconnect>(call, *storage));
    case Verb::kGuestOpen:
      using G = hyper_guest;
      return guest && answer(open_held<&G::open, &G::close>(call, *guest));
    case Verb::kBootOpen:
      using B = hyper_boot;
      return boot && answer(open_held<&B::open, &B::close>(call, *boot));
    case Verb::kTargetConnect:
      using T = hyper_target;
      return target && answer(open_held<&T::connect, &T::disconnect>(call, *target));
    case Verb::kProviderDisconnect:
    case Verb::kConverterClose:
    case Verb::kStorageDisconnect:
    case Verb::kGuestClose:
    case Verb::kBootClose:
    case Verb::kTargetDisconnect:
      return answer(end_held(call));
    case Verb::kCloseVm:
      return provider && answer(close_vm(call, *provider));
    case Verb::kImageOpen:
      return image && answer(open_image(call, *image));
    case Verb::kValidate:
      return answer(validate(call));
    default:
      return (provider && ProviderCalls::serve(call, *provider, self)) ||
             (converter && ConverterCalls::serve(call, *converter, self)) ||
             (image && ImageCalls::serve(call, *image)) ||
             (storage && StorageCalls::serve(call, *storage, self)) ||
             (guest && GuestCalls::serve(call, *guest, self)) ||
             (boot && BootCalls::serve(call, *boot, self)) ||
             (target && TargetCalls::serve(call, *target, self));
  }
}

Frame serve_verb(const Frame& request, Lane& lane, Operation* op, const std::string& file,
                 const std::string& id) {
  Frame answer;
  if (request.verb == Verb::kStart) {
    answer.status = start(lane, answer, file, id, request.a);
    return answer;
  }
  if (!plugin) throw Error(Code::kFail, "the plugin is not started");
  Incoming call(*peer, request, lane, op, answer);
  if (request.verb == Verb::kStop)
    plugin.reset();
  else if (!serve_table(call) && !serve_interfaces(call))
    throw Error(Code::kUnsupported, "the plugin has no such function");
  return answer;
}

}  // namespace

int serve_plugin(const std::string& path, const std::string& id, const Confinement& confinement) {
  // The conversation moves off descriptor 0, which a plugin may use as its input.
  Fd control(::fcntl(0, F_DUPFD_CLOEXEC, 3));
  const int null_fd = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (!control.valid() || null_fd < 0 || ::dup2(null_fd, 0) != 0) return 70;
  ::close(null_fd);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);  // write() fails with EFBIG instead
  // Opened before the user changes, who may not get at the path.
  const Fd library(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  kept = confine(confinement);
  const bool hidden = library.valid() && ::access(path.c_str(), R_OK) != 0;
  const std::string file = hidden ? "/proc/self/fd/" + std::to_string(library.get()) : path;
  const std::string dropped = drop_privileges();

  peer = std::make_shared<Peer>(std::move(control), false, [&](const Frame& request, Lane& lane) {
    // One operation for each call. Its cancel comes over the control socket.
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
  // The host is gone, or has ended this plugin. The journal has what is left to undo.
  ::_exit(0);
}

}  // namespace hyperhost::isolation
