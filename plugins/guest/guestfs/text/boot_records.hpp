// SPDX-License-Identifier: Apache-2.0
// What a Linux guest records of its boots: systemd's journal and wtmp, as bytes. Both are hostile:
// whatever they are, nothing outside of them is read, and what is returned is bounded printable
// ASCII. Stateless.
#ifndef HYPERHOST_GUESTFS_BOOT_RECORDS_HPP
#define HYPERHOST_GUESTFS_BOOT_RECORDS_HPP

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hyperhost::guestfs {

/// A boot of which a journal has entries.
struct JournalBoot {
  std::string id;  ///< 32 hexadecimal digits
  uint64_t since_us = 0, entries = 0;
};

struct Journal {
  std::vector<JournalBoot> boots;         ///< in the order of their first entries
  std::vector<std::string> failed_units;  ///< of the last boot
  std::vector<std::string> checks;        ///< what fsck wrote in the last boot
};

/// Bytes at the begin of a journal file that last_boot_id() looks at.
constexpr std::size_t kJournalHeader = 88;

/// The boot of a journal file's last entry; "" if it is no journal or has no entry.
std::string last_boot_id(std::string_view header);

/// A whole journal file (systemd 189 and newer). Stops where the file makes no sense.
Journal read_journal(std::string_view file);

struct WtmpBoot {
  uint64_t at_us = 0;
  std::string kernel;
};

/// Bytes of a record of wtmp.
constexpr std::size_t kWtmpRecord = 384;

/// The boots among whole records of wtmp, in their order.
std::vector<WtmpBoot> read_wtmp(std::string_view records);

}  // namespace hyperhost::guestfs

#endif
