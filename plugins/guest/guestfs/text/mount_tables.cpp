// SPDX-License-Identifier: Apache-2.0
#include "plugins/guest/guestfs/text/mount_tables.hpp"

namespace hyperhost::guestfs {
namespace {

struct Field {
  std::size_t at = 0, length = 0;
};

/// Where the fields of a line are. None: the line is empty or a comment.
std::vector<Field> fields_of(std::string_view line) {
  std::vector<Field> fields;
  for (std::size_t at = line.find_first_not_of(kBlank); at != std::string_view::npos;
       at = line.find_first_not_of(kBlank, at)) {
    if (fields.empty() && line[at] == '#') break;
    std::size_t end = line.find_first_of(kBlank, at);
    if (end == std::string_view::npos) end = line.size();
    fields.push_back({at, end - at});
    at = end;
  }
  return fields;
}

/// getmntent(3) writes blanks and backslashes as three octal digits.
std::string decoded(std::string_view field) {
  std::string out;
  for (std::size_t i = 0; i < field.size(); ++i) {
    const auto octal = [&](std::size_t at) {
      return at < field.size() && field[at] >= '0' && field[at] <= '7';
    };
    if (field[i] == '\\' && octal(i + 1) && octal(i + 2) && octal(i + 3)) {
      const int value = (field[i + 1] - '0') * 64 + (field[i + 2] - '0') * 8 + (field[i + 3] - '0');
      out += static_cast<char>(value & 0xff);
      i += 3;
    } else {
      out += field[i];
    }
  }
  return out;
}

/// Replaces field number `which` of each line if it is a name of the old machine.
Edit edit_field(std::string_view text, std::size_t which, std::size_t least, const char* subject,
                const DeviceNames& names) {
  Edit edit;
  for (std::string& line : lines_of(text)) {
    const std::vector<Field> fields = fields_of(line);
    if (fields.size() < least) {
      edit.text += line;
      continue;
    }
    const Field field = fields[which];
    const std::string name = decoded(std::string_view(line).substr(field.at, field.length));
    if (const auto old = machine_name(name)) {
      Change change{rule_of(subject, old->kind), without_newline(line), {}, {}};
      const std::string stable = names.stable(name, change.problem);
      if (!stable.empty()) {
        line.replace(field.at, field.length, stable);
        change.after = without_newline(line);
      }
      edit.changes.push_back(std::move(change));
    }
    edit.text += line;
  }
  return edit;
}

}  // namespace

std::vector<Mount> mounts_of(std::string_view fstab) {
  std::vector<Mount> mounts;
  for (const std::string& line : lines_of(fstab)) {
    const std::vector<Field> fields = fields_of(line);
    if (fields.size() < 3) continue;
    const auto text = [&](std::size_t i) {
      return i < fields.size()
                 ? decoded(std::string_view(line).substr(fields[i].at, fields[i].length))
                 : std::string();
    };
    mounts.push_back({text(0), text(1), text(2), text(3)});
  }
  return mounts;
}

std::string mount_option(const std::string& options, const std::string& name) {
  const std::string wanted = name + "=";
  std::size_t at = 0;
  while (at <= options.size()) {
    const std::size_t end = options.find(',', at);
    const std::string one =
        options.substr(at, end == std::string::npos ? std::string::npos : end - at);
    if (one.compare(0, wanted.size(), wanted) == 0) return one.substr(wanted.size());
    if (end == std::string::npos) break;
    at = end + 1;
  }
  return {};
}

Edit edit_fstab(std::string_view text, const DeviceNames& names) {
  return edit_field(text, 0, 3, "linux.fstab", names);
}

Edit edit_crypttab(std::string_view text, const DeviceNames& names) {
  return edit_field(text, 1, 2, "linux.crypttab", names);
}

}  // namespace hyperhost::guestfs
