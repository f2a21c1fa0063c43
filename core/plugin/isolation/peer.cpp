// SPDX-License-Identifier: Apache-2.0
// The control socket carries five kinds of message: "here is a descriptor" (worker to host), "here
// is a lane" and "here is memory" (host to worker, with descriptors), "I need a lane" (worker to
// host) and "this operation is cancelled" (host to worker). A cancel may overtake its call, so the
// host repeats it until the call is answered.
#include "core/plugin/isolation/peer.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "core/os/blocked_signals.hpp"

namespace hyperhost::isolation {
namespace {

enum class Word : uint32_t {
  kLaneForCalls = 1,
  kLaneToServe,
  kNeedLane,
  kCancel,
  kMemory,
  kMemoryToRead,
  kDescriptor
};
struct Control {
  Word word{};
  uint32_t unused = 0;
  uint64_t op = 0;  ///< or the memory's or descriptor's number
};
constexpr std::size_t kMostLanes = 512, kMostHanded = 64;
constexpr auto kCancelPatience = std::chrono::milliseconds(3000);

void send_control(int socket, const Control& message, const int* fds = nullptr,
                  std::size_t count = 0) {
  iovec part{const_cast<Control*>(&message), sizeof message};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  alignas(cmsghdr) char space[CMSG_SPACE(2 * sizeof(int))] = {};
  if (count != 0) {
    header.msg_control = space;
    header.msg_controllen = CMSG_SPACE(count * sizeof(int));
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(count * sizeof(int));
    std::memcpy(CMSG_DATA(rights), fds, count * sizeof(int));
  }
  while (::sendmsg(socket, &header, MSG_NOSIGNAL) < 0)
    if (errno != EINTR) throw PeerGone();
}

Control receive_control(int socket, Fd* fds) {
  Control message;
  iovec part{&message, sizeof message};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  alignas(cmsghdr) char space[CMSG_SPACE(2 * sizeof(int))] = {};
  header.msg_control = space;
  header.msg_controllen = sizeof space;
  ssize_t got;
  while ((got = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC)) < 0)
    if (errno != EINTR) throw PeerGone();
  if (got != static_cast<ssize_t>(sizeof message)) throw PeerGone();
  const cmsghdr* rights = CMSG_FIRSTHDR(&header);
  if (rights == nullptr || rights->cmsg_type != SCM_RIGHTS) return message;
  int numbers[2] = {-1, -1};
  std::memcpy(numbers, CMSG_DATA(rights),
              std::min<std::size_t>(sizeof numbers, rights->cmsg_len - CMSG_LEN(0)));
  for (int i = 0; i < 2; ++i) fds[i] = Fd(numbers[i]);
  return message;
}

}  // namespace

Peer::Peer(Fd control, bool host, Serve serve)
    : control_(std::move(control)), host_(host), serve_(std::move(serve)) {}

void Peer::start(std::shared_ptr<SharedMemory> memory) {
  if (memory) {
    memory_ = std::move(memory);
    const int fd = memory_->fd();
    send_control(control_.get(), {Word::kMemory, 0, memory_->number()}, &fd, 1);
  }
  const BlockedSignals blocked;  // in this thread and all threads that it starts
  control_thread_ = std::thread([this] { control_loop(); });
}

Peer::~Peer() {
  gone_ = true;
  ::shutdown(control_.get(), SHUT_RDWR);
  if (control_thread_.joinable()) control_thread_.join();
  {
    const std::lock_guard lock(threads_mutex_);
    for (const int socket : serving_) ::shutdown(socket, SHUT_RDWR);
  }
  for (std::thread& thread : threads_) thread.join();
}

void Peer::control_loop() {
  try {
    for (;;) {
      Fd fds[2];
      const Control message = receive_control(control_.get(), fds);
      if (message.word == Word::kNeedLane && host_) {
        make_lane(true);
      } else if (message.word == Word::kCancel && !host_) {
        const std::lock_guard lock(mutex_);
        const auto [begin, end] = operations_.equal_range(message.op);
        for (auto it = begin; it != end; ++it) it->second->cancel().cancel();
      } else if (message.word == Word::kLaneForCalls && !host_) {
        auto lane = std::make_unique<Lane>(std::move(fds[0]), std::move(fds[1]));
        const std::lock_guard lock(mutex_);
        idle_.push_back(std::move(lane));
        idle_changed_.notify_one();
      } else if (message.word == Word::kLaneToServe && !host_) {
        add_serving(std::make_unique<Lane>(std::move(fds[0]), std::move(fds[1])));
      } else if (message.word == Word::kMemory && !host_) {
        memory_ = std::make_shared<SharedMemory>(fds[0], message.op, SharedMemory::Access::kWrite);
      } else if (message.word == Word::kMemoryToRead && !host_) {
        auto lent = std::make_shared<SharedMemory>(fds[0], message.op, SharedMemory::Access::kRead);
        const std::lock_guard lock(lend_mutex_);
        lent_[message.op] = std::move(lent);
        lent_changed_.notify_all();
      } else if (message.word == Word::kDescriptor && host_) {
        const std::lock_guard lock(lend_mutex_);
        if (handed_.size() < kMostHanded) handed_.try_emplace(message.op, std::move(fds[0]));
        lent_changed_.notify_all();
      }
    }
  } catch (const PeerGone&) {
  } catch (const Error&) {  // no descriptors left: the conversation cannot continue
  }
  {
    const std::lock_guard lock(lend_mutex_);
    gone_ = true;
    lent_changed_.notify_all();
  }
  const std::lock_guard lock(mutex_);
  idle_changed_.notify_all();
  ended_.notify_all();
}

