// SPDX-License-Identifier: Apache-2.0
// Azure's answers: lists, blocks, properties, errors.
#include "plugins/storage/azure-blob/block_blobs.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "tests/fuzz/loopback.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  fuzz::op();
  fuzz::LoopbackServer& server = fuzz::LoopbackServer::instance();
  server.answer_with(fuzz::text_of(data, size));
  hyper::azure::Settings settings;
  settings.account.name = "account";
  settings.account.endpoint = server.url();
  settings.account.sas = "sig=x";
  settings.container = "container";
  settings.http = server.settings();
  hyper::azure::BlockBlobs blobs(settings);
  hyper::object::PutSpec spec;
  spec.key = "disk";
  fuzz::accepts([&] { blobs.list(fuzz::op(), "d", [](const hyper::object::ObjectInfo&) {}); });
  fuzz::accepts([&] { blobs.parts(fuzz::op(), spec, {{"blob", "block"}}); });
  fuzz::accepts([&] {
    const auto object = blobs.head(fuzz::op(), "disk");
    char bytes[16];
    if (object) blobs.read(fuzz::op(), *object, 0, bytes, sizeof bytes);
  });
  fuzz::accepts([&] { blobs.put(fuzz::op(), spec, "content"); });
  return 0;
}
