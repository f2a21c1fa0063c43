// SPDX-License-Identifier: Apache-2.0
#include "core/watch/http/metrics_server.hpp"

#include <nlohmann/json.hpp>

namespace hyperhost {
namespace {

using Clock = std::chrono::steady_clock;
// Before a second scrape has shown the interval: Prometheus's own examples have 15 s.
constexpr std::chrono::milliseconds kUsualInterval{15'000}, kLongestInterval{60'000};
constexpr std::chrono::milliseconds kLook{50};

}  // namespace

MetricsServer::MetricsServer(MetricsCollector& collector, HttpServerOptions options)
    : collector_(collector), server_(*this, std::move(options)) {}

MetricsServer::MetricsServer(MetricsCollector& collector, std::string address)
    : MetricsServer(collector, [&] {
        HttpServerOptions options;
        options.address = std::move(address);
        return options;
      }()) {}

MetricsServer::~MetricsServer() {
  server_.stop();
}

void MetricsServer::count_scrape() {
  const std::lock_guard lock(mutex_);
  const auto now = Clock::now();
  if (scrapes_++ > 0)
    scrape_interval_ = std::chrono::duration_cast<std::chrono::milliseconds>(now - last_scrape_);
  last_scrape_ = now;
}

std::chrono::milliseconds MetricsServer::next_scrape() const {
  const std::lock_guard lock(mutex_);
  if (scrapes_ == 0) return {};
  const auto interval = scrapes_ == 1 ? kUsualInterval : scrape_interval_;
  const auto since =
      std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - last_scrape_);
  // A scraper that has not come for so long does not come any more.
  if (interval > kLongestInterval || since > 2 * interval) return {};
  return interval + interval / 4;
}

bool MetricsServer::wait_for_scrape(const CancelSource& cancel) const {
  const auto end = Clock::now() + next_scrape();
  const auto seen = [&] {
    const std::lock_guard lock(mutex_);
    return scrapes_;
  };
  const uint64_t before = seen();
  while (Clock::now() < end) {
    if (seen() != before) return true;
    if (!cancel.wait_for(kLook)) return false;
  }
  return false;
}

HttpResponse MetricsServer::handle(const HttpRequest& request) {
  HttpResponse response;
  if (request.path == "/metrics") {
    if (request.user_agent.rfind("Prometheus/", 0) == 0) count_scrape();
    response.content_type = "text/plain; version=0.0.4; charset=utf-8";
    response.body = collector_.metrics_text();
  } else if (request.path == "/stats") {
    response.body = collector_.get_stats().dump() + "\n";
  } else if (request.path == "/healthz" || request.path == "/health") {
    response.body = "{\"status\":\"ok\"}\n";
  } else {
    return http_problem(404, "there is nothing at " + request.path +
                                 "; this server has /metrics, /stats and /healthz");
  }
  return response;
}

}  // namespace hyperhost
