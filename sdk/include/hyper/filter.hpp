// SPDX-License-Identifier: Apache-2.0
// Part of the C++17 face: a source or a sink over another one (nbdkit calls this next_ops). A
// filter names the calls that it changes. Every other call goes to the table below. A slot that is
// null below stays null. The filter hides abilities (get_ext). The user's close() closes the table
// below and ends the filter. A filter is as thread-safe as the table below.
//
//   struct Counted : hyper::Filter<Counted, hyper_sink> {
//     std::atomic<uint64_t> bytes{0};
//     void change(hyper_sink& table) { replace<&Counted::write_at>(table.write_at); }
//     hyper_st write_at(hyper_op* op, uint32_t flags, uint64_t offset, const void* buf,
//                       uint64_t len);
//   };
//   *sink.out() = Counted::over(sink.table());
#ifndef HYPER_FILTER_HPP
#define HYPER_FILTER_HPP

#include <cstddef>
#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>

#include "sink.h"
#include "source.hpp"

namespace hyper {
namespace detail {

template <auto... kSlots>
struct SlotList {
  static constexpr std::size_t kBytes = sizeof...(kSlots) * sizeof(void (*)());
};
/// Every function of a table except close and get_ext, and the offset of the first function. If a
/// slot were missing here, the filter's ctx would reach the table below. Filter's static_assert
/// prevents that.
template <class Table>
struct SlotsOf;
template <>
struct SlotsOf<hyper_source> {
  using List = SlotList<&hyper_source::read_at, &hyper_source::next, &hyper_source::borrow,
                        &hyper_source::release, &hyper_source::extents, &hyper_source::locate,
                        &hyper_source::sibling, &hyper_source::finish>;
  static constexpr std::size_t kBegin = offsetof(hyper_source, read_at);
};
template <>
struct SlotsOf<hyper_sink> {
  using List =
      SlotList<&hyper_sink::write_at, &hyper_sink::zero_at, &hyper_sink::path, &hyper_sink::sync,
               &hyper_sink::reopen, &hyper_sink::commit, &hyper_sink::keep>;
  static constexpr std::size_t kBegin = offsetof(hyper_sink, write_at);
};

/// Calls the same slot of the table below with the same arguments.
template <class Self, auto kSlot>
struct Forward;
template <class Self, class Table, class Result, class... Args,
          Result (*Table::*kSlot)(void*, Args...) noexcept>
struct Forward<Self, kSlot> {
  static Result call(void* ctx, Args... args) noexcept {
    auto& self = *static_cast<Self*>(ctx);
    [[maybe_unused]] const auto held = self.enter();
    return (self.below().*kSlot)(self.below().ctx, args...);
  }
};

inline hyper_op* op_of() {
  return nullptr;
}
template <class First, class... Rest>
hyper_op* op_of(First first, Rest...) {
  if constexpr (std::is_same_v<First, hyper_op*>) return first;
  return nullptr;
}

/// A member function as a slot. Its exceptions are reported.
template <auto kMethod>
struct MethodSlot;
template <class Self, class... Args, hyper_st (Self::*kMethod)(Args...)>
struct MethodSlot<kMethod> {
  static hyper_st call(void* ctx, Args... args) noexcept {
    hyper_st status = HYPER_OK;
    const hyper_st thrown =
        guard(op_of(args...), [&] { status = (static_cast<Self*>(ctx)->*kMethod)(args...); });
    return thrown == HYPER_OK ? status : thrown;
  }
};

template <class Self, class Table, auto... kSlots>
void forward_all(Table& table, SlotList<kSlots...>) {
  ((table.*kSlots = table.*kSlots == nullptr ? nullptr : &Forward<Self, kSlots>::call), ...);
}

}  // namespace detail

template <class Self, class Table>
class Filter {
  using Slots = detail::SlotsOf<Table>;
  static_assert(Slots::kBegin + Slots::List::kBytes + sizeof(Table::close) +
                        sizeof(Table::get_ext) ==
                    sizeof(Table),
                "SlotsOf names every function of the table");

 public:
  /// Returns the table to use instead of `below`. It owns `below` from now on. If the constructor
  /// of Self throws, `below` still belongs to the caller.
  template <class... Args>
  static Table over(const Table& below, Args&&... args) {
    return over(below, std::make_unique<Self>(std::forward<Args>(args)...));
  }
  static Table over(const Table& below, std::unique_ptr<Self> self) {
    self->below_ = below;
    Table table = below;
    detail::forward_all<Self>(table, typename Slots::List());
    table.size = sizeof table;
    table.close = close;
    table.get_ext = nullptr;  // a call of an ability would bypass the filter
    self->change(table);
    table.ctx = self.release();
    return table;
  }

  /// As over(), but does not close `borrowed`. Its owner keeps it open until this table is closed.
  template <class... Args>
  static Table over_borrowed(const Table* borrowed, Args&&... args) {
    Table below{};
    below.size = sizeof below;
    const uint32_t size = borrowed->size;
    std::memcpy(&below, borrowed, size < sizeof below ? size : sizeof below);
    below.close = nullptr;
    return over(below, std::forward<Args>(args)...);
  }

  /// Fills *out with a Self over the table that open(Table*) opens. Returns the status of open.
  template <class Open, class... Args>
  static hyper_st open_over(Table* out, Open open, Args&&... args) {
    Table below{};
    below.size = sizeof below;
    const hyper_st status = open(&below);
    if (status != HYPER_OK) return status;
    try {
      detail::fill_table(*out, over(below, std::forward<Args>(args)...));
    } catch (...) {
      below.close(below.ctx, nullptr);
      throw;
    }
    return HYPER_OK;
  }

  const Table& below() const { return below_; }

  /// Self may hide enter() to hold something (a lock) during each forwarded call and during the
  /// close of the table below.
  struct Nothing {};
  Nothing enter() { return {}; }
  /// Self may hide change() to replace slots and facts of the table that the user sees.
  void change(Table&) {}

 protected:
  Filter() = default;
  ~Filter() = default;
  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;

  /// Makes the slot call a member function of Self. A null slot stays null.
  template <auto kMethod, class Slot>
  static void replace(Slot& slot) {
    if (slot != nullptr) slot = &detail::MethodSlot<kMethod>::call;
  }

 private:
  static void close(void* ctx, hyper_op* op) noexcept {
    const std::unique_ptr<Self> self(static_cast<Self*>(ctx));
    [[maybe_unused]] const auto held = self->enter();
    if (self->below_.close != nullptr) self->below_.close(self->below_.ctx, op);
  }

  Table below_{};
};

}  // namespace hyper

#endif