bool Peer::name_to_write(Frame& request, void* data, uint64_t length) const {
  const uint64_t place = memory_ ? memory_->place_of(data, length) : SharedMemory::kNowhere;
  if (place == SharedMemory::kNowhere) return false;
  request.memory = memory_->number();
  request.place = place;
  return true;
}

bool Peer::name_to_read(Frame& request, const void* data, uint64_t length) {
  if (name_to_write(request, const_cast<void*>(data), length)) return true;
  if (!host_) return false;
  const auto other = SharedMemory::holding(data, length);
  if (!other) return false;
  {
    const std::lock_guard lock(lend_mutex_);
    if (lent_.try_emplace(other->number()).second) {
      const int fd = other->fd();
      send_control(control_.get(), {Word::kMemoryToRead, 0, other->number()}, &fd, 1);
    }
  }
  request.memory = other->number();
  request.place = other->place_of(data, length);
  return true;
}

unsigned char* Peer::named_to_write(const Frame& request, uint64_t length) const {
  if (!memory_ || request.memory != memory_->number())
    throw Error(Code::kFail, "a worker names memory that is not its own");
  return memory_->at(request.place, length);
}

const unsigned char* Peer::named_to_read(const Frame& request, uint64_t length) {
  if (host_ || (memory_ && request.memory == memory_->number()))
    return named_to_write(request, length);
  std::unique_lock lock(lend_mutex_);  // the message that lends it may still be on its way
  lent_changed_.wait(lock, [&] { return gone_ || lent_.count(request.memory) != 0; });
  const auto found = lent_.find(request.memory);
  if (found == lent_.end()) throw PeerGone();
  return found->second->at(request.place, length);
}

void Peer::hand_over(uint64_t number, int fd) {
  send_control(control_.get(), {Word::kDescriptor, 0, number}, &fd, 1);
}

Fd Peer::handed_over(uint64_t number) {
  std::unique_lock lock(lend_mutex_);  // the message that brings it may still be on its way
  lent_changed_.wait(lock, [&] { return gone_ || handed_.count(number) != 0; });
  const auto found = handed_.find(number);
  if (found == handed_.end()) throw PeerGone();
  Fd out = std::move(found->second);
  handed_.erase(found);
  return out;
}

/// Host only. incoming: a lane for calls of the worker.
void Peer::make_lane(bool incoming) {
  auto [ours, theirs] = Lane::create();
  const int fds[2] = {theirs.first.get(), theirs.second.get()};
  send_control(control_.get(), {incoming ? Word::kLaneForCalls : Word::kLaneToServe, 0, 0}, fds, 2);
  if (incoming) {
    add_serving(std::move(ours));
    return;
  }
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(ours));
}

std::unique_ptr<Lane> Peer::take_lane() {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (gone_) throw PeerGone();
    if (!idle_.empty()) {
      auto lane = std::move(idle_.back());
      idle_.pop_back();
      return lane;
    }
    if (lanes_ < kMostLanes) {
      ++lanes_;
      lock.unlock();
      if (host_)
        make_lane(false);
      else
        send_control(control_.get(), {Word::kNeedLane, 0, 0});
      lock.lock();
      if (host_) continue;
    }
    idle_changed_.wait(lock, [&] { return gone_ || !idle_.empty(); });
  }
}

void Peer::give_back(std::unique_ptr<Lane> lane) {
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(lane));
  idle_changed_.notify_one();
}

void Peer::add_serving(std::unique_ptr<Lane> lane) {
  const std::lock_guard lock(threads_mutex_);
  serving_.push_back(lane->socket());
  threads_.emplace_back(
      [this, owned = std::move(lane)]() mutable { serve_loop(std::move(owned)); });
}

void Peer::serve_loop(std::unique_ptr<Lane> lane) {
  try {
    for (;;) {
      const Frame request = lane->receive();
      ++heard_;
      const Frame answer = serve_one(request, *lane);
      lane->send(answer);
    }
  } catch (const PeerGone&) {
  } catch (const std::exception&) {
    // A plugin threw across the C ABI, or memory ran out: a worker ends here, with the reason.
    if (!host_) throw;
    // The worker sees the end of the lane.
  }
  // Closed only with the peer: serving_ lists the descriptor's number, which must stay its own.
  const std::lock_guard lock(threads_mutex_);
  static_cast<void>(::shutdown(lane->socket(), SHUT_RDWR));
  closed_.push_back(std::move(lane));
}

