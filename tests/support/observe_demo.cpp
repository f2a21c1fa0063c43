// SPDX-License-Identifier: Apache-2.0
// Publishes the events of a simulated run to all real observers, for the end-to-end tests of the
// servers, the dashboard and the webhooks, which want a migration of known length.
//
//   observe_demo [--tasks N] [--steps N] [--step-ms N] [--work-mib N] [--progress-api ADDRESS]
//                [--metrics-api ADDRESS] [--token TOKEN] [--tls CERT KEY] [--audit PATH]
//                [--slack|--discord|--generic|--email URL] [--secret SECRET] [--drain-ms N]
//
// Prints {"progress": URL, "metrics": URL} when it listens, begins when it reads a line, prints
// {"finished": …} at the end of the run and leaves when its input ends. Of the tasks the last one
// fails, the others succeed; --work-mib is what each step hashes, as a data path would.
#include <openssl/evp.h>

#include <atomic>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/watch/audit/audit_logger.hpp"
#include "core/watch/http/metrics_server.hpp"
#include "core/watch/http/progress_api_server.hpp"
#include "core/watch/metrics/metrics_collector.hpp"
#include "core/watch/progress/progress_tracker.hpp"
#include "core/watch/webhook/webhook_manager.hpp"

using namespace hyperhost;
using Steady = std::chrono::steady_clock;

namespace {

struct Arguments {
  int tasks = 2, steps = 50, step_ms = 20, work_mib = 0, drain_ms = 5000;
  std::string progress_api = "127.0.0.1:0", metrics_api = "127.0.0.1:0", token, certificate, key;
  std::string audit, secret;
  std::vector<WebhookConfig> hooks;
};

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  std::vector<std::string> words(argv + 1, argv + argc);
  const auto hook = [&](WebhookType type, const std::string& url) {
    WebhookConfig config;
    config.type = type;
    config.url = url;
    config.on_warning = true;
    config.timeout = std::chrono::seconds(2);
    config.retry_delay = std::chrono::milliseconds(100);
    config.from = "hyperhost@example.org";
    config.to = {"ops@example.org"};
    config.require_tls = false;
    arguments.hooks.push_back(config);
  };
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    const auto value = [&] {
      return ++i < words.size() ? words[i] : throw std::runtime_error(word);
    };
    if (word == "--tasks")
      arguments.tasks = std::stoi(value());
    else if (word == "--steps")
      arguments.steps = std::stoi(value());
    else if (word == "--step-ms")
      arguments.step_ms = std::stoi(value());
    else if (word == "--work-mib")
      arguments.work_mib = std::stoi(value());
    else if (word == "--drain-ms")
      arguments.drain_ms = std::stoi(value());
    else if (word == "--progress-api")
      arguments.progress_api = value();
    else if (word == "--metrics-api")
      arguments.metrics_api = value();
    else if (word == "--token")
      arguments.token = value();
    else if (word == "--audit")
      arguments.audit = value();
    else if (word == "--secret")
      arguments.secret = value();
    else if (word == "--tls")
      arguments.certificate = value(), arguments.key = value();
    else if (word == "--slack")
      hook(WebhookType::kSlack, value());
    else if (word == "--discord")
      hook(WebhookType::kDiscord, value());
    else if (word == "--generic")
      hook(WebhookType::kGeneric, value());
    else if (word == "--email")
      hook(WebhookType::kEmail, value());
    else
      throw std::runtime_error("unknown argument " + word);
  }
  for (WebhookConfig& config : arguments.hooks) config.secret = arguments.secret;
  return arguments;
}

std::shared_ptr<const TaskInfo> make_task(int number) {
  auto task = std::make_shared<TaskInfo>();
  task->task_id = "demo-" + std::to_string(number);
  task->run_id = "demo-run";
  task->vm_name = "web-server-0" + std::to_string(number + 1);
  task->provider = "local-ovf";
  task->provider_name = "shelf";
  task->converter = "parallel-disk";
  task->user = "ops";
  task->ip_address = "127.0.0.1";
  task->user_agent = "hyperhost/demo";
  task->target_format = "qcow2";
  return task;
}

