// SPDX-License-Identifier: Apache-2.0
// What is read of a disk's structures, by images made here byte for byte, and the rules about them.
// What tools make of the same is in tests/e2e/cli_structures.py.
#include "core/migrate/structure_rules.hpp"

#include <gmock/gmock.h>

#include <cstring>
#include <fstream>
#include <set>

namespace hyperhost {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kMiB = 1 << 20;

class Image {
 public:
  explicit Image(uint64_t size = 8 * kMiB) : bytes_(size) {}

  Image& put(uint64_t at, std::string_view text) {
    std::copy(text.begin(), text.end(), bytes_.begin() + static_cast<std::ptrdiff_t>(at));
    return *this;
  }
  Image& little(uint64_t at, uint64_t value, unsigned width) {
    for (unsigned i = 0; i < width; ++i)
      bytes_[at + i] = static_cast<unsigned char>(value >> (8 * i));
    return *this;
  }
  Image& big(uint64_t at, uint64_t value, unsigned width) {
    for (unsigned i = 0; i < width; ++i)
      bytes_[at + i] = static_cast<unsigned char>(value >> (8 * (width - 1 - i)));
    return *this;
  }
  /// An entry of the table at a sector.
  Image& partition(unsigned index, uint8_t type, uint32_t start, uint32_t length,
                   uint64_t table = 0, uint8_t status = 0) {
    const uint64_t at = table * 512 + 446 + 16 * index;
    little(at, status, 1)
        .little(at + 4, type, 1)
        .little(at + 8, start, 4)
        .little(at + 12, length, 4);
    return little(table * 512 + 510, 0xaa55, 2);
  }
  Image& grub(uint64_t next = 1) {
    little(0, 0x63eb, 2).put(0x180, "GRUB ").little(0x5c, next, 8).little(510, 0xaa55, 2);
    return put(next * 512, "core");
  }

  DiskStructure read(uint64_t most = 4 * kMiB) const {
    DiskBytes disk(
        [this](uint64_t offset, void* buffer, uint64_t length) {
          ASSERT_LE(offset, bytes_.size());
          ASSERT_LE(length, bytes_.size() - offset);
          std::memcpy(buffer, bytes_.data() + offset, length);
        },
        bytes_.size(), most);
    return read_structure(disk);
  }
  /// The kind of the disk as a whole.
  Volume whole() const {
    const DiskStructure structure = read();
    EXPECT_EQ(structure.volumes.size(), 1u);
    return structure.volumes.empty() ? Volume() : structure.volumes.front();
  }

