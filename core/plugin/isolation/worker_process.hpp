// SPDX-License-Identifier: Apache-2.0
// Host side: one worker process and the conversation with it. The process runs, and the plugin in
// it is started. Thread-safe.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "core/os/child_process.hpp"
#include "core/plugin/isolation/isolated_plugin.hpp"
#include "core/plugin/isolation/peer.hpp"

namespace hyperhost::isolation {

class WorkerProcess : public std::enable_shared_from_this<WorkerProcess> {
 public:
  /// Starts the process and the plugin in it. Throws Error with the plugin's report, or the reason
  /// why the process did not start.
  static std::shared_ptr<WorkerProcess> start(const std::string& path, const std::string& id,
                                              const WorkerSettings& settings);
  ~WorkerProcess();
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  /// The pointer keeps the worker alive: an owner of a worker's source owns the worker too.
  std::shared_ptr<Peer> peer() { return {shared_from_this(), peer_.get()}; }
  bool gone() const { return peer_->gone(); }
  /// {"version", "serial", "interfaces", "prepares", "kept"}
  const nlohmann::json& facts() const { return facts_; }
  /// listen_on_loopback() in that process. Throws Error.
  Fd listen(uint16_t& port);
  /// What confine() could not give up, for people; "" = nothing.
  std::string kept() const;

 private:
  WorkerProcess(const std::string& path, const std::string& id, const WorkerSettings& settings);
  std::pair<hyper_st, std::string> why_gone();
  Frame serve(const Frame& request, Lane& lane);
  void kill(const std::string& why);
  void require_confined() const;

  const std::string id_;
  const uint64_t memory_;  ///< its limit; 0 = none
  std::mutex mutex_;
  std::deque<std::string> last_lines_;
  std::string killed_, ended_;
  bool cancelled_ = false, all_read_ = false;
  std::atomic<uint64_t> next_socket_{1};
  std::condition_variable ended_reading_;
  std::unique_ptr<ChildProcess> child_;
  std::unique_ptr<Peer> peer_;
  nlohmann::json facts_;
  std::thread reader_;
};

}  // namespace hyperhost::isolation
