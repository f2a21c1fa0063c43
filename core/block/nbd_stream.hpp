// SPDX-License-Identifier: Apache-2.0
// One NBD client's socket: whole reads and writes that a cancel or a time limit ends, and numbers
// in network order. One thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/cancel.hpp"
#include "core/os/fd.hpp"

namespace hyperhost {

/// Ends a client's connection: it left, broke the protocol, or the server stops.
struct NbdEnd {
  std::string why;
};

class NbdStream {
 public:
  /// stop: outlives it.
  NbdStream(Fd socket, const CancelSource& stop) : socket_(std::move(socket)), stop_(stop) {}

  /// Reads and writes behind it throw NbdEnd; nothing = no limit.
  void limit(std::optional<std::chrono::steady_clock::time_point> deadline) {
    deadline_ = deadline;
  }
  /// Throw NbdEnd.
  void read(void* buffer, std::size_t size);
  void write(const void* bytes, std::size_t size);
  uint16_t read16();
  uint32_t read32();
  uint64_t read64();

 private:
  void wait(short events);

  const Fd socket_;
  const CancelSource& stop_;
  std::optional<std::chrono::steady_clock::time_point> deadline_;
};

/// A message in network order, built and then written as one.
class NbdMessage {
 public:
  NbdMessage& u16(uint16_t value) { return number(value, 2); }
  NbdMessage& u32(uint32_t value) { return number(value, 4); }
  NbdMessage& u64(uint64_t value) { return number(value, 8); }
  NbdMessage& text(std::string_view text) {
    bytes_ += text;
    return *this;
  }
  NbdMessage& zeros(std::size_t count) {
    bytes_.append(count, '\0');
    return *this;
  }
  const std::string& bytes() const { return bytes_; }
  void send(NbdStream& to) const { to.write(bytes_.data(), bytes_.size()); }

 private:
  NbdMessage& number(uint64_t value, int width) {
    for (int i = width - 1; i >= 0; --i) bytes_ += static_cast<char>(value >> (8 * i));
    return *this;
  }
  std::string bytes_;
};

}  // namespace hyperhost