 private:
  std::vector<unsigned char> bytes_;
};

TEST(Structures, ADiskWithoutAnyHasNone) {
  const DiskStructure nothing = Image().read();
  EXPECT_FALSE(nothing.known());
  EXPECT_FALSE(nothing.cut);
  EXPECT_FALSE(Image(0).read().known());
  EXPECT_FALSE(Image(1).read().known());
  EXPECT_FALSE(Image(513).read().known());
}

TEST(Structures, KindsAreKnownByTheirSuperblocks) {
  using namespace std::string_view_literals;
  const std::pair<const char*, Image> images[] = {
      {"xfs", Image().put(0, "XFSB").big(100, 0xb4a5, 2)},
      {"xfs-v4", Image().put(0, "XFSB").big(100, 0xb4a4, 2)},
      {"btrfs", Image().put(65536 + 64, "_BHRfS_M")},
      {"luks1", Image().put(0, "LUKS\xba\xbe\0\1"sv)},
      {"lvm", Image().put(512, "LABELONE").put(536, "LVM2 001")},
      {"raid", Image().little(4096, 0xa92b4efc, 4)},
      {"raid", Image().little(0, 0xa92b4efc, 4)},
      {"swap", Image().put(4086, "SWAPSPACE2")},
      {"zfs", Image().put(16384, "\1\1\0\0"sv).put(16404, "\0\0\0\7version"sv)},
      {"refs", Image().put(3, "ReFS\0\0\0\0"sv)},
      {"apfs", Image().put(32, "NXSB")},
      {"iso9660", Image().put(32769, "CD001")},
      {"ext2", Image().little(1080, 0xef53, 2).little(1082, 1, 2)},
      {"ext3", Image().little(1080, 0xef53, 2).little(1082, 1, 2).little(1116, 4, 4)},
      {"ext4", Image().little(1080, 0xef53, 2).little(1082, 1, 2).little(1120, 0x40, 4)},
  };
  for (const auto& [kind, image] : images) {
    const Volume volume = image.whole();
    EXPECT_EQ(volume.kind, kind);
    EXPECT_FALSE(volume.dirty) << kind;
    EXPECT_FALSE(volume.hibernated) << kind;
  }
}

TEST(Structures, AnExtOfWhichTheJournalWasNotReplayedIsDirty) {
  const Image clean = Image().little(1080, 0xef53, 2).little(1082, 1, 2).little(1120, 0x40, 4);
  EXPECT_FALSE(clean.whole().dirty);
  const Volume recovers = Image(clean).little(1120, 0x44, 4).whole();
  EXPECT_TRUE(recovers.dirty);
  EXPECT_EQ(recovers.state, "needs_recovery");
  EXPECT_EQ(recovers.state_at, 1120u);
  EXPECT_EQ(Image(clean).little(1082, 0, 2).whole().state, "not unmounted");
  EXPECT_EQ(Image(clean).little(1082, 3, 2).whole().state, "errors were found in it");
}

TEST(Structures, AHibernatedSwapAreaIsSeenAtEveryPageSize) {
  for (const char* saved : {"S1SUSPEND", "S2SUSPEND", "ULSUSPEND", "LINHIB0001"})
    for (const uint64_t page : {4096, 8192, 16384, 65536}) {
      const Volume volume = Image().put(page - 10, saved).whole();
      EXPECT_EQ(volume.kind, "swap");
      EXPECT_TRUE(volume.hibernated);
      EXPECT_EQ(volume.state, saved);
      EXPECT_EQ(volume.state_at, page - 10);
    }
}

/// A LUKS2 header with a document.
Image luks2(const std::string& document) {
  using namespace std::string_view_literals;
  return Image().put(0, "LUKS\xba\xbe\0\2"sv).big(8, 16384, 8).put(4096, document);
}

TEST(Structures, ATokenOfLuksNamesTheTpm) {
  const std::string two = R"({"keyslots": {"0": {}, "1": {}}, "tokens": {"0": )";
  EXPECT_EQ(luks2("{}").whole().seal, Seal::kKey);
  EXPECT_EQ(luks2("not json").whole().seal, Seal::kKey);
  EXPECT_EQ(luks2(std::string(12000, '[')).whole().seal, Seal::kKey);
  EXPECT_EQ(luks2(two + R"({"type": "systemd-recovery", "keyslots": ["0"]}}})").whole().seal,
            Seal::kKey);
  EXPECT_EQ(luks2(two + R"({"type": "systemd-tpm2", "keyslots": ["1"]}}})").whole().seal,
            Seal::kTpm);
  EXPECT_EQ(luks2(two + R"({"type": "systemd-tpm2", "keyslots": ["1", "0"]}}})").whole().seal,
            Seal::kTpmAlone);
  // {"alg":"dir","clevis":{"pin":"tpm2"}} and the same with "tang"
  EXPECT_EQ(luks2(two + R"({"type": "clevis", "keyslots": ["1"], "jwe": {"protected":
                           "eyJhbGciOiJkaXIiLCJjbGV2aXMiOnsicGluIjoidHBtMiJ9fQ"}}}})")
                .whole()
                .seal,
            Seal::kTpm);
  EXPECT_EQ(luks2(two + R"({"type": "clevis", "keyslots": ["1"], "jwe": {"protected":
                           "eyJhbGciOiJkaXIiLCJjbGV2aXMiOnsicGluIjoidGFuZyJ9fQ"}}}})")
                .whole()
                .seal,
            Seal::kNetworkKey);
  EXPECT_EQ(luks2(R"({"keyslots": [], "tokens": [3, null, {"type": {}}, {"type": "systemd-tpm2",
                      "keyslots": 5}]})")
                .whole()
                .seal,
            Seal::kTpm);
}

