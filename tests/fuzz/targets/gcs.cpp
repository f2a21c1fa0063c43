// SPDX-License-Identifier: Apache-2.0
// Google's answers: lists, parts, properties, sessions of uploads.
#include "plugins/storage/gcs/gcs_service.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "tests/fuzz/loopback.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  fuzz::op();
  fuzz::LoopbackServer& server = fuzz::LoopbackServer::instance();
  server.answer_with(fuzz::text_of(data, size));
  hyper::gcs::Settings settings;
  settings.endpoint = server.url();
  settings.bucket = "bucket";
  settings.http = server.settings();
  hyper::gcs::GcsService service(settings,
                                 std::make_unique<hyper::gcs::GoogleAuth>("", true, settings.http));
  hyper::object::PutSpec spec;
  spec.key = "disk";
  fuzz::accepts([&] { service.list(fuzz::op(), "d", [](const hyper::object::ObjectInfo&) {}); });
  fuzz::accepts([&] { service.parts(fuzz::op(), spec, {{"prefix", "disk.part/"}}); });
  fuzz::accepts([&] {
    const auto object = service.head(fuzz::op(), "disk");
    char bytes[16];
    if (object) service.read(fuzz::op(), *object, 0, bytes, sizeof bytes);
  });
  fuzz::accepts([&] { service.put(fuzz::op(), spec, "content"); });
  return 0;
}
