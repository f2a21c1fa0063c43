// SPDX-License-Identifier: Apache-2.0
// Turns a terminal's bytes into plain lines: control sequences are dropped, a cursor that moves
// ends the line. The bytes come from a guest and are hostile: whatever they are, the text is
// printable ASCII and bounded. One thread at a time.
#ifndef HYPERHOST_QEMU_BOOT_CONSOLE_TEXT_HPP
#define HYPERHOST_QEMU_BOOT_CONSOLE_TEXT_HPP

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace hyperhost::qemu_boot {

class ConsoleText {
 public:
  static constexpr std::size_t kLongestLine = 512;  ///< the rest of a longer line is the next one
  static constexpr std::size_t kTail = 8192;        ///< bytes of the last lines that are kept

  /// Calls on_line for each line that the bytes complete. A sequence or a line may go on in the
  /// next call.
  void feed(std::string_view bytes, const std::function<void(const std::string&)>& on_line);

  /// The line that has not ended yet: where a prompt stands.
  const std::string& unfinished() const { return line_; }
  /// The last lines, at most kTail bytes, the unfinished one included.
  std::string tail() const;

 private:
  enum class State { kText, kEscape, kControl, kText1, kString, kStringEscape };
  void text(unsigned char byte, const std::function<void(const std::string&)>& on_line);
  void end_line(const std::function<void(const std::string&)>& on_line);

  State state_ = State::kText;
  std::size_t sequence_ = 0;  ///< bytes of the sequence so far
  bool carriage_ = false;     ///< a \r came, and its \n may follow
  std::string line_, tail_;
};

}  // namespace hyperhost::qemu_boot

#endif
