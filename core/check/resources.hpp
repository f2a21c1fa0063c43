// SPDX-License-Identifier: Apache-2.0
// What this process holds: descriptors, threads, bytes of memory in use. For finding what a plugin
// leaves behind by doing the same thing many times.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "core/check/run.hpp"

namespace hyperhost::check {

struct Resources {
  std::size_t descriptors = 0, threads = 0;
  uint64_t bytes = 0;
  static Resources now();
};

/// Does `once` 3 * rounds times; what grows with every round is a finding ("start() and stop()
/// leak 2 descriptors in 30 rounds").
void expect_no_growth(Run& run, const std::string& what, int rounds,
                      const std::function<void()>& once);

/// A sanitizer's own opinion on leaks, where there is one.
void expect_no_leaks(Run& run);

}  // namespace hyperhost::check
