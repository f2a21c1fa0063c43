// SPDX-License-Identifier: Apache-2.0
// The host in memory that plugin authors test with (hyper/testing/host.hpp) answers as the real
// one.
#include <gtest/gtest.h>
#include <hyper/testing/host.hpp>

#include <string>
#include <thread>
#include <vector>

#include "core/plugin/operation.hpp"

namespace hyperhost {
namespace {

using hyper::DocBuilder;
using hyper::Journal;
using hyper::testing::Host;

/// One document call after another, on a host's table; what each answered.
class Transcript {
 public:
  explicit Transcript(const hyper_host& host) : host_(host) {}

  void parse(const std::string& json) {
    hyper_doc* doc = nullptr;
    said_ += "parse " + std::to_string(host_.doc_parse(json.data(), json.size(), &doc)) + "\n";
    if (doc == nullptr) return;
    for (const char* pointer :
         {"", "/a", "/a/0", "/a/1/b~1c", "/a/-", "/a/01", "/m~0n", "x", "/~2"})
      look(doc, pointer);
    for (uint64_t i = 0; i < 4; ++i) {
      hyper_val key{};
      key.size = sizeof key;
      const hyper_st status = host_.doc_key(doc, "", i, &key);
      said_ += "key " + std::to_string(status) + " " +
               (status == HYPER_OK ? std::string(key.str, key.len) : "") + "\n";
    }
    host_.doc_free(doc);
  }

  void build() {
    hyper_doc* doc = host_.doc_new();
    hyper_val text{};
    text.size = sizeof text;
    text.type = HYPER_VAL_STRING;
    text.str = "tab\t \"quoted\" \\ \xc3\xa4";
    text.len = std::char_traits<char>::length(text.str);
    hyper_val number{};
    number.size = sizeof number;
    number.type = HYPER_VAL_INT;
    number.i64 = -(int64_t{1} << 60);
    for (const char* pointer : {"/disks/-/id", "/disks/0/access/-", "/disks/-", "/disks/7/x",
                                "/name", "/name/below", "/a~1b", "no pointer", "/b/-/-"}) {
      said_ += pointer + (" " + std::to_string(host_.doc_set(doc, pointer, &text))) + "\n";
      said_ += pointer + (" " + std::to_string(host_.doc_set(doc, pointer, &number))) + "\n";
    }
    said_ += std::to_string(host_.doc_copy(doc, "/copy/of", doc, "/disks")) + "\n";
    said_ += std::to_string(host_.doc_copy(doc, "/copy/x", doc, "/absent")) + "\n";
    look(doc, "");
    host_.doc_free(doc);
  }
  const std::string& said() const { return said_; }

 private:
  void look(const hyper_doc* doc, const char* pointer) {
    hyper_val value{};
    value.size = sizeof value;
    const hyper_st status = host_.doc_get(doc, pointer, &value);
    said_ += std::string(pointer) + ": " + std::to_string(status) + " ";
    if (status == HYPER_OK)
      said_ += std::to_string(value.type) + " " + std::to_string(value.i64) + " " +
               std::to_string(value.f64) + " " + std::to_string(value.len) + " " +
               (value.str == nullptr ? "" : std::string(value.str, value.len));
    const auto emit = [](void* arg, const char* json, uint64_t len) noexcept -> hyper_st {
      static_cast<std::string*>(arg)->append(" = ").append(json, len);
      return HYPER_OK;
    };
    said_ += std::to_string(host_.doc_emit(doc, pointer, emit, &said_)) + "\n";
  }
  const hyper_host& host_;
  std::string said_;
};

TEST(TestingHost, ReadsAndWritesDocumentsAsTheRealOne) {
  Transcript real(*host_table()), made(Host::table());
  const std::vector<std::string> texts{R"({"a": [1, {"b/c": "x"}], "m~n": {}, "z": null})",
                                       R"({"a": [true, false, 0.5, -2e3, 9223372036854775807]})",
                                       R"("ä ä 😀 \n\t\/")",
                                       R"([[], {}, "", 0, -0])",
                                       "{\"twice\": 1, \"twice\": 2}",
                                       std::string(200, '['),
                                       std::string(100, '[') + std::string(100, ']'),
                                       "",
                                       "{",
                                       "[1,]",
                                       "{\"a\" 1}",
                                       "{a: 1}",
                                       "tru",
                                       "01",
                                       "1.",
                                       "+1",
                                       "'x'",
                                       "\"\\x\"",
                                       "\"\\ud800\"",
                                       "\"\xc0\xaf\"",
                                       "\"\xed\xa0\x80\"",
                                       "\"open",
                                       "[1] 2",
                                       "nul",
                                       "\"tab\there\"",
                                       "1e999"};
  for (const std::string& text : texts) {
    real.parse(text);
    made.parse(text);
    ASSERT_EQ(made.said(), real.said()) << text.substr(0, 80);
  }
  real.build();
  made.build();
  EXPECT_EQ(made.said(), real.said());
}

TEST(TestingHost, KeepsAJournal) {
  Host host;
  EXPECT_TRUE(Journal::kept(host.op()));
  const uint64_t id = Journal::open(host.op(), DocBuilder().set("/plugin", "acme").set("/ref", ""));
  Journal::update(host.op(), id, DocBuilder().set("/plugin", "acme").set("/ref", "snap-7"));
  std::vector<std::string> listed;
  Journal::each(host.op(), "acme", [&](std::string json) { listed.push_back(std::move(json)); });
  ASSERT_EQ(listed.size(), 1u);
  EXPECT_EQ(host.doc(listed[0]).string("/ref"), "snap-7");
  EXPECT_EQ(host.doc(listed[0]).integer("/entry"), static_cast<int64_t>(id));
  Journal::close(host.op(), id);
  EXPECT_TRUE(host.journal().empty());
  host.keeps_journal = false;
  EXPECT_FALSE(Journal::kept(host.op()));
  EXPECT_THROW(Journal::open(host.op(), DocBuilder().set("/plugin", "acme")), hyper::Error);
}

TEST(TestingHost, CancelsReportsAndRemembers) {
  Host host;
  host.op().warn(hyper::Error(HYPER_BUSY, "the server is busy").at("/endpoint").retryable());
  host.op().progress(5, 10);
  host.op().progress(4, 10);
  host.op().info("hello");
  ASSERT_EQ(host.reports().size(), 1u);
  EXPECT_EQ(host.reports()[0].path, "/endpoint");
  EXPECT_TRUE(host.reports()[0].retryable);
  EXPECT_TRUE(host.progress_went_back());
  EXPECT_EQ(host.log(), std::vector<std::string>{"hello"});
  EXPECT_TRUE(hyper::Checkpoint::save(host.op(), std::string(R"({"length": 7})")));
  EXPECT_EQ(host.states(), std::vector<std::string>{R"({"length":7})"});
  EXPECT_NO_THROW(host.op().check_cancelled());
  std::thread sleeper(
      [&] { EXPECT_THROW(host.op().sleep_ns(uint64_t{3600} * 1'000'000'000), hyper::Reported); });
  host.cancel();
  sleeper.join();
  EXPECT_THROW(host.op().check_cancelled(), hyper::Reported);
}

}  // namespace
}  // namespace hyperhost
