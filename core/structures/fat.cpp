// SPDX-License-Identifier: Apache-2.0
// The EFI programs in a FAT file system: the directory EFI, and two levels below it.
#include <algorithm>

#include "core/structures/parts.hpp"

namespace hyperhost {
namespace {

constexpr uint64_t kMostDirectory = 128 << 10;  // bytes of a directory
constexpr std::size_t kMostDirectories = 64, kMostLoaders = 64;
constexpr std::size_t kMostEntries = 20'000;  // of all directories together
constexpr uint64_t kFatEntry = 32;
constexpr uint8_t kFatLongName = 0x0f, kFatLabel = 0x08, kFatDirectory = 0x10;

struct FatEntry {
  std::string name;  ///< "BOOTX64.EFI"
  bool directory = false;
  uint32_t cluster = 0;
  uint64_t size = 0;
};

class Fat {
 public:
  Fat(DiskBytes& disk, const Volume& volume) : disk_(disk), volume_(volume) {
    const Bytes boot = read_in(disk, volume, 0, 512);
    const uint64_t sector = boot.le16(11), tables = boot.at(16), reserved = boot.le16(14);
    if (sector == 0 || boot.at(13) == 0) return;
    const uint64_t table = boot.le16(22) != 0 ? boot.le16(22) : boot.le32(36);
    const uint64_t sectors = boot.le16(19) != 0 ? boot.le16(19) : boot.le32(32);
    cluster_size_ = sector * boot.at(13);
    table_at_ = reserved * sector;
    root_at_ = (reserved + tables * table) * sector;
    root_size_ = boot.le16(17) * kFatEntry;
    data_at_ = root_at_ + (root_size_ + sector - 1) / sector * sector;
    const uint64_t before = data_at_ / sector;
    clusters_ = sectors > before ? (sectors - before) / boot.at(13) : 0;
    width_ = clusters_ < 4085 ? 12 : clusters_ < 65525 ? 16 : 32;
    if (width_ == 32) root_cluster_ = boot.le32(44);
  }

  std::vector<FatEntry> root() {
    return root_cluster_ != 0 ? entries(root_cluster_)
                              : entries_in(read_in(disk_, volume_, root_at_,
                                                   std::min(root_size_, kMostDirectory)));
  }
  std::vector<FatEntry> entries(uint32_t cluster) {
    std::vector<FatEntry> out;
    uint64_t done = 0;
    for (; is_data(cluster) && done < kMostDirectory; cluster = next(cluster)) {
      const Bytes bytes =
          read_in(disk_, volume_, place(cluster), std::min(cluster_size_, kMostDirectory));
      for (FatEntry& one : entries_in(bytes)) out.push_back(std::move(one));
      if (ended_) break;
      done += std::max<uint64_t>(cluster_size_, 1);
    }
    return out;
  }
  /// The beginning of a file.
  Bytes front(const FatEntry& file, uint64_t length) {
    if (!is_data(file.cluster)) return {};
    return read_in(disk_, volume_, place(file.cluster),
                   std::min({length, file.size, cluster_size_}));
  }

 private:
  bool is_data(uint32_t cluster) const { return cluster >= 2 && cluster - 2 < clusters_; }
  uint64_t place(uint32_t cluster) const {
    return sum(data_at_, product(cluster - 2, cluster_size_));
  }
  uint32_t next(uint32_t cluster) {
    if (width_ == 12) {
      const uint16_t pair = read_in(disk_, volume_, table_at_ + cluster * 3 / 2, 2).le16(0);
      return cluster % 2 == 0 ? pair & 0xfff : pair >> 4;
    }
    const uint64_t width = width_ / 8;
    const Bytes entry = read_in(disk_, volume_, table_at_ + cluster * width, width);
    return width_ == 16 ? entry.le16(0) : entry.le32(0) & 0x0fffffff;
  }
  std::vector<FatEntry> entries_in(const Bytes& bytes) {
    std::vector<FatEntry> out;
    ended_ = bytes.size() == 0;
    for (uint64_t at = 0; at + kFatEntry <= bytes.size(); at += kFatEntry) {
      if (bytes.at(at) == 0 || seen_ == kMostEntries) {
        ended_ = true;
        break;
      }
      ++seen_;
      const uint8_t kind = bytes.at(at + 11);
      if (bytes.at(at) == 0xe5 || (kind & kFatLongName) == kFatLongName || (kind & kFatLabel) != 0)
        continue;
      FatEntry one;
      one.name = short_name(bytes, at);
      one.directory = (kind & kFatDirectory) != 0;
      one.cluster = static_cast<uint32_t>(bytes.le16(at + 20)) << 16 | bytes.le16(at + 26);
      if (width_ != 32) one.cluster &= 0xffff;
      one.size = bytes.le32(at + 28);
      if (!one.name.empty() && one.name[0] != '.') out.push_back(std::move(one));
    }
    return out;
  }
  /// In capitals; characters that no name of ours has are left out.
  static std::string short_name(const Bytes& bytes, uint64_t at) {
    std::string out;
    for (unsigned i = 0; i < 11; ++i) {
      char c = static_cast<char>(bytes.at(at + i));
      if (i == 8 && c != ' ') out += '.';
      if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
      if (c > ' ' && c <= '~' && c != '/' && c != '\\') out += c;
    }
    return out;
  }

  DiskBytes& disk_;
  const Volume& volume_;
  uint64_t cluster_size_ = 0, table_at_ = 0, root_at_ = 0, root_size_ = 0, data_at_ = 0;
  uint64_t clusters_ = 0;
  unsigned width_ = 0;
  uint32_t root_cluster_ = 0;
  bool ended_ = false;  ///< the last entry of a directory was met
  std::size_t seen_ = 0;
};

/// A program that an x86-64 firmware starts.
bool is_program(Fat& fat, const FatEntry& file) {
  const Bytes front = fat.front(file, 4096);
  if (!front.has(0, "MZ")) return false;
  const uint64_t header = front.le32(60);
  if (header + 6 > front.size()) return true;  // beyond what was read
  return front.has(header, std::string_view("PE\0\0", 4)) && front.le16(header + 4) == 0x8664;
}

bool is_efi(const FatEntry& file) {
  return !file.directory && file.name.size() > 4 && file.name.ends_with(".EFI");
}

void take_loaders(Fat& fat, const FatEntry& directory, const std::string& path, int depth,
                  Volume& volume) {
  for (const FatEntry& one : fat.entries(directory.cluster)) {
    if (volume.loaders.size() >= kMostLoaders) return;
    if (one.directory && depth > 0)
      take_loaders(fat, one, path + one.name + "/", depth - 1, volume);
    if (!is_efi(one) || !is_program(fat, one)) continue;
    const std::string whole = path + one.name;
    if (whole == "EFI/BOOT/BOOTX64.EFI") volume.fallback_loader = whole;
    volume.loaders.push_back(whole);
  }
}

}  // namespace

void read_fat(DiskBytes& disk, Volume& volume) {
  Fat fat(disk, volume);
  for (const FatEntry& efi : fat.root()) {
    if (efi.name != "EFI" || !efi.directory) continue;
    std::size_t directories = 0;
    for (const FatEntry& one : fat.entries(efi.cluster))
      if (one.directory && ++directories <= kMostDirectories)
        take_loaders(fat, one, "EFI/" + one.name + "/", 1, volume);
    return;
  }
}

}  // namespace hyperhost
