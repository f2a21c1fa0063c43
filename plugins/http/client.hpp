// SPDX-License-Identifier: Apache-2.0
// HTTP requests over kept connections. A Client may be used by any number of threads at once; each
// running request has a connection of its own. Errors are hyper::Error (errors.hpp); a cancelled
// wait throws Reported(HYPER_CANCELLED). Answers with any status are returned, not thrown.
#ifndef HYPERHOST_PLUGINS_HTTP_CLIENT_HPP
#define HYPERHOST_PLUGINS_HTTP_CLIENT_HPP

#include <memory>
#include <mutex>
#include <vector>

#include "download.hpp"
#include "message.hpp"
#include "settings.hpp"

namespace hyper::http {

class Client {
 public:
  /// Throws HYPER_CONFIG for settings that cannot be.
  explicit Client(Settings settings);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  /// The whole answer. HYPER_CORRUPT where its body is longer than request.max_body.
  Response send(const Request& request, const Cancel& cancel);

  /// An answer whose body is pulled. Its header has been received when this returns.
  Download open(Request request, const Cancel& cancel);

  /// Fills buf with bytes [offset, offset + len) of the resource, len > 0. Throws unless the
  /// server answers 206 with exactly that Content-Range: HYPER_UNSUPPORTED where it ignores
  /// ranges, status_error else. Returns the resource's whole length where the server reports it.
  std::optional<uint64_t> read_range(Request request, uint64_t offset, void* buf, uint64_t len,
                                     const Cancel& cancel);

  const Settings& settings() const;

 private:
  friend class Download;
  struct Pool;
  std::shared_ptr<Pool> pool_;
};

}  // namespace hyper::http

#endif
