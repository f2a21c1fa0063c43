// SPDX-License-Identifier: Apache-2.0
#include "plugins/guest/guestfs/text/boot_args.hpp"

#include <algorithm>

namespace hyperhost::guestfs {
namespace {

constexpr std::size_t kGrubEnvBytes = 1024;
constexpr std::string_view kSerial = "console=tty0 console=ttyS0,115200n8";

bool comment(std::string_view line, BootFile file) {
  const std::string text = trimmed(line);
  if (text.empty() || text.front() != '#') return false;
  // Debian's update-grub of GRUB 1 reads its settings from comments.
  const std::string_view magic = "# kopt=";
  return file != BootFile::kMenu || text.compare(0, magic.size(), magic) != 0;
}

/// Parameters whose value is a device, and what ends the value beside blanks and quotes.
struct Parameter {
  std::string_view name, ends;
};
constexpr Parameter kParameters[] = {{"root", ""},         {"resume", ""},    {"boot", ""},
                                     {"cryptdevice", ":"}, {"luks_root", ""}, {"real_root", ""},
                                     {"realroot", ""},     {"swap", ""},      {"RESUME", ""}};

/// Whether a parameter may begin at this place.
bool begins_word(std::string_view line, std::size_t at) {
  return at == 0 || std::string_view(" \t\"'=").find(line[at - 1]) != std::string_view::npos;
}

/// The first value of a device parameter at or behind `from`: its place and length.
bool next_value(std::string_view line, std::size_t from, std::size_t& at, std::size_t& length) {
  at = std::string_view::npos;
  for (const Parameter& parameter : kParameters) {
    const std::string wanted = std::string(parameter.name) + "=/dev/";
    for (std::size_t found = line.find(wanted, from); found != std::string_view::npos;
         found = line.find(wanted, found + 1)) {
      if (!begins_word(line, found)) continue;
      const std::size_t begin = found + parameter.name.size() + 1;
      if (begin >= at) break;
      const std::string ends = " \t\r\n\"'\\" + std::string(parameter.ends);
      const std::size_t end = line.find_first_of(ends, begin);
      at = begin;
      length = (end == std::string_view::npos ? line.size() : end) - begin;
      break;
    }
  }
  return at != std::string_view::npos;
}

/// Replaces every device of a line. Returns false if nothing is to be replaced.
bool edit_line(std::string& line, const DeviceNames& names, std::vector<Change>& changes) {
  Change change{{}, without_newline(line), {}, {}};
  bool changed = false;
  std::size_t from = 0, at = 0, length = 0;
  while (next_value(line, from, at, length)) {
    const std::string name = line.substr(at, length);
    from = at + length;
    const auto old = machine_name(name);
    if (!old) continue;
    change.rule = rule_of("linux.root", old->kind);
    std::string why;
    const std::string stable = names.stable(name, why);
    if (stable.empty()) {
      changes.push_back({change.rule, change.before, {}, name + ": " + why});
      continue;
    }
    line.replace(at, length, stable);
    from = at + stable.size();
    changed = true;
  }
  if (!changed) return false;
  change.after = without_newline(line);
  changes.push_back(std::move(change));
  return true;
}

bool disables_uuids(const std::string& line) {
  const std::string text = trimmed(line);
  const std::string name = "GRUB_DISABLE_LINUX_UUID=";
  if (text.compare(0, name.size(), name) != 0) return false;
  const std::string value = text.substr(name.size());
  return value.find("true") != std::string::npos;
}

/// grubenv keeps its size: the padding behind the last line shrinks or grows.
void pad(Edit& edit) {
  std::size_t end = edit.text.find_last_not_of('#');
  edit.text.resize(end == std::string::npos ? 0 : end + 1);
  if (edit.text.size() > kGrubEnvBytes) {
    for (Change& change : edit.changes) change.problem = "the line does not fit into grubenv";
    return;
  }
  edit.text.resize(kGrubEnvBytes, '#');
}

/// Where a Linux entry's command line ends in a line of a menu; npos if the line has none.
bool linux_line(const std::string& line) {
  for (const std::string_view word :
       {"linux", "linux16", "linuxefi", "options", "append", "APPEND", "kernel"})
    if (starts_with_word(line, word)) return words_of(line).size() > 1;
  return false;
}

/// A loader entry's `linux /vmlinuz` has its arguments in `options`; grub's has them in its line.
bool takes_arguments(const std::string& line, bool entry) {
  if (!linux_line(line)) return false;
  if (starts_with_word(line, "options") || starts_with_word(line, "append") ||
      starts_with_word(line, "APPEND"))
    return true;
  return !entry && words_of(line).size() > 2;
}

/// Whether a menu's arguments stand in lines of their own.
bool separate_arguments(std::string_view text) {
  for (const std::string& line : lines_of(text))
    for (const std::string_view word : {"options", "append", "APPEND"})
      if (starts_with_word(line, word)) return true;
  return false;
}

bool add_to_defaults(std::string& line) {
  const std::string text = trimmed(line), name = "GRUB_CMDLINE_LINUX=";
  if (text.compare(0, name.size(), name) != 0) return false;
  const std::size_t last = line.find_last_of("\"'");
  const std::size_t value = line.find('=') + 1;
  if (last == std::string::npos || last <= value) return false;
  const bool empty = last == value + 1;
  line.insert(last, (empty ? "" : " ") + std::string(kSerial));
  return true;
}

}  // namespace

Edit edit_boot_devices(std::string_view text, BootFile file, const DeviceNames& names) {
  Edit edit;
  for (std::string& line : lines_of(text)) {
    if (!comment(line, file)) {
      if (file == BootFile::kDefaults && disables_uuids(line)) {
        edit.changes.push_back(
            {"linux.root-device", without_newline(line), "#" + without_newline(line), {}});
        line = "#" + line;
      } else {
        edit_line(line, names, edit.changes);
      }
    }
    edit.text += line;
  }
  if (file == BootFile::kGrubEnv && !edit.changes.empty()) pad(edit);
  return edit;
}

Edit add_serial_console(std::string_view text, BootFile file) {
  Edit edit;
  const bool entry = separate_arguments(text);
  for (std::string& line : lines_of(text)) {
    const std::string before = without_newline(line);
    bool changed = false;
    if (!comment(line, file) && line.find("console=ttyS") == std::string::npos) {
      if (file == BootFile::kDefaults) changed = add_to_defaults(line);
      const bool whole = file == BootFile::kCmdline && !trimmed(line).empty();
      if (whole || (file == BootFile::kMenu && takes_arguments(line, entry))) {
        line.insert(before.size(), " " + std::string(kSerial));
        changed = true;
      }
    }
    if (changed)
      edit.changes.push_back({"linux.serial-console", before, without_newline(line), {}});
    edit.text += line;
  }
  return edit;
}

std::string first_command_line(std::string_view text) {
  const bool entry = separate_arguments(text);
  for (const std::string& line : lines_of(text)) {
    if (!takes_arguments(line, entry)) continue;
    std::string out;
    const std::vector<std::string> words = words_of(line);
    for (std::size_t i = entry ? 1 : 2; i < words.size(); ++i)
      out += (out.empty() ? "" : " ") + words[i];
    return out;
  }
  return {};
}

std::string boot_arg(std::string_view command_line, std::string_view name) {
  std::string found;
  const std::string wanted = std::string(name) + "=";
  for (const std::string& word : words_of(command_line))
    if (word.compare(0, wanted.size(), wanted) == 0) found = word.substr(wanted.size());
  return found;
}

}  // namespace hyperhost::guestfs
