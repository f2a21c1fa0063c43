// SPDX-License-Identifier: Apache-2.0
// What the plugin qemu-boot concludes from recorded consoles: boots, each kind of failure, hostile
// bytes, text in pieces of any size.
#include "plugins/boot/qemu-boot/evidence.hpp"

#include <gmock/gmock.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "plugins/boot/qemu-boot/base64.hpp"
#include "plugins/boot/qemu-boot/machine.hpp"

namespace hyperhost::qemu_boot {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

const char* const kSeaBios =
    "SeaBIOS (version 1.16.2-debian-1.16.2-1)\nenter handle_19:\n  NULL\n"
    "Booting from Hard Disk...\nBooting from 0000:7c00\n";

/// As GRUB, a kernel, systemd and getty write to a serial console.
const char* const kDebian =
    "\x1b[H\x1b[J\x1b[1;1H\x1b[H\x1b[J\x1b[1;1H  Booting `Debian GNU/Linux'\n\r\n\r"
    "Loading Linux 6.1.0-18-amd64 ...\r\nLoading initial ramdisk ...\r\n"
    "[    0.000000] Linux version 6.1.0-18-amd64 (debian-kernel@lists.debian.org)\r\n"
    "[    2.118301] systemd[1]: Detected virtualization qemu.\r\n"
    "[\x1b[0;32m  OK  \x1b[0m] Reached target \x1b[0;1;39mmulti-user.target\x1b[0m - Multi-User "
    "System.\r\n"
    "\r\nDebian GNU/Linux 12 web01 ttyS0\r\n\r\nweb01 login: ";

Evidence serial(const std::string& text) {
  Evidence out;
  out.feed(Channel::kFirmware, kSeaBios, 900);
  out.feed(Channel::kSerial, text, 1000);
  return out;
}

TEST(BootEvidence, ABootReachesEachGradeWithItsEvidence) {
  const Evidence evidence = serial(kDebian);
  EXPECT_EQ(evidence.grade(), Grade::kLogin);
  EXPECT_EQ(evidence.failed(), "");
  std::vector<std::string> seen;
  for (const Reached& one : evidence.reached())
    seen.push_back(std::string(grade_name(one.grade)) + ": " + one.evidence);
  EXPECT_THAT(seen, ElementsAre(StartsWith("firmware: firmware log: SeaBIOS"),
                                "loader: serial:   Booting `Debian GNU/Linux'",
                                StartsWith("kernel: serial: [    0.000000] Linux version"),
                                HasSubstr("Reached target multi-user.target")));
  EXPECT_EQ(evidence.reached()[0].ms, 900u);
  EXPECT_THAT(evidence.tail(), ::testing::EndsWith("\nweb01 login: "));
}

TEST(BootEvidence, TextInPiecesOfAnySizeGivesTheSame) {
  const std::string text = kDebian;
  for (std::size_t piece = 1; piece < 40; ++piece) {
    Evidence evidence;
    for (std::size_t at = 0; at < text.size(); at += piece)
      evidence.feed(Channel::kSerial, text.substr(at, piece), at);
    EXPECT_EQ(evidence.grade(), Grade::kLogin) << piece;
    EXPECT_EQ(evidence.failed(), "") << piece;
    EXPECT_EQ(evidence.tail(), serial(text).tail()) << piece;
  }
}

struct Failure {
  const char* name;
  Grade grade;
  const char* text;
};

TEST(BootEvidence, EachFailureHasItsName) {
  const Failure failures[] = {
      {"grub-rescue", Grade::kLoader,
       "GRUB loading.\r\nWelcome to GRUB!\r\n\r\nerror: no such device: 5a6d1f0e.\r\n"
       "Entering rescue mode...\r\ngrub rescue> "},
      {"grub-rescue", Grade::kLoader,
       "\x1b[1;1H   Minimal BASH-like line editing is supported.\x1b[5;1Hgrub> "},
      {"initramfs", Grade::kKernel,
       "Gave up waiting for root file system device.  Common problems:\r\n"
       "ALERT!  /dev/sda1 does not exist.  Dropping to a shell!\r\n\r\n\r\nBusyBox "
       "v1.35.0\r\n(initramfs) "},
      {"initramfs", Grade::kKernel,
       "Generating \"/run/initramfs/rdsosreport.txt\"\r\n\r\n\r\nEntering emergency mode.\r\n"},
      {"panic", Grade::kKernel,
       "[    1.9] Kernel panic - not syncing: VFS: Unable to mount root fs on "
       "unknown-block(0,0)\r\n"},
      {"emergency", Grade::kKernel,
       "You are in emergency mode. After logging in, type \"journalctl -xb\"\r\n"
       "Give root password for maintenance\r\n(or press Control-D to continue): "},
      {"bsod", Grade::kKernel, "*** STOP: 0x0000007B (0xFFFFF880009A97E8)\r\n"},
      {"no-boot-device", Grade::kFirmware, "Missing operating system."},
      {"efi-shell", Grade::kFirmware,
       "\x1b[2J\x1b[01;01H\x1b[=3h\x1b[2J\x1b[01;01HBdsDxe: failed to load Boot0001 \"UEFI Misc "
       "Device\" "
       "from PciRoot(0x0)/Pci(0x3,0x0): Not Found\r\nBdsDxe: loading Boot0002 \"EFI Internal "
       "Shell\" from "
       "Fv(7CB8BDC9-F8EB-4F34-AAEA-3EE4AF6516A1)\r\n\x1b[2J\x1b[01;01H\x1b[01;01HUEFI Interactive "
       "Shell "
       "v2.2\r\nEDK II\r\n\x1b[08;01H\x1b[1m\x1b[33m\x1b[40mShell> \x1b[0m\x1b[37m\x1b[40m"},
      {"no-boot-device", Grade::kFirmware, "BdsDxe: No bootable option or device was found.\r\n"},
      {"no-boot-device", Grade::kFirmware,
       "BOOTMGR is missing\r\nPress Ctrl+Alt+Del to restart\r\n"},
      {"no-boot-device", Grade::kFirmware, "Operating system load error.\r\n"},
      {"no-boot-device", Grade::kFirmware,
       "This is not a bootable disk.  Please insert a bootable floppy and\r\npress any key to try "
       "again ...\r\n"},
      {"grub-rescue", Grade::kLoader, "GRUB Hard Disk Error"},
      {"initramfs", Grade::kKernel,
       "Begin: Running /scripts/local-block ... done.\r\n"
       "No root device specified. Boot arguments must include a root= parameter.\r\n\r\n\r\n"
       "BusyBox v1.35.0 (Debian 1:1.35.0-4+b3) built-in shell (ash)\r\n"
       "Enter 'help' for a list of built-in commands.\r\n\r\n(initramfs) "},
      {"initramfs", Grade::kKernel,
       "[  190.0] dracut-initqueue[350]: Warning: Could not boot.\r\n"
       "         Starting Dracut Emergency Shell...\r\n"
       "Warning: /dev/mapper/rhel-root does not exist\r\n\r\n"
       "Type \"journalctl\" to view system logs.\r\n\r\n\r\ndracut:/# "},
      {"initramfs", Grade::kKernel,
       "[    3.1] dracut: FATAL: No or empty root= argument\r\n[    3.1] dracut: Refusing to "
       "continue\r\n"},
      {"initramfs", Grade::kKernel,
       ":: mounting '/dev/sda2' on real root\r\nmount: /new_root: special device /dev/sda2 does "
       "not "
       "exist.\r\nYou are now being dropped into an emergency shell.\r\nsh: can't access tty; job "
       "control turned off\r\n[rootfs ~]# "},
      {"panic", Grade::kKernel,
       "[    2.0] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100\r\n"},
      {"emergency", Grade::kKernel,
       "You are in emergency mode. After logging in, type \"journalctl -xb\" to view\r\nsystem "
       "logs, \"systemctl reboot\" to reboot, or \"exit\"\r\nto continue bootup.\r\n\r\nCannot "
       "open "
       "access to console, the root account is locked.\r\n"},
      {"bsod", Grade::kKernel,
       "A problem has been detected and Windows has been shut down to prevent damage\r\nto your "
       "computer.\r\n\r\nINACCESSIBLE_BOOT_DEVICE\r\n"},
      {"bsod", Grade::kLoader,
       "Windows failed to start. A recent hardware or software change might be the cause.\r\n"},
      {"secure-boot", Grade::kLoader,
       "\x1b[10;30H ERROR \x1b[11;20HVerification failed: (0x1A) Security Violation\x1b[13;30H "
       "OK "},
      {"secure-boot", Grade::kLoader,
       "Loading Linux 6.1.0-18-amd64 ...\r\nerror: bad shim signature.\r\nLoading initial ramdisk "
       "...\r\nerror: you need to load the kernel first.\r\n"},
  };
  for (const Failure& failure : failures) {
    const Evidence evidence = serial(failure.text);
    EXPECT_EQ(evidence.failed(), failure.name) << failure.text;
    EXPECT_EQ(evidence.grade(), failure.grade) << failure.text;
    EXPECT_THAT(evidence.failure(), StartsWith("serial: ")) << failure.text;
  }
}

// As OVMF with the usual keys writes it for a loader that no key has signed.
constexpr const char* kRefused =
    "BdsDxe: loading Boot0001 \"UEFI Misc Device\" from PciRoot(0x0)/Pci(0x2,0x0)\r\n"
    "BdsDxe: failed to load Boot0001 \"UEFI Misc Device\" from PciRoot(0x0)/Pci(0x2,0x0): Access "
    "Denied\r\n";
constexpr const char* kNoShell =
    "BdsDxe: failed to start Boot0002 \"EFI Internal Shell\" from Fv(7CB8BDC9)/FvFile(7C04A583): "
    "Security Violation\r\nBdsDxe: No bootable option or device was found.\r\n";

TEST(BootEvidence, AFirmwareThatRefusesTheLoaderIsNoMissingDevice) {
  Evidence refused = serial(std::string(kRefused) + kNoShell);
  EXPECT_EQ(refused.failed(), "secure-boot");
  EXPECT_THAT(refused.failure(), HasSubstr("Pci(0x2,0x0): Access Denied"));
  EXPECT_EQ(refused.grade(), Grade::kFirmware);
  // The shell of the firmware is refused on every disk that holds nothing to boot.
  EXPECT_NE(serial(kNoShell).failed(), "secure-boot");
  // Another disk may hold a loader that is signed.
  EXPECT_EQ(serial(std::string(kRefused) + "Welcome to GRUB!\r\n").failed(), "");
}

TEST(BootEvidence, TheFirmwareSaysThatNothingBoots) {
  Evidence evidence;
  evidence.feed(Channel::kFirmware, "Booting from Hard Disk...\nBoot failed: not a bootable disk\n",
                1);
  EXPECT_EQ(evidence.failed(), "");
  evidence.feed(Channel::kFirmware, "\nNo boota", 2);
  evidence.feed(Channel::kFirmware, "ble device.\n", 3);
  EXPECT_EQ(evidence.failed(), "no-boot-device");
  EXPECT_EQ(evidence.failure(), "firmware log: No bootable device.");
}

TEST(BootEvidence, ALoginIsAPromptAndNotAMention) {
  for (const char* text :
       {"Last login: Fri Nov 27\r\n", " login: ", "please see the page \"web01 login:\"\r\n"})
    EXPECT_LT(serial(text).grade(), Grade::kLogin) << text;
  for (const char* text : {"web01 login: ", "\r\nweb01.example.org login:",
                           "web01 login: [   12.3] a line of the kernel\r\n"})
    EXPECT_EQ(serial(text).grade(), Grade::kLogin) << text;
}

TEST(BootEvidence, AMarkOfTheUserCountsAsALogin) {
  Evidence evidence({"appliance: up"});
  evidence.feed(Channel::kSerial, "hyper appliance: u", 1);
  EXPECT_LT(evidence.grade(), Grade::kLogin);
  evidence.feed(Channel::kSerial, "p (6.1)", 2);
  EXPECT_EQ(evidence.grade(), Grade::kLogin);
}

TEST(BootEvidence, HostileBytesBecomeBoundedPrintableText) {
  std::string text = "\x1b]0;title that goes on \x1b[2J\x1b[";
  for (int i = 0; i < 100'000; ++i) text += static_cast<char>((i * 7919 + i / 251) & 0xff);
  text += std::string(50'000, 'x') + "\x1b[" + std::string(10'000, '9') + "\r\nend\r\n";
  Evidence evidence;
  for (std::size_t at = 0; at < text.size(); at += 4099)
    evidence.feed(Channel::kSerial, text.substr(at, 4099), at);
  EXPECT_LE(evidence.tail().size(), ConsoleText::kTail);
  EXPECT_THAT(evidence.tail(), ::testing::EndsWith("end\n"));
  for (const char c : evidence.tail()) EXPECT_TRUE(c == '\n' || (c >= 0x20 && c < 0x7f));
  EXPECT_THAT(evidence.reached(), SizeIs(::testing::Le(5u)));
}

TEST(BootEvidence, TheFirstFailureStands) {
  const Evidence evidence =
      serial("Kernel panic - not syncing: x\r\nYou are in emergency mode\r\n");
  EXPECT_EQ(evidence.failed(), "panic");
}

TEST(BootEvidence, TheProcessorShowsAKernelWithoutAConsole) {
  Evidence evidence;
  evidence.registers("EAX=0 EIP=000eb8cf EFL=00000046 [---Z-P-] CPL=0 II=0\nCR0=00000011 CR2=0", 1);
  evidence.registers("RIP=000000007f9cb3e0 RFL=00000046 CPL=0\nCR0=80010033 CR2=0", 2);  // UEFI
  EXPECT_EQ(evidence.grade(), Grade::kNone);
  evidence.registers("RIP=ffffffff81e0b3e0 RFL=00000046 CPL=0\nCR0=80050033 CR2=0", 3);
  EXPECT_EQ(evidence.grade(), Grade::kKernel);
  evidence.registers("RIP=00007f0123456789 RFL=00000246 CPL=3\nCR0=80050033 CR2=0", 4);
  EXPECT_EQ(evidence.grade(), Grade::kKernel);
  Evidence old;
  old.registers("EAX=0 EIP=c10231aa EFL=00000246 CPL=0 II=0\nCR0=8005003b CR2=0", 1);
  EXPECT_EQ(old.grade(), Grade::kKernel);
}

TEST(BootEvidence, RestartsAreALoopWhenNothingComesBetweenThem) {
  Evidence early;
  for (unsigned i = 0; i + 1 < Evidence::kEarlyResets; ++i) early.reset(i);
  EXPECT_EQ(early.failed(), "");
  early.reset(9);
  EXPECT_EQ(early.failed(), "reboot-loop");
  Evidence installs;  // a guest that prepares itself
  for (unsigned i = 0; i + 1 < Evidence::kMostResets; ++i) {
    installs.registers("RIP=ffffffff81e0b3e0 CPL=0\nCR0=80050033", i);
    installs.reset(i);
  }
  EXPECT_EQ(installs.failed(), "");
  installs.registers("RIP=ffffffff81e0b3e0 CPL=0\nCR0=80050033", 50);
  installs.reset(51);
  EXPECT_EQ(installs.failed(), "reboot-loop");
}

TEST(BootEvidence, TheScreenOfAGuestWithoutASerialConsole) {
  std::string memory(32 * 1024 / 2, ' ');
  const auto put = [&](std::size_t row, const std::string& text) {
    memory.replace(row * 80, text.size(), text);
  };
  put(40, "Debian GNU/Linux 12 web01 tty1");  // scrolled: the screen begins anywhere
  put(42, "web01 login: _");
  Evidence evidence;
  evidence.screen(text_rows(memory), 5);
  EXPECT_EQ(evidence.grade(), Grade::kLogin);
  EXPECT_EQ(evidence.tail(), "Debian GNU/Linux 12 web01 tty1\nweb01 login: _\n");
}

TEST(BootEvidence, AGraphicsScreenIsNoText) {
  EXPECT_THAT(text_rows(std::string(16384, '\0')), IsEmpty());
  std::string noise;
  for (int i = 0; i < 16384; ++i) noise += static_cast<char>((i * 31 + i / 97) & 0xff);
  EXPECT_THAT(text_rows(noise), IsEmpty());
  std::string boxes(16384, ' ');
  boxes.replace(0, 4, "\xc9\xcd\xcd\xbb");
  boxes.replace(80, 8, "GNU GRUB");
  EXPECT_THAT(text_rows(boxes), ElementsAre("GNU GRUB"));
}

TEST(BootEvidence, GradesHaveNames) {
  for (const char* name : {"none", "firmware", "loader", "kernel", "login", "agent"})
    EXPECT_STREQ(grade_name(*grade_named(name)), name);
  EXPECT_FALSE(grade_named("traces"));
}

class BootFirmware : public ::testing::Test {
 protected:
  BootFirmware() {
    char name[] = "/tmp/hyperhost-boot-XXXXXX";
    directory_ = ::mkdtemp(name);
    for (const char* file : {"code.fd", "vars.fd", "secure.fd"})
      std::ofstream(directory_ / file) << "x";
  }
  ~BootFirmware() override { std::filesystem::remove_all(directory_); }
  void describe(const std::string& name, const std::string& code, const std::string& machine,
                const std::string& features) {
    std::ofstream(directory_ / name)
        << R"({"interface-types": ["uefi"], "mapping": {"executable": {"filename": ")"
        << (directory_ / code).string() << R"("}, "nvram-template": {"filename": ")"
        << (directory_ / "vars.fd").string()
        << R"("}}, "targets": [{"architecture": "x86_64", "machines": [")" << machine
        << R"("]}], "features": [)" << features << "]}";
  }
  std::filesystem::path directory_;
};

