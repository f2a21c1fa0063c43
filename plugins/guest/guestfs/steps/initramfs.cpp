// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <hyper/error.hpp>

#include "plugins/guest/guestfs/steps/steps.hpp"

namespace hyperhost::guestfs {
namespace {

enum class Maker { kInitramfsTools, kDracut, kMkinitcpio, kNone };

std::string first_program(GuestFiles& files, const std::string& name) {
  for (const char* directory : {"/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/"})
    if (files.is_file(directory + name)) return directory + name;
  return {};
}

Maker maker_of(GuestFiles& files) {
  if (!first_program(files, "update-initramfs").empty() &&
      !first_program(files, "mkinitramfs").empty())
    return Maker::kInitramfsTools;
  if (!first_program(files, "dracut").empty()) return Maker::kDracut;
  if (!first_program(files, "mkinitcpio").empty()) return Maker::kMkinitcpio;
  return Maker::kNone;
}

/// Whether a list of paths has the module, compressed or not. Modules spell '-' and '_' alike.
bool lists_module(const std::string& paths, const std::string& module) {
  std::string other = module;
  std::replace(other.begin(), other.end(), '_', '-');
  for (const std::string& name : {module, other})
    if (paths.find("/" + name + ".ko") != std::string::npos) return true;
  return false;
}

std::string modules_directory(GuestFiles& files) {
  return files.is_directory("/usr/lib/modules") ? "/usr/lib/modules" : "/lib/modules";
}

std::string content_of(GuestFiles& files, Maker maker, const std::string& image) {
  const char* program = maker == Maker::kInitramfsTools ? "lsinitramfs"
                        : maker == Maker::kDracut       ? "lsinitrd"
                                                        : "lsinitcpio";
  return files.run({program, image});
}

/// Of the modules, those that the kernel has as modules and its initramfs has not.
std::vector<std::string> missing(GuestFiles& files, Maker maker, const Kernel& kernel,
                                 const std::vector<std::string>& modules) {
  const std::string built_in =
      files.read(modules_directory(files) + "/" + kernel.version + "/modules.builtin").value_or("");
  const std::string inside = content_of(files, maker, kernel.initramfs);
  std::vector<std::string> out;
  for (const std::string& module : modules)
    if (!lists_module(built_in, module) && !lists_module(inside, module)) out.push_back(module);
  return out;
}

/// Whether the kernel can drive the machine at all.
bool offers(GuestFiles& files, const Kernel& kernel, const std::vector<std::string>& modules) {
  const std::string directory = modules_directory(files) + "/" + kernel.version;
  const std::string all = files.read(directory + "/modules.dep").value_or("") +
                          files.read(directory + "/modules.builtin").value_or("");
  // modules.dep has paths from the directory: "kernel/drivers/block/virtio_blk.ko: …".
  return std::all_of(modules.begin(), modules.end(),
                     [&](const std::string& module) { return lists_module(all, module); });
}

/// MODULES= of initramfs-tools: the last assignment holds.
std::string modules_setting(GuestFiles& files) {
  std::vector<std::string> paths = {"/etc/initramfs-tools/initramfs.conf"};
  for (const std::string& name : files.list("/etc/initramfs-tools/conf.d"))
    paths.push_back("/etc/initramfs-tools/conf.d/" + name);
  std::string setting = "most";
  for (const std::string& path : paths)
    for (const std::string& line : lines_of(files.read(path).value_or("")))
      if (const std::string text = trimmed(line); text.compare(0, 8, "MODULES=") == 0)
        setting = text.substr(8);
  return setting;
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : " ") + word;
  return out;
}

/// Asks the maker for the modules whenever it makes an image, also after a kernel's update.
void configure(Bench& bench, Maker maker, const std::vector<std::string>& modules) {
  const std::string rule = "linux.initramfs", what = "The new machine's drivers in every initramfs";
  if (maker == Maker::kInitramfsTools) {
    const std::string path = "/etc/initramfs-tools/modules";
    std::string text = bench.files().read(path).value_or("");
    const std::string before = text;
    for (const std::string& module : modules) {
      bool there = false;
      for (const std::string& line : lines_of(text)) there = there || trimmed(line) == module;
      if (!there) text += (text.empty() || text.back() == '\n' ? "" : "\n") + module + "\n";
    }
    if (text != before) bench.put(path, text, rule, what);
  } else if (maker == Maker::kDracut) {
    bench.put("/etc/dracut.conf.d/90-hyperhost.conf",
              "add_drivers+=\" " + joined(modules) + " \"\n", rule, what);
  } else {
    bench.edit("/etc/mkinitcpio.conf", what, [&](const std::string& text) {
      Edit edit;
      for (std::string& line : lines_of(text)) {
        const std::size_t open = line.find("MODULES=(");
        if (open == 0 && line.find(modules.front()) == std::string::npos) {
          const std::string before = trimmed(line);
          line.insert(9, joined(modules) + (line[9] == ')' ? "" : " "));
          edit.changes.push_back({rule, before, trimmed(line), {}});
        }
        edit.text += line;
      }
      return edit;
    });
  }
}

void make(GuestFiles& files, Maker maker, const Kernel& kernel,
          const std::vector<std::string>& modules) {
  if (maker == Maker::kDracut) {
    files.run(
        {"dracut", "--force", "--add-drivers", joined(modules), kernel.initramfs, kernel.version});
  } else if (maker == Maker::kMkinitcpio) {
    files.run({"mkinitcpio", "-k", kernel.version, "-g", kernel.initramfs});
  } else {
    files.run({"update-initramfs", "-u", "-k", kernel.version});
  }
}

/// An image is written beside the old one before it replaces it.
void need_space(GuestFiles& files, const Kernel& kernel) {
  const uint64_t wanted = std::max<uint64_t>(2 * files.size(kernel.initramfs), 32u << 20);
  const uint64_t free = files.free_bytes(kernel.initramfs);
  if (free < wanted)
    throw hyper::Error(HYPER_NOSPACE, "the guest has no space for a new initramfs",
                       kernel.initramfs + ": " + std::to_string(free >> 20) + " MiB free, " +
                           std::to_string(wanted >> 20) + " MiB needed")
        .rule("fs.space")
        .hint("Free space in the guest's /boot, for example by removing old kernels.");
}

/// The images that loader entries name on a partition of the loader.
std::vector<std::string> images_of_entries(GuestFiles& files, const std::string& esp) {
  std::vector<std::string> out;
  for (const std::string& place : {std::string("/boot"), esp}) {
    if (place.empty()) continue;
    for (const std::string& name : files.list(place + "/loader/entries"))
      for (const std::string& line :
           lines_of(files.read(place + "/loader/entries/" + name).value_or(""))) {
        const std::vector<std::string> words = words_of(line);
        if (words.size() < 2 || words[0] != "initrd" || words[1].front() != '/') continue;
        if (words[1].find("..") == std::string::npos) out.push_back(place + words[1]);
      }
  }
  return out;
}

/// systemd-boot starts a copy of the image. before: the digest of the old image.
void copy_to_entries(Bench& bench, const std::string& esp, const std::string& image,
                     const std::string& before) {
  for (const std::string& copy : images_of_entries(bench.files(), esp))
    if (copy != image && bench.files().digest(copy) == before)
      bench.copy(image, copy, "linux.initramfs", "The new image where the boot loader reads it");
}

/// Makes the images of these kernels again.
void make_all(Bench& bench, Maker maker, const std::vector<Kernel>& kernels,
              const std::vector<std::string>& modules, const std::string& esp) {
  GuestFiles& files = bench.files();
  // "dep" looks at the machine that it runs on, which is the appliance. From the first boot on it
  // looks at the new machine.
  const std::string whole = "/etc/initramfs-tools/conf.d/zz-hyperhost";
  const std::string setting = maker == Maker::kInitramfsTools ? modules_setting(files) : "";
  const bool all = setting == "dep";
  if (!all) configure(bench, maker, modules);
  if (all) files.write(whole, "MODULES=most\n");
  for (const Kernel& kernel : kernels) {
    need_space(files, kernel);
    const std::string before = files.digest(kernel.initramfs);
    bench.change({kernel.initramfs}, [&] { make(files, maker, kernel, modules); });
    bench.did({"linux.initramfs",
               "Made again with the new machine's drivers",
               kernel.initramfs,
               {},
               joined(modules)});
    copy_to_entries(bench, esp, kernel.initramfs, before);
  }
  if (all) files.remove(whole);
}

}  // namespace

