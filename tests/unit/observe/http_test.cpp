// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include "core/watch/http/http_address.hpp"
#include "core/watch/http/http_server.hpp"
#include "core/watch/http/web_assets.hpp"

namespace hyperhost {
namespace {

TEST(HttpAddress, LoopbackIsTheDefault) {
  for (const char* text : {":8080", "8080", "localhost:8080", "127.0.0.1:8080", "[::1]:8080"}) {
    const HttpAddress address = parse_http_address(text);
    EXPECT_EQ(address.port, 8080) << text;
    EXPECT_TRUE(address.loopback) << text;
  }
  EXPECT_FALSE(parse_http_address("0.0.0.0:80").loopback);
  EXPECT_FALSE(parse_http_address("[::]:80").loopback);
  EXPECT_EQ(parse_http_address("[::1]:1").ip, "::1");
}

TEST(HttpAddress, RefusesWhatIsNone) {
  for (const char* text : {"", ":", "127.0.0.1", "host.example:80", "127.0.0.1:65536", "1.2.3.4:x",
                           "::1:80", "127.0.0.1:80 "})
    EXPECT_THROW(parse_http_address(text), Error) << text;
}

TEST(HttpAddress, NamesOfOthersAreNotDirect) {
  EXPECT_TRUE(is_direct_host("127.0.0.1:8080"));
  EXPECT_TRUE(is_direct_host("[::1]:8080"));
  EXPECT_TRUE(is_direct_host("localhost"));
  EXPECT_FALSE(is_direct_host("evil.example:8080"));
  EXPECT_FALSE(is_direct_host("localhost.evil.example"));
}

TEST(HttpAddress, PathsAreDecodedOrRefused) {
  EXPECT_EQ(decode_path("/a%20b?c=d"), "/a b");
  for (const char* text : {"", "a", "http://x/", "/%", "/%4", "/%zz", "/%00", "/%0a"})
    EXPECT_FALSE(decode_path(text)) << text;
}

struct Nothing : HttpHandler {
  HttpResponse handle(const HttpRequest&) override { return http_problem(404, "nothing"); }
  bool is_public(const std::string&) const override { return false; }
};

TEST(HttpServer, OutsideLoopbackNeedsAToken) {
  Nothing nothing;
  HttpServerOptions options;
  options.address = "0.0.0.0:0";
  EXPECT_THROW(HttpServer(nothing, options), Error);
  options.bearer_token = "t";
  EXPECT_NO_THROW(HttpServer(nothing, options));
}

TEST(HttpServer, ATakenPortOrABadCertificateIsAnError) {
  Nothing nothing;
  HttpServer first(nothing, {});
  HttpServerOptions options;
  options.address = "127.0.0.1:" + std::to_string(first.port());
  EXPECT_THROW(HttpServer(nothing, options), Error);
  options.address = "127.0.0.1:0";
  options.tls_certificate_file = "/nonexistent";
  EXPECT_THROW(HttpServer(nothing, options), Error);
  options.tls_key_file = "/nonexistent";
  EXPECT_THROW(HttpServer(nothing, options), Error);
}

TEST(HttpServer, StartsAndStops) {
  Nothing nothing;
  HttpServer server(nothing, {});
  server.start();
  EXPECT_EQ(server.url(), "http://127.0.0.1:" + std::to_string(server.port()));
  server.stop();
  server.stop();
}

TEST(WebAssets, ThePageHasNothingInline) {
  const WebAsset* page = find_web_asset("/");
  ASSERT_TRUE(page);
  EXPECT_THAT(std::string(page->text), testing::Not(testing::HasSubstr("style=")));
  EXPECT_THAT(std::string(page->text), testing::Not(testing::HasSubstr("<script>")));
  EXPECT_THAT(std::string(page->text), testing::Not(testing::HasSubstr("//")));  // no other host
  for (const char* path : {"/dashboard.js", "/dashboard.css", "/api/v1/openapi.json"})
    EXPECT_TRUE(find_web_asset(path)) << path;
  EXPECT_FALSE(find_web_asset("/dashboard.html"));
}

}  // namespace
}  // namespace hyperhost
