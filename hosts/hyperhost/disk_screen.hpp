// SPDX-License-Identifier: Apache-2.0
// What the conversion of a single disk shows on standard error meanwhile, by --progress: one
// live line, or a JSON event a second. Takes the log over for as long as it lives. Made and
// destroyed by the owner's thread; progress() from any.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "core/events/event.hpp"
#include "core/watch/progress/byte_rate.hpp"
#include "hosts/hyperhost/console.hpp"

namespace hyperhost {

class Context;

class DiskScreen {
 public:
  DiskScreen(Context& context, const std::string& name);
  /// The live line is gone, the log as it was.
  ~DiskScreen();
  DiskScreen(const DiskScreen&) = delete;
  DiskScreen& operator=(const DiskScreen&) = delete;

  /// Bytes of this stage; total 0 = not known.
  void progress(Stage stage, uint64_t done, uint64_t total);

 private:
  std::string line(TerminalSize size);

  Context& context_;
  const std::string name_;
  std::mutex mutex_;  // guards what follows, up to console_
  bool begun_ = false;
  Stage stage_ = Stage::kExport;
  uint64_t done_ = 0, total_ = 0;
  ByteRate rate_;
  std::chrono::steady_clock::time_point told_;
  std::unique_ptr<Console> console_;  ///< null where nothing is shown
};

}  // namespace hyperhost
