// SPDX-License-Identifier: Apache-2.0
#include "hosts/hyperhost/context.hpp"

#include <poll.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/base/redactor.hpp"
#include "core/base/timestamp.hpp"
#include "core/events/event.hpp"
#include "core/os/fd.hpp"
#include "hosts/hyperhost/log_sink.hpp"
#include "hosts/hyperhost/terminal_text.hpp"

namespace hyperhost {

void Context::start_log() {
  log_ = std::make_shared<LogSink>(progress_mode() == ProgressMode::kJson,
                                   wants_colour(STDERR_FILENO));
  auto logger = std::make_shared<spdlog::logger>("hyperhost", log_);
  logger->set_level(spdlog::level::from_str(log_level));
  spdlog::set_default_logger(std::move(logger));
}

const HostConfig& Context::host_config() {
  if (!host_config_) host_config_ = load_host_config();
  return *host_config_;
}

void Context::redirect_log(Console* console) const {
  log_->redirect(console);
}

ProgressMode Context::progress_mode() const {
  if (progress == "json") return ProgressMode::kJson;
  if (progress == "live") return ProgressMode::kLive;
  const char* terminal = std::getenv("TERM");
  const bool able = ::isatty(STDERR_FILENO) == 1 && terminal != nullptr && *terminal != '\0' &&
                    std::string_view(terminal) != "dumb";
  return progress == "auto" && able ? ProgressMode::kLive : ProgressMode::kPlain;
}

void add_progress_option(CLI::App& app, Context& context) {
  app.add_option("--progress", context.progress,
                 "What standard error shows meanwhile: a live view, dated lines, JSON events;\n"
                 "auto is live on a terminal and plain elsewhere")
      ->check(CLI::IsMember({"auto", "live", "plain", "json"}))
      ->capture_default_str();
}

PluginRegistry& Context::registry(const std::vector<std::string>& plan_dirs) {
  if (registry_) return *registry_;
  cancel();  // before a plugin is loaded: threads that plugins make leave the signals to ours
  std::vector<SearchDir> dirs;
  for (const std::string& dir : plugin_dirs) dirs.push_back({dir, "--plugin-dir", true});
  for (const std::string& dir : plan_dirs) dirs.push_back({dir, "plan", true});
  const HostConfig& host = host_config();
  std::vector<SearchDir> host_dirs;
  for (const auto& dir : host.plugin_dirs) host_dirs.push_back({dir.string(), host.path, true});
  registry_ =
      std::make_unique<PluginRegistry>(PluginRegistry::search_path(std::move(dirs), host_dirs));
  registry_->isolate_by_default(isolation_named(isolation.empty() ? host.isolation : isolation));
  for (const auto& [id, one] : host.isolation_of) registry_->isolate(id, isolation_named(one));
  if (host.worker_memory) registry_->memory_by_default(*host.worker_memory);
  for (const auto& [id, bytes] : host.worker_memory_of) registry_->memory_of(id, bytes);
  registry_->confine_by_default(confine_named(host.confine));
  for (const auto& [id, how] : host.confine_of) registry_->confine(id, confine_named(how));
  if (!host.confined_user.empty()) registry_->confined_user(host.confined_user);
  if (const ConfigValue* storages = host.defaults.find("storage"))
    for (const auto& [scheme, key_mark, storage] : *storages->members())
      registry_->prefer_storage(scheme, *storage.find("plugin")->string());
  for (const PluginFile& file : registry_->files())
    if ((file.id.empty() || file.shadows) && !file.refusal.empty())
      spdlog::warn("plugin {} is not used: {}", file.path, file.refusal);
  return *registry_;
}

const std::shared_ptr<CancelSource>& Context::cancel() {
  if (cancel_) return cancel_;
  cancel_ = CancelSource::create();
  // Signals are read by a thread, so that what they start is ordinary code. Blocked here and thus
  // in every thread made from now on; the thread ends with this object, before the log does.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGHUP);  // the terminal is gone; under nohup it is ignored, and stays so
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  const auto descriptor =
      std::make_shared<Fd>(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (descriptor->get() < 0) throw errno_error(errno, "wait for signals");
  signal_reader_ = std::jthread([this, descriptor, cancel = cancel_](const std::stop_token& stop) {
    const auto ended = CancelSource::create();
    const std::stop_callback end(stop, [&] { ended->cancel(); });
    // One wish may arrive twice: timeout(1) signals its child and then the group it is in.
    constexpr auto kSameWish = std::chrono::milliseconds(300);
    std::optional<std::chrono::steady_clock::time_point> last;
    for (;;) {
      pollfd wait_for[] = {{descriptor->get(), POLLIN, 0}, {ended->fd(), POLLIN, 0}};
      if (::poll(wait_for, 2, -1) < 0 && errno != EINTR) return;
      if (stop.stop_requested()) return;
      signalfd_siginfo signal{};
      if (::read(descriptor->get(), &signal, sizeof signal) != sizeof signal) continue;
      const auto now = std::chrono::steady_clock::now();
      if (last && now - *last < kSameWish) continue;
      last = now;
      std::function<void()> drain;
      {
        const std::lock_guard lock(drain_mutex_);
        drain.swap(drain_);
      }
      if (drain && signal.ssi_signo == SIGTERM) {
        spdlog::warn(
            "terminated: no VM and no disk begins any more, those that run are finished; "
            "once more to stop now");
        drain();
        continue;
      }
      if (cancel->cancelled()) ::_exit(kExitInterrupted);
      spdlog::warn("{}: stopping and cleaning up; once more to leave at once",
                   signal.ssi_signo == SIGINT ? "interrupted" : "terminated");
      cancel->cancel();
    }
  });
  return cancel_;
}

void Context::on_drain(std::function<void()> drain) {
  const std::lock_guard lock(drain_mutex_);
  drain_ = std::move(drain);
}

namespace {

void print_event(nlohmann::json event) {
  event["time"] = format_timestamp(WallClock::now());
  std::cerr << Redactor::global().redact(
                   event.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace))
            << "\n";
}

}  // namespace

void Context::print_json(const nlohmann::json& value) const {
  std::cout << Redactor::global().redact(
                   value.dump(2, ' ', false, nlohmann::json::error_handler_t::replace))
            << std::endl;
}

void Context::print(const std::vector<Diagnostic>& diagnostics) const {
  for (Diagnostic diagnostic : diagnostics) {
    if (reword) reword(diagnostic);
    if (progress_mode() == ProgressMode::kJson)
      print_event({{"event", "diagnostic"}, {"diagnostic", diagnostic_json(diagnostic)}});
    else
      std::cerr << severity_name(diagnostic.severity) << ": "
                << printable(Redactor::global().redact(to_string(diagnostic)), true) << "\n";
  }
}

void Context::say(const std::string& sentence) const {
  if (progress_mode() == ProgressMode::kJson)
    print_event({{"event", "stopped"}, {"message", sentence}});
  else
    std::cerr << printable(Redactor::global().redact(sentence), true) << "\n";
}

int Context::fail(const Error& error) const {
  Diagnostic diagnostic = error.diagnostic();
  if (json() && reword) reword(diagnostic);
  if (json())
    print_json({{"error", diagnostic_json(diagnostic)}});
  else
    print({error.diagnostic()});
  switch (error.code()) {
    case Code::kConfig:
      return kExitUsage;
    case Code::kCancelled:
      return kExitInterrupted;
    default:
      return kExitFailed;
  }
}

}  // namespace hyperhost
