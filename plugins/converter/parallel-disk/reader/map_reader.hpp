// SPDX-License-Identifier: Apache-2.0
// Batches from an ImageMap: the cursor asks the map for ever larger windows while it sees zeros,
// so a huge empty disk costs a few calls.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <mutex>

#include "engine/input.hpp"
#include "reader/reader.hpp"

namespace hyper::disk {

/// The files that an image's bytes lie in, opened once each. Any thread.
class Inputs {
 public:
  const Input& of(Op op, const SourceRef& file);
  uint64_t bytes_read() const;
  uint64_t length() const;  ///< of all files seen so far

 private:
  mutable std::mutex mutex_;
  std::map<const hyper_source*, std::unique_ptr<Input>> inputs_;
};

/// Throws what an image gets whose tables refer to more data than its files hold.
[[noreturn]] void refuse_amount();

class MapReader : public Reader {
 public:
  /// Both outlive this.
  explicit MapReader(const ImageMap& map) : map_(map), size_(map.virtual_size()) {}
  uint64_t virtual_size() const override { return size_; }
  void set_batch_bytes(uint64_t bytes) override { batch_bytes_ = bytes; }
  bool seek(uint64_t guest) override {
    position_ = mapped_ = guest;
    return true;
  }
  bool next(Op op, Workspace& space) override;
  void load(Op op, Workspace& space) override;
  void account(uint64_t consumed) override;
  uint64_t bytes_read() const override { return inputs_.bytes_read(); }

 private:
  bool fill_window(Op op);
  std::size_t load_compressed(Op op, const Input& input, Workspace& space, std::size_t first,
                              uint64_t& used);
  void load_part(Op op, const Input& input, Workspace& space, std::size_t first);
  void allow_for_split(const Piece& piece, uint64_t batch);
  void check_amount() const;

  const ImageMap& map_;
  const uint64_t size_;
  uint64_t batch_bytes_ = 1u << 20;
  uint64_t position_ = 0;  // all before it is in a batch
  uint64_t mapped_ = 0;    // all before it was asked for
  uint64_t window_ = 0;
  std::deque<Mapped> pieces_;  // not zero, from position_ on
  bool ended_ = false;
  Inputs inputs_;
  struct LastUnit {
    uint64_t unit_offset, batch;
  };
  std::map<const hyper_source*, LastUnit> last_units_;  // by file; compressed ones
  std::atomic<uint64_t> consumed_{0}, allowed_{0};
};

}  // namespace hyper::disk
