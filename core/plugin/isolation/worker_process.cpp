// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/isolation/worker_process.hpp"

#include <poll.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "core/base/redactor.hpp"
#include "core/os/blocked_signals.hpp"
#include "core/os/own_library.hpp"
#include "core/plugin/isolation/crossing.hpp"

namespace hyperhost::isolation {
namespace {

constexpr std::size_t kLastLines = 6;
constexpr auto kDeathPatience = std::chrono::seconds(10);

/// The program hyperhost: this program, the one beside it (for a test), or the one installed with
/// the library in use.
std::string worker_program() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error && self.filename() == "hyperhost") return "/proc/self/exe";
  const auto beside = self.parent_path() / "hyperhost";
  if (!error && std::filesystem::exists(beside)) return beside.string();
  if (const auto library = own_library_dir(); !library.empty()) {
    const auto installed = library.parent_path() / "bin/hyperhost";
    if (std::filesystem::exists(installed)) return installed.string();
  }
  throw Error(Code::kFail, "there is no program hyperhost beside " + self.string() +
                               " to run a plugin in a process of its own");
}

std::string signal_text(int signal) {
  const char* name = ::sigabbrev_np(signal);
  const char* text = ::sigdescr_np(signal);
  if (name == nullptr) return "signal " + std::to_string(signal);
  return "SIG" + std::string(name) + (text == nullptr ? "" : " (" + std::string(text) + ")");
}

bool wait_for_end(const ChildProcess& child) {
  const auto until = std::chrono::steady_clock::now() + kDeathPatience;
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        until - std::chrono::steady_clock::now());
    pollfd wait_for{child.pid_fd(), POLLIN, 0};
    const int ready = ::poll(&wait_for, 1, static_cast<int>(std::max<int64_t>(left.count(), 0)));
    if (ready > 0 || left.count() <= 0) return ready > 0;
  }
}

const char* level_name() {
  switch (spdlog::get_level()) {
    case spdlog::level::trace:
      return "trace";
    case spdlog::level::debug:
      return "debug";
    case spdlog::level::info:
      return "info";
    case spdlog::level::warn:
      return "warn";
    default:
      return "error";
  }
}

}  // namespace

std::shared_ptr<WorkerProcess> WorkerProcess::start(const std::string& path, const std::string& id,
                                                    const WorkerSettings& settings) {
  std::shared_ptr<WorkerProcess> made(new WorkerProcess(path, id, settings));
  Operation op("plugin " + id, CancelSource::create());
  Call call(*made->peer_, Verb::kStart, 0, &op);
  call.request.a = settings.memory;
  op.check(call.go(), "plugin '" + id + "': start");
  made->facts_ = parse_object(PayloadReader(call.lane(), call.answer).text(),
                              "the worker of plugin '" + id + "'");
  if (settings.confinement.required) made->require_confined();
  return made;
}

std::string WorkerProcess::kept() const {
  std::string out;
  for (const auto& one : facts_.value("kept", nlohmann::json::array()))
    out += (out.empty() ? "" : "; ") + one.get<std::string>().substr(0, 200);
  return out;
}

Fd WorkerProcess::listen(uint16_t& port) {
  Operation op("plugin " + id_, CancelSource::create());
  Call call(*peer_, Verb::kListen, 0, &op);
  call.request.a = next_socket_++;
  op.check(call.go(), "plugin '" + id_ + "': listen on 127.0.0.1");
  Fd out = peer_->handed_over(call.request.a);
  // The worker is not trusted to have sent what it was asked for.
  int listens = 0, family = 0;
  socklen_t size = sizeof listens;
  if (::getsockopt(out.get(), SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || listens == 0 ||
      ::getsockopt(out.get(), SOL_SOCKET, SO_DOMAIN, &family, &size) != 0 || family != AF_INET)
    throw Error(Code::kFail, "the process of plugin '" + id_ + "' sent no socket that listens");
  port = static_cast<uint16_t>(call.answer.object);
  return out;
}

void WorkerProcess::require_confined() const {
  if (const std::string missing = kept(); !missing.empty())
    throw Error(Code::kUnsupported,
                "this system does not let the process of plugin '" + id_ + "' be confined", missing,
                "allow it (docs/security.md says what it takes), or say isolation: {confine: auto} "
                "to go on with a warning");
}

WorkerProcess::WorkerProcess(const std::string& path, const std::string& id,
                             const WorkerSettings& settings)
    : id_(id), memory_(settings.memory) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    throw errno_error(errno, "make a socket for a plugin's worker");
  Fd ours(ends[0]);
  const Fd theirs(ends[1]);
  std::vector<std::string> argv{
      worker_program(), "--log-level", level_name(), "plugins", "serve", path, id};
  for (std::string& argument : arguments_of(settings.confinement))
    argv.push_back(std::move(argument));
  child_ = std::make_unique<ChildProcess>(argv, theirs.get(), settings.environment);
  const BlockedSignals blocked;
  reader_ = std::thread([this] {
    read_lines(*child_, -1, [this](int, const std::string& line) {
      const std::string text = Redactor::global().redact(line.substr(0, 2000));
      spdlog::debug("worker of {}: {}", id_, text);
      const std::lock_guard lock(mutex_);
      last_lines_.push_back(text);
      if (last_lines_.size() > kLastLines) last_lines_.pop_front();
    });
    const std::lock_guard lock(mutex_);
    all_read_ = true;
    ended_reading_.notify_all();
  });
  peer_ = std::make_unique<Peer>(std::move(ours), true, [this](const Frame& request, Lane& lane) {
    return serve(request, lane);
  });
  if (const char* seconds = std::getenv("HYPERHOST_WORKER_STALL_SECONDS"))
    peer_->stall = std::chrono::seconds(std::max(1L, std::strtol(seconds, nullptr, 10)));
  peer_->on_hang = [this](const std::string& why) { kill(why); };
  peer_->why_gone = [this] { return why_gone(); };
  peer_->start(SharedMemory::create());
}