std::vector<Kernel> kernels_of(GuestFiles& files) {
  std::vector<Kernel> kernels;
  const std::string directory = modules_directory(files);
  for (const std::string& version : files.list(directory)) {
    std::vector<std::string> candidates = {"/boot/initrd.img-" + version,
                                           "/boot/initramfs-" + version + ".img",
                                           "/boot/initrd-" + version};
    bool image =
        files.is_file("/boot/vmlinuz-" + version) || files.is_file("/boot/vmlinux-" + version);
    // Arch names both after the package.
    const std::string package =
        trimmed(files.read(directory + "/" + version + "/pkgbase").value_or(""));
    if (!package.empty() && package.find('/') == std::string::npos) {
      candidates.push_back("/boot/initramfs-" + package + ".img");
      image = image || files.is_file("/boot/vmlinuz-" + package);
    }
    for (const std::string& candidate : candidates)
      if (image && files.is_file(candidate)) {
        kernels.push_back({version, candidate});
        break;
      }
  }
  return kernels;
}

std::vector<std::string> modules_for(const std::string& bus) {
  if (bus == "scsi") return {"virtio_pci", "virtio_scsi", "sd_mod"};
  if (bus == "sata") return {"ahci", "sd_mod"};
  if (bus == "ide") return {"ata_piix", "sd_mod"};
  return {"virtio_pci", "virtio_blk"};
}

