// SPDX-License-Identifier: Apache-2.0
// The host extension "hyper.journal/1" over the journal of the operation that a call belongs to.
#include <hyper/hyper.h>

#include <cstring>
#include <map>
#include <mutex>

#include "core/base/json_text.hpp"
#include "core/os/process_identity.hpp"
#include "core/plugin/document_schema.hpp"
#include "core/plugin/operation.hpp"
#include "core/state/journal.hpp"

namespace hyperhost {
namespace {

constexpr std::size_t kMaxEntryBytes = 64 * 1024;

/// Remembers the journal of each open entry.
class OpenEntries {
 public:
  void add(uint64_t entry, const std::shared_ptr<Journal>& journal) {
    const std::lock_guard lock(mutex_);
    journals_[entry] = journal;
  }
  std::shared_ptr<Journal> find(uint64_t entry) {
    const std::lock_guard lock(mutex_);
    const auto found = journals_.find(entry);
    return found == journals_.end() ? nullptr : found->second.lock();
  }
  void remove(uint64_t entry) {
    const std::lock_guard lock(mutex_);
    journals_.erase(entry);
  }

 private:
  std::mutex mutex_;
  std::map<uint64_t, std::weak_ptr<Journal>> journals_;
};

OpenEntries& open_entries() {
  static OpenEntries entries;
  return entries;
}

std::shared_ptr<Journal> journal_of(hyper_op* op) {
  return op == nullptr ? nullptr : static_cast<Operation*>(op)->services().journal;
}

/// The operation's journal. Without one, the journal that has the entry: a plugin also works for
/// its connection outside of any call (it renews a session).
std::shared_ptr<Journal> journal_for(hyper_op* op, uint64_t id) {
  auto journal = journal_of(op);
  return journal ? journal : open_entries().find(id);
}

template <class F>
hyper_st with_journal(hyper_op* op, uint32_t flags, const std::shared_ptr<Journal>& journal,
                      F&& f) noexcept {
  if (!journal) return HYPER_UNSUPPORTED;
  try {
    if (flags != 0) throw Error(Code::kUnsupported, "the journal knows no flags");
    f();
    return HYPER_OK;
  } catch (const Error& error) {
    return report_to(op, error.diagnostic());
  } catch (const std::exception& error) {
    return report_to(op, Error(Code::kFail, "journal", error.what()).diagnostic());
  }
}

const nlohmann::json& bounded(const hyper_doc* entry) {
  if (entry == nullptr || !entry->json.is_object() || entry->json.dump().size() > kMaxEntryBytes)
    throw Error(Code::kFail, "a journal entry is no object or longer than 64 KiB");
  return entry->json;
}

hyper_st open(hyper_op* op, uint32_t flags, const hyper_doc* entry, uint64_t* id) noexcept {
  const auto journal = journal_of(op);
  return with_journal(op, flags, journal, [&] {
    const nlohmann::json& what = bounded(entry);
    const std::string plugin = text_of(what, "plugin");
    check_form("journal.entry", what,
               (plugin.empty() ? "the plugin" : "plugin '" + plugin + "'") +
                   ": open() of " HYPER_EXT_JOURNAL);
    *id = journal->open_entry(what["plugin"].get<std::string>(), what);
    open_entries().add(*id, journal);
  });
}

/// The change is made by now, and the entry may carry what an older plugin wrote: what the journal
/// does not take here, nothing could undo. So its form is not checked again.
hyper_st update(hyper_op* op, uint32_t flags, uint64_t id, const hyper_doc* entry) noexcept {
  const auto journal = journal_for(op, id);
  return with_journal(op, flags, journal, [&] {
    journal->update_entry(id, bounded(entry));
    open_entries().add(id, journal);
  });
}

hyper_st close(hyper_op* op, uint32_t flags, uint64_t id) noexcept {
  const auto journal = journal_for(op, id);
  return with_journal(op, flags, journal, [&] {
    journal->close_entry(id);
    open_entries().remove(id);
  });
}

hyper_st list(hyper_op* op, uint32_t flags, const char* plugin, hyper_emit emit,
              void* arg) noexcept {
  const auto journal = journal_of(op);
  return with_journal(op, flags, journal, [&] {
    journal->each_entry(plugin == nullptr ? "" : plugin, [&](const JournalEntry& entry) {
      nlohmann::json what = entry.what;
      what["entry"] = entry.id;
      what["abandoned"] = process_state(entry.owner) == ProcessState::kGone;
      const std::string text = what.dump();
      if (emit(arg, text.data(), text.size()) != HYPER_OK)
        throw Error(Code::kFail, "reading the journal was stopped");
    });
  });
}

}  // namespace

const hyper_journal* journal_table() {
  static const hyper_journal table = {sizeof(hyper_journal), 0, open, update, close, list};
  return &table;
}

}  // namespace hyperhost
