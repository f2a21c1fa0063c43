// SPDX-License-Identifier: Apache-2.0
// A file of a guest's /etc or /boot, as each of its readers may get it.
#include "plugins/guest/guestfs/text/boot_args.hpp"
#include "plugins/guest/guestfs/text/device_names.hpp"
#include "plugins/guest/guestfs/text/mount_tables.hpp"
#include "plugins/guest/guestfs/text/nic_names.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {

using namespace hyperhost::guestfs;

/// What is changed stays one line.
void check(const Edit& edit) {
  for (const Change& change : edit.changes)
    if (change.after.find('\n') != std::string::npos) fuzz::fail("a changed line became several");
}

void edit_all(std::string_view text) {
  DeviceNames names(
      {{0, 0, "/dev/sda", "", "", "", ""},
       {0, 1, "/dev/sda1", "ext4", "5a6d1f0e-0b5e-4c57-9a3a-000000000001", "root", "12345678-01"},
       {1, 1, "/dev/sdb1", "swap", "5a6d1f0e-0b5e-4c57-9a3a-000000000002", "", ""}},
      2);
  names.learn(text);
  check(edit_fstab(text, names));
  check(edit_crypttab(text, names));
  for (const BootFile file :
       {BootFile::kMenu, BootFile::kDefaults, BootFile::kGrubEnv, BootFile::kCmdline}) {
    check(edit_boot_devices(text, file, names));
    check(add_serial_console(text, file));
  }
  for (const Mount& mount : mounts_of(text))
    static_cast<void>(mount_option(mount.options, "subvol"));
  static_cast<void>(boot_arg(first_command_line(text), "root"));
}

/// A name that goes into a rule of the guest's is a name and nothing more.
void plan_all(std::string_view text) {
  for (const auto& uses : {ifupdown_nics(text), netplan_nics(text), network_manager_nics(text),
                           networkd_nics(text), ifcfg_nics(text, "ifcfg-eth0")})
    for (const NicName& nic : plan_nics(uses, {"00:50:56:ab:10:01", "00:50:56:ab:10:02"}).names)
      if (nic.name.find_first_of("\n\"/ ") != std::string::npos || mac_of(nic.mac) != nic.mac)
        fuzz::fail("a name of an adapter has what no name has");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  fuzz::op();
  const std::string_view text = fuzz::text_of(data, size);
  fuzz::accepts([&] {
    edit_all(text);
    plan_all(text);
  });
  return 0;
}
