// SPDX-License-Identifier: Apache-2.0
// A QEMU that runs a guest: started through the host (it ends with the host, also after a kill -9),
// spoken to over an unnamed socket, ended by the destructor. One thread at a time.
#ifndef HYPERHOST_QEMU_BOOT_GUEST_HPP
#define HYPERHOST_QEMU_BOOT_GUEST_HPP

#include <hyper/op.hpp>
#include <memory>
#include <string>
#include <vector>

#include "plugins/boot/qemu-boot/qmp.hpp"

namespace hyperhost::qemu_boot {

class Guest {
 public:
  /// Starts it, paused. scratch: the directory of what the guest writes; "" = the system's. Throws
  /// hyper::Error with QEMU's own words if it does not start.
  Guest(hyper::Op op, const std::string& qemu, const std::vector<std::string>& arguments,
        const std::string& scratch);
  ~Guest();
  Guest(const Guest&) = delete;
  Guest& operator=(const Guest&) = delete;

  Qmp& qmp() { return *qmp_; }
  /// What a console has received since the last call.
  std::string console(hyper::Op op, const char* name);
  /// The rows of the text screen; none in a graphics mode.
  std::vector<std::string> screen(hyper::Op op);
  /// Saves the screen as a picture. Returns the file's path: `stem`.png, or .ppm where this QEMU
  /// writes no PNG; "" on a failure.
  std::string picture(hyper::Op op, const std::string& stem);
  /// Bytes that the guest has read and written, of all disks.
  std::pair<uint64_t, uint64_t> moved(hyper::Op op);
  /// Connects a port for the guest's agent. Returns this end.
  Descriptor agent_port(hyper::Op op);

 private:
  uint64_t process_ = 0;
  bool started_ = false;
  std::unique_ptr<Qmp> qmp_;
};

/// Throws hyper::Error with the line that installs it unless the program is there. Returns its
/// path.
std::string find_qemu(const std::string& program);

/// "7.2.22".
std::string version_of(hyper::Op op, const std::string& qemu);

/// Whether KVM runs a guest at its speed. On some virtual machines /dev/kvm opens, and a guest
/// crawls. Starts a machine without disks and waits some seconds for its firmware's last word.
/// why: one sentence when it does not.
bool kvm_works(hyper::Op op, const std::string& qemu, std::string& why);

}  // namespace hyperhost::qemu_boot

#endif
