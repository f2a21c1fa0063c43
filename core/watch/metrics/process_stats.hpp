// SPDX-License-Identifier: Apache-2.0
// What Linux says about this process, for the usual process_* metrics. Thread-safe.
#pragma once

#include <cstdint>

namespace hyperhost {

struct ProcessStats {
  uint64_t resident_bytes = 0, open_fds = 0, threads = 0;
  double cpu_seconds = 0;
};
/// Zeros where /proc is not there.
ProcessStats read_process_stats();

/// Seconds since 1970.
double process_start_time();

}  // namespace hyperhost
