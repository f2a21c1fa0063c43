// SPDX-License-Identifier: Apache-2.0
// Converts one disk with the engine alone, no host around it: for benchmarks and profiles.
//   disk_convert SOURCE FORMAT TARGET REQUEST-TARGET-JSON [digest] [threads=N] [stream]
#include <cstdio>
#include <cstring>

#include "tests/support/convert_file.hpp"

int main(int argc, char** argv) {
  if (argc < 5) {
    std::fprintf(stderr,
                 "usage: %s SOURCE FORMAT TARGET TARGET-JSON [digest] [threads=N] [stream]\n",
                 argv[0]);
    return 2;
  }
  const hyper::test::TestHost host;
  hyper::test::Settings settings;
  nlohmann::json request = hyper::test::make_request(argv[2], argv[4]);
  hyper::test::SourceOptions source;
  source.format = argv[2];
  for (int i = 5; i < argc; ++i) {
    if (std::strcmp(argv[i], "digest") == 0) request["digest"] = true;
    if (std::strncmp(argv[i], "threads=", 8) == 0) settings.threads = std::stoi(argv[i] + 8);
    if (std::strcmp(argv[i], "stream") == 0) {
      source.flags = HYPER_SOURCE_STREAM;
      source.span = 256 << 10;
    }
  }
  hyper::test::TestConverter converter(settings);
  const auto done = converter.run(argv[1], argv[3], request, source);
  std::fprintf(stderr, "%s", done.said.c_str());
  std::printf("%d %s\n", done.status, done.result.dump().c_str());
  return done.status == HYPER_OK ? 0 : 1;
}
