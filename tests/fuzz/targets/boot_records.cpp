// SPDX-License-Identifier: Apache-2.0
// What a guest recorded of its boots: the bytes as a file of systemd's journal and as wtmp.
#include "plugins/guest/guestfs/text/boot_records.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {

void check(const std::string& shown) {
  if (shown.size() > 200) fuzz::fail("a text of the guest is too long");
  for (const char c : shown)
    if (c < 0x20 || c > 0x7e) fuzz::fail("a text of the guest is not printable");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  using namespace hyperhost::guestfs;
  const std::string_view bytes = fuzz::text_of(data, size);
  check(last_boot_id(bytes));
  const Journal journal = read_journal(bytes);
  for (const JournalBoot& boot : journal.boots)
    if (boot.id.size() != 32 || boot.entries == 0) fuzz::fail("a boot without an id or an entry");
  for (const std::string& unit : journal.failed_units) check(unit);
  for (const std::string& text : journal.checks) check(text);
  for (const WtmpBoot& boot : read_wtmp(bytes)) check(boot.kernel);
  return 0;
}
