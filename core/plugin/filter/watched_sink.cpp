// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/filter/watched_sink.hpp"

#include <hyper/filter.hpp>
#include <utility>

namespace hyperhost {
namespace {

struct Watched final : hyper::Filter<Watched, hyper_sink> {
  explicit Watched(std::function<void(uint64_t)> watcher) : on_written(std::move(watcher)) {}
  void change(hyper_sink& table) { replace<&Watched::write_at>(table.write_at); }
  hyper_st write_at(hyper_op* op, uint32_t flags, uint64_t offset, const void* buf, uint64_t len) {
    const hyper_st status = below().write_at(below().ctx, op, flags, offset, buf, len);
    if (status == HYPER_OK) on_written(len);
    return status;
  }
  const std::function<void(uint64_t)> on_written;
};

}  // namespace

hyper_sink watched(const hyper_sink& table, std::function<void(uint64_t bytes)> on_written) {
  return Watched::over(table, std::move(on_written));
}

}  // namespace hyperhost
