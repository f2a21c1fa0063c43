// SPDX-License-Identifier: Apache-2.0
// The parts of core/plan and the redactor, each by itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/base/file_name.hpp"
#include "core/base/near_miss.hpp"
#include "core/base/pattern.hpp"
#include "core/base/redactor.hpp"
#include "core/base/text.hpp"
#include "core/base/timestamp.hpp"
#include "core/base/units.hpp"
#include "core/config/override.hpp"
#include "core/config/read_yaml.hpp"
#include "core/config/schema.hpp"
#include "core/config/secret.hpp"
#include "core/plan/start_window.hpp"

namespace hyperhost {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

ConfigValue yaml(const std::string& text) {
  std::vector<Diagnostic> problems;
  auto value = read_yaml(text, "t", problems);
  EXPECT_TRUE(value && problems.empty()) << text;
  return value.value_or(ConfigValue());
}

std::string said(const std::vector<Diagnostic>& problems) {
  std::string text;
  for (const Diagnostic& one : problems) text += to_string(one) + "\n";
  return text;
}

TEST(Units, Durations) {
  EXPECT_EQ(parse_duration("200ms"), 200ms);
  EXPECT_EQ(parse_duration("2 h"), 2h);
  EXPECT_EQ(parse_duration("1h30m"), 90min);
  EXPECT_EQ(parse_duration("0s"), 0s);
  for (const char* bad : {"", "5", "s", "-5s", "5 parsecs", "1.5h", " 5s", "5s5", "300000d",
                          "99999999999999999999s"}) {
    EXPECT_EQ(parse_duration(bad), std::nullopt) << bad;
  }
}

TEST(Units, Sizes) {
  EXPECT_EQ(parse_size("4096"), 4096u);
  EXPECT_EQ(parse_size("64KiB"), 65536u);
  EXPECT_EQ(parse_size("64K"), 65536u);
  EXPECT_EQ(parse_size("512 MB"), 512'000'000u);
  EXPECT_EQ(parse_size("7EiB"), 7ULL << 60);
  for (const char* bad :
       {"", "KiB", "-1", "1.5G", "8EiB", "99999999999999999999", "1 ", "1kb", "1KiBs", "64  KiB"}) {
    EXPECT_EQ(parse_size(bad), std::nullopt) << bad;
  }
}

TEST(Units, ASizeHasThreeDigitsEverywhere) {
  const std::pair<uint64_t, const char*> sizes[] = {{0, "0 B"},
                                                    {999, "999 B"},
                                                    {1000, "0.98 KiB"},
                                                    {1536, "1.50 KiB"},
                                                    {10'239, "10.0 KiB"},
                                                    {104'857'600, "100 MiB"},
                                                    {1'342'177'280, "1.25 GiB"},
                                                    {53'687'091'200, "50.0 GiB"},
                                                    {1'072'693'248, "1.00 GiB"},
                                                    {UINT64_MAX, "16.0 EiB"}};
  for (const auto& [bytes, text] : sizes) EXPECT_EQ(bytes_text(bytes), text);
}

TEST(Pattern, LongTextsCostNeitherStackNorTime) {
  const std::string text(kMaxMatchedBytes, 'a');
  EXPECT_TRUE(pattern_matches("^(a|b)+$", text));
  EXPECT_FALSE(pattern_matches("^(a+)+$", text.substr(1) + "!"));
  EXPECT_FALSE(pattern_matches("a", text + "a"));
  EXPECT_TRUE(pattern_matches("b", "abc"));
  EXPECT_FALSE(pattern_is_valid("("));
  EXPECT_FALSE(pattern_is_valid("(a)\\1"));
}

TEST(NearMiss, NearestOrTheList) {
  const std::vector<std::string> known = {"overwrite", "output_dir", "verify"};
  EXPECT_EQ(suggest("verfiy", known), "did you mean 'verify'?");
  EXPECT_EQ(suggest("Output-Dir", known), "did you mean 'output_dir'?");
  EXPECT_EQ(suggest("colour", known), "known: overwrite, output_dir, verify");
  EXPECT_EQ(suggest(std::string(100'000, 'x'), known), "known: overwrite, output_dir, verify");
}

TEST(ReadYaml, ScalarsAreThoseOfTheCoreSchema) {
  const json read =
      yaml(
          "[1, -2, 0x1f, 0o17, 007, 1.5, 1e3, .5, ., -, 12:30, yes, on, true, ~, null, '1', \"x\", "
          "9223372036854775807, 2024-01-01, .inf, 0x, '']")
          .to_json();
  EXPECT_EQ(read, json({1,
                        -2,
                        31,
                        15,
                        "007",
                        1.5,
                        1000.0,
                        0.5,
                        ".",
                        "-",
                        "12:30",
                        "yes",
                        "on",
                        true,
                        nullptr,
                        nullptr,
                        "1",
                        "x",
                        9223372036854775807,
                        "2024-01-01",
                        ".inf",
                        "0x",
                        ""}));
}

TEST(ReadYaml, MarksCountFromOne) {
  const ConfigValue value = yaml("a:\n  b: [x,\n    y]\n");
  EXPECT_EQ(value.find("a")->find("b")->sequence()->at(1).mark().where(), "t:3:5");
}

TEST(ReadYaml, MergeKeysGiveWayToOwnKeys) {
  EXPECT_EQ(yaml("a: &a {x: 1, y: 2}\nb: &b {z: 3}\nc: {<<: [*a, *b], y: 5}").to_json()["c"],
            json({{"x", 1}, {"y", 5}, {"z", 3}}));
}

TEST(ReadYaml, InvalidUtf8IsFound) {
  EXPECT_EQ(find_invalid_utf8("a\xc3\xa9\xf0\x9f\x98\x80"), std::string::npos);
  for (const char* bad :
       {"a\x80", "a\xc0\x80", "a\xed\xa0\x80", "a\xf4\x90\x80\x80", "a\xe2\x82", "a\xff"}) {
    EXPECT_EQ(find_invalid_utf8(bad), 1u);
  }
}

const json kOptions = json::parse(R"({
  "type": "object", "required": ["endpoint"], "additionalProperties": false,
  "properties": {
    "endpoint": {"type": "string", "pattern": "^https://", "x-hyper-form": "write https://HOST/sdk"},
    "password": {"type": "string", "x-hyper-secret": true},
    "timeout": {"type": "string", "x-hyper-duration": true, "default": "30s"},
    "part_size": {"type": ["string", "integer"], "x-hyper-size": true, "minimum": 4096, "default": "8MiB"},
    "threads": {"type": "integer", "minimum": 0, "exclusiveMaximum": 64, "default": 0},
    "transport": {"enum": ["auto", "lease"], "default": "auto"},
    "tls": {"$ref": "#/$defs/tls", "default": {}},
    "hosts": {"type": "array", "items": {"type": "string"}, "uniqueItems": true, "maxItems": 2}
  },
  "$defs": {"tls": {"type": "object", "additionalProperties": false, "properties": {
    "ca_file": {"type": "string", "x-hyper-path": true}, "insecure": {"type": "boolean", "default": false}}}}
})");

TEST(Options, AreCompletedAndResolved) {
  const OptionsResult result = validate_options(
      yaml("{endpoint: {env: EP}, password: {file: pw}, timeout: 2m, tls: {ca_file: ca.pem}}"),
      kOptions, "/providers/lab", {true, "/plans"});
  EXPECT_TRUE(result.ok) << said(result.diagnostics);
  EXPECT_EQ(result.options.to_json(),
            json::parse(
                R"({"endpoint": {"env": "EP"}, "password": {"file": "pw"}, "timeout": 120000000000,
                            "part_size": 8388608, "threads": 0, "transport": "auto",
                            "tls": {"ca_file": "/plans/ca.pem", "insecure": false}})"));
}

TEST(Options, EveryMistakeIsSaidWithItsPlace) {
  const OptionsResult result =
      validate_options(yaml("password: hunter2\nendpont: x\nendpoint: http://x\nthreads: "
                            "64\npart_size: 1KiB\ntransport: leese\nhosts: [a, a, 3]\n"),
                       kOptions, "/p", {});
  EXPECT_FALSE(result.ok);
  EXPECT_EQ(
      said(result.diagnostics),
      "t:1:11: /p/password: a secret may not stand in the plan (write {env: NAME} for an "
      "environment variable or "
      "{file: PATH} for a file that holds it)\n"
      "t:2:1: /p/endpont: unknown key 'endpont' (did you mean 'endpoint'?)\n"
      "t:3:11: /p/endpoint: this text does not have the form wanted here (write https://HOST/sdk)\n"
      "t:4:10: /p/threads: must be less than 64\n"
      "t:5:12: /p/part_size: must be at least 4096\n"
      "t:6:12: /p/transport: 'leese' is not one of auto, lease (did you mean 'lease'?)\n"
      "t:7:8: /p/hosts: the list must have at most 2 items\n"
      "t:7:12: /p/hosts/1: this item is in the list twice\n"
      "t:7:15: /p/hosts/2: expected a string, found a whole number (put it in quotes)\n");
}

TEST(Options, ABadSchemaBlamesThePlugin) {
  for (const char* bad :
       {R"([])", R"({"type": "strin"})", R"({"unevaluatedProperties": false})",
        R"({"pattern": "("})", R"({"$ref": "#/$defs/none"})", R"({"$ref": "other.json"})",
        R"({"minLength": -1})", R"({"properties": []})",
        R"({"properties": {"a": {"type": "integer", "default": "x"}}})",
        R"({"x-hyper-sekret": true})", R"({"required": [1]})", R"({"anyOf": []})"}) {
    const OptionsResult result = validate_options(yaml("{}"), json::parse(bad), "/p", {});
    EXPECT_FALSE(result.ok) << bad;
    EXPECT_THAT(said(result.diagnostics), HasSubstr("fault of the plugin")) << bad;
  }
  // A $ref that leads to itself is no schema either.
  const json loop = json::parse(R"({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}})");
  EXPECT_FALSE(validate_options(yaml("{}"), loop, "", {}).ok);
}

TEST(Options, ProblemsAreBounded) {
  std::string text = "endpoint: https://x\n";
  for (int i = 0; i < 5000; ++i) text += "k" + std::to_string(i) + ": 1\n";
  EXPECT_EQ(validate_options(yaml(text), kOptions, "", {}).diagnostics.size(), 100u);
}

TEST(Override, SetsWhatThePathNames) {
  std::vector<Diagnostic> problems;
  ConfigValue plan = yaml("{a: {b: [{c: 1}]}, n: }");
  for (const char* one : {"a.b[0].c=2", "a.b[1]=[x, y]", "n.deep.er=true", "\"my.key\".x={env: A}",
                          "empty=", "eq=a=b"}) {
    EXPECT_TRUE(apply_override(plan, one, problems)) << one << said(problems);
  }
  EXPECT_EQ(plan.to_json(),
            json::parse(R"({"a": {"b": [{"c": 2}, ["x", "y"]]}, "n": {"deep": {"er": true}},
                                           "my.key": {"x": {"env": "A"}}, "empty": "", "eq": "a=b"})"));
  EXPECT_EQ(plan.find("a")->find("b")->sequence()->at(0).find("c")->mark().where(),
            "--set a.b[0].c");
}

TEST(Override, SaysWhyItCannot) {
  ConfigValue plan = yaml("{a: {b: [1]}}");
  for (const char* bad :
       {"", "=", "a", "a..b=1", "[0]=1", "a.b[=1", "a.b[x]=1", "a.b[5]=1", "a.b.c=1", "a[0]=1",
        "a={", "a=\"", "a.b[99999999999999999999]=1", "\"a=1", "a.=1"}) {
    std::vector<Diagnostic> problems;
    EXPECT_FALSE(apply_override(plan, bad, problems)) << bad;
    EXPECT_EQ(problems.size(), 1u) << bad;
  }
  EXPECT_EQ(plan.to_json(), json::parse(R"({"a": {"b": [1]}})"));
}

class Secrets : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/secretsXXXXXX";
    context_.base_dir = ::mkdtemp(pattern.data());
    context_.redactor = &redactor_;
  }
  void TearDown() override { std::filesystem::remove_all(context_.base_dir); }

  void write(const std::string& name, const std::string& text, mode_t mode = 0600) {
    std::ofstream(context_.base_dir / name) << text;
    ASSERT_EQ(::chmod((context_.base_dir / name).c_str(), mode), 0);
  }
  std::optional<std::string> resolve(SecretReference::Source source, const std::string& name) {
    problems_.clear();
    return resolve_text(ConfigValue(SecretReference{source, name}), "/x", context_, problems_);
  }

  static constexpr auto kFile = SecretReference::Source::kFile;
  static constexpr auto kEnvironment = SecretReference::Source::kEnvironment;
  Redactor redactor_;
  SecretContext context_;
  std::vector<Diagnostic> problems_;
};

TEST_F(Secrets, ComeFromFilesAndVariables) {
  write("pw", "correct horse\n");
  ::setenv("HYPERHOST_TEST_SECRET", "battery staple", 1);
  ConfigValue options =
      yaml("{endpoint: https://x, password: {file: pw}, hosts: [{env: HYPERHOST_TEST_SECRET}]}");
  const OptionsResult result = validate_options(options, kOptions, "", {});
  ASSERT_TRUE(result.ok) << said(result.diagnostics);
  const auto resolved = resolve_secrets(result.options, "", context_, problems_);
  ASSERT_TRUE(resolved) << said(problems_);
  EXPECT_EQ((*resolved)["password"], "correct horse");
  EXPECT_EQ((*resolved)["hosts"][0], "battery staple");
  EXPECT_THAT(problems_, IsEmpty());
  EXPECT_EQ(redactor_.redact("pw=correct horse, b=battery%20staple."),
            "pw=[redacted], b=[redacted].");
}

TEST_F(Secrets, WhatCannotBeHadIsSaid) {
  write("empty", "\n");
  write("binary", "\xff\xfe");
  ::mkfifo((context_.base_dir / "fifo").c_str(), 0600);
  for (const auto& [name, what] : std::map<std::string, std::string>{{"none", "No such file"},
                                                                     {"empty", "is empty"},
                                                                     {"binary", "UTF-8"},
                                                                     {"fifo", "not a regular file"},
                                                                     {".", "not a regular file"}}) {
    EXPECT_FALSE(resolve(kFile, name)) << name;
    EXPECT_THAT(said(problems_), HasSubstr(what)) << name;
  }
  EXPECT_FALSE(resolve(kFile, "/dev/zero"));
  ::unsetenv("HYPERHOST_TEST_UNSET");
  EXPECT_FALSE(resolve(kEnvironment, "HYPERHOST_TEST_UNSET"));
  EXPECT_THAT(said(problems_), HasSubstr("HYPERHOST_TEST_UNSET is not set"));
}

TEST_F(Secrets, WarnsAboutOpenFilesAndShortOnes) {
  write("open", "longenough\n", 0644);
  EXPECT_EQ(resolve(kFile, "open"), "longenough");
  ASSERT_EQ(problems_.size(), 1u);
  EXPECT_EQ(problems_[0].severity, Severity::kWarning);
  EXPECT_THAT(said(problems_), HasSubstr("can be read by everyone"));
  write("short", "abc");
  EXPECT_EQ(resolve(kFile, "short"), "abc");
  EXPECT_THAT(said(problems_), HasSubstr("too few"));
  EXPECT_EQ(redactor_.redact("abc"), "abc");
}

TEST(RedactorTest, OverlapsQuotesAndLines) {
  Redactor redactor;
  EXPECT_EQ(redactor.redact("nothing known"), "nothing known");
  EXPECT_FALSE(redactor.add("abc"));
  EXPECT_TRUE(redactor.add("secret"));
  EXPECT_TRUE(redactor.add("retain"));
  EXPECT_EQ(redactor.redact("a secretain secret, secretsecret"),
            "a [redacted] [redacted], [redacted][redacted]");
  redactor.add("pa\"ss/wo rd");
  EXPECT_EQ(redactor.redact(R"({"p": "pa\"ss/wo rd"} ?p=pa%22ss%2Fwo%20rd)"),
            R"({"p": "[redacted]"} ?p=[redacted])");
  redactor.add("-----BEGIN KEY-----\nMIIEvQIBADANBg\n");
  EXPECT_EQ(redactor.redact("line MIIEvQIBADANBg end"), "line [redacted] end");
}

TEST(FileName, SafeStaysAndTheRestIsEscaped) {
  for (const char* same : {"web-server-01", "Büro Server (alt)", "a.b_c+d=e@f,g#h", "x~y", "日本"})
    EXPECT_EQ(safe_file_name(same), same);
  EXPECT_EQ(safe_file_name(""), "%");
  EXPECT_EQ(safe_file_name(".."), "%2E%2E");
  EXPECT_EQ(safe_file_name("../../etc/passwd"), "%2E.%2F..%2Fetc%2Fpasswd");
  EXPECT_EQ(safe_file_name("-rf"), "%2Drf");
  EXPECT_EQ(safe_file_name("a\nb%2Fc "), "a%0Ab%252Fc%20");
  EXPECT_EQ(safe_file_name("x\xc2\x85y"), "x%C2%85y");     // a C1 control
  EXPECT_EQ(safe_file_name("\xc3\xa9\xff"), "%C3%A9%FF");  // not UTF-8
}

TEST(FileName, LongNamesAreCutAtACharacterAndStayDifferent) {
  for (const std::string unit : {"a", "é", "日", "😀", "/", "aé"}) {
    std::string one, other;
    while (one.size() < 400) one += unit;
    other = one + "x";
    const std::string a = safe_file_name(one), b = safe_file_name(other);
    EXPECT_LE(a.size(), kMaxFileNameBytes);
    EXPECT_EQ(find_invalid_utf8(a), std::string::npos) << unit;
    EXPECT_NE(a, b);
    EXPECT_EQ(a, safe_file_name(one));
  }
}

using Time = StartWindow::Time;

Time local_time(int day, int hour, int minute) {
  std::tm parts{};
  parts.tm_year = 126;
  parts.tm_mon = 2;
  parts.tm_mday = day;
  parts.tm_hour = hour;
  parts.tm_min = minute;
  parts.tm_isdst = -1;
  return std::chrono::system_clock::from_time_t(std::mktime(&parts));
}

TEST(StartWindow, OfTimesOfDayMayHoldMidnight) {
  std::string why;
  const StartWindow night = StartWindow::parse("22:00", "05:30", why).value();
  for (const auto& [hour, open] :
       {std::pair{21, false}, {22, true}, {23, true}, {0, true}, {5, true}, {6, false}})
    EXPECT_EQ(night.open(local_time(3, hour, 0)), open) << hour;
  EXPECT_FALSE(night.open(local_time(3, 5, 30)));
  EXPECT_EQ(night.opens(local_time(3, 12, 0)), local_time(3, 22, 0));
  EXPECT_EQ(night.opens(local_time(3, 23, 0)), std::nullopt);
  EXPECT_FALSE(night.over(local_time(3, 12, 0)));
  const StartWindow noon = StartWindow::parse("11:00", "13:00", why).value();
  EXPECT_EQ(noon.opens(local_time(31, 13, 0)), local_time(32, 11, 0));  // the first of April
}

TEST(StartWindow, OfInstantsEndsForGood) {
  std::string why;
  const StartWindow once =
      StartWindow::parse("2026-03-01T10:00:00Z", "2026-03-01T12:00:00Z", why).value();
  const Time ten = *parse_timestamp("2026-03-01T10:00:00Z");
  EXPECT_FALSE(once.open(ten - std::chrono::seconds(1)));
  EXPECT_TRUE(once.open(ten));
  EXPECT_EQ(once.opens(ten - std::chrono::hours(9)), ten);
  EXPECT_TRUE(once.over(ten + std::chrono::hours(2)));
  EXPECT_FALSE(once.open(ten + std::chrono::hours(2)));
  EXPECT_TRUE(StartWindow().open(ten));
}

}  // namespace
}  // namespace hyperhost