void hash(int mib) {
  static const std::vector<unsigned char> kBlock(1 << 20, 7);
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  for (int i = 0; i < mib; ++i)
    EVP_Digest(kBlock.data(), kBlock.size(), digest, &size, EVP_sha256(), nullptr);
}

constexpr uint64_t kDisk = 8ull << 30;

class Run {
 public:
  explicit Run(const Arguments& arguments) : arguments_(arguments) {
    for (int i = 0; i < arguments.tasks; ++i) tasks_.push_back(make_task(i));
  }

  void run(EventBus& bus) {
    publish(bus, nullptr, event::RunStarted{"demo-run", "demo", "ops", tasks_, "demo-host"});
    for (const auto& task : tasks_)
      publish(bus, task, event::TaskMeasured{2 * kDisk, 2 * kDisk, {"disk-0", "disk-1"}});
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < tasks_.size(); ++i)
      threads.emplace_back([this, &bus, i] { migrate(bus, i); });
    threads.clear();
    publish(bus, nullptr,
            event::RunFinished{"demo-run", tasks_.size() - 1, 1, 0, 0, "demo", "ops"});
  }
  double publish_seconds() const { return static_cast<double>(publish_ns_) / 1e9; }
  uint64_t events() const { return events_; }

 private:
  void publish(EventBus& bus, std::shared_ptr<const TaskInfo> task, EventBody body) {
    const auto before = Steady::now();
    bus.publish(std::move(task), std::move(body));
    publish_ns_ += static_cast<uint64_t>((Steady::now() - before).count());
    ++events_;
  }

  void migrate(EventBus& bus, size_t number) {
    const auto& task = tasks_[number];
    const bool fails = number + 1 == tasks_.size();
    const auto began = Steady::now();
    const auto steps = static_cast<uint64_t>(arguments_.steps);
    const auto step_time = std::chrono::milliseconds(arguments_.step_ms);
    publish(bus, task,
            event::TaskStarted{2, 2 * kDisk, {Stage::kExport, Stage::kConvert, Stage::kUpload}});
    for (const Stage stage : {Stage::kExport, Stage::kConvert})
      publish(bus, task, event::StageStarted{stage, 0, "streaming, no staging"});
    for (const char* disk : {"disk-0", "disk-1"})
      for (const Stage stage : {Stage::kExport, Stage::kConvert})
        publish(bus, task,
                event::DiskStarted{stage, disk, stage == Stage::kExport ? kDisk / 2 : kDisk});
    Diagnostic warning;
    warning.severity = Severity::kWarning;
    warning.summary = "the package has no .mf <script>alert(1)</script>";
    publish(bus, task, event::Notice{warning, "export"});
    for (uint64_t step = 1; step <= steps; ++step) {
      std::this_thread::sleep_for(step_time);
      hash(arguments_.work_mib);
      for (const char* disk : {"disk-0", "disk-1"}) {
        publish(bus, task,
                event::DiskProgress{Stage::kExport, disk, kDisk / 2 * step / steps, kDisk / 2});
        publish(bus, task, event::DiskProgress{Stage::kConvert, disk, kDisk * step / steps, kDisk});
      }
      if (fails && step > steps / 2) break;
    }
    event::TaskFinished finished;
    if (fails) {
      finished.outcome = Outcome::kFailed;
      finished.error = Error(Code::kNoSpace, "no space left under /out").diagnostic();
    } else {
      const auto so_far = Steady::now() - began;
      publish(bus, task, event::StageFinished{Stage::kExport, true, kDisk, so_far});
      publish(bus, task, event::StageFinished{Stage::kConvert, true, 2 * kDisk, so_far});
      publish(bus, task, event::StageStarted{Stage::kUpload, kDisk, ""});
      for (uint64_t part = 1; part <= 5; ++part) {
        std::this_thread::sleep_for(step_time);
        publish(bus, task, event::DiskProgress{Stage::kUpload, "disk-0", kDisk * part / 5, kDisk});
      }
      publish(bus, task, event::StageFinished{Stage::kUpload, true, kDisk, step_time * 5});
      finished.bytes_exported = kDisk;
      finished.bytes_converted = 2 * kDisk;
      finished.bytes_uploaded = kDisk;
      finished.files = {"/out/" + task->vm_name + "-disk-0.qcow2"};
      if (!arguments_.audit.empty()) {
        finished.manifest_path = arguments_.audit + ".manifest.json";
        std::ofstream(finished.manifest_path) << "{\"manifest_version\":\"1.0\"}\n";
      }
    }
    finished.duration = Steady::now() - began;
    publish(bus, task, finished);
  }

  const Arguments& arguments_;
  std::vector<std::shared_ptr<const TaskInfo>> tasks_;
  std::atomic<uint64_t> publish_ns_{0}, events_{0};
};

