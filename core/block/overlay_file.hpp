// SPDX-License-Identifier: Apache-2.0
// The file below an overlay: a sparse one, with the place of each cluster fixed by its number.
// overlay.md has its layout. One without a name goes with the process, however that ends. A kept
// one belongs to the operator; a lock keeps a second process out. Thread-safe.
#pragma once

#include <hyper/error.hpp>

#include <array>
#include <cstdint>
#include <filesystem>
#include <mutex>

#include "core/block/overlay_map.hpp"
#include "core/os/fd.hpp"

namespace hyperhost {

class OverlayFile {
 public:
  static constexpr uint64_t kCluster = 64 << 10;
  using Fingerprint = std::array<uint8_t, 32>;

  /// A file without a name in `directory`, for a disk of `length`. Throws Error.
  static OverlayFile nameless(const std::filesystem::path& directory, uint64_t length);
  /// The same, and keep() can give it a name. base: as in kept().
  static OverlayFile keepable(const std::filesystem::path& directory, uint64_t length,
                              const Fingerprint& base);
  /// The file of that name, made if there is none. Loads what it holds into `map`. Throws
  /// Error(kCorrupt) if it is no whole overlay, Error(kConfig) if it belongs to another disk,
  /// Error(kBusy) if another process has it.
  static OverlayFile kept(const std::filesystem::path& path, uint64_t length,
                          const Fingerprint& base, OverlayMap& map);

  const std::string& name() const { return name_; }
  /// Within the data of the disk. Throw hyper::Error; the file may have less of it then.
  void read(uint64_t offset, void* buffer, uint64_t length) const;
  void write(uint64_t offset, const void* bytes, uint64_t length) const;
  /// Gives space back; the range reads as zeros or as before.
  void punch(uint64_t offset, uint64_t length) const;
  /// Of a kept one: the data, and then the map, are on the disk. Once the system could not write
  /// what it held back, all later calls fail: it may have dropped that. One call at a time.
  void flush(OverlayMap& map);
  /// Of a keepable one: makes it durable and then gives it this name, under which kept() opens it.
  /// Throws hyper::Error; it has no name then.
  void keep(const std::filesystem::path& path, OverlayMap& map);

 private:
  OverlayFile(Fd fd, std::string name, uint64_t length, bool mapped);
  void create(uint64_t length, const Fingerprint& base);
  void load(uint64_t length, const Fingerprint& base, OverlayMap& map) const;
  void load_map(OverlayMap& map, uint64_t length) const;
  void sync();

  Fd fd_;
  std::string name_;
  bool kept_ = false, lost_ = false;    ///< lost_: a sync failed
  uint64_t length_, map_bytes_, data_;  ///< data_: where the disk's first byte is
};

}  // namespace hyperhost
