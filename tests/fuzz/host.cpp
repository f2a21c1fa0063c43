// SPDX-License-Identifier: Apache-2.0
#include <sys/eventfd.h>

#include <cstdio>
#include <cstdlib>

#include "core/plugin/documents.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace fuzz {
namespace {

const hyper_host& host_table() {
  static const hyper_host table = [] {
    hyper_host host{};
    host.size = sizeof host;
    host.abi_minor = HYPER_ABI_MINOR;
    host.get_ext = [](const char*) noexcept -> const void* { return nullptr; };
    host.report = [](hyper_op*, const hyper_diag* diag) noexcept -> hyper_st { return diag->code; };
    host.log = [](hyper_op*, int32_t, const char*, const hyper_doc*) noexcept {};
    host.progress = [](hyper_op*, uint64_t, uint64_t, const char*) noexcept {};
    host.cancelled = [](hyper_op*) noexcept -> int32_t { return 0; };
    host.cancel_fd = [](hyper_op*) noexcept -> int32_t {
      static const int never = ::eventfd(0, EFD_CLOEXEC);
      return never;
    };
    host.sleep = [](hyper_op*, uint64_t) noexcept -> hyper_st { return HYPER_OK; };
    host.buf_alloc = [](uint64_t length) noexcept -> void* {
      return length > kMostMemory ? nullptr
                                  : std::aligned_alloc(4096, (length + 4095) / 4096 * 4096);
    };
    host.buf_free = [](void* buffer) noexcept { std::free(buffer); };
    hyperhost::add_document_calls(host);
    return host;
  }();
  return table;
}

}  // namespace

hyper::Op op() {
  hyper::detail::host_slot() = &host_table();
  return hyper::Op(nullptr);
}

void fail(const std::string& what) {
  std::fprintf(stderr, "fuzz: %s\n", what.c_str());
  std::abort();
}

std::vector<std::string> parts_of(std::string_view text, std::string_view line) {
  std::vector<std::string> parts(1);
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view one = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    if (one == line)
      parts.emplace_back();
    else
      parts.back().append(one).append(end == std::string_view::npos ? "" : "\n");
  }
  return parts;
}

}  // namespace fuzz