/// A volume of BitLocker whose master keys have these protectors.
Image bitlocker(const std::vector<uint16_t>& protectors) {
  Image image;
  image.put(3, "-FVE-FS-").little(176, kMiB, 8).put(kMiB, "-FVE-FS-");
  image.little(kMiB + 64, 48 + protectors.size() * 64, 4);
  uint64_t at = kMiB + 64 + 48;
  for (const uint16_t one : protectors) {
    image.little(at, 64, 2).little(at + 2, 2, 2).little(at + 4, 8, 2).little(at + 34, one, 2);
    at += 64;
  }
  return image;
}

TEST(Structures, ProtectorsOfBitLockerAreRead) {
  EXPECT_EQ(bitlocker({}).whole().kind, "bitlocker");
  EXPECT_EQ(bitlocker({}).whole().seal, Seal::kKey);
  EXPECT_EQ(bitlocker({0x0800, 0x2000}).whole().seal, Seal::kKey);
  EXPECT_EQ(bitlocker({0x0100}).whole().seal, Seal::kTpmAlone);
  EXPECT_EQ(bitlocker({0x0100, 0x0800}).whole().seal, Seal::kTpm);
  EXPECT_EQ(bitlocker({0x0500, 0x0800}).whole().seal, Seal::kTpm);
  EXPECT_EQ(bitlocker({0x0100, 0x0000}).whole().seal, Seal::kClear);
  EXPECT_EQ(Image(bitlocker({0x0100})).little(176, UINT64_MAX, 8).whole().seal, Seal::kKey);
  EXPECT_EQ(Image(bitlocker({0x0100})).little(kMiB + 64 + 48, 0, 2).whole().seal, Seal::kKey);
}

TEST(Structures, PrimaryAndLogicalPartitionsAreRead) {
  Image image;
  image.partition(0, 0x83, 2048, 2048, 0, 0x80).partition(1, 0x05, 6144, 8192);
  image.partition(0, 0x82, 64, 1024, 6144).partition(1, 0x05, 2048, 2048, 6144);
  image.partition(0, 0x8e, 64, 512, 6144 + 2048);
  image.little(2048 * 512 + 1080, 0xef53, 2).little(2048 * 512 + 1082, 1, 2);
  image.put((6144 + 64) * 512 + 4086, "SWAPSPACE2");
  const DiskStructure seen = image.read();
  EXPECT_EQ(seen.table, "mbr");
  EXPECT_THAT(seen.problems, IsEmpty());
  ASSERT_EQ(seen.volumes.size(), 3u);
  EXPECT_EQ(seen.volumes[0].kind, "ext2");
  EXPECT_TRUE(seen.volumes[0].active);
  EXPECT_EQ(seen.volumes[1].number, 5u);
  EXPECT_EQ(seen.volumes[1].offset, (6144u + 64) * 512);
  EXPECT_EQ(seen.volumes[1].kind, "swap");
  EXPECT_EQ(seen.volumes[2].number, 6u);
  EXPECT_EQ(seen.volumes[2].type, "8E");
  EXPECT_EQ(seen.volumes[2].kind, "");
}

TEST(Structures, ATableThatLeadsNowhereEndsTheReading) {
  Image circle;
  circle.partition(0, 0x05, 2048, 8192);
  circle.partition(0, 0x83, 64, 64, 2048).partition(1, 0x05, 0, 64, 2048);
  EXPECT_THAT(circle.read().problems, ElementsAre(HasSubstr("runs in a circle")));
  Image broken;
  broken.partition(0, 0x0f, 4096, 8192);
  EXPECT_THAT(broken.read().problems, ElementsAre(HasSubstr("chain of logical partitions is")));
  Image beyond;
  beyond.partition(0, 0x83, 2048, 0xffffffff).partition(1, 0x83, 0xfffffff0, 100);
  const DiskStructure seen = beyond.read();
  EXPECT_THAT(seen.problems, ElementsAre(HasSubstr("partition 1 ends beyond"),
                                         HasSubstr("partition 2 begins beyond")));
  ASSERT_EQ(seen.volumes.size(), 1u);
  EXPECT_EQ(seen.volumes[0].length, 8 * kMiB - 2048 * 512);
}

TEST(Structures, ABootSectorIsNoTable) {
  Image noise;
  for (uint64_t at = 0; at < 510; ++at) noise.little(at, 0x5a, 1);
  noise.little(510, 0xaa55, 2);
  const DiskStructure seen = noise.read();
  EXPECT_EQ(seen.table, "");
  EXPECT_EQ(seen.boot_code, "other");
  EXPECT_THAT(seen.volumes, IsEmpty());
}