int demo(const Arguments& arguments) {
  ProgressTracker tracker;
  MetricsCollector metrics({"demo", Steady::now});
  EventBus bus;
  bus.subscribe(&tracker);
  bus.subscribe(&metrics);
  std::unique_ptr<AuditLogger> audit;
  if (!arguments.audit.empty()) {
    AuditOptions options;
    options.path = arguments.audit;
    options.required = true;
    audit = AuditLogger::open(options);
    bus.subscribe(audit.get());
  }
  WebhookManager::Options webhook_options;
  webhook_options.drain_timeout = std::chrono::milliseconds(arguments.drain_ms);
  WebhookManager webhooks(arguments.hooks, webhook_options);
  webhooks.expose(metrics);
  bus.subscribe(&webhooks);

  HttpServerOptions http;
  http.bearer_token = arguments.token;
  http.tls_certificate_file = arguments.certificate;
  http.tls_key_file = arguments.key;
  http.request_timeout = std::chrono::seconds(3);
  http.heartbeat = std::chrono::seconds(1);
  if (audit)
    http.on_access = [&](const HttpAccess& access) {
      AuditRecord record;
      record.event_type = "api_access";
      record.ip_address = access.peer_ip;
      record.user_agent = access.user_agent;
      record.action = access.method + " " + access.path;
      record.success = access.status < 400;
      record.status = std::to_string(access.status);
      audit->log(record);
    };
  http.address = arguments.progress_api;
  ProgressApiServer::Options api;
  api.http = http;
  api.bandwidth = std::make_shared<Bandwidth>();
  const auto upload = api.bandwidth->of_task("demo-0", 0);
  ProgressApiServer progress_server(tracker, std::move(api));
  http.address = arguments.metrics_api;
  MetricsServer metrics_server(metrics, http);
  progress_server.start();
  metrics_server.start();
  std::cout << nlohmann::json(
                   {{"progress", progress_server.url()}, {"metrics", metrics_server.url()}})
            << std::endl;

  std::string line;
  if (!std::getline(std::cin, line)) return 0;
  Run run(arguments);
  const auto began = Steady::now();
  run.run(bus);
  const double wall = std::chrono::duration<double>(Steady::now() - began).count();
  std::cout << nlohmann::json({{"finished", true},
                               {"wall", wall},
                               {"publish", run.publish_seconds()},
                               {"events", run.events()},
                               {"streams", progress_server.stats().streams}})
            << std::endl;
  while (std::getline(std::cin, line)) continue;
  const auto stopping = Steady::now();
  webhooks.stop();
  nlohmann::json summary = nlohmann::json::array();
  for (const WebhookStats& stats : webhooks.stats())
    summary.push_back({{"name", stats.name},
                       {"delivered", stats.delivered},
                       {"failed", stats.failed},
                       {"dropped", stats.dropped},
                       {"retries", stats.retries},
                       {"last_error", stats.last_error}});
  std::cout << nlohmann::json(
                   {{"webhooks", summary},
                    {"drained", std::chrono::duration<double>(Steady::now() - stopping).count()}})
            << std::endl;
  progress_server.stop();
  metrics_server.stop();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return demo(parse(argc, argv));
  } catch (const std::exception& exception) {
    std::cerr << "observe_demo: " << exception.what() << "\n";
    return 1;
  }
}
