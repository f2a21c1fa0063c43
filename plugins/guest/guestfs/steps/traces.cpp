// SPDX-License-Identifier: Apache-2.0
#include "plugins/guest/guestfs/steps/traces.hpp"

#include <algorithm>
#include <ctime>
#include <set>

#include "plugins/guest/guestfs/text/boot_records.hpp"

namespace hyperhost::guestfs {
namespace {

constexpr const char* kJournals = "/var/log/journal";
constexpr const char* kWtmp = "/var/log/wtmp";
// Of a longer journal the header says which boot wrote last.
constexpr uint64_t kLongestJournal = 64u << 20;
constexpr uint64_t kMostWtmp = 1024 * kWtmpRecord;

/// "2026-11-28 13:40:12 UTC", by the guest's clock.
std::string time_text(uint64_t us) {
  const auto seconds = static_cast<std::time_t>(us / 1'000'000);
  std::tm parts{};
  char text[64] = "";
  if (::gmtime_r(&seconds, &parts) != nullptr)
    std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &parts);
  return text;
}

bool ends(const std::string& text, const std::string& with) {
  return text.size() >= with.size() &&
         text.compare(text.size() - with.size(), with.size(), with) == 0;
}

void add_whole_journal(GuestFiles& files, const std::string& path, Traces& out) {
  const Journal journal = read_journal(files.read_part(path, 0, kLongestJournal));
  for (const JournalBoot& boot : journal.boots)
    out.boots.push_back({"journal " + boot.id, "the journal has " + std::to_string(boot.entries) +
                                                   " entries of boot " + boot.id + ", from " +
                                                   time_text(boot.since_us) + " on"});
  if (journal.boots.empty()) return;
  // The boot is part of the note: a unit that failed in each of two boots did so twice.
  const std::string of = " (boot " + journal.boots.back().id.substr(0, 8) + ")";
  for (const std::string& unit : journal.failed_units)
    out.notes.push_back("a unit failed: " + unit + of);
  for (const std::string& check : journal.checks) out.notes.push_back("fsck: " + check + of);
}

/// The journal of the system that is written to, and which boot wrote last to each older file.
void add_journals(GuestFiles& files, Traces& out) {
  for (const std::string& machine : files.list(kJournals)) {
    const std::string directory = std::string(kJournals) + "/" + machine;
    if (!files.is_directory(directory)) continue;
    std::set<std::string> older;
    const std::vector<std::string> names = files.list(directory);
    for (const std::string& name : names) {
      const std::string path = directory + "/" + name;
      const bool current = name == "system.journal";
      if ((current && files.size(path) <= kLongestJournal) || name.rfind("system", 0) != 0 ||
          !(ends(name, ".journal") || ends(name, ".journal~")) || !files.is_file(path))
        continue;
      const std::string id = last_boot_id(files.read_part(path, 0, kJournalHeader));
      if (!id.empty() && older.insert(id).second)
        out.boots.push_back({"journal " + id, "the journal has entries of boot " + id});
    }
    const std::string path = directory + "/system.journal";
    if (files.is_file(path) && files.size(path) <= kLongestJournal)
      add_whole_journal(files, path, out);
  }
}

void add_wtmp(GuestFiles& files, Traces& out) {
  if (!files.is_file(kWtmp)) return;
  const uint64_t whole = files.size(kWtmp) / kWtmpRecord * kWtmpRecord;
  const uint64_t from = whole > kMostWtmp ? whole - kMostWtmp : 0;
  for (const WtmpBoot& boot : read_wtmp(files.read_part(kWtmp, from, whole - from)))
    out.boots.push_back({"wtmp " + std::to_string(boot.at_us),
                         "wtmp has a system boot of " + time_text(boot.at_us) +
                             (boot.kernel.empty() ? "" : ", kernel " + boot.kernel)});
}

/// Files that each boot writes once more, with other bytes.
void add_seeds(GuestFiles& files, Traces& out) {
  for (const char* path :
       {"/var/lib/systemd/random-seed", "/var/lib/urandom/random-seed",
        "/var/lib/seedrng/seed.credit", "/var/lib/seedrng/seed.no-credit", "/var/lib/random-seed"})
    if (const std::string digest = files.digest(path); !digest.empty())
      out.boots.push_back({std::string("seed ") + path + " " + digest,
                           std::string(path) + ", which each boot writes, was written"});
}

void add_marks(GuestFiles& files, Traces& out) {
  if (files.is_file("/.autorelabel"))
    out.notes.emplace_back("it will label its files at the next boot (/.autorelabel)");
  if (files.is_file("/forcefsck"))
    out.notes.emplace_back("it will check its file systems at the next boot (/forcefsck)");
}

}  // namespace

Traces read_traces(GuestFiles& files) {
  Traces out;
  add_seeds(files, out);
  add_wtmp(files, out);
  add_journals(files, out);
  add_marks(files, out);
  return out;
}

}  // namespace hyperhost::guestfs
