// SPDX-License-Identifier: Apache-2.0
#include "core/block/block_device.hpp"

#include <algorithm>
#include <string>

#include "core/block/base_reader.hpp"

namespace hyperhost {
namespace {

class ReadOnlyDevice final : public BlockDevice {
 public:
  explicit ReadOnlyDevice(std::shared_ptr<SourceHandle> source) : base_(std::move(source)) {}

  uint64_t length() const override { return base_.length(); }
  bool writable() const override { return false; }
  void read_at(hyper::Op op, uint64_t offset, void* buffer, uint64_t length) override {
    check_range(offset, length, base_.length());
    if (length != 0) base_.read(op, offset, buffer, length);
  }
  void write_at(hyper::Op, uint64_t, const void*, uint64_t) override { refuse(); }
  void zero_at(hyper::Op, uint64_t, uint64_t) override { refuse(); }
  void flush(hyper::Op) override {}
  void extents(hyper::Op op, uint64_t offset, uint64_t length, const OnExtent& on_extent) override {
    check_range(offset, length, base_.length());
    for (const uint64_t end = offset + length; offset < end;) {
      op.check_cancelled();
      const uint64_t here = std::min(BaseReader::kWindow, end - offset);
      for (const hyper_extent& extent : base_.extents(op, offset, here)) on_extent(extent);
      offset += here;
    }
  }

 private:
  [[noreturn]] static void refuse() { throw hyper::Error(HYPER_AUTH, "this disk is read-only"); }
  BaseReader base_;
};

class BlockSource final : public hyper::Source {
 public:
  explicit BlockSource(std::shared_ptr<BlockDevice> device) : device_(std::move(device)) {}
  hyper::SourceTraits traits() const override {
    hyper::SourceTraits traits;
    traits.flags = HYPER_SOURCE_SEEK | HYPER_SOURCE_EXTENTS;
    traits.length = device_->length();
    traits.max_parallel = 64;
    traits.format = "raw";
    return traits;
  }
  void read_at(hyper::Op op, uint64_t offset, void* buffer, uint64_t length) override {
    device_->read_at(op, offset, buffer, length);
  }
  void extents(hyper::Op op, uint64_t offset, uint64_t length,
               const hyper::EmitExtent& emit) override {
    device_->extents(op, offset, length, [&](const hyper_extent& extent) {
      emit(extent.offset, extent.length, extent.flags);
    });
  }

 private:
  const std::shared_ptr<BlockDevice> device_;
};

}  // namespace

void check_range(uint64_t offset, uint64_t length, uint64_t size) {
  if (offset > size || length > size - offset)
    throw hyper::Error(HYPER_FAIL, "the range lies beyond the end of the disk",
                       "byte " + std::to_string(offset) + ", " + std::to_string(length) +
                           " bytes, of " + std::to_string(size));
}

std::shared_ptr<BlockDevice> read_only_device(std::shared_ptr<SourceHandle> source) {
  static_cast<void>(host_table());
  return std::make_shared<ReadOnlyDevice>(std::move(source));
}

std::unique_ptr<SourceHandle> open_block_source(std::shared_ptr<BlockDevice> device) {
  static_cast<void>(host_table());
  auto handle = std::make_unique<SourceHandle>();
  hyper::export_source(std::make_unique<BlockSource>(std::move(device)), handle->out());
  return handle;
}

}  // namespace hyperhost
