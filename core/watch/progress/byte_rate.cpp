// SPDX-License-Identifier: Apache-2.0
#include "core/watch/progress/byte_rate.hpp"

#include <algorithm>
#include <cmath>

namespace hyperhost {
namespace {
using Seconds = std::chrono::duration<double>;
// Samples nearer than this are joined: dividing by a microsecond says nothing about a disk.
constexpr Seconds kShortest{0.05};
// Silence up to this long is the normal gap between two progress events.
constexpr Seconds kGrace{1.0};
}  // namespace

void ByteRate::sample(double total, Clock::time_point now) {
  if (!started_) {
    started_ = true;
    first_ = last_ = now;
    last_total_ = total;
    return;
  }
  if (total < last_total_) {
    last_total_ = total;
    return;
  }
  const Seconds elapsed = now - last_;
  if (elapsed < kShortest) return;
  const double moved = total - last_total_;
  const double instant = moved / elapsed.count();
  const double weight = 1 - std::exp(-elapsed / settle_);
  rate_ += weight * (instant - rate_);
  weight_ += weight * (1 - weight_);
  moved_ += moved;
  last_total_ = total;
  last_ = now;
}

double ByteRate::current(Clock::time_point now) const {
  if (weight_ <= 0) return 0;
  const Seconds silent = std::max(Seconds{0}, Seconds{now - last_} - kGrace);
  return rate_ / weight_ * std::exp(-silent / settle_);
}

double ByteRate::average(Clock::time_point now) const {
  const Seconds elapsed = now - first_;
  return started_ && elapsed > kShortest ? moved_ / elapsed.count() : 0;
}

}  // namespace hyperhost
