// SPDX-License-Identifier: Apache-2.0
#include "core/check/resources.hpp"

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <thread>

// Given by the sanitizers' runtimes, where the host is built with one.
extern "C" {
// NOLINTBEGIN(bugprone-reserved-identifier)
__attribute__((weak)) std::size_t __sanitizer_get_current_allocated_bytes();
__attribute__((weak)) int __lsan_do_recoverable_leak_check();
// NOLINTEND(bugprone-reserved-identifier)
}

namespace hyperhost::check {
namespace {

std::size_t entries(const char* directory) {
  std::error_code error;
  std::size_t count = 0;
  for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end;
       it.increment(error))
    ++count;
  return count;
}

uint64_t bytes_in_use() {
  if (__sanitizer_get_current_allocated_bytes != nullptr)
    return __sanitizer_get_current_allocated_bytes();
  const struct mallinfo2 info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
}

}  // namespace

Resources Resources::now() {
  return {entries("/proc/self/fd"), entries("/proc/self/task"), bytes_in_use()};
}

void expect_no_growth(Run& run, const std::string& what, int rounds,
                      const std::function<void()>& once) {
  const auto measured = [&] {
    for (int i = 0; i < rounds; ++i) once();
    return Resources::now();
  };
  const Resources first = measured();  // what is made once is made here
  const Resources second = measured();
  Resources third = measured();
  // A joined thread leaves /proc a moment later.
  for (int i = 0; i < 50 && third.threads > second.threads; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    third.threads = Resources::now().threads;
  }
  const std::string in = " in " + std::to_string(2 * rounds) + " rounds";
  // A leak grows each time. What grew once is kept for reuse, e.g. one lane more to a worker.
  const auto grows = [&](auto member) {
    return first.*member < second.*member && second.*member < third.*member;
  };
  run.expect(!grows(&Resources::descriptors),
             what + " leaks " + std::to_string(third.descriptors - first.descriptors) +
                 " descriptors" + in);
  run.expect(
      !grows(&Resources::threads),
      what + " leaves " + std::to_string(third.threads - first.threads) + " threads behind" + in);
  const auto grew = [&](const Resources& from, const Resources& to) {
    // The allocator's own caches move a little; a leak of a struct a round does not hide there.
    return to.bytes > from.bytes &&
           to.bytes - from.bytes >= std::max(1024u, 64u * static_cast<unsigned>(rounds));
  };
  run.expect(
      !(grew(first, second) && grew(second, third)),
      what + " leaks memory: " + std::to_string(third.bytes - first.bytes) + " bytes more" + in);
}

void expect_no_leaks(Run& run) {
  if (__lsan_do_recoverable_leak_check == nullptr) return;
  run.expect(__lsan_do_recoverable_leak_check() == 0, "memory is leaked (LeakSanitizer)");
}

}  // namespace hyperhost::check
