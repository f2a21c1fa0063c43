// SPDX-License-Identifier: Apache-2.0
// The two parsers that the library leaves to the plugin: what the tests of detection need of them.
#include <cstring>

#include "format/bytes.hpp"
#include "format/probe.hpp"
#include "format/run_merger.hpp"

namespace hyper::disk {
namespace {

class Flat final : public ImageMap {
 public:
  Flat(const SourceRef& source, std::string format, uint64_t size)
      : source_(source.raw()), format_(std::move(format)), size_(size) {}
  uint64_t virtual_size() const override { return size_; }
  std::string format() const override { return format_; }
  std::string subformat() const override { return {}; }
  void map(Op op, uint64_t offset, uint64_t length, const OnMapped& on_mapped) const override {
    check_map_range(*this, offset, length);
    RunMerger out(op, on_mapped);
    out.bytes(offset, length, source_, offset);
    out.finish();
  }

 private:
  SourceRef source_;
  std::string format_;
  uint64_t size_;
};

}  // namespace

std::unique_ptr<ImageMap> open_raw(Op, const SourceRef& source) {
  return std::make_unique<Flat>(source, "raw", source.length());
}

std::unique_ptr<ImageMap> open_qcow2(Op op, const SourceRef& source) {
  uint8_t header[32];
  source.read_at(op, 0, header, sizeof header);
  return std::make_unique<Flat>(source, "qcow2", be64(header + 24));
}

}  // namespace hyper::disk
