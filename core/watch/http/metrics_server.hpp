// SPDX-License-Identifier: Apache-2.0
// MetricsServer: /metrics for Prometheus, /stats as the seed's JSON, /healthz or /health. Owned by
// the host; the collector must outlive it.
#pragma once

#include <string>

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

 private:
  HttpResponse handle(const HttpRequest& request) override;
  bool is_public(const std::string& path) const override {
    return path == "/healthz" || path == "/health";
  }

  MetricsCollector& collector_;
  HttpServer server_;
};

}  // namespace hyperhost
