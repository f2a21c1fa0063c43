// SPDX-License-Identifier: Apache-2.0
// plugins/http against a server that speaks HTTP with Python's own implementation.
#include <gtest/gtest.h>

#include <cstdlib>
#include <set>
#include <thread>

#include "plugins/http/client.hpp"
#include "plugins/http/errors.hpp"
#include "tests/http/peer.hpp"
#include "tests/support/plugin_host.hpp"

namespace hyper::http {
namespace {

using http_test::Peer;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

const Peer& peer() {
  return Peer::instance();
}

Request get(const std::string& url) {
  Request request;
  request.url = url;
  return request;
}

nlohmann::json echo(Client& client, const Request& request) {
  const Response response = client.send(request, Cancel::never());
  EXPECT_EQ(response.status, 200);
  return nlohmann::json::parse(response.body);
}

/// The error that f ends with.
template <class F>
Error error_of(F f) {
  try {
    f();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no error";
  return Error(HYPER_OK, "none");
}

TEST(HttpClient, SendsTheRequestAsItIs) {
  Client client({});
  Request request = get(peer().url("/echo?a=1"));
  request.method = "POST";
  request.body = "hello";
  request.headers = {{"Content-Type", "text/xml"}, {"X-Empty", ""}};
  const auto echoed = echo(client, request);
  EXPECT_EQ(echoed["method"], "POST");
  EXPECT_EQ(echoed["query"], "a=1");
  EXPECT_EQ(echoed["length"], 5);
  EXPECT_EQ(echoed["headers"]["content-type"], "text/xml");
  EXPECT_EQ(echoed["headers"]["x-empty"], "");
  EXPECT_EQ(echoed["headers"]["content-length"], "5");
  EXPECT_FALSE(echoed["headers"].contains("expect"));
  EXPECT_FALSE(echoed["headers"].contains("accept-encoding"));
}

TEST(HttpClient, EveryMethodWithAndWithoutABody) {
  Client client({});
  for (const char* method : {"GET", "PUT", "POST", "DELETE"})
    for (const char* body : {"", "body"}) {
      Request request = get(peer().url("/echo"));
      request.method = method;
      request.body = body;
      const auto echoed = echo(client, request);
      EXPECT_EQ(echoed["method"], method) << body;
      EXPECT_EQ(echoed["length"], std::string(body).size()) << method;
      EXPECT_FALSE(echoed["chunked"]) << method;
    }
  Request head = get(peer().url("/data"));
  head.method = "HEAD";
  const Response response = client.send(head, Cancel::never());
  EXPECT_EQ(response.headers.get("content-length"), std::to_string(Peer::data().size()));
  EXPECT_TRUE(response.body.empty());
}

TEST(HttpClient, KeepsConnectionsAndOneForEachRunningRequest) {
  Client client({});
  std::set<int> ports;
  for (int i = 0; i < 5; ++i)
    ports.insert(echo(client, get(peer().url("/echo")))["port"].get<int>());
  EXPECT_EQ(ports.size(), 1u);
  const Download running = client.open(get(peer().url("/chunked")), Cancel::never());
  ports.insert(echo(client, get(peer().url("/echo")))["port"].get<int>());
  EXPECT_EQ(ports.size(), 2u);
}

TEST(HttpClient, FieldsOfOneNameAreAllThere) {
  Client client({});
  const Response response = client.send(get(peer().url("/echo")), Cancel::never());
  EXPECT_EQ(response.headers.all("X-TWICE"), (std::vector<std::string>{"one", "two"}));
}

TEST(HttpClient, BodyFromAFunctionWithAndWithoutLength) {
  Client client({});
  for (const bool known : {true, false}) {
    std::size_t left = 1'000'000;
    Request request = get(peer().url("/echo"));
    request.method = "PUT";
    if (known) request.read_body_length = left;
    request.read_body = [&](char* buffer, std::size_t size) {
      const std::size_t length = std::min(size, left);
      std::fill_n(buffer, length, 'x');
      left -= length;
      return length;
    };
    const auto echoed = echo(client, request);
    EXPECT_EQ(echoed["length"], 1'000'000);
    EXPECT_EQ(echoed["chunked"].get<bool>(), !known);
  }
}

TEST(HttpClient, WhatABodyFunctionThrowsComesOut) {
  Client client({});
  Request request = get(peer().url("/echo"));
  request.method = "PUT";
  request.read_body = [](char*, std::size_t) -> std::size_t {
    throw Error(HYPER_NOSPACE, "the reader's own");
  };
  const Error error = error_of([&] { client.send(request, Cancel::never()); });
  EXPECT_EQ(error.summary(), "the reader's own");
  EXPECT_EQ(error.status(), HYPER_NOSPACE);
}

// libcurl repeats a request by itself when a kept connection ends before an answer came; with a
// body it sent less than Content-Length then, and both sides waited for the stall timeout.
TEST(HttpClient, ABodyIsSentOnceAndAResetIsAnErrorAtOnce) {
  Client client({});
  for (int i = 0; i < 20; ++i) {
    static_cast<void>(client.send(get(peer().url("/echo")), Cancel::never()));  // a kept connection
    const std::string before = client.send(get(peer().url("/uploads")), Cancel::never()).body;
    Request request = get(peer().url("/reset"));
    request.method = "PUT";
    std::size_t left = 8u << 20;
    request.read_body_length = left;
    request.read_body = [&](char* buffer, std::size_t size) {
      const std::size_t length = std::min(size, left);
      std::fill_n(buffer, length, 'x');
      left -= length;
      return length;
    };
    const Error error = error_of([&] { client.send(request, Cancel::never()); });
    EXPECT_EQ(error.status(), HYPER_IO);
    EXPECT_TRUE(error.is_retryable());
    const std::string after = client.send(get(peer().url("/uploads")), Cancel::never()).body;
    EXPECT_EQ(std::stoi(after), std::stoi(before) + 1);
  }
}

TEST(HttpClient, ABodyFromMemoryIsSentAgainOnANewConnection) {
  Client client({});
  const std::string body(3000, 'x');
  for (int i = 0; i < 8; ++i) {  // libcurl 7.88 counts to five over the life of an easy handle
    static_cast<void>(client.send(get(peer().url("/echo")), Cancel::never()));  // a kept connection
    Request request = get(peer().url("/drop-kept"));
    request.method = "POST";
    request.body = body;
    EXPECT_EQ(client.send(request, Cancel::never()).body, "at last");
  }
}

// libcurl 7.88 appends such a field to the last one of the easy handle's answer before, which it
// has freed.
TEST(HttpClient, AnAnswerWhoseFirstFieldBeginsWithABlank) {
  Client client({});
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(client.send(get(peer().url("/echo")), Cancel::never()).status, 200);
    try {
      EXPECT_EQ(client.send(get(peer().url("/folded")), Cancel::never()).body, "ok");
    } catch (const Error& error) {  // libcurl 7.88 refuses it where there is no field before it
      EXPECT_EQ(error.status(), HYPER_IO);
    }
  }
}

TEST(HttpClient, BodiesAreBounded) {
  Client client({});
  Request request = get(peer().url("/chunked"));
  request.max_body = 100;
  EXPECT_EQ(error_of([&] { client.send(request, Cancel::never()); }).status(), HYPER_CORRUPT);
  EXPECT_EQ(
      error_of([&] { client.send(get(peer().url("/long-header")), Cancel::never()); }).status(),
      HYPER_CORRUPT);
}

TEST(HttpClient, RedirectsAreNotFollowed) {
  Client client({});
  EXPECT_EQ(client.send(get(peer().url("/redirect")), Cancel::never()).status, 302);
}

TEST(HttpClient, TheEnvironmentsProxyIsIgnored) {
  ::setenv("http_proxy", "http://127.0.0.1:1", 1);
  ::setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
  Client client({});
  EXPECT_EQ(client.send(get(peer().url("/echo")), Cancel::never()).status, 200);
  ::unsetenv("http_proxy");
  ::unsetenv("ALL_PROXY");
  Settings settings;
  settings.proxy = "http://127.0.0.1:1";
  Client through(settings);
  EXPECT_EQ(error_of([&] { through.send(get(peer().url("/echo")), Cancel::never()); }).status(),
            HYPER_IO);
}

TEST(HttpDownload, PullsAllOfIt) {
  Client client({});
  for (const char* path : {"/chunked", "/data"}) {
    Download download = client.open(get(peer().url(path)), Cancel::never());
    std::string all;
    for (;;) {
      const std::string_view piece = download.next(Cancel::never());
      if (piece.empty()) break;
      EXPECT_LE(piece.size(), 2u << 20);
      all += piece;
    }
    EXPECT_TRUE(all == Peer::data()) << path;
    EXPECT_TRUE(download.next(Cancel::never()).empty());
  }
}

TEST(HttpDownload, ATruncatedBodyIsAnErrorNotAnEnd) {
  Client client({});
  for (const char* path : {"/truncated", "/truncated-chunked"}) {
    Download download = client.open(get(peer().url(path)), Cancel::never());
    const Error error = error_of([&] {
      while (!download.next(Cancel::never()).empty()) {
      }
    });
    EXPECT_EQ(error.status(), HYPER_IO) << path;
    EXPECT_TRUE(error.is_retryable()) << path;
  }
}

TEST(HttpDownload, MayBeLeftInTheMiddle) {
  Client client({});
  { Download left = client.open(get(peer().url("/data")), Cancel::never()); }
  EXPECT_EQ(client.send(get(peer().url("/echo")), Cancel::never()).status, 200);
}

TEST(HttpRange, FillsTheBufferAndTellsTheWhole) {
  Client client({});
  std::string buffer(100'000, '\0');
  const auto total = client.read_range(get(peer().url("/data")), 12'345, buffer.data(),
                                       buffer.size(), Cancel::never());
  EXPECT_EQ(total, Peer::data().size());
  EXPECT_TRUE(buffer == Peer::data().substr(12'345, 100'000));
}

TEST(HttpRange, RefusesWhatWasNotAsked) {
  Client client({});
  std::string buffer(1000, '\0');
  const auto read = [&](const char* path) {
    return error_of([&] {
      client.read_range(get(peer().url(path)), 500, buffer.data(), buffer.size(), Cancel::never());
    });
  };
  EXPECT_EQ(read("/no-ranges").status(), HYPER_UNSUPPORTED);
  EXPECT_EQ(read("/wrong-range").status(), HYPER_CORRUPT);
  EXPECT_EQ(read("/short-range").status(), HYPER_CORRUPT);
  EXPECT_EQ(read("/status?404").status(), HYPER_NOTFOUND);
  const Error busy = read("/status?503,7");
  EXPECT_EQ(busy.status(), HYPER_BUSY);
  EXPECT_TRUE(busy.is_retryable());
  EXPECT_EQ(busy.retry_after_ns(), 7'000'000'000u);
}

TEST(HttpStall, AServerThatSaysNothingOrTooLittle) {
  Settings settings;
  settings.stall_timeout = milliseconds(300);
  settings.stall_bytes = 500;
  Client client(settings);
  const Error silent = error_of([&] { client.send(get(peer().url("/silent")), Cancel::never()); });
  EXPECT_NE(silent.summary().find("stands still"), std::string::npos);
  EXPECT_TRUE(silent.is_retryable());
  for (const char* path : {"/stalls", "/trickle"}) {
    Download download = client.open(get(peer().url(path)), Cancel::never());
    const Error error = error_of([&] {
      while (!download.next(Cancel::never()).empty()) {
      }
    });
    EXPECT_NE(error.summary().find("stands still"), std::string::npos) << path;
  }
}

TEST(HttpStall, ATransferThatMayNotTakeLongerThanThat) {
  Client client({});
  Request request = get(peer().url("/trickle"));
  request.time_limit = milliseconds(300);
  request.shown = "https://peer/…";
  const Error error = error_of([&] { client.send(request, Cancel::never()); });
  EXPECT_EQ(error.summary(), "the transfer with https://peer/… takes too long");
  EXPECT_TRUE(error.is_retryable());
}

TEST(HttpStall, AStalledDownloadMayBeWaitedForOn) {
  Settings settings;
  settings.stall_timeout = milliseconds(100);
  settings.stall_bytes = 1000;
  Client client(settings);
  Download download = client.open(get(peer().url("/trickle")), Cancel::never());
  std::size_t length = 0;
  int stalls = 0;
  for (bool more = true; more;) {
    try {
      const std::size_t piece = download.next(Cancel::never()).size();
      length += piece;
      more = piece != 0 && length < 30;
    } catch (const Error& error) {
      ASSERT_EQ(error.native_code(), kStalled);
      ++stalls;
    }
  }
  EXPECT_GT(stalls, 1);
  EXPECT_GE(length, 30u);
}

TEST(HttpStall, ASlowConsumerIsNoStall) {
  Settings settings;
  settings.stall_timeout = milliseconds(200);
  Client client(settings);
  Download download = client.open(get(peer().url("/data")), Cancel::never());
  std::size_t length = 0;
  for (bool slept = false;; slept = true) {
    const std::string_view piece = download.next(Cancel::never());
    if (piece.empty()) break;
    length += piece.size();
    if (!slept) std::this_thread::sleep_for(milliseconds(400));
  }
  EXPECT_EQ(length, Peer::data().size());
}

TEST(HttpCancel, EndsAWaitAtOnce) {
  const test::TestHost host;
  Client client({});
  hyper_op op;
  std::thread canceller([&] {
    std::this_thread::sleep_for(milliseconds(50));
    op.cancel();
  });
  const auto begun = steady_clock::now();
  hyper_st status = HYPER_OK;
  try {
    client.send(get(peer().url("/silent")), Op(&op));
  } catch (const Reported& reported) {
    status = reported.status();
  }
  canceller.join();
  EXPECT_EQ(status, HYPER_CANCELLED);
  EXPECT_LT(steady_clock::now() - begun, std::chrono::seconds(2));
  EXPECT_EQ(client.send(get(peer().url("/echo")), Cancel::never()).status, 200);
}

TEST(HttpTls, TrustsByFileByThumbprintOrNotAtAll) {
  const auto status = [](Tls tls, const std::string& url) {
    Settings settings;
    settings.tls = std::move(tls);
    Client client(settings);
    return client.send(get(url), Cancel::never()).status;
  };
  const std::string url = peer().secure_url("/echo");
  EXPECT_EQ(status({peer().fact("cert"), "", false}, url), 200);
  EXPECT_EQ(status({"", peer().fact("sha1"), false}, url), 200);
  EXPECT_EQ(status({"", "AA" + peer().fact("sha256").substr(2), true}, peer().url("/echo")), 200);
  EXPECT_EQ(status({"", peer().fact("sha256"), false}, url), 200);
  EXPECT_EQ(status({"", "", true}, url), 200);

  const Error unknown = error_of([&] { status({}, url); });
  EXPECT_EQ(unknown.status(), HYPER_AUTH);
  EXPECT_FALSE(unknown.is_retryable());
  EXPECT_NE(std::string(unknown.diag().hint).find(peer().fact("sha256").substr(0, 2) + ":"),
            std::string::npos);
  std::string other = peer().fact("sha256");
  other[0] = other[0] == '0' ? '1' : '0';
  const Error changed = error_of([&] { status({"", other, false}, url); });
  EXPECT_EQ(changed.status(), HYPER_AUTH);
  EXPECT_NE(changed.summary().find("another than was agreed"), std::string::npos);
  EXPECT_EQ(error_of([&] { status({"", "12:34", false}, url); }).status(), HYPER_CONFIG);
}

TEST(HttpTls, AThumbprintHoldsOnKeptConnectionsToo) {
  Settings settings;
  settings.tls.thumbprint = peer().fact("sha256");
  Client client(settings);
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(client.send(get(peer().secure_url("/echo")), Cancel::never()).status, 200);
}

TEST(HttpErrors, ClassifiesAndKeepsSecrets) {
  EXPECT_EQ(shown_url("https://user:pw@host:1/a/b?sig=secret#x"), "https://host:1/a/b");
  EXPECT_EQ(shown_url("https://host/a@b"), "https://host/a@b");
  struct Row {
    int status;
    hyper_st code;
    bool retry;
  };
  for (const Row& row :
       {Row{401, HYPER_AUTH, false}, Row{403, HYPER_AUTH, false}, Row{404, HYPER_NOTFOUND, false},
        Row{412, HYPER_EXISTS, false}, Row{429, HYPER_BUSY, true}, Row{500, HYPER_IO, true},
        Row{501, HYPER_UNSUPPORTED, false}, Row{503, HYPER_BUSY, true},
        Row{507, HYPER_NOSPACE, false}, Row{400, HYPER_FAIL, false}}) {
    const Error error = status_error("cannot", row.status, {});
    EXPECT_EQ(error.status(), row.code) << row.status;
    EXPECT_EQ(error.is_retryable(), row.retry) << row.status;
  }
  Client client({});
  const Error refused =
      error_of([&] { client.send(get("http://127.0.0.1:1/x?token=secret"), Cancel::never()); });
  EXPECT_EQ(refused.status(), HYPER_IO);
  EXPECT_TRUE(refused.is_retryable());
  EXPECT_EQ(std::string(refused.what()).find("secret"), std::string::npos);
  EXPECT_EQ(error_of([&] { client.send(get("file:///etc/passwd"), Cancel::never()); }).status(),
            HYPER_CONFIG);
  Request request = get(peer().url("/echo"));
  request.headers = {{"X", "a\r\nHost: evil"}};
  EXPECT_EQ(error_of([&] { client.send(request, Cancel::never()); }).status(), HYPER_CONFIG);
}

TEST(HttpHeaders, ContentRangeAndRetryAfter) {
  EXPECT_FALSE(parse_content_range("bytes */10"));
  EXPECT_FALSE(parse_content_range("bytes 5-4/10"));
  EXPECT_FALSE(parse_content_range("bytes 0-10/10"));
  EXPECT_FALSE(parse_content_range("bytes 0-99999999999999999999/*"));
  ASSERT_TRUE(parse_content_range("Bytes 0-9/*"));
  EXPECT_EQ(parse_content_range("bytes 2-9/10")->total, 10u);
  Headers headers;
  headers.add("retry-after", "99999999999");
  EXPECT_EQ(retry_after_ns(headers), 86'400'000'000'000u);
  headers.clear();
  headers.add("Retry-After", "Mon, 01 Jan 2001 00:00:00 GMT");
  EXPECT_EQ(retry_after_ns(headers), 0u);
}

}  // namespace
}  // namespace hyper::http
