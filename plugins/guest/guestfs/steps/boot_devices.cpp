// SPDX-License-Identifier: Apache-2.0
#include "plugins/guest/guestfs/steps/steps.hpp"
#include "plugins/guest/guestfs/text/mount_tables.hpp"

namespace hyperhost::guestfs {
namespace {

void add_all(GuestFiles& files, const std::string& directory, const std::string& end, BootFile kind,
             std::vector<BootPath>& out) {
  for (const std::string& name : files.list(directory))
    if (ends_in(name, end)) out.push_back({directory + "/" + name, kind});
}

void add_one(GuestFiles& files, const std::string& path, BootFile kind,
             std::vector<BootPath>& out) {
  if (files.is_file(path)) out.push_back({path, kind});
}

}  // namespace

std::vector<BootPath> boot_files(GuestFiles& files, const std::string& esp) {
  std::vector<BootPath> out;
  add_one(files, "/etc/default/grub", BootFile::kDefaults, out);
  add_all(files, "/etc/default/grub.d", ".cfg", BootFile::kDefaults, out);
  add_one(files, "/etc/kernel/cmdline", BootFile::kCmdline, out);
  for (const char* path : {"/boot/grub/grub.cfg", "/boot/grub2/grub.cfg", "/boot/grub/menu.lst",
                           "/boot/grub/grub.conf", "/boot/extlinux/extlinux.conf",
                           "/boot/syslinux/syslinux.cfg", "/boot/extlinux.conf"})
    add_one(files, path, BootFile::kMenu, out);
  for (const char* path : {"/boot/grub/grubenv", "/boot/grub2/grubenv"})
    add_one(files, path, BootFile::kGrubEnv, out);
  add_all(files, "/boot/loader/entries", ".conf", BootFile::kMenu, out);
  if (esp.empty() || esp == "/boot") return out;
  add_all(files, esp + "/loader/entries", ".conf", BootFile::kMenu, out);
  for (const std::string& vendor : files.list(esp + "/EFI")) {
    add_one(files, esp + "/EFI/" + vendor + "/grub.cfg", BootFile::kMenu, out);
    add_one(files, esp + "/EFI/" + vendor + "/grubenv", BootFile::kGrubEnv, out);
  }
  return out;
}

bool fix_device_names(Bench& bench, DeviceNames& names, const std::string& esp) {
  GuestFiles& files = bench.files();
  const std::string fstab = "/etc/fstab", crypttab = "/etc/crypttab";
  const std::string resume = "/etc/initramfs-tools/conf.d/resume";
  std::vector<BootPath> boots = boot_files(files, esp);
  for (const std::string& path : {fstab, crypttab, resume})
    names.learn(files.read(path).value_or(""));
  for (const BootPath& boot : boots) names.learn(files.read(boot.path).value_or(""));

  bench.edit(fstab, "A UUID instead of a device name",
             [&](const std::string& text) { return edit_fstab(text, names); });
  bool again = bench.edit(crypttab, "A UUID instead of a device name",
                          [&](const std::string& text) { return edit_crypttab(text, names); });
  boots.push_back({resume, BootFile::kDefaults});
  for (const BootPath& boot : boots) {
    const bool changed = bench.edit(
        boot.path, "A UUID instead of a device name",
        [&](const std::string& text) { return edit_boot_devices(text, boot.kind, names); });
    again = again || (changed && boot.path == resume);
  }
  return again;
}

void add_serial_console(Bench& bench, const std::string& esp) {
  for (const BootPath& boot : boot_files(bench.files(), esp))
    if (boot.kind != BootFile::kGrubEnv)
      bench.edit(boot.path, "A serial console",
                 [&](const std::string& text) { return add_serial_console(text, boot.kind); });
}

}  // namespace hyperhost::guestfs
