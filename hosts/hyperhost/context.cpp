// SPDX-License-Identifier: Apache-2.0
#include "hosts/hyperhost/context.hpp"

#include <poll.h>
#include <signal.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <iostream>
#include <nlohmann/json.hpp>

#include "core/diag/redactor.hpp"
#include "core/os/fd.hpp"

namespace hyperhost {
namespace {

/// Blanks known secrets in every line that leaves through the log, whoever wrote it.
class RedactingFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    spdlog::memory_buf_t plain;
    inner_.format(message, plain);
    const std::string text =
        Redactor::global().redact(std::string_view(plain.data(), plain.size()));
    out.append(text.data(), text.data() + text.size());
  }
  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<RedactingFormatter>();
  }

 private:
  spdlog::pattern_formatter inner_{"%Y-%m-%d %H:%M:%S.%e %^%-7l%$ %v"};
};

}  // namespace

void Context::start_log() const {
  auto logger = spdlog::stderr_color_mt("hyperhost");
  logger->set_formatter(std::make_unique<RedactingFormatter>());
  logger->set_level(spdlog::level::from_str(log_level));
  logger->flush_on(spdlog::level::trace);
  spdlog::set_default_logger(std::move(logger));
}

const HostConfig& Context::host_config() {
  if (!host_config_) host_config_ = load_host_config();
  return *host_config_;
}

PluginRegistry& Context::registry(const std::vector<std::string>& plan_dirs) {
  if (registry_) return *registry_;
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
  for (const PluginFile& file : registry_->files())
    if (file.id.empty() && !file.refusal.empty())
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
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  const auto descriptor = std::make_shared<Fd>(::signalfd(-1, &signals, SFD_CLOEXEC));
  if (descriptor->get() < 0) throw errno_error(errno, "wait for signals");
  signal_reader_ = std::jthread([descriptor, cancel = cancel_](const std::stop_token& stop) {
    const auto ended = CancelSource::create();
    const std::stop_callback end(stop, [&] { ended->cancel(); });
    for (int count = 1;; ++count) {
      pollfd wait_for[] = {{descriptor->get(), POLLIN, 0}, {ended->fd(), POLLIN, 0}};
      if (::poll(wait_for, 2, -1) < 0 && errno != EINTR) return;
      if (stop.stop_requested()) return;
      signalfd_siginfo signal{};
      if (::read(descriptor->get(), &signal, sizeof signal) != sizeof signal) continue;
      if (count > 1) ::_exit(kExitInterrupted);
      spdlog::warn("{}: stopping and cleaning up; once more to leave at once",
                   signal.ssi_signo == SIGINT ? "interrupted" : "terminated");
      cancel->cancel();
    }
  });
  return cancel_;
}

nlohmann::json diagnostic_json(const Diagnostic& diagnostic) {
  nlohmann::json out = {{"severity", severity_name(diagnostic.severity)},
                        {"code", code_name(diagnostic.code)},
                        {"summary", diagnostic.summary},
                        {"retryable", diagnostic.retryable}};
  const std::pair<const char*, const std::string*> texts[] = {{"detail", &diagnostic.detail},
                                                              {"hint", &diagnostic.hint},
                                                              {"path", &diagnostic.path},
                                                              {"where", &diagnostic.where}};
  for (const auto& [key, text] : texts)
    if (!text->empty()) out[key] = *text;
  if (diagnostic.native_code != 0) out["native_code"] = diagnostic.native_code;
  return out;
}

void Context::print_json(const nlohmann::json& value) const {
  std::cout << Redactor::global().redact(
                   value.dump(2, ' ', false, nlohmann::json::error_handler_t::replace))
            << std::endl;
}

void Context::print(const std::vector<Diagnostic>& diagnostics) const {
  for (const Diagnostic& diagnostic : diagnostics)
    std::cerr << severity_name(diagnostic.severity) << ": "
              << Redactor::global().redact(to_string(diagnostic)) << "\n";
}

int Context::fail(const Error& error) const {
  if (json())
    print_json({{"error", diagnostic_json(error.diagnostic())}});
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
