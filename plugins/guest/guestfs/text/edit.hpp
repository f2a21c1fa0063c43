// SPDX-License-Identifier: Apache-2.0
// What the functions of this directory have in common: they turn the text of a guest's file into
// another text and say which lines they changed. They read no file. Any thread.
#ifndef HYPERHOST_GUESTFS_TEXT_EDIT_HPP
#define HYPERHOST_GUESTFS_TEXT_EDIT_HPP

#include <string>
#include <string_view>
#include <vector>

namespace hyperhost::guestfs {

constexpr std::string_view kBlank = " \t\r\n";

/// One changed line, or one that should have been changed and could not be (`problem`).
struct Change {
  std::string rule;    ///< "linux.fstab-device"
  std::string before;  ///< as in the file, without the newline
  std::string after;   ///< "" with a problem
  std::string problem;
};

struct Edit {
  std::string text;
  std::vector<Change> changes;
};

/// The lines of a text with their newlines. The last may have none.
std::vector<std::string> lines_of(std::string_view text);
/// The words of a line, without blanks.
std::vector<std::string> words_of(std::string_view line);
/// Without blanks at both ends.
std::string trimmed(std::string_view text);
std::string without_newline(std::string_view line);
bool ends_in(std::string_view text, std::string_view end);
bool starts_with_word(std::string_view line, std::string_view word);

}  // namespace hyperhost::guestfs

#endif
