// SPDX-License-Identifier: Apache-2.0
#include "core/structures/disk_bytes.hpp"

#include <algorithm>
#include <cstring>

namespace hyperhost {

uint64_t Bytes::little(uint64_t offset, unsigned width) const {
  uint64_t value = 0;
  for (unsigned i = 0; i < width; ++i) value |= uint64_t{at(offset + i)} << (8 * i);
  return value;
}

uint64_t Bytes::big(uint64_t offset, unsigned width) const {
  uint64_t value = 0;
  for (unsigned i = 0; i < width; ++i) value = value << 8 | at(offset + i);
  return value;
}

bool Bytes::has(uint64_t offset, std::string_view text) const {
  return offset <= bytes_.size() && text.size() <= bytes_.size() - offset &&
         std::memcmp(bytes_.data() + offset, text.data(), text.size()) == 0;
}

bool Bytes::contains(std::string_view text) const {
  return std::search(bytes_.begin(), bytes_.end(), text.begin(), text.end(),
                     [](unsigned char a, char b) { return a == static_cast<unsigned char>(b); }) !=
         bytes_.end();
}

std::string Bytes::text(uint64_t offset, uint64_t length) const {
  if (offset >= bytes_.size()) return {};
  const auto begin = bytes_.begin() + static_cast<std::ptrdiff_t>(offset);
  const uint64_t there = std::min<uint64_t>(length, bytes_.size() - offset);
  return {begin, begin + static_cast<std::ptrdiff_t>(there)};
}

Bytes Bytes::part(uint64_t offset, uint64_t length) const {
  if (offset >= bytes_.size()) return {};
  const auto begin = bytes_.begin() + static_cast<std::ptrdiff_t>(offset);
  const uint64_t there = std::min<uint64_t>(length, bytes_.size() - offset);
  return Bytes(std::vector<unsigned char>(begin, begin + static_cast<std::ptrdiff_t>(there)));
}

bool Bytes::all_zero(uint64_t offset, uint64_t length) const {
  for (uint64_t i = offset; i < bytes_.size() && i - offset < length; ++i)
    if (bytes_[i] != 0) return false;
  return true;
}

bool DiskBytes::fetch(uint64_t first, uint64_t end) {
  const uint64_t from = first * kPage, to = std::min(end * kPage, length_);
  if (to - from > most_ - bytes_read_) {
    cut_ = true;
    return false;
  }
  std::vector<unsigned char> bytes((end - first) * kPage);
  read_(from, bytes.data(), to - from);
  bytes_read_ += to - from;
  for (uint64_t page = first; page < end; ++page)
    std::memcpy(pages_[page].data(), bytes.data() + (page - first) * kPage, kPage);
  return true;
}

Bytes DiskBytes::read(uint64_t offset, uint64_t length) {
  if (offset >= length_ || length == 0) return {};
  length = std::min({length, length_ - offset, kMostAtOnce});
  const uint64_t first = offset / kPage, end = (offset + length - 1) / kPage + 1;
  for (uint64_t page = first; page < end;) {
    if (pages_.contains(page)) {
      ++page;
      continue;
    }
    uint64_t until = page + 1;
    while (until < end && !pages_.contains(until)) ++until;
    if (!fetch(page, until)) {
      if (page == first) return {};
      length = page * kPage - offset;
      break;
    }
    page = until;
  }
  std::vector<unsigned char> out(length);
  for (uint64_t done = 0; done < length;) {
    const uint64_t inside = (offset + done) % kPage;
    const uint64_t piece = std::min(kPage - inside, length - done);
    std::memcpy(out.data() + done, pages_.at((offset + done) / kPage).data() + inside, piece);
    done += piece;
  }
  return Bytes(std::move(out));
}

}  // namespace hyperhost
