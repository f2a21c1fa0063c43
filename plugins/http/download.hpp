// SPDX-License-Identifier: Apache-2.0
// An answer's body, pulled piece by piece: between two reads nothing is received but what fits into
// the socket and one window. Owned by the caller; one thread at a time. May outlive its
// Client.
#ifndef HYPERHOST_PLUGINS_HTTP_DOWNLOAD_HPP
#define HYPERHOST_PLUGINS_HTTP_DOWNLOAD_HPP

#include <functional>
#include <memory>
#include <string_view>

#include "message.hpp"

namespace hyper::http {

class Handle;

class Download {
 public:
  /// back: takes the handle when the download ends.
  Download(std::unique_ptr<Handle> handle, Request request, const Cancel& cancel,
           std::function<void(std::unique_ptr<Handle>)> back);
  Download(Download&&) noexcept;
  Download& operator=(Download&&) noexcept;
  ~Download();

  long status() const;
  const Headers& headers() const;
  /// The next bytes, valid until the next call; empty = the end, and all came that was announced.
  std::string_view next(const Cancel& cancel);
  /// What is left, at most max bytes of it (of an answer that is an error, say).
  std::string rest(std::size_t max, const Cancel& cancel);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace hyper::http

#endif
