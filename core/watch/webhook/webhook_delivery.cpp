// SPDX-License-Identifier: Apache-2.0
#include "core/watch/webhook/webhook_delivery.hpp"

#include <curl/curl.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>

namespace hyperhost {
namespace {

struct ListFree {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using List = std::unique_ptr<curl_slist, ListFree>;

void append(List& list, const std::string& text) {
  curl_slist* longer = curl_slist_append(list.get(), text.c_str());
  if (!longer) throw std::bad_alloc();
  (void)list.release();
  list.reset(longer);
}

/// What receivers answer is of no use and may be long or never end.
size_t discard(char*, size_t size, size_t count, void* seen_bytes) {
  constexpr size_t kAnswerLimit = 64 << 10;
  auto& seen = *static_cast<size_t*>(seen_bytes);
  seen += size * count;
  return seen > kAnswerLimit ? 0 : size * count;
}

int check_abort(void* abort, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<const std::atomic<bool>*>(abort)->load() ? 1 : 0;
}

size_t read_message(char* buffer, size_t size, size_t count, void* rest_of_message) {
  auto& rest = *static_cast<std::string_view*>(rest_of_message);
  const size_t take = std::min(size * count, rest.size());
  std::memcpy(buffer, rest.data(), take);
  rest.remove_prefix(take);
  return take;
}

bool has_control(const std::string& text) {
  return std::any_of(text.begin(), text.end(),
                     [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

bool starts_with_any(const std::string& url, std::initializer_list<const char*> schemes) {
  return std::any_of(schemes.begin(), schemes.end(),
                     [&](const char* scheme) { return url.rfind(scheme, 0) == 0; });
}

}  // namespace

void check_webhook(const WebhookConfig& config) {
  const auto refuse = [&](const std::string& why) {
    // Never with the URL: for Slack and Discord it is the secret.
    throw Error(Code::kConfig, "webhook " + config.name + ": " + why);
  };
  const bool email = config.type == WebhookType::kEmail;
  if (email && !starts_with_any(config.url, {"smtp://", "smtps://"}))
    refuse("the URL of an email hook begins with smtps:// or smtp://");
  if (!email && !starts_with_any(config.url, {"https://", "http://"}))
    refuse("the URL begins with https:// or http://");
  CURLU* parsed = curl_url();
  const bool valid =
      parsed && curl_url_set(parsed, CURLUPART_URL, config.url.c_str(), 0) == CURLUE_OK;
  curl_url_cleanup(parsed);
  if (!valid || has_control(config.url)) refuse("the URL is malformed");
  if (config.max_attempts == 0) refuse("max_attempts is at least 1");
  if (config.queue_limit == 0) refuse("queue_limit is at least 1");
  for (const auto& [name, value] : config.headers)
    if (name.empty() || has_control(name) || has_control(value) ||
        name.find_first_of(": ") != std::string::npos)
      refuse("a header has a malformed name or value");
  if (!email) return;
  if (config.from.empty() || config.to.empty()) refuse("an email hook needs from and to");
  for (const std::string& address : config.to)
    if (address.find('@') == std::string::npos) refuse("\"" + address + "\" is no mail address");
  std::vector<std::string> addresses = config.to;
  addresses.push_back(config.from);
  for (const std::string& address : addresses)
    if (has_control(address) || address.find_first_of("<> ,") != std::string::npos)
      refuse("write mail addresses bare, as in ops@example.org");
}

WebhookDelivery::WebhookDelivery(const WebhookConfig& config, std::string user_agent,
                                 const std::atomic<bool>& abort)
    : config_(config), user_agent_(std::move(user_agent)), abort_(abort) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
}

namespace {

struct EasyFree {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};

/// What a request points into while it is on its way.
struct Payload {
  std::string body;
  std::string_view rest;
  List headers, recipients;
};

void prepare_email(CURL* easy, const WebhookConfig& config, const Notification& notification,
                   Payload& payload) {
  payload.body = email_message(notification, config.from, config.to);
  payload.rest = payload.body;
  for (const std::string& address : config.to) append(payload.recipients, "<" + address + ">");
  curl_easy_setopt(easy, CURLOPT_MAIL_FROM, ("<" + config.from + ">").c_str());
  curl_easy_setopt(easy, CURLOPT_MAIL_RCPT, payload.recipients.get());
  curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
  curl_easy_setopt(easy, CURLOPT_READFUNCTION, read_message);
  curl_easy_setopt(easy, CURLOPT_READDATA, &payload.rest);
  curl_easy_setopt(easy, CURLOPT_USE_SSL,
                   static_cast<long>(config.require_tls ? CURLUSESSL_ALL : CURLUSESSL_TRY));
  if (config.username.empty()) return;
  curl_easy_setopt(easy, CURLOPT_USERNAME, config.username.c_str());
  curl_easy_setopt(easy, CURLOPT_PASSWORD, config.password.c_str());
}

std::string http_body(const WebhookConfig& config, const Notification& notification) {
  if (config.type == WebhookType::kSlack)
    return slack_payload(notification, config.username, config.channel);
  if (config.type == WebhookType::kDiscord) return discord_payload(notification, config.username);
  return generic_payload(notification);
}

void prepare_http(CURL* easy, const WebhookConfig& config, const Notification& notification,
                  Payload& payload) {
  payload.body = http_body(config, notification);
  append(payload.headers, "Content-Type: application/json");
  append(payload.headers, "Expect:");
  if (config.type == WebhookType::kGeneric) {
    const int64_t now =
        std::chrono::duration_cast<std::chrono::seconds>(WallClock::now().time_since_epoch())
            .count();
    append(payload.headers, "X-Hyperhost-Event: " + notification.event);
    append(payload.headers, "X-Hyperhost-Delivery: " + notification.delivery_id);
    append(payload.headers, "X-Hyperhost-Timestamp: " + std::to_string(now));
    if (!config.secret.empty())
      append(payload.headers, "X-Hyperhost-Signature: sha256=" +
                                  webhook_signature(config.secret, now, payload.body));
  }
  for (const auto& [name, value] : config.headers) append(payload.headers, name + ": " + value);
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, payload.headers.get());
  curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(payload.body.size()));
  curl_easy_setopt(easy, CURLOPT_POSTFIELDS, payload.body.c_str());
}

DeliveryResult result_of(CURL* easy, CURLcode code, bool email) {
  DeliveryResult result;
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &result.http_status);
  const bool answered = code == CURLE_OK || (code == CURLE_WRITE_ERROR && !email);
  if (!answered) {
    result.error = curl_easy_strerror(code);
    if (email && result.http_status != 0) {
      result.error += " (SMTP " + std::to_string(result.http_status) + ")";
      result.retryable = result.http_status < 500;  // 5yz: permanent
    } else {
      result.retryable = code != CURLE_PEER_FAILED_VERIFICATION && code != CURLE_USE_SSL_FAILED &&
                         code != CURLE_UNSUPPORTED_PROTOCOL && code != CURLE_SSL_CACERT_BADFILE;
    }
    return result;
  }
  const long status = result.http_status;
  result.delivered = email || (status >= 200 && status < 300);
  if (result.delivered) return result;
  result.error = "HTTP status " + std::to_string(status);
  result.retryable = status == 408 || status == 425 || status == 429 || status >= 500;
  curl_off_t seconds = 0;
  if (curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &seconds) == CURLE_OK && seconds > 0)
    result.retry_after = std::chrono::seconds(std::min<curl_off_t>(seconds, 86'400));
  return result;
}

}  // namespace

DeliveryResult WebhookDelivery::attempt(const Notification& notification,
                                        std::chrono::milliseconds timeout) {
  // One for each attempt: libcurl before 8.1 does not forget the header of the answer before it,
  // and a receiver that folds its first header field would write to memory that is free.
  const std::unique_ptr<CURL, EasyFree> owner(curl_easy_init());
  CURL* easy = owner.get();
  if (easy == nullptr) throw std::bad_alloc();
  size_t seen = 0;
  curl_easy_setopt(easy, CURLOPT_URL, config_.url.c_str());
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);  // do not wait for a resolver that hangs
  curl_easy_setopt(easy, CURLOPT_USERAGENT, user_agent_.c_str());
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS,
                   static_cast<long>(std::max<int64_t>(1, timeout.count())));
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, discard);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &seen);
  curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, check_abort);
  curl_easy_setopt(easy, CURLOPT_XFERINFODATA, const_cast<std::atomic<bool>*>(&abort_));
  // A redirect would carry the payload to a place that the plan does not name.
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  if (!config_.ca_file.empty()) curl_easy_setopt(easy, CURLOPT_CAINFO, config_.ca_file.c_str());

  const bool email = config_.type == WebhookType::kEmail;
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, email ? "smtp,smtps" : "http,https");
  Payload payload;
  if (email)
    prepare_email(easy, config_, notification, payload);
  else
    prepare_http(easy, config_, notification, payload);
  return result_of(easy, curl_easy_perform(easy), email);
}

}  // namespace hyperhost
