// SPDX-License-Identifier: Apache-2.0
#include "core/check/guarded_buffer.hpp"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "core/base/diagnostic.hpp"
#include "core/check/run.hpp"

namespace hyperhost::check {
namespace {

constexpr std::size_t kPage = 4096;
constexpr unsigned char kCanary = 0xC7;

/// Read by the signal handler: fixed places, filled before `begin` is set.
struct Guard {
  std::atomic<const unsigned char*> begin{nullptr};
  char what[160] = "";
};
constexpr std::size_t kGuards = 64;
Guard guards[kGuards];

void on_fault(int signal, siginfo_t* info, void*) {
  const auto* address = static_cast<const unsigned char*>(info->si_addr);
  for (const Guard& guard : guards) {
    const unsigned char* begin = guard.begin.load(std::memory_order_acquire);
    if (begin == nullptr || address < begin || address >= begin + kPage) continue;
    Run::last_words(guard.what);
    ::_exit(3);
  }
  ::signal(signal, SIG_DFL);  // not ours: the instruction faults again and ends the process
}

}  // namespace

void GuardedBuffer::catch_accesses() {
  static unsigned char stack[64 * 1024];
  stack_t alternate{};
  alternate.ss_sp = stack;
  alternate.ss_size = sizeof stack;
  ::sigaltstack(&alternate, nullptr);
  struct sigaction action {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  ::sigaction(SIGSEGV, &action, nullptr);
  ::sigaction(SIGBUS, &action, nullptr);
}

GuardedBuffer::GuardedBuffer(std::size_t size, const std::string& what)
    : size_(size), mapped_((size + 2 * kPage - 1) / kPage * kPage + kPage), slot_(kGuards) {
  void* map = ::mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (map == MAP_FAILED) throw errno_error(errno, "map memory");
  map_ = static_cast<unsigned char*>(map);
  unsigned char* guard = map_ + mapped_ - kPage;
  ::mprotect(guard, kPage, PROT_NONE);
  data_ = guard - size_;
  std::memset(map_, kCanary, static_cast<std::size_t>(data_ - map_));
  for (std::size_t i = 0; i < kGuards && slot_ == kGuards; ++i) {
    const unsigned char* none = nullptr;
    static const unsigned char reserved = 0;
    if (!guards[i].begin.compare_exchange_strong(none, &reserved)) continue;
    std::snprintf(guards[i].what, sizeof guards[i].what, "%s", what.c_str());
    guards[i].begin.store(guard, std::memory_order_release);
    slot_ = i;
  }
}

GuardedBuffer::~GuardedBuffer() {
  if (slot_ < kGuards) guards[slot_].begin.store(nullptr, std::memory_order_release);
  ::munmap(map_, mapped_);
}

bool GuardedBuffer::front_is_whole() const {
  for (const unsigned char* at = map_; at < data_; ++at)
    if (*at != kCanary) return false;
  return true;
}

void GuardedBuffer::make_read_only() {
  ::mprotect(map_, mapped_ - kPage, PROT_READ);
}

}  // namespace hyperhost::check
