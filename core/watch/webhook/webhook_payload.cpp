// SPDX-License-Identifier: Apache-2.0
#include "core/watch/webhook/webhook_payload.hpp"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <nlohmann/json.hpp>

#include "core/base/clock.hpp"
#include "core/base/timestamp.hpp"
#include "core/base/units.hpp"

namespace hyperhost {
namespace {

using nlohmann::ordered_json;
using Field = std::pair<std::string, std::string>;

std::string dump(const ordered_json& value) {
  return value.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

/// At most `limit` bytes, never ending inside a UTF-8 sequence.
std::string clip(const std::string& text, size_t limit) {
  if (text.size() <= limit) return text;
  size_t end = limit - 3;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end) + "…";
}

std::string human_duration(std::chrono::nanoseconds duration) {
  const auto seconds = std::chrono::round<std::chrono::seconds>(duration).count();
  if (seconds >= 3600)
    return std::to_string(seconds / 3600) + " h " + std::to_string(seconds / 60 % 60) + " min";
  if (seconds >= 60)
    return std::to_string(seconds / 60) + " min " + std::to_string(seconds % 60) + " s";
  return std::to_string(seconds) + " s";
}

std::vector<Field> fields(const Notification& n) {
  std::vector<Field> result;
  if (n.task) {
    result.emplace_back("VM", n.task->vm_name);
    result.emplace_back("Provider", n.task->provider_name + " (" + n.task->provider + ")");
    result.emplace_back("Target", n.task->converter + " → " + n.task->target_format);
    result.emplace_back("Task", n.task->task_id);
  }
  if (!n.run_id.empty()) {
    result.emplace_back("Plan", n.plan);
    result.emplace_back("Run", n.run_id);
    if (!n.host.empty()) result.emplace_back("Host", n.host);
    for (const auto& [name, number] : n.counts) result.emplace_back(name, std::to_string(number));
  }
  if (n.duration) result.emplace_back("Duration", human_duration(*n.duration));
  if (n.guest_bytes != 0) result.emplace_back("Guest data", bytes_text(n.guest_bytes));
  if (n.bytes_converted != 0) result.emplace_back("Converted", bytes_text(n.bytes_converted));
  if (n.bytes_uploaded != 0) result.emplace_back("Uploaded", bytes_text(n.bytes_uploaded));
  return result;
}

unsigned color(const Notification& n) {
  switch (n.kind) {
    case Notification::Kind::kStart:
      return 0x1f6feb;
    case Notification::Kind::kComplete:
      return 0x2da44e;
    case Notification::Kind::kError:
      return 0xcf222e;
    case Notification::Kind::kWarning:
      return 0xbf8700;
    case Notification::Kind::kRunEnd:
      return n.status == "completed" ? 0x2da44e : 0xcf222e;
  }
  return 0;
}

/// Slack reads &, < and > as markup.
std::string slack_escape(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == '&')
      result += "&amp;";
    else if (c == '<')
      result += "&lt;";
    else if (c == '>')
      result += "&gt;";
    else
      result += c;
  }
  return result;
}

std::string base64(std::string_view text) {
  std::string result(4 * ((text.size() + 2) / 3) + 1, '\0');
  const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(result.data()),
                                   reinterpret_cast<const unsigned char*>(text.data()),
                                   static_cast<int>(text.size()));
  result.resize(static_cast<size_t>(size));
  return result;
}

/// RFC 2047 encoded words: any text, and no way out of the header line.
std::string encoded_header(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < 0x20; }, ' ');
  if (std::all_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x7f; })) return text;
  std::string result;
  for (size_t at = 0; at < text.size();) {
    size_t end = std::min(at + 42, text.size());
    while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
    if (end <= at) end = std::min(at + 42, text.size());  // no UTF-8 at all
    if (at != 0) result += "\r\n ";
    result += "=?UTF-8?B?" + base64(std::string_view(text).substr(at, end - at)) + "?=";
    at = end;
  }
  return result;
}

std::string mail_date(WallClock::time_point time) {
  static constexpr std::array<const char*, 7> kDays = {"Sun", "Mon", "Tue", "Wed",
                                                       "Thu", "Fri", "Sat"};
  static constexpr std::array<const char*, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const std::time_t seconds = WallClock::to_time_t(time);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char text[64];
  std::snprintf(text, sizeof text, "%s, %02d %s %04d %02d:%02d:%02d +0000",
                kDays[static_cast<size_t>(utc.tm_wday)], utc.tm_mday,
                kMonths[static_cast<size_t>(utc.tm_mon)], utc.tm_year + 1900, utc.tm_hour,
                utc.tm_min, utc.tm_sec);
  return text;
}

}  // namespace

