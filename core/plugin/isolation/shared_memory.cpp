// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/isolation/shared_memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "core/base/diagnostic.hpp"

namespace hyperhost::isolation {
namespace {

constexpr uint64_t kPage = 4096;

struct All {
  std::mutex mutex;
  std::vector<std::weak_ptr<SharedMemory>> memories;
  uint64_t last_number = 0;
};
All& all() {
  static All& instance = *new All;  // never destroyed: plugins may end after static objects
  return instance;
}

}  // namespace

std::shared_ptr<SharedMemory> SharedMemory::create() noexcept {
  try {
    rlimit files{};
    // Beyond the limit, ftruncate would raise SIGXFSZ.
    if (::getrlimit(RLIMIT_FSIZE, &files) != 0 || files.rlim_cur < kBytes) return nullptr;
    Fd memory(::memfd_create("hyperhost-buffers", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!memory.valid() || ::ftruncate(memory.get(), static_cast<off_t>(kBytes)) != 0 ||
        ::fcntl(memory.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
      return nullptr;
    const std::lock_guard lock(all().mutex);
    auto made = std::make_shared<SharedMemory>(memory, ++all().last_number, Access::kWrite);
    made->memory_ = std::move(memory);
    auto& memories = all().memories;
    memories.erase(std::remove_if(memories.begin(), memories.end(),
                                  [](const auto& one) { return one.expired(); }),
                   memories.end());
    memories.push_back(made);
    return made;
  } catch (const std::exception&) {  // too little address space
    return nullptr;
  }
}

std::shared_ptr<SharedMemory> SharedMemory::holding(const void* data, uint64_t length) {
  const std::lock_guard lock(all().mutex);
  for (const auto& one : all().memories) {
    auto memory = one.lock();
    if (memory && memory->place_of(data, length) != kNowhere) return memory;
  }
  return nullptr;
}

SharedMemory::SharedMemory(const Fd& memory, uint64_t number, Access access) : number_(number) {
  void* map = ::mmap(nullptr, kBytes, access == Access::kWrite ? PROT_READ | PROT_WRITE : PROT_READ,
                     MAP_SHARED | MAP_NORESERVE, memory.get(), 0);
  if (map == MAP_FAILED) throw errno_error(errno, "map a worker's buffers");
  map_ = static_cast<unsigned char*>(map);
}

SharedMemory::~SharedMemory() {
  ::munmap(map_, kBytes);
  // A worker that it was lent to may keep it mapped until its end, so its pages are freed now.
  if (memory_.valid())
    ::fallocate(memory_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, kBytes);
}

uint64_t SharedMemory::place_of(const void* data, uint64_t length) const {
  const auto address = reinterpret_cast<uintptr_t>(data), begin = reinterpret_cast<uintptr_t>(map_);
  if (address < begin || address - begin > kBytes || length > kBytes - (address - begin))
    return kNowhere;
  return address - begin;
}

unsigned char* SharedMemory::at(uint64_t place, uint64_t length) const {
  if (place > kBytes || length > kBytes - place)
    throw Error(Code::kFail, "a worker names a place outside of its memory");
  return map_ + place;
}

SharedBuffers::SharedBuffers(std::shared_ptr<SharedMemory> memory) : memory_(std::move(memory)) {
  free_.emplace(0, SharedMemory::kBytes);
}

void* SharedBuffers::take(uint64_t length) {
  if (length == 0 || length > SharedMemory::kBytes) return nullptr;
  length = (length + kPage - 1) / kPage * kPage;
  const std::lock_guard lock(mutex_);
  for (auto it = free_.begin(); it != free_.end(); ++it) {
    const auto [place, room] = *it;
    if (room < length) continue;
    void* const buffer = memory_->at(place, length);
    taken_.emplace(place, length);
    free_.erase(it);
    if (room != length) free_.emplace(place + length, room - length);
    return buffer;
  }
  return nullptr;
}

bool SharedBuffers::give_back(void* buffer) {
  const std::lock_guard lock(mutex_);
  const auto taken = taken_.find(memory_->place_of(buffer, 0));
  if (taken == taken_.end()) return false;
  const uint64_t place = taken->first;
  uint64_t length = taken->second;
  taken_.erase(taken);
  ::madvise(buffer, length, MADV_REMOVE);  // returns its pages to the system
  auto next = free_.emplace(place, length).first;
  const auto behind = std::next(next);
  if (behind != free_.end() && behind->first == place + length) {
    next->second += behind->second;
    free_.erase(behind);
  }
  if (next != free_.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second == place) {
      before->second += next->second;
      free_.erase(next);
    }
  }
  return true;
}

}  // namespace hyperhost::isolation
