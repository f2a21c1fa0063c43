// SPDX-License-Identifier: Apache-2.0
#include "client.hpp"

#include <cstring>

#include "errors.hpp"
#include "handle.hpp"

namespace hyper::http {
namespace {
constexpr std::size_t kMaxIdle = 64;
constexpr std::size_t kErrorText = 4096;
}  // namespace

/// Handles that no request uses, with their open connections; the last one back is the first out.
struct Client::Pool {
  explicit Pool(Settings a_settings) : settings(std::move(a_settings)) {}

  std::unique_ptr<Handle> take() {
    {
      const std::lock_guard lock(mutex);
      if (!idle.empty()) {
        auto handle = std::move(idle.back());
        idle.pop_back();
        return handle;
      }
    }
    return std::make_unique<Handle>(settings);
  }

  void put(std::unique_ptr<Handle> handle) noexcept {
    try {
      const std::lock_guard lock(mutex);
      if (idle.size() < kMaxIdle) idle.push_back(std::move(handle));
    } catch (...) {  // out of memory: the connection is closed instead of kept
    }
  }

  const Settings settings;
  std::mutex mutex;
  std::vector<std::unique_ptr<Handle>> idle;
};

Client::Client(Settings settings) : pool_(std::make_shared<Pool>(std::move(settings))) {
  pool_->put(pool_->take());  // wrong settings fail here, not at the first request
}

Client::~Client() = default;

const Settings& Client::settings() const {
  return pool_->settings;
}

Download Client::open(Request request, const Cancel& cancel) {
  return Download(pool_->take(), std::move(request), cancel,
                  [pool = pool_](std::unique_ptr<Handle> handle) { pool->put(std::move(handle)); });
}

Response Client::send(const Request& request, const Cancel& cancel) {
  Download download = open(request, cancel);
  Response out;
  out.status = download.status();
  out.headers = download.headers();
  for (;;) {
    const std::string_view piece = download.next(cancel);
    if (piece.empty()) return out;
    if (piece.size() > request.max_body - out.body.size())
      throw Error(HYPER_CORRUPT, "the answer of " + shown_url(request.url) + " is longer than " +
                                     std::to_string(request.max_body) + " bytes");
    out.body.append(piece);
  }
}

std::optional<uint64_t> Client::read_range(Request request, uint64_t offset, void* buf,
                                           uint64_t len, const Cancel& cancel) {
  const std::string place = shown_url(request.url);
  const uint64_t last = offset + len - 1;
  request.range = {offset, last};
  Download download = open(std::move(request), cancel);
  if (download.status() == 200) throw Error(HYPER_UNSUPPORTED, "the server ignores ranges", place);
  if (download.status() != 206)
    throw status_error("cannot read " + place, download.status(), download.headers());
  const auto range = parse_content_range(download.headers().get("Content-Range"));
  if (!range || range->first != offset || range->last != last)
    throw Error(HYPER_CORRUPT, "the server sends another range of " + place + " than was asked",
                download.headers().get("Content-Range").substr(0, kErrorText))
        .retryable();
  uint64_t done = 0;
  for (;;) {
    const std::string_view piece = download.next(cancel);
    if (piece.empty()) break;
    if (piece.size() > len - done)
      throw Error(HYPER_CORRUPT, "the server sends more of " + place + " than was asked")
          .retryable();
    std::memcpy(static_cast<char*>(buf) + done, piece.data(), piece.size());
    done += piece.size();
  }
  if (done != len)
    throw Error(HYPER_CORRUPT, "the server sends less of " + place + " than was asked").retryable();
  return range->total;
}

}  // namespace hyper::http
