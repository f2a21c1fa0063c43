// SPDX-License-Identifier: Apache-2.0
// Processes that are killed in the middle. The next one has the same process id, as in a container;
// it must be able to do the same again, and undo() of the journal's entries must leave nothing.
#include <algorithm>

#include "core/check/checked_store.hpp"
#include "core/check/provider_vms.hpp"
#include "core/plugin/document_schema.hpp"

namespace hyperhost::check {
namespace {

constexpr const char* kWrite = "write";    // put, write, killed
constexpr const char* kAgain = "again";    // the same, committed
constexpr const char* kReplace = "other";  // put of another key, killed before a byte is written

/// Keys must be those of the other processes.
std::string key_of(const char* name) {
  return std::string("hyperhost-check-kill/") + name;
}

void store_step(Run& run, const std::string& step) {
  CheckedStore store(run);
  if (step == kAgain) {
    try {
      store.store(key_of(kWrite), disk_bytes(300'000, 21), true);
    } catch (const Error& error) {
      run.fail("put() of a key whose writer was killed fails: " + std::string(error.what()));
    }
    return;
  }
  std::unique_ptr<SinkHandle> sink;
  try {
    sink = store.put(key_of(step.c_str()), 0);
  } catch (const Error& error) {
    run.stop("put() in a process with the id of a killed one fails: " + std::string(error.what()));
  }
  Operation op = operation(step);
  if (step == kWrite) store.write(*sink, disk_bytes(store.size_for(*sink), 22), op);
  ready_to_be_killed();
}

/// Entries that a killed process left, passed to undo(); each must be taken and closed by the host.
template <class Undo>
void undo_all(Run& run, Journal& journal, const Undo& undo) {
  for (const nlohmann::json& entry : open_entries(journal)) {
    for (const Diagnostic& problem : document_problems("journal.entry", entry))
      run.fail("a journal entry is not as journal.entry.json says: " + problem.path + ": " +
               problem.summary);  // update() takes any
    run.expect(entry.value("plugin", "") == run.manifest().value("id", ""),
               "a journal entry names another plugin: " + entry.dump());
    run.at("undo(" + entry.dump().substr(0, 150) + ")");
    Operation op = operation("undo");
    try {
      if (!undo(op, entry))
        run.fail("undo() does not take an entry that its own plugin wrote here: " + entry.dump());
    } catch (const Error& error) {
      run.fail("undo() fails: " + std::string(error.what()) + ", of the entry " + entry.dump());
    }
    journal.close_entry(entry["entry"].get<uint64_t>());
  }
}

}  // namespace

void case_storage_kill(Run& run) {
  const auto journal = file_journal(run.scratch() + "/journal");
  keep_journal(journal);
  if (!run.settings().step.empty()) return store_step(run, run.settings().step);
  static_cast<void>(run.options(HYPER_IFACE_STORAGE));  // the directory is there
  const std::string made = run.made_directory(HYPER_IFACE_STORAGE);
  {
    CheckedStore store(run);  // skipped here where it is not connected
    store.store(key_of("usual"), {1});
    store.remove(key_of("usual"));
  }
  const Files usual = files_below(made);
  const auto left = [&] {
    const Files now = files_below(made);
    return now.size() > usual.size() ? changes(usual, now) : std::string();
  };
  for (const char* step : {kWrite, kReplace})
    run.require(run_and_kill(run, "storage-kill", step), "the step that is to be killed failed");
  const bool something = !left().empty();
  run.expect(!something || !open_entries(*journal).empty(),
             "put() in a process that was killed leaves a file (" + left() +
                 ") and wrote no journal entry: `hyperhost cleanup` cannot find it");
  run_to_end(run, "storage-kill", kAgain);

  CheckedStore store(run);
  undo_all(run, *journal,
           [&](Operation& op, const nlohmann::json& entry) { return (*store).undo(op, entry); });
  if (made.empty() && !run.options_were_given() && store.stat(key_of(kWrite)).is_null())
    return run.note("its objects do not outlive the process");
  const Bytes expected = disk_bytes(300'000, 21);
  run.expect(store.get(key_of(kWrite), expected.size()) == expected,
             "undo() of an unfinished object damages the object that was committed later");
  store.remove(key_of(kWrite));
  run.expect(left().empty(), "undo() leaves something of a killed process behind: " + left());
  run.expect(store.list("hyperhost-check-kill/").empty(),
             "list() gives what a killed process has not committed");
}

void case_provider_kill(Run& run) {
  const auto journal = file_journal(run.scratch() + "/journal");
  keep_journal(journal);
  Operation op = operation("connect");
  auto provider = run.connect_provider(op);
  if (!run.settings().step.empty()) {
    each_disk(run, *provider, [&](ProviderVmHandle& vm, const OpenedDisk& disk) {
      Operation reading = operation(disk.id);
      run.at("open_disk()");
      const auto source = vm.open_disk(reading, disk.id, HYPER_OPEN_SEEK);
      ready_to_be_killed();
    });
    return;
  }
  each_disk(run, *provider, [](ProviderVmHandle&, const OpenedDisk&) {});  // or skipped
  const std::string made = run.made_directory(HYPER_IFACE_PROVIDER);
  const Files before = files_below(made);
  provider.reset();
  run.require(run_and_kill(run, "provider-kill", "open"), "the step that is to be killed failed");
  const std::string left = changes(before, files_below(made));
  run.expect(left.empty() || !open_entries(*journal).empty(),
             "open_vm() in a process that was killed changes the source (" + left +
                 ") and wrote no journal entry: `hyperhost cleanup` cannot find it");
  provider = run.connect_provider(op);
  undo_all(run, *journal, [&](Operation& undoing, const nlohmann::json& entry) {
    return provider->undo(undoing, entry);
  });
  const std::string still = changes(before, files_below(made));
  run.expect(still.empty(), "undo() leaves something of a killed process behind: " + still);
  each_disk(run, *provider, [&](ProviderVmHandle& vm, const OpenedDisk& disk) {
    Operation reading = operation(disk.id);
    run.at("open_disk() after a process that was killed");
    static_cast<void>(vm.open_disk(reading, disk.id, HYPER_OPEN_SEEK));
  });
}

}  // namespace hyperhost::check
