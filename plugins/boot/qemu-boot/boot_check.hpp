// SPDX-License-Identifier: Apache-2.0
// One boot of one guest: watches it until it is where it should be, fails, or its time is over.
// Used by one thread for one call.
#ifndef HYPERHOST_QEMU_BOOT_BOOT_CHECK_HPP
#define HYPERHOST_QEMU_BOOT_BOOT_CHECK_HPP

#include <chrono>
#include <hyper/op.hpp>
#include <nlohmann/json.hpp>
#include <string>

#include "plugins/boot/qemu-boot/evidence.hpp"
#include "plugins/boot/qemu-boot/guest.hpp"
#include "plugins/boot/qemu-boot/settings.hpp"

namespace hyperhost::qemu_boot {

struct CheckRequest {
  Grade require = Grade::kLogin;
  uint64_t timeout_ms = 0;
  std::string picture;  ///< path of the screen's picture without its extension; "" = none
  /// The guest is to leave traces: one that shows no login gets its whole time, and is stopped by
  /// its button if its kernel runs.
  bool traces = false;
};

class BootCheck {
 public:
  BootCheck(hyper::Op op, Guest& guest, const Settings& settings, CheckRequest request);

  /// Lets the guest run. Returns the answer of hyper_boot.check without "accel". Throws
  /// hyper::Error where the check itself fails.
  nlohmann::json run();

 private:
  using Clock = std::chrono::steady_clock;
  uint64_t ms() const;
  /// Waits a moment and looks once.
  void look();
  void look_at_events(int wait_ms);
  void look_at_screen();
  void ask_agent();
  void power_off();
  nlohmann::json answer();

  const hyper::Op op_;
  Guest& guest_;
  const Settings& settings_;
  const CheckRequest request_;
  Evidence evidence_;
  Descriptor agent_;
  std::string agent_text_;
  Clock::time_point begin_, screen_at_, agent_at_;
  Clock::duration look_took_{}, screen_took_{};
  bool off_ = false;    ///< the guest has powered off
  bool ended_ = false;  ///< QEMU has
  std::string picture_;
};

}  // namespace hyperhost::qemu_boot

#endif
