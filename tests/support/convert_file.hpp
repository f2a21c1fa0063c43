// SPDX-License-Identifier: Apache-2.0
// One conversion from a file to a file through the converter's table, as a host does it.
#pragma once

#include <memory>
#include <string>

#include <hyper/interfaces.hpp>

#include "tests/support/file_disk.hpp"
#include "tests/support/plugin_host.hpp"

namespace hyper::test {

struct Converted {
  hyper_st status = HYPER_OK;
  nlohmann::json result;
  std::string said;  ///< all diagnostics
};

struct Settings {
  int threads = 0;
  int64_t memory = 0;
  bool strict_deflate = false;
  bool allow_backing = false;
};

class TestConverter {
 public:
  explicit TestConverter(const Settings& settings = {});
  ~TestConverter();
  TestConverter(const TestConverter&) = delete;
  TestConverter& operator=(const TestConverter&) = delete;

  Converted plan(const nlohmann::json& request);
  Converted run(const std::string& from, const std::string& to, const nlohmann::json& request,
                const SourceOptions& source_options = {}, const SinkOptions& sink_options = {},
                hyper_op* use = nullptr);

 private:
  const hyper_converter* table_;
  void* self_ = nullptr;
};

/// A request from a source format and the target's JSON.
nlohmann::json make_request(const std::string& from, const std::string& target,
                            bool digest = false);

}  // namespace hyper::test