namespace {

std::string vms(uint64_t number) {
  return std::to_string(number) + (number == 1 ? " VM" : " VMs");
}

Notification of_run(const event::RunStarted& run) {
  Notification n;
  n.kind = Notification::Kind::kStart;
  n.event = "run_start";
  n.status = "started";
  n.message = "Run of plan \"" + run.plan_name + "\" started: " + vms(run.tasks.size());
  n.run_id = run.run_id;
  n.plan = run.plan_name;
  n.user = run.user;
  n.host = run.host;
  n.counts = {{"total", run.tasks.size()}};
  return n;
}

Notification of_run(const event::RunFinished& run) {
  Notification n;
  n.kind = Notification::Kind::kRunEnd;
  const uint64_t total = run.succeeded + run.failed + run.cancelled + run.skipped;
  const bool success = run.succeeded == total;
  n.event = success ? "run_complete" : "run_failed";
  n.status = success ? "completed" : run.cancelled != 0 ? "cancelled" : "failed";
  n.message = "Run of plan \"" + run.plan_name + "\" ended: " + std::to_string(run.succeeded) +
              " of " + vms(total) + " migrated";
  n.counts = {{"total", total},
              {"succeeded", run.succeeded},
              {"failed", run.failed},
              {"cancelled", run.cancelled},
              {"skipped", run.skipped}};
  for (const auto& [name, number] : n.counts)
    if (name != "total" && name != "succeeded" && number != 0)
      n.message += ", " + std::to_string(number) + " " + name;
  n.run_id = run.run_id;
  n.plan = run.plan_name;
  n.user = run.user;
  n.duration = run.duration;
  return n;
}

}  // namespace

std::optional<Notification> make_notification(const Event& event) {
  const auto stamped = [&](Notification n) {
    n.time = event.time;
    return n;
  };
  if (const auto* run = std::get_if<event::RunStarted>(&event.body)) return stamped(of_run(*run));
  if (const auto* run = std::get_if<event::RunFinished>(&event.body)) return stamped(of_run(*run));
  Notification n;
  n.time = event.time;
  n.task = event.task;
  const std::string vm = event.task ? "\"" + event.task->vm_name + "\"" : std::string();
  if (const auto* started = std::get_if<event::TaskStarted>(&event.body)) {
    n.kind = Notification::Kind::kStart;
    n.event = "migration_start";
    n.status = "started";
    n.message = "Migration of " + vm + " started";
    n.guest_bytes = started->guest_bytes;
  } else if (const auto* finished = std::get_if<event::TaskFinished>(&event.body)) {
    const bool success = finished->outcome == Outcome::kSucceeded;
    n.kind = success ? Notification::Kind::kComplete : Notification::Kind::kError;
    n.event = success                                  ? "migration_complete"
              : finished->outcome == Outcome::kSkipped ? "migration_skipped"
                                                       : "migration_failed";
    n.status = success ? "completed" : outcome_name(finished->outcome);
    n.message = "Migration of " + vm + " " + n.status;
    if (!success) n.error = to_string(finished->error);
    n.duration = finished->duration;
    n.bytes_exported = finished->bytes_exported;
    n.bytes_converted = finished->bytes_converted;
    n.bytes_uploaded = finished->bytes_uploaded;
    n.manifest_path = finished->manifest_path;
  } else if (const auto* notice = std::get_if<event::Notice>(&event.body)) {
    if (notice->diagnostic.severity == Severity::kInfo) return std::nullopt;
    const bool failure = notice->diagnostic.severity == Severity::kError;
    n.kind = failure ? Notification::Kind::kError : Notification::Kind::kWarning;
    n.event = n.status = failure ? "error" : "warning";
    n.message = (failure ? "Error" : "Warning") + (vm.empty() ? std::string() : " for " + vm);
    n.error = to_string(notice->diagnostic);
  } else if (const auto* retry = std::get_if<event::Retry>(&event.body)) {
    n.kind = Notification::Kind::kWarning;
    n.event = n.status = "warning";
    n.message =
        "Attempt " + std::to_string(retry->attempt) + " for " + vm + " failed, trying again";
    n.error = to_string(retry->diagnostic);
  } else {
    return std::nullopt;
  }
  return n;
}

namespace {

/// The Go hypersdk's word for it.
const char* event_type(const Notification& n) {
  if (n.kind == Notification::Kind::kStart) return "start";
  if (n.kind == Notification::Kind::kWarning) return "warning";
  return n.status == "completed" ? "complete" : "error";
}

ordered_json metadata(const Notification& n) {
  ordered_json out = ordered_json::object();
  if (n.task) {
    out = {{"run_id", n.task->run_id},
           {"provider_name", n.task->provider_name},
           {"converter", n.task->converter},
           {"target_format", n.task->target_format},
           {"user", n.task->user}};
  }
  if (!n.manifest_path.empty()) out["manifest_path"] = n.manifest_path;
  return out;
}

}  // namespace