TEST(Structures, GrubMustHaveItsNextPart) {
  EXPECT_EQ(Image().grub().read().boot_code, "grub");
  EXPECT_EQ(Image().grub().read().boot_code_fault, "");
  EXPECT_THAT(Image().grub().little(0x5c, 77, 8).read().boot_code_fault,
              HasSubstr("sector 77, which is empty"));
  EXPECT_THAT(Image().grub().little(0x5c, UINT64_MAX, 8).read().boot_code_fault,
              HasSubstr("which is empty"));
}

TEST(Structures, TheBudgetIsKept) {
  Image image(64 * kMiB);
  for (unsigned i = 0; i < 4; ++i) image.partition(i, 0x83, 2048 + i * 8192, 4096);
  const DiskStructure all = image.read();
  EXPECT_FALSE(all.cut);
  EXPECT_EQ(all.bytes_read, 5u * 72 * 1024);
  const DiskStructure some = image.read(100 << 10);
  EXPECT_TRUE(some.cut);
  EXPECT_LE(some.bytes_read, 100u << 10);
  EXPECT_EQ(some.volumes.size(), 4u);
}

TEST(Structures, WhatTheSourceThrowsComesThrough) {
  DiskBytes disk([](uint64_t, void*, uint64_t) { throw Error(Code::kIo, "torn cable"); }, kMiB,
                 kMiB);
  EXPECT_THROW(static_cast<void>(read_structure(disk)), Error);
}

// --- the rules

DiskStructure holding(Volume volume) {
  DiskStructure out;
  out.table = "gpt";
  out.boot_code = "grub";
  volume.number = 1;
  out.volumes.push_back(std::move(volume));
  return out;
}

Volume of_kind(const char* kind) {
  Volume out;
  out.kind = kind;
  return out;
}

std::vector<VmFinding> found_in(std::vector<DiskStructure> disks, const char* firmware = "bios",
                                bool prepared = true, const char* power = "off") {
  VmDescription vm;
  vm.name = "web-01";
  vm.firmware = firmware;
  vm.power_state = power;
  std::vector<DiskRoute> routes(disks.size());
  for (std::size_t i = 0; i < disks.size(); ++i) {
    routes[i].disk.id = "disk-" + std::to_string(i);
    vm.disks.push_back(routes[i].disk);
  }
  GuestSettings guest;
  guest.wanted = prepared;
  return find_in_structures({vm, routes, guest}, disks);
}

std::string text_of(const std::vector<VmFinding>& findings) {
  std::string out;
  for (const VmFinding& one : findings)
    out += (out.empty() ? "" : "; ") + one.rule + " " + finding_severity_name(one.severity);
  return out;
}

TEST(StructureRules, ALoaderIsWhatTheFirmwareStarts) {
  const DiskStructure bios = holding(of_kind("ext4"));
  DiskStructure none = bios, fault = bios;
  none.boot_code.clear();
  fault.boot_code_fault = "its next sector is empty";
  DiskStructure efi = none;
  efi.volumes[0] = of_kind("vfat");
  efi.volumes[0].loaders = {"EFI/DEBIAN/GRUBX64.EFI"};
  DiskStructure fallback = efi;
  fallback.volumes[0].fallback_loader = "EFI/BOOT/BOOTX64.EFI";
  struct Case {
    DiskStructure disk;
    const char *bios, *uefi, *unknown;
  };
  const Case cases[] = {
      {bios, "", "boot.firmware-differs error", ""},
      {none, "boot.no-loader error", "boot.no-loader error", "boot.no-loader error"},
      {fault, "boot.no-loader error", "boot.no-loader error", "boot.no-loader error"},
      {efi, "boot.firmware-differs error", "boot.efi-fallback error", "boot.efi-fallback error"},
      {fallback, "boot.firmware-differs error", "", ""},
  };
  for (const Case& one : cases) {
    EXPECT_EQ(text_of(found_in({one.disk})), one.bios);
    EXPECT_EQ(text_of(found_in({one.disk}, "uefi")), one.uefi);
    EXPECT_EQ(text_of(found_in({one.disk}, "unknown")), one.unknown);
  }
  EXPECT_EQ(text_of(found_in({none, bios})), "") << "another disk has it";
  EXPECT_EQ(found_in({fault})[0].evidence, "disk-0: its next sector is empty");
  EXPECT_EQ(found_in({efi}, "uefi")[0].evidence, "the whole disk, vfat: EFI/DEBIAN/GRUBX64.EFI");
}

