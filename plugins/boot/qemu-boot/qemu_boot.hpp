// SPDX-License-Identifier: Apache-2.0
// hyper.boot/draft-1 by the installed qemu-system-x86_64. Any number of checks at once; as many
// guests run as the option `parallel` allows.
#ifndef HYPERHOST_QEMU_BOOT_QEMU_BOOT_HPP
#define HYPERHOST_QEMU_BOOT_QEMU_BOOT_HPP

#include <hyper/draft/boot.hpp>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "plugins/boot/qemu-boot/settings.hpp"

namespace hyperhost::qemu_boot {

class QemuBoot final : public hyper::BootInstance {
 public:
  /// Throws here, before anything is begun, if QEMU is missing.
  static std::unique_ptr<QemuBoot> open(const hyper::Doc& options, hyper::Op op);
  QemuBoot(Settings settings, std::string qemu, std::string version)
      : settings_(std::move(settings)), qemu_(std::move(qemu)), version_(std::move(version)) {}

  std::string plan(hyper::Op op, const hyper::Doc& request) override;
  std::string check(hyper::Op op, const hyper::Doc& request,
                    const std::vector<hyper::BlockRef>& disks) override;

 private:
  /// "kvm" or "tcg"; measured once. why: the reason for tcg.
  std::string accel(hyper::Op op, std::string& why);

  const Settings settings_;
  const std::string qemu_, version_;
  std::timed_mutex accel_mutex_;  ///< held while KVM is tried
  std::optional<std::string> accel_;
  std::string why_tcg_;
  std::mutex running_mutex_;
  unsigned running_ = 0;
};

}  // namespace hyperhost::qemu_boot

#endif
