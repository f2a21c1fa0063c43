// SPDX-License-Identifier: Apache-2.0
// What an overlay holds of each cluster of its disk, in two bits. A page of the map covers 1 GiB
// and exists once a cluster of it is held: 4 KiB of memory for each GiB of the disk that has been
// written to, 4 MiB for a TiB, whatever the disk's size. Thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <shared_mutex>

namespace hyperhost {

enum class Held : uint8_t { kNothing = 0, kData = 1, kZeros = 2 };

class OverlayMap {
 public:
  static constexpr uint64_t kPageBytes = 4096;
  static constexpr uint64_t kPageClusters = kPageBytes * 4;
  using Page = std::array<uint8_t, kPageBytes>;

  Held at(uint64_t cluster) const;
  void set(uint64_t cluster, Held held);
  struct Run {
    Held held;
    uint64_t end;
  };
  /// How `cluster` is held, and the first cluster behind it that is held in another way; `end` if
  /// there is none before. REQUIRES: cluster < end.
  Run run(uint64_t cluster, uint64_t end) const;

  /// A page as a file has it. False where a cluster of it is neither of the three.
  bool load(uint64_t number, const Page& page);
  /// The pages that changed since the last call.
  std::map<uint64_t, Page> take_changed();
  /// They count as changed again: they could not be written.
  void give_back(const std::map<uint64_t, Page>& pages);

 private:
  struct Kept {
    Page bits{};
    bool changed = false;
  };
  Held held(const Kept* page, uint64_t cluster) const;
  const Kept* page_of(uint64_t cluster) const;

  mutable std::shared_mutex mutex_;
  std::map<uint64_t, Kept> pages_;
};

}  // namespace hyperhost
