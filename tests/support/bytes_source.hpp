// SPDX-License-Identifier: Apache-2.0
// A seekable source of bytes in memory that holds its reader to what it promised: alignment, the
// longest read, the number of calls at once. It fails where a test wants it.
#pragma once

#include <gtest/gtest.h>

#include <hyper/source.hpp>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/plugin/handles.hpp"

namespace hyperhost::test {

struct BytesTraits {
  uint32_t flags = HYPER_SOURCE_SEEK;
  uint32_t block_min = 1, block_max = 0, max_parallel = 4;
  /// Of [offset, offset + length): called for a source with EXTENTS.
  std::function<void(uint64_t offset, uint64_t length, const hyper::EmitExtent&)> extents;
};

struct BytesState {
  std::string bytes;
  std::atomic<uint64_t> fail_at{UINT64_MAX};  ///< reading this byte is an I/O error
  std::atomic<int> reads{0}, inside{0};
};

class CheckedBytes final : public hyper::Source {
 public:
  CheckedBytes(std::shared_ptr<BytesState> state, BytesTraits traits)
      : state_(std::move(state)), traits_(std::move(traits)) {}
  hyper::SourceTraits traits() const override {
    hyper::SourceTraits out;
    out.flags = traits_.flags;
    out.length = state_->bytes.size();
    out.block_min = traits_.block_min;
    out.block_max = traits_.block_max;
    out.max_parallel = traits_.max_parallel;
    out.format = "raw";
    return out;
  }
  void read_at(hyper::Op, uint64_t offset, void* buffer, uint64_t length) override {
    const Inside inside(*this);
    ++state_->reads;
    const bool ends = offset + length == state_->bytes.size();
    if (offset % traits_.block_min != 0 || (length % traits_.block_min != 0 && !ends))
      throw hyper::Error(HYPER_FAIL, "a read that is not aligned");
    if (traits_.block_max != 0 && length > traits_.block_max)
      throw hyper::Error(HYPER_FAIL, "a read that is too long");
    const uint64_t bad = state_->fail_at;
    if (bad >= offset && bad - offset < length) throw hyper::Error(HYPER_IO, "a bad sector");
    std::memcpy(buffer, state_->bytes.data() + offset, length);
  }
  void extents(hyper::Op, uint64_t offset, uint64_t length,
               const hyper::EmitExtent& emit) override {
    const Inside inside(*this);
    traits_.extents(offset, length, emit);
  }

 private:
  struct Inside {
    explicit Inside(CheckedBytes& source) : count(source.state_->inside) {
      if (++count > static_cast<int>(source.traits_.max_parallel)) {
        --count;
        throw hyper::Error(HYPER_FAIL, "more calls at once than promised");
      }
    }
    ~Inside() { --count; }
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;
    std::atomic<int>& count;
  };
  const std::shared_ptr<BytesState> state_;
  const BytesTraits traits_;
};

inline std::shared_ptr<BytesState> bytes_of(std::string bytes) {
  auto state = std::make_shared<BytesState>();
  state->bytes = std::move(bytes);
  return state;
}

inline std::shared_ptr<SourceHandle> source_of(const std::shared_ptr<BytesState>& state,
                                               BytesTraits traits = {}) {
  static_cast<void>(host_table());
  auto handle = std::make_shared<SourceHandle>();
  hyper::export_source(std::make_unique<CheckedBytes>(state, std::move(traits)), handle->out());
  return handle;
}

/// Bytes that differ from place to place.
inline std::string pattern(std::size_t size, uint32_t seed = 1) {
  std::string out(size, '\0');
  for (std::size_t i = 0; i < size; ++i) {
    seed = seed * 1664525 + 1013904223;
    out[i] = static_cast<char>(seed >> 24);
  }
  return out;
}

/// An operation, and a directory that is gone afterwards.
class BlockTest : public ::testing::Test {
 protected:
  BlockTest() {
    std::string name = ::testing::TempDir() + "block-XXXXXX";
    directory_ = ::mkdtemp(name.data());
  }
  ~BlockTest() override { std::filesystem::remove_all(directory_); }

  Operation op_{"test", CancelSource::create()};
  const hyper::Op plain_{&op_};
  std::filesystem::path directory_;
};

}  // namespace hyperhost::test