bool fix_initramfs(Bench& bench, const std::vector<std::string>& modules, bool again,
                   const std::string& esp) {
  GuestFiles& files = bench.files();
  const std::vector<Kernel> kernels = kernels_of(files);
  const Maker maker = maker_of(files);
  if (kernels.empty()) {
    bench.found({Finding::Severity::kError,
                 "linux.no-kernel-package",
                 "No kernel with an initramfs was found",
                 modules_directory(files),
                 {}});
    return false;
  }
  if (maker == Maker::kNone) {
    bench.found({Finding::Severity::kError,
                 "linux.no-initramfs-tool",
                 "The guest has none of initramfs-tools, dracut and mkinitcpio",
                 {},
                 "Install the distribution's tool in the guest before the migration."});
    return false;
  }
  std::vector<Kernel> wanted, able;
  for (const Kernel& kernel : kernels) {
    if (!offers(files, kernel, modules)) {
      bench.found({Finding::Severity::kWarning,
                   "linux.no-driver",
                   "A kernel has no driver for the new machine's disks",
                   kernel.version,
                   {}});
      continue;
    }
    able.push_back(kernel);
    const std::vector<std::string> absent = missing(files, maker, kernel, modules);
    if (!absent.empty() && !bench.writes())
      bench.found({Finding::Severity::kError,
                   "linux.initramfs",
                   "The initramfs has no driver for the new machine's disks",
                   kernel.initramfs + " lacks " + joined(absent),
                   {},
                   true});
    if (!absent.empty() || again) wanted.push_back(kernel);
  }
  if (!bench.writes()) return !able.empty() && wanted.empty();
  if (!wanted.empty()) make_all(bench, maker, wanted, modules, esp);
  for (const Kernel& kernel : wanted) {
    const std::vector<std::string> absent = missing(files, maker, kernel, modules);
    if (absent.empty()) continue;
    throw hyper::Error(HYPER_FAIL, "the guest's new initramfs lacks drivers",
                       kernel.initramfs + " lacks " + joined(absent))
        .rule("linux.initramfs");
  }
  return !able.empty();
}

}  // namespace hyperhost::guestfs
