// SPDX-License-Identifier: Apache-2.0
#include "core/watch/http/progress_api_server.hpp"

#include <charconv>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "core/base/units.hpp"
#include "core/watch/http/web_assets.hpp"

namespace hyperhost {
namespace {

using nlohmann::json;

constexpr std::string_view kProgress = "/api/v1/progress";
constexpr std::string_view kRun = "/api/v1/run";
constexpr std::string_view kStream = "/api/v1/stream";
constexpr std::string_view kBandwidth = "/api/v1/bandwidth";
constexpr std::string_view kManifest = "/api/v1/manifest/";
constexpr std::streamoff kManifestLimit = 16 << 20;
// Scripts and styles only from this server, nothing inline, and no page may frame this one.
constexpr const char* kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

/// The value of a query's parameter, as it was sent; nothing without it, or where it comes twice.
std::optional<std::string_view> parameter(std::string_view query, std::string_view name) {
  std::optional<std::string_view> found;
  while (!query.empty()) {
    const std::string_view part = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), part.size() + 1));
    const size_t sign = std::min(part.size(), part.find('='));
    if (part.substr(0, sign) != name) continue;
    if (found) return std::nullopt;
    found = part.substr(std::min(part.size(), sign + 1));
  }
  return found;
}

HttpResponse json_response(const json& value) {
  HttpResponse response;
  response.body = dump(value) + "\n";
  return response;
}

}  // namespace

/// The newest state of each task as SSE text, rendered once for all clients. Server thread only.
struct ProgressApiServer::Frames {
  struct Frame {
    uint64_t version = 0, refreshed = 0;
    bool final = false;
    std::string text;
    std::string unnamed;  ///< the same for clients of the Go hypersdk: EventSource.onmessage
  };

  explicit Frames(const ProgressTracker& tracker_in) : tracker(tracker_in) {
    // Event ids of another run of the server mean nothing here.
    epoch = std::to_string(std::random_device{}());
  }

  void update(std::chrono::steady_clock::time_point time) {
    now = time;
    uint64_t last = newest;
    // From time to time everything: rates of tasks that stand still fall, forgotten tasks leave.
    const bool all = now - last_full > std::chrono::seconds(5);
    if (all) {
      last_full = now;
      ++refresh;
      frames.clear();
    }
    const ProgressFrame now_shown = tracker.frame();
    show_run(now_shown.run);
    for (const TaskProgress& task : now_shown.tasks) {
      if (!all && task.version <= newest) continue;
      Frame& frame = frames[task.info->task_id];
      frame.version = task.version;
      frame.refreshed = refresh;
      frame.final = is_final(task.status);
      const std::string id = "id: " + epoch + "." + std::to_string(task.version) + "\n";
      const std::string data = "data: " + dump(progress_json(task)) + "\n\n";
      frame.text = id + "event: progress\n" + data;
      frame.unnamed = id + data;
      last = std::max(last, task.version);
    }
    newest = std::max(newest, last);
  }

  /// The run's own figures change all the time: once a second, and its end at once.
  void show_run(const RunFrame& run) {
    const bool ended = run.end_time.has_value();
    if (run.total == 0 ||
        (ended == run_ended && now - run_shown < std::chrono::seconds(1) && run.run_id == run_id))
      return;
    run_shown = now;
    run_ended = ended;
    run_id = run.run_id;
    ++run_version;
    run_text = "event: run\ndata: " + dump(run_progress_json(run)) + "\n\n";
  }

  /// The version in an event id of this server; 0 for any other.
  uint64_t version_of(std::string_view id) const {
    if (id.size() <= epoch.size() || id.substr(0, epoch.size()) != epoch || id[epoch.size()] != '.')
      return 0;
    id.remove_prefix(epoch.size() + 1);
    uint64_t version = 0;
    const auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), version);
    return error == std::errc() && end == id.data() + id.size() && version <= newest ? version : 0;
  }

  const ProgressTracker& tracker;
  std::string epoch;
  std::map<std::string, Frame> frames;
  uint64_t newest = 0, refresh = 0, run_version = 0;
  std::string run_id, run_text;
  bool run_ended = false;
  std::chrono::steady_clock::time_point now, last_full, run_shown;
};

