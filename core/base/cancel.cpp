// SPDX-License-Identifier: Apache-2.0
#include "core/base/cancel.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "core/base/diagnostic.hpp"

namespace hyperhost {

CancelSource::CancelSource(int fd) : fd_(fd) {
  if (fd_ < 0) throw errno_error(errno, "create an event descriptor");
}

CancelSource::~CancelSource() {
  ::close(fd_);
}

std::shared_ptr<CancelSource> CancelSource::create() {
  return std::shared_ptr<CancelSource>(new CancelSource(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)));
}

std::shared_ptr<CancelSource> CancelSource::after(std::chrono::milliseconds time) {
  std::shared_ptr<CancelSource> made(
      new CancelSource(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)));
  const auto left = std::max<int64_t>(time.count(), 1);
  itimerspec when{};
  when.it_value.tv_sec = left / 1000;
  when.it_value.tv_nsec = left % 1000 * 1'000'000;
  if (::timerfd_settime(made->fd_, 0, &when, nullptr) != 0) throw errno_error(errno, "set a timer");
  made->deadline_ = Clock::now() + std::chrono::milliseconds(left);
  return made;
}

std::shared_ptr<CancelSource> CancelSource::child() {
  auto made = create();
  const std::lock_guard lock(mutex_);
  std::erase_if(children_, [](const auto& weak) { return weak.expired(); });
  children_.push_back(made);
  if (cancelled()) made->cancel();
  return made;
}

void CancelSource::cancel() {
  std::vector<std::weak_ptr<CancelSource>> children;
  {
    const std::lock_guard lock(mutex_);
    if (cancelled_.exchange(true, std::memory_order_acq_rel)) return;
    children = children_;
  }
  if (deadline_ != Clock::time_point::max()) {
    itimerspec now{};
    now.it_value.tv_nsec = 1;
    static_cast<void>(::timerfd_settime(fd_, 0, &now, nullptr));
  } else {
    const uint64_t one = 1;
    static_cast<void>(!::write(fd_, &one, sizeof one));  // cannot fail on an eventfd at 0
  }
  for (const auto& weak : children)
    if (const auto alive = weak.lock()) alive->cancel();
}

bool CancelSource::wait_for(std::chrono::nanoseconds duration) const {
  const auto end = std::chrono::steady_clock::now() + duration;
  while (!cancelled()) {
    const auto left = end - std::chrono::steady_clock::now();
    if (left <= std::chrono::nanoseconds::zero()) return true;
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
    pollfd wait{fd_, POLLIN, 0};
    ::poll(&wait, 1, static_cast<int>(std::min<int64_t>(ms, 3'600'000)));
  }
  return false;
}

void CancelSource::check() const {
  if (cancelled()) throw Error(Code::kCancelled, "cancelled");
}

}  // namespace hyperhost