std::string generic_payload(const Notification& n) {
  ordered_json object = {{"event", n.event},
                         {"delivery_id", n.delivery_id},
                         {"timestamp", format_timestamp(n.time)},
                         {"status", n.status},
                         {"message", n.message}};
  if (n.task) {
    object["task_id"] = n.task->task_id;
    object["run_id"] = n.task->run_id;
    object["vm_name"] = n.task->vm_name;
    object["provider"] = n.task->provider;
    object["provider_name"] = n.task->provider_name;
    object["converter"] = n.task->converter;
    object["target_format"] = n.task->target_format;
    object["user"] = n.task->user;
  }
  if (!n.run_id.empty()) {
    object["run_id"] = n.run_id;
    object["plan"] = n.plan;
    object["user"] = n.user;
    if (!n.host.empty()) object["host"] = n.host;
    for (const auto& [name, number] : n.counts) object["counts"][name] = number;
  }
  if (!n.error.empty()) object["error"] = clip(n.error, 8192);
  if (n.duration) object["duration_seconds"] = seconds(*n.duration);
  if (n.guest_bytes != 0) object["guest_bytes"] = n.guest_bytes;
  if (n.kind == Notification::Kind::kComplete)
    object["bytes"] = {{"exported", n.bytes_exported},
                       {"converted", n.bytes_converted},
                       {"uploaded", n.bytes_uploaded}};
  if (!n.manifest_path.empty()) object["manifest_path"] = n.manifest_path;
  object["event_type"] = event_type(n);
  if (n.duration) object["duration"] = n.duration->count();
  object["metadata"] = metadata(n);
  return dump(object);
}

std::string slack_payload(const Notification& n, const std::string& username,
                          const std::string& channel) {
  std::string text = "*" + slack_escape(clip(n.message, 300)) + "*";
  if (!n.error.empty()) text += "\n" + slack_escape(clip(n.error, 400));
  ordered_json blocks = ordered_json::array();
  blocks.push_back({{"type", "section"}, {"text", {{"type", "mrkdwn"}, {"text", text}}}});
  ordered_json list = ordered_json::array();
  for (const auto& [name, value] : fields(n)) {
    if (list.size() == 10) break;  // Slack takes no more
    list.push_back(
        {{"type", "mrkdwn"}, {"text", "*" + name + "*\n" + slack_escape(clip(value, 300))}});
  }
  if (!list.empty()) blocks.push_back({{"type", "section"}, {"fields", std::move(list)}});
  char hex[8];
  std::snprintf(hex, sizeof hex, "#%06x", color(n));
  ordered_json message = {{"text", slack_escape(clip(n.message, 300))},
                          {"attachments", {{{"color", hex}, {"blocks", std::move(blocks)}}}}};
  if (!username.empty()) message["username"] = username;
  if (!channel.empty()) message["channel"] = channel;
  return dump(message);
}

std::string discord_payload(const Notification& n, const std::string& username) {
  ordered_json embed = {{"title", clip(n.message, 256)},
                        {"color", color(n)},
                        {"timestamp", format_timestamp(n.time)}};
  if (!n.error.empty()) embed["description"] = clip(n.error, 2000);
  for (const auto& [name, value] : fields(n))
    if (!value.empty())
      embed["fields"].push_back({{"name", name}, {"value", clip(value, 300)}, {"inline", true}});
  return dump({{"username", username.empty() ? "hyperhost" : username},
               {"embeds", {std::move(embed)}},
               {"allowed_mentions", {{"parse", ordered_json::array()}}}});
}

std::string email_message(const Notification& n, const std::string& from,
                          const std::vector<std::string>& to) {
  std::string body = n.message + "\r\n\r\n";
  if (!n.error.empty()) body += n.error + "\r\n\r\n";
  for (const auto& [name, value] : fields(n)) body += name + ": " + value + "\r\n";
  if (!n.manifest_path.empty()) body += "Manifest: " + n.manifest_path + "\r\n";

  std::string recipients;
  for (const std::string& address : to) {
    if (!recipients.empty()) recipients += ",\r\n ";
    recipients += "<" + address + ">";
  }
  std::string message = "Date: " + mail_date(n.time) + "\r\nFrom: hyperhost <" + from +
                        ">\r\nTo: " + recipients + "\r\nMessage-ID: <" + n.delivery_id +
                        "@hyperhost>\r\nSubject: " + encoded_header(clip(n.message, 200)) +
                        "\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
                        "Content-Transfer-Encoding: base64\r\nAuto-Submitted: auto-generated\r\n"
                        "\r\n";
  const std::string encoded = base64(body);
  for (size_t at = 0; at < encoded.size(); at += 76) message += encoded.substr(at, 76) + "\r\n";
  return message;
}

std::string webhook_signature(std::string_view secret, int64_t timestamp, std::string_view body) {
  const std::string text = std::to_string(timestamp) + "." + std::string(body);
  std::array<unsigned char, EVP_MAX_MD_SIZE> mac{};
  unsigned size = 0;
  HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), mac.data(), &size);
  std::string hex;
  for (unsigned i = 0; i < size; ++i) {
    char two[3];
    std::snprintf(two, sizeof two, "%02x", mac[i]);
    hex += two;
  }
  return hex;
}

}  // namespace hyperhost
