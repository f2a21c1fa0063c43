// SPDX-License-Identifier: Apache-2.0
// The body of a request from the caller's memory, sent no faster than the host allows the
// operation ("hyper.throttle/1"). Borrowed by a request; its thread only.
#ifndef HYPERHOST_OBJECT_BODY_HPP
#define HYPERHOST_OBJECT_BODY_HPP

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <hyper/op.hpp>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>

#include "plugins/http/message.hpp"

namespace hyper::object {

inline http::Cancel cancel_of(Op op) {
  return op.raw() == nullptr ? http::Cancel::never() : http::Cancel(op);
}

/// How long nothing may move. Cleaning up (no operation) does not hold up the end for long; making
/// an object of its parts is work for the server, during which it may say nothing.
enum class Patience { kUsual, kLong };
inline void set_patience(http::Request& request, Op op, Patience patience) {
  if (op.raw() == nullptr)
    request.stall_timeout = std::chrono::seconds(5);
  else if (patience == Patience::kLong)
    request.stall_timeout = std::chrono::minutes(10);
}

/// The pages of one listing. A server that names a page again would be asked for ever.
class Pages {
 public:
  /// `next` names the page that follows; "" = there is none. Throws HYPER_CORRUPT where it was
  /// named before.
  void follow(const std::string& next) {
    if (!next.empty() && !named_.insert(std::hash<std::string>()(next)).second)
      throw Error(HYPER_CORRUPT, "the server gives the same page of a list again");
  }

 private:
  std::unordered_set<std::size_t> named_;
};

/// Gives `request` these bytes as its body; they must live until it is answered.
inline void set_body(http::Request& request, Op op, std::string_view bytes) {
  request.body = bytes;
  const auto* throttle = extension<hyper_throttle>(HYPER_EXT_THROTTLE);
  if (throttle == nullptr || op.raw() == nullptr || bytes.empty()) return;
  auto sent = std::make_shared<std::size_t>(0);
  request.body = {};
  request.read_body = [=](char* buffer, std::size_t room) {
    const std::size_t now = std::min(room, bytes.size() - *sent);
    if (now == 0) return now;
    check(throttle->take(op.raw(), 0, now));
    std::memcpy(buffer, bytes.data() + *sent, now);
    *sent += now;
    return now;
  };
  request.read_body_length = bytes.size();
}

}  // namespace hyper::object

#endif
