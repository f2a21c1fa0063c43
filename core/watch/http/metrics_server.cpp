// SPDX-License-Identifier: Apache-2.0
#include "core/watch/http/metrics_server.hpp"

#include <nlohmann/json.hpp>

namespace hyperhost {

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

HttpResponse MetricsServer::handle(const HttpRequest& request) {
  HttpResponse response;
  if (request.path == "/metrics") {
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