TEST(StructureRules, NothingIsSaidOfALoaderThatMayBeElsewhere) {
  DiskStructure none = holding(of_kind("ext4"));
  none.boot_code.clear();
  DiskStructure cut = none;
  cut.cut = true;
  EXPECT_EQ(text_of(found_in({cut})), "fs.in-part note");
  VmDescription vm;
  vm.firmware = "bios";
  vm.disks.resize(2);
  std::vector<DiskRoute> one(1);
  EXPECT_THAT(find_in_structures({vm, one, {}}, {none}), IsEmpty()) << "the plan leaves a disk out";
  EXPECT_EQ(text_of(found_in({DiskStructure(), DiskStructure()})), "fs.unknown note");
  EXPECT_THAT(found_in({}), IsEmpty());
}

TEST(StructureRules, StatesOfVolumesAreFound) {
  const auto found = [](const char* kind, auto&& change, const char* power = "off") {
    Volume volume = of_kind(kind);
    change(volume);
    return text_of(found_in({holding(volume)}, "bios", true, power));
  };
  const auto as_it_is = [](Volume&) {};
  const auto dirty = [](Volume& one) { one.dirty = true; };
  const auto hibernated = [](Volume& one) { one.hibernated = true; };
  const auto sealed = [](Seal seal) { return [seal](Volume& one) { one.seal = seal; }; };
  EXPECT_EQ(found("ext4", as_it_is), "");
  EXPECT_EQ(found("ext4", dirty), "fs.dirty warning");
  EXPECT_EQ(found("ntfs", dirty, "on"), "fs.dirty note") << "it runs";
  EXPECT_EQ(found("swap", hibernated), "linux.hibernated error");
  EXPECT_EQ(found("ntfs", hibernated), "win.hibernated error");
  EXPECT_EQ(found("luks1", as_it_is), "crypt.luks warning");
  EXPECT_EQ(found("luks2", sealed(Seal::kTpm)), "crypt.tpm-sealed warning; crypt.luks warning");
  EXPECT_EQ(found("luks2", sealed(Seal::kTpmAlone)), "crypt.tpm-sealed error; crypt.luks warning");
  EXPECT_EQ(found("bitlocker", sealed(Seal::kClear)), "crypt.bitlocker note");
  EXPECT_EQ(found("bitlocker", sealed(Seal::kTpmAlone)),
            "crypt.tpm-sealed error; crypt.bitlocker warning");
  EXPECT_EQ(found("zfs", as_it_is), "fs.unsupported warning");
  EXPECT_EQ(found("xfs-v4", as_it_is), "fs.unsupported note");
}

TEST(StructureRules, ADynamicDiskIsAnErrorWhereItIsToBePrepared) {
  DiskStructure disk = holding(of_kind(""));
  disk.volumes[0].type = "42";
  EXPECT_EQ(text_of(found_in({disk})), "win.dynamic-disk error");
  EXPECT_EQ(text_of(found_in({disk}, "bios", false)), "win.dynamic-disk warning");
  disk.volumes[0].type = kLdmData;
  EXPECT_EQ(text_of(found_in({disk})), "win.dynamic-disk error");
  DiskStructure data = disk;
  data.boot_code.clear();
  EXPECT_EQ(text_of(found_in({holding(of_kind("ntfs")), data})), "win.dynamic-disk warning");
}

TEST(StructureRules, TheGuideHasTheTable) {
  std::ifstream file(HYPERHOST_SOURCE_DIR "/docs/plan.md");
  const std::string guide((std::istreambuf_iterator<char>(file)), {});
  std::set<std::string> there;
  for (const StructureRule& rule : structure_rules()) {
    EXPECT_TRUE(there.insert(rule.id).second) << rule.id << " stands twice";
    EXPECT_THAT(guide, HasSubstr("| `" + std::string(rule.id) + "` | " +
                                 finding_severity_name(rule.severity) + " | " + rule.reads + " |"));
  }
}

}  // namespace
}  // namespace hyperhost