Frame Peer::serve_one(const Frame& request, Lane& lane) {
  {
    const std::lock_guard lock(mutex_);
    serving_for_.push_back(request.op);
  }
  const std::shared_ptr<void> served(nullptr, [&](void*) {
    const std::lock_guard lock(mutex_);
    serving_for_.erase(std::find(serving_for_.begin(), serving_for_.end(), request.op));
    served_.notify_all();
  });
  try {
    return serve_(request, lane);
  } catch (const Error& error) {
    // The calling side reports it: the frame carries only a status.
    Frame answer;
    answer.status = static_cast<hyper_st>(error.code());
    PayloadWriter text(lane);
    answer.payload = text.text(error.what()).size();
    return answer;
  }
}

Frame Peer::call(Lane& lane, const Frame& request, Operation* op) {
  if (!host_) {
    lane.send(request);
    return lane.receive();
  }
  std::list<Frame>::iterator asked;
  {
    const std::lock_guard lock(mutex_);
    asked = unanswered_.insert(unanswered_.end(), request);
  }
  Frame answer = wait_for_answer(lane, request, op);
  const std::lock_guard lock(mutex_);
  unanswered_.erase(asked);
  return answer;
}

std::optional<Frame> Peer::unanswered() {
  const std::lock_guard lock(mutex_);
  return unanswered_.empty() ? std::nullopt : std::optional(unanswered_.front());
}

Frame Peer::wait_for_answer(Lane& lane, const Frame& request, Operation* op) {
  lane.send(request);
  using Clock = std::chrono::steady_clock;
  std::optional<Clock::time_point> cancelled_at;
  uint64_t heard = heard_;
  Clock::time_point quiet_since = Clock::now();
  for (;;) {
    const bool cancelled = op != nullptr && op->cancel().cancelled();
    pollfd wait_for[2] = {{lane.socket(), POLLIN, 0},
                          {op != nullptr && !cancelled ? op->cancel().fd() : -1, POLLIN, 0}};
    const int ready = ::poll(wait_for, 2, cancelled ? 100 : 1000);
    if (ready < 0 && errno != EINTR) throw PeerGone();
    if (wait_for[0].revents != 0) break;
    const auto now = Clock::now();
    if (heard != heard_) {
      heard = heard_;
      quiet_since = now;
    }
    if (now - quiet_since > stall && on_hang)
      on_hang("it gave no sign of life for " +
              std::to_string(std::chrono::duration_cast<std::chrono::seconds>(stall).count()) +
              " s");
    if (op == nullptr || !op->cancel().cancelled() || request.op == 0) continue;
    if (!cancelled_at) cancelled_at = now;
    if (now - *cancelled_at > kCancelPatience && on_hang)
      on_hang("it did not stop within 3 s of a cancel");
    send_control(control_.get(), {Word::kCancel, 0, request.op});
  }
  return lane.receive();
}

uint64_t Peer::add(std::shared_ptr<void> object, std::type_index type) {
  const std::lock_guard lock(mutex_);
  objects_.emplace(next_id_, std::pair(std::move(object), type));
  return next_id_++;
}

void Peer::remove(uint64_t id) {
  std::shared_ptr<void> last;  // declared first: it ends after the lock, because its end may call
  const std::lock_guard lock(mutex_);
  const auto found = objects_.find(id);
  if (found == objects_.end()) return;
  last = std::move(found->second.first);
  objects_.erase(found);
}

uint64_t Peer::enter(Operation* op) {
  if (op == nullptr) return 0;
  const std::lock_guard lock(mutex_);
  operations_.emplace(next_id_, op);
  return next_id_++;
}

void Peer::enter_as(uint64_t id, Operation* op) {
  const std::lock_guard lock(mutex_);
  operations_.emplace(id, op);
}

void Peer::leave(uint64_t id, Operation* op) {
  std::unique_lock lock(mutex_);
  const auto [begin, end] = operations_.equal_range(id);
  const auto found =
      std::find_if(begin, end, [&](const auto& entry) { return entry.second == op; });
  if (found != end) operations_.erase(found);
  if (!host_) return;
  // A worker that was killed in mid-call may have made a call that this side still serves.
  served_.wait(lock, [&] {
    return std::find(serving_for_.begin(), serving_for_.end(), id) == serving_for_.end();
  });
}

Operation* Peer::operation(uint64_t id) {
  const std::lock_guard lock(mutex_);
  const auto found = operations_.find(id);
  return found == operations_.end() ? nullptr : found->second;
}

void Peer::wait_until_gone() {
  std::unique_lock lock(mutex_);
  ended_.wait(lock, [&] { return gone_.load(); });
  lock.unlock();
  control_thread_.detach();
  const std::lock_guard threads_lock(threads_mutex_);
  for (std::thread& thread : threads_) thread.detach();
  threads_.clear();
}

}  // namespace hyperhost::isolation
