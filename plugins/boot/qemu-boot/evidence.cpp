// SPDX-License-Identifier: Apache-2.0
#include "plugins/boot/qemu-boot/evidence.hpp"

#include <algorithm>
#include <cstdlib>

namespace hyperhost::qemu_boot {
namespace {

struct GradeName {
  Grade grade;
  const char* name;
};
constexpr GradeName kGrades[] = {{Grade::kNone, "none"},     {Grade::kFirmware, "firmware"},
                                 {Grade::kLoader, "loader"}, {Grade::kKernel, "kernel"},
                                 {Grade::kLogin, "login"},   {Grade::kAgent, "agent"}};

/// A text in a line of a console, and what it proves.
struct Sign {
  const char* text;
  bool at_begin;  ///< of the line
  Grade grade;
  const char* failure;  ///< nullptr: none
};

constexpr Sign kSigns[] = {
    // Firmware
    {"SeaBIOS (version", false, Grade::kFirmware, nullptr},
    {"Booting from ", true, Grade::kFirmware, nullptr},
    {"BdsDxe: ", true, Grade::kFirmware, nullptr},
    {"No bootable device", false, Grade::kFirmware, "no-boot-device"},
    {"No bootable option or device was found", false, Grade::kFirmware, "no-boot-device"},
    {"Press any key to enter the Boot Manager Menu", false, Grade::kFirmware, "no-boot-device"},
    {"UEFI Interactive Shell", false, Grade::kFirmware, "efi-shell"},
    {"EFI Internal Shell", false, Grade::kFirmware, "efi-shell"},
    // What shim and GRUB refuse
    {"Verification failed: (0x1A) Security Violation", false, Grade::kLoader, "secure-boot"},
    {"bad shim signature", false, Grade::kLoader, "secure-boot"},
    // Boot sectors that find no loader
    {"Missing operating system", false, Grade::kFirmware, "no-boot-device"},
    {"Operating system not found", false, Grade::kFirmware, "no-boot-device"},
    {"Error loading operating system", false, Grade::kFirmware, "no-boot-device"},
    {"Operating system load error", false, Grade::kFirmware, "no-boot-device"},
    {"This is not a bootable disk", false, Grade::kFirmware, "no-boot-device"},
    {"Invalid partition table", false, Grade::kFirmware, "no-boot-device"},
    {"BOOTMGR is missing", false, Grade::kFirmware, "no-boot-device"},
    {"NTLDR is missing", false, Grade::kFirmware, "no-boot-device"},
    {"A disk read error occurred", false, Grade::kFirmware, "no-boot-device"},
    // Loaders
    {"GRUB loading", true, Grade::kLoader, nullptr},
    {"Welcome to GRUB!", true, Grade::kLoader, nullptr},
    {"GNU GRUB ", false, Grade::kLoader, nullptr},
    {"Booting `", false, Grade::kLoader, nullptr},
    {"Loading Linux ", true, Grade::kLoader, nullptr},
    {"Loading initial ramdisk", true, Grade::kLoader, nullptr},
    {"EFI stub: ", true, Grade::kLoader, nullptr},
    {"SYSLINUX ", true, Grade::kLoader, nullptr},
    {"EXTLINUX ", true, Grade::kLoader, nullptr},
    {"Windows Boot Manager", false, Grade::kLoader, nullptr},
    {"FreeBSD/x86 bootstrap loader", false, Grade::kLoader, nullptr},
    {"GRUB Hard Disk Error", true, Grade::kLoader, "grub-rescue"},
    {"GRUB Read Error", true, Grade::kLoader, "grub-rescue"},
    {"GRUB Geom Error", true, Grade::kLoader, "grub-rescue"},
    {"grub rescue>", true, Grade::kLoader, "grub-rescue"},
    {"grub>", true, Grade::kLoader, "grub-rescue"},
    // Kernels and what they start first
    {"Linux version ", false, Grade::kKernel, nullptr},
    {"Run /init as init process", false, Grade::kKernel, nullptr},
    {"Run /sbin/init as init process", false, Grade::kKernel, nullptr},
    {"Loading, please wait...", true, Grade::kKernel, nullptr},
    {"Begin: ", true, Grade::kKernel, nullptr},
    {"systemd[1]: ", false, Grade::kKernel, nullptr},
    {"dracut-", false, Grade::kKernel, nullptr},
    {"FreeBSD is a registered trademark", false, Grade::kKernel, nullptr},
    {"The NetBSD Foundation", false, Grade::kKernel, nullptr},
    {"Kernel panic - not syncing", false, Grade::kKernel, "panic"},
    {"end Kernel panic", false, Grade::kKernel, "panic"},
    {"(initramfs)", true, Grade::kKernel, "initramfs"},
    {"Dropping to a shell!", false, Grade::kKernel, "initramfs"},
    {"dracut: Refusing to continue", false, Grade::kKernel, "initramfs"},
    {"dracut:/#", false, Grade::kKernel, "initramfs"},
    {"/run/initramfs/rdsosreport.txt", false, Grade::kKernel, "initramfs"},
    {"You are being dropped into an emergency shell", false, Grade::kKernel, "initramfs"},
    {"You are now being dropped into an emergency shell", false, Grade::kKernel, "initramfs"},
    {"You are in emergency mode", false, Grade::kKernel, "emergency"},
    {"You are in rescue mode", false, Grade::kKernel, "emergency"},
    {"Give root password for maintenance", false, Grade::kKernel, "emergency"},
    {"Press Enter for maintenance", false, Grade::kKernel, "emergency"},
    {"the root account is locked", false, Grade::kKernel, "emergency"},
    {"A problem has been detected and Windows has been shut down", false, Grade::kKernel, "bsod"},
    {"A problem has been detected and windows has been shut down", false, Grade::kKernel, "bsod"},
    {"*** STOP: 0x", false, Grade::kKernel, "bsod"},
    {"INACCESSIBLE_BOOT_DEVICE", false, Grade::kKernel, "bsod"},
    {"Windows failed to start", false, Grade::kLoader, "bsod"},
    // Services run
    {"Reached target Multi-User System", false, Grade::kLogin, nullptr},
    {"Reached target multi-user.target", false, Grade::kLogin, nullptr},
    {"Reached target Graphical Interface", false, Grade::kLogin, nullptr},
    {"Reached target graphical.target", false, Grade::kLogin, nullptr},
};

/// "web01 login: ", as getty writes it.
bool is_login_prompt(const std::string& line) {
  const std::size_t at = line.find(" login:");
  if (at == std::string::npos || at == 0 || at > 64) return false;
  const std::string name = line.substr(0, at);
  return name != "Last" && std::none_of(name.begin(), name.end(), [](char c) { return c == ' '; });
}

bool begins(const std::string& line, const char* text) {
  const std::size_t at = line.find_first_not_of(' ');
  return at != std::string::npos &&
         line.compare(at, std::char_traits<char>::length(text), text) == 0;
}

/// "BdsDxe: failed to load Boot0001 … from …: Access Denied": the loader is not signed, or by none
/// of the keys. The shell of the firmware is refused as well.
bool is_refusal(const std::string& line) {
  const auto has = [&](const char* text) { return line.find(text) != std::string::npos; };
  return begins(line, "BdsDxe: failed to ") && !has("EFI Internal Shell") &&
         (has(": Access Denied") || has(": Security Violation"));
}

/// "[    0.000000] …": a line of a kernel's log.
bool is_kernel_log(const std::string& line) {
  const std::size_t end = line.find(']');
  if (line.empty() || line[0] != '[' || end == std::string::npos || end > 16) return false;
  const std::string time = line.substr(1, end - 1);
  return time.find('.') != std::string::npos &&
         time.find_first_not_of(" 0123456789.") == std::string::npos;
}

/// The number behind `name` in a text of registers; nothing if it is not there.
std::optional<uint64_t> number(const std::string& text, const char* name, int base) {
  const std::size_t at = text.find(name);
  if (at == std::string::npos) return std::nullopt;
  const char* begin = text.c_str() + at + std::char_traits<char>::length(name);
  char* end = nullptr;
  const uint64_t value = std::strtoull(begin, &end, base);
  return end == begin ? std::nullopt : std::optional(value);
}

}  // namespace

const char* grade_name(Grade grade) {
  for (const GradeName& one : kGrades)
    if (one.grade == grade) return one.name;
  return "none";
}

std::optional<Grade> grade_named(std::string_view name) {
  for (const GradeName& one : kGrades)
    if (one.name == name) return one.grade;
  return std::nullopt;
}

const char* channel_name(Channel channel) {
  return channel == Channel::kSerial   ? "serial"
         : channel == Channel::kScreen ? "screen"
                                       : "firmware log";
}

void Evidence::reach(Grade grade, const std::string& from, const std::string& text, uint64_t ms) {
  constexpr std::size_t kShown = 120;
  if (grade >= Grade::kKernel) kernel_since_reset_ = true;
  grade_ = std::max(grade_, grade);
  const std::string kind = from + " " + grade_name(grade);
  if (std::find(seen_.begin(), seen_.end(), kind) != seen_.end()) return;
  seen_.push_back(kind);
  reached_.push_back({grade, ms, from + ": " + text.substr(0, kShown)});
}

void Evidence::fail(const char* name, const std::string& from, const std::string& text) {
  if (!failed_.empty()) return;  // what comes after it is its consequence
  // Firmware that has refused the guest's loader finds nothing else to boot.
  const bool refused = !denied_.empty() && (std::string_view(name) == "no-boot-device" ||
                                            std::string_view(name) == "efi-shell");
  failed_ = refused ? "secure-boot" : name;
  failure_ = from + ": " + (refused ? denied_ : text).substr(0, 200);
}

void Evidence::line(Channel channel, const std::string& text, uint64_t ms) {
  const std::string from = channel_name(channel);
  if (is_refusal(text)) denied_ = text;
  for (const Sign& sign : kSigns) {
    if (sign.at_begin ? !begins(text, sign.text) : text.find(sign.text) == std::string::npos)
      continue;
    reach(sign.grade, from, text, ms);
    if (sign.failure != nullptr) fail(sign.failure, from, text);
  }
  if (channel == Channel::kFirmware) {
    reach(Grade::kFirmware, from, text, ms);
    return;
  }
  if (is_kernel_log(text)) reach(Grade::kKernel, from, text, ms);
  if (is_login_prompt(text) ||
      std::any_of(marks_.begin(), marks_.end(), [&](const std::string& mark) {
        return !mark.empty() && text.find(mark) != std::string::npos;
      }))
    reach(Grade::kLogin, from, text, ms);
}

void Evidence::feed(Channel channel, std::string_view bytes, uint64_t ms) {
  ConsoleText& console = texts_[static_cast<std::size_t>(channel)];
  console.feed(bytes, [&](const std::string& text) { line(channel, text, ms); });
  // A prompt does not end its line.
  if (!console.unfinished().empty()) line(channel, console.unfinished(), ms);
}

void Evidence::screen(const std::vector<std::string>& rows, uint64_t ms) {
  if (rows.empty()) return;
  rows_ = rows;
  for (const std::string& row : rows) line(Channel::kScreen, row, ms);
}

void Evidence::registers(const std::string& text, uint64_t ms) {
  constexpr uint64_t kPaging = uint64_t{1} << 31, kProtected = 1;
  const uint64_t control = number(text, "CR0=", 16).value_or(0);
  if ((control & kPaging) == 0 || (control & kProtected) == 0) return;  // firmware and loaders
  const auto level = number(text, "CPL=", 10);
  if (level == 3) reach(Grade::kKernel, "processor", "it runs a user program", ms);
  // Kernels live in the upper half of the address space; UEFI, which pages too, in the lower one.
  const auto at = number(text, "RIP=", 16);
  const auto at32 = number(text, "EIP=", 16);
  if ((at && *at >= 0xffff800000000000U) || (!at && at32 && *at32 >= 0x80000000U))
    reach(Grade::kKernel, "processor", "it runs a kernel", ms);
}

void Evidence::agent(const std::string& answer, uint64_t ms) {
  ConsoleText clean;
  clean.feed(answer, {});
  reach(Grade::kAgent, "agent", clean.tail(), ms);
}

void Evidence::panicked(uint64_t ms) {
  reach(Grade::kKernel, "machine", "the kernel reported a panic", ms);
  fail("panic", "machine", "the kernel reported a panic");
}

void Evidence::reset(uint64_t) {
  ++resets_;
  early_resets_ = kernel_since_reset_ ? 0 : early_resets_ + 1;
  kernel_since_reset_ = false;
  if (early_resets_ >= kEarlyResets)
    fail("reboot-loop", "machine",
         "it restarted " + std::to_string(early_resets_) + " times before any kernel");
  else if (resets_ >= kMostResets)
    fail("reboot-loop", "machine", "it restarted " + std::to_string(resets_) + " times");
}

std::string Evidence::tail() const {
  std::string serial = texts_[static_cast<std::size_t>(Channel::kSerial)].tail();
  if (!serial.empty()) return serial;
  std::string out;
  for (const std::string& row : rows_) out += row + "\n";
  return out.size() <= ConsoleText::kTail ? out : out.substr(out.size() - ConsoleText::kTail);
}

std::vector<std::string> text_rows(std::string_view characters) {
  constexpr std::size_t kColumns = 80;
  // A graphics mode leaves anything here; a text screen has letters and blanks almost only.
  std::size_t foreign = 0, letters = 0;
  for (const char c : characters) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte > 0x20 && byte < 0x7f) ++letters;
    if ((byte != 0 && byte < 0x20) || (byte >= 0x7f && (byte < 0xb0 || byte > 0xdf))) ++foreign;
  }
  std::vector<std::string> rows;
  if (letters == 0 || foreign * 20 > characters.size()) return rows;
  for (std::size_t at = 0; at < characters.size(); at += kColumns) {
    std::string row;
    for (const char c : characters.substr(at, kColumns)) row += c >= 0x20 && c < 0x7f ? c : ' ';
    const std::size_t end = row.find_last_not_of(' ');
    row.resize(end == std::string::npos ? 0 : end + 1);
    if (!row.empty()) rows.push_back(std::move(row));
  }
  return rows;
}

bool may_be_late(std::string_view failed, std::string_view text) {
  const auto shows = [&](const char* words) { return text.find(words) != std::string_view::npos; };
  if (failed == "panic") return shows("timer doesn't work");
  return failed == "emergency" && shows("Timed out waiting for device");
}

}  // namespace hyperhost::qemu_boot
