// SPDX-License-Identifier: Apache-2.0
// Changes outside the host that must be undone or confirmed: entries that plugins write before they
// change something there and close once it is undone (sdk/include/hyper/host.h, "hyper.journal/1").
// Owned by the host, shared by its sessions. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

namespace hyperhost {

struct JournalEntry {
  uint64_t id = 0;
  std::string plugin;
  nlohmann::json what;  ///< as the plugin wrote it
  std::string owner;    ///< the process that wrote it last (core/os/process_identity.hpp)
};

class Journal {
 public:
  virtual ~Journal() = default;
  /// Each is durable when it returns, or throws Error.
  virtual uint64_t open_entry(const std::string& plugin, const nlohmann::json& what) = 0;
  virtual void update_entry(uint64_t id, const nlohmann::json& what) = 0;
  virtual void close_entry(uint64_t id) = 0;
  /// Open entries of a plugin ("" = of all), oldest first.
  virtual void each_entry(const std::string& plugin,
                          const std::function<void(const JournalEntry&)>& on_entry) = 0;
};

}  // namespace hyperhost
