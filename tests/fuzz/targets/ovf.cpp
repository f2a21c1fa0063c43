// SPDX-License-Identifier: Apache-2.0
#include "plugins/provider/local-ovf/ovf_model.hpp"
#include "plugins/provider/local-ovf/package.hpp"
#include "tests/fuzz/fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  fuzz::op();
  const std::string text(fuzz::text_of(data, size));
  fuzz::accepts([&] {
    const hyper::ovf::OvfDocument document = hyper::ovf::parse_ovf(text, "vm.ovf");
    for (const auto& entry : document.files)
      fuzz::accepts([&] {
        hyper::ovf::check_inside(hyper::ovf::percent_decoded(entry.second.href), "vm.ovf");
      });
  });
  return 0;
}