class ProgressApiServer::Stream final : public EventStream {
 public:
  Stream(std::shared_ptr<const Frames> frames, std::string task_id, uint64_t after, bool only_named)
      : frames_(std::move(frames)),
        task_id_(std::move(task_id)),
        only_named_(only_named),
        version_(after),
        refresh_(frames_->refresh) {}

  std::string poll(bool& end) override {
    std::vector<const Frames::Frame*> due;
    const auto consider = [&](const Frames::Frame& frame) {
      if (frame.version > version_ || (frames_->refresh > refresh_ && !frame.final))
        due.push_back(&frame);
    };
    if (task_id_.empty()) {
      for (const auto& [id, frame] : frames_->frames) consider(frame);
    } else if (const auto it = frames_->frames.find(task_id_); it != frames_->frames.end()) {
      consider(it->second);
      end = it->second.final;
    } else {
      end = true;  // forgotten by the tracker
    }
    std::sort(due.begin(), due.end(),
              [](const auto* a, const auto* b) { return a->version < b->version; });
    std::string text;
    if (task_id_.empty() && frames_->run_version > run_version_) {
      run_version_ = frames_->run_version;
      text = frames_->run_text;
    }
    for (const auto* frame : due) {
      text += frame->text;
      if (!only_named_) text += frame->unnamed;
      version_ = std::max(version_, frame->version);
    }
    refresh_ = frames_->refresh;
    if (end) text += "event: end\ndata: {}\n\n";
    return text;
  }

 private:
  const std::shared_ptr<const Frames> frames_;
  const std::string task_id_;  // empty: all tasks
  const bool only_named_;
  uint64_t version_, refresh_, run_version_ = 0;
};

ProgressApiServer::ProgressApiServer(const ProgressTracker& tracker, Options options)
    : tracker_(tracker),
      options_(std::move(options)),
      frames_(std::make_shared<Frames>(tracker)),
      server_(*this, options_.http) {}

ProgressApiServer::ProgressApiServer(const ProgressTracker& tracker, std::string address)
    : ProgressApiServer(tracker, [&] {
        Options options;
        options.http.address = std::move(address);
        return options;
      }()) {}

ProgressApiServer::~ProgressApiServer() {
  server_.stop();
}

bool ProgressApiServer::is_public(const std::string& path) const {
  return path == "/healthz" || path == "/health" || path == "/readyz" ||
         find_web_asset(path) != nullptr;
}

void ProgressApiServer::refresh() {
  frames_->update(std::chrono::steady_clock::now());
}

HttpResponse ProgressApiServer::handle(const HttpRequest& request) {
  const std::string_view path = request.path;
  const auto below = [&](std::string_view prefix) {
    return path.size() > prefix.size() + 1 && path.starts_with(prefix) && path[prefix.size()] == '/'
               ? std::string(path.substr(prefix.size() + 1))
               : std::string();
  };
  if (const WebAsset* asset = find_web_asset(request.path)) {
    HttpResponse response;
    response.content_type = asset->content_type;
    response.body = asset->text;
    response.headers = {{"Content-Security-Policy", kPolicy}, {"Cache-Control", "no-cache"}};
    return response;
  }
  if (path == "/healthz" || path == "/health") return json_response({{"status", "ok"}});
  if (path == "/readyz")
    return options_.ready() ? json_response({{"status", "ready"}})
                            : http_problem(503, "not ready yet");
  if (path == kRun) return json_response(run_progress_json(tracker_.frame().run));
  if (path == kProgress) {
    const ProgressFrame frame = tracker_.frame();
    json tasks = json::array();
    for (const TaskProgress& task : frame.tasks) tasks.push_back(progress_json(task));
    const size_t count = tasks.size();
    return json_response(
        {{"tasks", std::move(tasks)}, {"count", count}, {"run", run_progress_json(frame.run)}});
  }
  if (const std::string id = below(kProgress); !id.empty()) {
    const auto task = tracker_.get_progress(id);
    return task ? json_response(progress_json(*task)) : http_problem(404, "no such task: " + id);
  }
  if (path == kBandwidth) return bandwidth(request, {});
  if (const std::string id = below(kBandwidth); !id.empty()) return bandwidth(request, id);
  if (path == kStream) return open_stream(request, {});
  if (const std::string id = below(kStream); !id.empty()) return open_stream(request, id);
  if (path.starts_with(kManifest)) return manifest(request.path.substr(kManifest.size()));
  return http_problem(404, "there is nothing at " + request.path);
}

