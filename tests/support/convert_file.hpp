// SPDX-License-Identifier: Apache-2.0
// One conversion from a file to a file through the converter's table, as a host does it.
#pragma once

#include <memory>
#include <string>

#include <hyper/interfaces.hpp>

#include "convert.hpp"
#include "tests/support/file_disk.hpp"
#include "tests/support/plugin_host.hpp"

namespace hyper::test {

struct Converted {
  hyper_st status = HYPER_OK;
  nlohmann::json result;
  std::string said;  ///< all diagnostics
};

class TestConverter {
 public:
  explicit TestConverter(const nlohmann::json& options = nlohmann::json::object())
      : table_(static_cast<const hyper_converter*>(Converter<disk::ParallelDisk>::table())) {
    const hyper_cfg config{options};
    hyper_op op;
    check(table_->open(&config, &op, &self_));
  }
  ~TestConverter() { table_->close(self_); }
  TestConverter(const TestConverter&) = delete;
  TestConverter& operator=(const TestConverter&) = delete;

  Converted plan(const nlohmann::json& request) {
    hyper_op op;
    Converted done;
    done.status = table_->plan(self_, &op, request.dump().c_str(), &take, &done);
    done.said = op.all();
    return done;
  }

  Converted run(const std::string& from, const std::string& to, const nlohmann::json& request,
                const SourceOptions& source_options = {}, const SinkOptions& sink_options = {},
                hyper_op* use = nullptr) {
    hyper_op own;
    hyper_op* op = use == nullptr ? &own : use;
    OwnedSource source;
    export_source(std::make_unique<FileSource>(from, source_options), source.out());
    Converted done;
    auto file = std::make_unique<FileSink>(to, sink_options);
    FileSink* sink_file = file.get();
    const OwnedSink sink(std::move(file));
    done.status =
        table_->convert(self_, op, request.dump().c_str(), source.raw(), sink.raw(), &take, &done);
    if (done.status == HYPER_OK)
      sink_file->commit(Op(op), done.result["bytes_written"].get<uint64_t>());
    done.said = op->all();
    return done;
  }

 private:
  static hyper_st take(void* arg, const char* json, uint64_t len) noexcept {
    static_cast<Converted*>(arg)->result = nlohmann::json::parse(json, json + len, nullptr, false);
    return HYPER_OK;
  }
  const hyper_converter* table_;
  void* self_ = nullptr;
};

}  // namespace hyper::test
