// SPDX-License-Identifier: Apache-2.0
#include "hosts/hyperhost/log_sink.hpp"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/base/redactor.hpp"
#include "core/base/timestamp.hpp"
#include "hosts/hyperhost/console.hpp"
#include "hosts/hyperhost/terminal_text.hpp"

namespace hyperhost {
namespace {

std::string level_name(spdlog::level::level_enum level) {
  const auto name = spdlog::level::to_string_view(level);
  return {name.data(), name.size()};
}

const char* level_colour(spdlog::level::level_enum level) {
  switch (level) {
    case spdlog::level::info:
      return "\x1b[32m";
    case spdlog::level::warn:
      return "\x1b[33m";
    case spdlog::level::err:
    case spdlog::level::critical:
      return "\x1b[31m";
    default:
      return "\x1b[2m";
  }
}

std::string redacted(const spdlog::details::log_msg& message) {
  return Redactor::global().redact(
      std::string_view(message.payload.data(), message.payload.size()));
}

}  // namespace

void LogSink::redirect(Console* console) {
  const std::lock_guard lock(mutex_);
  console_ = console;
}

void LogSink::line(std::string text) {
  const std::lock_guard lock(mutex_);
  emit(std::move(text));
}

void LogSink::emit(std::string text) {
  if (console_ != nullptr) {
    console_->print(std::move(text));
    return;
  }
  text += '\n';
  std::fwrite(text.data(), 1, text.size(), stderr);
}

std::string LogSink::json_line(const spdlog::details::log_msg& message) const {
  const nlohmann::ordered_json object = {{"time", format_timestamp(message.time)},
                                         {"event", "log"},
                                         {"level", level_name(message.level)},
                                         {"message", redacted(message)}};
  return object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string LogSink::dated_line(const spdlog::details::log_msg& message) {
  spdlog::memory_buf_t date;
  date_.format(message, date);
  std::string level = level_name(message.level);
  const std::string blanks(level.size() < 7 ? 7 - level.size() : 0, ' ');
  if (colour_) level = level_colour(message.level) + level + "\x1b[0m";
  return std::string(date.data(), date.size()) + " " + level + blanks + " " +
         printable(redacted(message), true);
}

void LogSink::sink_it_(const spdlog::details::log_msg& message) {
  emit(json_ ? json_line(message) : dated_line(message));
}

}  // namespace hyperhost
