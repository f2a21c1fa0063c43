// SPDX-License-Identifier: Apache-2.0
// The checksums beside an OVF.
#include "plugins/provider/local-ovf/digest.hpp"
#include "tests/fuzz/fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  fuzz::op();
  const std::string text(fuzz::text_of(data, size));
  fuzz::accepts([&] {
    const hyper::ovf::Manifest manifest(text, "vm.mf");
    manifest.find("disk.vmdk");
    manifest.find("a%20b.vmdk");
  });
  return 0;
}
