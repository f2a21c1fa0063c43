// SPDX-License-Identifier: Apache-2.0
#include "engine/limited_source.hpp"

#include <algorithm>

#include "engine/limiter.hpp"

namespace hyper::disk {
namespace {

class LimitedSource : public Source {
 public:
  LimitedSource(const SourceRef& source, std::unique_ptr<OwnedSource> owned)
      : owned_(std::move(owned)), source_(source), limiter_(std::max(1u, source.max_parallel())) {}

  SourceTraits traits() const override {
    SourceTraits traits;
    traits.flags = source_.raw()->flags & (HYPER_SOURCE_SEEK | HYPER_SOURCE_EXTENTS |
                                           HYPER_SOURCE_FILE | HYPER_SOURCE_SIBLING);
    traits.length = source_.length();
    traits.block_min = source_.raw()->block_min;
    traits.block_pref = source_.raw()->block_pref;
    traits.block_max = source_.raw()->block_max;
    traits.max_parallel = kAnyNumber;
    traits.format = source_.format();
    return traits;
  }
  void read_at(Op op, uint64_t offset, void* buf, uint64_t len) override {
    const Limiter::Pass pass(limiter_, op);
    source_.read_at(op, offset, buf, len);
  }
  void extents(Op op, uint64_t offset, uint64_t len, const EmitExtent& emit) override {
    const Limiter::Pass pass(limiter_, op);
    source_.extents(op, offset, len, [&](const hyper_extent& extent) {
      emit(extent.offset, extent.length, extent.flags);
    });
  }
  FileRange locate() override { return source_.locate(); }
  std::unique_ptr<Source> sibling(Op op, const std::string& name) override {
    const Limiter::Pass pass(limiter_, op);
    auto opened = open_sibling(source_, op, name);
    const SourceRef ref(opened->raw());
    return std::make_unique<LimitedSource>(ref, std::move(opened));
  }

 private:
  static constexpr uint32_t kAnyNumber = 4096;
  std::unique_ptr<OwnedSource> owned_;
  SourceRef source_;
  Limiter limiter_;
};

}  // namespace

std::unique_ptr<OwnedSource> limit_source(const SourceRef& source) {
  auto out = std::make_unique<OwnedSource>();
  export_source(std::make_unique<LimitedSource>(source, nullptr), out->out());
  return out;
}

}  // namespace hyper::disk
