// SPDX-License-Identifier: Apache-2.0
#include "plugins/guest/guestfs/steps/steps.hpp"

namespace hyperhost::guestfs {
namespace {

/// A vendor's directory of the ESP and the loader in it that firmware should start.
struct Loader {
  std::string directory, file;
};

std::vector<Loader> loaders_of(GuestFiles& files, const std::string& esp) {
  std::vector<Loader> out;
  for (const std::string& vendor : files.list(esp + "/EFI")) {
    if (vendor == "BOOT" || vendor == "boot" || vendor == "Boot" || vendor == "tools") continue;
    const std::string directory = esp + "/EFI/" + vendor + "/";
    for (const char* file : {"shimx64.efi", "grubx64.efi", "systemd-bootx64.efi", "elilo.efi"})
      if (files.is_file(directory + file)) {
        out.push_back({directory, file});
        break;
      }
  }
  return out;
}

}  // namespace

void add_fallback_loader(Bench& bench, const std::string& esp, const std::string& distro) {
  GuestFiles& files = bench.files();
  const std::string fallback = esp + "/EFI/BOOT/";
  if (files.is_file(fallback + "BOOTX64.EFI")) return;
  const std::vector<Loader> loaders = loaders_of(files, esp);
  if (loaders.empty()) {
    bench.found({Finding::Severity::kError,
                 "boot.no-loader",
                 "The EFI system partition holds no boot loader",
                 esp + "/EFI",
                 {}});
    return;
  }
  Loader loader = loaders.front();
  for (const Loader& one : loaders)
    if (one.directory == esp + "/EFI/" + distro + "/") loader = one;
  const std::string rule = "boot.efi-fallback";
  if (!bench.writes()) {
    bench.found({Finding::Severity::kError,
                 rule,
                 "Only a boot entry in the old machine's firmware names the boot loader",
                 loader.directory + loader.file,
                 {},
                 true});
    return;
  }
  const std::string what = "The boot loader where firmware without boot entries looks";
  bench.copy(loader.directory + loader.file, fallback + "BOOTX64.EFI", rule, what);
  if (loader.file != "shimx64.efi") return;
  for (const char* file : {"grubx64.efi", "mmx64.efi"})  // shim starts them from its own directory
    if (files.is_file(loader.directory + file))
      bench.copy(loader.directory + file, fallback + file, rule, what);
}

}  // namespace hyperhost::guestfs
