// SPDX-License-Identifier: Apache-2.0
// MetricsCollector counts what migrations do, for Prometheus (metrics_text) and as the seed's
// statistics (get_stats). Names are the Go hypersdk's; label values come from a bounded set, so a
// fleet of odd names cannot grow the time series without end. Thread-safe.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/events/event.hpp"
#include "core/watch/progress/run_progress.hpp"

namespace prometheus {
class Registry;
}

namespace hyperhost {

class MetricsCollector final : public Observer {
 public:
  struct Options {
    std::string version = "unknown";  ///< for hypersdk_build_info
    std::function<std::chrono::steady_clock::time_point()> now = std::chrono::steady_clock::now;
  };
  MetricsCollector();
  explicit MetricsCollector(Options options);
  ~MetricsCollector() override;

  void on_event(const Event& event) noexcept override;

  using Labels = std::map<std::string, std::string>;
  /// `read` is called at every scrape, on the scraping thread; it must be quick and outlive the
  /// collector or be removed before. Same name and labels again: replaces the reader.
  /// For queue lengths and buffer memory, e.g. ("hypersdk_queue_length", …, {{"queue",
  /// "webhook"}}).
  void add_gauge(const std::string& name, const std::string& help, const Labels& labels,
                 std::function<double()> read);
  /// As add_gauge, for a count that only grows; `name` ends in "_total".
  void add_counter(const std::string& name, const std::string& help, const Labels& labels,
                   std::function<double()> read);
  void remove_reader(const std::string& name, const Labels& labels);
  /// hypersdk_run_*: the figures that all displays show. `frame` is asked at every scrape; it
  /// outlives the collector.
  void show_run(std::function<RunFrame()> frame);

  /// Prometheus text format 0.0.4.
  std::string metrics_text();
  /// architecture.md, "/stats": the seed's GetStats.
  nlohmann::json get_stats() const;

  std::shared_ptr<prometheus::Registry> registry() const;

 private:
  struct Metrics;
  std::unique_ptr<Metrics> metrics_;
};

}  // namespace hyperhost
