// SPDX-License-Identifier: Apache-2.0
#include "hosts/hyperhost/plan_flags.hpp"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "hosts/hyperhost/command_line.hpp"

namespace hyperhost {
namespace {

/// JSON is YAML: quoted, whatever the text holds.
std::string quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string reference(const std::string& flag, const std::string& text) {
  const std::size_t colon = text.find(':');
  const std::string name = colon == std::string::npos ? "" : text.substr(colon + 1);
  if (name.empty() || !is_secret_reference(text))
    throw Error(Code::kConfig, flag + " takes no secret itself: everybody could read it", "",
                "write " + flag + " env:NAME for an environment variable or " + flag +
                    " file:PATH for a file");
  return text[0] == 'e' ? "{env: " + quoted(name) + "}"
                        : "{file: " + quoted(absolute_path(name)) + "}";
}

void add_listener(const std::string& name, const std::optional<uint16_t>& port,
                  const std::string& address, const std::string& token,
                  std::vector<PlanFlag>& out) {
  std::string key = name;
  key.replace(key.find('-'), 1, "_");
  const std::string token_flag = "--" + name.substr(0, name.find('-')) + "-token";
  if (!port && address.empty()) {
    if (!token.empty())
      throw Error(Code::kConfig, token_flag + " needs --" + name + " HOST:PORT beside it");
    return;
  }
  const std::string flag = "--" + name + (port ? "-port" : "");
  const std::string listen = quoted(port ? "127.0.0.1:" + std::to_string(*port) : address);
  out.push_back({flag, "observability." + key,
                 token.empty()
                     ? listen
                     : "{listen: " + listen + ", token: " + reference(token_flag, token) + "}"});
}

}  // namespace

void add_watch_flags(CLI::App& app, WatchFlags& flags) {
  const char* const group = "Watching";
  const auto listener = [&](const std::string& name, std::optional<uint16_t>& port,
                            std::string& address, const std::string& what) {
    CLI::Option* by_port =
        app.add_option("--" + name + "-port", port, what + " on this port of 127.0.0.1")
            ->check(in_range(0, 65535))
            ->group(group);
    app.add_option("--" + name, address,
                   "The same on HOST:PORT; all but loopback wants a token (\":PORT\" is loopback)")
        ->excludes(by_port)
        ->group(group);
  };
  listener("progress-api", flags.progress_port, flags.progress_api, "Progress API and dashboard");
  app.add_option("--progress-token", flags.progress_token,
                 "Its bearer token: env:NAME or file:PATH")
      ->group(group);
  listener("metrics-api", flags.metrics_port, flags.metrics_api, "/metrics for Prometheus, /stats");
  app.add_option("--metrics-token", flags.metrics_token, "Its bearer token: env:NAME or file:PATH")
      ->group(group);
  app.add_option("--audit-log", flags.audit_log,
                 "Write the audit log here, one JSON object a line; where that fails, no VM begins")
      ->group(group);
}

void add_plan_flags(const WatchFlags& flags, std::vector<PlanFlag>& out) {
  add_listener("progress-api", flags.progress_port, flags.progress_api, flags.progress_token, out);
  add_listener("metrics-api", flags.metrics_port, flags.metrics_api, flags.metrics_token, out);
  if (flags.audit_log.empty()) return;
  out.push_back(
      text_flag("--audit-log", "observability.audit_log.path", absolute_path(flags.audit_log)));
  out.push_back({"--audit-log", "observability.audit_log.required", "true"});
}

PlanFlag text_flag(const std::string& flag, const std::string& key, const std::string& text) {
  return {flag, key, quoted(text)};
}

PlanFlag secret_flag(const std::string& flag, const std::string& key, const std::string& text) {
  return {flag, key, reference(flag, text)};
}

bool is_secret_reference(const std::string& text) {
  return text.rfind("env:", 0) == 0 || text.rfind("file:", 0) == 0;
}

std::string absolute_path(const std::string& path) {
  std::string text = std::filesystem::absolute(path).lexically_normal().string();
  if (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

}  // namespace hyperhost
