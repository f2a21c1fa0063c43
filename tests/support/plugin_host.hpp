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

struct hyper_cfg {
  nlohmann::json options;
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
    static const hyper_host host = {
        sizeof(hyper_host),
        HYPER_ABI_MINOR,
        [](const char* id) noexcept -> const void* {
          return extensions() ? extensions()(id) : nullptr;
        },
        [](hyper_op* op, const hyper_diag* diag) noexcept {
          if (op != nullptr) {
            const std::lock_guard lock(op->mutex);
            op->diagnostics.push_back(std::string(diag->summary) +
                                      (diag->detail ? std::string(": ") + diag->detail : ""));
            op->codes.push_back(diag->code);
          }
          return diag->code;
        },
        [](hyper_op*, int32_t, const char*, const char*) noexcept {},
        [](hyper_op* op, uint64_t done, uint64_t total, const char*) noexcept {
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
        },
        [](hyper_op* op) noexcept -> int32_t { return op->cancelled ? 1 : 0; },
        [](hyper_op* op) noexcept -> int32_t { return op->cancel_fd; },
        [](hyper_op* op, uint64_t ns) noexcept -> hyper_st {
          for (uint64_t slept = 0; slept < ns && !op->cancelled; slept += 1000000)
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
          return op->cancelled ? HYPER_CANCELLED : HYPER_OK;
        },
        [](const hyper_cfg* cfg, const char* pointer, hyper_val* out) noexcept -> hyper_st {
          const nlohmann::json::json_pointer at{std::string(pointer)};
          if (cfg == nullptr || !cfg->options.contains(at)) return HYPER_NOTFOUND;
          const nlohmann::json& value = cfg->options[at];
          if (value.is_boolean()) {
            out->type = HYPER_VAL_BOOL;
            out->i64 = value.get<bool>() ? 1 : 0;
          } else if (value.is_number_integer()) {
            out->type = HYPER_VAL_INT;
            out->i64 = value.get<int64_t>();
          } else if (value.is_string()) {
            const auto& text = value.get_ref<const std::string&>();
            out->type = HYPER_VAL_STRING;
            out->str = text.c_str();
            out->len = text.size();
          } else {
            return HYPER_NOTFOUND;
          }
          return HYPER_OK;
        },
        [](const hyper_cfg* cfg, const char*, hyper_emit emit, void* arg) noexcept -> hyper_st {
          const std::string text = cfg->options.dump();
          return emit(arg, text.data(), text.size());
        },
        [](uint64_t len) noexcept { return std::aligned_alloc(4096, (len + 4095) / 4096 * 4096); },
        [](void* buffer) noexcept { std::free(buffer); },
    };
    return host;
  }
};

}  // namespace hyper::test
