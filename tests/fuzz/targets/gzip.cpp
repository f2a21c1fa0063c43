// SPDX-License-Identifier: Apache-2.0
// A compressed file of an OVF: several members, padding, a limit.
#include <sys/mman.h>
#include <unistd.h>

#include "plugins/provider/local-ovf/gzip_reader.hpp"
#include "tests/fuzz/fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  fuzz::op();
  constexpr uint64_t kLimit = 1u << 20;
  static const int memory = ::memfd_create("compressed", MFD_CLOEXEC);
  if (::ftruncate(memory, static_cast<off_t>(size)) != 0 || ::pwrite(memory, data, size, 0) < 0)
    fuzz::fail("pwrite");
  fuzz::accepts([&] {
    auto file = hyper::ovf::File::open("/proc/self/fd/" + std::to_string(memory));
    hyper::ovf::GzipReader reader(hyper::ovf::Range({{file, 0, file->size(), "disk.gz"}}), kLimit);
    char buffer[5000];
    uint64_t read = 0;
    while (const std::size_t got = reader.read(buffer, sizeof buffer)) read += got;
    if (read > kLimit) fuzz::fail("the limit does not hold");
  });
  return 0;
}
