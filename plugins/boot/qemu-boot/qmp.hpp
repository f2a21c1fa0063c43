// SPDX-License-Identifier: Apache-2.0
// A conversation with a QEMU over its monitor protocol (QMP). Every call has a time limit and ends
// with a cancel. One thread at a time.
#ifndef HYPERHOST_QEMU_BOOT_QMP_HPP
#define HYPERHOST_QEMU_BOOT_QMP_HPP

#include <hyper/op.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "plugins/boot/qemu-boot/descriptor.hpp"

namespace hyperhost::qemu_boot {

class Qmp {
 public:
  /// Waits for the greeting and negotiates. Throws hyper::Error; Ended if QEMU has ended.
  Qmp(hyper::Op op, Descriptor socket);

  /// QEMU closed the conversation: it has ended, or is about to.
  struct Ended {};

  /// Returns the answer's "return". Throws hyper::Error with QEMU's words, Ended, or
  /// Reported(HYPER_CANCELLED). fd: a descriptor to pass along; -1 = none.
  nlohmann::json call(hyper::Op op, const std::string& command,
                      const nlohmann::json& arguments = nlohmann::json::object(), int fd = -1);
  /// The answer of a command of the human monitor.
  std::string human(hyper::Op op, const std::string& command);
  /// Waits at most so long for events; returns those that came, oldest first.
  std::vector<nlohmann::json> events(hyper::Op op, int wait_ms);

 private:
  /// The next message; null when the time is over.
  nlohmann::json message(hyper::Op op, int wait_ms);
  void send(const std::string& text, int fd);

  const Descriptor socket_;
  std::string received_;
  std::vector<nlohmann::json> events_;
};

}  // namespace hyperhost::qemu_boot

#endif
