// SPDX-License-Identifier: Apache-2.0
// Where the log goes: standard error, as dated lines or as one JSON object a line, with known
// secrets blanked and nothing in it that a terminal would obey. While a run has a console, through
// that. Any thread.
#pragma once

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>

#include <memory>
#include <mutex>
#include <string>

namespace hyperhost {

class Console;

class LogSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  LogSink(bool json, bool colour) : json_(json), colour_(colour) {}

  /// From now on through `console`; null: to standard error itself again.
  void redirect(Console* console);
  /// A finished line from elsewhere, the same way.
  void line(std::string text);

 private:
  void sink_it_(const spdlog::details::log_msg& message) override;
  void flush_() override {}
  std::string json_line(const spdlog::details::log_msg& message) const;
  std::string dated_line(const spdlog::details::log_msg& message);
  void emit(std::string text);

  const bool json_, colour_;
  spdlog::pattern_formatter date_{"%Y-%m-%d %H:%M:%S.%e", spdlog::pattern_time_type::local, ""};
  Console* console_ = nullptr;
};

}  // namespace hyperhost
