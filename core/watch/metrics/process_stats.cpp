// SPDX-License-Identifier: Apache-2.0
#include "core/watch/metrics/process_stats.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace hyperhost {

ProcessStats read_process_stats() {
  ProcessStats stats;
  uint64_t size_pages = 0, resident_pages = 0;
  if (std::ifstream statm("/proc/self/statm"); statm >> size_pages >> resident_pages)
    stats.resident_bytes = resident_pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  std::error_code ignored;
  const auto count = [&](const char* directory) {
    uint64_t entries = 0;
    for (std::filesystem::directory_iterator it(directory, ignored), end; !ignored && it != end;
         it.increment(ignored))
      ++entries;
    return entries;
  };
  stats.open_fds = count("/proc/self/fd");
  stats.threads = count("/proc/self/task");
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) == 0) {
    const auto seconds = [](const timeval& time) {
      return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    };
    stats.cpu_seconds = seconds(usage.ru_utime) + seconds(usage.ru_stime);
  }
  return stats;
}

double process_start_time() {
  const double now =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  std::ifstream uptime_file("/proc/uptime"), stat_file("/proc/self/stat");
  double uptime = 0;
  std::string stat;
  if (!(uptime_file >> uptime) || !std::getline(stat_file, stat)) return now;
  // The name in parentheses may hold anything; starttime is the 20th field after it.
  std::istringstream fields(stat.substr(std::min(stat.size(), stat.rfind(')') + 1)));
  std::string skipped;
  for (int i = 0; i < 19; ++i) fields >> skipped;
  double ticks = 0;
  if (!(fields >> ticks)) return now;
  const double started = ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
  return now - uptime + started;
}

}  // namespace hyperhost
