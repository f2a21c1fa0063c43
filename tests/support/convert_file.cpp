// SPDX-License-Identifier: Apache-2.0
#include "tests/support/convert_file.hpp"

#include "convert.hpp"

namespace hyper::test {
namespace {
hyper_st take(void* arg, const char* json, uint64_t len) noexcept {
  static_cast<Converted*>(arg)->result = nlohmann::json::parse(json, json + len, nullptr, false);
  return HYPER_OK;
}
}  // namespace

TestConverter::TestConverter(const Settings& settings)
    : table_(static_cast<const hyper_converter*>(Converter<disk::ParallelDisk>::table())) {
  const hyper_doc config{{{"threads", settings.threads},
                          {"memory", settings.memory},
                          {"strict_deflate", settings.strict_deflate},
                          {"allow_backing", settings.allow_backing}}};
  hyper_op op;
  check(table_->open(&op, 0, &config, &self_));
}

TestConverter::~TestConverter() {
  table_->close(self_, nullptr);
}

Converted TestConverter::plan(const nlohmann::json& request) {
  hyper_op op;
  Converted done;
  const hyper_doc document{request};
  done.status = table_->plan(self_, &op, 0, &document, &take, &done);
  done.said = op.all();
  return done;
}

Converted TestConverter::run(const std::string& from, const std::string& to,
                             const nlohmann::json& request, const SourceOptions& source_options,
                             const SinkOptions& sink_options, hyper_op* use) {
  hyper_op own;
  hyper_op* op = use == nullptr ? &own : use;
  OwnedSource source;
  export_source(std::make_unique<FileSource>(from, source_options), source.out());
  Converted done;
  auto file = std::make_unique<FileSink>(to, sink_options);
  FileSink* sink_file = file.get();
  const OwnedSink sink(std::move(file));
  const hyper_doc document{request};
  done.status = table_->convert(self_, op, 0, &document, source.raw(), sink.raw(), &take, &done);
  if (done.status == HYPER_OK)
    sink_file->commit(Op(op), done.result["bytes_written"].get<uint64_t>());
  done.said = op->all();
  return done;
}

nlohmann::json make_request(const std::string& from, const std::string& target, bool digest) {
  nlohmann::json request;
  request["source"]["format"] = from;
  request["target"] = nlohmann::json::parse(target);
  request["digest"] = digest;
  return request;
}

}  // namespace hyper::test
