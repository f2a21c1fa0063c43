// SPDX-License-Identifier: Apache-2.0
// Keeps the promise of HYPER_THREADS_SERIAL when one plugin calls another directly: a filter over
// each source and sink of a serial plugin holds that plugin's lock during each call.
#pragma once

#include <hyper/source.h>

#include <atomic>
#include <memory>
#include <mutex>

#include "core/plugin/plugin.hpp"

namespace hyperhost {

/// The way into one object of a serial plugin. Any thread.
class SerialGate {
 public:
  /// reads_from: the gate of the source that the object reads while it is called, or null.
  explicit SerialGate(const Plugin& plugin, std::shared_ptr<SerialGate> reads_from = nullptr);

  /// While this lives, a plugin that is inside a call uses an object of its own. The lock is
  /// already held for that call, often by another thread, so the object's calls do not take it.
  class OwnUse {
   public:
    /// Does nothing if `gate` is null or the gate of another plugin.
    OwnUse(const Plugin& user, const std::shared_ptr<SerialGate>& gate);
    ~OwnUse();
    OwnUse(const OwnUse&) = delete;
    OwnUse& operator=(const OwnUse&) = delete;

   private:
    SerialGate* const gate_;
  };

  struct Entered {
    std::unique_lock<std::recursive_mutex> lock;
    OwnUse use;
  };
  Entered enter() const;

 private:
  const Plugin& plugin_;
  const std::shared_ptr<SerialGate> reads_from_;
  std::atomic<int> own_uses_{0};
};

/// A filter that holds the lock of `gate` during each call of the table, and of the sources that
/// are opened through it.
hyper_source serialized(const hyper_source& table, std::shared_ptr<SerialGate> gate);
hyper_sink serialized(const hyper_sink& table, std::shared_ptr<SerialGate> gate);

}  // namespace hyperhost
