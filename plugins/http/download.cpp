// SPDX-License-Identifier: Apache-2.0
#include "download.hpp"

#include <algorithm>

#include "handle.hpp"

namespace hyper::http {
namespace {
constexpr std::size_t kWindow = 1u << 20;
}

/// Not moved, so that the handle may point into the request.
struct Download::State {
  State(std::unique_ptr<Handle> a_handle, Request a_request,
        std::function<void(std::unique_ptr<Handle>)> a_back)
      : handle(std::move(a_handle)), request(std::move(a_request)), back(std::move(a_back)) {}
  ~State() {
    handle->stop();
    back(std::move(handle));
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  std::unique_ptr<Handle> handle;
  Request request;
  bool first = true;  // nothing was handed out yet
  std::function<void(std::unique_ptr<Handle>)> back;
};

Download::Download(std::unique_ptr<Handle> handle, Request request, const Cancel& cancel,
                   std::function<void(std::unique_ptr<Handle>)> back)
    : state_(std::make_unique<State>(std::move(handle), std::move(request), std::move(back))) {
  state_->handle->start(state_->request, cancel, kWindow);
}

Download::Download(Download&&) noexcept = default;
Download& Download::operator=(Download&&) noexcept = default;
Download::~Download() = default;

long Download::status() const {
  return state_->handle->status();
}

const Headers& Download::headers() const {
  return state_->handle->headers();
}

std::string_view Download::next(const Cancel& cancel) {
  Handle& handle = *state_->handle;
  // The header and the first bytes often come together: hand those out first.
  if (!std::exchange(state_->first, false)) handle.body().clear();
  if (handle.body().empty() && !handle.more(cancel)) return {};
  return handle.body();
}

std::string Download::rest(std::size_t max, const Cancel& cancel) {
  std::string out;
  while (out.size() < max) {
    const std::string_view piece = next(cancel);
    if (piece.empty()) break;
    out.append(piece.substr(0, std::min(piece.size(), max - out.size())));
  }
  return out;
}

}  // namespace hyper::http