HttpResponse ProgressApiServer::open_stream(const HttpRequest& request,
                                            const std::string& task_id) {
  frames_->update(std::chrono::steady_clock::now());
  const uint64_t after = frames_->version_of(request.last_event_id);
  if (!task_id.empty()) {
    const auto task = tracker_.get_progress(task_id);
    if (!task) return http_problem(404, "no such task: " + task_id);
    // 204 tells an EventSource that has seen the end not to come back.
    if (is_final(task->status) && after >= task->version) {
      HttpResponse response;
      response.status = 204;
      return response;
    }
  }
  HttpResponse response;
  response.headers = {{"X-Accel-Buffering", "no"}};
  response.stream = std::make_unique<Stream>(frames_, task_id, after,
                                             parameter(request.query, "named").has_value());
  return response;
}

bool ProgressApiServer::takes_put(const std::string& path) const {
  return options_.bandwidth != nullptr &&
         (path == kBandwidth || path.starts_with(std::string(kBandwidth) + "/"));
}

/// GET: the limits. PUT …?limit=SIZE: another one, "0" for none.
HttpResponse ProgressApiServer::bandwidth(const HttpRequest& request, const std::string& task_id) {
  if (!options_.bandwidth) return http_problem(404, "nothing is uploaded here");
  Bandwidth& limits = *options_.bandwidth;
  const auto own = task_id.empty() ? nullptr : limits.find(task_id);
  if (!task_id.empty() && !own) return http_problem(404, "no such upload: " + task_id);
  RateLimit& limit = own ? *own : limits.whole();
  if (request.method == "PUT") {
    const auto given = parameter(request.query, "limit");
    const auto size = given ? parse_size(*given) : std::nullopt;
    if (!size)
      return http_problem(400, "write ?limit=BYTES, e.g. ?limit=50MB, or ?limit=0 for no limit");
    const uint64_t before = limit.rate();
    limit.set(*size);
    if (options_.on_bandwidth) options_.on_bandwidth(request, task_id, before, *size);
  }
  if (own) return json_response({{"task_id", task_id}, {"limit", limit.rate()}});
  return json_response({{"limit", limit.rate()}, {"tasks", limits.tasks()}});
}

HttpResponse ProgressApiServer::manifest(const std::string& task_id) const {
  const auto task = tracker_.get_progress(task_id);
  if (!task) return http_problem(404, "no such task: " + task_id);
  if (task->manifest_path.empty()) return http_problem(404, "this task has no manifest (yet)");
  std::ifstream file(task->manifest_path, std::ios::binary | std::ios::ate);
  if (!file) return http_problem(404, "the manifest is no longer where it was written");
  if (file.tellg() > kManifestLimit) return http_problem(500, "the manifest is over 16 MiB");
  file.seekg(0);
  std::ostringstream text;
  text << file.rdbuf();
  HttpResponse response;
  response.body = std::move(text).str();
  return response;
}

}  // namespace hyperhost
