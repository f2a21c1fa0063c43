// SPDX-License-Identifier: Apache-2.0
// What a guest shows in a boot check: bytes of its consoles in pieces, a text screen, registers.
#include "plugins/boot/qemu-boot/evidence.hpp"
#include "tests/fuzz/fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  using namespace hyperhost::qemu_boot;
  const std::string_view text = fuzz::text_of(data, size);
  const std::size_t piece = size == 0 ? 1 : 1 + data[0] % 97;
  Evidence evidence({"ready"});
  uint64_t ms = 0;
  for (std::size_t at = 0; at < size; at += piece, ++ms)
    evidence.feed(static_cast<Channel>(ms % 3), text.substr(at, piece), ms);
  evidence.screen(text_rows(text), ++ms);
  evidence.registers(std::string(text), ++ms);
  const auto check = [](const std::string& shown, std::size_t most) {
    if (shown.size() > most) fuzz::fail("a text of the guest is too long");
    for (const char c : shown)
      if ((c < 0x20 || c > 0x7e) && c != '\n') fuzz::fail("a text of the guest is not printable");
  };
  check(evidence.tail(), ConsoleText::kTail);
  check(evidence.failure(), 1024);
  for (const Reached& one : evidence.reached()) check(one.evidence, 1024);
  return 0;
}
