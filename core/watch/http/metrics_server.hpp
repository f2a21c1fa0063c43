// SPDX-License-Identifier: Apache-2.0
// MetricsServer: /metrics for Prometheus, /stats as the seed's JSON, /healthz or /health. Owned by
// the host; the collector must outlive it.
#pragma once

#include <chrono>
#include <mutex>
#include <string>

#include "core/base/cancel.hpp"
#include "core/watch/http/http_server.hpp"
#include "core/watch/metrics/metrics_collector.hpp"

namespace hyperhost {

class MetricsServer final : private HttpHandler {
 public:
  /// Binds; throws Error. address: see HttpServerOptions.
  explicit MetricsServer(MetricsCollector& collector, std::string address = ":9090");
  MetricsServer(MetricsCollector& collector, HttpServerOptions options);
  ~MetricsServer() override;

  void start() { server_.start(); }
  void stop() { server_.stop(); }
  std::string url() const { return server_.url(); }
  uint16_t port() const { return server_.port(); }
  HttpServerStats stats() const { return server_.stats(); }

  /// How long the next scrape of a Prometheus may take that scrapes regularly; zero where none
  /// does.
  std::chrono::milliseconds next_scrape() const;
  /// Waits for it, so that the last figures of a run are seen, too. False: it did not come, or
  /// the wait was cancelled.
  bool wait_for_scrape(const CancelSource& cancel) const;

 private:
  HttpResponse handle(const HttpRequest& request) override;
  bool is_public(const std::string& path) const override {
    return path == "/healthz" || path == "/health";
  }

  void count_scrape();

  MetricsCollector& collector_;
  mutable std::mutex mutex_;  // guards the next three
  uint64_t scrapes_ = 0;
  std::chrono::steady_clock::time_point last_scrape_{};
  std::chrono::milliseconds scrape_interval_{0};  ///< the newest; 0 = not known yet
  HttpServer server_;
};

}  // namespace hyperhost
