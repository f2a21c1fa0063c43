// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "core/watch/webhook/webhook_delivery.hpp"
#include "core/watch/webhook/webhook_manager.hpp"
#include "core/watch/webhook/webhook_payload.hpp"
#include "tests/unit/observe/event_fixture.hpp"

namespace hyperhost {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

Notification notification(Outcome outcome, const std::string& vm = "web <01> & co") {
  ManualClock clock;
  auto task = make_task("t1");
  task->vm_name = vm;
  event::TaskFinished finished;
  finished.outcome = outcome;
  finished.duration = std::chrono::seconds(125);
  finished.bytes_exported = 3ull << 30;
  finished.bytes_converted = 8ull << 30;
  finished.manifest_path = "/out/web/manifest.json";
  if (outcome == Outcome::kFailed)
    finished.error =
        Error(Code::kNoSpace, "no space left under /out", {}, "free some").diagnostic();
  Notification result = make_notification({clock.wall(), task, finished}).value();
  result.delivery_id = "00000000-0000-4000-8000-000000000001";
  return result;
}

void expect_golden(const std::string& text, const std::string& name) {
  EXPECT_EQ(text + "\n", read_file(std::string(HYPERHOST_GOLDEN_DIR "/") + name)) << text;
}

TEST(WebhookPayload, SlackIsGolden) {
  expect_golden(slack_payload(notification(Outcome::kSucceeded)), "slack_complete.json");
  expect_golden(slack_payload(notification(Outcome::kFailed)), "slack_failed.json");
}

TEST(WebhookPayload, DiscordIsGolden) {
  expect_golden(discord_payload(notification(Outcome::kSucceeded)), "discord_complete.json");
  expect_golden(discord_payload(notification(Outcome::kFailed)), "discord_failed.json");
}

TEST(WebhookPayload, HooksMayHaveANameAndSlackAChannel) {
  const Notification done = notification(Outcome::kSucceeded);
  const json slack = json::parse(slack_payload(done, "Moves", "#night"));
  EXPECT_EQ(slack["username"], "Moves");
  EXPECT_EQ(slack["channel"], "#night");
  EXPECT_FALSE(json::parse(slack_payload(done)).contains("channel"));
  EXPECT_EQ(json::parse(discord_payload(done, "Moves"))["username"], "Moves");
  EXPECT_EQ(json::parse(discord_payload(done))["username"], "hyperhost");
}

TEST(WebhookPayload, GenericIsGolden) {
  expect_golden(generic_payload(notification(Outcome::kSucceeded)), "generic_complete.json");
  expect_golden(generic_payload(notification(Outcome::kFailed)), "generic_failed.json");
}

TEST(WebhookPayload, StaysWithinTheReceiversLimits) {
  Notification long_one = notification(Outcome::kFailed, std::string(5000, '&'));
  long_one.error.clear();
  for (int i = 0; i < 5000; ++i) long_one.error += "ä<";
  const json slack = json::parse(slack_payload(long_one));
  for (const json& block : slack["attachments"][0]["blocks"]) {
    if (block.contains("text")) {
      EXPECT_LE(block["text"]["text"].get<std::string>().size(), 3000u);
    }
    if (block.contains("fields")) {
      EXPECT_LE(block["fields"].size(), 10u);
      for (const json& field : block["fields"])
        EXPECT_LE(field["text"].get<std::string>().size(), 2000u);
    }
  }
  const json discord = json::parse(discord_payload(long_one))["embeds"][0];
  size_t total =
      discord["title"].get<std::string>().size() + discord["description"].get<std::string>().size();
  EXPECT_LE(discord["title"].get<std::string>().size(), 256u);
  EXPECT_LE(discord["description"].get<std::string>().size(), 4096u);
  EXPECT_LE(discord["fields"].size(), 25u);
  for (const json& field : discord["fields"]) {
    EXPECT_LE(field["value"].get<std::string>().size(), 1024u);
    EXPECT_FALSE(field["value"].get<std::string>().empty());
    total += field["name"].get<std::string>().size() + field["value"].get<std::string>().size();
  }
  EXPECT_LE(total, 6000u);
}

TEST(WebhookPayload, MarkupAndMentionsDoNothing) {
  const Notification hostile = notification(Outcome::kSucceeded, "<!channel> @everyone");
  EXPECT_THAT(slack_payload(hostile), Not(HasSubstr("<!channel>")));
  EXPECT_THAT(discord_payload(hostile), HasSubstr(R"("allowed_mentions":{"parse":[]})"));
}

TEST(WebhookPayload, MailHeadersCannotBeInjected) {
  const std::string mail =
      email_message(notification(Outcome::kFailed, "x\r\nBcc: eve@example.org"), "a@example.org",
                    {"b@example.org", "c@example.org"});
  const std::string head = mail.substr(0, mail.find("\r\n\r\n"));
  EXPECT_THAT(head, Not(HasSubstr("\r\nBcc:")));
  EXPECT_THAT(head, HasSubstr("\r\nTo: <b@example.org>,\r\n <c@example.org>\r\n"));
  EXPECT_THAT(head, testing::StartsWith("Date: Fri, 02 Jan 2026 03:04:05 +0000\r\n"));
  EXPECT_THAT(email_message(notification(Outcome::kSucceeded, "Büro"), "a@example.org", {"b@c.de"}),
              HasSubstr("Subject: =?UTF-8?B?"));
}

TEST(WebhookPayload, SignatureIsTheDocumentedOne) {
  // printf '1700000000.{}' | openssl dgst -sha256 -hmac secret
  EXPECT_EQ(webhook_signature("secret", 1700000000, "{}"),
            "b8569b78799ff9e3cbff0fc2d63a33a2b57f3282abd07c37ae5e8e7d79a5f163");
}

TEST(WebhookPayload, WhatIsNotNews) {
  const auto task = make_task("t1");
  const auto at = WallClock::now();
  EXPECT_FALSE(make_notification({at, task, event::DiskProgress{Stage::kExport, "d", 1, 2}}));
  EXPECT_FALSE(make_notification({at, task, event::StageStarted{Stage::kExport, 1, ""}}));
  Diagnostic note;
  note.severity = Severity::kInfo;
  EXPECT_FALSE(make_notification({at, task, event::Notice{note, ""}}));
}

TEST(Notifications, ASkippedVmIsNewsOfItsOwn) {
  event::TaskFinished skipped;
  skipped.outcome = Outcome::kSkipped;
  skipped.error = Error(Code::kCancelled, "not begun: 'db' did not succeed").diagnostic();
  const auto news = make_notification({WallClock::now(), make_task("t1"), skipped});
  ASSERT_TRUE(news);
  EXPECT_EQ(news->event, "migration_skipped");
  EXPECT_EQ(news->status, "skipped");
  EXPECT_EQ(news->kind, Notification::Kind::kError);
  EXPECT_THAT(generic_payload(*news), testing::HasSubstr("did not succeed"));
}

TEST(Notifications, ARunHasAStartAndAnEndWithCounts) {
  const auto at = WallClock::now();
  const auto start = make_notification(
      {at, nullptr, event::RunStarted{"run-1", "night", "ops", {make_task("t1")}, "builder"}});
  ASSERT_TRUE(start);
  EXPECT_EQ(start->event, "run_start");
  EXPECT_EQ(start->time, at);
  const auto sent = nlohmann::json::parse(generic_payload(*start));
  EXPECT_EQ(sent["plan"], "night");
  EXPECT_EQ(sent["host"], "builder");
  EXPECT_EQ(sent["counts"]["total"], 1);
  const auto end =
      make_notification({at, nullptr, event::RunFinished{"run-1", 3, 1, 0, 2, "night"}});
  ASSERT_TRUE(end);
  EXPECT_EQ(end->event, "run_failed");
  EXPECT_EQ(end->message, "Run of plan \"night\" ended: 3 of 6 VMs migrated, 1 failed, 2 skipped");
  EXPECT_EQ(nlohmann::json::parse(generic_payload(*end))["counts"]["skipped"], 2);
  EXPECT_EQ(make_notification({at, nullptr, event::RunFinished{"run-1", 3}})->event,
            "run_complete");
}

WebhookConfig valid() {
  WebhookConfig config;
  config.name = "hook";
  config.url = "https://hooks.example.org/secret-path";
  return config;
}

TEST(Webhook, RefusesWhatCannotWorkAndKeepsTheSecret) {
  const auto message = [](const WebhookConfig& config) -> std::string {
    try {
      check_webhook(config);
      return "accepted";
    } catch (const Error& error) {
      return error.what();
    }
  };
  EXPECT_EQ(message(valid()), "accepted");
  WebhookConfig config = valid();
  config.url = "ftp://hooks.example.org/secret-path";
  EXPECT_THAT(message(config),
              testing::AllOf(HasSubstr("https://"), Not(HasSubstr("secret-path"))));
  config.url = "https://hooks.example.org:port/secret-path";
  EXPECT_THAT(message(config),
              testing::AllOf(HasSubstr("malformed"), Not(HasSubstr("secret-path"))));
  config = valid();
  config.headers = {{"X-A", "b\r\nX-C: d"}};
  EXPECT_THAT(message(config), HasSubstr("header"));
  config = valid();
  config.type = WebhookType::kEmail;
  config.url = "smtp://mail.example.org";
  EXPECT_THAT(message(config), HasSubstr("from and to"));
  config.from = "a@example.org";
  config.to = {"b@example.org\r\nDATA"};
  EXPECT_THAT(message(config), HasSubstr("bare"));
}

TEST(Webhook, ADeadEndpointCostsThePublisherNothingAndIsCounted) {
  WebhookConfig dead = valid();
  dead.url = "http://127.0.0.1:1/";  // nothing listens on port 1
  dead.max_attempts = 2;
  dead.retry_delay = std::chrono::milliseconds(1);
  dead.queue_limit = 4;
  WebhookManager::Options options;
  options.drain_timeout = std::chrono::seconds(5);
  std::atomic<int> failures{0};
  options.on_failure = [&](const Diagnostic& diagnostic) {
    EXPECT_EQ(diagnostic.severity, Severity::kWarning);
    EXPECT_THAT(to_string(diagnostic), Not(HasSubstr("127.0.0.1")));
    ++failures;
  };
  WebhookManager manager({dead}, options);
  const auto task = make_task("t1");
  for (int i = 0; i < 100; ++i) manager.on_event({WallClock::now(), task, event::TaskStarted{}});
  manager.stop();
  const WebhookStats stats = manager.stats().at(0);
  EXPECT_EQ(stats.delivered, 0u);
  EXPECT_EQ(stats.failed + stats.dropped, 100u);
  EXPECT_GE(stats.failed, 4u);
  EXPECT_EQ(stats.retries, stats.failed);
  EXPECT_EQ(failures, 1);  // once for a streak
  EXPECT_THAT(stats.last_error, Not(testing::IsEmpty()));
}

TEST(Webhook, TheEndDoesNotWaitForLongRetries) {
  WebhookConfig dead = valid();
  dead.url = "http://127.0.0.1:1/";
  dead.retry_delay = std::chrono::hours(1);
  dead.max_delay = std::chrono::hours(1);
  WebhookManager::Options options;
  options.drain_timeout = std::chrono::seconds(20);
  WebhookManager manager({dead}, options);
  manager.on_event({WallClock::now(), make_task("t1"), event::TaskStarted{}});
  const auto before = std::chrono::steady_clock::now();
  manager.stop();
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(10));
  EXPECT_EQ(manager.stats().at(0).failed + manager.stats().at(0).dropped, 1u);
}

}  // namespace
}  // namespace hyperhost
