// SPDX-License-Identifier: Apache-2.0
#include "plugins/boot/qemu-boot/console_text.hpp"

namespace hyperhost::qemu_boot {
namespace {

constexpr unsigned char kEscape = 0x1b, kBell = 0x07;
constexpr std::size_t kLongestSequence = 256;  // a sequence without an end is text again after it

/// The final bytes of control sequences that move the cursor to another line or clear the screen.
bool moves(unsigned char final) {
  return final == 'H' || final == 'f' || final == 'J' || final == 'A' || final == 'B' ||
         final == 'E' || final == 'F' || final == 'd';
}

}  // namespace

void ConsoleText::end_line(const std::function<void(const std::string&)>& on_line) {
  while (!line_.empty() && line_.back() == ' ') line_.pop_back();
  if (line_.empty()) return;
  if (on_line) on_line(line_);
  tail_ += line_;
  tail_ += '\n';
  if (tail_.size() > 2 * kTail) tail_.erase(0, tail_.size() - kTail);
  line_.clear();
}

void ConsoleText::text(unsigned char byte, const std::function<void(const std::string&)>& on_line) {
  if (byte == '\n') {
    carriage_ = false;
    end_line(on_line);
    return;
  }
  if (byte == '\r') {
    carriage_ = true;
    return;
  }
  if (byte == '\b') {
    if (!line_.empty()) line_.pop_back();
    return;
  }
  if (byte == '\t') byte = ' ';
  if (byte < 0x20 || byte == 0x7f) return;
  if (carriage_) {  // what follows a \r without \n is written over the line
    carriage_ = false;
    end_line(on_line);
  }
  if (line_.size() >= kLongestLine) end_line(on_line);
  line_ += byte < 0x80 ? static_cast<char>(byte) : '?';
}

void ConsoleText::feed(std::string_view bytes,
                       const std::function<void(const std::string&)>& on_line) {
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (state_ != State::kText && ++sequence_ > kLongestSequence) state_ = State::kText;
    switch (state_) {
      case State::kText:
        if (byte == kEscape) {
          state_ = State::kEscape;
          sequence_ = 0;
        } else {
          text(byte, on_line);
        }
        break;
      case State::kEscape:
        if (byte == '[')
          state_ = State::kControl;
        else if (byte == ']' || byte == 'P' || byte == 'X' || byte == '^' || byte == '_')
          state_ = State::kString;
        else if (byte == '(' || byte == ')' || byte == '#' || byte == '%')
          state_ = State::kText1;
        else if (byte != kEscape)
          state_ = State::kText;
        break;
      case State::kControl:
        if (byte >= 0x40 && byte <= 0x7e) {
          state_ = State::kText;
          if (moves(byte)) end_line(on_line);
        } else if (byte == kEscape) {
          state_ = State::kEscape;
        }
        break;
      case State::kText1:
        state_ = State::kText;
        break;
      case State::kString:
        if (byte == kBell)
          state_ = State::kText;
        else if (byte == kEscape)
          state_ = State::kStringEscape;
        break;
      case State::kStringEscape:
        state_ = byte == '\\' ? State::kText : State::kString;
        break;
    }
  }
}

std::string ConsoleText::tail() const {
  std::string all = tail_ + line_;
  if (all.size() <= kTail) return all;
  const std::size_t begin = all.find('\n', all.size() - kTail);
  return all.substr(begin == std::string::npos ? all.size() - kTail : begin + 1);
}

}  // namespace hyperhost::qemu_boot
