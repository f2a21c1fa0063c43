// SPDX-License-Identifier: Apache-2.0
#include "core/disk/zero_claims.hpp"

#include <algorithm>
#include <exception>

namespace hyperhost {
namespace {

constexpr uint64_t kPlace = 64u << 10;
constexpr uint64_t kClaimWindow = uint64_t{1} << 30;  // bytes a call of extents()
constexpr std::size_t kByBytes = 64, kByClaims = 32;
// Where a number of 31 or 32 bits ends.
constexpr uint64_t kEdges[] = {uint64_t{1} << 31, uint64_t{1} << 32};

struct Walk {
  PlacePicker& picker;
  uint64_t expected, end;
  bool bad = false;
  std::exception_ptr error;

  hyper_st take(const hyper_extent& extent) noexcept {
    if (extent.offset != expected || extent.length == 0 || extent.length > end - expected) {
      bad = true;
      return HYPER_FAIL;
    }
    expected += extent.length;
    if ((extent.flags & (HYPER_EXTENT_ZERO | HYPER_EXTENT_HOLE)) == 0) return HYPER_OK;
    try {
      picker.add(extent.offset, expected);
      return HYPER_OK;
    } catch (...) {
      error = std::current_exception();
      return HYPER_FAIL;
    }
  }
};

void pick(const SourceHandle& source, PlacePicker& picker, Operation& op) {
  const hyper_source& table = source.table();
  for (uint64_t at = 0; at < source.length();) {
    op.cancel().check();
    const uint64_t length = std::min(kClaimWindow, source.length() - at);
    Walk walk{picker, at, at + length, false, nullptr};
    const hyper_st status = table.extents(
        table.ctx, &op, 0, at, length,
        [](void* arg, const hyper_extent* extent) noexcept {
          return static_cast<Walk*>(arg)->take(*extent);
        },
        &walk);
    if (walk.error) std::rethrow_exception(walk.error);
    if (walk.bad || (status == HYPER_OK && walk.expected != walk.end))
      throw Error(Code::kFail, "the source's extents have gaps or overlap");
    op.check(status, "listing the extents of the source");
    at += length;
  }
}

/// The part of a claim that is read for a place.
std::pair<uint64_t, uint64_t> range_of(const PlacePicker::Place& place) {
  const uint64_t length = std::min(kPlace, place.end - place.begin);
  const uint64_t begin =
      std::min(place.at - std::min(place.at - place.begin, kPlace / 2), place.end - length);
  return {begin, begin + length};
}

}  // namespace

PlacePicker::PlacePicker(uint64_t seed)
    : state_(seed), by_bytes_(kByBytes), by_claims_(kByClaims) {}

uint64_t PlacePicker::random() {  // splitmix64
  uint64_t z = state_ += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

/// In a random order of many items each new one is the best so far with probability 1/its number.
/// The number of the next best after `number` (counted from 0).
uint64_t PlacePicker::after(uint64_t number) {
  const double uniform = (static_cast<double>(random() >> 11) + 1) / 9007199254740992.0;
  const double next = (static_cast<double>(number) + 1) / uniform;
  constexpr double kNever = 9e18;
  return next >= kNever ? static_cast<uint64_t>(kNever)
                        : std::max(number + 1, static_cast<uint64_t>(next));
}

void PlacePicker::take_bytes(uint64_t begin, uint64_t end) {
  const uint64_t length = end - begin;
  if (next_byte_ < bytes_ + length) {
    next_byte_ = UINT64_MAX;
    for (Slot& slot : by_bytes_) {
      while (slot.next < bytes_ + length) {
        slot.place = {begin + (slot.next - bytes_), begin, end};
        slot.filled = true;
        slot.next = after(slot.next);
      }
      next_byte_ = std::min(next_byte_, slot.next);
    }
  }
  bytes_ += length;
}

void PlacePicker::take_claim(uint64_t begin, uint64_t end) {
  if (next_claim_ <= claims_) {
    next_claim_ = UINT64_MAX;
    for (Slot& slot : by_claims_) {
      if (slot.next <= claims_) {
        slot.place = {(random() & 1) != 0 ? begin : end - 1, begin, end};
        slot.filled = true;
        slot.next = after(slot.next);
      }
      next_claim_ = std::min(next_claim_, slot.next);
    }
  }
  ++claims_;
}

void PlacePicker::add(uint64_t begin, uint64_t end) {
  if (claims_ == 0) first_ = {begin, begin, end};
  last_ = {end - 1, begin, end};
  for (const uint64_t edge : kEdges)
    if (begin <= edge && edge < end) fixed_.push_back({edge, begin, end});
  take_bytes(begin, end);
  take_claim(begin, end);
}

std::vector<PlacePicker::Place> PlacePicker::places() const {
  std::vector<Place> out = fixed_;
  if (claims_ != 0) out.insert(out.end(), {first_, last_});
  for (const auto* slots : {&by_bytes_, &by_claims_})
    for (const Slot& slot : *slots)
      if (slot.filled) out.push_back(slot.place);
  std::sort(out.begin(), out.end(), [](const Place& a, const Place& b) { return a.at < b.at; });
  return out;
}

ZeroClaims check_zero_claims(const SourceHandle& source, const std::string& plugin, uint64_t seed,
                             Operation& op) {
  if (!source.can(HYPER_SOURCE_SEEK | HYPER_SOURCE_EXTENTS)) return {};
  PlacePicker picker(seed);
  pick(source, picker, op);
  const uint64_t block = source.table().block_min;
  std::vector<unsigned char> buffer;
  ZeroClaims out{picker.bytes(), 0};
  uint64_t done = 0;  // up to here it was read
  for (const PlacePicker::Place& place : picker.places()) {
    op.cancel().check();
    auto [begin, end] = range_of(place);
    begin = std::max(begin, done);
    if (begin >= end) continue;
    const uint64_t from = begin / block * block;
    const uint64_t to = std::min(source.length(), (end + block - 1) / block * block);
    buffer.assign(to - from, 0);
    source.read_at(op, from, buffer.data(), buffer.size());
    const auto first = buffer.begin() + static_cast<std::ptrdiff_t>(begin - from);
    const auto last = buffer.begin() + static_cast<std::ptrdiff_t>(end - from);
    const auto lie = std::find_if(first, last, [](unsigned char byte) { return byte != 0; });
    if (lie != last)
      throw Error(Code::kCorrupt,
                  plugin + " says that bytes " + std::to_string(place.begin) + " to " +
                      std::to_string(place.end - 1) + " are zero, and byte " +
                      std::to_string(begin + static_cast<uint64_t>(lie - first)) + " is not",
                  "its extents are wrong, or the disk changed while it was read",
                  "what the plugin delivers cannot be trusted: report it to its author");
    done = end;
    ++out.places;
  }
  return out;
}

}  // namespace hyperhost
