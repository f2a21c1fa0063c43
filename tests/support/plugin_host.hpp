// SPDX-License-Identifier: Apache-2.0
// A host for tests of plugins without the core: options from JSON, diagnostics kept, cancel at
// will. One TestHost at a time; it is the host of the plugin code linked into the test.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include <hyper/op.hpp>

#include "core/plugin/documents.hpp"

struct hyper_op {
  std::mutex mutex;
  std::vector<std::string> diagnostics;  // "summary: detail"
  std::vector<int32_t> codes;
  uint64_t done = 0, total = 0;
  bool went_back = false, exceeded = false;
  std::atomic<bool> cancelled{false};
  std::function<void(uint64_t)> on_progress;
  int cancel_fd = ::eventfd(0, EFD_CLOEXEC);
  ~hyper_op() { ::close(cancel_fd); }
  void cancel() {
    cancelled = true;
    ::eventfd_write(cancel_fd, 1);
  }
  std::string all() {
    const std::lock_guard lock(mutex);
    std::string text;
    for (const std::string& line : diagnostics) text += line + "\n";
    return text;
  }
};

namespace hyper::test {

class TestHost {
 public:
  TestHost() { detail::host_slot() = &table(); }
  ~TestHost() { detail::host_slot() = nullptr; }
  TestHost(const TestHost&) = delete;
  TestHost& operator=(const TestHost&) = delete;

  /// The host's extensions; none by default.
  static std::function<const void*(const char* id)>& extensions() {
    static std::function<const void*(const char*)> function;
    return function;
  }

  static const hyper_host& table() {
    static const hyper_host host = [] {
      hyper_host table{};
      table.size = sizeof table;
      table.abi_minor = HYPER_ABI_MINOR;
      table.get_ext = [](const char* id) noexcept -> const void* {
        return extensions() ? extensions()(id) : nullptr;
      };
      table.report = [](hyper_op* op, const hyper_diag* diag) noexcept {
        if (op != nullptr) {
          const std::lock_guard lock(op->mutex);
          op->diagnostics.push_back(std::string(diag->summary) +
                                    (diag->detail ? std::string(": ") + diag->detail : ""));
          op->codes.push_back(diag->code);
        }
        return diag->code;
      };
      table.log = [](hyper_op*, int32_t, const char*, const hyper_doc*) noexcept {};
      table.progress = [](hyper_op* op, uint64_t done, uint64_t total, const char*) noexcept {
        std::function<void(uint64_t)> tell;
        {
          const std::lock_guard lock(op->mutex);
          op->went_back = op->went_back || done < op->done;
          op->exceeded = op->exceeded || done > total;
          op->done = done;
          op->total = total;
          tell = op->on_progress;
        }
        if (tell) tell(done);
      };
      table.cancelled = [](hyper_op* op) noexcept -> int32_t {
        return op != nullptr && op->cancelled ? 1 : 0;
      };
      table.cancel_fd = [](hyper_op* op) noexcept -> int32_t { return op->cancel_fd; };
      table.sleep = [](hyper_op* op, uint64_t ns) noexcept -> hyper_st {
        for (uint64_t slept = 0; slept < ns && !op->cancelled; slept += 1000000)
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
        return op->cancelled ? HYPER_CANCELLED : HYPER_OK;
      };
      table.buf_alloc = [](uint64_t len) noexcept {
        return std::aligned_alloc(4096, (len + 4095) / 4096 * 4096);
      };
      table.buf_free = [](void* buffer) noexcept { std::free(buffer); };
      hyperhost::add_document_calls(table);
      return table;
    }();
    return host;
  }
};

}  // namespace hyper::test
