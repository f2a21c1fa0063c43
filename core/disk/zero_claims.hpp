// SPDX-License-Identifier: Apache-2.0
// Takes a source at its word no further than a sample: what its extents call zero is not read by
// anybody, so places in it are read and found zero. One thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/plugin/handles.hpp"

namespace hyperhost {

struct ZeroClaims {
  uint64_t bytes = 0;   ///< that the extents call zero
  uint64_t places = 0;  ///< of up to 64 KiB that were read and are zero
};

/// Reads at least 64 places of what a source's extents call zero, or all of it where that is less:
/// at random by `seed`, at the edges of runs, around 2 GiB and 4 GiB, and at both ends. Nothing for
/// a source that cannot seek or has no extents. Throws Error(kCorrupt) that names `plugin`
/// ("provider 'acme'") and the first byte that is not zero.
ZeroClaims check_zero_claims(const SourceHandle& source, const std::string& plugin, uint64_t seed,
                             Operation& op);

/// The random part of it, for one run over claims of any number in constant memory. Each of a fixed
/// number of slots ends with a byte that is uniformly distributed over all claimed bytes.
class PlacePicker {
 public:
  struct Place {
    uint64_t at;
    uint64_t begin, end;  ///< of its claim
  };
  explicit PlacePicker(uint64_t seed);
  /// Claims come in ascending order.
  void add(uint64_t begin, uint64_t end);
  /// In ascending order.
  std::vector<Place> places() const;
  uint64_t bytes() const { return bytes_; }

 private:
  struct Slot {
    uint64_t next = 0;  ///< the byte, or the claim, that replaces what the slot holds
    Place place{};
    bool filled = false;
  };
  uint64_t random();
  uint64_t after(uint64_t number);
  void take_bytes(uint64_t begin, uint64_t end);
  void take_claim(uint64_t begin, uint64_t end);

  uint64_t state_;
  uint64_t bytes_ = 0, claims_ = 0;
  std::vector<Slot> by_bytes_, by_claims_;
  uint64_t next_byte_ = 0, next_claim_ = 0;  ///< the least `next` of the slots
  std::vector<Place> fixed_;
  Place first_{}, last_{};
};

}  // namespace hyperhost
