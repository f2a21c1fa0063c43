// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/filter/throttled_source.hpp"

#include <algorithm>
#include <hyper/filter.hpp>
#include <utility>

#include "core/plugin/operation.hpp"

namespace hyperhost {
namespace {

// A long read takes its bytes in pieces, so that a short read of another disk gets its turn
// between.
constexpr uint64_t kPiece = 64u << 10;

class Throttled final : public hyper::Filter<Throttled, hyper_source> {
 public:
  Throttled(std::shared_ptr<Bandwidth> bandwidth, bool in_place)
      : bandwidth_(std::move(bandwidth)), in_place_(in_place) {}

  void change(hyper_source& table) {
    if (!in_place_) {
      table.flags &= ~HYPER_SOURCE_FILE;
      table.locate = nullptr;
    }
    replace<&Throttled::read_at>(table.read_at);
    replace<&Throttled::next>(table.next);
    replace<&Throttled::borrow>(table.borrow);
    replace<&Throttled::sibling>(table.sibling);
  }

  hyper_st read_at(hyper_op* op, uint32_t flags, uint64_t offset, void* buffer, uint64_t length) {
    if (const hyper_st status = pay(op, length); status != HYPER_OK) return status;
    return below().read_at(below().ctx, op, flags, offset, buffer, length);
  }
  hyper_st next(hyper_op* op, uint32_t flags, hyper_span* out) {
    if (const hyper_st status = pay(op, unpaid_); status != HYPER_OK) return status;
    unpaid_ = 0;
    const hyper_st status = below().next(below().ctx, op, flags, out);
    if (status == HYPER_OK) unpaid_ = out->len;
    return status;
  }
  hyper_st borrow(hyper_op* op, uint32_t flags, uint64_t offset, uint64_t length, hyper_span* out) {
    if (const hyper_st status = pay(op, length); status != HYPER_OK) return status;
    return below().borrow(below().ctx, op, flags, offset, length, out);
  }
  hyper_st sibling(hyper_op* op, uint32_t flags, const char* name, hyper_source* out) {
    return open_over(
        out,
        [&](hyper_source* opened) { return below().sibling(below().ctx, op, flags, name, opened); },
        bandwidth_, in_place_);
  }

 private:
  hyper_st pay(hyper_op* op, uint64_t bytes) {
    if (op == nullptr) return HYPER_OK;
    const CancelSource& cancel = static_cast<Operation*>(op)->cancel();
    for (uint64_t piece = 0; bytes != 0; bytes -= piece) {
      piece = std::min(bytes, kPiece);
      if (!bandwidth_->sources().take(piece, cancel)) return HYPER_CANCELLED;
    }
    return HYPER_OK;
  }

  const std::shared_ptr<Bandwidth> bandwidth_;
  const bool in_place_;
  uint64_t unpaid_ = 0;  // bytes of a stream's last span; its length was not known before the call
};

}  // namespace

std::unique_ptr<SourceHandle> throttled(std::unique_ptr<SourceHandle> source,
                                        std::shared_ptr<Bandwidth> bandwidth, bool in_place) {
  if (bandwidth->sources().rate() != 0)
    *source->out() = Throttled::over(source->table(), std::move(bandwidth), in_place);
  return source;
}

}  // namespace hyperhost
