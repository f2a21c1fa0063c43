// SPDX-License-Identifier: Apache-2.0
#include "plugins/guest/virt-v2v/words.hpp"

#include <algorithm>
#include <cctype>

namespace hyperhost::virt_v2v {
namespace {

constexpr auto npos = std::string_view::npos;
constexpr std::size_t kMostWords = 1000, kMostWarnings = 100, kMostText = 2000;

/// Printable ASCII and UTF-8's bytes: it may repeat what stands in the guest.
std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text)
    if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) out += c;
  out.resize(std::min(out.size(), kMostText));
  return out;
}

}  // namespace

void Capabilities::add_line(std::string_view line) {
  if (words_.size() < kMostWords) words_.insert(printable(line));
}

std::vector<std::string> Capabilities::families() const {
  std::vector<std::string> out;
  for (const std::string& word : words_)
    if (word.rfind("convert:", 0) == 0) out.push_back(word.substr(8));
  return out;
}

void Messages::add_line(std::string_view line) {
  const auto after = [&](std::string_view mark) {
    const std::size_t at = line.find(mark);
    // "virt-v2v-in-place: error: …": the program's name, then the kind
    return at == npos || line.substr(0, at).find(' ') != npos ? npos : at + mark.size();
  };
  if (const std::size_t text = after(": error: "); text != npos) {
    open_ = error_.empty() ? &error_ : nullptr;
    if (open_ != nullptr) *open_ = printable(line.substr(text));
  } else if (const std::size_t warning = after(": warning: "); warning != npos) {
    open_ = nullptr;
    if (warnings_.size() == kMostWarnings) return;
    warnings_.push_back(printable(line.substr(warning)));
    open_ = &warnings_.back();
  } else if (line.empty() || line.front() == '[' || line.front() == '{' || after(": ") != npos) {
    open_ = nullptr;
    if (line.find("guest has virtio drivers installed") != npos) has_virtio_ = true;
    if (line.find("guest does not have virtio drivers") != npos) has_virtio_ = false;
  } else if (open_ != nullptr && open_->size() < kMostText) {
    *open_ += " " + printable(line);
  }
}

Meaning meaning_of(const std::string& error) {
  struct Row {
    const char* words;
    Meaning meaning;
  };
  static constexpr Row kRows[] = {
      {"could not detect the source guest",
       {"guest.no-system", "No operating system was found on the disks",
        "An encrypted disk needs its key (keys)"}},
      {"no root device found",
       {"guest.no-system", "No operating system was found on the disks",
        "An encrypted disk needs its key (keys)"}},
      {"multi-boot",
       {"guest.no-system", "The disks hold several operating systems",
        "Name the root file system of one of them with root"}},
      {"hibernat",
       {"win.hibernated", "The guest is hibernated, or Windows has Fast Startup",
        "Shut it down at the source: shutdown /s /t 0 in Windows"}},
      {"mounted read-only",
       {"win.hibernated", "A file system of the guest cannot be written",
        "Shut the guest down cleanly at the source: in Windows, shutdown /s /t 0"}},
      {"passphrase",
       {"crypt.luks", "A disk of the guest is encrypted", "Give its passphrase with keys"}},
      {"not enough free space",
       {"fs.space", "A file system of the guest is too full", "Make room in the guest"}},
      {"unable to convert this guest type",
       {"guest.family", "virt-v2v does not convert this operating system", ""}},
      {"don't know how to convert",
       {"guest.family", "virt-v2v does not convert this operating system", ""}},
      {"rhsrvany",
       {"v2v.no-drivers", "A program for the first start of Windows is missing",
        "virt_tools names the directory that has rhsrvany.exe"}}};
  std::string text = error;
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const Row& row : kRows)
    if (text.find(row.words) != std::string::npos) return row.meaning;
  return {"v2v.failed", "virt-v2v cannot convert the guest", ""};
}

std::string phase_of(std::string_view line) {
  const std::size_t end = line.find("] ");
  if (line.empty() || line.front() != '[' || end == std::string_view::npos) return {};
  if (line.substr(1, end - 1).find_first_not_of(" .0123456789") != std::string_view::npos)
    return {};
  return printable(line.substr(end + 2)).substr(0, 100);
}

}  // namespace hyperhost::virt_v2v