WorkerProcess::~WorkerProcess() {
  if (!gone() && !facts_.is_null()) {
    try {
      Call(*peer_, Verb::kStop, 0, nullptr).go();
    } catch (...) {  // the worker ends in any case
      spdlog::debug("the worker of {} did not stop by itself", id_);
    }
  }
  peer_.reset();  // the worker sees the end of the conversation
  pollfd wait_for{child_->pid_fd(), POLLIN, 0};
  ::poll(&wait_for, 1, 2000);
  ::kill(child_->pid(), SIGKILL);  // it is not reaped yet, so the pid is still its own
  reader_.join();
}

void WorkerProcess::kill(const std::string& why) {
  const std::lock_guard lock(mutex_);
  if (!killed_.empty()) return;
  killed_ = why;
  cancelled_ = why.find("cancel") != std::string::npos;
  spdlog::warn("plugin '{}': {}; its process is killed", id_, why);
  ::kill(child_->pid(), SIGKILL);
}

std::pair<hyper_st, std::string> WorkerProcess::why_gone() {
  // Its sockets close before the process ends, and its last lines come through a pipe.
  if (!wait_for_end(*child_)) {
    ::kill(child_->pid(), SIGKILL);  // it has closed the conversation and is of no more use
    wait_for_end(*child_);
  }
  std::unique_lock lock(mutex_);
  ended_reading_.wait_for(lock, kDeathPatience, [&] { return all_read_; });
  if (ended_.empty()) {
    siginfo_t info{};
    // WNOWAIT: the child's owner reaps it.
    if (::waitid(P_PID, static_cast<id_t>(child_->pid()), &info, WEXITED | WNOWAIT | WNOHANG) ==
            0 &&
        info.si_pid != 0)
      ended_ = info.si_code != CLD_EXITED ? "crashed in its process: " + signal_text(info.si_status)
               : info.si_status == 0
                   ? "ended its process: it called exit(0)"
                   : "crashed in its process: exit status " + std::to_string(info.si_status);
    else
      ended_ = "crashed in its process: it closed the conversation";
  }
  std::string text = "the plugin '" + id_ + "' " +
                     (killed_.empty() ? ended_ : "was killed in its process: " + killed_);
  if (!last_lines_.empty()) {
    text += "\nits last lines:";
    for (const std::string& line : last_lines_) text += "\n  " + line;
  }
  return {cancelled_ ? HYPER_CANCELLED : HYPER_FAIL, text};
}

namespace {
/// memory: the worker's limit; 0 = none.
void report(const hyper_host& host, Operation* op, PayloadReader& in, uint64_t memory) {
  int64_t numbers[5];
  in.bytes(numbers, sizeof numbers);
  std::string texts[5];
  for (std::string& text : texts) text = in.text();
  if (memory != 0 && texts[0] == "out of memory" && texts[2].empty())
    texts[2] = "its process may use " + std::to_string(memory >> 20) +
               " MiB; isolation: {memory: SIZE} sets another limit";
  hyper_diag diag{};
  diag.size = sizeof diag;
  diag.severity = static_cast<int32_t>(numbers[0]);
  diag.code = static_cast<hyper_st>(numbers[1]);
  diag.flags = static_cast<uint32_t>(numbers[2]);
  diag.native_code = numbers[3];
  diag.retry_after_ns = static_cast<uint64_t>(numbers[4]);
  diag.summary = texts[0].c_str();
  diag.detail = texts[1].empty() ? nullptr : texts[1].c_str();
  diag.hint = texts[2].empty() ? nullptr : texts[2].c_str();
  diag.path = texts[3].empty() ? nullptr : texts[3].c_str();
  diag.rule = texts[4].empty() ? nullptr : texts[4].c_str();
  host.report(op, &diag);
}
}  // namespace

Frame WorkerProcess::serve(const Frame& request, Lane& lane) {
  Frame answer;
  Operation* op = peer_->operation(request.op);
  Incoming call(*peer_, request, lane, op, answer);
  const hyper_host& host = *host_table();
  const auto& checkpoint =
      *static_cast<const hyper_checkpoint*>(host.get_ext(HYPER_EXT_CHECKPOINT));
  if (serve_table(call) || JournalCalls::serve(call, *journal_table()) ||
      ThrottleCalls::serve(call, *throttle_table()) || CheckpointCalls::serve(call, checkpoint))
    return answer;
  switch (request.verb) {
    case Verb::kReport:
      report(host, op, call.in, memory_);
      break;
    case Verb::kLog: {
      const std::string message = call.in.text();
      const hyper_doc fields = document_in(call);
      host.log(op, static_cast<int32_t>(request.a), message.c_str(),
               fields.json.is_null() ? nullptr : &fields);
      break;
    }
    case Verb::kProgress:
      host.progress(op, request.a, request.b, nullptr);
      break;
    case Verb::kHasExtension: {
      const Received<const char*> id(call);
      answer.status = host.get_ext(id.get()) != nullptr ? HYPER_OK : HYPER_NOTFOUND;
      break;
    }
    default:
      throw Error(Code::kFail, "a worker asked for something that is not known");
  }
  return answer;
}

}  // namespace hyperhost::isolation
