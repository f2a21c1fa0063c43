// SPDX-License-Identifier: Apache-2.0
// A small host for testing plugins without the core: services of hyper_host, an operation that
// collects what is reported and can be cancelled, options from JSON, and "hyper.spawn/1" over
// posix_spawn. One TestHost at a time; it is the host of every plugin linked into the test.
#ifndef HYPERHOST_TESTS_SUPPORT_QEMU_TEST_HOST_HPP
#define HYPERHOST_TESTS_SUPPORT_QEMU_TEST_HOST_HPP

#include <hyper/hyper.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <hyper/op.hpp>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/plugin/documents.hpp"

namespace test_host {

struct Diag {
  int32_t severity = 0;
  hyper_st code = 0;
  bool retryable = false;
  std::string summary, detail, hint, path;
};

/// An operation. Thread-safe.
class Operation {
 public:
  Operation();
  ~Operation();
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;

  hyper_op* raw() { return reinterpret_cast<hyper_op*>(this); }
  hyper::Op op() { return hyper::Op(raw()); }
  void cancel();
  bool cancelled() const { return cancelled_; }
  int cancel_fd() const { return cancel_fd_; }
  void report(const hyper_diag& diag);
  void progress(uint64_t done, uint64_t total);

  std::vector<Diag> diags() const;
  /// The texts of all diagnostics, for messages of failed tests.
  std::string text() const;
  std::vector<std::pair<uint64_t, uint64_t>> progress_seen() const;

  /// Called on each progress report, on the plugin's thread.
  std::function<void(uint64_t done)> on_progress;

 private:
  mutable std::mutex mutex_;
  std::vector<Diag> diags_;
  std::vector<std::pair<uint64_t, uint64_t>> progress_;
  std::atomic<bool> cancelled_{false};
  int cancel_fd_ = -1;
};

/// Options for a plugin.
class Options {
 public:
  explicit Options(nlohmann::json document) : document_{std::move(document)} {}
  hyper::Doc config() const { return hyper::Doc(raw()); }
  const hyper_doc* raw() const { return &document_; }
  const nlohmann::json& document() const { return document_.json; }

 private:
  hyper_doc document_;
};

/// Installs the host's table for the plugins linked in.
class TestHost {
 public:
  TestHost();
  ~TestHost();
  static const hyper_host& table();
  /// The process id of the child that runs now, 0 if none: to be killed by a test.
  static pid_t child();
  static void set_spawn(bool offered);
};

/// A directory removed at the end.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  std::filesystem::path path() const { return path_; }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  /// Names in it, hidden ones included, sorted.
  std::vector<std::string> names() const;

 private:
  std::filesystem::path path_;
};

std::string read_file(const std::string& path);
void write_file(const std::string& path, const std::string& bytes);

/// Skips the running test; fails it under CI=true.
#define SKIP_OR_FAIL(reason)                                                     \
  do {                                                                           \
    const char* ci = std::getenv("CI");                                          \
    if (ci != nullptr && std::string(ci) == "true") FAIL() << reason << " (CI)"; \
    GTEST_SKIP() << reason;                                                      \
  } while (false)

}  // namespace test_host

#endif
