// SPDX-License-Identifier: Apache-2.0
// Judges from what a guest shows how far its boot got: what it writes to its consoles, where its
// processor is, what QEMU reports. It knows no QEMU and no clock, so recorded text tests it. One
// thread at a time.
#ifndef HYPERHOST_QEMU_BOOT_EVIDENCE_HPP
#define HYPERHOST_QEMU_BOOT_EVIDENCE_HPP

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/boot/qemu-boot/console_text.hpp"

namespace hyperhost::qemu_boot {

/// Each one needs the ones before it.
enum class Grade { kNone, kFirmware, kLoader, kKernel, kLogin, kAgent };
const char* grade_name(Grade grade);
std::optional<Grade> grade_named(std::string_view name);

/// Where text comes from.
enum class Channel { kSerial, kScreen, kFirmware };
const char* channel_name(Channel channel);

struct Reached {
  Grade grade;
  uint64_t ms;           ///< since the machine started
  std::string evidence;  ///< "serial: web01 login:"
};

/// Whether a failure may come from an emulation that is slower than the guest's clock: its kernel
/// finds that its timer does not work, or a unit that its boot needs is out of time. text: the
/// failure's evidence and the end of the console.
bool may_be_late(std::string_view failed, std::string_view text);

class Evidence {
 public:
  /// Resets without a kernel between them that are a loop, and resets in all that are one. Guests
  /// that prepare themselves at the first boot restart several times.
  static constexpr unsigned kEarlyResets = 4, kMostResets = 10;

  /// marks: texts that, in a line of a console, count as a login prompt.
  explicit Evidence(std::vector<std::string> marks = {}) : marks_(std::move(marks)) {}

  /// Bytes of a console, in pieces of any size.
  void feed(Channel channel, std::string_view bytes, uint64_t ms);
  /// The rows of a text screen as it stands.
  void screen(const std::vector<std::string>& rows, uint64_t ms);
  /// The text of QEMU's `info registers`.
  void registers(const std::string& text, uint64_t ms);
  /// The guest's agent answered.
  void agent(const std::string& answer, uint64_t ms);
  /// The kernel reported its panic to the machine.
  void panicked(uint64_t ms);
  /// The guest restarted.
  void reset(uint64_t ms);

  Grade grade() const { return grade_; }
  /// "no-boot-device", "efi-shell", "secure-boot", "grub-rescue", "initramfs", "panic",
  /// "emergency", "bsod", "reboot-loop"; "" = no sign of a failure.
  const std::string& failed() const { return failed_; }
  const std::string& failure() const { return failure_; }  ///< its evidence
  /// The first evidence of each grade and channel, in order of time.
  const std::vector<Reached>& reached() const { return reached_; }
  unsigned resets() const { return resets_; }
  /// The last lines of the serial console, or of the screen where that one was silent. Printable
  /// ASCII and line ends, at most ConsoleText::kTail bytes.
  std::string tail() const;

 private:
  void line(Channel channel, const std::string& text, uint64_t ms);
  void reach(Grade grade, const std::string& from, const std::string& text, uint64_t ms);
  void fail(const char* name, const std::string& from, const std::string& text);

  const std::vector<std::string> marks_;
  std::array<ConsoleText, 3> texts_;
  std::vector<std::string> rows_;  ///< of the last screen with text
  Grade grade_ = Grade::kNone;
  std::string denied_;  ///< the line by which the firmware refused a loader
  std::string failed_, failure_;
  std::vector<Reached> reached_;
  std::vector<std::string> seen_;  ///< "serial 2": evidence of this kind is in reached_
  unsigned resets_ = 0, early_resets_ = 0;
  bool kernel_since_reset_ = false;
};

/// Rows of 80 characters as a VGA text screen has them; "" if the memory holds no text.
std::vector<std::string> text_rows(std::string_view characters);

}  // namespace hyperhost::qemu_boot

#endif
