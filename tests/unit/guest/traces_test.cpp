// SPDX-License-Identifier: Apache-2.0
// What a guest recorded of its boots. The journals are built here by the published format; that the
// reader agrees with systemd's own was tried with journald's files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "plugins/guest/guestfs/steps/traces.hpp"
#include "plugins/guest/guestfs/text/boot_records.hpp"
#include "tests/unit/guest/memory_guest.hpp"

namespace hyperhost::guestfs {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr const char* kFailedUnit = "MESSAGE_ID=be02cf6855d2428ba40df7e9d022f03d";
constexpr uint64_t kNoon = 1'795'867'200'000'000;  // 2026-11-28 12:00:00 UTC

void put(std::string& to, std::size_t at, uint64_t value, std::size_t bytes) {
  if (to.size() < at + bytes) to.resize(at + bytes);
  for (std::size_t i = 0; i < bytes; ++i) to[at + i] = static_cast<char>(value >> (8 * i));
}

/// A journal file as journald writes it, without the tables that only a search needs.
class JournalFile {
 public:
  explicit JournalFile(bool compact) : compact_(compact), bytes_("LPKSHHRH") {
    put(bytes_, 12, compact ? 16 : 0, 4);
    put(bytes_, 88, 208, 8);
    bytes_.resize(208);
    object(4, 0, std::string(24, '\7'));  // a table, whose content nothing looks at
  }
  void entry(char boot, uint64_t us, const std::vector<std::string>& fields, uint8_t flags = 0) {
    std::vector<uint64_t> offsets;
    for (const std::string& field : fields)
      offsets.push_back(object(1, flags, std::string(compact_ ? 56 : 48, '\1') + field));
    std::string body;
    put(body, 0, ++entries_, 8);
    put(body, 8, us, 8);
    put(body, 16, us, 8);
    body += std::string(16, boot) + std::string(8, '\2');
    for (const uint64_t offset : offsets) {
      put(body, body.size(), offset, compact_ ? 4 : 8);
      if (!compact_) put(body, body.size(), 0, 8);
    }
    object(3, 0, body);
    bytes_.replace(56, 16, std::string(16, boot));
  }
  const std::string& bytes() const { return bytes_; }

 private:
  uint64_t object(int type, uint8_t flags, const std::string& body) {
    const uint64_t at = bytes_.size();
    std::string head;
    put(head, 0, static_cast<uint64_t>(type), 1);
    put(head, 1, flags, 1);
    put(head, 8, 16 + body.size(), 8);
    bytes_ += head + body;
    bytes_.resize((bytes_.size() + 7) / 8 * 8);
    put(bytes_, 136, at, 8);
    return at;
  }
  const bool compact_;
  std::string bytes_;
  uint64_t entries_ = 0;
};

std::string id_of(const char* byte) {
  std::string out;
  for (int i = 0; i < 16; ++i) out += byte;
  return out;
}

std::string wtmp_record(int type, uint32_t seconds, const std::string& host) {
  std::string out(kWtmpRecord, '\0');
  put(out, 0, static_cast<uint64_t>(type), 2);
  out.replace(44, 6, "reboot");
  out.replace(76, host.size(), host);
  put(out, 340, seconds, 4);
  return out;
}

TEST(BootRecords, AJournalNamesItsBootsAndWhatFailedInTheLastOne) {
  for (const bool compact : {false, true}) {
    JournalFile file(compact);
    file.entry('\x11', kNoon, {"MESSAGE=Linux version 6.1", kFailedUnit, "UNIT=old.service"});
    file.entry('\x22', kNoon + 60'000'000, {"MESSAGE=Linux version 6.1"});
    file.entry('\x22', kNoon + 61'000'000, {"UNIT=ssh.service", kFailedUnit, "MESSAGE=Failed"});
    file.entry('\x22', kNoon + 62'000'000, {"UNIT=ssh.service", kFailedUnit});
    file.entry('\x22', kNoon + 63'000'000, {"UNIT=good.service", "MESSAGE=Started"});
    file.entry('\x22', kNoon + 64'000'000,
               {"SYSLOG_IDENTIFIER=systemd-fsck", "MESSAGE=root: recovering \x1b[31mjournal"});
    const Journal journal = read_journal(file.bytes());
    ASSERT_THAT(journal.boots, SizeIs(2));
    EXPECT_EQ(journal.boots[0].id, id_of("11"));
    EXPECT_EQ(journal.boots[1].id, id_of("22"));
    EXPECT_EQ(journal.boots[1].entries, 5u);
    EXPECT_EQ(journal.boots[1].since_us, kNoon + 60'000'000);
    EXPECT_THAT(journal.failed_units, ElementsAre("ssh.service"));
    EXPECT_THAT(journal.checks, ElementsAre("root: recovering ?[31mjournal"));
    EXPECT_EQ(last_boot_id(file.bytes()), id_of("22"));
  }
}

TEST(BootRecords, WhatIsCompressedIsNotTakenForText) {
  JournalFile file(false);
  file.entry('\x11', kNoon, {"UNIT=packed.service", kFailedUnit}, 4);
  EXPECT_THAT(read_journal(file.bytes()).failed_units, IsEmpty());
  EXPECT_THAT(read_journal(file.bytes()).boots, SizeIs(1));
}

TEST(BootRecords, NoJournalIsReadBeyondItsEnd) {
  JournalFile file(true);
  for (int i = 0; i < 20; ++i) file.entry('\x11', kNoon, {"UNIT=a.service", kFailedUnit});
  const std::string good = file.bytes();
  for (std::size_t length = 0; length < good.size(); length += 7)
    static_cast<void>(read_journal(std::string(good.data(), length)));
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    std::string bad = good;
    for (int i = 0; i < 4; ++i) bad[random() % bad.size()] = static_cast<char>(random());
    EXPECT_LE(read_journal(bad).boots.size(), bad.size() / 64);
  }
  EXPECT_THAT(read_journal("").boots, IsEmpty());
  EXPECT_THAT(read_journal(std::string(4096, '\xff')).boots, IsEmpty());
  std::string loop = good;  // an object of no length
  put(loop, 208 + 8, 0, 8);
  EXPECT_THAT(read_journal(loop).boots, IsEmpty());
  EXPECT_EQ(last_boot_id("LPKSHHRH"), "");
  EXPECT_EQ(last_boot_id(std::string("LPKSHHRH") + std::string(200, '\0')), "");
}

