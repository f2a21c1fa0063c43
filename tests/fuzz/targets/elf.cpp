// SPDX-License-Identifier: Apache-2.0
// A plugin's file before any of its code runs.
#include <sys/mman.h>
#include <unistd.h>

#include "core/base/diagnostic.hpp"
#include "core/plugin/elf_section.hpp"
#include "tests/fuzz/fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  static const int memory = ::memfd_create("plugin", MFD_CLOEXEC);
  if (::ftruncate(memory, static_cast<off_t>(size)) != 0 || ::pwrite(memory, data, size, 0) < 0)
    fuzz::fail("pwrite");
  try {
    hyperhost::read_elf_section("/proc/self/fd/" + std::to_string(memory), ".hyper_manifest");
  } catch (const hyperhost::Error&) {  // the way to refuse it
  }
  return 0;
}
