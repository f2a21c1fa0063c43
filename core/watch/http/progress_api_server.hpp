// SPDX-License-Identifier: Apache-2.0
// ProgressApiServer: the progress API, its event streams and the dashboard over one HttpServer.
//   /                          the dashboard
//   /api/v1/progress           {tasks[], count, run}
//   /api/v1/run                the run: its counts, share, rate, time left
//   /api/v1/progress/{task}    one task (architecture.md, "Progress JSON")
//   /api/v1/stream[/{task}]    the same objects as server-sent events, each named "progress" and,
//                              without ?named, once more unnamed
//   /api/v1/manifest/{task}    the artifact manifest of a finished task
//   /api/v1/openapi.json  /healthz (or /health)  /readyz
// Owned by the host; the tracker must outlive it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "core/base/bandwidth.hpp"
#include "core/watch/http/http_server.hpp"
#include "core/watch/progress/progress_tracker.hpp"

namespace hyperhost {

class ProgressApiServer final : private HttpHandler {
 public:
  struct Options {
    HttpServerOptions http;
    std::function<bool()> ready = [] { return true; };  ///< for /readyz; on the server's thread
    std::shared_ptr<Bandwidth> bandwidth;               ///< null: no limit to show or to set
    /// A limit was changed ("" = that of the whole run); on the server's thread.
    std::function<void(const HttpRequest&, const std::string& task_id, uint64_t before,
                       uint64_t after)>
        on_bandwidth;
  };
  /// Binds; throws Error. address: see HttpServerOptions.
  explicit ProgressApiServer(const ProgressTracker& tracker, std::string address = ":8080");
  ProgressApiServer(const ProgressTracker& tracker, Options options);
  ~ProgressApiServer() override;

  void start() { server_.start(); }
  /// Streams get the final state first; takes two seconds at most.
  void stop() { server_.stop(); }
  std::string url() const { return server_.url(); }
  uint16_t port() const { return server_.port(); }
  HttpServerStats stats() const { return server_.stats(); }

 private:
  struct Frames;
  class Stream;

  HttpResponse handle(const HttpRequest& request) override;
  bool is_public(const std::string& path) const override;
  void refresh() override;
  HttpResponse open_stream(const HttpRequest& request, const std::string& task_id);
  HttpResponse manifest(const std::string& task_id) const;
  bool takes_put(const std::string& path) const override;
  HttpResponse bandwidth(const HttpRequest& request, const std::string& task_id);

  const ProgressTracker& tracker_;
  const Options options_;
  std::shared_ptr<Frames> frames_;
  HttpServer server_;
};

}  // namespace hyperhost
