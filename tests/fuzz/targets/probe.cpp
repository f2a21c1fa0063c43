// SPDX-License-Identifier: Apache-2.0
// What is this? Asked of the image reader and of the OVF provider, who look at the same bytes.
#include <algorithm>

#include "image_source.hpp"
#include "plugins/provider/local-ovf/disk_probe.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "tests/fuzz/image.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  fuzz::op();
  const fuzz::SparseFile file(data, size);
  const auto source = fuzz::open_source(file);
  fuzz::accepts([&] { hyper::disk::ImageReader::probe(hyper::Doc(), fuzz::op(), *source); });
  hyper::ovf::Peek peek;
  peek.name = "disk";
  peek.size = file.length();
  peek.whole = size % 2 == 0;
  peek.read = [&](uint64_t offset, void* buffer, std::size_t len) -> std::size_t {
    if (offset >= file.length()) return 0;
    len = static_cast<std::size_t>(std::min<uint64_t>(len, file.length() - offset));
    file.read(offset, buffer, len);
    return len;
  };
  fuzz::accepts([&] { hyper::ovf::probe_disk(peek); });
  return 0;
}
