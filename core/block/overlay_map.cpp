// SPDX-License-Identifier: Apache-2.0
#include "core/block/overlay_map.hpp"

#include <algorithm>
#include <utility>

namespace hyperhost {

const OverlayMap::Kept* OverlayMap::page_of(uint64_t cluster) const {
  const auto found = pages_.find(cluster / kPageClusters);
  return found == pages_.end() ? nullptr : &found->second;
}

Held OverlayMap::held(const Kept* page, uint64_t cluster) const {
  if (page == nullptr) return Held::kNothing;
  const uint64_t at = cluster % kPageClusters;
  return static_cast<Held>((page->bits[at / 4] >> (2 * (at % 4))) & 3);
}

Held OverlayMap::at(uint64_t cluster) const {
  const std::shared_lock lock(mutex_);
  return held(page_of(cluster), cluster);
}

void OverlayMap::set(uint64_t cluster, Held value) {
  const std::unique_lock lock(mutex_);
  Kept& page = pages_[cluster / kPageClusters];
  const uint64_t at = cluster % kPageClusters;
  const auto shift = static_cast<unsigned>(2 * (at % 4));
  const unsigned others = page.bits[at / 4] & ~(3u << shift);
  page.bits[at / 4] = static_cast<uint8_t>(others | (static_cast<unsigned>(value) << shift));
  page.changed = true;
}

OverlayMap::Run OverlayMap::run(uint64_t cluster, uint64_t end) const {
  const std::shared_lock lock(mutex_);
  const Held first = held(page_of(cluster), cluster);
  while (cluster < end) {
    const Kept* page = page_of(cluster);
    const uint64_t page_end = std::min(end, (cluster / kPageClusters + 1) * kPageClusters);
    if (page == nullptr && first == Held::kNothing) {
      const auto next = pages_.lower_bound(cluster / kPageClusters);
      cluster = next == pages_.end() ? end : std::min(end, next->first * kPageClusters);
      continue;
    }
    for (; cluster < page_end; ++cluster)
      if (held(page, cluster) != first) return {first, cluster};
  }
  return {first, end};
}

bool OverlayMap::load(uint64_t number, const Page& page) {
  for (const uint8_t four : page)
    if ((four & (four >> 1) & 0x55) != 0) return false;  // both bits of one cluster
  const std::unique_lock lock(mutex_);
  if (page != Page{}) pages_[number].bits = page;
  return true;
}

std::map<uint64_t, OverlayMap::Page> OverlayMap::take_changed() {
  const std::unique_lock lock(mutex_);
  std::map<uint64_t, Page> changed;
  for (auto& [number, page] : pages_)
    if (std::exchange(page.changed, false)) changed.emplace(number, page.bits);
  return changed;
}

void OverlayMap::give_back(const std::map<uint64_t, Page>& pages) {
  const std::unique_lock lock(mutex_);
  for (const auto& [number, page] : pages) pages_[number].changed = true;
}

}  // namespace hyperhost
