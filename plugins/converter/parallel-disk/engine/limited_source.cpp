// SPDX-License-Identifier: Apache-2.0
#include "engine/limited_source.hpp"

#include <optional>

#include <hyper/filter.hpp>

#include "engine/limiter.hpp"

namespace hyper::disk {
namespace {

class LimitedSource final : public Filter<LimitedSource, hyper_source> {
 public:
  void change(hyper_source& table) {
    limiter_.emplace(table.max_parallel);
    table.flags &=
        HYPER_SOURCE_SEEK | HYPER_SOURCE_EXTENTS | HYPER_SOURCE_FILE | HYPER_SOURCE_SIBLING;
    table.next = nullptr;
    table.borrow = nullptr;
    table.release = nullptr;
    table.max_parallel = kAnyNumber;
    replace<&LimitedSource::read_at>(table.read_at);
    replace<&LimitedSource::extents>(table.extents);
    replace<&LimitedSource::sibling>(table.sibling);
  }
  hyper_st read_at(hyper_op* op, uint32_t flags, uint64_t offset, void* buf, uint64_t len) {
    const Limiter::Pass pass(*limiter_, Op(op));
    return below().read_at(below().ctx, op, flags, offset, buf, len);
  }
  hyper_st extents(hyper_op* op, uint32_t flags, uint64_t offset, uint64_t len,
                   hyper_emit_extent emit, void* arg) {
    const Limiter::Pass pass(*limiter_, Op(op));
    return below().extents(below().ctx, op, flags, offset, len, emit, arg);
  }
  hyper_st sibling(hyper_op* op, uint32_t flags, const char* name, hyper_source* out) {
    const Limiter::Pass pass(*limiter_, Op(op));
    return open_over(out, [&](hyper_source* opened) {
      return below().sibling(below().ctx, op, flags, name, opened);
    });
  }

 private:
  static constexpr uint32_t kAnyNumber = 4096;
  std::optional<Limiter> limiter_;
};

}  // namespace

std::unique_ptr<OwnedSource> limit_source(const SourceRef& source) {
  auto out = std::make_unique<OwnedSource>();
  *out->out() = LimitedSource::over_borrowed(source.raw());
  return out;
}

}  // namespace hyper::disk
