// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/isolation/lane.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/base/diagnostic.hpp"

namespace hyperhost::isolation {
namespace {
constexpr uint64_t kStep = 1u << 16;
}

Lane::Lane(Fd socket, Fd memory) : socket_(std::move(socket)), memory_(std::move(memory)) {}

Lane::~Lane() {
  if (map_ != nullptr) ::munmap(map_, mapped_);
}

std::pair<std::unique_ptr<Lane>, std::pair<Fd, Fd>> Lane::create() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    throw errno_error(errno, "make a socket for a plugin's worker");
  Fd ours(ends[0]), theirs(ends[1]);
  Fd memory(::memfd_create("hyperhost-lane", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memory.valid() || ::fcntl(memory.get(), F_ADD_SEALS, F_SEAL_SHRINK) != 0)
    throw errno_error(errno, "make memory for a plugin's worker");
  Fd shared(::fcntl(memory.get(), F_DUPFD_CLOEXEC, 3));
  if (!shared.valid()) throw errno_error(errno, "make memory for a plugin's worker");
  auto lane = std::make_unique<Lane>(std::move(ours), std::move(memory));
  return std::make_pair(std::move(lane), std::make_pair(std::move(theirs), std::move(shared)));
}

void Lane::remap(uint64_t capacity) {
  if (capacity > kMostBytes)
    throw Error(Code::kFail, "a plugin's call carries more than 1 GiB at once");
  struct stat status {};
  if (::fstat(memory_.get(), &status) != 0) throw errno_error(errno, "measure a worker's memory");
  if (static_cast<uint64_t>(status.st_size) < capacity &&
      ::ftruncate(memory_.get(), static_cast<off_t>(capacity)) != 0)
    throw errno_error(errno, "enlarge a worker's memory");
  void* map = map_ == nullptr
                  ? ::mmap(nullptr, capacity, PROT_READ | PROT_WRITE, MAP_SHARED, memory_.get(), 0)
                  : ::mremap(map_, mapped_, capacity, MREMAP_MAYMOVE);
  if (map == MAP_FAILED) throw errno_error(errno, "map a worker's memory");
  map_ = static_cast<unsigned char*>(map);
  mapped_ = capacity;
}

unsigned char* Lane::room(uint64_t bytes) {
  // The size doubles, so that a growing payload does not remap for each text.
  if (bytes > mapped_)
    remap(std::max((bytes + kStep - 1) / kStep * kStep, std::min(2 * mapped_, kMostBytes)));
  return map_;
}

void Lane::send(Frame frame) {
  frame.capacity = mapped_;
  for (;;) {
    const ssize_t sent = ::send(socket_.get(), &frame, sizeof frame, MSG_NOSIGNAL);
    if (sent == static_cast<ssize_t>(sizeof frame)) return;
    if (sent < 0 && errno == EINTR) continue;
    throw PeerGone();
  }
}

Frame Lane::receive() {
  Frame frame;
  for (;;) {
    const ssize_t got = ::recv(socket_.get(), &frame, sizeof frame, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got != static_cast<ssize_t>(sizeof frame)) throw PeerGone();
    break;
  }
  if (frame.capacity > mapped_) remap(frame.capacity);
  if (frame.payload > mapped_) throw PeerGone();  // an intact worker never sends such a frame
  return frame;
}

PayloadWriter& PayloadWriter::bytes(const void* data, std::size_t size) {
  unsigned char* memory = lane_.room(size_ + size);
  if (size != 0) std::memcpy(memory + size_, data, size);
  size_ += size;
  return *this;
}

PayloadWriter& PayloadWriter::text(std::string_view text) {
  const uint64_t size = text.size();
  return bytes(&size, sizeof size).bytes(text.data(), text.size());
}

void PayloadReader::bytes(void* out, std::size_t size) {
  if (size > left_) throw Error(Code::kFail, "a worker's message is too short");
  if (size != 0) std::memcpy(out, at_, size);
  at_ += size;
  left_ -= size;
}

std::string PayloadReader::text() {
  const auto size = pod<uint64_t>();
  if (size > left_) throw Error(Code::kFail, "a worker's message is too short");
  std::string out(static_cast<std::size_t>(size), '\0');
  bytes(out.data(), out.size());
  return out;
}

}  // namespace hyperhost::isolation