TEST(BootRecords, WtmpNamesItsBoots) {
  const std::string records = wtmp_record(2, 1'795'867'200, "6.1.0-18-amd64") +
                              wtmp_record(7, 1'795'867'260, "tty1") +
                              wtmp_record(2, 1'795'870'800, "6.1.0\x1b[2J") + "half a record";
  const std::vector<WtmpBoot> boots = read_wtmp(records);
  ASSERT_THAT(boots, SizeIs(2));
  EXPECT_EQ(boots[0].at_us, kNoon);
  EXPECT_EQ(boots[0].kernel, "6.1.0-18-amd64");
  EXPECT_EQ(boots[1].kernel, "6.1.0?[2J");
  EXPECT_THAT(read_wtmp("short"), IsEmpty());
}

std::vector<std::string> ids(const Traces& traces) {
  std::vector<std::string> out;
  for (const BootTrace& one : traces.boots) out.push_back(one.id);
  return out;
}

TEST(BootTraces, ABootAddsToEachRecordOfTheGuest) {
  const std::string directory = "/var/log/journal/3d1219c7c4c5404aaa1f6d2a48adfda4/";
  JournalFile older(false), current(true);
  older.entry('\x11', kNoon, {"MESSAGE=a"});
  current.entry('\x22', kNoon, {"MESSAGE=b"});
  MemoryGuest guest;
  guest.files = {{directory + "system@0005f.journal", older.bytes()},
                 {directory + "system.journal", current.bytes()},
                 {directory + "user-1000.journal", older.bytes()},
                 {"/var/log/wtmp", wtmp_record(2, 1'795'867'200, "6.1.0")},
                 {"/var/lib/systemd/random-seed", "one"}};
  const Traces before = read_traces(guest);
  EXPECT_THAT(ids(before),
              ElementsAre("seed /var/lib/systemd/random-seed sha256:one", "wtmp 1795867200000000",
                          "journal " + id_of("11"), "journal " + id_of("22")));
  EXPECT_THAT(before.notes, IsEmpty());

  current.entry('\x33', kNoon + 3'600'000'000, {"UNIT=ssh.service", kFailedUnit});
  guest.files[directory + "system.journal"] = current.bytes();
  guest.files["/var/log/wtmp"] += wtmp_record(2, 1'795'870'800, "6.1.0");
  guest.files["/var/lib/systemd/random-seed"] = "two";
  guest.files["/.autorelabel"] = "";
  const Traces after = read_traces(guest);
  EXPECT_THAT(ids(after), Contains("seed /var/lib/systemd/random-seed sha256:two"));
  EXPECT_THAT(after.boots,
              Contains(Field(&BootTrace::evidence,
                             "wtmp has a system boot of 2026-11-28 13:00:00 UTC, kernel 6.1.0")));
  EXPECT_EQ(after.boots.back().id, "journal " + id_of("33"));
  EXPECT_EQ(after.boots.back().evidence, "the journal has 1 entries of boot " + id_of("33") +
                                             ", from 2026-11-28 13:00:00 UTC on");
  EXPECT_THAT(after.notes, ElementsAre("a unit failed: ssh.service (boot 33333333)",
                                       HasSubstr("label its files at the next boot")));
}

TEST(BootTraces, AGuestWithoutRecordsHasNone) {
  MemoryGuest guest;
  guest.files = {{"/etc/os-release", "ID=alpine\n"}, {"/var/log/journal/README", "text"}};
  EXPECT_THAT(read_traces(guest).boots, IsEmpty());
}

}  // namespace
}  // namespace hyperhost::guestfs
