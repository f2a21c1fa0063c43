// SPDX-License-Identifier: Apache-2.0
// A fresh TPM 2.0 for one guest: the program swtpm, started through the host (it ends with the
// host, also after a kill -9), with its state in a directory that goes with it. One thread.
#ifndef HYPERHOST_QEMU_BOOT_TPM_HPP
#define HYPERHOST_QEMU_BOOT_TPM_HPP

#include <cstdint>
#include <hyper/op.hpp>
#include <string>

#include "plugins/guest/scratch/scratch.hpp"

namespace hyperhost::qemu_boot {

class Tpm {
 public:
  /// program: the path of swtpm. Throws hyper::Error.
  Tpm(hyper::Op op, const std::string& program);
  ~Tpm();
  Tpm(const Tpm&) = delete;
  Tpm& operator=(const Tpm&) = delete;

  /// Where QEMU connects. It takes connections as soon as this object is there.
  const std::string& socket() const { return socket_; }

 private:
  guest::Scratch directory_{"hyperhost-tpm-"};
  std::string socket_;
  uint64_t process_ = 0;
};

}  // namespace hyperhost::qemu_boot

#endif
