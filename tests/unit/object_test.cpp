// SPDX-License-Identifier: Apache-2.0
// What the plugins for object stores share, without a network: signatures against AWS's published
// examples, digests, waits, part sizes, and sinks over a store in memory that fails on demand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "plugins/storage/object/body.hpp"
#include "plugins/storage/object/digest.hpp"
#include "plugins/storage/object/modified_time.hpp"
#include "plugins/storage/object/object_storage.hpp"
#include "plugins/storage/object/part_sink.hpp"
#include "plugins/storage/object/sigv4.hpp"
#include "tests/support/plugin_host.hpp"

namespace hyper::object {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr uint64_t kMiB = 1u << 20;

TEST(ModifiedTime, IsRfc3339Always) {
  EXPECT_EQ(modified_time("Tue, 24 Nov 2026 00:18:43 GMT"), "2026-11-24T00:18:43Z");
  EXPECT_EQ(modified_time("Sun, 01 Feb 2026 23:59:59 GMT"), "2026-02-01T23:59:59Z");
  EXPECT_EQ(modified_time("2026-11-24T00:18:43.000Z"), "2026-11-24T00:18:43.000Z");
  for (const char* other : {"", "yesterday", "Tue, 24 Foo 2026 00:18:43 GMT", "2026-11-24",
                            "Tue, 24 Nov 2026 00:18:43 CET"})
    EXPECT_EQ(modified_time(other), "") << other;
}

TEST(Pages, NoneIsReadTwice) {
  Pages pages;
  for (const char* next : {"a", "b", "c"}) pages.follow(next);
  EXPECT_THROW(pages.follow("a"), Error);  // also where other pages came between
  EXPECT_NO_THROW(pages.follow(""));
  EXPECT_NO_THROW(pages.follow(""));
}

// --- signatures ----------------------------------------------------------------------------------

const AwsCredentials kExample{"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                              "", 0, ""};

ToSign example(const std::string& method, const std::string& path, Fields query, Fields headers,
               const std::string& payload) {
  ToSign out;
  out.method = method;
  out.host = "examplebucket.s3.amazonaws.com";
  out.path = path;
  out.query = std::move(query);
  out.headers = std::move(headers);
  out.payload_sha256 = hex(sha256(payload));
  out.time = 1369353600;  // 2013-05-24T00:00:00Z
  out.region = "us-east-1";
  return out;
}

std::string authorization(const ToSign& to_sign) {
  for (const auto& [name, value] : sign(to_sign, kExample))
    if (name == "Authorization") return value;
  return {};
}

TEST(SigV4, GetWithARange) {
  EXPECT_EQ(authorization(example("GET", "/test.txt", {}, {{"Range", "bytes=0-9"}}, "")),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
            "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
            "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

TEST(SigV4, PutOfAnEncodedKey) {
  const Fields headers = {{"Date", "Fri, 24 May 2013 00:00:00 GMT"},
                          {"x-amz-storage-class", "REDUCED_REDUNDANCY"}};
  EXPECT_THAT(authorization(example("PUT", "/" + uri_encode("test$file.text", true), {}, headers,
                                    "Welcome to Amazon S3.")),
              HasSubstr("98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"));
}

TEST(SigV4, QueriesAreSorted) {
  EXPECT_THAT(authorization(example("GET", "/", {{"lifecycle", ""}}, {}, "")),
              HasSubstr("fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"));
  EXPECT_THAT(authorization(example("GET", "/", {{"prefix", "J"}, {"max-keys", "2"}}, {}, "")),
              HasSubstr("34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"));
}

TEST(SigV4, PresignedUrl) {
  EXPECT_THAT(presigned_query(example("GET", "/test.txt", {}, {}, ""), kExample, 86400),
              HasSubstr("X-Amz-Signature="
                        "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"));
}

// --- digests -------------------------------------------------------------------------------------

TEST(Digest, KnownValues) {
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(hex(md5("abc")), "900150983cd24fb0d6963f7d28e17f72");
  EXPECT_EQ(base64url("\xff\xfe\xfd\xfc"), "__79_A");
  EXPECT_EQ(uri_encode("a b/c~ü", true), "a%20b/c~%C3%BC");
  EXPECT_EQ(uri_encode("a/b", false), "a%2Fb");
}

TEST(Digest, Base64ThatIsNoneIsRefused) {
  EXPECT_EQ(from_base64("YWJj"), "abc");
  EXPECT_EQ(from_base64("YQ=="), "a");
  for (const char* wrong : {"YQ=", "Y===", "=YWJ", "Y Jj", "Y\xffJj"})
    EXPECT_EQ(from_base64(wrong), std::nullopt) << wrong;
}

TEST(Digest, CrcsOfPartsMakeTheCrcOfTheWhole) {
  std::string text;
  for (int i = 0; i < 100000; ++i) text += static_cast<char>(i * 7919 >> 3);
  for (const std::size_t cut : {0ul, 1ul, 4096ul, 99999ul, 100000ul}) {
    const std::string a = text.substr(0, cut), b = text.substr(cut);
    EXPECT_EQ(crc32c_combine(crc32c(a), crc32c(b), b.size()), crc32c(text)) << cut;
    EXPECT_EQ(crc32c(b, crc32c(a)), crc32c(text)) << cut;
  }
}

// --- waits and sizes -----------------------------------------------------------------------------

TEST(Retry, WaitsGrowToALimitAndAreSpread) {
  RetryPolicy policy;
  using std::chrono::milliseconds;
  EXPECT_EQ(policy.delay(1, 0), milliseconds(125));
  EXPECT_EQ(policy.delay(1, 1), milliseconds(250));
  EXPECT_EQ(policy.delay(4, 1), milliseconds(2000));
  EXPECT_EQ(policy.delay(50, 1), policy.longest_delay);
}

TEST(PartSize, GrowsSoThatTheLargestObjectFits) {
  Limits limits;
  limits.min_part = 5 * kMiB;
  limits.max_part = 5120 * kMiB;
  limits.max_parts = 10000;
  limits.max_object = uint64_t{5} << 40;
  EXPECT_EQ(choose_part_size(limits, 16 * kMiB, 0), 16 * kMiB);
  EXPECT_EQ(choose_part_size(limits, kMiB, 0), 5 * kMiB);
  for (const uint64_t bytes : {uint64_t{100} << 30, uint64_t{1} << 40, limits.max_object}) {
    const uint64_t size = choose_part_size(limits, 16 * kMiB, bytes);
    EXPECT_GE(size * limits.max_parts, bytes);
    EXPECT_LE(size, limits.max_part);
    EXPECT_EQ(size % kMiB, 0u);
  }
}

// --- sinks ---------------------------------------------------------------------------------------

/// A store in memory. `before` and `after` run inside each request and may throw.
class MemoryService final : public Service {
  template <class F>
  auto request(const std::string& what, F f) {
    const std::lock_guard lock(mutex);
    before(what);
    auto out = f();
    after(what);
    return out;
  }

 public:
  std::string plugin() const override { return "memory"; }
  std::string where() const override { return "memory://here"; }
  std::string location(const std::string& key) const override { return "memory://here/" + key; }
  Limits limits() const override {
    Limits limits;
    limits.min_part = 1;
    limits.max_part = uint64_t{1} << 30;
    limits.max_parts = 100;
    limits.max_object = uint64_t{1} << 36;
    return limits;
  }
  void check(Op) override {}
  std::optional<ObjectInfo> head(Op, const std::string& key) override {
    const std::lock_guard lock(mutex);
    const auto found = objects.find(key);
    if (found == objects.end()) return std::nullopt;
    return info(key, found->second);
  }
  void read(Op, const ObjectInfo& object, uint64_t offset, void* buf, uint64_t len) override {
    const std::lock_guard lock(mutex);
    std::memcpy(buf, objects.at(object.key).data() + offset, len);
  }
  void list(Op, const std::string& prefix,
            const std::function<void(const ObjectInfo&)>& on_object) override {
    for (const auto& [key, bytes] : objects)
      if (key.starts_with(prefix)) on_object(info(key, bytes));
  }
  void remove(Op, const std::string& key) override {
    const std::lock_guard lock(mutex);
    if (objects.erase(key) == 0) throw Error(HYPER_NOTFOUND, "no such object");
  }
  std::string presign(const std::string& key, uint64_t) override { return "url:" + key; }
  ObjectInfo put(Op, const PutSpec& spec, std::string_view bytes) override {
    return request("put", [&] { return make(spec, std::string(bytes)); });
  }
  json begin(Op, const PutSpec&, const json&) override {
    return request("begin", [&] {
      uploads["u1"];
      return json{{"id", "u1"}};
    });
  }
  std::optional<Parts> parts(Op, const PutSpec&, const json& upload) override {
    const std::lock_guard lock(mutex);
    const auto found = uploads.find(upload.at("id"));
    if (found == uploads.end()) return std::nullopt;
    Parts out;
    for (const auto& [index, bytes] : found->second) out[index] = {bytes.size(), "", md5(bytes)};
    return out;
  }
  Part put_part(Op, const PutSpec&, const json& upload, uint64_t index,
                std::string_view bytes) override {
    return request("part", [&] {
      uploads.at(upload.at("id"))[index] = bytes;
      sent.push_back(index);
      return Part{bytes.size(), "", md5(bytes)};
    });
  }
  std::string zeros_key(const PutSpec& spec) const override {
    return copies ? spec.key + ".zeros" : std::string();
  }
  std::optional<Part> copy_part(Op, const PutSpec&, const json& upload, uint64_t index,
                                const std::string& from, const Part& content) override {
    return request("copy", [&]() -> std::optional<Part> {
      if (refuses_copies) return std::nullopt;
      uploads.at(upload.at("id"))[index] = objects.at(from);
      copied.push_back(index);
      return content;
    });
  }
  Part describe(std::string_view bytes) override { return {bytes.size(), "", md5(bytes)}; }
  bool same(const Part& part, std::string_view bytes) override { return part.digest == md5(bytes); }
  ObjectInfo finish(Op, const PutSpec& spec, const json& upload, const Parts& parts,
                    uint64_t) override {
    return request("finish", [&] {
      const auto found = uploads.find(upload.at("id"));
      if (found == uploads.end()) throw Error(HYPER_NOTFOUND, "no such upload");
      std::string whole;
      for (const auto& [index, part] : parts) whole += found->second.at(index);
      const ObjectInfo made = make(spec, whole);
      uploads.erase(found);
      return made;
    });
  }
  bool made_of(const ObjectInfo& object, const Parts& parts, uint64_t length) override {
    if (!describes) return false;
    const std::string& bytes = objects.at(object.key);
    bool same = object.bytes == length;
    for (const auto& [index, part] : parts)
      same = same && md5(std::string_view(bytes).substr(index * kMiB, part.bytes)) == part.digest;
    return same;
  }
  bool describes_content(const ObjectInfo&) const override { return describes; }
  void abort(Op, const std::string&, const json& upload, const std::string&) override {
    request("abort", [&] {
      if (upload.is_object() && upload.contains("zeros"))
        objects.erase(upload.at("zeros").get<std::string>());
      if (upload.is_object())
        uploads.erase(upload.at("id"));
      else
        uploads.clear();
      return 0;
    });
  }

  std::mutex mutex;
  std::map<std::string, std::string> objects;
  std::map<std::string, std::map<uint64_t, std::string>> uploads;
  std::vector<uint64_t> sent, copied;
  bool copies = false, refuses_copies = false;
  bool describes = true;  // what it says of an object depends on the bytes
  std::function<void(const std::string&)> before = [](const std::string&) {};
  std::function<void(const std::string&)> after = [](const std::string&) {};

 private:
  static ObjectInfo info(const std::string& key, const std::string& bytes) {
    ObjectInfo out;
    out.key = key;
    out.bytes = bytes.size();
    return out;
  }
  ObjectInfo make(const PutSpec& spec, std::string bytes) {
    if (!spec.overwrite && objects.count(spec.key) != 0) throw Error(HYPER_EXISTS, "exists");
    objects[spec.key] = std::move(bytes);
    return info(spec.key, objects[spec.key]);
  }
};

/// The journal's table over a map; entries of the process that `owner` says.
struct TestJournal {
  std::map<uint64_t, json> entries;
  uint64_t next = 1;
  static TestJournal& get() {
    static TestJournal journal;
    return journal;
  }
  static const hyper_journal* table() {
    static const hyper_journal table = {
        sizeof(hyper_journal),
        0,
        [](hyper_op*, uint32_t, const hyper_doc* what, uint64_t* entry) noexcept -> hyper_st {
          *entry = get().next++;
          get().entries[*entry] = what->json;
          return HYPER_OK;
        },
        [](hyper_op*, uint32_t, uint64_t entry, const hyper_doc* what) noexcept -> hyper_st {
          get().entries.at(entry) = what->json;
          return HYPER_OK;
        },
        [](hyper_op*, uint32_t, uint64_t entry) noexcept -> hyper_st {
          get().entries.erase(entry);
          return HYPER_OK;
        },
        [](hyper_op*, uint32_t, const char*, hyper_emit emit, void* arg) noexcept -> hyper_st {
          for (auto [id, entry] : get().entries) {
            entry["entry"] = id;
            const std::string text = entry.dump();
            emit(arg, text.data(), text.size());
          }
          return HYPER_OK;
        }};
    return &table;
  }
};

class Sinks : public ::testing::Test {
 protected:
  Sinks() {
    TestJournal::get() = {};
    table_ = test::TestHost::table();
    table_.get_ext = [](const char* id) noexcept -> const void* {
      return std::string(id) == HYPER_EXT_JOURNAL ? TestJournal::table() : nullptr;
    };
    table_.sleep = [](hyper_op* op, uint64_t ns) noexcept -> hyper_st {
      slept().push_back(ns);
      return op->cancelled ? HYPER_CANCELLED : HYPER_OK;
    };
    detail::host_slot() = &table_;
    slept().clear();
    StoreSettings settings;
    settings.prefix = "p/";
    settings.part_size = kMiB;
    settings.retry.attempts = 4;
    storage_ = std::make_unique<ObjectStorage>(service_, settings);
  }
  ~Sinks() override { detail::host_slot() = nullptr; }

  static std::vector<uint64_t>& slept() {
    static std::vector<uint64_t> waits;
    return waits;
  }
  std::unique_ptr<Sink> put(json more = json::object()) {
    json request = {{"key", "disk"}};
    request.update(more);
    return storage_->put(op(), DocBuilder::parse(request.dump()));
  }
  void write(Sink& sink, uint64_t part, std::size_t bytes = kMiB) {
    const std::string text(bytes, static_cast<char>('a' + part));
    sink.write_at(op(), part * kMiB, text.data(), text.size());
  }
  static std::string disk(uint64_t parts, std::size_t rest) {
    std::string out;
    for (uint64_t i = 0; i < parts; ++i) out += std::string(kMiB, static_cast<char>('a' + i));
    return out + std::string(rest, static_cast<char>('a' + parts));
  }
  Op op() { return Op(&operation_); }
  /// The n-th request of that kind fails once, before or after it took effect.
  void fail_once(const std::string& kind, int n, Error error, bool after = false) {
    auto count = std::make_shared<int>(0);
    (after ? service_->after : service_->before) = [=](const std::string& what) {
      if (what == kind && ++*count == n) throw error;
    };
  }
  static Error busy(uint64_t after_ns = 0) { return Error(HYPER_BUSY, "busy").retryable(after_ns); }

  hyper_host table_{};
  hyper_op operation_;
  std::shared_ptr<MemoryService> service_ = std::make_shared<MemoryService>();
  std::unique_ptr<ObjectStorage> storage_;
};

TEST_F(Sinks, PartsInAnyOrderMakeTheObject) {
  auto sink = put();
  write(*sink, 2, 100);
  write(*sink, 1);
  EXPECT_EQ(TestJournal::get().entries.size(), 1u);
  EXPECT_EQ(service_->objects.size(), 0u) << "nothing is visible before the commit";
  write(*sink, 0);
  const json answer = json::parse(sink->commit(op(), 2 * kMiB + 100));
  EXPECT_EQ(answer.at("location"), "memory://here/p/disk");
  EXPECT_EQ(service_->objects.at("p/disk"), disk(2, 100));
  EXPECT_EQ(TestJournal::get().entries.size(), 0u);
}

TEST_F(Sinks, TheMarkOfADirectoryIsNoObjectOfAList) {
  service_->objects = {{"p/", ""}, {"p/a", "1"}, {"p/b/", ""}, {"q", "2"}};
  std::vector<std::string> keys;
  const auto keep = [](void* arg, const char* text, uint64_t len) noexcept -> hyper_st {
    const json object = json::parse(std::string(text, len));
    static_cast<std::vector<std::string>*>(arg)->push_back(object.at("key"));
    return HYPER_OK;
  };
  storage_->list(op(), "", Emit(keep, &keys));
  EXPECT_EQ(keys, (std::vector<std::string>{"a", "b/"}));
}

TEST_F(Sinks, WhatFitsIntoOnePartTakesOneRequestAndNoJournal) {
  auto sink = put();
  write(*sink, 0, 10);
  sink->commit(op(), 10);
  EXPECT_EQ(service_->objects.at("p/disk"), disk(0, 10));
  EXPECT_EQ(TestJournal::get().next, 1u);
  auto empty = put({{"key", "nothing"}});
  empty->commit(op(), 0);
  EXPECT_EQ(service_->objects.at("p/nothing"), "");
}

TEST_F(Sinks, ClosedWithoutCommitLeavesNothing) {
  {
    auto sink = put();
    write(*sink, 0);
  }
  EXPECT_TRUE(service_->uploads.empty());
  EXPECT_TRUE(TestJournal::get().entries.empty());
}

TEST_F(Sinks, AMissingPartIsNotCommitted) {
  auto sink = put();
  write(*sink, 0);
  write(*sink, 2, 5);
  EXPECT_THROW(sink->commit(op(), 2 * kMiB + 5), Error);
  sink.reset();
  EXPECT_TRUE(service_->objects.empty());
  EXPECT_TRUE(service_->uploads.empty());
}

TEST_F(Sinks, ZerosAreSentOnceAndCopiedFromThenOn) {
  const std::string zeros(kMiB, '\0');
  const auto write_all = [&](Sink& sink) {
    write(sink, 0);
    for (uint64_t part = 1; part < 5; ++part)
      sink.write_at(op(), part * kMiB, zeros.data(), zeros.size());
    sink.write_at(op(), 5 * kMiB, zeros.data(), 10);
  };
  const std::string whole = std::string(kMiB, 'a') + std::string(4 * kMiB + 10, '\0');
  service_->copies = true;
  {
    auto sink = put();
    write_all(*sink);
    EXPECT_EQ(service_->sent, (std::vector<uint64_t>{0, 1, 5}));
    EXPECT_EQ(service_->copied, (std::vector<uint64_t>{2, 3, 4}));
    EXPECT_EQ(TestJournal::get().entries.begin()->second.at("upload").at("zeros"), "p/disk.zeros");
    sink->commit(op(), 5 * kMiB + 10);
    EXPECT_EQ(service_->objects.size(), 1u) << "the object of zeros is gone";
    EXPECT_EQ(service_->objects.at("p/disk"), whole);
    EXPECT_TRUE(TestJournal::get().entries.empty());
  }
  service_->objects.clear();
  service_->copied.clear();
  {
    auto sink = put();
    write_all(*sink);
  }
  EXPECT_TRUE(service_->objects.empty()) << "an upload that ends without a commit leaves no zeros";
  EXPECT_TRUE(service_->uploads.empty());
  service_->refuses_copies = true;
  service_->sent.clear();
  auto sink = put();
  write_all(*sink);
  sink->commit(op(), 5 * kMiB + 10);
  EXPECT_EQ(service_->sent, (std::vector<uint64_t>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(service_->objects.at("p/disk"), whole);
  EXPECT_EQ(service_->objects.size(), 1u);
}

TEST_F(Sinks, ABusyStoreIsAskedAgainNotBeforeItSaid) {
  fail_once("part", 1, busy(3'000'000'000));
  auto sink = put();
  write(*sink, 0);
  write(*sink, 1, 1);
  sink->commit(op(), kMiB + 1);
  EXPECT_EQ(service_->objects.at("p/disk"), disk(1, 1));
  ASSERT_EQ(slept().size(), 1u);
  EXPECT_EQ(slept()[0], 3'000'000'000u);
}

TEST_F(Sinks, GivesUpAfterItsAttempts) {
  service_->before = [](const std::string& what) {
    if (what == "part") throw busy();
  };
  auto sink = put();
  EXPECT_THROW(write(*sink, 0), Error);
  EXPECT_EQ(slept().size(), 3u);
}

TEST_F(Sinks, WhatCannotWorkIsTriedOnce) {
  fail_once("part", 1, Error(HYPER_AUTH, "no"));
  auto sink = put();
  EXPECT_THROW(write(*sink, 0), Error);
  EXPECT_TRUE(slept().empty());
}

TEST_F(Sinks, ALostAnswerToTheCompletionIsNoFailure) {
  fail_once("finish", 1, busy(), true);  // it is done, and the answer is lost
  auto sink = put();
  write(*sink, 0);
  write(*sink, 1, 1);
  sink->commit(op(), kMiB + 1);
  EXPECT_EQ(service_->objects.at("p/disk"), disk(1, 1));
  EXPECT_TRUE(TestJournal::get().entries.empty());
}

TEST_F(Sinks, AnObjectIsReadWhereTheServerSaysNothingOfItsBytes) {
  service_->describes = false;
  {
    fail_once("finish", 1, busy(), true);
    auto sink = put();
    write(*sink, 0);
    write(*sink, 1, 9);
    sink->commit(op(), kMiB + 9);
  }
  for (const std::size_t wrong : {std::size_t{0}, std::size_t{kMiB} + 8, std::string::npos}) {
    service_->objects["p/disk"] = disk(1, 9);
    if (wrong != std::string::npos) service_->objects["p/disk"][wrong] = '?';
    auto sink = put({{"adopt", true}});
    write(*sink, 0);
    write(*sink, 1, 9);
    if (wrong == std::string::npos)
      EXPECT_TRUE(json::parse(sink->commit(op(), kMiB + 9)).at("adopted"));
    else
      EXPECT_THROW(sink->commit(op(), kMiB + 9), Error) << wrong;
  }
}

/// libcurl repeats a request whose connection broke off: the first answer seen is that of the
/// second.
TEST_F(Sinks, AnAnswerThatWasLostUnseenIsNoFailure) {
  for (const bool exists : {true, false}) {
    service_->objects.clear();
    bool first = true;
    service_->after = [&](const std::string& what) {
      if (what != "finish" || !std::exchange(first, false)) return;
      throw Error(exists ? HYPER_EXISTS : HYPER_NOTFOUND, "it is done already");
    };
    auto sink = put();
    write(*sink, 0);
    write(*sink, 1, 1);
    sink->commit(op(), kMiB + 1);
    EXPECT_EQ(service_->objects.at("p/disk"), disk(1, 1));
  }
  service_->objects.clear();
  bool first = true;
  service_->after = [&](const std::string& what) {
    if (what == "put" && std::exchange(first, false)) throw Error(HYPER_EXISTS, "it is there");
  };
  auto sink = put();
  write(*sink, 0, 7);
  sink->commit(op(), 7);
  EXPECT_EQ(service_->objects.at("p/disk"), disk(0, 7));
}

TEST_F(Sinks, ALostAnswerToASmallObjectIsNoFailure) {
  fail_once("put", 1, busy(), true);
  auto sink = put();
  write(*sink, 0, 7);
  sink->commit(op(), 7);
  EXPECT_EQ(service_->objects.at("p/disk"), disk(0, 7));
}

TEST_F(Sinks, SomebodyElsesObjectIsNotTakenForOurs) {
  service_->before = [this](const std::string& what) {
    if (what == "finish") service_->objects["p/disk"] = "theirs";
  };
  auto sink = put();
  write(*sink, 0);
  write(*sink, 1, 1);
  EXPECT_THROW(sink->commit(op(), kMiB + 1), Error);
  EXPECT_EQ(service_->objects.at("p/disk"), "theirs");
}

TEST_F(Sinks, AKilledRunsUploadIsGoneOnWith) {
  service_->uploads["u1"][0] = std::string(kMiB, 'a');
  service_->uploads["u1"][1] = std::string(kMiB, 'x');  // not what it will be now
  TestJournal::get().entries[7] = {{"plugin", "memory"},
                                   {"kind", "upload"},
                                   {"where", "memory://here"},
                                   {"ref", "p/disk"},
                                   {"part_size", kMiB},
                                   {"upload", {{"id", "u1"}}},
                                   {"began", "2026-11-25T00:00:00Z"},
                                   {"owner", "1:0"}};
  auto sink = put();
  write(*sink, 0);
  write(*sink, 1);
  write(*sink, 2, 9);
  const json answer = json::parse(sink->commit(op(), 2 * kMiB + 9));
  EXPECT_EQ(service_->objects.at("p/disk"), disk(2, 9));
  EXPECT_EQ(service_->sent, (std::vector<uint64_t>{1, 2}));
  EXPECT_EQ(answer.at("resumed").at("parts"), 1);
  EXPECT_TRUE(TestJournal::get().entries.empty());
  EXPECT_TRUE(service_->uploads.empty());
}

TEST_F(Sinks, AnEntryWhoseUploadIsGoneIsClosed) {
  TestJournal::get().entries[7] = {{"plugin", "memory"},
                                   {"kind", "upload"},
                                   {"where", "memory://here"},
                                   {"ref", "p/disk"},
                                   {"part_size", kMiB},
                                   {"upload", {{"id", "gone"}}},
                                   {"began", "2026-11-25T00:00:00Z"},
                                   {"owner", "1:0"}};
  auto sink = put();
  EXPECT_TRUE(TestJournal::get().entries.empty());
}

TEST_F(Sinks, WhatIsThereAndTheSameIsAdoptedAndElseRefused) {
  const json adopting = {{"adopt", true}};
  for (const std::size_t rest : {0ul, 9ul}) {  // a small object, and one of parts
    const uint64_t parts = rest == 0 ? 0 : 2;
    const std::size_t last = rest == 0 ? 100 : rest;
    for (const bool same : {true, false}) {
      service_->objects["p/disk"] = disk(parts, last);
      if (!same) service_->objects["p/disk"][50] = '?';
      const std::string before = service_->objects["p/disk"];
      service_->sent.clear();
      auto sink = put(adopting);
      for (uint64_t i = 0; i < parts; ++i) write(*sink, i);
      write(*sink, parts, last);
      const uint64_t length = parts * kMiB + last;
      if (same)
        EXPECT_TRUE(json::parse(sink->commit(op(), length)).at("adopted"));
      else
        EXPECT_THROW(sink->commit(op(), length), Error);
      sink.reset();
      EXPECT_EQ(service_->objects["p/disk"], before);
      EXPECT_TRUE(service_->sent.empty());
    }
  }
  EXPECT_THROW(put(), Error) << "unless asked for";
}

TEST_F(Sinks, TwoSinksDoNotShareAnUpload) {
  auto first = put();
  write(*first, 0);
  EXPECT_THROW(put(), Error);
}

TEST_F(Sinks, UndoAbortsWhatTheEntryNamesAndNothingElsewhere) {
  service_->uploads["u1"];
  service_->uploads["u2"];
  const json entry = {{"plugin", "memory"}, {"where", "memory://here"}, {"ref", "p/disk"},
                      {"part_size", kMiB},  {"upload", {{"id", "u1"}}}, {"began", ""},
                      {"entry", 3}};
  storage_->undo(op(), DocBuilder::parse(entry.dump()));
  EXPECT_EQ(service_->uploads.count("u1"), 0u);
  EXPECT_EQ(service_->uploads.count("u2"), 1u);
  json elsewhere = entry;
  elsewhere["where"] = "memory://there";
  EXPECT_THROW(storage_->undo(op(), DocBuilder::parse(elsewhere.dump())), Reported);
}

TEST_F(Sinks, KeysThatLeadOutAreRefused) {
  for (const char* key : {"", "/x", "a//b", "../x", "a/./b", "a/", "a\nb"})
    EXPECT_THROW(storage_->stat(op(), key), Error) << key;
}

TEST_F(Sinks, SourcesReadAnyRange) {
  std::string bytes;
  for (int i = 0; i < 9'000'000; ++i) bytes += static_cast<char>(i * 31 >> 4);
  service_->objects["p/disk"] = bytes;
  const auto source = storage_->get(op(), "disk");
  EXPECT_EQ(source->traits().length, bytes.size());
  for (const auto& [offset, length] : {std::pair{0ul, 10ul}, {4194300ul, 10ul}, {1ul, 8999999ul}}) {
    std::string got(length, '\0');
    source->read_at(op(), offset, got.data(), length);
    EXPECT_EQ(got, bytes.substr(offset, length));
  }
}

}  // namespace
}  // namespace hyper::object
