// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/filter/counted_source.hpp"

#include <hyper/filter.hpp>
#include <utility>

namespace hyperhost {
namespace {

class Counted final : public hyper::Filter<Counted, hyper_source> {
 public:
  explicit Counted(std::shared_ptr<ReadCount> count) : count_(std::move(count)) {}

  void change(hyper_source& table) {
    replace<&Counted::read_at>(table.read_at);
    replace<&Counted::next>(table.next);
    replace<&Counted::borrow>(table.borrow);
    replace<&Counted::locate>(table.locate);
    replace<&Counted::sibling>(table.sibling);
  }

  hyper_st read_at(hyper_op* op, uint32_t flags, uint64_t offset, void* buffer, uint64_t length) {
    return counted(below().read_at(below().ctx, op, flags, offset, buffer, length), length);
  }
  hyper_st next(hyper_op* op, uint32_t flags, hyper_span* out) {
    const hyper_st status = below().next(below().ctx, op, flags, out);
    return counted(status, status == HYPER_OK ? out->len : 0);
  }
  hyper_st borrow(hyper_op* op, uint32_t flags, uint64_t offset, uint64_t length, hyper_span* out) {
    return counted(below().borrow(below().ctx, op, flags, offset, length, out), length);
  }
  hyper_st locate(hyper_op* op, uint32_t flags, hyper_file_range* out) {
    count_->located = true;
    return below().locate(below().ctx, op, flags, out);
  }
  hyper_st sibling(hyper_op* op, uint32_t flags, const char* name, hyper_source* out) {
    return open_over(
        out,
        [&](hyper_source* opened) { return below().sibling(below().ctx, op, flags, name, opened); },
        count_);
  }

 private:
  hyper_st counted(hyper_st status, uint64_t bytes) {
    if (status == HYPER_OK) count_->bytes.fetch_add(bytes, std::memory_order_relaxed);
    return status;
  }

  const std::shared_ptr<ReadCount> count_;
};

}  // namespace

void count_reads(SourceHandle& source, std::shared_ptr<ReadCount> count) {
  *source.out() = Counted::over(source.table(), std::move(count));
}

}  // namespace hyperhost
