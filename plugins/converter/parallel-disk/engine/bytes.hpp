// SPDX-License-Identifier: Apache-2.0
// Integers as they lie in files, rounding that does not overflow silently, and the question
// "is this all zero?".
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace hyper::disk {

template <class T>
T load_le(const void* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;  // hosts are little-endian (checked below)
}
template <class T>
T swap_bytes(T value) {
  if constexpr (sizeof(T) == 2) return static_cast<T>(__builtin_bswap16(value));
  if constexpr (sizeof(T) == 4) return static_cast<T>(__builtin_bswap32(value));
  if constexpr (sizeof(T) == 8) return static_cast<T>(__builtin_bswap64(value));
}
template <class T>
T load_be(const void* from) {
  return swap_bytes(load_le<T>(from));
}
template <class T>
void store_le(void* to, T value) {
  std::memcpy(to, &value, sizeof value);
}
template <class T>
void store_be(void* to, T value) {
  store_le(to, swap_bytes(value));
}
static_assert(std::endian::native == std::endian::little);

constexpr uint64_t div_ceil(uint64_t a, uint64_t b) {
  return a / b + (a % b != 0 ? 1 : 0);
}
/// REQUIRES: the result fits.
constexpr uint64_t round_up(uint64_t a, uint64_t b) {
  return div_ceil(a, b) * b;
}

inline bool is_zero(const uint8_t* data, std::size_t len) {
  if (len == 0) return true;
  return data[0] == 0 && std::memcmp(data, data + 1, len - 1) == 0;
}

}  // namespace hyper::disk