TEST_F(BootFirmware, IsTheFirstWithoutSecureBootThatFitsTheMachineAndIsThere) {
  describe("40-secure.json", "secure.fd", "pc-q35-*", R"("secure-boot", "requires-smm")");
  describe("50-gone.json", "gone.fd", "pc-q35-*", "");
  describe("60-plain.json", "code.fd", "pc-q35-*", R"("acpi-s3")");
  std::ofstream(directory_ / "10-damaged.json") << "{";
  Machine machine;
  machine.type = "q35";
  const UefiFirmware found = find_uefi({"/nowhere", directory_.string()}, machine);
  EXPECT_EQ(found.code.path, (directory_ / "code.fd").string());
  EXPECT_EQ(found.code.format, "raw");
  EXPECT_EQ(found.variables.path, (directory_ / "vars.fd").string());
  EXPECT_FALSE(found.smm);
  machine.type = "pc";
  EXPECT_THROW(static_cast<void>(find_uefi({directory_.string()}, machine)), hyper::Error);
}

TEST_F(BootFirmware, WithSecureBootHasTheUsualKeys) {
  describe("50-plain.json", "code.fd", "pc-q35-*", "");
  describe("60-no-keys.json", "code.fd", "pc-q35-*", R"("secure-boot", "requires-smm")");
  Machine machine;
  machine.type = "q35";
  machine.secure_boot = true;
  try {
    static_cast<void>(find_uefi({directory_.string()}, machine));
    ADD_FAILURE() << "it took a firmware without keys";
  } catch (const hyper::Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("with secure boot and its keys"));
  }
  describe("70-enrolled.json", "secure.fd", "pc-q35-*",
           R"("secure-boot", "enrolled-keys", "requires-smm")");
  const UefiFirmware found = find_uefi({directory_.string()}, machine);
  EXPECT_EQ(found.code.path, (directory_ / "secure.fd").string());
  EXPECT_TRUE(found.smm);
}

TEST(BootBase64, ReadsWhatQemuWrites) {
  EXPECT_EQ(from_base64(""), "");
  EXPECT_EQ(from_base64("aA=="), "h");
  EXPECT_EQ(from_base64("aHlwZXI="), "hyper");
  EXPECT_EQ(from_base64("AP9/gBtb"), std::string("\0\xff\x7f\x80\x1b[", 6));
}

}  // namespace
TEST(Evidence, AFailureForWantOfTimeIsKnown) {
  EXPECT_TRUE(may_be_late("panic",
                          "serial: Kernel panic - not syncing: IO-APIC + timer doesn't work!  Boot "
                          "with apic=debug"));
  EXPECT_TRUE(may_be_late("emergency",
                          "[ TIME ] Timed out waiting for device dev-disk-by\\x2duuid-1.device - "
                          "/dev/disk/by-uuid/1."));
  EXPECT_FALSE(may_be_late("panic", "Kernel panic - not syncing: VFS: Unable to mount root fs"));
  EXPECT_FALSE(may_be_late("emergency", "You are in emergency mode."));
  EXPECT_FALSE(may_be_late("initramfs", "Timed out waiting for device"));
}

}  // namespace hyperhost::qemu_boot
